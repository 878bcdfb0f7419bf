"""The cases of SPEC.md in one table, and every implementation that has to pass them.

Each implementation is a `Backend`; a test that takes the fixtures `backend` and `case` meets every pair.
"""

import ctypes
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from model.sparse_softmax import native, onnx_function, reference, torch_native, torch_op

INF, NAN = np.inf, np.nan
MILLION = 10**6


@dataclass(frozen=True)
class Case:
    """One request and its zero pattern: 0 where the result is zero, 1 where it is not, NaN where it is NaN."""

    name: str
    logits: list | np.ndarray
    support: list | np.ndarray
    rate: float | list | None = None
    label_count: list | None = None
    # What the logits are multiples of: 1, or a number at the edge of their type.
    unit: str = "one"

    def logits_as(self, dtype: np.dtype) -> np.ndarray:
        info = np.finfo(dtype)
        unit = {"one": 1, "largest": info.max, "smallest": info.smallest_subnormal}[self.unit]
        return (np.asarray(self.logits) * unit).astype(dtype)


def _ladder(steps: int) -> np.ndarray:
    """Distinct logits in a scrambled order, far enough apart for float32 to place a cut between any two."""
    return np.random.default_rng(0).permutation(steps) / 1000


CASES = [
    Case("half of four", [[3, 1, 2, 0]], rate=0.5, support=[[1, 0, 1, 0]]),
    Case("one row without a batch", [3, 1, 2, 0], rate=0.5, support=[1, 0, 1, 0]),
    Case("three axes", [[[3, 1], [0, 1]], [[2, 2], [5, 4]]], rate=0.5, support=[[[1, 0], [0, 1]], [[1, 1], [1, 0]]]),
    Case(
        "three axes, a rate per row",
        [[[3, 1, 2]], [[0, 1, 2]]],
        rate=[[1 / 3], [1]],
        support=[[[1, 0, 1]], [[0, 0, 1]]],
    ),
    Case(
        "a rate per row",
        [[3, 1, 2, 0]] * 4,
        rate=[0, 0.25, 0.5, 0.75],
        support=[[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0]],
    ),
    Case("a tie at the cut loses all of it", [[2, 1, 1, 0]], rate=0.5, support=[[1, 0, 0, 0]]),
    # Interpolating between equals as (1 - f) a + f b would fall one digit short of 2.1.
    Case("a tie at the cut is exact", [[9, 2.1, 2.1, 0]], rate=0.34, support=[[1, 0, 0, 0]]),
    Case("a tie above the cut keeps all of it", [[2, 2, 1, 0]], rate=0.5, support=[[1, 1, 0, 0]]),
    Case("all tie", [[1, 1, 1]], rate=0.5, support=[[1, 1, 1]]),
    Case("+0 and -0 tie", [[0.0, -0.0, 1]], rate=1 / 3, support=[[0, 0, 1]]),
    Case("r = 0 drops the smallest", [[0, 1, 2]], rate=0, support=[[0, 1, 1]]),
    Case("r = 0 drops all that tie for the smallest", [[0, 0, 2]], rate=0, support=[[0, 0, 1]]),
    Case("r = 1 keeps the maximum", [[0, 1, 2]], rate=1, support=[[0, 0, 1]]),
    Case("r = 1 keeps all that tie for the maximum", [[2, 1, 2]], rate=1, support=[[1, 0, 1]]),
    Case("the cut rounds to the maximum", [[0, 1]], rate=1 - 2**-53, support=[[0, 1]]),
    Case("one class", [[5], [-5]], rate=[0, 1], support=[[1], [1]]),
    Case("masked classes do not count", [[-INF, 0, 1, 2, 3, -INF]], rate=0.5, support=[[0, 0, 0, 1, 1, 0]]),
    Case("masked at r = 0 and r = 1", [[-INF, 1, 2]] * 2, rate=[0, 1], support=[[0, 0, 1], [0, 0, 1]]),
    # The fullest row decides how much of the other is sorted: down to its mask.
    Case("masked beside a fuller row", [[-INF, 1, 2], [0, 1, 2]], rate=[1, 0], support=[[0, 0, 1], [0, 1, 1]]),
    Case("all but one masked", [[-INF, 1, -INF]] * 3, rate=[0, 0.5, 1], support=[[0, 1, 0]] * 3),
    Case("all masked", [[-INF, -INF]] * 4, rate=[0, 0.5, 0.9, 1], support=[[0, 0]] * 4),
    Case("NaN spoils its row", [[NAN, 1, 2], [0, 1, 2]], rate=0.5, support=[[NAN] * 3, [0, 0, 1]]),
    Case("NaN among the masked", [[-INF, NAN, -INF]], rate=0.5, support=[[NAN] * 3]),
    Case("+inf spoils its row", [[0, 1, 2], [INF, 1, 2]], rate=0.5, support=[[0, 0, 1], [NAN] * 3]),
    Case("+inf among the masked", [[-INF, INF]], rate=1, support=[[NAN] * 2]),
    Case("largest logits", [[1, -1, 0.5, 0]], rate=0.25, unit="largest", support=[[1, 0, 1, 1]]),
    Case("largest logits tie", [[1, -1, 1, -1]], rate=0.5, unit="largest", support=[[1, 0, 1, 0]]),
    Case("largest logits around the cut", [[1, -1, 0.5]], rate=0.25, unit="largest", support=[[1, 0, 1]]),
    Case("largest negative logits", [[-1, -0.5]], rate=0.5, unit="largest", support=[[0, 1]]),
    Case("smallest logits", [[4, 1, 2, -3]], rate=0.25, unit="smallest", support=[[1, 1, 1, 0]]),
    Case("too improbable for the type", [[0, -200, -900, -1000]], rate=0.25, support=[[1, 1, 1, 0]]),
    Case("empty batch", np.zeros((0, 5)), rate=0.5, support=np.zeros((0, 5))),
    Case("empty batch, a rate per row", np.zeros((0, 5)), rate=[], support=np.zeros((0, 5))),
    Case("empty batch of three axes", np.zeros((2, 0, 5)), rate=0.5, support=np.zeros((2, 0, 5))),
    Case(
        "label counts",
        [[3, 1, 2, 0]] * 4,
        label_count=[1, 2, 3, 4],
        support=[[1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]],
    ),
    Case("k = 0 is the empty set", [[3, 1, 2, 0]] * 2, label_count=[0, 1], support=[[0, 0, 0, 0], [1, 0, 0, 0]]),
    Case("empty batch of counts", np.zeros((0, 5)), label_count=[], support=np.zeros((0, 5))),
    Case("k = 0 keeps NaN", [[3, NAN, 2, 0]], label_count=[0], support=[[NAN] * 4]),
    Case(
        "k counts the unmasked",
        [[3, -INF, 2, 0, -1]] * 2,
        label_count=[2, 3],
        support=[[1, 0, 1, 0, 0], [1, 0, 1, 1, 0]],
    ),
    Case("k above the unmasked", [[3, -INF, 2]] * 2, label_count=[3, 100], support=[[1, 0, 0]] * 2),
    Case("k of the masked", [[-INF, -INF]] * 2, label_count=[0, 1], support=[[0, 0]] * 2),
    Case("k of one class", [[7]] * 3, label_count=[0, 1, 2], support=[[0], [1], [1]]),
    Case("k = 1 of a tie keeps the tie", [[1, 1, 0]], label_count=[1], support=[[1, 1, 0]]),
]

# r = m/n in float64 gives exactly m zeros; a float32 rate would miss the last two by one.
MILLION_CASES = [
    Case(
        f"{zeros} zeros of a million",
        _ladder(MILLION),
        rate=zeros / MILLION,
        support=(_ladder(MILLION) >= zeros / 1000).astype(float),
    )
    for zeros in (7, 500_001, 999_990, 999_999)
]


@dataclass(frozen=True)
class Backend:
    name: str
    dtype: np.dtype
    r_softmax: Callable[[np.ndarray, np.ndarray], np.ndarray]
    r_softmax_count: Callable[[np.ndarray, np.ndarray], np.ndarray]
    # Why it cannot run here.
    missing: str | None = None

    def run(self, case: Case) -> np.ndarray:
        logits = case.logits_as(self.dtype)
        if case.rate is None:
            return self.r_softmax_count(logits, np.asarray(case.label_count, dtype=np.int64))
        return self.r_softmax(logits, np.asarray(case.rate, dtype=np.float64))


def _torch(function: Callable[..., torch.Tensor], logits: np.ndarray, parameter: np.ndarray) -> np.ndarray:
    return function(torch.from_numpy(logits), torch.from_numpy(parameter)).numpy()


def _torch_with_gradient(
    function: Callable[..., torch.Tensor], logits: np.ndarray, parameter: np.ndarray
) -> np.ndarray:
    return function(torch.from_numpy(logits).requires_grad_(), torch.from_numpy(parameter)).detach().numpy()


@cache
def _rate_model(rank: int, rate_rank: int, opset_version: int = 18) -> onnx.ModelProto:
    axes = [f"axis_{axis}" for axis in range(rank)]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("RSoftmax", ["logits", "rate"], ["probabilities"], domain="ai.labelset")],
        "rate",
        [
            onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, axes),
            onnx.helper.make_tensor_value_info("rate", onnx.TensorProto.DOUBLE, axes[:rate_rank]),
        ],
        [onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, axes)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset_version)], ir_version=10)
    onnx_function.attach(model)
    onnx.checker.check_model(model, full_check=True)
    return model


class _CountModule(torch.nn.Module):
    def forward(self, logits: torch.Tensor, label_count: torch.Tensor) -> torch.Tensor:
        return torch_op.r_softmax_count(logits, label_count)


def _export_to_onnx(module: torch.nn.Module, inputs: torch.Tensor, label_count: torch.Tensor) -> onnx.ModelProto:
    """Export with a dynamic batch, and classes where the module has no opinion; the op is still a bare node."""
    dynamic, automatic = torch.export.Dim.DYNAMIC, torch.export.Dim.AUTO
    with warnings.catch_warnings():
        # torch 2.13 copies its own deprecated LeafSpec while it decomposes a program.
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        program = torch.onnx.export(
            module.eval(),
            (inputs, label_count),
            dynamo=True,
            dynamic_shapes=({0: dynamic, 1: automatic}, {0: dynamic}),
            custom_translation_table=torch_op.onnx_translation_table(),
            verbose=False,
        )
    return program.model_proto


@cache
def _count_model() -> onnx.ModelProto:
    model = _export_to_onnx(_CountModule(), torch.randn(3, 5), torch.tensor([1, 2, 3]))
    onnx_function.attach(model)
    onnx.checker.check_model(model)
    return model


@cache
def _session(
    level: onnxruntime.GraphOptimizationLevel, library: Path | None, build: Callable[..., onnx.ModelProto], *ranks: int
):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    if library:
        options.register_custom_ops_library(str(library))
    model = build(*ranks).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _evaluator(build: Callable[..., onnx.ModelProto], *ranks: int) -> ReferenceEvaluator:
    return ReferenceEvaluator(build(*ranks))


def _onnx(make_runner: Callable, logits: np.ndarray, rate: np.ndarray) -> np.ndarray:
    runner = make_runner(_rate_model, logits.ndim, rate.ndim)
    # The reference evaluator computes in numpy, where the hard cases warn.
    with np.errstate(all="ignore"):
        return runner.run(None, {"logits": logits, "rate": rate})[0]


def _onnx_count(make_runner: Callable, logits: np.ndarray, label_count: np.ndarray) -> np.ndarray:
    runner = make_runner(_count_model)
    with np.errstate(all="ignore"):
        return runner.run(None, {"logits": logits, "label_count": label_count})[0]


def _onnx_backend(name: str, make_runner: Callable) -> Backend:
    return Backend(name, np.dtype(np.float32), partial(_onnx, make_runner), partial(_onnx_count, make_runner))


_LEVELS = {
    name: getattr(onnxruntime.GraphOptimizationLevel, name)
    for name in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
}

_IMPLEMENTATION = native.implementation()
_LIBRARY = native.library_path() if _IMPLEMENTATION.kind == "native" else None
_NO_LIBRARY = None if _LIBRARY else f"no compiled kernel, {_IMPLEMENTATION.reason}"
_CPU_PATHS = ["neon", "portable"] if platform.machine() in ("aarch64", "arm64") else ["avx512", "avx2", "portable"]


@contextmanager
def _cpu_path(name: str) -> Iterator[None]:
    """Let the rows of this process run on other instructions for a while."""
    library = ctypes.CDLL(str(_LIBRARY))
    library.labelset_cpu_path.restype = ctypes.c_char_p
    before = library.labelset_cpu_path()
    if library.labelset_set_cpu_path(name.encode()) != 0:
        pytest.skip(f"this CPU does not have the instructions of the path {name}")
    try:
        yield
    finally:
        library.labelset_set_cpu_path(before)


def _on_cpu_path(name: str, run: Callable, logits: np.ndarray, parameter: np.ndarray) -> np.ndarray:
    with _cpu_path(name):
        return run(logits, parameter)


def _native_backends() -> Iterator[Backend]:
    for name, level in _LEVELS.items():
        backend = _onnx_backend(f"native {name}", partial(_session, level, _LIBRARY))
        yield replace(backend, missing=_NO_LIBRARY)
    for path in _CPU_PATHS:
        yield replace(
            backend,
            name=f"native {path}",
            r_softmax=partial(_on_cpu_path, path, backend.r_softmax),
            r_softmax_count=partial(_on_cpu_path, path, backend.r_softmax_count),
            missing=_NO_LIBRARY,
        )


BACKENDS = [
    *(
        Backend(f"reference {d}", np.dtype(d), reference.r_softmax, reference.r_softmax_count)
        for d in ("float16", "float32", "float64")
    ),
    *(
        Backend(
            f"torch {d}", np.dtype(d), partial(_torch, torch_op.r_softmax), partial(_torch, torch_op.r_softmax_count)
        )
        for d in ("float16", "float32", "float64")
    ),
    Backend(
        "torch with gradient float32",
        np.dtype(np.float32),
        partial(_torch_with_gradient, torch_op.r_softmax),
        partial(_torch_with_gradient, torch_op.r_softmax_count),
    ),
    *(_onnx_backend(f"onnxruntime {name}", partial(_session, level, None)) for name, level in _LEVELS.items()),
    *_native_backends(),
    _onnx_backend("onnx reference evaluator", _evaluator),
]


def _name(backend_or_case: Backend | Case) -> str:
    return backend_or_case.name


def _that_runs_here(backend: Backend) -> Backend:
    if backend.missing:
        pytest.skip(backend.missing)
    return backend


@pytest.fixture(scope="session")
def native_library() -> Path:
    """The compiled library, loaded and registered once without error."""
    if _LIBRARY is None:
        pytest.skip(_NO_LIBRARY)
    return _LIBRARY


@pytest.fixture(scope="session", params=BACKENDS, ids=_name)
def backend(request: pytest.FixtureRequest) -> Backend:
    return _that_runs_here(request.param)


@pytest.fixture(scope="session", params=[b for b in BACKENDS if b.dtype == np.float32], ids=_name)
def float32_backend(request: pytest.FixtureRequest) -> Backend:
    return _that_runs_here(request.param)


@pytest.fixture(params=CASES, ids=_name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(params=MILLION_CASES, ids=_name)
def million_case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def export_to_onnx() -> Callable[..., onnx.ModelProto]:
    return _export_to_onnx


@pytest.fixture
def rate_model() -> Callable[[int, int, int], onnx.ModelProto]:
    """A model of one node: (rank of the logits, rank of the rate, opset)."""
    return _rate_model


@pytest.fixture(params=["native", "torch"])
def answering(request, monkeypatch):
    """Both ways in turn: with the library, and as if there were none."""
    if request.param == "torch":
        monkeypatch.setattr(torch_native, "_library", lambda: None)
    elif torch_native._library() is None:
        pytest.skip("no compiled library: make native")
    return request.param


@pytest.fixture
def needs_library():
    if torch_native._library() is None:
        pytest.skip("no compiled library: make native")
