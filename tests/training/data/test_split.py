import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.dataset import Example, label_counts
from training.data.split import SHARES, split_by_group

THREE = list(SHARES.values())


def example(number, *labels, group=None):
    return Example(labels, text=f"text {number}", group=group)


examples_in_groups = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd")), st.none() | st.sampled_from("xyz")), min_size=1, max_size=40
).map(lambda rows: [example(number, *sorted(labels), group=group) for number, (labels, group) in enumerate(rows)])


@given(examples_in_groups, st.integers(0, 5))
def test_every_example_is_on_one_side_and_every_group_on_one(examples, seed):
    sides = split_by_group(examples, shares=THREE, seed=seed)
    assert sorted((e for side in sides for e in side), key=lambda e: e.text) == sorted(examples, key=lambda e: e.text)
    groups = [{e.group for e in side if e.group} for side in sides]
    assert len(set.union(*groups)) == sum(map(len, groups))


@given(examples_in_groups)
def test_a_seed_gives_one_split(examples):
    assert split_by_group(examples, shares=THREE, seed=3) == split_by_group(examples, shares=THREE, seed=3)


def test_seeds_give_different_splits():
    examples = [example(number, "a") for number in range(100)]
    assert split_by_group(examples, shares=THREE, seed=0) != split_by_group(examples, shares=THREE, seed=1)


@pytest.mark.parametrize("shares", [THREE, [0.5, 0.5], [1.0]])
def test_single_examples_are_dealt_by_the_shares_for_every_label(shares):
    examples = [
        example(number, *(["a"] if number % 2 else []), *(["b"] if number % 5 == 0 else [])) for number in range(400)
    ]
    sides = split_by_group(examples, shares=shares, seed=0)
    for side, share in zip(sides, shares, strict=True):
        assert len(side) == pytest.approx(400 * share, abs=3)
        assert label_counts(side)["a"] == pytest.approx(200 * share, abs=3)
        assert label_counts(side)["b"] == pytest.approx(80 * share, abs=3)


def test_large_groups_are_balanced_too():
    examples = [example(number, "ab"[number % 2], group=str(number // 50)) for number in range(2000)]
    sides = split_by_group(examples, shares=THREE, seed=0)
    assert [len(side) for side in sides] == [1400, 300, 300]


def test_a_label_of_one_group_goes_to_the_largest_side():
    examples = [example(number, "common") for number in range(100)]
    examples += [example(number, "rare", group="one") for number in range(100, 110)]
    for seed in range(5):
        train, *_ = split_by_group(examples, shares=THREE, seed=seed)
        assert label_counts(train)["rare"] == 10
