"""How a text is split into words, and how words and label sets come together."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.labels import LabelSet, ScoredLabel
from model.words import NO_WORD, label_words, words_of, words_read


def label_set(label: str) -> LabelSet:
    return LabelSet((ScoredLabel(label, 1.0),), sparsity_rate=0.9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The dog, he barks.", ["The", "dog", ",", "he", "barks", "."]),
        ("Don't stop: it's on-screen!", ["Don't", "stop", ":", "it's", "on-screen", "!"]),
        ("l\u2019eau de na\u00efve nai\u0308ve", ["l\u2019eau", "de", "na\u00efve", "nai\u0308ve"]),
        ("3.5 of 10,000, 1.", ["3.5", "of", "10,000", ",", "1", "."]),
        ("a_b 'quoted' x- --", ["a", "_", "b", "'", "quoted", "'", "x", "-", "-", "-"]),
        ("東京 🙂", ["東京", "🙂"]),
    ],
)
def test_words_are_runs_of_letters_and_single_marks(text, words):
    assert [word.text for word in words_of(text)] == words


@given(st.text())
def test_every_character_but_white_space_is_in_exactly_one_word(text):
    words = words_of(text)
    assert all(text[word.start : word.end] == word.text for word in words)
    assert all(one.end <= other.start for one, other in itertools.pairwise(words))
    assert "".join(word.text for word in words) == "".join(text.split())


def test_words_that_the_caller_gave_stay_and_have_no_place_in_a_text():
    assert words_of(("on the", "dog,")) == [("on the", None, None), ("dog,", None, None)]


def test_each_word_gets_the_label_set_of_its_position():
    answer = label_words("the dog", {0: label_set("DET"), 1: label_set("NOUN")})
    assert [(word.text, found.labels[0].label) for word, found in answer.words] == [("the", "DET"), ("dog", "NOUN")]
    assert not answer.truncated


def test_words_beyond_the_last_one_read_have_no_label_set_and_the_answer_says_so():
    answer = label_words(("the", "", "dog", "barks"), {0: label_set("DET"), 2: label_set("NOUN")})
    assert [found is None for _, found in answer.words] == [False, True, False, True]
    assert answer.truncated
    assert not label_words(("the", "", "dog"), {0: label_set("DET"), 2: label_set("NOUN")}).truncated


def test_the_words_read_are_those_that_begin_at_a_token():
    array = np.array([[2, NO_WORD], [7, 0], [8, NO_WORD], [9, 2], [3, NO_WORD]])
    assert words_read(array) == [0, 2]
