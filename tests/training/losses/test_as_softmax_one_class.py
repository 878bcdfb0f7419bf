"""AS-Softmax with one class a row (SPEC 3.2)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from training.losses import as_softmax

# Probabilities of 0.5, 0.3 and 0.2.
LOGITS = torch.tensor([[5.0, 3.0, 2.0]]).log()


@st.composite
def batches(draw):
    """Logits `[B, C]` in float64, with ties, and a class a row."""
    rows, classes = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    score = st.one_of(st.integers(-3, 3).map(float), st.floats(-20, 20))
    logits = draw(st.lists(score, min_size=rows * classes, max_size=rows * classes))
    target = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return torch.tensor(logits, dtype=torch.float64).view(rows, classes), torch.tensor(target)


def plain(logits, target, delta):
    """SPEC 3.2 as it is written, in plain numbers, for one row."""
    total = sum(math.exp(x - max(logits)) for x in logits)
    p = [math.exp(x - max(logits)) / total for x in logits]
    kept = [i for i in range(len(p)) if p[target] - p[i] <= delta]
    assert target in kept
    return -math.log(p[target] / sum(p[i] for i in kept))


@given(batches(), st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_the_loss_is_the_formula(batch, delta):
    logits, target = batch
    expected = [plain(row, right, delta) for row, right in zip(logits.tolist(), target.tolist(), strict=True)]
    actual = as_softmax(logits, target, delta, reduction="none")
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    assert as_softmax(logits, target, delta).item() == pytest.approx(sum(expected) / len(expected), abs=1e-9)


def test_values_by_hand():
    # The target leads by 0.2 and 0.3: with a delta of 0.25 the last is beaten.
    assert as_softmax(LOGITS, torch.tensor([0]), 0.25).item() == pytest.approx(math.log(8 / 5))
    # Whoever is above the target is never beaten.
    assert as_softmax(LOGITS, torch.tensor([1]), 0.25).item() == pytest.approx(-math.log(0.3))
    assert as_softmax(LOGITS, torch.tensor([1]), 0.05).item() == pytest.approx(math.log(8 / 3))


def test_a_class_is_beaten_by_a_lead_above_delta_and_not_by_one_below():
    # The last class lies 0.3 below the target, the other one 0.2.
    for delta, kept in ((0.31, 1.0), (0.29, 0.8), (0.21, 0.8), (0.19, 0.5)):
        assert as_softmax(LOGITS, torch.tensor([0]), delta).item() == pytest.approx(math.log(kept / 0.5), abs=1e-6)


@given(batches())
def test_delta_one_is_plain_softmax(batch):
    torch.testing.assert_close(as_softmax(*batch, 1.0), functional.cross_entropy(*batch))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_row_whose_opponents_are_all_beaten_has_exactly_no_loss_and_no_gradient(dtype):
    logits = torch.tensor([[9.1, -3.7, 0.3], [1.0, 0.9, 0.0]], dtype=dtype, requires_grad=True)
    losses = as_softmax(logits, torch.tensor([0, 0]), 0.5, reduction="none")
    losses.sum().backward()
    assert losses[0].item() == 0.0
    assert losses[1].item() > 0.1
    assert logits.grad[0].tolist() == [0, 0, 0]


def test_a_beaten_class_has_no_gradient_and_an_unbeaten_one_has():
    logits = LOGITS.clone().requires_grad_()
    as_softmax(logits, torch.tensor([0]), 0.25).backward()
    # Among 0.5 and 0.3 the shares are 5/8 and 3/8.
    assert logits.grad[0].tolist() == pytest.approx([-3 / 8, 3 / 8, 0])


def test_ignored_rows_have_no_loss_and_do_not_count():
    logits = torch.cat([LOGITS, LOGITS, LOGITS]).requires_grad_()
    target = torch.tensor([-100, 0, 1])
    losses = as_softmax(logits, target, 1.0, reduction="none")
    assert losses.tolist() == pytest.approx([0, math.log(2), -math.log(0.3)])
    mean = as_softmax(logits, target, 1.0)
    mean.backward()
    assert mean.item() == pytest.approx((math.log(2) - math.log(0.3)) / 2)
    assert logits.grad[0].tolist() == [0, 0, 0]
    assert as_softmax(LOGITS, torch.tensor([7]), 1.0, ignore_index=7).item() == 0


def test_tokens_of_a_batch_of_sentences_are_rows_like_others():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 4, 3, generator=generator), torch.tensor([[0, 1, -100, 2], [2, 2, 0, -100]])
    flat = as_softmax(logits.flatten(0, 1), target.flatten(), 0.2, reduction="none")
    torch.testing.assert_close(as_softmax(logits, target, 0.2, reduction="none").flatten(), flat)


@pytest.mark.parametrize("delta", [0.0, -0.1, 1.01, math.nan])
def test_a_delta_outside_its_range_is_refused(delta):
    with pytest.raises(ValueError, match=rf"delta must be in \(0, 1\], got {delta}"):
        as_softmax(LOGITS, torch.tensor([0]), delta)
