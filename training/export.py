"""From a trained classifier to a verified bundle."""

import contextlib
import datetime
import importlib.metadata
import logging
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from model import bundle, golden
from model.bundle import CARD, GOLDEN, GRAPH, TOKENIZER, Bundle
from model.manifest import AudioPreprocessing, ImagePreprocessing, WordsPreprocessing
from model.nn.backbones import TextBackbone
from model.nn.classifier import Classifier, ServedClassifier, ServedOutput
from model.nn.words import WordBackbone
from model.predictor import Predictor
from model.sparse_softmax import onnx_function, torch_op
from training.agreement import Agreement, compare
from training.build import Parts
from training.card import model_card
from training.config import Recipe
from training.data.arrays import raw_input
from training.data.dataset import LabelledData
from training.evaluate import Answers, answer, measure
from training.golden_choice import choose_golden
from training.quantize import round_weights, store_weights_in_int8

OPSET = 20
# What a caller, or the session for him, may say of each row: the graph's inputs besides the data, and their types.
_WISHES = {"label_count": "int64", "sparsity_rate": "float64", "sparsity_policy": "int64"}
_PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers", "pillow", "numpy")


@dataclass(frozen=True)
class Exported:
    """A bundle, its network's answers and metrics on the test split, and how closely the graph follows the network."""

    bundle: Bundle
    answers: Answers
    metrics: dict[str, float]
    agreement: Agreement


def export_bundle(recipe: Recipe, data: LabelledData, parts: Parts, folder: Path) -> Exported:
    """Write the bundle of a trained classifier, with its golden examples and its card.

    The answers of the golden examples are the bundle's own: it is written twice, the second time with them.

    Raises:
        Disagreement: the graph does not answer as the network.
        GoldenMismatch: the bundle does not repeat its own answers.
    """
    classifier = parts.classifier.cpu().eval()
    if recipe.export.weights == "int8":
        round_weights(classifier)
    answers = answer(classifier, parts.test, "test")
    metrics = measure(answers, parts.task)
    graph = export_graph(classifier, parts)
    if recipe.export.weights == "int8":
        store_weights_in_int8(graph)
    onnx.checker.check_model(graph)
    manifest = _manifest(recipe, data, parts, metrics)
    files = {GRAPH: graph.SerializeToString(), CARD: model_card(recipe, data, metrics).encode(), GOLDEN: b"[]\n"}
    if parts.tokenizer_json:
        files[TOKENIZER] = parts.tokenizer_json.encode()
    with tempfile.TemporaryDirectory() as staging:
        predictor = Predictor(bundle.write(Path(staging) / "bundle", manifest, files), device="cpu")
        agreement = compare(answers, predictor, parts.test)
        items = [raw_input(parts.test.examples[index]) for index in choose_golden(answers, parts.test.examples)]
        examples = [golden.example(item, predictor.predict([item])[0]) for item in items]
    written = bundle.write(folder, manifest, {**files, GOLDEN: golden.dump(examples)})
    golden.replay(Predictor(written, device="cpu"))
    return Exported(written, answers, metrics, agreement)


def export_graph(classifier: Classifier, parts: Parts) -> onnx.ModelProto:
    """The classifier in its served form, with bare `RSoftmax` nodes and the function that gives them a meaning."""
    served, inputs, axes = _served_form(classifier, parts)
    # Rows are counted by the last input: of pictures and texts the only one, of words where they begin.
    row_axis = {0: axes[-1][0]}
    undecided = torch.full((len(inputs[-1]),), -1)
    with _quiet_exporter():
        program = torch.onnx.export(
            served,
            (_alone(inputs), undecided, undecided.double(), torch.zeros_like(undecided)),
            input_names=[*(spec["name"] for spec in _data_inputs(parts)), *_WISHES],
            output_names=[name.rsplit("_", 1)[0] if name[-1].isupper() else name for name in ServedOutput._fields],
            dynamic_shapes=(_alone(axes), row_axis, row_axis, row_axis),
            custom_translation_table=torch_op.onnx_translation_table(),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    onnx_function.attach(graph)
    _forget_origin(graph)
    return graph


def _served_form(
    classifier: Classifier, parts: Parts
) -> tuple[ServedClassifier, tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    """What is exported, two examples of its data inputs, and the axes of these that vary."""
    feed = parts.train.preprocess.collate([parts.train[0].array, parts.train[1].array])
    inputs = tuple(torch.from_numpy(array) for array in feed.values())
    batch = torch.export.Dim("batch", min=1)
    if parts.task == "token_classification":
        assert isinstance(classifier.backbone, TextBackbone)
        words = Classifier(WordBackbone(classifier.backbone), classifier.head)
        axes = ({0: batch, 1: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim("words", min=1)})
        return ServedClassifier(words).eval(), inputs, axes
    # Pictures and recordings have one size; texts are as long as the longest of their batch.
    is_text = inputs[0].dtype == torch.int64
    axis = {0: batch, 1: torch.export.Dim.DYNAMIC} if is_text else {0: batch}
    return ServedClassifier(classifier).eval(), inputs, (axis,)


def _alone(items: tuple[Any, ...]) -> Any:
    """A network takes one input as it is, and several as a tuple."""
    return items if len(items) > 1 else items[0]


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove the exporter's stack traces: they name folders of this machine, and are a quarter of a small file."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter says about itself and its libraries: nothing of it is about the network."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")  # misses torchvision, unused here
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*axis name: .* will not be used", category=UserWarning)
            yield
    finally:
        registration.setLevel(level)


def _manifest(recipe: Recipe, data: LabelledData, parts: Parts, metrics: dict[str, float]) -> dict[str, Any]:
    rows = "words" if parts.task == "token_classification" else "batch"
    return {
        "name": recipe.name,
        "task": parts.task,
        "labels": data.labels,
        "preprocessing": parts.preprocessing.model_dump(),
        "sparsity": {
            **parts.classifier.head.policy.model_dump(exclude_none=True),
            "selectable": parts.classifier.head.selectable,
        },
        "inputs": [
            *_data_inputs(parts),
            *({"name": name, "dtype": dtype, "shape": [rows]} for name, dtype in _WISHES.items()),
        ],
        "outputs": [
            {"name": "label_index", "dtype": "int64", "shape": ["labels"]},
            {"name": "label_probability", "dtype": "float32", "shape": ["labels"]},
            {"name": "row_offset", "dtype": "int64", "shape": [f"{rows} + 1"]},
            {"name": "applied_sparsity_rate", "dtype": "float64", "shape": [rows]},
            {"name": "probabilities", "dtype": "float32", "shape": [rows, len(data.labels)]},
        ],
        "metrics": metrics,
        "provenance": {
            "data_set": data.source,
            "data_license": data.licence,
            "recipe": recipe.model_dump_json(),
            "seed": recipe.seed,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "git_commit": _git_commit(),
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _data_inputs(parts: Parts) -> list[dict[str, Any]]:
    """The graph's inputs besides the wishes, as the manifest describes them."""
    preprocessing, name = parts.preprocessing, parts.classifier.input_name
    if isinstance(preprocessing, ImagePreprocessing):
        return [{"name": name, "dtype": "uint8", "shape": ["batch", preprocessing.height, preprocessing.width, 3]}]
    if isinstance(preprocessing, AudioPreprocessing):
        return [{"name": name, "dtype": "int16", "shape": ["batch", preprocessing.sample_count]}]
    texts = {"name": name, "dtype": "int64", "shape": ["batch", "length"]}
    if isinstance(preprocessing, WordsPreprocessing):
        return [texts, {"name": "word_position", "dtype": "int64", "shape": ["words"]}]
    return [texts]


def _git_commit() -> str:
    """The commit of this checkout; empty where there is none, with a `+` where files differ from it."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
