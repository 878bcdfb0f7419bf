"""What only the torch op has: half precision, gradients, devices, and the rules of a registered operator."""

import math

import numpy as np
import pytest
import torch

from model.sparse_softmax import reference, torch_op

DOUBLE = torch.float64
MASK = -torch.inf
# No ties, and no entry close to a cut: finite differences stay on one side of every corner.
LOGITS = torch.tensor(
    [
        [3.0, 1.0, 2.0, 0.2, -1.5],
        [-0.3, 2.2, 0.9, 1.4, 3.1],
        [MASK, 0.7, -1.9, MASK, 1.2],
        [9.0, -40.0, 8.5, 8.75, 0.0],
    ],
    dtype=DOUBLE,
)
RATES = [0.0, 0.13, 0.37, 0.62, 0.9, 1.0]


def t_softmax_in_pieces(logits, t):
    """The formula of SPEC 1.2, left to autograd."""
    weights = torch.relu(logits - logits.amax(dim=-1, keepdim=True) + t)
    masses = weights * logits.exp()
    return masses / masses.sum(dim=-1, keepdim=True)


def r_softmax_in_pieces(logits, rate):
    """The formula of SPEC 1.3 for unmasked logits, left to autograd."""
    cut = torch.quantile(logits, rate, dim=-1, keepdim=True)
    masses = torch.relu(logits - cut) * logits.exp()
    return masses / masses.sum(dim=-1, keepdim=True)


def gradient_of(function, logits, seed=0):
    logits = logits.detach().clone().requires_grad_()
    probabilities = function(logits)
    weights = torch.randn(probabilities.shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    (probabilities * weights.to(probabilities.dtype)).sum().backward()
    return logits.grad


@pytest.mark.parametrize("rate", RATES)
def test_exact_gradient_is_that_of_finite_differences(rate):
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch_op.r_softmax(x, rate, gradient="exact"), logits)


@pytest.mark.parametrize("rate", RATES[1:-1])  # At r = 0 an entry lies on the cut.
def test_constant_t_gradient_is_that_of_finite_differences_with_t_held(rate):
    logits = LOGITS[[0, 1, 3]]
    t = logits.amax(dim=-1) - torch.quantile(logits, rate, dim=-1)
    analytic = torch.autograd.functional.jacobian(lambda x: torch_op.r_softmax(x, rate), logits)
    step = 1e-6
    for index in np.ndindex(*logits.shape):
        nudge = torch.zeros_like(logits)
        nudge[index] = step
        numeric = (torch_op.t_softmax(logits + nudge, t) - torch_op.t_softmax(logits - nudge, t)) / (2 * step)
        torch.testing.assert_close(analytic[(..., *index)], numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rate", RATES[:-1])
def test_both_gradients_are_those_of_autograd_on_the_plain_formulas(rate):
    logits = torch.randn(16, 33, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    t = (logits.amax(dim=-1) - torch.quantile(logits, rate, dim=-1)).unsqueeze(-1)
    torch.testing.assert_close(
        gradient_of(lambda x: torch_op.r_softmax(x, rate), logits),
        gradient_of(lambda x: t_softmax_in_pieces(x, t), logits),
    )
    torch.testing.assert_close(
        gradient_of(lambda x: torch_op.r_softmax(x, rate, gradient="exact"), logits),
        gradient_of(lambda x: r_softmax_in_pieces(x, rate), logits),
    )


def test_the_two_gradients_differ():
    constant_t = gradient_of(lambda x: torch_op.r_softmax(x, 0.37), LOGITS)
    exact = gradient_of(lambda x: torch_op.r_softmax(x, 0.37, gradient="exact"), LOGITS)
    assert not torch.allclose(constant_t, exact)


@pytest.mark.parametrize("gradient", ["constant_t", "exact"])
@pytest.mark.parametrize("rate", RATES)
def test_gradient_of_a_row_sums_to_zero(rate, gradient):
    # Adding a constant to a row leaves its probabilities unchanged.
    sums = gradient_of(lambda x: torch_op.r_softmax(x, rate, gradient), LOGITS).sum(dim=-1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gradient", ["constant_t", "exact"])
def test_gradient_is_zero_where_no_small_step_matters(gradient):
    logits = torch.tensor([[MASK, MASK, MASK], [1, 1, 1], [MASK, 2, 0], [5, 1, 0]], dtype=DOUBLE)
    rates = torch.tensor([0.5, 0.5, 0.5, 1.0], dtype=DOUBLE)
    assert not gradient_of(lambda x: torch_op.r_softmax(x, rates, gradient), logits).any()


@pytest.mark.parametrize("gradient", ["constant_t", "exact"])
def test_a_broken_row_has_no_number_for_a_gradient_and_spoils_no_other(gradient):
    logits = torch.tensor([[math.nan, 1, 0], [math.inf, 1, 0], [2, 1, 0]], dtype=DOUBLE)
    result = gradient_of(lambda x: torch_op.r_softmax(x, 0.4, gradient), logits)
    assert result[:2].isnan().all()
    assert result[2].isfinite().all()
    assert result[2].any()


def test_gradient_at_the_edges_of_the_type_is_finite():
    info = torch.finfo(torch.float32)
    logits = torch.tensor([[1, -1, 0.5, 0]]) * torch.tensor([[info.max], [info.tiny], [1e4]])
    assert gradient_of(lambda x: torch_op.r_softmax(x, 0.3), logits).isfinite().all()


def test_label_count_has_the_gradient_of_its_rate():
    counts = torch.tensor([2, 3, 1, 0])
    rates = torch.tensor([3 / 5, 2 / 5, 2 / 3, 1], dtype=DOUBLE)
    by_count = gradient_of(lambda x: torch_op.r_softmax_count(x, counts, "exact"), LOGITS)
    by_rate = gradient_of(lambda x: torch_op.r_softmax(x, rates, "exact"), LOGITS)
    torch.testing.assert_close(by_count[:3], by_rate[:3])
    assert not by_count[3].any()


def test_a_second_derivative_is_refused():
    logits = LOGITS.clone().requires_grad_()
    loss = torch_op.r_softmax(logits, 0.5).square().sum()
    (first,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype):
    logits = (torch.randn(64, 50, generator=torch.Generator().manual_seed(0)) * 8).to(dtype)
    half, single = torch_op.r_softmax(logits, 0.7), torch_op.r_softmax(logits.float(), 0.7)
    assert half.dtype == dtype
    assert torch.equal(half != 0, single != 0)
    smallest = 2.0**-24 if dtype == torch.float16 else torch.finfo(dtype).tiny
    assert torch.equal(half, torch.where(single != 0, single.to(dtype).clamp(min=smallest), 0))


@pytest.mark.parametrize("gradient", ["constant_t", "exact"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradient_is_that_of_float32(dtype, gradient):
    logits = torch.randn(8, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    upstream = torch.randn(8, 20, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradients = []
    for scores in (logits, logits.float()):
        scores = scores.clone().requires_grad_()
        torch_op.r_softmax(scores, 0.6, gradient).backward(upstream.to(scores.dtype))
        gradients.append(scores.grad.float())
    torch.testing.assert_close(*gradients, rtol=2 * torch.finfo(dtype).eps, atol=1e-3 * torch.finfo(dtype).eps)


def test_one_rate_serves_every_row():
    rate = torch.tensor(0.4, dtype=DOUBLE)
    assert torch.equal(torch_op.r_softmax(LOGITS, 0.4), torch_op.r_softmax(LOGITS, rate))
    assert torch.equal(torch_op.r_softmax(LOGITS, 0.4), torch_op.r_softmax(LOGITS, rate.expand(4)))
    assert torch.equal(torch_op.r_softmax_count(LOGITS, 2), torch_op.r_softmax_count(LOGITS, torch.full((4,), 2)))


@pytest.mark.parametrize("exact", [False, True])
def test_the_operators_keep_the_rules_of_torch_library(exact):
    rates = torch.tensor([0.1, 0.4, 0.8, 1.0], dtype=DOUBLE)
    for logits in (LOGITS, LOGITS.float(), LOGITS.bfloat16(), LOGITS.T.contiguous().T):
        torch.library.opcheck(torch.ops.labelset.r_softmax.default, (logits, rates))
        torch.library.opcheck(
            torch.ops.labelset.r_softmax_with_cut.default, (logits.clone().requires_grad_(), rates, exact)
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is false")
def test_cuda_agrees_with_the_reference(case):
    logits = torch.from_numpy(case.logits_as(np.dtype(np.float32))).cuda().requires_grad_()
    if case.rate is None:
        probabilities = torch_op.r_softmax_count(logits, torch.tensor(case.label_count).cuda())
    else:
        probabilities = torch_op.r_softmax(logits, torch.tensor(case.rate, dtype=DOUBLE).cuda())
    probabilities.sum().backward()
    numbers = probabilities.detach().cpu().numpy()
    np.testing.assert_array_equal(np.where(np.isnan(numbers), np.nan, numbers != 0), np.asarray(case.support, float))


def test_weights_of_one_give_softmax():
    torch.testing.assert_close(torch_op.weighted_softmax(LOGITS, torch.ones_like(LOGITS)), LOGITS.softmax(dim=-1))


def test_weighted_softmax_is_that_of_the_reference():
    weights = torch.rand(LOGITS.shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).round(decimals=1)
    weights[0] = torch.tensor([1e-300, 1e300, 0, 1, 5], dtype=DOUBLE)
    expected = reference.weighted_softmax(LOGITS.numpy(), weights.numpy())
    np.testing.assert_allclose(torch_op.weighted_softmax(LOGITS, weights).numpy(), expected, rtol=1e-12)
    # Weights of a wider type than the logits keep their range.
    narrow = torch_op.weighted_softmax(LOGITS.float(), weights)
    np.testing.assert_array_equal(narrow.numpy() != 0, expected != 0)


@pytest.mark.parametrize("t", [1e-3, 0.5, 1.7, 5.0, 1e300])
def test_t_softmax_is_that_of_the_reference(t):
    expected = reference.t_softmax(LOGITS.numpy(), t)
    np.testing.assert_allclose(torch_op.t_softmax(LOGITS, t).numpy(), expected, rtol=1e-12)


def test_t_softmax_runs_from_one_hot_to_softmax():
    assert torch_op.t_softmax(LOGITS[0], 1.0).tolist() == [1, 0, 0, 0, 0]
    torch.testing.assert_close(torch_op.t_softmax(LOGITS[0], 1e12), LOGITS[0].softmax(dim=-1))


def test_weighted_and_t_softmax_know_the_hard_rows():
    logits = torch.tensor([[MASK, MASK], [math.nan, 1], [math.inf, 1], [MASK, 1]])
    expected = torch.tensor([[0, 0], [math.nan, math.nan], [math.nan, math.nan], [0, 1]])
    for result in (torch_op.t_softmax(logits, 1.0), torch_op.weighted_softmax(logits, torch.ones_like(logits))):
        assert torch.equal(result.nan_to_num(7), expected.nan_to_num(7))


def test_gradients_of_t_and_of_weights_are_those_of_finite_differences():
    logits = LOGITS.clone().requires_grad_()
    t = torch.tensor([1.7, 2.5, 4.0, 0.4], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(torch_op.t_softmax, (logits, t))
    weights = (
        torch.rand(LOGITS.shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).add(0.1).requires_grad_()
    )
    assert torch.autograd.gradcheck(torch_op.weighted_softmax, (logits, weights))


def test_a_row_that_is_masked_as_a_whole_has_no_gradient():
    logits = torch.tensor([[MASK, MASK], [1.0, 0.0]], requires_grad=True)
    parameters = torch.tensor([1.5, 1.5], requires_grad=True), torch.ones(2, 2, requires_grad=True)
    for function, parameter in zip((torch_op.t_softmax, torch_op.weighted_softmax), parameters, strict=True):
        logits.grad = None
        function(logits, parameter)[:, 0].sum().backward()
        for gradient in (logits.grad, parameter.grad):
            assert not gradient[0].any()
            assert gradient[1].all()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("rate", [-0.1, 1.5, math.nan, math.inf])
def test_a_rate_outside_its_range_is_named(rate):
    with pytest.raises(ValueError, match=rf"sparsity rate must be in \[0, 1\], got {rate}"):
        torch_op.r_softmax(LOGITS, torch.tensor([0.5, 0, 1, rate], dtype=DOUBLE))
    with pytest.raises(ValueError, match=rf"got {rate}"):
        torch_op.r_softmax(LOGITS, rate)


@pytest.mark.parametrize("call", [torch_op.r_softmax, torch_op.r_softmax_count, torch_op.t_softmax])
@pytest.mark.parametrize("shape", [(3,), (4, 1), (1,), (0,)])
def test_a_parameter_of_another_batch_is_refused(call, shape):
    with pytest.raises(ValueError, match=rf"one per row, \(4,\), got \({shape[0]},"):
        call(LOGITS, torch.ones(shape))


@pytest.mark.parametrize("t", [0, -2, math.inf, math.nan])
def test_a_t_outside_its_range_is_named(t):
    with pytest.raises(ValueError, match=f"t must be finite and above 0, got {t}"):
        torch_op.t_softmax(LOGITS, t)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1, -3]], "weights must be finite and at least 0, got -3"),
        ([[1, math.nan]], "weights must be finite and at least 0, got nan"),
        ([[0, 0]], "sum of a row's weights must be above 0, got 0"),
        ([1, 1], r"shape of the logits, \(1, 2\), got \(2,\)"),
    ],
)
def test_weights_that_are_not_allowed_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        torch_op.weighted_softmax(torch.zeros(1, 2), torch.tensor(weights, dtype=torch.float32))


def test_other_arguments_that_are_not_allowed_are_named():
    with pytest.raises(ValueError, match="label count must be at least 0, got -1"):
        torch_op.r_softmax_count(LOGITS, torch.tensor([0, 1, -1, 2]))
    with pytest.raises(ValueError, match=r"gradient must be .* got 'straight'"):
        torch_op.r_softmax(LOGITS, 0.5, gradient="straight")
    with pytest.raises(ValueError, match=r"at least one class, got shape \(2, 0\)"):
        torch_op.r_softmax(torch.zeros(2, 0), 0.5)
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        torch_op.r_softmax(torch.zeros(2, dtype=torch.int64), 0.5)
