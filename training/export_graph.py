"""From a trained classifier to its ONNX graph: what torch's exporter gives, made small and free of its origin."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor
from transformers import PreTrainedModel

from model.manifest import AudioPreprocessing, ImagePreprocessing, WordsPreprocessing
from model.nn.backbones import TextBackbone
from model.nn.classifier import Classifier, ServedClassifier, ServedOutput
from model.nn.words import WordBackbone
from model.sparse_softmax import onnx_function, torch_op
from training.build import Parts
from training.config import ExportConfig
from training.export_float16 import to_float16
from training.export_int8 import Feed, to_int8
from training.quantize import store_weights_in_int8

OPSET = 20
# What a caller, or the session for him, may say of each row: the graph's inputs besides the data, and their types.
WISHES = {"label_count": "int64", "sparsity_rate": "float64", "sparsity_policy": "int64"}
# Inputs by which the range of each activation is found, and how many are computed at once.
CALIBRATION_EXAMPLES = 200
_CALIBRATION_BATCH = 8
# Where the exporter notes the modules that a node comes from, the outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"


def export_graph(classifier: Classifier, parts: Parts, export: ExportConfig) -> ModelProto:
    """The classifier in its served form, with bare `RSoftmax` nodes and the function that gives them a meaning."""
    graph = _exported(classifier, parts)
    onnx_function.attach(graph)
    network_nodes = _nodes_of_network(graph)
    _forget_origin(graph)
    if export.arithmetic == "int8":
        graph = to_int8(graph, network_nodes, None if parts.preprocessing.kind in _DYNAMIC else _calibration(parts))
    if "int8" in (export.weights, export.arithmetic):
        store_weights_in_int8(graph)
    if export.arithmetic == "float16":
        graph = to_float16(graph, network_nodes)
    onnx.checker.check_model(graph)
    return graph


# Of a text the range of each activation is found anew with every batch: a calibrated one costs BERT too much quality.
_DYNAMIC = ("text", "words")


def data_inputs(parts: Parts) -> list[dict[str, Any]]:
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


def _exported(classifier: Classifier, parts: Parts) -> ModelProto:
    served, inputs, axes = _served_form(classifier, parts)
    # Rows are counted by the last input: of pictures and texts the only one, of words where they begin.
    row_axis = {0: axes[-1][0]}
    undecided = torch.full((len(inputs[-1]),), -1)
    with _quiet_exporter(), _written_out_attention(classifier):
        program = torch.onnx.export(
            served,
            (_alone(inputs), undecided, undecided.double(), torch.zeros_like(undecided)),
            input_names=[*(spec["name"] for spec in data_inputs(parts)), *WISHES],
            output_names=[name.rsplit("_", 1)[0] if name[-1].isupper() else name for name in ServedOutput._fields],
            dynamic_shapes=(_alone(axes), row_axis, row_axis, row_axis),
            custom_translation_table=torch_op.onnx_translation_table(),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph: ModelProto = program.model_proto
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


@contextlib.contextmanager
def _written_out_attention(classifier: Classifier) -> Iterator[None]:
    """Export softmax attention as matrix products and a softmax.

    torch's fused attention becomes the same, and twelve nodes more a block: shapes taken apart and put together, and a
    check for rows of which everything is masked, which no text has.
    """
    networks = [
        module
        for module in classifier.modules()
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == "sdpa"
    ]
    for network in networks:
        network.set_attn_implementation("eager")
    try:
        yield
    finally:
        for network in networks:
            network.set_attn_implementation("sdpa")


def _nodes_of_network(model: ModelProto) -> list[str]:
    """The nodes of the backbone's network, by name.

    What is around it is not among them: the normalisation of pixels, the spectrogram, the mean, and all that decides on
    the label set.
    """
    return [
        node.name
        for node in model.graph.node
        for note in node.metadata_props
        if note.key == _SCOPES and any(scope.endswith(".network") for scope in _scopes(note.value))
    ]


def _scopes(text: str) -> list[str]:
    return [scope.strip(" '") for scope in text.strip("[]").split(",")]


def _forget_origin(model: ModelProto) -> None:
    """Remove the exporter's stack traces: they name folders of this machine, and are a quarter of a small file."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _calibration(parts: Parts) -> Iterator[Feed]:
    """Training examples, evenly spread, as the service would feed them."""
    count = min(CALIBRATION_EXAMPLES, len(parts.train))
    chosen = np.arange(count) * len(parts.train) // count
    for start in range(0, count, _CALIBRATION_BATCH):
        arrays = [parts.train[int(index)].array for index in chosen[start : start + _CALIBRATION_BATCH]]
        wishes = {name: np.full(len(arrays), -1, dtype) for name, dtype in WISHES.items()}
        yield {**parts.train.preprocess.collate(arrays), **wishes}


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
