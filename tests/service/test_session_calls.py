"""What the session process answers where a call goes wrong."""

import pytest

from model.session import LET_THE_MODEL_DECIDE
from service.session_calls import Drop, Failure, Infer, ListDevices
from service.session_process import _Models


class PanicException(BaseException):
    """As pyo3's, which is no Exception either, and cannot be raised from Python."""


class Panicking:
    def infer(self, items, sparsities):
        raise PanicException("assertion failed")


def test_a_panic_of_a_decoder_is_an_answer_and_the_next_call_is_served():
    models = _Models()
    models._models[1] = Panicking()
    failure = models.answer(Infer(1, ["text"], [LET_THE_MODEL_DECIDE]))
    assert isinstance(failure, Failure)
    assert failure.error is None
    assert failure.trace.endswith("PanicException: assertion failed\n")
    assert "cpu" in models.answer(ListDevices())


@pytest.mark.parametrize("dropped", [False, True])
def test_a_model_that_is_not_there_is_a_failure_and_dropping_it_none(dropped):
    models = _Models()
    if dropped:
        assert models.answer(Drop(1)) is None
    failure = models.answer(Infer(1, ["text"], [LET_THE_MODEL_DECIDE]))
    assert "could not be loaded again" in failure.trace
