import numpy as np
import pytest

from training.resting import Rests


def test_a_masked_sample_rests_from_the_next_epoch_for_as_many_as_were_asked_for():
    rests = Rests(4, epochs=2)
    rests.note([1, 3], [0, 2], epoch=5)
    assert [rests.awake(epoch).tolist() for epoch in (5, 6, 7, 8)] == [[0, 1, 2, 3], [0, 2], [0, 2], [0, 1, 2, 3]]
    assert rests.active_share() == 0.5


def test_each_time_that_it_is_masked_again_it_rests_twice_as_long_until_it_is_active():
    rests = Rests(2, epochs=1)
    looked_at = []
    for epoch in range(19):
        rests.begin(epoch)
        if 1 in rests.awake(epoch):
            looked_at.append(epoch)
        masked, active = ([], [0, 1]) if epoch == 10 else ([1], [0])
        rests.note(masked if 1 in rests.awake(epoch) else [], active if 1 in rests.awake(epoch) else [0], epoch)
    assert looked_at == [0, 2, 5, 10, 11, 13, 16]


def test_what_was_active_last_begins_with_the_shortest_rest():
    rests = Rests(1, epochs=1)
    for epoch in (0, 2, 5):
        rests.note([0], [], epoch)
    rests.note([], [0], 10)
    rests.note([0], [], 11)
    assert [epoch for epoch in range(12, 15) if len(rests.awake(epoch))] == [13, 14]


def test_a_rest_is_never_longer_than_32_times_the_first():
    rests = Rests(1, epochs=1)
    for _ in range(40):
        rests.note([0], [], epoch=0)
    assert [len(rests.awake(epoch)) for epoch in (1, 32, 33)] == [0, 0, 1]


def test_the_active_share_counts_what_was_last_known_of_each_sample_whether_it_rests_or_not():
    rests = Rests(5, epochs=1)
    assert rests.active_share() == 1
    rests.note([0, 1, 2], [3], epoch=0)
    assert rests.active_share() == 0.4  # of the last nothing is known
    rests.note([], [3, 4], epoch=1)
    assert rests.active_share() == 0.4
    rests.note([3], [0, 1, 4], epoch=2)
    assert rests.active_share() == 0.6


def test_who_takes_part_in_an_epoch_does_not_change_within_it():
    rests = Rests(6, epochs=1)
    rests.note([0, 1], [2, 3, 4, 5], epoch=0)
    at_the_start = rests.awake(1)
    assert at_the_start.tolist() == [2, 3, 4, 5]
    rests.note([2, 5], [3], epoch=1)
    np.testing.assert_array_equal(rests.awake(1), at_the_start)


def test_where_all_would_rest_all_take_part():
    rests = Rests(3, epochs=3)
    rests.note([0, 1, 2], [], epoch=0)
    rests.begin(1)
    assert rests.awake(1).tolist() == [0, 1, 2]
    rests.note([1], [0, 2], epoch=1)
    assert rests.awake(1).tolist() == [0, 1, 2]
    rests.begin(2)
    assert rests.awake(2).tolist() == [0, 2]


def test_without_rest_a_masked_sample_takes_part_in_every_epoch_and_is_remembered():
    rests = Rests(3, epochs=0)
    rests.note([0, 1], [2], epoch=0)
    assert [len(rests.awake(epoch)) for epoch in range(3)] == [3, 3, 3]
    assert rests.streaks.tolist() == [1, 1, 0]


@pytest.mark.parametrize("mine", [0, 1])
def test_processes_learn_from_each_other_what_each_has_seen(mine):
    both = [Rests(4, epochs=1) for _ in range(2)]
    for rests in both:
        rests.restore(np.array([[0, 0, 0, 0], [1, 1, 0, 2]]))
    both[0].note([0], [3], epoch=2)
    both[1].note([2], [1], epoch=2)
    both[mine].merge(np.stack([rests.state_2N for rests in both]))
    assert both[mine].state_2N.tolist() == [[2, 0, 2, 0], [2, 0, 1, 0]]
    # Once merged, an old state is no news.
    both[mine].note([1], [], epoch=3)
    both[mine].merge(np.stack([both[mine].state_2N, np.array([[2, 0, 2, 0], [2, 0, 1, 0]])]))
    assert both[mine].streaks.tolist() == [2, 1, 1, 0]
