import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from training.metrics import best_threshold, class_metrics, example_f1, label_set_metrics, mean_average_precision

PREDICTED = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], bool)
TARGET = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]], bool)


def test_metrics_are_those_computed_by_hand():
    assert label_set_metrics(PREDICTED, TARGET) == pytest.approx(
        {
            "example_f1": (2 / 3 + 1 + 1 + 0) / 4,  # the second row is empty on both sides: nothing is missing
            "micro_f1": 2 * 2 / (3 + 3),
            "macro_f1": (1 + 0 + 0) / 3,  # nobody carries or predicts the third label
            "exact_match": 2 / 4,
            "count_accuracy": 2 / 4,
        }
    )


@given(arrays(bool, (2, 5, 3)))
def test_f1_scores_are_those_of_scikit_learn(both):
    predicted, target = both
    metrics = label_set_metrics(predicted, target)
    for average, name in (("samples", "example_f1"), ("micro", "micro_f1"), ("macro", "macro_f1")):
        of_nothing = 1.0 if average == "samples" else 0.0
        expected = f1_score(target, predicted, average=average, zero_division=of_nothing)
        assert metrics[name] == pytest.approx(expected)


def test_a_label_space_of_one_label_has_metrics():
    predicted, target = np.array([[1], [0], [0]], bool), np.array([[1], [1], [0]], bool)
    metrics = label_set_metrics(predicted, target)
    assert metrics["example_f1"] == pytest.approx(2 / 3)
    assert metrics["micro_f1"] == metrics["macro_f1"] == pytest.approx(2 / 3)
    assert mean_average_precision(predicted.astype(float), target) == pytest.approx(5 / 6)


def test_mean_average_precision_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.7], [0.1, 0.9]])
    target = np.array([[1, 0], [0, 1], [1, 0]], bool)
    # First label: found at ranks 1 and 3, (1/1 + 2/3) / 2. Second: found at rank 2.
    assert mean_average_precision(scores, target) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)


def test_labels_that_nobody_carries_do_not_count_in_the_mean():
    scores, target = np.array([[0.9, 0.5], [0.1, 0.5]]), np.array([[1, 0], [0, 0]], bool)
    assert mean_average_precision(scores, target) == 1
    assert mean_average_precision(scores, np.zeros_like(target)) == 0


@given(st.integers(0, 2**32 - 1))
def test_the_best_threshold_is_at_least_as_good_as_a_half(seed):
    generator = np.random.default_rng(seed)
    target = generator.random((30, 4)) < 0.3
    scores = target * 0.3 + 0.7 * generator.random((30, 4))
    tuned = example_f1(scores > best_threshold(scores, target), target)
    assert tuned >= example_f1(scores > np.quantile(scores, 0.5), target)


def test_class_metrics_are_those_computed_by_hand():
    scores = np.array([[9.0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 9, 8, 7, 6, 5], [1, 1, 0, 0, 0, 0]])
    target = np.eye(6, dtype=bool)[[0, 0, 2, 0]]
    predicted = np.eye(6, dtype=bool)[[0, 5, 1, 1]]
    predicted[2, 2] = True  # a label set of two, one of them right
    assert class_metrics(predicted, scores, target) == pytest.approx(
        {
            "accuracy": 1 / 4,  # the last row's tie is not right
            "top_5_accuracy": 3 / 4,  # the second row's class is the worst of six
            "example_f1": (1 + 0 + 2 / 3 + 0) / 4,
            "macro_f1": (2 / 4 + 2 / 2) / 6,
        }
    )


def test_an_example_of_a_class_that_the_model_does_not_know_is_wrong():
    target = np.array([[False, True], [False, False]])
    metrics = class_metrics(np.array([[False, True], [True, False]]), np.array([[0.0, 1.0], [1.0, 0.0]]), target)
    assert (metrics["accuracy"], metrics["example_f1"]) == (0.5, 0.5)


def test_with_one_label_each_the_example_f1_is_the_accuracy():
    chance = np.random.default_rng(0)
    scores, target = chance.random((50, 4)), np.eye(4, dtype=bool)[chance.integers(0, 4, 50)]
    predicted = scores == scores.max(axis=1, keepdims=True)
    metrics = class_metrics(predicted, scores, target)
    assert metrics["example_f1"] == metrics["accuracy"] == (predicted & target).any(axis=1).mean()
    assert metrics["macro_f1"] == pytest.approx(f1_score(target.argmax(1), predicted.argmax(1), average="macro"))
    assert "top_5_accuracy" not in metrics
