"""The CUDA kernels: on a device through their C interface and in onnxruntime; without one, as far as a CPU can tell."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from model.sparse_softmax import native, reference, torch_plain

SOURCES = Path(native.__file__).parent / "native"
HEADERS = [
    *filter(None, [os.environ.get("ONNXRUNTIME_INCLUDE_DIR")]),
    "/usr/include/onnxruntime",
    SOURCES / "build" / "headers" / "usr" / "include" / "onnxruntime",
]
POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
ARGUMENTS = {
    "labelset_cuda_r_softmax": [POINTER, INT, POINTER, LONG, LONG, LONG, POINTER, POINTER],
    "labelset_cuda_r_softmax_forward": [POINTER, INT, POINTER, LONG, LONG, LONG, INT, *[POINTER] * 5],
    "labelset_cuda_r_softmax_backward": [POINTER, INT, *[POINTER] * 5, LONG, LONG, POINTER, POINTER],
}


def _kernels():
    """The library's CUDA entry points, or the reason why they cannot run here."""
    path = native.library_path()
    if path is None:
        return "model.sparse_softmax.native.library_path() is None"
    library = ctypes.CDLL(str(path))
    if not hasattr(library, "labelset_cuda_r_softmax"):
        return f"{path.name} has no labelset_cuda_r_softmax: it is built without CUDA"
    if not torch.cuda.is_available():
        return "torch.cuda.is_available() is false"
    for name, arguments in ARGUMENTS.items():
        getattr(library, name).argtypes = arguments
    return library


@pytest.fixture(scope="module")
def kernels():
    library = _kernels()
    if isinstance(library, str):
        pytest.skip(library)
    return library


def _launch(library, name, *arguments):
    values = [argument.data_ptr() if isinstance(argument, torch.Tensor) else argument for argument in arguments]
    assert getattr(library, name)(*values, torch.cuda.current_stream().cuda_stream) == 0
    torch.cuda.synchronize()


def _is_half(tensor):
    return int(tensor.dtype == torch.float16)


def _r_softmax(library, logits, rate):
    """As `reference.r_softmax`, by the kernel; the output begins as numbers that no row can hold."""
    on_device = torch.from_numpy(np.ascontiguousarray(logits)).cuda()
    rates = torch.from_numpy(np.array(rate, dtype=np.float64)).cuda()
    probabilities = torch.full_like(on_device, -7)
    rows, classes = logits.size // logits.shape[-1], logits.shape[-1]
    step = int(rates.ndim > 0)
    _launch(
        library, "labelset_cuda_r_softmax", on_device, _is_half(on_device), rates, step, rows, classes, probabilities
    )
    return probabilities.cpu().numpy()


def _assert_like_reference(probabilities, logits, rate):
    expected = reference.r_softmax(logits, rate)
    np.testing.assert_array_equal(probabilities == 0, expected == 0)
    half = logits.dtype == np.float16
    np.testing.assert_allclose(probabilities, expected, rtol=2e-3 if half else 1e-5, atol=2**-24 if half else 1e-30)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_zero_pattern_is_that_of_the_spec(kernels, case, dtype):
    logits = case.logits_as(np.dtype(dtype))
    rate, wanted = case.rate, 1
    if rate is None:
        unmasked, counts = (logits != -np.inf).sum(axis=-1), np.asarray(case.label_count)
        rate, wanted = np.maximum(unmasked - counts, 0) / np.maximum(unmasked, 1), (counts > 0)[..., np.newaxis]
    probabilities = _r_softmax(kernels, logits, rate) * wanted
    pattern = np.where(np.isnan(probabilities), np.nan, probabilities != 0)
    np.testing.assert_array_equal(pattern, np.asarray(case.support, dtype=float))


@pytest.mark.gpu
def test_a_rate_of_m_over_n_gives_exactly_m_zeros_of_a_million(kernels, million_case):
    probabilities = _r_softmax(kernels, million_case.logits_as(np.dtype(np.float32)), million_case.rate)
    np.testing.assert_array_equal(probabilities != 0, million_case.support)


# Every way to hold a row, and both sides of every border between them; odd numbers are read one by one.
CLASSES = [1, 2, 31, 32, 33, 127, 128, 129, 256, 264, 512, 520, 1000, 1001, 1024, 1025, 1032, 4000, 4097, 8200, 16_392]
CLASSES += [25_600, 25_608, 32_001, 57_000, 100_000, 100_001, 232_000, 464_008, 1_000_000, 1_000_003]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("classes", CLASSES)
def test_random_rows_have_the_zeros_and_the_values_of_the_reference(kernels, classes, dtype):
    rng = np.random.default_rng(classes)
    rates = np.array([0, 1, 0.5, 0.9, 0.99, max(0, 1 - 5 / classes), *rng.random(3)])
    logits = rng.normal(0, 3, (len(rates), classes)).astype(dtype)
    logits[-1] = np.round(logits[-1])
    logits[-2, rng.random(classes) < 0.5] = -np.inf
    _assert_like_reference(_r_softmax(kernels, logits, rates), logits, rates)


@pytest.mark.gpu
@pytest.mark.parametrize("classes", [5000, 1_000_000])
@pytest.mark.parametrize("shape", ["ascending", "descending", "all sizes", "few values"])
def test_rows_that_mislead_a_search_or_a_sample(kernels, shape, classes):
    rng = np.random.default_rng(0)
    row = {
        "ascending": np.arange(classes) / 7,
        "descending": -np.arange(classes) / 7,
        "all sizes": np.ldexp(rng.normal(size=classes), rng.integers(-140, 120, classes)),
        "few values": rng.integers(0, 4, classes),
    }[shape].astype(np.float32)
    rates = np.array([0.1, 0.5, 0.999])
    logits = np.stack([row] * len(rates))
    _assert_like_reference(_r_softmax(kernels, logits, rates), logits, rates)


@pytest.mark.gpu
@pytest.mark.parametrize("classes", [7, 1100])
def test_more_rows_than_a_grid_is_high(kernels, classes):
    few = np.random.default_rng(0).normal(size=(100, classes)).astype(np.float32)
    probabilities = _r_softmax(kernels, np.tile(few, (700, 1)), 0.8)
    expected = _r_softmax(kernels, few, 0.8)
    assert probabilities.shape == (70_000, classes)
    np.testing.assert_array_equal(
        probabilities.reshape(700, 100, classes), np.broadcast_to(expected, (700, 100, classes))
    )
    _assert_like_reference(expected, few, 0.8)


@pytest.mark.gpu
def test_rows_that_begin_anywhere_in_memory(kernels):
    memory = torch.randn(1 + 40 * 1000, device="cuda")
    logits, probabilities = memory[1:].view(40, 1000), torch.full((1 + 40 * 1000,), -7.0, device="cuda")
    rate = torch.tensor(0.9, dtype=torch.float64, device="cuda")
    _launch(kernels, "labelset_cuda_r_softmax", logits, 0, rate, 0, 40, 1000, probabilities[1:])
    assert probabilities[0] == -7
    _assert_like_reference(probabilities[1:].view(40, 1000).cpu().numpy(), logits.cpu().numpy(), 0.9)


@pytest.mark.gpu
@pytest.mark.parametrize("rate", [-0.1, 1.5, np.nan])
@pytest.mark.parametrize("classes", [10, 5000, 1_000_000])
def test_a_rate_outside_its_range_spoils_its_row_alone(kernels, rate, classes):
    logits = np.random.default_rng(0).normal(size=(2, classes)).astype(np.float32)
    probabilities = _r_softmax(kernels, logits, [rate, 0.5])
    assert np.isnan(probabilities[0]).all()
    _assert_like_reference(probabilities[1:], logits[1:], 0.5)


def _forward(library, logits, rates, exact):
    rows, classes = logits.shape
    results = [
        torch.full_like(logits, -7),
        torch.full((rows,), -7.0, device="cuda"),
        torch.full((rows, 2), -7, dtype=torch.int64, device="cuda"),
        torch.full((rows, 2), -7.0, device="cuda"),
    ]
    name = "labelset_cuda_r_softmax_forward"
    _launch(library, name, logits, _is_half(logits), rates, 1, rows, classes, exact, *results)
    return results


@pytest.mark.gpu
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("classes", [5, 1000, 1001, 5000, 100_000])
def test_cut_and_what_moves_it_are_those_of_plain_torch(kernels, classes, exact):
    logits = torch.randn(6, classes, generator=torch.Generator().manual_seed(0))
    rates = torch.tensor([0, 0.2, 0.5, 0.9, 0.99, 1], dtype=torch.float64)
    probabilities, cut, anchors, shares = _forward(kernels, logits.cuda(), rates.cuda(), exact)
    _, cut_R1, anchors_R2, shares_R2 = torch_plain.forward(logits, rates, exact)
    assert torch.equal(cut.cpu(), cut_R1.squeeze(-1))
    assert torch.equal(logits.gather(-1, anchors.cpu()), logits.gather(-1, anchors_R2))
    assert torch.equal(shares.cpu(), shares_R2)
    _assert_like_reference(probabilities.cpu().numpy(), logits.numpy(), rates.numpy())


def _plain_gradient(logits, cut, anchors, shares, upstream):
    """SPEC 1.5 in float64, by the cut and the anchors that are given: among ties another one may stand for all."""
    weights = (logits.double() - cut.double().unsqueeze(-1)).clamp(min=0)
    masses = weights * (logits.double() - logits.double().amax(dim=-1, keepdim=True)).exp()
    probabilities = masses / masses.sum(dim=-1, keepdim=True).clamp(min=1e-300)
    upstream = upstream.double()
    pulls = probabilities * (upstream - (probabilities * upstream).sum(dim=-1, keepdim=True))
    through_weights = torch.where(weights > 0, pulls / weights, 0)
    gradient = pulls + through_weights
    return gradient.scatter_add(-1, anchors, -shares.double() * through_weights.sum(dim=-1, keepdim=True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("classes", [5, 1000, 1001, 5000, 100_000])
def test_gradient_is_that_of_the_formula_in_float64(kernels, classes, exact, dtype):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(5, classes, generator=generator).to(dtype)
    upstream = torch.randn(5, classes, generator=generator).to(dtype)
    rates = torch.tensor([0.1, 0.5, 0.9, 0.99, 1], dtype=torch.float64)
    on_device = logits.cuda()
    probabilities, cut, anchors, shares = _forward(kernels, on_device, rates.cuda(), exact)
    gradient = torch.full_like(on_device, -7)
    arguments = [on_device, _is_half(on_device), probabilities, cut, anchors, shares, upstream.cuda(), 5, classes]
    _launch(kernels, "labelset_cuda_r_softmax_backward", *arguments, gradient)

    expected = _plain_gradient(logits, *(result.cpu() for result in (cut, anchors, shares)), upstream)
    error = (gradient.cpu().double() - expected).abs() / expected.abs().amax(dim=-1, keepdim=True).clamp(min=1e-30)
    assert error.max() < (2e-3 if dtype == torch.float16 else 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("classes", [20, 1000, 50_000])
def test_onnxruntime_runs_it_on_its_cuda_provider(kernels, classes, dtype):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime.get_available_providers() has no CUDAExecutionProvider")
    session = _session(native.library_path(), dtype, ["CUDAExecutionProvider"])
    rng = np.random.default_rng(0)
    logits, rates = rng.normal(0, 3, (50, classes)).astype(dtype), rng.random(50)
    [probabilities] = session.run(None, {"logits": logits, "rate": rates})
    _assert_like_reference(probabilities, logits, rates)


def _session(library, dtype, providers):
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("RSoftmax", ["logits", "rate"], ["probabilities"], domain="ai.labelset")],
        "one_node",
        [
            onnx.helper.make_tensor_value_info("logits", element, ["B", "C"]),
            onnx.helper.make_tensor_value_info("rate", onnx.TensorProto.DOUBLE, ["B"]),
        ],
        [onnx.helper.make_tensor_value_info("probabilities", element, ["B", "C"])],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.labelset", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library))
    # A node that falls back to the CPU would prove nothing.
    if providers == ["CUDAExecutionProvider"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="shutil.which('c++') is None")
def test_row_algorithm_of_the_gpu_agrees_with_sorting_on_emulated_threads(tmp_path):
    program = tmp_path / "fuzz_rows"
    options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-ffp-contract=off"]
    subprocess.run(["c++", *options, "-o", program, SOURCES / "cuda" / "fuzz_rows.cpp"], check=True)
    subprocess.run([program, "20000", "0"], check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="shutil.which('nvcc') is None")
@pytest.mark.skipif(shutil.which("cmake") is None, reason="shutil.which('cmake') is None")
def test_a_library_with_cuda_serves_the_cpu_where_there_is_no_driver(tmp_path):
    headers = [folder for folder in HEADERS if (Path(folder) / "onnxruntime_c_api.h").is_file()]
    if not headers:
        pytest.skip(f"no onnxruntime_c_api.h in {', '.join(map(str, HEADERS))}")
    definitions = [
        "-DLABELSET_WITH_CUDA=ON",
        "-DCMAKE_CUDA_ARCHITECTURES=90",
        f"-DONNXRUNTIME_INCLUDE_DIR={headers[0]}",
    ]
    subprocess.run(["cmake", "-S", SOURCES, "-B", tmp_path, *definitions], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path, "--target", "labelset"], check=True, capture_output=True)
    library = tmp_path / "liblabelset.so"

    needed = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
    assert "libcuda" not in needed
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float16):
        logits, rates = rng.normal(0, 5, (50, 1000)).astype(dtype), rng.random(50)
        session = _session(library, dtype, ["CPUExecutionProvider"])
        [probabilities] = session.run(None, {"logits": logits, "rate": rates})
        _assert_like_reference(probabilities, logits, rates)
