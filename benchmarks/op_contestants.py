"""Who competes in `benchmarks/op.py`: each contestant is one call that maps the logits of a cell, set up at its best.

Everything outside the map itself is done beforehand: sessions made, inputs bound, outputs allocated where the interface
takes one. All read the same logits, and all that write into a given output write into the same one, so that neither
alignment nor caches favour anyone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor

from model.sparse_softmax import native
from model.sparse_softmax.onnx_function import DOMAIN, NAME, attach
from model.sparse_softmax.torch_op import r_softmax, r_softmax_count

OPSET_VERSION = 18
IR_VERSION = 9  # onnxruntime 1.22 reads it
LOGIT_SCALE = 3.0
Call = Callable[[], object]


@dataclass(frozen=True)
class Cell:
    """What is measured at a time: contestants of one benchmark on the same logits, [rows, class_count]."""

    benchmark: str
    class_count: int
    rows: int
    sparsity: str  # "r=.9": a rate; "k=5": a label count
    threads: int

    @property
    def label_count(self) -> int | None:
        """The k that is asked for; None where a rate is."""
        kind, _, value = self.sparsity.partition("=")
        return min(int(value), self.class_count) if kind == "k" else None

    @property
    def rate(self) -> float:
        """The sparsity rate; `k` labels mean the rate (C - k) / C (SPEC 1.3)."""
        if self.label_count is not None:
            return (self.class_count - self.label_count) / self.class_count
        return float(self.sparsity.removeprefix("r="))

    @property
    def survivor_count(self) -> int:
        """How many classes of a row are not zero (SPEC 1.3; no two logits tie)."""
        last = self.class_count - 1
        return max(1, last - math.floor(self.rate * last))


class Arrays:
    """The tensors that the contestants of a cell share."""

    def __init__(self, cell: Cell):
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.randn(cell.rows, cell.class_count, generator=generator) * LOGIT_SCALE
        self.rates = torch.full([cell.rows], cell.rate, dtype=torch.float64)
        self.probabilities = torch.empty_like(self.logits)


def contestants(cell: Cell, chosen: set[str]) -> dict[str, Call]:
    """The calls of a cell by name; the first, there in any case, is the one that the others are compared with."""
    arrays = Arrays(cell)
    dense, *others = ENTRANTS[cell.benchmark]
    names = [dense, *(name for name in others if name in chosen)]
    return {name: ENTRANTS[cell.benchmark][name](cell, arrays) for name in names}


def _ort_softmax(cell: Cell, arrays: Arrays) -> Call:
    return _bound(_session("softmax", cell.threads), {"logits": arrays.logits}, arrays.probabilities)


def _native(cell: Cell, arrays: Arrays) -> Call:
    inputs = {"logits": arrays.logits, "rate": arrays.rates}
    return _bound(_session("native", cell.threads), inputs, arrays.probabilities)


def _onnx_function(cell: Cell, arrays: Arrays) -> Call:
    inputs = {"logits": arrays.logits, "rate": arrays.rates}
    return _bound(_session("function", cell.threads), inputs, arrays.probabilities)


def _memcpy(cell: Cell, arrays: Arrays) -> Call:
    if cell.threads > 1:  # numpy copies on one thread
        return lambda: arrays.probabilities.copy_(arrays.logits)
    source, target = arrays.logits.numpy(), arrays.probabilities.numpy()
    return lambda: np.copyto(target, source)


def _torch_softmax(_cell: Cell, arrays: Arrays) -> Call:
    return lambda: torch.softmax(arrays.logits, -1, out=arrays.probabilities)


def _torch_op(cell: Cell, arrays: Arrays) -> Call:
    if cell.label_count is not None:
        label_counts = torch.full([cell.rows], cell.label_count)
        return lambda: r_softmax_count(arrays.logits, label_counts)
    return lambda: r_softmax(arrays.logits, arrays.rates)


def _sparsemax(cell: Cell, arrays: Arrays) -> Call:
    # Here, so that without the package the others can still be measured.
    from entmax import sparsemax

    return lambda: sparsemax(arrays.logits, -1, _partial_sort(cell))


def _entmax15(cell: Cell, arrays: Arrays) -> Call:
    from entmax import entmax15

    return lambda: entmax15(arrays.logits, -1, _partial_sort(cell))


def _partial_sort(cell: Cell) -> int:
    """How many entries entmax sorts at first; it sorts more where that was not enough.

    With these logits some 2 (sparsemax) or 5 (1.5-entmax) classes of a row survive; of 8, 16, 32, 100 and all, these
    were the fastest.
    """
    return 8 if cell.class_count <= 1000 else 16


def _topk(cell: Cell, arrays: Arrays) -> Call:
    """Selection alone: the k largest, or what survives a rate and the entry below, between which the cut lies."""
    count = cell.label_count or min(cell.survivor_count + 1, cell.class_count)
    values = torch.empty(cell.rows, count)
    indices = torch.empty(cell.rows, count, dtype=torch.int64)
    return lambda: torch.topk(arrays.logits, count, -1, sorted=False, out=(values, indices))


def _torch_softmax_training(cell: Cell, arrays: Arrays) -> Call:
    return _with_backward(lambda logits: torch.softmax(logits, -1), arrays)


def _torch_op_training(cell: Cell, arrays: Arrays) -> Call:
    if cell.label_count is not None:
        label_counts = torch.full([cell.rows], cell.label_count)
        return _with_backward(lambda logits: r_softmax_count(logits, label_counts), arrays)
    return _with_backward(lambda logits: r_softmax(logits, arrays.rates), arrays)


def _with_backward(probability_map: Callable[[Tensor], Tensor], arrays: Arrays) -> Call:
    logits = arrays.logits.requires_grad_()
    gradient = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(probability_map(logits), logits, gradient)


ENTRANTS: dict[str, dict[str, Callable[[Cell, Arrays], Call]]] = {
    "op_forward": {
        "ort_softmax": _ort_softmax,
        "native": _native,
        "memcpy": _memcpy,
        "onnx_function": _onnx_function,
        "torch_softmax": _torch_softmax,
        "torch_op": _torch_op,
        "sparsemax": _sparsemax,
        "entmax15": _entmax15,
        "topk": _topk,
    },
    "op_training": {"torch_softmax": _torch_softmax_training, "torch_op": _torch_op_training},
    # What a call of a session costs by itself: Softmax of one number.
    "op_call": {"ort_softmax": _ort_softmax},
}


def _bound(session: onnxruntime.InferenceSession, inputs: dict[str, Tensor], output: Tensor) -> Call:
    """A run of the session on memory that is already there: nothing is copied nor allocated for inputs and output."""
    binding = session.io_binding()
    for name, tensor in inputs.items():
        array = tensor.numpy()
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    binding.bind_output("probabilities", "cpu", 0, np.float32, tuple(output.shape), output.data_ptr())
    # The binding knows addresses only; the caller's closure keeps the tensors.
    kept = (inputs, output)
    return lambda kept=kept: session.run_with_iobinding(binding)


@cache
def _session(implementation: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if implementation == "native":
        native.register(options)
    model = _softmax_model() if implementation == "softmax" else _r_softmax_model()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _softmax_model() -> onnx.ModelProto:
    return _model(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1), [_logits_info()])


def _r_softmax_model() -> onnx.ModelProto:
    """One file for both: a session without the library runs the function that it carries."""
    rate = helper.make_tensor_value_info("rate", TensorProto.DOUBLE, ["rows"])
    model = _model(helper.make_node(NAME, ["logits", "rate"], ["probabilities"], domain=DOMAIN), [_logits_info(), rate])
    attach(model)
    return model


def _logits_info() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", "classes"])


def _model(node: onnx.NodeProto, inputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", "classes"])
    graph = helper.make_graph([node], "one_op", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET_VERSION)], ir_version=IR_VERSION)
