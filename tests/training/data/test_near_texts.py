import random

import pytest

from training.data.duplicates import words_of_text
from training.data.near_texts import NearTexts, Vocabulary


def near(first, second):
    vocabulary = Vocabulary([first, second])
    return NearTexts([vocabulary.words(first)]).find(vocabulary.words(second)) == 0


@pytest.mark.parametrize(
    ("first", "second", "is_near"),
    [
        ("red green blue white", "Blue, white, GREEN and red!", True),
        ("one two three four", "one two three four five", True),  # 4 of 5
        ("one two three four", "one two three five", False),  # 3 of 5
        ("b c d e f g h i j", "x c d e f g h i j", True),  # 8 of 10
        ("b c d e f g h i", "x c d e f g h i", False),  # 7 of 9
        ("17", "17", False),  # nothing that could be compared
    ],
)
def test_texts_are_near_from_four_fifths_of_all_their_words(first, second, is_near):
    assert near(first, second) == near(second, first) == is_near


def test_every_near_text_is_found_that_comparing_all_with_all_finds():
    chance = random.Random(0)
    words = [first + second for first in "klmnpr" for second in "klmnpr"]
    known = [" ".join(chance.sample(words, chance.randint(1, 12))) for _ in range(300)]
    probes = [" ".join(chance.sample(words, chance.randint(1, 12))) for _ in range(100)]
    for text in known[:100]:  # one word less or one more
        changed = text.split()
        probes.append(" ".join(changed[1:] if chance.random() < 0.5 else [*changed, chance.choice(words)]))
    vocabulary = Vocabulary(known + probes)
    index = NearTexts([vocabulary.words(text) for text in known])
    found = [index.find(vocabulary.words(probe)) is not None for probe in probes]

    def jaccard(first, second):
        first, second = words_of_text(first), words_of_text(second)
        return len(first & second) / max(1, len(first | second))

    expected = [max(jaccard(probe, text) for text in known) >= 0.8 - 1e-9 for probe in probes]
    assert found == expected
    assert 30 < sum(expected) < 170
