"""Commands on bundles, without a service: `labelset predict`, `labelset verify` and `labelset inspect`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click
import onnxruntime as ort

from model import golden
from model.bundle import GOLDEN, GRAPH, Bundle
from model.devices import Device
from model.drawing import document, draw
from model.errors import LabelsetError
from model.manifest import AudioPreprocessing, ImagePreprocessing, Preprocessing, SparsityPolicy, TensorSpec
from model.policies import GRAPH_POLICIES
from model.policy_change import write_with_policy
from model.predictor import Answer, InvalidModelOutput, Predictor
from model.preprocess import InputError, InvalidText
from model.preprocess.audio_formats import AUDIO_ENDINGS
from model.repository import EMBEDDED_BUNDLES, bundle_folders
from model.session import Sparsity
from model.sparse_softmax import native

# What a caller gives to each kind of preprocessing.
_TAKES = {"image": "image", "audio": "audio", "text": "text", "words": "text"}

_folder = click.Path(exists=True, file_okay=False, path_type=Path)
_device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)


class UnreadableFile(InputError):
    """A file that is not there or may not be read."""

    code = "unreadable_file"


class ModelNotFound(LabelsetError):
    """No embedded bundle has this name, or takes this kind of input."""

    code = "model_not_found"


class _Answer(NamedTuple):
    source: str
    model: str
    outcome: Answer | LabelsetError


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text to label; may be repeated.")
@click.option("--bundle", "folder", type=_folder, help="The bundle that answers.")
@click.option("--model", "name", metavar="NAME", help="The embedded bundle that answers.")
@click.option("--label-count", type=int, help="Number of labels wanted. By default the model decides.")
@click.option("--sparsity-rate", type=float, help="Fraction of zeros wanted among the classes, in [0, 1].")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@_device_option
def predict(
    files: tuple[Path, ...],
    texts: tuple[str, ...],
    folder: Path | None,
    name: str | None,
    label_count: int | None,
    sparsity_rate: float | None,
    as_json: bool,
    device: Device,
) -> None:
    """Print the label sets of FILES and texts.

    Without --bundle or --model the embedded demo bundles answer: the text model --text and the files named *.txt, the
    image model all other files. Recordings need a bundle of your own. An input that cannot be read or answered fails
    alone; the exit code is then 1.
    """
    if not files and not texts:
        raise click.UsageError("nothing to label: name FILES or give --text.")
    if folder and name:
        raise click.UsageError("--bundle and --model exclude each other.")
    bundles = [Bundle.open(folder)] if folder else _embedded_bundles(name)
    failed = False
    documents = []
    for answer in _answers([*files, *texts], bundles, Sparsity(label_count, sparsity_rate), device):
        failed |= isinstance(answer.outcome, LabelsetError)
        if as_json:
            documents.append(_document(answer))
        else:
            _print(answer)
    if as_json:
        click.echo(json.dumps(documents, indent=2, ensure_ascii=False))
    if failed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("folder", metavar="DIR", type=_folder)
@_device_option
def verify(folder: Path, device: Device) -> None:
    """Check the bundle in DIR as a service does before it serves it.

    Every file against its checksum, the graph against the manifest, and the answers to the golden examples against
    those of the day of export.
    """
    bundle = Bundle.open(folder)
    click.echo(f"ok  files   {len(bundle.manifest.files)} files have the checksums of the manifest")
    predictor = Predictor(bundle, device)
    click.echo(
        f"ok  graph   {GRAPH} is the one that the manifest describes "
        f"(onnxruntime {ort.__version__}, {predictor.session.device}, r-softmax: {predictor.session.r_softmax})"
    )
    click.echo(f"ok  golden  {len(golden.replay(predictor))} examples of {GOLDEN} are answered as on the day of export")


@click.command()
@click.argument("folder", metavar="DIR", type=_folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--set-policy",
    "policy",
    metavar="POLICY",
    help=f"Write a new version with another sparsity policy: {', '.join(GRAPH_POLICIES)} (those of them that the graph "
    "can follow), fixed_count=K or fixed_rate=R.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="With --set-policy: the folder to make, by default the next version beside DIR.",
)
def inspect(folder: Path, as_json: bool, policy: str | None, out: Path | None) -> None:
    """Say what the bundle in DIR is, where it comes from, and what would compute its probabilities here.

    With --set-policy, write the new version and say what that is. The bundle in DIR stays as it is.
    """
    if policy is None and out is not None:
        raise click.UsageError("--out belongs to --set-policy.")
    bundle = Bundle.open(folder) if policy is None else write_with_policy(folder, policy, out)
    if policy is not None:
        click.echo(
            f"wrote {bundle.path}; metrics are those of another policy no more: see `labelset evaluate`", err=True
        )
    if as_json:
        document = {
            "manifest": bundle.manifest.model_dump(mode="json", exclude_none=True),
            "digest": bundle.digest,
            "size_bytes": _sizes(bundle),
            "r_softmax": asdict(native.implementation()),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for title, text in _facts(bundle):
        click.echo(click.wrap_text(text, width=100, initial_indent=f"{title:<12}", subsequent_indent=" " * 12))


def _embedded_bundles(name: str | None) -> list[Bundle]:
    newest = {folder.name: folder.path for folder in reversed(bundle_folders(EMBEDDED_BUNDLES))}
    if name is None:
        return [Bundle.open(path) for path in newest.values()]
    if name not in newest:
        raise ModelNotFound(f"model must be one of {sorted(newest)}, got {name!r}", model=name)
    return [Bundle.open(newest[name])]


def _answers(
    items: Sequence[Path | str], bundles: Sequence[Bundle], sparsity: Sparsity, device: Device
) -> Iterator[_Answer]:
    predictors: dict[Path, Predictor] = {}
    for item in items:
        bundle = _bundle_for(item, bundles)
        if bundle.path not in predictors:
            predictors[bundle.path] = Predictor(bundle, device)
        outcome: Answer | LabelsetError
        try:
            [outcome] = predictors[bundle.path].predict([_read(item, bundle)], sparsity)
        except (InputError, InvalidModelOutput) as error:
            outcome = error
        yield _Answer(str(item), bundle.manifest.name, outcome)


def _bundle_for(item: Path | str, bundles: Sequence[Bundle]) -> Bundle:
    if len(bundles) == 1:
        return bundles[0]
    kind = _kind(item)
    for bundle in bundles:
        if _TAKES[bundle.manifest.preprocessing.kind] == kind:
            return bundle
    raise ModelNotFound(f"none of the embedded bundles takes {kind} inputs, as {str(item)!r} is", kind=kind)


def _kind(item: Path | str) -> str:
    if isinstance(item, str) or item.suffix == ".txt":
        return "text"
    return "audio" if item.suffix.lower() in AUDIO_ENDINGS else "image"


def _read(item: Path | str, bundle: Bundle) -> bytes | str:
    if isinstance(item, str):
        return item
    try:
        content = item.read_bytes()
        return content.decode() if _TAKES[bundle.manifest.preprocessing.kind] == "text" else content
    except OSError as error:
        raise UnreadableFile(f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidText(f"a text file must be UTF-8, got another byte at position {error.start}") from error


def _document(answer: _Answer) -> dict[str, Any]:
    head = {"input": answer.source, "model": answer.model}
    if isinstance(answer.outcome, LabelsetError):
        error = answer.outcome
        return {**head, "error": {"code": error.code, "message": error.message, "detail": error.detail}}
    return {**head, **document(answer.outcome)}


def _print(answer: _Answer) -> None:
    if isinstance(answer.outcome, LabelsetError):
        click.echo(f"error: {answer.source}: {answer.outcome.message} [{answer.outcome.code}]", err=True)
    else:
        click.echo(f"{answer.source}  ({answer.model})\n{draw(answer.outcome)}")


def _sizes(bundle: Bundle) -> dict[str, int]:
    return {name: bundle.file(name).stat().st_size for name in bundle.manifest.files}


def _facts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    yield "name", f"{manifest.name} ({manifest.task}, bundle {bundle.digest[:12]})"
    yield "labels", f"{len(manifest.labels)}: {', '.join(manifest.labels)}"
    yield "input", _describe_preprocessing(manifest.preprocessing)
    yield "sparsity", _describe_policy(manifest.sparsity)
    yield "graph takes", _describe_tensors(manifest.inputs)
    yield "and gives", _describe_tensors(manifest.outputs)
    yield "arithmetic", f"{manifest.arithmetic} in the backbone"
    yield "r-softmax", str(native.implementation())
    yield "metrics", _describe_mapping(manifest.metrics, "{}: {:.4f}") or "none recorded"
    origin = manifest.provenance
    yield "data", f"{origin.data_set}" + (f" ({origin.data_license})" if origin.data_license else "")
    commit = f", commit {origin.git_commit[:12]}" if origin.git_commit else ""
    yield "made", f"{origin.created} by the recipe {origin.recipe}, seed {origin.seed}{commit}"
    yield "with", _describe_mapping(origin.packages, "{} {}") or "packages not recorded"
    yield "files", _describe_mapping(_sizes(bundle), "{}: {:,} bytes")


def _describe_preprocessing(preprocessing: Preprocessing) -> str:
    if isinstance(preprocessing, ImagePreprocessing):
        decode = ", JPEG decoded at reduced scale" if preprocessing.jpeg_scaled_decode else ""
        size = f"{preprocessing.width}x{preprocessing.height}"
        return f"image, {preprocessing.resize} to {size}, {preprocessing.interpolation}{decode}"
    if isinstance(preprocessing, AudioPreprocessing):
        return f"audio, the first {preprocessing.seconds:g} seconds at {preprocessing.sample_rate} Hz, one channel"
    what = "text" if preprocessing.kind == "text" else "text or its words"
    return f"{what}, at most {preprocessing.max_length} tokens of {preprocessing.tokenizer}"


def _describe_policy(sparsity: SparsityPolicy) -> str:
    counted = "" if sparsity.max_label_count is None else f", counts up to {sparsity.max_label_count}"
    others = [policy for policy in sparsity.selectable if policy != sparsity.policy]
    return f"{sparsity}{counted}" + (f"; the graph can also follow {', '.join(others)}" if others else "")


def _describe_tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)


def _describe_mapping(mapping: Mapping[str, Any], template: str) -> str:
    return ", ".join(template.format(name, value) for name, value in mapping.items())
