"""Some nodes of a graph computed in int8, by onnxruntime's own conversion: what is around them stays float32.

It knows nothing of quality: whether the answers are still good is measured by `agreement.py`.
"""

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

Feed = dict[str, npt.NDArray[Any]]

# 7 bits of a weight are used: a CPU without VNNI adds two products in 16 bits, which 8 bits overflow. So every CPU
# computes the same integers, and a loss that was measured here is the loss there.
_WEIGHTS = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}


def to_int8(model: ModelProto, node_names: Collection[str], calibration: Iterator[Feed] | None) -> ModelProto:
    """A copy of a float32 graph in which the named nodes multiply and convolve in int8.

    Args:
        model: The graph.
        node_names: Nodes of it; those among them that do neither stay as they are.
        calibration: Inputs that show the range of every activation; None finds it anew with each batch.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet_quantizer():
        file = Path(folder) / "int8.onnx"
        model = _without_shapes(model)
        if calibration is None:
            quantize_dynamic(
                model, file, op_types_to_quantize=["MatMul", "Gemm"], nodes_to_quantize=[*node_names], **_WEIGHTS
            )
        else:
            quantize_static(
                model,
                file,
                _Reader(calibration),
                op_types_to_quantize=["Conv", "Relu", "Add", "MaxPool"],
                nodes_to_quantize=[*node_names],
                activation_type=QuantType.QUInt8,
                **_WEIGHTS,
            )
        return onnx.load(file)


def _without_shapes(model: ModelProto) -> ModelProto:
    """A copy that says nothing of the tensors between nodes: the conversion transposes some, and infers them anew."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    return copy


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


@contextlib.contextmanager
def _quiet_quantizer() -> Iterator[None]:
    """Keep back the advice to optimise the graph before: the exporter has folded what there was to fold."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
