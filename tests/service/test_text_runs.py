"""Which texts are computed together."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from service.text_runs import cheapest_runs, next_texts


@given(st.lists(st.integers(1, 64), min_size=1, max_size=7), st.sampled_from([20, 64, 200, 4096]), st.integers(0, 50))
def test_no_other_way_to_compute_texts_is_cheaper(lengths, limit, tokens_of_a_run):
    def cost(batches):
        padded = [max(lengths[place] for place in batch) * len(batch) for batch in batches]
        fits = all(tokens <= limit or len(batch) == 1 for tokens, batch in zip(padded, batches, strict=True))
        return sum(padded) + tokens_of_a_run * len(batches) if fits else math.inf

    found = cheapest_runs(dict(enumerate(lengths)), limit, tokens_of_a_run)
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    cuts = itertools.chain.from_iterable(itertools.combinations(range(1, len(lengths)), n) for n in range(len(lengths)))
    every_way = ([ordered[a:b] for a, b in itertools.pairwise([0, *cut, len(lengths)])] for cut in cuts)
    assert cost(found) == min(map(cost, every_way))


def test_texts_that_need_no_padding_go_together_and_the_oldest_first():
    lengths = dict(zip("abcdefgh", [10, 50, 10, 51, 9, 30, 50, 10], strict=True))
    assert next_texts(lengths, 8, 4096, 5) == ["a", "c", "e", "h", "b", "d", "g", "f"]
    # Of a run that does not fit, those that have waited longest.
    assert next_texts(lengths, 6, 4096, 5) == ["a", "c", "e", "h", "b", "d"]
    assert next_texts(lengths, 8, 100, 5) == ["a", "c", "e", "h", "b"]
    # Of the run of the oldest, those that have waited longest.
    assert next_texts(lengths, 3, 4096, 5) == ["a", "c", "e"]


@given(
    st.lists(st.integers(0, 64), min_size=1, max_size=20),
    st.integers(1, 8),
    st.sampled_from([20, 64, 200, 4096]),
    st.integers(0, 50),
)
def test_the_oldest_text_is_taken_and_no_more_than_fit(lengths, row_limit, token_limit, tokens_of_a_run):
    taken = next_texts(dict(enumerate(lengths)), row_limit, token_limit, tokens_of_a_run)
    assert taken[0] == 0
    assert len(set(taken)) == len(taken) <= row_limit
    runs = cheapest_runs({text: lengths[text] for text in taken}, token_limit, 0)
    padded = sum(len(run) * max(lengths[text] for text in run) for run in runs)
    assert padded <= token_limit or len(taken) == 1
