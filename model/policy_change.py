"""Another sparsity policy for an exported bundle, written as a new version: the same graph, without training again."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from model import bundle, golden
from model.bundle import CARD, GOLDEN, Bundle
from model.errors import LabelsetError
from model.manifest import Manifest, SparsityPolicy
from model.policies import GRAPH_POLICIES, Policy
from model.predictor import Predictor

# The policies that read `NAME=VALUE`, and the field of the manifest that takes the value. Any graph follows them.
_FIXED = {"fixed_count": "label_count", "fixed_rate": "sparsity_rate"}


class InvalidPolicy(LabelsetError):
    """A sparsity policy that does not exist, lacks its value, or that the graph of the bundle cannot follow."""

    code = "invalid_policy"


class InvalidDestination(LabelsetError):
    """A new version has no name, or would be written over something."""

    code = "invalid_destination"


def write_with_policy(folder: Path, wanted: str, out: Path | None = None) -> Bundle:
    """Write the bundle in `folder` once more, with another policy. `folder` stays as it is.

    The golden examples are answered again. Metrics are of the label sets, and those are others now: there are none in
    the new manifest.

    Args:
        folder: A bundle.
        wanted: The name of a policy; `fixed_count=3`, `fixed_rate=0.9`.
        out: The folder to make; by default the next version beside `folder`, where that is `NAME/VERSION/`.

    Raises:
        InvalidPolicy: the policy is none, or none of this bundle's.
        InvalidDestination: `out` is there already, or is not given and `folder` is not named as a version.
        BundleError: the bundle is broken.
    """
    source = Bundle.open(folder)
    target = _next_version(folder) if out is None else out
    if target.exists() or target.resolve().is_relative_to(folder.resolve()):
        raise InvalidDestination(f"a new version must be a new folder beside the others, got {target}")
    manifest = _with_policy(source.manifest, wanted)
    predictor = Predictor(dataclasses.replace(source, manifest=manifest), device="cpu")
    items = [example.item for example in golden.load(predictor)]
    answers = [golden.example(item, predictor.predict([item])[0]) for item in items]
    files = {name: source.file(name).read_bytes() for name in source.manifest.files}
    files[GOLDEN] = golden.dump(answers)
    if CARD in files:
        files[CARD] = _card(source.read_text(CARD), source.manifest.sparsity, manifest.sparsity).encode()
    written = bundle.write(target, manifest.model_dump(), files)
    golden.replay(Predictor(written, device="cpu"))
    return written


def _next_version(folder: Path) -> Path:
    folder = folder.resolve()
    if not folder.name.isdecimal():
        raise InvalidDestination(
            f"the next version follows only a folder named by a whole number, got {folder.name}/: give --out DIR"
        )
    newest = max(int(version.name) for version in folder.parent.iterdir() if version.name.isdecimal())
    return folder.parent / str(newest + 1)


def _with_policy(manifest: Manifest, wanted: str) -> Manifest:
    name, given, value = wanted.partition("=")
    if name not in get_args(Policy):
        raise InvalidPolicy(f"policy must be one of {', '.join(get_args(Policy))}, got {name!r}", policy=name)
    if bool(given) != (name in _FIXED):
        form = f"{name}=VALUE" if name in _FIXED else name
        raise InvalidPolicy(f"the policy {name} must be written as {form}, got {wanted!r}", policy=name)
    earlier = manifest.sparsity
    # A graph of before there was a choice follows its own.
    selectable = earlier.selectable or tuple(own for own in (earlier.policy,) if own in GRAPH_POLICIES)
    if name not in (*selectable, *_FIXED):
        possible = ", ".join((*selectable, *(f"{fixed}=VALUE" for fixed in _FIXED)))
        raise InvalidPolicy(f"the graph of this bundle can follow {possible}; got {name}", policy=name)
    sparsity = {"policy": name, "max_label_count": earlier.max_label_count, "selectable": selectable}
    changed: dict[str, Any] = {"sparsity": {**sparsity, **({_FIXED[name]: value} if given else {})}, "metrics": {}}
    try:
        return Manifest.model_validate({**manifest.model_dump(), **changed})
    except ValidationError as error:
        reason = error.errors(include_url=False, include_context=False)[0]["msg"]
        raise InvalidPolicy(f"the policy {wanted} makes no sense for this bundle: {reason}", policy=name) from None


def _card(card: str, earlier: SparsityPolicy, later: SparsityPolicy) -> str:
    """The card with a note under its title; what it says of quality is left, and said to be of before."""
    title, _, rest = card.partition("\n")
    note = (
        f"The sparsity policy was changed after training, from `{earlier}` to `{later}`. What stands below on how the "
        "number of labels is decided, and on quality, is of before; `labelset evaluate` measures this bundle."
    )
    return f"{title}\n\n{note}\n{rest}"
