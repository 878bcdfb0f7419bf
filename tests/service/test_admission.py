"""Places are counted, and a place that is given up is free again."""

import pytest

from service.admission import Admission
from service.errors import QueueFull


def test_as_many_inputs_as_there_are_places_are_let_in_and_no_more():
    admission = Admission(4)
    with admission.hold(3):
        admission.require_a_place()
        with pytest.raises(QueueFull, match=r"at most 4 inputs are worked on at once, 3 are"), admission.hold(2):
            pytest.fail("five inputs have four places")
        with admission.hold(1):
            assert admission.taken == 4
            with pytest.raises(QueueFull) as refused:
                admission.require_a_place()
            assert refused.value.detail == {"limit": 4}
        admission.require_a_place()
    assert admission.taken == 0


def test_a_place_is_free_again_when_the_work_fails():
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(RuntimeError), admission.hold(1):
            raise RuntimeError
    assert admission.taken == 0
