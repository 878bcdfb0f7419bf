import math

import pytest
import torch
from torch.nn import functional

from model.sparse_softmax.torch_op import t_softmax
from training.losses.threshold import threshold_loss

LOGITS = torch.tensor([[4.0, 3.0, 1.0, -2.0], [0.0, 2.0, -1.0, 1.0]], dtype=torch.float64)
TARGETS = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0]])


def test_the_loss_is_that_of_the_logits_above_the_cut():
    t = torch.tensor([1.5, 0.25], dtype=torch.float64)
    # Above the cuts 2.5 and 1.75.
    first = math.log(1 + math.exp(-1.5) + math.exp(-4.5)) + math.log(1 + math.exp(-1.5) + math.exp(-0.5))
    second = math.log(1 + math.exp(-1.75) + math.exp(-2.75) + math.exp(-0.75)) + math.log(1 + math.exp(-0.25))
    assert threshold_loss(LOGITS, t, TARGETS, reduction="none").tolist() == pytest.approx([first, second], rel=1e-12)
    assert threshold_loss(LOGITS, t, TARGETS).item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_only_t_learns():
    logits, t = LOGITS.clone().requires_grad_(), torch.ones(2, dtype=torch.float64, requires_grad=True)
    threshold_loss(logits, t, TARGETS).backward()
    assert logits.grad is None
    assert t.grad.all()
    assert torch.autograd.gradcheck(lambda t: threshold_loss(LOGITS, t, TARGETS, reduction="none"), (t,))


def test_t_learns_where_one_class_survives_and_the_probabilities_of_t_softmax_say_nothing():
    t = torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    eta = TARGETS[:1] / 2
    [of_probabilities] = torch.autograd.grad(functional.mse_loss(t_softmax(LOGITS[:1], t), eta), t)
    [of_cut] = torch.autograd.grad(threshold_loss(LOGITS[:1], t, TARGETS[:1]), t)
    assert of_probabilities == 0
    assert of_cut < -0.1  # the second label is missed: t must grow


def test_descent_finds_a_t_that_cuts_between_the_present_and_the_absent():
    raw = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        threshold_loss(LOGITS, functional.softplus(raw), TARGETS).backward()
        optimizer.step()
    probabilities = t_softmax(LOGITS, functional.softplus(raw))
    assert torch.equal(probabilities > 0, TARGETS.bool())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    t = torch.ones(2, requires_grad=True)
    loss = threshold_loss(LOGITS.to(dtype), t, TARGETS)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(threshold_loss(LOGITS, t.detach().double(), TARGETS).item(), rel=1e-6)


def test_a_row_without_labels_asks_for_a_small_t():
    t = torch.ones(1, dtype=torch.float64, requires_grad=True)
    threshold_loss(LOGITS[:1], t, torch.zeros(1, 4)).backward()
    assert t.grad > 0
