import math

import pytest
import torch
from torch.nn import functional

from training.losses.cross_entropy import am_softmax, cross_entropy

# Probabilities of 1/8, 1/4 and 5/8; above an arbitrary level.
LOGITS = torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.float64).log() + 7


def test_values_by_hand():
    two = torch.tensor([[1, 0, 1]])
    assert cross_entropy(LOGITS, two).item() == pytest.approx((math.log(8) + math.log(8 / 5)) / 2)
    # t = 0.7 (1/2, 0, 1/2) + 0.1
    smoothed = 0.45 * math.log(8) + 0.1 * math.log(4) + 0.45 * math.log(8 / 5)
    assert cross_entropy(LOGITS, two, smoothing=0.3).item() == pytest.approx(smoothed)
    # Square roots of 1, 4 and 9 out of 14 have the sum 6.
    logits = torch.tensor([[1.0, 4.0, 9.0]]).log()
    assert cross_entropy(logits, torch.tensor([[0, 0, 1]]), temperature=2.0).item() == pytest.approx(math.log(2))


def test_a_margin_by_hand():
    last = torch.tensor([[0, 0, 1]])
    # e^x is 1, 2 and 5; the margin halves the 5.
    assert am_softmax(LOGITS, last, math.log(2), 1.0).item() == pytest.approx(math.log(5.5 / 2.5))
    assert am_softmax(LOGITS, last, math.log(2), 2.0).item() == pytest.approx(math.log((1 + 4 + 6.25) / 6.25))
    # With two labels both are halved: 0.5, 2 and 2.5 out of 5.
    two = am_softmax(LOGITS, torch.tensor([[1, 0, 1]]), math.log(2), 1.0)
    assert two.item() == pytest.approx((math.log(10) + math.log(2)) / 2)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (7,), generator=generator), torch.rand(5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_with_one_label_a_row_it_is_torchs(batch, smoothing):
    logits, index, _ = batch
    expected = functional.cross_entropy(logits, index, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, functional.one_hot(index, 5), smoothing), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_with_eta_and_weights_it_is_torchs(batch, smoothing):
    logits, index, weights = batch
    targets = functional.one_hot(index, 5) + functional.one_hot((index + 2) % 5, 5)
    expected = functional.cross_entropy(
        logits, targets / 2.0, weight=weights, label_smoothing=smoothing, reduction="none"
    )
    actual = cross_entropy(logits, targets, smoothing, class_weight_C=weights, reduction="none")
    torch.testing.assert_close(actual, expected)


def test_without_margin_and_scale_it_is_plain_cross_entropy(batch):
    logits, index, weights = batch
    targets = functional.one_hot(index, 5)
    actual = am_softmax(logits, targets, 0.0, 1.0, class_weight_C=weights)
    torch.testing.assert_close(actual, cross_entropy(logits, targets, class_weight_C=weights))
