import math

import entmax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training import maps
from training.losses.fenchel_young import entmax15, sparsemax_huber

MAP_OF = {sparsemax_huber: maps.sparsemax, entmax15: maps.entmax15}


def random_batch(rows=20, classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.rand(rows, classes, generator=generator) < 0.4


def test_sparsemax_values_by_hand():
    # tau = (1 + 0.5 - 1) / 2 = 0.25, so p = (0.75, 0.25, 0) and its entropy is (1 - 0.625) / 2 = 0.1875.
    logits = torch.tensor([[1.0, 0.5, -2.0]])
    # -0.25 * 1 + 0.25 * 0.5 + 0.1875
    assert sparsemax_huber(logits, torch.tensor([[1, 0, 0]])).item() == pytest.approx(0.0625)
    # 0.25 * 1 - 0.25 * 0.5 + 0.1875, less the entropy 0.25 of eta = (1/2, 1/2, 0)
    assert sparsemax_huber(logits, torch.tensor([[1, 1, 0]])).item() == pytest.approx(0.0625)


def test_entmax_values_by_hand():
    # Equal logits: p = (1/2, 1/2), of entropy (1 - 2 * 0.5^1.5) / 0.75.
    loss = entmax15(torch.zeros(1, 2), torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((1 - math.sqrt(0.5)) / 0.75)
    # From a distance of 2 on, all the probability is on the first class.
    logits = torch.tensor([[2.0, 0.0]])
    assert entmax15(logits, torch.tensor([[1, 0]])).item() == pytest.approx(0, abs=1e-6)
    assert entmax15(logits, torch.tensor([[0, 1]])).item() == pytest.approx(2)


@given(st.floats(-3, 3))
def test_for_two_classes_the_sparsemax_loss_is_huber(distance):
    loss = sparsemax_huber(torch.tensor([[distance, 0.0]], dtype=torch.float64), torch.tensor([[1, 0]]))
    expected = 0 if distance >= 1 else -distance if distance <= -1 else (distance - 1) ** 2 / 4
    assert loss.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("loss", "of_library"), [(sparsemax_huber, entmax.sparsemax_loss), (entmax15, entmax.entmax15_loss)]
)
def test_with_one_label_a_row_it_is_the_librarys(loss, of_library):
    logits, _ = random_batch()
    index = torch.arange(len(logits)) % 7
    expected = of_library(logits, index)
    torch.testing.assert_close(loss(logits, torch.eye(7)[index], reduction="none"), expected, rtol=1e-9, atol=1e-9)


def test_with_several_labels_the_sparsemax_loss_is_that_of_its_paper():
    for x, y in zip(*random_batch(), strict=True):
        if not y.any():
            continue
        eta, p = y.double() / y.sum(), maps.sparsemax(x)
        support = p > 0
        tau = (x[support] - p[support]).mean()
        # - eta . z + 1/2 sum over the support of (z^2 - tau^2) + 1/2 |eta|^2
        expected = -(eta * x).sum() + (x[support] ** 2 - tau**2).sum() / 2 + (eta**2).sum() / 2
        torch.testing.assert_close(sparsemax_huber(x[None], y[None]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", MAP_OF)
def test_the_gradient_is_the_probabilities_less_eta(loss):
    logits, targets = random_batch()
    targets[:, 0] = True
    logits.requires_grad_()
    loss(logits, targets, reduction="none").sum().backward()
    eta = targets.double() / targets.sum(dim=1, keepdim=True)
    torch.testing.assert_close(logits.grad, MAP_OF[loss](logits).detach() - eta)


@pytest.mark.parametrize("loss", MAP_OF)
def test_the_loss_is_zero_where_the_map_gives_eta_and_nowhere_else(loss):
    targets = torch.tensor([[1, 1, 0, 0]])
    # Two equal logits that share everything from a distance of 1/2 (sparsemax), 2^0.5 (entmax-1.5) on.
    enough = {sparsemax_huber: 0.5, entmax15: math.sqrt(2)}[loss]
    logits = torch.tensor([[enough, enough, 0.0, -1.0]], dtype=torch.float64)
    assert loss(logits, targets).item() == pytest.approx(0, abs=1e-9)
    assert loss(logits - torch.tensor([0.2, 0.2, 0, 0]), targets) > 1e-4
    assert loss(logits + torch.tensor([0.2, 0.0, 0, 0]), targets) > 1e-4


@pytest.mark.parametrize("loss", MAP_OF)
def test_a_common_offset_does_not_cost_it_its_digits(loss):
    logits, targets = random_batch()
    logits = (logits.float() * 2**10).round() / 2**10
    shifted = loss(logits + 4096, targets, reduction="none")
    torch.testing.assert_close(shifted, loss(logits, targets, reduction="none"), rtol=1e-5, atol=1e-6)
