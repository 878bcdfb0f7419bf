import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training import maps
from training.losses.sparse_hinge import sparsehourglass_hinge, sparsemax_hinge

MAP_OF = {sparsemax_hinge: maps.sparsemax, sparsehourglass_hinge: maps.sparsehourglass}


ON_A_GRID = st.integers(-16, 16).map(lambda eighths: eighths / 8)


@st.composite
def rows(draw, score):
    """Logits `[1, C]` in float64 and multi-hot targets."""
    size = draw(st.integers(1, 8))
    logits = draw(st.lists(score, min_size=size, max_size=size))
    targets = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return torch.tensor([logits], dtype=torch.float64), torch.tensor([targets])


def plain(logits, targets, scale, weights):
    """All pairs, as the paper writes the sums, for one row in plain numbers."""
    present = [i for i, is_present in enumerate(targets) if is_present]
    absent = [i for i, is_present in enumerate(targets) if not is_present]
    distance = sum(abs(logits[i] - logits[j]) for i in present for j in present)
    pairs = [(i, j) for i in present for j in absent]
    margin = 1 / (scale * max(len(present), 1))
    return distance + sum(weights[i] * max(0, margin - (logits[i] - logits[j])) for i, j in pairs)


@given(rows(st.one_of(ON_A_GRID, st.floats(-10, 10))), st.sampled_from([None, 2.0]))
def test_the_loss_is_the_formula(row, first_weight):
    logits, targets = row
    weights = None if first_weight is None else torch.tensor([first_weight] + [1.0] * (targets.shape[1] - 1))
    in_numbers = logits[0].tolist(), targets[0].tolist()
    weight_list = [1.0] * targets.shape[1] if weights is None else weights.tolist()
    expected = plain(*in_numbers, 1.0, weight_list)
    assert sparsemax_hinge(logits, targets, weights).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    class_count = targets.shape[1]
    expected = plain(*in_numbers, (1 + class_count) / (abs(sum(in_numbers[0])) + class_count), weight_list)
    assert sparsehourglass_hinge(logits, targets, weights).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_values_by_hand():
    logits, targets = torch.tensor([[1.0, 0.25, 0.0, -1.0]]), torch.tensor([[1, 1, 0, 0]])
    # The present ones are 0.75 apart, in both orders; of the pairs only 0.25 - 0 is below the margin of 1/2.
    assert sparsemax_hinge(logits, targets).item() == pytest.approx(1.5 + 0.25)
    # a = (1 + 4) / (0.25 + 4): the margin is 1/2 * 0.85 = 0.425.
    assert sparsehourglass_hinge(logits, targets).item() == pytest.approx(1.5 + 0.175)


@pytest.mark.parametrize("loss", MAP_OF)
# On a grid, because a loss of 1e-12 is neither 0 nor not.
@given(row=rows(ON_A_GRID))
def test_the_loss_is_zero_exactly_where_the_map_gives_eta(loss, row):
    logits, targets = row
    if not targets.any():
        return
    eta = targets.double() / targets.sum()
    gives_eta = torch.allclose(MAP_OF[loss](logits), eta, rtol=0, atol=1e-7)
    assert gives_eta == (loss(logits, targets).item() <= 1e-7)


@pytest.mark.parametrize("loss", MAP_OF)
def test_logits_on_which_the_map_gives_eta_have_no_loss(loss):
    # The hourglass scales by 4 / (|2 * 2 - 3| + 3) = 1.
    logits = torch.tensor([[2.0, 2.0, -3.0]])
    assert MAP_OF[loss](logits).tolist() == [[0.5, 0.5, 0]]
    assert loss(logits, torch.tensor([[1, 1, 0]])).item() == 0


def test_memory_grows_with_the_classes_and_not_with_their_pairs():
    # All pairs of 100 000 classes would take 10 GB a row.
    logits = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sparsehourglass_hinge(logits, logits.detach() > 0.5).backward()
    assert logits.grad.isfinite().all()
