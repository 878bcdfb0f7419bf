"""The hardest sentences of a token classifier: the answers are of words, a reader wants the sentence around them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.data.dataset import Example
from training.evaluate import Answers
from training.report.hardest import SHOWN
from training.report.statistics import difficulty


class TaggedWord(NamedTuple):
    """A word; `truth` and `prediction` are empty where nothing is to be learned, or the model did not read it."""

    word: str
    truth: str = ""
    prediction: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether the prediction is not the truth."""
        return self.truth != self.prediction


class HardSentence(NamedTuple):
    """One test example; the loss is the mean over its words."""

    number: int
    loss: float
    words: list[TaggedWord]


def hardest_sentences(answers: Answers, examples: Sequence[Example], labels: Sequence[str]) -> list[HardSentence]:
    """Sentences with a wrong word, the one with the largest mean loss first."""
    assert answers.example_N is not None
    loss_N = difficulty(answers)
    wrong_N = ((answers.probabilities_NC != 0) != answers.targets_NC).any(axis=1)
    sentences = [
        (loss_N[answers.example_N == number].mean(), int(number)) for number in set(answers.example_N[wrong_N])
    ]
    sentences.sort(reverse=True)
    return [
        HardSentence(number, float(loss), tagged_words(answers, number, examples[number], labels))
        for loss, number in sentences[:SHOWN]
    ]


def tagged_words(answers: Answers, number: int, example: Example, labels: Sequence[str]) -> list[TaggedWord]:
    """The words of an example with their tags; the answers to it are of its labelled words, in order."""
    rows = np.flatnonzero(answers.example_N == number)
    said = [
        ("+".join(labels[index] for index in np.flatnonzero(answers.probabilities_NC[row])) or "none") for row in rows
    ]
    truth = [labels[int(answers.targets_NC[row].argmax())] for row in rows]
    words, answered = [], 0
    for word, label in zip(example.words or (), example.labels, strict=True):
        if answered < len(rows) and label == truth[answered]:
            words.append(TaggedWord(word, label, said[answered]))
            answered += 1
        else:
            words.append(TaggedWord(word))
    return words
