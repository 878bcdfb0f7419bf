"""The torch op with the compiled library and without it: the same answers, gradients and errors."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.sparse_softmax import native, reference, torch_native, torch_op

REPOSITORY_ROOT = Path(__file__).parents[3]
DOUBLE = torch.float64
MASK = -torch.inf
GRADIENTS = ["constant_t", "exact"]


def random_rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def rows_on_a_grid(rows, classes, seed=0):
    """No ties, and with a dyadic rate float32 places the cut exactly where float64 does."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(classes, generator=generator) for _ in range(rows)]).float() / 64 - 3


def gradient_of(logits, rate, gradient="constant_t", seed=1):
    logits = logits.detach().clone().requires_grad_()
    upstream = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    torch_op.r_softmax(logits, rate, gradient).backward(upstream.to(logits))
    return logits.grad


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_the_spec_cases_hold_either_way(answering, case, needs_gradient):
    logits = torch.from_numpy(case.logits_as(np.dtype(np.float32)))
    if case.rate is None:
        expected = reference.r_softmax_count(logits.numpy(), case.label_count)
        result = torch_op.r_softmax_count(logits.requires_grad_(needs_gradient), torch.tensor(case.label_count))
    else:
        expected = reference.r_softmax(logits.numpy(), case.rate)
        rate = torch.tensor(case.rate, dtype=DOUBLE)
        result = torch_op.r_softmax(logits.requires_grad_(needs_gradient), rate)
    numbers = result.detach().numpy()
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(np.where(np.isnan(numbers), np.nan, numbers != 0), np.asarray(case.support, float))
    np.testing.assert_allclose(numbers, expected, rtol=1e-6, atol=1e-30)


def test_a_million_classes_are_counted_exactly_either_way(answering, million_case):
    logits = torch.from_numpy(million_case.logits_as(np.dtype(np.float32)))
    assert torch.equal(torch_op.r_softmax(logits, million_case.rate) != 0, torch.from_numpy(million_case.support) != 0)


def test_it_says_what_answers(answering):
    assert torch_op.implementation(random_rows(2, 3).double()) == "torch"
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        named = torch_op.implementation(torch.zeros(2, 3, dtype=dtype))
        assert named.startswith("native (") if answering == "native" else named == "torch"


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("classes", [2, 5, 17, 65, 257, 1025])
def test_gradient_is_that_of_float64(answering, classes, gradient):
    logits = rows_on_a_grid(16, classes)
    logits[3, ::2], logits[4, 1:] = MASK, MASK
    for rate in (0, 0.25, 0.5, 0.8125, 0.984375):
        single, double = (gradient_of(scores, rate, gradient) for scores in (logits, logits.double()))
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("needs_library")
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("classes", [3, 80, 1000])
def test_random_rows_have_the_gradients_of_plain_torch(monkeypatch, classes, gradient):
    logits = random_rows(64, classes)
    rates = torch.rand(64, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    compiled = gradient_of(logits, rates, gradient)
    monkeypatch.setattr(torch_native, "_library", lambda: None)
    plain = gradient_of(logits, rates, gradient)
    # What the terms of a_i and b_i (SPEC 1.5) lose by rounding; they cancel in a row of few survivors.
    probabilities, cut, _, _ = torch.ops.labelset.r_softmax_with_cut(logits, rates, False)
    weights = (logits - cut).where(probabilities > 0, torch.inf)
    terms = (probabilities + probabilities / weights).sum(dim=-1, keepdim=True)
    assert ((compiled - plain).abs() <= 1e-6 * terms).all()


@pytest.mark.usefixtures("needs_library")
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_hard_rows_have_the_gradients_of_plain_torch(monkeypatch, gradient):
    logits = torch.tensor(
        [
            [math.nan, 1, 0, 2],
            [math.inf, 1, 0, 2],
            [MASK, math.nan, MASK, 0],
            [MASK, MASK, MASK, MASK],
            [1, 1, 1, 1],
            [MASK, 2, MASK, MASK],
            [MASK, 2, 0.5, 1],
            [0, 1, 2, 3],
        ]
    )
    rates = torch.tensor([0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 1], dtype=DOUBLE)
    compiled = gradient_of(logits, rates, gradient)
    monkeypatch.setattr(torch_native, "_library", lambda: None)
    torch.testing.assert_close(compiled, gradient_of(logits, rates, gradient), equal_nan=True)
    assert compiled[:3].isnan().all()
    assert not compiled[[3, 4, 5, 7]].any()
    assert compiled[6, 0] == 0


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_rate_out_of_range_in_a_graph_makes_its_row_nan(answering, gradient):
    logits = random_rows(4, 6)
    rates = torch.tensor([0.5, -0.1, math.nan, 1.5], dtype=DOUBLE)
    probabilities, cut, _, _ = torch.ops.labelset.r_softmax_with_cut(logits, rates, gradient == "exact")
    for result in (probabilities, torch.ops.labelset.r_softmax(logits, rates), cut):
        assert result.isnan().all(dim=-1).tolist() == [False, True, True, True]


LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T.contiguous().T,
    "sliced": lambda x: torch.cat([x, x], dim=-1)[:, 3 : 3 + x.shape[-1]],
    "every other row": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "one row for all": lambda x: x[:1].expand(x.shape),
    "negated lazily": lambda x: torch.complex(x, x).conj().imag,
    "three axes": lambda x: x.reshape(2, -1, x.shape[-1]),
    "parameter": torch.nn.Parameter,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_the_logits_does_not_matter(answering, layout):
    laid_out = layout(random_rows(8, 40)).detach()
    plain = torch.empty(laid_out.shape).copy_(laid_out)
    assert torch.equal(torch_op.r_softmax(laid_out, 0.7), torch_op.r_softmax(plain, 0.7))
    upstream = random_rows(*plain.shape, seed=5)
    gradients = []
    for logits in (laid_out.requires_grad_(), plain.requires_grad_()):
        torch_op.r_softmax(logits, 0.7).backward(upstream)
        gradients.append(logits.grad)
    assert torch.equal(*gradients)


def test_the_layout_of_the_gradient_does_not_matter(answering):
    logits = random_rows(8, 40).requires_grad_()
    for upstream in (torch.ones(()).expand(8, 40), random_rows(40, 8).T, random_rows(1, 40).expand(8, 40)):
        (laid_out,) = torch.autograd.grad(torch_op.r_softmax(logits, 0.7), logits, upstream)
        (plain,) = torch.autograd.grad(torch_op.r_softmax(logits, 0.7), logits, upstream.contiguous())
        assert torch.equal(laid_out, plain)


def test_the_layout_of_the_rates_does_not_matter(answering):
    logits = random_rows(6, 40)
    rates = torch.tensor([0.5, 0.25, 0.75, 0.125, 1, 0], dtype=DOUBLE)
    expected = torch_op.r_softmax(logits, rates)
    for laid_out in (rates.repeat_interleave(3)[::3], rates.float(), rates.clone().requires_grad_()):
        assert torch.equal(torch_op.r_softmax(logits, laid_out), expected)
    one = torch_op.r_softmax(logits, 0.5)
    for laid_out in (torch.tensor(0.5), torch.tensor([0.5]).expand(6), rates[:1].expand(6)):
        assert torch.equal(torch_op.r_softmax(logits, laid_out), one)


def test_gradient_flows_through_logits_that_are_no_leaf(answering):
    features = random_rows(8, 10).requires_grad_()
    weights = random_rows(10, 40, seed=3)
    torch_op.r_softmax_count(features @ weights, 5).square().sum().backward()
    assert features.grad.isfinite().all()
    assert features.grad.any()


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_an_empty_batch_has_an_empty_gradient(answering, shape):
    logits = torch.zeros(shape, requires_grad=True)
    torch_op.r_softmax(logits, 0.5).sum().backward()
    assert logits.grad.shape == shape


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(answering, dtype, gradient):
    logits = random_rows(16, 50).to(dtype)
    half, single = torch_op.r_softmax(logits, 0.7), torch_op.r_softmax(logits.float(), 0.7)
    assert half.dtype == dtype
    assert torch.equal(half != 0, single != 0)
    torch.testing.assert_close(
        gradient_of(logits, 0.7, gradient),
        gradient_of(logits.float(), 0.7, gradient).to(dtype),
        rtol=4 * torch.finfo(dtype).eps,
        atol=torch.finfo(dtype).eps,
    )


def test_gradient_passes_the_entries_that_half_precision_lifts_above_zero(answering):
    # The first is too improbable for float16, but lies so close to the cut that its weight pulls.
    logits = torch.tensor([[0.75, 10, 0.75 - 2**-11, 0.75 - 2**-10]], dtype=torch.float16)
    assert torch_op.r_softmax(logits, 0.5)[0, 0] == 2.0**-24
    assert torch_op.r_softmax(logits.float(), 0.5)[0, 0] < 2.0**-25
    gradients = []
    for scores in (logits, logits.float()):
        scores = scores.clone().requires_grad_()
        torch_op.r_softmax(scores, 0.5)[0, 0].backward()
        gradients.append(scores.grad.float())
    assert gradients[0][0, 0] > 1e-6
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=2.0**-24)


def test_threads_share_the_rows_without_a_trace(answering):
    logits = random_rows(512, 1000)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append((torch_op.r_softmax(logits, 0.9), gradient_of(logits, 0.9)))
    finally:
        torch.set_num_threads(threads)
    (one, one_gradient), (three, three_gradient) = results
    assert torch.equal(one, three)
    assert torch.equal(one_gradient, three_gradient)


def test_a_result_that_was_overwritten_is_noticed_as_with_softmax(answering):
    probabilities = torch_op.r_softmax(random_rows(2, 5).requires_grad_(), 0.5)
    with torch.no_grad():
        probabilities.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        probabilities.sum().backward()


_LIMITED = """
import resource, sys, torch
from model.sparse_softmax import torch_op
logits = torch.randn({rows}, {classes})
torch.set_num_threads(1)
expected = torch_op.r_softmax(logits[:400], 0.9) if {classes} == 1000 else torch_op.r_softmax(logits[:1, :5], 0.9)
torch.set_num_threads(2)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {room}, resource.RLIM_INFINITY))
try:
    probabilities = torch_op.r_softmax(logits, 0.9)
except MemoryError as error:
    sys.exit(str(error))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
torch.testing.assert_close(probabilities, expected)
"""


@pytest.mark.usefixtures("needs_library")
@pytest.mark.parametrize(
    ("rows", "classes", "room", "outcome"),
    [(2, 10**7, 100 << 20, "no memory for the scratch of a row"), (400, 1000, 6 << 20, "")],
    ids=["no memory", "no thread"],
)
def test_want_of_memory_or_threads_does_not_end_the_process(rows, classes, room, outcome):
    code = _LIMITED.format(rows=rows, classes=classes, room=room)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY_ROOT, check=False
    )
    assert done.returncode == bool(outcome), done.stderr
    assert outcome in done.stderr


@pytest.mark.parametrize("content", ["not a library", ""])
def test_a_library_that_does_not_load_is_an_error_only_where_it_was_named(monkeypatch, tmp_path, content):
    broken = tmp_path / "liblabelset.so"
    broken.write_text(content)
    monkeypatch.setattr(native, "_BUILT_LIBRARY", broken)
    monkeypatch.delenv("LABELSET_NATIVE_LIBRARY", raising=False)
    assert torch_native._library.__wrapped__() is None
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", str(broken))
    with pytest.raises(native.LibraryUnusable, match=r"LABELSET_NATIVE_LIBRARY must name a library that loads here"):
        torch_native._library.__wrapped__()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is false")
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_cuda_has_the_gradient_of_float64(dtype, gradient):
    logits = rows_on_a_grid(16, 257).to(dtype)
    logits[3, ::2] = MASK
    for rate in (0, 0.25, 0.8125, 0.984375):
        on_gpu = gradient_of(logits.cuda(), rate, gradient)
        assert on_gpu.device.type == "cuda"
        double = gradient_of(logits.double(), rate, gradient)
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(on_gpu.cpu().double(), double, rtol=max(1e-4, 4 * eps), atol=max(1e-5, 4 * eps))
