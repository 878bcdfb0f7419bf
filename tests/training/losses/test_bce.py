import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses.bce import bce


@given(st.lists(st.tuples(st.floats(-15, 15), st.booleans()), min_size=1, max_size=8))
def test_the_loss_is_the_sum_over_the_classes(pairs):
    expected = sum(math.log(1 + math.exp(-x if present else x)) for x, present in pairs)
    logits = torch.tensor([[x for x, _ in pairs]], dtype=torch.float64)
    targets = torch.tensor([[present for _, present in pairs]])
    assert bce(logits, targets).item() == pytest.approx(expected, rel=1e-9)


def test_rows_are_averaged():
    logits, targets = torch.zeros(3, 2), torch.zeros(3, 2)
    assert bce(logits, targets, reduction="none").tolist() == pytest.approx([2 * math.log(2)] * 3)
    assert bce(logits, targets).item() == pytest.approx(2 * math.log(2))


def test_the_gradient_is_that_of_the_loss():
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda x: bce(x, targets, reduction="none"), (logits,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_logits_overflow_neither_the_loss_nor_its_gradient(dtype):
    logits = torch.tensor([[1e4, -1e4]], dtype=dtype, requires_grad=True)
    loss = bce(logits, torch.tensor([[0, 1]]))
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(2e4), rtol=1e-2, atol=0)
    assert logits.grad.isfinite().all()


def test_a_weight_multiplies_the_term_of_its_label_where_it_is_present():
    weights = torch.tensor([5.0, 3.0])
    assert bce(torch.zeros(1, 2), torch.tensor([[0, 1]]), weights).item() == pytest.approx(4 * math.log(2))
