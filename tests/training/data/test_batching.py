import numpy as np

from training.data.batching import epoch_batches, share_of

LENGTHS = np.array([(7919 * position) % 97 + 1 for position in range(1000)], np.int32)


def test_an_epoch_deals_every_position_once_and_full_batches():
    for lengths in (None, LENGTHS):
        batches = epoch_batches(np.arange(1000), lengths, 32, seed=1, epoch=0)
        assert sorted(position for batch in batches for position in batch) == list(range(1000))
        assert sorted(map(len, batches)) == [1000 % 32, *[32] * (1000 // 32)]


def test_the_order_hangs_on_seed_and_epoch_alone():
    first = epoch_batches(np.arange(100), LENGTHS, 8, seed=1, epoch=2)
    assert epoch_batches(np.arange(100), LENGTHS, 8, seed=1, epoch=2) == first
    assert epoch_batches(np.arange(100), LENGTHS, 8, seed=1, epoch=3) != first
    assert epoch_batches(np.arange(100), LENGTHS, 8, seed=2, epoch=2) != first


def test_examples_of_similar_length_share_a_batch():
    def padded(lengths):
        return sum(
            len(batch) * max(LENGTHS[position] for position in batch)
            for batch in epoch_batches(np.arange(1000), lengths, 32, seed=1, epoch=0)
        )

    assert padded(None) > 1.8 * sum(LENGTHS)
    assert padded(LENGTHS) < 1.1 * sum(LENGTHS)


def test_long_batches_do_not_all_come_last():
    batches = epoch_batches(np.arange(1000), LENGTHS, 32, seed=1, epoch=0)
    longest = [max(LENGTHS[position] for position in batch) for batch in batches]
    assert longest != sorted(longest)
    assert max(longest) in longest[: len(longest) * 3 // 4]


def test_the_shares_of_all_processes_make_the_batch():
    batch = [5, 3, 9, 1, 7]
    assert [share_of(batch, rank, 2) for rank in (0, 1)] == [[5, 9, 7], [3, 1]]
    assert share_of([4], 1, 2) == []
