"""Label sets as tensors: the rows of a sparse matrix (CSR), their labels by name, and the dense matrix on request.

Of a token classifier a row is a word, and two more outputs say whose.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.labels import LabelSet, ScoredLabel
from model.predictor import Answer
from model.words import WordLabels
from service.catalogue import ServedModel
from service.errors import InvalidInferRequest
from service.v2.tensor import Tensor
from service.v2.wire import RequestedOutput

DENSE = "probabilities"

# Shape suffixes: R rows (inputs, or words), C classes.
Array = npt.NDArray[Any]


class Answers:
    """The answers to one request, as the rows that tensors are made of."""

    def __init__(self, model: ServedModel, answers: Sequence[Answer]) -> None:
        self.labels = model.manifest.labels
        self.label_positions = model.label_positions
        self.words = [[word.text for word, _ in answer.words] for answer in answers if isinstance(answer, WordLabels)]
        self.rows = [row for answer in answers for row in _rows(answer)]
        self.scored_labels = [scored for row in self.rows for scored in row]

    def dense(self) -> npt.NDArray[np.float32]:
        """`[R, C]`: the label sets hold every probability that is not zero."""
        probabilities_RC = np.zeros((len(self.rows), len(self.labels)), np.float32)
        for row, probabilities_C in zip(self.rows, probabilities_RC, strict=True):
            for label, probability in row:
                probabilities_C[self.label_positions[label]] = probability
        return probabilities_RC


@dataclass(frozen=True)
class Output:
    """An output that a model has.

    Attributes:
        name: What the protocol calls it.
        datatype: INT64, FP32 or BYTES.
        shape: Its dimensions, -1 where they vary.
        build: Makes it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    build: Callable[[Answers], Array]


def outputs_of(model: ServedModel) -> dict[str, Output]:
    """The outputs that a model has, by name."""
    words = [
        Output("word_offset", "INT64", (-1,), lambda answers: _offsets(answers.words)),
        Output("word", "BYTES", (-1,), lambda answers: _texts(itertools.chain(*answers.words))),
    ]
    label_sets = [
        Output("row_offset", "INT64", (-1,), lambda answers: _offsets(answers.rows)),
        Output("label_index", "INT64", (-1,), _label_index),
        Output("label", "BYTES", (-1,), lambda answers: _texts(label for label, _ in answers.scored_labels)),
        Output("label_probability", "FP32", (-1,), _label_probability),
        Output(DENSE, "FP32", (-1, len(model.manifest.labels)), Answers.dense),
    ]
    return {output.name: output for output in [*(words if model.labels_words else []), *label_sets]}


def wanted_outputs(model: ServedModel, requested: Sequence[RequestedOutput]) -> Sequence[RequestedOutput]:
    """What is to be answered: what was asked for, or every output but the dense one.

    Raises:
        InvalidInferRequest: an output that the model does not have, one asked for twice, or the classes of one that
            has none.
    """
    known = outputs_of(model)
    if not requested:
        return [RequestedOutput(name=name) for name in known if name != DENSE]
    asked: set[str] = set()
    for output in requested:
        if output.name not in known:
            raise InvalidInferRequest(f"an output of {model.name} must be one of {[*known]}, got {output.name[:80]!r}")
        if output.name in asked:
            raise InvalidInferRequest(f"an output must be asked for once, got {output.name!r} more than once")
        if output.parameters.classification and output.name != DENSE:
            raise InvalidInferRequest(f"classification must be asked of the output {DENSE!r}, got {output.name!r}")
        asked.add(output.name)
    return requested


def build_outputs(model: ServedModel, answers: Sequence[Answer], wanted: Sequence[RequestedOutput]) -> list[Tensor]:
    """The outputs that are wanted, in that order."""
    rows, known = Answers(model, answers), outputs_of(model)
    tensors = []
    for output in wanted:
        array, count = known[output.name].build(rows), output.parameters.classification
        tensors.append(Tensor(output.name, _classes(array, count, rows.labels) if count else array))
    return tensors


def _rows(answer: Answer) -> list[tuple[ScoredLabel, ...]]:
    label_sets = [answer] if isinstance(answer, LabelSet) else [label_set for _, label_set in answer.words]
    # A word that the model has not read has a row as well, an empty one.
    return [label_set.labels if label_set else () for label_set in label_sets]


def _offsets(parts: Sequence[Sequence[Any]]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)


def _texts(texts: Iterable[str]) -> Array:
    return np.array([text.encode() for text in texts], object)


def _label_index(answers: Answers) -> Array:
    return np.array([answers.label_positions[label] for label, _ in answers.scored_labels], np.int64)


def _label_probability(answers: Answers) -> Array:
    return np.array([probability for _, probability in answers.scored_labels], np.float32)


def _classes(probabilities_RC: Array, count: int, labels: Sequence[str]) -> Array:
    """The classification extension: `[R, min(count, C)]` of `probability:position:label`, the most probable first."""
    positions = np.argsort(-probabilities_RC, axis=1, kind="stable")[:, :count]
    return np.array(
        [
            [f"{row[position]:f}:{position}:{labels[position]}".encode() for position in best]
            for row, best in zip(probabilities_RC, positions.tolist(), strict=True)
        ],
        object,
    ).reshape(positions.shape)
