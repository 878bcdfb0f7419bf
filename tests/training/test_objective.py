import math

import pytest
import torch
from torch import nn

from model.manifest import SparsityPolicy
from model.nn.classifier import Classifier
from model.nn.heads import HeadOutput, LabelSetHead
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
        self.backbone = nn.Identity()

    def head(self, feature):
        return self.output


def _objective(count_logits, **config):
    logits = torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0]])
    return Objective(_Fixed(HeadOutput(logits, count_logits)), LossConfig(**config)), logits


TARGETS = torch.tensor([[True, False, False], [True, True, True]])


def test_the_objective_is_the_loss_plus_the_weighted_cross_entropy_of_the_count():
    objective, logits = _objective(torch.zeros(2, 4), count_weight=0.5)
    class_loss = as_softmax_multilabel(logits, TARGETS, delta=1.0)
    row_loss = objective(torch.empty(2), TARGETS, 0.0)
    assert row_loss.total().mean().item() == pytest.approx(class_loss.item() + 0.5 * math.log(4))
    assert row_loss.count_B.tolist() == pytest.approx([0.5 * math.log(4)] * 2)
    assert row_loss.weight_B.tolist() == [1, 1]


def test_a_count_above_the_heads_largest_counts_as_the_largest():
    count_logits = torch.tensor([[0.0, 9.0], [0.0, 9.0]])
    objective, logits = _objective(count_logits)
    expected = as_softmax_multilabel(logits, TARGETS, delta=1.0) + math.log(1 + math.exp(-9))
    torch.testing.assert_close(objective(torch.empty(2), TARGETS, 0.0).total().mean(), expected)


def test_a_weight_of_zero_leaves_the_count_head_alone():
    count_logits = torch.zeros(2, 4, requires_grad=True)
    objective, _ = _objective(count_logits, count_weight=0.0)
    objective.classifier.output.logits_BC.requires_grad_()
    objective(torch.empty(2), TARGETS, 0.0).total().sum().backward()
    assert count_logits.grad is None


def test_progress_reaches_the_warm_up_of_delta():
    objective, _ = _objective(torch.zeros(2, 4), delta=0.01, delta_warm_up=1.0)
    first, last = (objective(torch.empty(2), TARGETS, progress).network_B for progress in (0.0, 1.0))
    assert (first >= last).all()
    assert first.sum() > last.sum()


def test_a_row_whose_opponents_are_beaten_has_a_loss_of_exactly_zero_whatever_its_count():
    logits = torch.tensor([[9.0, -9.0, -9.0], [0.0, 0.0, 0.0]])
    config = LossConfig(delta=0.3, delta_warm_up=0.0)
    objective = Objective(_Fixed(HeadOutput(logits, torch.zeros(2, 2))), config)
    row_loss = objective(torch.empty(2), torch.tensor([[True, False, False]] * 2), 1.0)
    assert row_loss.network_B[0] == 0
    assert row_loss.network_B[1] > 1
    assert row_loss.count_B.tolist() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("is_look", [True, False])
def test_the_loss_of_the_count_reaches_its_own_layers_and_nothing_else(is_look):
    head = LabelSetHead(6, 3, SparsityPolicy(policy="predicted_count", max_label_count=3), dropout=0.0)
    backbone = nn.Linear(4, 6)
    objective = Objective(Classifier(backbone, head), LossConfig())
    row_loss = objective(torch.randn(2, 4), TARGETS, 0.0, is_look=is_look)
    row_loss.count_B.sum().backward(retain_graph=True)
    learning = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    assert learning == {
        f"classifier.head.count.{name}" for name in ("of_feature.weight", "of_feature.bias", "of_shape.weight")
    }
    row_loss.network_B.sum().backward()
    assert (backbone.weight.grad is None) == is_look


def test_the_loss_of_a_sentence_is_the_sum_over_its_labelled_tokens():
    logits = torch.zeros(2, 3, 4)
    logits[0, 1, 2] = 2.0
    objective = Objective(_Fixed(HeadOutput(logits, torch.zeros(2, 0))), LossConfig(), "token_classification")
    loss_B, _, weight_B = objective(torch.empty(2), torch.tensor([[-100, 2, 0], [-100, -100, -100]]), 1.0)
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
