import numpy as np

from training.resting import Rests


def test_a_masked_sample_rests_from_the_next_epoch_for_as_many_as_were_asked_for():
    rests = Rests(4, epochs=2)
    rests.add([1, 3], epoch=5)
    assert [rests.awake(epoch).tolist() for epoch in (5, 6, 7, 8)] == [[0, 1, 2, 3], [0, 2], [0, 2], [0, 1, 2, 3]]
    assert rests.share(5) == 0.5


def test_who_takes_part_in_an_epoch_does_not_change_within_it():
    rests = Rests(6, epochs=1)
    rests.add([0, 1], epoch=0)
    at_the_start = rests.awake(1)
    assert at_the_start.tolist() == [2, 3, 4, 5]
    rests.add([2, 5], epoch=1)
    np.testing.assert_array_equal(rests.awake(1), at_the_start)


def test_where_all_would_rest_all_take_part():
    rests = Rests(3, epochs=3)
    rests.add([0, 1, 2], epoch=0)
    rests.begin(1)
    assert rests.awake(1).tolist() == [0, 1, 2]
    rests.add([1], epoch=1)
    assert rests.awake(1).tolist() == [0, 1, 2]
    rests.begin(2)
    assert rests.awake(2).tolist() == [0, 2]


def test_without_rest_a_masked_sample_takes_part_in_every_epoch():
    rests = Rests(3, epochs=0)
    rests.add([0, 1, 2], epoch=0)
    assert [len(rests.awake(epoch)) for epoch in range(3)] == [3, 3, 3]
