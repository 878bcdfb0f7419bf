import numpy as np

from model.labels import ScoredLabel, SparseRow, label_set

LABELS = ("a", "b", "c", "d")


def _row(index, probability, rate=0.5):
    return SparseRow(np.array(index, np.int64), np.array(probability, np.float32), rate)


def test_the_most_probable_label_comes_first():
    answer = label_set(_row([0, 2, 3], [0.25, 0.625, 0.125]), LABELS)
    assert answer.labels == (ScoredLabel("c", 0.625), ScoredLabel("a", 0.25), ScoredLabel("d", 0.125))
    assert answer.label_count == 3
    assert answer.sparsity_rate == 0.5


def test_equal_probabilities_come_in_the_order_of_the_label_space():
    answer = label_set(_row([3, 1, 0], [0.25, 0.25, 0.5]), LABELS)
    assert [label for label, _ in answer.labels] == ["a", "b", "d"]


def test_a_row_without_entries_is_the_empty_label_set():
    answer = label_set(_row([], [], rate=1.0), LABELS)
    assert answer.labels == ()
    assert answer.label_count == 0


def test_probabilities_are_plain_numbers_that_json_can_write():
    [(label, probability)] = label_set(_row([1], [1.0]), LABELS).labels
    assert type(label) is str
    assert type(probability) is float
