import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.sparse_softmax import reference
from model.sparse_softmax.torch_op import r_softmax_count
from training.losses import r_softmax_loss


def plain_hinge(logits, targets):
    """The sum over all pairs of present and absent, as eq. 4 has it, for one row; autograd follows it."""
    present = [i for i, is_present in enumerate(targets) if is_present]
    absent = [i for i, is_present in enumerate(targets) if not is_present]
    pairs = [(1 / len(present) - (logits[i] - logits[j])).clamp(min=0) for i in present for j in absent]
    return torch.stack(pairs).sum() if pairs else logits.sum() * 0


def plain(logits, targets):
    """The loss of one row, its squared distance through the numpy reference."""
    count = int(targets.sum())
    hinge = plain_hinge(logits, targets)
    if count == 0:
        return hinge
    probabilities = torch.from_numpy(reference.r_softmax(logits.numpy()[None], (len(logits) - count) / len(logits)))
    return ((probabilities[0] - 1 / count).square() * targets).sum() + hinge


@st.composite
def batches(draw):
    """Logits `[B, C]` in float64, with ties and pairs exactly at the margin, and multi-hot targets."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    score = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([0.5, 0.25, -0.5]), st.floats(-10, 10))
    logits = draw(st.lists(score, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    targets = draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits)))
    return torch.tensor(logits, dtype=torch.float64).view(shape), torch.tensor(targets).view(shape)


@given(batches())
def test_the_loss_is_the_formula(batch):
    logits, targets = batch
    expected = torch.stack([plain(*row) for row in zip(logits, targets, strict=True)])
    torch.testing.assert_close(r_softmax_loss(logits, targets, reduction="none"), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(r_softmax_loss(logits, targets), expected.mean(), rtol=1e-9, atol=1e-9)


def test_a_value_by_hand():
    # One present label at 0, absent ones at 0 and -0.5; eta is 1. k = 1, and two logits tie for the maximum: the cut is
    # at h = 2/3 * 2 = 4/3, which lies on the maximum, so p of the present label is 1/2. Hinges: 1 - 0 and 1 - 0.5.
    loss = r_softmax_loss(torch.tensor([[0.0, 0.0, -0.5]]), torch.tensor([[1, 0, 0]]))
    assert loss.item() == pytest.approx((0.5 - 1) ** 2 + 1 + 0.5)


def test_a_pair_at_the_margin_costs_nothing():
    loss = r_softmax_loss(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1, 0, 0]]))
    assert loss.item() == 0


@given(batches())
def test_the_gradient_is_that_of_all_pairs_and_the_map(batch):
    logits, targets = batch
    # At a kink of the hinge there are several; a little noise leaves ties of the map as they are and moves pairs away.
    logits = logits + 1e-3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).double()
    gradients = []
    for loss in (r_softmax_loss, _by_pairs):
        leaf = logits.clone().requires_grad_()
        loss(leaf, targets, reduction="none").sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-7)


def _by_pairs(logits, targets, reduction):
    count = targets.sum(dim=1)
    eta = 1 / count.clamp(min=1).double().unsqueeze(1)
    squared = ((r_softmax_count(logits, count) - eta).square() * targets).sum(dim=1)
    return squared + torch.stack([plain_hinge(*row) for row in zip(logits, targets, strict=True)])


def test_a_row_without_labels_has_no_loss():
    logits = torch.randn(2, 5, requires_grad=True)
    loss = r_softmax_loss(logits, torch.zeros(2, 5, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_logits_overflow_neither_the_loss_nor_its_gradient(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    losses = r_softmax_loss(logits, torch.tensor([[0, 1, 0], [1, 1, 0]]), reduction="none")
    losses.sum().backward()
    # Row 0: 1 + two hinges of about 2e4 and 1e4. Row 1: one label lost to the absent one by 2e4, the other by a tie.
    torch.testing.assert_close(losses, torch.tensor([3e4, 2e4]), rtol=1e-2, atol=0)
    assert logits.grad.isfinite().all()


def test_a_common_offset_does_not_cost_the_hinge_its_digits():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2000, generator=generator).round(decimals=2)
    targets = torch.rand(1, 2000, generator=generator) < 0.01
    exact = r_softmax_loss(logits.double(), targets).float()
    # 1024 + a multiple of 2^-13 is exact in float32.
    logits = (logits * 2**13).round() / 2**13
    torch.testing.assert_close(r_softmax_loss(logits + 1024, targets), exact, rtol=1e-4, atol=0)


def test_targets_are_left_as_they_are():
    targets = torch.tensor([[1, 0, 1]])
    r_softmax_loss(torch.randn(1, 3), targets)
    assert targets.tolist() == [[1, 0, 1]]


def test_memory_grows_with_the_classes_and_not_with_their_pairs():
    # All pairs of 100 000 classes would take 10 GB a row.
    logits = torch.randn(1, 100_000, requires_grad=True)
    r_softmax_loss(logits, torch.rand(1, 100_000) < 0.5).backward()
    assert logits.grad.isfinite().all()


def test_a_weight_multiplies_the_terms_of_its_label():
    logits, targets = torch.tensor([[1.0, 0.0, -2.0]]), torch.tensor([[0, 1, 0]])
    # k = 1 keeps the first: p = (1, 0, 0). Hinges of the label: 1 + 1 - 0, and none against -2.
    assert r_softmax_loss(logits, targets).item() == pytest.approx(1 + 2)
    weighted = r_softmax_loss(logits, targets, class_weight_C=torch.tensor([5.0, 3.0, 5.0]))
    assert weighted.item() == pytest.approx(3 * (1 + 2))
