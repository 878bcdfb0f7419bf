"""Find texts that share nearly all their words, among many, without comparing each with each.

Two sets of words with a Jaccard similarity of at least t must share a word among the few rarest of each: a set of n
words whose n - ceil(tn) + 1 rarest are all missing from the other shares too few of the rest (prefix filtering:
Bayardo, Ma and Srikant 2007). So only texts that share a rare word are compared.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from training.data.duplicates import words_of_text

# Of the words of two texts, both have at least four fifths: as integers, because a rounded product could miss the cut.
_SHARED, _OF_ALL = 4, 5
# Texts of one template share all but their rarest words with thousands. Beyond so many comparisons a text is given up.
_MAX_COMPARISONS = 2000

Words = tuple[int, ...]


class Vocabulary:
    """Numbers words, the rarer the lower."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word in words_of_text(text))
        self._rank = {word: rank for rank, (word, _) in enumerate(sorted(counts.items(), key=lambda item: item[1]))}

    def words(self, text: str) -> Words:
        """The words of a text, each once, the rarest first."""
        return tuple(sorted(self._rank[word] for word in words_of_text(text)))


class NearTexts:
    """The texts of one side, to be asked for one that is near to another text."""

    def __init__(self, texts: Sequence[Words]) -> None:
        self._texts = texts
        self._having: defaultdict[int, list[int]] = defaultdict(list)
        for position, words in enumerate(texts):
            for word in _rarest(words):
                self._having[word].append(position)

    def find(self, words: Words) -> int | None:
        """The position of a text that shares four fifths of all words with these or more; None where there is none."""
        own = set(words)
        seen: set[int] = set()
        for word in _rarest(words):
            for position in self._having.get(word, ()):
                if position in seen:
                    continue
                seen.add(position)
                if _is_near(own, self._texts[position]):
                    return position
                if len(seen) >= _MAX_COMPARISONS:
                    return None
        return None


def _rarest(words: Words) -> Words:
    least_shared = -(-_SHARED * len(words) // _OF_ALL)
    return words[: len(words) - least_shared + 1]


def _is_near(own: set[int], other: Words) -> bool:
    shared = len(own.intersection(other))
    return _OF_ALL * shared >= _SHARED * (len(own) + len(other) - shared)
