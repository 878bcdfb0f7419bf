"""Which texts are computed together: a run pads all of its texts to the longest."""

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")

# A run reads all weights, however few tokens there are: on a core that takes as long as so many tokens more (measured
# on six layers of MiniLM; both grow with the weights). A GPU is far from busy with a batch of texts.
TOKENS_OF_A_RUN = {"cpu": 12, "cuda": 4096}


def cheapest_runs(lengths: Mapping[K, int], token_limit: int, tokens_of_a_run: int) -> list[list[K]]:
    """Texts, put together so that computing them takes least: as little padding, in as few runs.

    Args:
        lengths: Tokens of each text.
        token_limit: Tokens of a run, padding included; a longer text is computed alone.
        tokens_of_a_run: What a run costs whatever is in it, in tokens.
    """
    # Sorted: a run is a stretch of them then, padded to its last. Found are the cheapest ways to compute the first n.
    texts = sorted(lengths, key=lambda text: lengths[text])
    costs, begins = [0], [0]
    for end, text in enumerate(texts, 1):
        longest = max(1, lengths[text])
        first = max(0, min(end - 1, end - token_limit // longest))
        cost, begin = min((costs[begin] + (end - begin) * longest, begin) for begin in range(first, end))
        costs.append(cost + tokens_of_a_run)
        begins.append(begin)
    runs, end = [], len(texts)
    while end:
        runs.append(texts[begins[end] : end])
        end = begins[end]
    return runs


def next_texts(lengths: Mapping[K, int], row_limit: int, token_limit: int, tokens_of_a_run: int) -> list[K]:
    """Of texts that wait those to compute next: the run of the oldest, then what fits of those with the next oldest.

    Args:
        lengths: Tokens of each text, or about as many; the oldest first.
        row_limit: Texts taken, at least 1.
        token_limit: Tokens of all of them, padding included; a longer text is taken alone.
        tokens_of_a_run: As of `cheapest_runs`.
    """
    ages = {text: age for age, text in enumerate(lengths)}
    runs = [sorted(run, key=ages.__getitem__) for run in cheapest_runs(lengths, token_limit, tokens_of_a_run)]
    taken: list[K] = []
    tokens = 0
    for run in sorted(runs, key=lambda run: ages[run[0]]):
        longest = max(1, *(lengths[text] for text in run))
        places = min(row_limit - len(taken), (token_limit - tokens) // longest)
        chosen = run[: max(0 if taken else 1, places)]
        taken += chosen
        tokens += len(chosen) * longest
    return taken
