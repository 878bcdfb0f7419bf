from typing import get_args

import numpy as np
import pytest

from training.config import LossName
from training.losses import own_decision

# Sigmoid .88, .50, .48, .02; softmax .77, .11, .10, .00; sparsemax is one-hot, and so is entmax-1.5 not quite.
LOGITS = np.array([[2.0, 0.01, -0.1, -4.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("as_softmax", [1, 1, 0, 0]),
        ("zlpr", [1, 1, 0, 0]),
        ("bce", [1, 1, 0, 0]),
        ("sparsemax_huber", [1, 0, 0, 0]),
        ("sparsemax_hinge", [1, 0, 0, 0]),
        # a = 5 / 6.09: the distances shrink, but not below 1.
        ("sparsehourglass_hinge", [1, 0, 0, 0]),
        ("entmax15", [1, 1, 0, 0]),
    ],
)
def test_a_loss_decides_by_its_own_rule(name, expected):
    decided = own_decision(name)(LOGITS)
    assert decided.dtype == np.bool_
    assert decided.tolist() == [[bool(value) for value in expected]]


def test_the_hourglass_keeps_more_than_sparsemax_where_the_logits_lie_high():
    # a = 4 / (8 + 3): a distance of 1.5 becomes 0.55.
    logits = np.array([[3.5, 2.0, 2.5]], dtype=np.float32)
    assert own_decision("sparsemax_hinge")(logits).tolist() == [[True, False, False]]
    assert own_decision("sparsehourglass_hinge")(logits).tolist() == [[True, True, True]]


@pytest.mark.parametrize("name", ["softmax", "label_smoothing", "am_softmax", "t_softmax"])
def test_softmax_needs_a_threshold_that_is_tuned(name):
    decision = own_decision(name)
    assert decision.threshold is None
    np.testing.assert_allclose(decision.scores(LOGITS).sum(axis=1), 1, rtol=0, atol=1e-6)
    assert decision(LOGITS, threshold=0.105).tolist() == [[True, True, False, False]]
    assert decision(LOGITS, threshold=0.5).tolist() == [[True, False, False, False]]
    with pytest.raises(ValueError, match="no threshold of its own"):
        decision(LOGITS)


def test_a_threshold_may_replace_the_rules_own():
    assert own_decision("bce")(LOGITS, threshold=0.45).tolist() == [[True, True, True, False]]


def test_r_softmax_has_no_rule_without_a_label_count():
    assert own_decision("r_softmax") is None


@pytest.mark.parametrize("task", ["multi_class", "token_classification"])
@pytest.mark.parametrize("name", get_args(LossName))
def test_where_there_is_one_class_the_largest_logit_decides_and_the_first_of_equal_ones(name, task):
    logits = np.array([[-3.0, -1.0, -2.0], [4.0, 7.0, 7.0]], dtype=np.float32)
    assert own_decision(name, task)(logits).tolist() == [[False, True, False], [False, True, False]]
