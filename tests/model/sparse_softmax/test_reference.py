"""The reference against figures worked out by hand, and what it refuses."""

import numpy as np
import pytest

from model.sparse_softmax import reference

E = np.e


def test_weighted_softmax_counts_each_class_as_often_as_its_weight():
    probabilities = reference.weighted_softmax([[0.0, 1.0, 5.0]], [[3, 1, 0]])
    np.testing.assert_allclose(probabilities, [[3 / (3 + E), E / (3 + E), 0]])


def test_t_softmax_weighs_by_the_distance_above_t_below_the_maximum():
    # Weights 2, 1 and 0 at logits 1, 0 and -1.
    np.testing.assert_allclose(reference.t_softmax([1.0, 0.0, -1.0], 2), [2 * E / (2 * E + 1), 1 / (2 * E + 1), 0])


def test_r_softmax_weighs_by_the_distance_above_the_interpolated_quantile():
    # h = 0.5 * 3 = 1.5, so the cut is 1.5: weights 1.5 and 0.5 at logits 3 and 2.
    probabilities = reference.r_softmax([3.0, 1.0, 2.0, 0.0], 0.5)
    np.testing.assert_allclose(probabilities, [3 * E / (3 * E + 1), 0, 1 / (3 * E + 1), 0])


def test_the_cut_is_rounded_to_the_type_of_the_logits():
    # h = 0.75; in float64 the cut lies below 1 + eps, in float32 it is 1 + eps: a tie with the maximum.
    logits = [1.0, 1.0 + np.finfo(np.float32).eps]
    assert reference.r_softmax(np.array([0.0, *logits], np.float64), 0.9)[1:].tolist() == [0, 1]
    np.testing.assert_array_equal(
        reference.r_softmax(np.array([-1.0, *logits, logits[1]], np.float32), 0.6), [0, 0, 0.5, 0.5]
    )


def test_a_survivor_too_improbable_for_its_type_gets_the_smallest_normal_number():
    logits = [0, -1500, -2000]
    assert reference.r_softmax(np.array(logits, np.float64), 1 / 3)[1] == np.finfo(np.float64).smallest_normal
    assert reference.r_softmax(np.array(logits, np.float32), 1 / 3)[1] == np.finfo(np.float32).smallest_normal
    assert reference.r_softmax(np.array(logits, np.float16), 1 / 3)[1] == 2.0**-24


@pytest.mark.parametrize("rate", [-0.1, 1.5, np.nan, np.inf])
def test_a_rate_outside_its_range_is_named(rate):
    with pytest.raises(ValueError, match=rf"sparsity rate must be in \[0, 1\], got {rate}"):
        reference.r_softmax(np.zeros((2, 3)), [0.5, rate])


@pytest.mark.parametrize("call", [reference.r_softmax, reference.r_softmax_count, reference.t_softmax])
@pytest.mark.parametrize("shape", [(3,), (2, 1), (1,), (0,)])
def test_a_parameter_of_another_batch_is_refused(call, shape):
    with pytest.raises(ValueError, match=rf"one per row, \(2,\), got \({shape[0]},"):
        call(np.zeros((2, 3)), np.ones(shape))


def test_a_negative_label_count_is_named():
    with pytest.raises(ValueError, match=r"label count must be at least 0, got -1"):
        reference.r_softmax_count(np.zeros((2, 3)), [1, -1])


@pytest.mark.parametrize("t", [0, -2, np.inf, np.nan])
def test_a_t_outside_its_range_is_named(t):
    with pytest.raises(ValueError, match=f"t must be finite and above 0, got {t}"):
        reference.t_softmax(np.zeros(3), t)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1, -3]], "weights must be finite and at least 0, got -3"),
        ([[1, np.nan]], "weights must be finite and at least 0, got nan"),
        ([[0, 0]], "sum of a row's weights must be above 0, got 0"),
        ([1, 1], r"shape of the logits, \(1, 2\), got \(2,\)"),
    ],
)
def test_weights_that_are_not_allowed_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        reference.weighted_softmax(np.zeros((1, 2)), weights)


def test_logits_without_a_class_are_refused():
    with pytest.raises(ValueError, match=r"at least one class, got shape \(2, 0\)"):
        reference.r_softmax(np.zeros((2, 0)), 0.5)


def test_integer_logits_are_refused():
    with pytest.raises(TypeError, match="got int64"):
        reference.r_softmax(np.zeros(2, dtype=np.int64), 0.5)
