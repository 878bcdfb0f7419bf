"""How many requests pass in how much time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.rate import RateLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def passed(limit, times):
    return sum(limit.take() == 0 for _ in range(times))


@pytest.mark.parametrize(("per_second", "at_once"), [(5, 5), (1, 1), (0.5, 1), (2.5, 2)])
def test_the_requests_of_one_second_may_come_at_once_and_as_many_in_each_second_after(per_second, at_once):
    clock = Clock()
    limit = RateLimit(per_second, clock)
    assert passed(limit, 20) == at_once
    clock.now += 60
    assert passed(limit, 20) == at_once
    so_far = 0
    for _ in range(600):
        clock.now += 0.1
        so_far += passed(limit, 20)
    assert so_far == pytest.approx(60 * per_second, abs=1)


def test_who_is_refused_is_told_how_long_to_wait():
    clock = Clock()
    limit = RateLimit(0.25, clock)
    assert limit.take() == 0
    clock.now += 1
    assert limit.take() == pytest.approx(3)
    assert limit.take() == pytest.approx(3)  # the refused one was not counted
    clock.now += 3
    assert limit.take() == 0


@given(st.floats(0.1, 50), st.lists(st.floats(0, 3), max_size=60))
def test_no_span_of_time_sees_more_than_its_share_and_one_second_more(per_second, pauses):
    clock = Clock()
    limit = RateLimit(per_second, clock)
    times = []
    for pause in pauses:
        clock.now += pause
        times += [clock.now] if limit.take() == 0 else []
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            span = times[last] - start
            assert last - first + 1 <= span * per_second + max(1, per_second) + 1e-6
