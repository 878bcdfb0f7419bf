"""Every implementation over the one table of SPEC cases (conftest.py)."""

import numpy as np

from model.sparse_softmax import reference


def _zero_pattern(probabilities):
    return np.where(np.isnan(probabilities), np.nan, probabilities != 0)


def test_zero_pattern_is_that_of_the_spec(backend, case):
    np.testing.assert_array_equal(_zero_pattern(backend.run(case)), np.asarray(case.support, dtype=float))


def test_result_is_that_of_the_reference_in_the_type_and_shape_of_the_logits(backend, case):
    logits, probabilities = case.logits_as(backend.dtype), backend.run(case)
    if case.rate is None:
        expected = reference.r_softmax_count(logits, case.label_count)
    else:
        expected = reference.r_softmax(logits, case.rate)
    assert probabilities.dtype == logits.dtype
    assert probabilities.shape == logits.shape
    # The reference takes logarithms of the weights, which costs it some digits of float64.
    rtol = max(8 * np.finfo(backend.dtype).eps, 1e-12)
    np.testing.assert_allclose(probabilities, expected, rtol=rtol, atol=1e-30)


def test_a_rate_of_m_over_n_gives_exactly_m_zeros_of_a_million(float32_backend, million_case):
    np.testing.assert_array_equal(float32_backend.run(million_case) != 0, million_case.support)


def test_a_float32_rate_would_miss_the_count_of_a_million():
    logits = np.arange(10**6) / 1000
    assert np.count_nonzero(reference.r_softmax(logits, 999_990 / 10**6)) == 10
    assert np.count_nonzero(reference.r_softmax(logits, float(np.float32(999_990 / 10**6)))) == 11
