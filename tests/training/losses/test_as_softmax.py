"""AS-Softmax for label sets (SPEC 3.4)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import as_softmax_multilabel


@st.composite
def batches(draw):
    """Logits `[B, C]` in float64, with ties, and multi-hot targets, with empty and full rows."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    score = st.one_of(st.integers(-3, 3).map(float), st.floats(-20, 20))
    logits = draw(st.lists(score, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    targets = draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits)))
    return torch.tensor(logits, dtype=torch.float64).view(shape), torch.tensor(targets).view(shape)


def plain(logits, targets, delta):
    """SPEC 3.4 as it is written, in plain numbers, for one row."""
    total = sum(math.exp(x - max(logits)) for x in logits)
    p = [math.exp(x - max(logits)) / total for x in logits]
    positive = [i for i, present in enumerate(targets) if present]
    negative = [i for i, present in enumerate(targets) if not present]
    kept_negative = [i for i in negative if not positive or min(p[j] for j in positive) - p[i] <= delta]
    kept_positive = [i for i in positive if not negative or p[i] - max(p[j] for j in negative) <= delta]
    return math.log(1 + sum(math.exp(logits[i]) for i in kept_negative)) + math.log(
        1 + sum(math.exp(-logits[i]) for i in kept_positive)
    )


@given(batches(), st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_the_loss_is_the_formula(batch, delta):
    logits, targets = batch
    rows = zip(logits.tolist(), targets.tolist(), strict=True)
    expected = torch.tensor([plain(*row, delta) for row in rows], dtype=torch.float64)
    actual = as_softmax_multilabel(logits, targets, delta, reduction="none")
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(as_softmax_multilabel(logits, targets, delta), expected.mean())


def test_a_value_by_hand():
    # log(1 + e^0) + log(1 + e^-0): one negative and one positive, both at 0.
    loss = as_softmax_multilabel(torch.zeros(1, 2), torch.tensor([[1, 0]]), delta=0.1)
    assert loss.item() == pytest.approx(2 * math.log(2))


@given(batches())
def test_delta_one_is_the_plain_multi_label_softmax_loss(batch):
    logits, targets = batch
    negative = (logits.exp() * ~targets).sum(dim=1)
    positive = ((-logits).exp() * targets).sum(dim=1)
    actual = as_softmax_multilabel(logits, targets, 1.0, reduction="none")
    torch.testing.assert_close(actual, (1 + negative).log() + (1 + positive).log(), rtol=1e-9, atol=1e-12)


def test_a_beaten_negative_has_no_gradient_and_an_unbeaten_one_has():
    # Probabilities are about 0.475, 0.475, 0.047 and 0.002: with delta 0.3 the last two are beaten.
    logits = torch.tensor([[5.0, 5.0, 2.7, -0.5]], requires_grad=True)
    as_softmax_multilabel(logits, torch.tensor([[1, 0, 0, 0]]), delta=0.3).backward()
    assert logits.grad[0, 1] > 0
    assert logits.grad[0, 2:].tolist() == [0, 0]


def test_a_row_whose_opponents_are_all_beaten_has_no_loss_and_no_gradient():
    logits = torch.tensor([[9.0, -9.0, -9.0], [1.0, 1.0, 0.0]], requires_grad=True)
    losses = as_softmax_multilabel(logits, torch.tensor([[1, 0, 0], [1, 0, 0]]), delta=0.5, reduction="none")
    losses.sum().backward()
    assert losses[0] == 0
    assert losses[1] > 0
    assert logits.grad[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("delta", [0.01, 0.3, 1.0])
def test_a_row_without_positives_keeps_all_its_negatives_and_the_reverse(delta):
    logits = torch.tensor([[6.0, -3.0, -4.0]])
    nothing = as_softmax_multilabel(logits, torch.zeros(1, 3), delta)
    everything = as_softmax_multilabel(logits, torch.ones(1, 3), delta)
    torch.testing.assert_close(nothing, (1 + logits.exp().sum()).log())
    torch.testing.assert_close(everything, (1 + (-logits).exp().sum()).log())


def test_the_gradient_is_that_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(5, 6, generator=generator) < 0.4
    for delta in (0.05, 0.5, 1.0):
        assert torch.autograd.gradcheck(
            lambda x, d=delta: as_softmax_multilabel(x, targets, d, reduction="none"), (logits,)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_logits_overflow_neither_the_loss_nor_its_gradient(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    losses = as_softmax_multilabel(logits, torch.tensor([[0, 1, 0], [1, 0, 0]]), 1.0, reduction="none")
    losses.sum().backward()
    torch.testing.assert_close(losses, torch.tensor([2e4, 2e4 + math.log(2)]), rtol=1e-2, atol=0)
    assert logits.grad.isfinite().all()


def test_targets_are_left_as_they_are():
    targets = torch.tensor([[1, 0, 1]])
    as_softmax_multilabel(torch.randn(1, 3), targets, 0.1)
    assert targets.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_targets_may_be_bool_or_numbers(kind):
    logits, targets = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1, 0, 0]])
    torch.testing.assert_close(
        as_softmax_multilabel(logits, targets.to(kind), 0.3), as_softmax_multilabel(logits, targets, 0.3)
    )


@pytest.mark.parametrize("delta", [0.0, -0.1, 1.01, math.nan])
def test_a_delta_outside_its_range_is_refused(delta):
    with pytest.raises(ValueError, match=rf"delta must be in \(0, 1\], got {delta}"):
        as_softmax_multilabel(torch.zeros(1, 2), torch.tensor([[1, 0]]), delta)


def test_delta_scaled_by_the_label_count_is_that_delta_over_the_count_of_each_row():
    generator = torch.Generator().manual_seed(0)
    logits, targets = 2 * torch.randn(40, 6, generator=generator), torch.rand(40, 6, generator=generator) < 0.5
    targets[0] = False
    scaled = as_softmax_multilabel(logits, targets, 0.6, delta_scaling="label_count", reduction="none")
    for row, count in enumerate(targets.sum(dim=1).clamp(min=1).tolist()):
        alone = as_softmax_multilabel(logits[row : row + 1], targets[row : row + 1], 0.6 / count)
        assert scaled[row].item() == pytest.approx(alone.item(), rel=1e-6, abs=1e-6)


def test_scaling_masks_rows_with_many_labels_where_a_fixed_delta_cannot():
    # Four labels share the probability: none can lie 0.3 above an absent one, but 0.3 / 4 they can.
    logits, targets = torch.tensor([[4.0, 4.0, 4.0, 4.0, -4.0]]), torch.tensor([[1, 1, 1, 1, 0]])
    assert as_softmax_multilabel(logits, targets, 0.3) > 0.05
    assert as_softmax_multilabel(logits, targets, 0.3, delta_scaling="label_count").item() == 0


def test_an_opponent_is_beaten_by_a_lead_above_delta_and_not_by_one_below():
    # Probabilities of 0.6 and 0.4: either is the other's only opponent, 0.2 apart.
    logits, targets = torch.tensor([[0.6, 0.4]]).log(), torch.tensor([[1, 0]])
    kept = math.log(1 + 0.4) + math.log(1 + 1 / 0.6)
    assert as_softmax_multilabel(logits, targets, 0.21).item() == pytest.approx(kept)
    assert as_softmax_multilabel(logits, targets, 0.19).item() == 0


def test_a_weight_counts_only_for_a_present_label_that_is_kept():
    # Probabilities of 0.6, 0.25 and 0.15: with 0.4 the first label is 0.45 above the absent one and masked.
    logits, targets = torch.tensor([[0.6, 0.25, 0.15]]).log(), torch.tensor([[1, 1, 0]])
    plain_loss = as_softmax_multilabel(logits, targets, 0.4).item()
    assert plain_loss == pytest.approx(math.log(1 + 0.15) + math.log(1 + 1 / 0.25))
    first = as_softmax_multilabel(logits, targets, 0.4, class_weight_C=torch.tensor([9.0, 1.0, 9.0]))
    assert first.item() == pytest.approx(plain_loss)
    second = as_softmax_multilabel(logits, targets, 0.4, class_weight_C=torch.tensor([1.0, 9.0, 1.0]))
    assert second.item() == pytest.approx(math.log(1 + 0.15) + math.log(1 + 9 / 0.25))
