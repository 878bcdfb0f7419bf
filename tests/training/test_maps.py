import math

import entmax
import pytest
import torch

from training import maps
from training.maps import MAPS

DISTRIBUTIONS = {
    "softmax": {},
    "sparsemax": {},
    "entmax15": {},
    "sparsehourglass": {},
    "top_k_softmax": {"k": 3},
    "t_softmax": {"t": 1.5},
}


def random_logits(rows=20, classes=7, dtype=torch.float64):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def nearest_on_the_simplex(point):
    """Projection by bisection on the amount that is taken off every coordinate."""
    low, high = point.min() - 1, point.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (point - middle).clamp(min=0).sum() > 1 else (low, middle)
    return (point - low).clamp(min=0)


def test_values_by_hand():
    logits = torch.tensor([1.0, 4.0, 5.0]).log()
    assert maps.softmax(logits).tolist() == pytest.approx([0.1, 0.4, 0.5])
    assert maps.softmax(logits, threshold=0.3).tolist() == pytest.approx([0, 0.4, 0.5])
    assert maps.top_k_softmax(logits, 2).tolist() == pytest.approx([0, 4 / 9, 5 / 9])
    assert maps.sigmoid(logits).tolist() == pytest.approx([1 / 2, 4 / 5, 5 / 6])
    # tau = (1 + 0.5 - 1) / 2
    assert maps.sparsemax(torch.tensor([1.0, 0.5, -2.0])).tolist() == pytest.approx([0.75, 0.25, 0])
    # a = (1 + 3) / (3 + 3): sparsemax of (2, 1, -1) * 2/3, where tau = (4/3 + 2/3 - 1) / 2.
    assert maps.sparsehourglass(torch.tensor([2.0, 1.0, 0.0])).tolist() == pytest.approx([5 / 6, 1 / 6, 0])
    # (x / 2 - tau)^2 adds to 1 with tau = 0.
    assert maps.entmax15(torch.tensor([1.2, 1.6, -0.5])).tolist() == pytest.approx([0.36, 0.64, 0], abs=1e-6)


def test_a_probability_at_the_threshold_is_cut():
    assert maps.softmax(torch.zeros(4), threshold=0.25).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_row_is_a_distribution_in_the_order_of_the_logits(name):
    logits = random_logits()
    probabilities = MAPS[name](logits, **DISTRIBUTIONS[name])
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(len(logits)).double(), rtol=0, atol=1e-9)
    in_order = probabilities.gather(-1, logits.argsort(dim=-1))
    assert (in_order.diff(dim=-1) >= 0).all()
    assert (probabilities == 0).any() == (name != "softmax")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_one_class_has_all_the_probability(name):
    assert MAPS[name](torch.tensor([[-3.0]]), **DISTRIBUTIONS[name]).tolist() == [[1.0]]


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    for row in random_logits():
        torch.testing.assert_close(maps.sparsemax(row), nearest_on_the_simplex(row), rtol=0, atol=1e-9)


def test_sparsehourglass_is_the_nearest_point_to_the_scaled_logits():
    for row in random_logits():
        for q in (0.1, 1.0, 5.0):
            scale = (1 + 7 * q) / (abs(row.sum()) + 7 * q)
            nearest = nearest_on_the_simplex(scale * row)
            torch.testing.assert_close(maps.sparsehourglass(row, q), nearest, rtol=0, atol=1e-9)


def test_sparsehourglass_with_a_large_q_is_sparsemax():
    logits = random_logits()
    torch.testing.assert_close(maps.sparsehourglass(logits, 1e9), maps.sparsemax(logits), rtol=0, atol=1e-6)


def test_entmax15_is_the_librarys_by_bisection():
    logits = random_logits()
    expected = entmax.entmax_bisect(logits, alpha=1.5)
    torch.testing.assert_close(maps.entmax15(logits), expected, rtol=0, atol=1e-9)


def test_top_k_keeps_k_and_all_where_there_are_fewer():
    logits = random_logits()
    for k in (1, 3, 7, 50):
        assert ((maps.top_k_softmax(logits, k) > 0).sum(dim=-1) == min(k, 7)).all()
    torch.testing.assert_close(maps.top_k_softmax(logits, 50), logits.softmax(dim=-1))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        maps.top_k_softmax(logits, 0)


def test_weighted_softmax_counts_a_class_as_often_as_its_weight_says():
    weighted = MAPS["weighted_softmax"](torch.zeros(3), torch.tensor([0.0, 1.0, 3.0]))
    assert weighted.tolist() == pytest.approx([0, 1 / 4, 3 / 4])


def test_t_softmax_is_zero_from_a_distance_of_t_on():
    # The weights are 1.5 and 0.5, those of the others 0.
    probabilities = MAPS["t_softmax"](torch.tensor([2.0, 1.0, 0.5, -1.0]), 1.5)
    share = 1.5 * math.e / (1.5 * math.e + 0.5)
    assert probabilities.tolist() == pytest.approx([share, 1 - share, 0, 0])


@pytest.mark.parametrize("name", ["sparsemax", "entmax15", "sparsehourglass"])
def test_half_precision_is_computed_in_float32_and_comes_back(name):
    logits = random_logits(classes=2000, dtype=torch.bfloat16)
    probabilities = MAPS[name](logits)
    assert probabilities.dtype == torch.bfloat16
    assert torch.equal(probabilities, MAPS[name](logits.float()).bfloat16())


@pytest.mark.parametrize("name", ["sparsemax", "entmax15", "sparsehourglass", "top_k_softmax", "softmax"])
def test_the_gradient_is_that_of_the_map(name):
    logits = random_logits(rows=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: MAPS[name](x, **DISTRIBUTIONS[name]), (logits,))
