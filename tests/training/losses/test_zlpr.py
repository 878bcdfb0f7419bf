import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses.zlpr import zlpr


def test_values_by_hand():
    logits = torch.tensor([[math.log(2), math.log(3), -math.log(4)]])
    # Absent 2 and 3, present 1 / e^x = 4.
    assert zlpr(logits, torch.tensor([[0, 0, 1]])).item() == pytest.approx(math.log(1 + 2 + 3) + math.log(1 + 4))
    weighted = zlpr(logits, torch.tensor([[0, 0, 1]]), torch.tensor([7.0, 7.0, 2.0]))
    assert weighted.item() == pytest.approx(math.log(1 + 2 + 3) + math.log(1 + 2 * 4))


@given(st.lists(st.tuples(st.floats(-20, 20), st.booleans(), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=8))
def test_the_loss_is_the_formula(classes):
    absent = sum(math.exp(x) for x, present, _ in classes if not present)
    present = sum(weight * math.exp(-x) for x, present, weight in classes if present)
    logits = torch.tensor([[x for x, _, _ in classes]], dtype=torch.float64)
    targets = torch.tensor([[present for _, present, _ in classes]])
    weights = torch.tensor([weight for _, _, weight in classes], dtype=torch.float64)
    assert zlpr(logits, targets, weights).item() == pytest.approx(math.log1p(absent) + math.log1p(present), abs=1e-9)


def test_rows_are_averaged():
    logits, targets = torch.zeros(2, 2), torch.tensor([[1, 0], [1, 1]])
    assert zlpr(logits, targets, reduction="none").tolist() == pytest.approx([2 * math.log(2), math.log(3)])
    assert zlpr(logits, targets).item() == pytest.approx((2 * math.log(2) + math.log(3)) / 2)
