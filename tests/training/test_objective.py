import math

import pytest
import torch
from torch import nn

from model.nn.heads import HeadOutput
from training.config import LossConfig
from training.data.arrays import ArrayDataset
from training.data.dataset import Example
from training.losses import as_softmax_multilabel
from training.objective import Objective, class_weights


class _Fixed(nn.Module):
    """A classifier that always gives the same output: of the objective, only what it does with an output matters."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, inputs):
        return self.output


def _objective(count_logits, **config):
    logits = torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0]])
    return Objective(_Fixed(HeadOutput(logits, count_logits)), LossConfig(**config)), logits


TARGETS = torch.tensor([[True, False, False], [True, True, True]])


def test_the_objective_is_the_loss_plus_the_weighted_cross_entropy_of_the_count():
    objective, logits = _objective(torch.zeros(2, 4), count_weight=0.5)
    class_loss = as_softmax_multilabel(logits, TARGETS, delta=1.0)
    loss_B, weight_B = objective(torch.empty(2), TARGETS, 0.0)
    assert loss_B.mean().item() == pytest.approx(class_loss.item() + 0.5 * math.log(4))
    assert weight_B.tolist() == [1, 1]


def test_a_count_above_the_heads_largest_counts_as_the_largest():
    count_logits = torch.tensor([[0.0, 9.0], [0.0, 9.0]])
    objective, logits = _objective(count_logits)
    expected = as_softmax_multilabel(logits, TARGETS, delta=1.0) + math.log(1 + math.exp(-9))
    torch.testing.assert_close(objective(torch.empty(2), TARGETS, 0.0).loss_B.mean(), expected)


def test_a_weight_of_zero_leaves_the_count_head_alone():
    count_logits = torch.zeros(2, 4, requires_grad=True)
    objective, _ = _objective(count_logits, count_weight=0.0)
    objective.classifier.output.logits_BC.requires_grad_()
    objective(torch.empty(2), TARGETS, 0.0).loss_B.sum().backward()
    assert count_logits.grad is None


def test_progress_reaches_the_warm_up_of_delta():
    objective, _ = _objective(torch.zeros(2, 4), delta=0.01, delta_warm_up=1.0)
    first, last = (objective(torch.empty(2), TARGETS, progress).loss_B for progress in (0.0, 1.0))
    assert (first >= last).all()
    assert first.sum() > last.sum()


def test_a_row_whose_opponents_and_counts_are_beaten_has_a_loss_of_exactly_zero():
    logits = torch.tensor([[9.0, -9.0, -9.0], [0.0, 0.0, 0.0]])
    count_logits = torch.tensor([[-9.0, 9.0], [0.0, 0.0]])
    config = LossConfig(delta=0.3, delta_warm_up=0.0, count_delta=0.3)
    objective = Objective(_Fixed(HeadOutput(logits, count_logits)), config)
    loss_B, _ = objective(torch.empty(2), torch.tensor([[True, False, False]] * 2), 1.0)
    assert loss_B[0] == 0
    assert loss_B[1] > 1


def test_the_loss_of_a_sentence_is_the_sum_over_its_labelled_tokens():
    logits = torch.zeros(2, 3, 4)
    logits[0, 1, 2] = 2.0
    objective = Objective(_Fixed(HeadOutput(logits, torch.zeros(2, 0))), LossConfig(), "token_classification")
    loss_B, weight_B = objective(torch.empty(2), torch.tensor([[-100, 2, 0], [-100, -100, -100]]), 1.0)
    assert weight_B.tolist() == [2, 0]
    # Cross-entropy: delta is 1. log(3 + e^2) - 2, and log(4).
    torch.testing.assert_close(loss_B, torch.tensor([math.log(3 + math.e**2) - 2 + math.log(4), 0.0]))


def test_class_weights_are_in_the_order_of_the_label_space():
    examples = [Example(labels, text="t") for labels in (("a", "b"), ("a",), ("a",), ("a", "outside"), ())]
    train = ArrayDataset(examples, ("b", "never", "a"), preprocess=None)
    # 5 occurrences of 2 labels: 5 / (2 n).
    weights = class_weights(LossConfig(label_weights="inverse_frequency"), train)
    assert weights.tolist() == pytest.approx([2.5, 1, 0.625])
    assert class_weights(LossConfig(), train) is None
