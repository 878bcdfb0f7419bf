import math

import numpy as np
import pytest

from training.evaluate import Answers
from training.report.label_chart import MOST_SHOWN, shown
from training.report.statistics import (
    LabelQuality,
    class_confusion,
    co_occurrence,
    count_confusion,
    difficulty,
    example_f1,
    label_quality,
    most_frequent,
)

# Four examples, labels a b c.
TARGET = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
PREDICTED = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)


def answers(logits, count_logits, target) -> Answers:
    probabilities = np.zeros_like(np.array(logits), dtype=np.float32)
    return Answers(
        np.array(logits, np.float32), np.array(count_logits, np.float32), probabilities, np.array(target, bool)
    )


def test_label_quality_is_that_computed_by_hand_and_the_most_frequent_comes_first():
    assert label_quality(PREDICTED, TARGET, "abc") == [
        LabelQuality("b", 3, 3, precision=2 / 3, recall=2 / 3, f1=2 / 3),
        LabelQuality("a", 1, 2, precision=1 / 2, recall=1.0, f1=2 / 3),
        LabelQuality("c", 1, 1, precision=1.0, recall=1.0, f1=1.0),
    ]


def test_a_label_that_is_neither_true_nor_predicted_has_zeros():
    nothing = np.zeros((2, 1), dtype=bool)
    assert label_quality(nothing, nothing, ["never"]) == [LabelQuality("never", 0, 0, 0.0, 0.0, 0.0)]


def test_of_labels_equally_frequent_the_first_of_the_label_space_comes_first():
    assert most_frequent(TARGET, 3) == [1, 0, 2]
    assert most_frequent(TARGET, 2) == [1, 0]


def test_counts_are_counted_with_truth_in_the_rows():
    # Truth has 2, 1, 2, 0 labels; the predictions have 1, 1, 3, 1.
    assert count_confusion(PREDICTED, TARGET, 10).tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_counts_above_the_limit_share_a_row_and_a_column():
    assert count_confusion(PREDICTED, TARGET, 2).tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 1]]


def test_classes_are_confused_with_truth_in_the_rows():
    # Class b is taken for itself twice and for a and c once; example 0 has the truth b too and is said to be a.
    assert class_confusion(PREDICTED, TARGET, [1, 0]).tolist() == [[2, 2], [0, 1]]


def test_co_occurrence_is_the_share_of_the_rows_label():
    # a: one example, which has b. b: three examples, one with a, one with c. c: one example, which has b.
    expected = [[0, 1, 0], [1 / 3, 0, 1 / 3], [0, 1, 0]]
    assert co_occurrence(TARGET, [0, 1, 2]) == pytest.approx(np.array(expected))


def test_co_occurrence_of_an_absent_label_is_zero():
    assert co_occurrence(np.array([[True, False]]), [0, 1]).tolist() == [[0, 0], [0, 0]]


def test_example_f1_is_1_where_both_sets_are_empty():
    assert example_f1(PREDICTED, TARGET) == pytest.approx([2 / 3, 1, 4 / 5, 0])
    assert example_f1(PREDICTED[3:] & False, TARGET[3:]).tolist() == [1]


def test_difficulty_is_the_cross_entropy_of_labels_and_count():
    # Softmax of (ln 3, ln 3, ln 2) is (3, 3, 2) / 8; of the counts 0, 1, 2: (1, 2, 1) / 4.
    logits, counts = [[math.log(3), math.log(3), math.log(2)]], [[0, math.log(2), 0]]
    one = difficulty(answers(logits, counts, [[1, 0, 0]]))
    assert one == pytest.approx([-math.log(3 / 8) - math.log(1 / 2)])
    # Two labels: the mean over them is at best ln 2, which is taken off.
    two = difficulty(answers(logits, counts, [[1, 1, 0]]))
    assert two == pytest.approx([-math.log(3 / 8) - math.log(2) - math.log(1 / 4)])
    # No label: only the count can be wrong.
    assert difficulty(answers(logits, counts, [[0, 0, 0]])) == pytest.approx([-math.log(1 / 4)])


def test_difficulty_knows_counts_that_the_head_cannot_say_and_heads_without_a_count():
    logits = [[0.0, 0.0, 0.0]]
    assert difficulty(answers(logits, [[0, 0]], [[1, 1, 1]])) == pytest.approx([math.log(2)])
    assert difficulty(answers(logits, np.zeros((1, 0)), [[1, 0, 0]])) == pytest.approx([math.log(3)])


def test_of_many_labels_the_most_and_the_least_frequent_are_shown_and_none_that_is_absent():
    qualities = [LabelQuality(str(frequency), frequency, 0, 0, 0, 0) for frequency in range(100, -1, -1)]
    frequencies = [quality.frequency for quality in shown(qualities)]
    half = MOST_SHOWN // 2
    assert frequencies == [*range(100, 100 - half, -1), *range(half, 0, -1)]
    assert shown(qualities[-5:]) == qualities[-5:-1]
