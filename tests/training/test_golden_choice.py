"""The margin of each policy: within it nothing changes the label set, beyond it something does."""

import numpy as np
import pytest
import torch

from model.manifest import SparsityPolicy
from model.nn.heads import HeadOutput, LabelSetHead
from training.evaluate import Answers
from training.golden_choice import decision_margin

ROWS, CLASSES = 60, 5
POLICIES = {
    "predicted_count": {},
    "expected_f1": {},
    "predicted_f1": {},
    "positive_logits": {},
    "learned_threshold": {},
    "fixed_count": {"label_count": 2},
    "fixed_rate": {"sparsity_rate": 0.55},
}


def _decide(policy, output):
    head = LabelSetHead(1, CLASSES, SparsityPolicy(policy=policy, max_label_count=3, **POLICIES[policy]))
    return head.probabilities(output).probabilities_BC.numpy()


def _output(seed=0):
    chance = torch.Generator().manual_seed(seed)
    logits, counts = torch.randn(ROWS, CLASSES, generator=chance), torch.randn(ROWS, 4, generator=chance)
    return HeadOutput(logits, counts, torch.rand(ROWS, generator=chance) + 0.2, torch.randn(ROWS, 4, generator=chance))


def _answers(policy, output):
    numbers = (tensor.numpy() for tensor in output[:2])
    probabilities = _decide(policy, output)
    t = output.t_B.numpy() if policy == "learned_threshold" else None
    f1_logits = output.f1_logits_BK.numpy()
    return Answers(*numbers, probabilities, probabilities != 0, t_N=t, f1_logits_NK=f1_logits, policy=policy)


def _moved(output, by_B, chance):
    """Every logit of a row moved by at most its `by`; t stays."""

    def move(values):
        return values + (torch.rand(values.shape, generator=chance) * 2 - 1) * by_B[:, None]

    return HeadOutput(move(output.logits_BC), move(output.count_logits_BK), output.t_B, move(output.f1_logits_BK))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_change_of_less_than_half_the_margin_leaves_the_label_set(policy):
    output, chance = _output(), torch.Generator().manual_seed(1)
    answers = _answers(policy, output)
    margin = torch.from_numpy(decision_margin(answers))
    assert (margin > 0).all()
    # Two logits of a gap may both move, and with the maximum the cut of a learned threshold.
    for _ in range(50):
        moved = _decide(policy, _moved(output, 0.49 * margin.clamp(max=100), chance))
        np.testing.assert_array_equal(moved != 0, answers.probabilities_NC != 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_change_beyond_the_margin_may_change_it(policy):
    output, chance = _output(), torch.Generator().manual_seed(2)
    answers = _answers(policy, output)
    margin = torch.from_numpy(decision_margin(answers)).clamp(max=100)
    changed = np.zeros(ROWS, bool)
    for _ in range(400):
        moved = _decide(policy, _moved(output, 1.5 * margin, chance))
        changed |= ((moved != 0) != (answers.probabilities_NC != 0)).any(axis=1)
    # Expected F1 moves slower than its logits: the margin is a bound, not the distance.
    assert changed.mean() > (0.1 if policy == "expected_f1" else 0.5)


def test_the_gap_of_a_policy_is_measured_where_it_decides():
    logits = np.array([[3, 1, -0.25]], np.float32)
    counts = np.log(np.array([[0.1, 0.5, 0.4]], np.float32))
    present = np.array([[1, 0, 0]], bool)
    answers = Answers(logits, counts, present.astype(np.float32), present, t_N=np.array([1.5], np.float32))

    def margin(policy):
        return decision_margin(answers._replace(policy=policy)).item()

    assert margin("predicted_count") == pytest.approx(np.log(0.5 / 0.4), abs=1e-6)
    # 0.5 + 0.4 * 2 / 3 against 0.5 * 2 / 3 + 0.4.
    assert margin("expected_f1") == pytest.approx(0.766667 - 0.733333, abs=1e-5)
    assert margin("positive_logits") == 0.25
    assert margin("learned_threshold") == pytest.approx(0.5)  # the cut is 1.5
    assert margin("fixed_count") == margin("fixed_rate") == 2
