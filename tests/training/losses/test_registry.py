"""What all losses have in common, and how a recipe builds one."""

from typing import get_args

import pytest
import torch

from training.config import ConfigError, LossConfig, LossName
from training.losses import as_softmax, as_softmax_multilabel, build
from training.losses.registry import LOSSES
from training.losses.warm_up import delta_at

NAMES = get_args(LossName)
TASKS = ["multi_label", "multi_class", "token_classification"]
# Their value depends on where the logits lie, not only on their differences.
SEE_AN_OFFSET = {"as_softmax", "zlpr", "bce", "sparsehourglass_hinge"}
TAKE_NO_WEIGHTS = {"sparsemax_huber", "entmax15"}
# Those whose terms only compare present and absent labels, or aim at eta: nothing to say where there are no labels.
NEED_LABELS = set(NAMES) - {"as_softmax", "zlpr", "bce"}


def batch(task="multi_label", rows=5, classes=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=generator)
    if task == "multi_label":
        return logits, torch.rand(rows, classes, generator=generator) < 0.4
    return logits, torch.eye(classes, dtype=torch.bool)[torch.randint(classes, (rows,), generator=generator)]


def loss_of(name, task="multi_label", weights=None, **settings):
    loss = build(LossConfig(name=name, **{"delta": 0.3, "delta_warm_up": 0, **settings}), task, weights)
    return lambda logits, targets: loss(logits, targets, 1.0)


def test_every_loss_that_a_recipe_may_name_is_there():
    assert set(LOSSES) == set(NAMES)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_each_row_has_its_own_loss(name, task):
    logits, targets = batch(task)
    together = loss_of(name, task)(logits, targets)
    alone = torch.cat([loss_of(name, task)(logits[i : i + 1], targets[i : i + 1]) for i in range(len(logits))])
    assert together.shape == (len(logits),)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
# The gradient of r-softmax leaves out how its cut moves, by design; test_r_softmax.py has it.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"r_softmax"}))
def test_the_gradient_is_that_of_the_loss(name, task):
    logits, targets = batch(task)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss_of(name, task)(x, targets), (logits,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_float32(name, dtype):
    logits, targets = batch(classes=300)
    logits = logits.to(dtype)
    assert torch.equal(loss_of(name)(logits, targets), loss_of(name)(logits.float(), targets))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_added_to_all_logits_changes_only_what_looks_at_their_level(name):
    logits, targets = batch()
    logits = logits.double()
    before, after = loss_of(name)(logits, targets), loss_of(name)(logits + 5, targets)
    assert torch.allclose(before, after, rtol=1e-9, atol=1e-9) == (name not in SEE_AN_OFFSET)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_huge_logits_overflow_neither_the_loss_nor_its_gradient(name, task):
    logits, targets = batch(task)
    logits = (1e4 * logits).requires_grad_()
    losses = loss_of(name, task)(logits, targets)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_labels_has_a_loss_only_where_absent_labels_alone_mean_something(name):
    logits = batch()[0].requires_grad_()
    losses = loss_of(name)(logits, torch.zeros(5, 6, dtype=torch.bool))
    losses.sum().backward()
    assert (losses == 0).all() == (not logits.grad.any()) == (name in NEED_LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_all_labels_is_finite_and_so_is_its_gradient(name):
    logits = batch()[0].requires_grad_()
    losses = loss_of(name)(logits, torch.ones(5, 6, dtype=torch.bool))
    losses.sum().backward()
    assert (losses.isfinite() & (losses > -1e-6)).all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("task", ["multi_class", "token_classification"])
# Binary cross-entropy and ZLPR look at the level of a logit; the others have no one to compare it with.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"bce", "zlpr"}))
def test_a_single_class_is_always_right(name, task):
    losses = loss_of(name, task)(torch.tensor([[-3.0], [7.0]]), torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(losses, torch.zeros(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_rows_has_losses_of_no_rows(name, task):
    # All tokens of a batch may be ones that nothing is learned from.
    logits = torch.zeros(0, 6, requires_grad=True)
    losses = loss_of(name, task)(logits, torch.zeros(0, 6, dtype=torch.bool))
    losses.sum().backward()
    assert losses.shape == (0,)
    assert logits.grad.shape == (0, 6)


@pytest.mark.parametrize("name", NAMES)
def test_targets_may_be_bool_or_numbers_and_are_left_as_they_are(name):
    logits, targets = batch()
    numbers = targets.float()
    assert torch.equal(loss_of(name)(logits, numbers), loss_of(name)(logits, targets))
    assert torch.equal(numbers, targets.float())


@pytest.mark.parametrize("name", NAMES)
def test_the_better_ranking_has_the_smaller_loss(name):
    logits = torch.tensor([[3.0, 2.9, -3.0, -3.0], [-3.0, 2.9, 3.0, -3.0], [-3.0, -3.0, 3.0, 2.9]])
    right, half, wrong = loss_of(name)(logits, torch.tensor([[1, 1, 0, 0]]).expand(3, 4).bool())
    assert right < half < wrong


def test_delta_falls_from_one_to_its_value_and_stays():
    assert [delta_at(progress, 0.1, 0.4) for progress in (0, 0.1, 0.2, 0.3)] == pytest.approx([1, 0.775, 0.55, 0.325])
    assert [delta_at(progress, 0.1, 0.4) for progress in (0.4, 0.7, 1.0)] == [0.1] * 3


def test_without_warm_up_delta_is_its_value_at_once():
    assert delta_at(0.0, 0.1, 0.0) == 0.1


@pytest.mark.parametrize(("progress", "delta"), [(0.0, 1.0), (0.25, 0.55), (0.5, 0.1), (1.0, 0.1)])
def test_as_softmax_follows_the_warm_up_in_both_forms(progress, delta):
    config = LossConfig(name="as_softmax", delta=0.1, delta_warm_up=0.5)
    logits, targets = batch()
    expected = as_softmax_multilabel(logits, targets, delta, reduction="none")
    torch.testing.assert_close(build(config)(logits, targets, progress), expected)
    logits, targets = batch("multi_class")
    expected = as_softmax(logits, targets.int().argmax(dim=1), delta, reduction="none")
    torch.testing.assert_close(build(config, "multi_class")(logits, targets, progress), expected)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("as_softmax", {"delta": 0.05}),
        ("as_softmax", {"delta_scaling": "label_count"}),
        ("t_softmax", {"temperature": 3.0}),
        ("am_softmax", {"margin": 2.0}),
        ("am_softmax", {"scale": 3.0}),
        ("label_smoothing", {"smoothing": 0.4}),
    ],
)
def test_the_settings_of_a_recipe_reach_the_loss(name, setting):
    logits, targets = batch(rows=40)
    assert not torch.allclose(loss_of(name, **setting)(logits, targets), loss_of(name)(logits, targets))


@pytest.mark.parametrize("name", sorted(set(NAMES) - TAKE_NO_WEIGHTS))
def test_weights_of_one_change_nothing_and_others_count_where_the_label_is_present(name):
    logits, targets = batch()
    targets[:, 0], targets[0, 0] = False, True
    plain = loss_of(name)(logits, targets)
    torch.testing.assert_close(loss_of(name, weights=torch.ones(6))(logits, targets), plain)
    weighted = loss_of(name, weights=torch.tensor([5.0, 1, 1, 1, 1, 1]))(logits, targets)
    assert weighted[0] > plain[0] + 0.01
    # Label smoothing has a part of its target on the absent labels, too.
    if name != "label_smoothing":
        torch.testing.assert_close(weighted[1:], plain[1:])


@pytest.mark.parametrize("task", ["multi_class", "token_classification"])
@pytest.mark.parametrize("name", NAMES)
def test_with_one_class_a_row_a_weight_multiplies_the_rows_loss(name, task):
    logits, targets = batch(task)
    weights = torch.arange(1.0, 7.0)
    expected = loss_of(name, task)(logits, targets) * weights[targets.int().argmax(dim=1)]
    torch.testing.assert_close(loss_of(name, task, weights)(logits, targets), expected)


@pytest.mark.parametrize("name", sorted(TAKE_NO_WEIGHTS))
def test_a_loss_that_takes_no_label_weights_says_which_do(name):
    with pytest.raises(ConfigError, match=f"loss '{name}' takes none for label sets; these do: .*zlpr"):
        build(LossConfig(name=name), "multi_label", torch.ones(6))
