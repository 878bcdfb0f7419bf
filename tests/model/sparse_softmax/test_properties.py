"""What holds for any row, in every implementation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.sparse_softmax import reference

WIDTHS = st.integers(1, 9)
RATES = st.floats(0, 1)


def rows(elements):
    """One row of float32 logits."""
    return arrays.arrays(np.float32, WIDTHS, elements=elements)


MASK = st.just(-np.inf)
ANY = rows(st.floats(width=32))
MODERATE = rows(st.one_of(st.floats(-20, 20, width=32), MASK))
# Small integers make ties; with rates in sixteenths every step but exp and the division is exact.
INTEGERS = rows(st.one_of(st.integers(-4, 4).map(float), MASK))
SIXTEENTHS = st.integers(0, 16).map(lambda n: n / 16)

fast = settings(max_examples=40, deadline=None)


@given(logits=ANY, rate=RATES)
@settings(max_examples=200, deadline=None)
def test_any_row_has_the_zero_pattern_and_the_values_of_the_reference(float32_backend, logits, rate):
    expected = reference.r_softmax(logits, rate)
    probabilities = float32_backend.r_softmax(logits, np.asarray(rate))
    np.testing.assert_array_equal(probabilities == 0, expected == 0)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-30)


@given(logits=MODERATE, rate=RATES)
@fast
def test_probabilities_sum_to_one_unless_all_is_masked(backend, logits, rate):
    logits = logits.astype(backend.dtype)
    total = backend.r_softmax(logits, np.asarray(rate)).astype(float).sum()
    assert abs(total - (logits > -np.inf).any()) < 10 * np.finfo(backend.dtype).eps


@given(logits=MODERATE, data=st.data())
@fast
def test_no_more_survive_than_are_asked_for_but_for_ties_of_the_maximum(backend, logits, data):
    logits = logits.astype(backend.dtype)
    unmasked = np.count_nonzero(logits > -np.inf)
    label_count = data.draw(st.integers(1, 9))
    result = backend.r_softmax_count(logits[np.newaxis], np.array([label_count]))[0]
    survivors = np.count_nonzero(result)
    maxima = np.count_nonzero((logits == logits.max()) & (logits > -np.inf))
    assert survivors <= max(min(label_count, unmasked), maxima)
    if len(np.unique(logits.astype(float).round(2))) == len(logits) and label_count < unmasked:
        assert survivors == label_count


@given(logits=INTEGERS, shift=st.integers(-100, 100), rate=SIXTEENTHS)
@fast
def test_adding_a_constant_leaves_probabilities_unchanged(backend, logits, shift, rate):
    logits, rate = logits.astype(backend.dtype), np.asarray(rate)
    shifted = logits + backend.dtype.type(shift)
    np.testing.assert_array_equal(backend.r_softmax(shifted, rate), backend.r_softmax(logits, rate))


@given(logits=MODERATE, rate=RATES, data=st.data())
@fast
def test_permuting_the_classes_permutes_the_probabilities(backend, logits, rate, data):
    logits, rate = logits.astype(backend.dtype), np.asarray(rate)
    order = np.array(data.draw(st.permutations(range(len(logits)))))
    permuted, straight = backend.r_softmax(logits[order], rate), backend.r_softmax(logits, rate)[order]
    np.testing.assert_array_equal(permuted == 0, straight == 0)
    np.testing.assert_allclose(permuted, straight, rtol=4 * np.finfo(backend.dtype).eps)


@given(logits=MODERATE, rate=RATES)
@fast
def test_a_higher_logit_never_gets_a_lower_probability(backend, logits, rate):
    logits = np.sort(logits.astype(backend.dtype))
    probabilities = backend.r_softmax(logits, np.asarray(rate)).astype(float)
    # exp is not monotone to the last digit.
    assert (np.diff(probabilities) >= -4 * np.finfo(backend.dtype).eps * probabilities[1:]).all()


@given(logits=MODERATE, rate_pair=st.tuples(RATES, RATES))
@fast
def test_a_higher_rate_keeps_a_part_of_the_support(backend, logits, rate_pair):
    logits = logits.astype(backend.dtype)
    smaller, larger = sorted(rate_pair)
    wide, narrow = (backend.r_softmax(logits, np.asarray(rate)) != 0 for rate in (smaller, larger))
    assert not (narrow & ~wide).any()
