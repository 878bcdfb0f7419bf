import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.policies import GRAPH_POLICIES, counts_by_policy, expected_f1, expected_f1_matrix, graph_code

# Probabilities 0, 0.4, 0.3, 0.3 of 0 to 3 labels.
COUNT_LOGITS = np.log(np.array([[1e-9, 0.4, 0.3, 0.3]], np.float32))


def _f1_of_sets(k, m):
    chosen, true = set(range(k)), set(range(m))
    return 1.0 if not chosen | true else 2 * len(chosen & true) / (len(chosen) + len(true))


def test_the_matrix_is_the_f1_of_the_first_k_against_the_first_m():
    np.testing.assert_allclose(expected_f1_matrix(4), [[_f1_of_sets(k, m) for k in range(5)] for m in range(5)])
    assert expected_f1_matrix(0).tolist() == [[1.0]]


def test_expected_f1_weighs_every_possible_count():
    one = 0.4 * 1 + 0.3 * 2 / 3 + 0.3 * 1 / 2
    two = 0.4 * 2 / 3 + 0.3 * 1 + 0.3 * 4 / 5
    three = 0.4 * 1 / 2 + 0.3 * 4 / 5 + 0.3 * 1
    np.testing.assert_allclose(expected_f1(COUNT_LOGITS), [[0, one, two, three]], atol=1e-6)


def test_the_count_of_highest_expected_f1_need_not_be_the_most_probable():
    logits = np.zeros((1, 5), np.float32)
    assert counts_by_policy("predicted_count", logits, COUNT_LOGITS).tolist() == [1]
    assert counts_by_policy("expected_f1", logits, COUNT_LOGITS).tolist() == [2]


def test_the_predicted_f1_asks_its_own_logits_alone():
    f1_logits = np.array([[0.1, -2.0, -3.0, 0.2]])
    assert counts_by_policy("predicted_f1", np.zeros((1, 4)), COUNT_LOGITS, f1_logits).tolist() == [3]
    with pytest.raises(ValueError, match="needs f1_logits_NK, got none"):
        counts_by_policy("predicted_f1", np.zeros((1, 4)), COUNT_LOGITS)


def test_no_label_wins_only_where_it_is_more_probable_than_any_f1_is_good():
    logits = np.zeros((2, 5), np.float32)
    count_logits = np.log(np.array([[0.45, 0.3, 0.25], [0.45, 0.5, 0.05]]))
    # Of k = 1: 0.3 + 0.25 * 2 / 3 = 0.467, and 0.533.
    assert counts_by_policy("expected_f1", logits, count_logits).tolist() == [1, 1]
    assert counts_by_policy("expected_f1", logits, np.add(count_logits, [0.1, 0, 0])).tolist() == [0, 1]


def test_positive_logits_are_counted_and_zero_is_not_positive():
    logits = np.array([[1.0, 0.0, -1.0], [2.0, 1e-30, 3.0], [-1.0, -2.0, -0.0]])
    assert counts_by_policy("positive_logits", logits, np.zeros((3, 0))).tolist() == [1, 3, 0]


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=8), st.floats(-1000, 1000, width=32))
def test_a_constant_on_all_count_logits_changes_no_expectation(count_logits, constant):
    plain = np.array([count_logits])
    np.testing.assert_allclose(expected_f1(plain + constant), expected_f1(plain), atol=1e-9)
    assert expected_f1(plain).max() <= 1 + 1e-12


@pytest.mark.parametrize("policy", ["fixed_count", "fixed_rate", "learned_threshold", "luck"])
def test_a_policy_that_needs_more_than_logits_is_refused(policy):
    with pytest.raises(ValueError, match=f"policy must be one of .*'expected_f1'.*, got '{policy}'"):
        counts_by_policy(policy, np.zeros((1, 2)), np.zeros((1, 2)))


def test_the_codes_in_bundles_stay():
    assert [graph_code(policy) for policy in GRAPH_POLICIES] == [0, 1, 2, 3, 4]
    assert GRAPH_POLICIES == (
        "predicted_count",
        "expected_f1",
        "positive_logits",
        "learned_threshold",
        "predicted_f1",
    )
    assert graph_code("fixed_count") == graph_code("fixed_rate") == -1
