"""A bundle made ready to answer: bytes or text -> array -> sparse row -> label set, as one readable path.

The command line uses it whole; the service uses its parts (`preprocess` before the queue, `infer` behind it, `named`
for the answer). A token classifier has a sparse row for each word, any other model one for each input.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model import preprocess
from model.bundle import TOKENIZER, Bundle
from model.devices import Device
from model.errors import LabelsetError
from model.labels import LabelSet, SparseRow, label_set
from model.preprocess import Item
from model.session import LET_THE_MODEL_DECIDE, Answers, Session, Sparsity
from model.words import WordLabels, label_words, words_read

# The label set of an input; of a token classifier the label sets of its words, by their positions.
LabelSets = LabelSet | dict[int, LabelSet]
Answer = LabelSet | WordLabels


class InvalidModelOutput(LabelsetError):
    """The model answered a row with something that is not a probability."""

    code = "invalid_model_output"


class Predictor:
    """A bundle, its preprocessing and its session."""

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        limits: preprocess.Limits = preprocess.DEFAULT_LIMITS,
        threads: int = 0,
        session: Session | None = None,
        tokenizer_json: str | None = None,
    ) -> None:
        """Make a predictor.

        Args:
            bundle: A verified bundle.
            device: Where to compute.
            limits: On what a caller may send.
            threads: Threads within one operator; 0 leaves the choice to the runtime.
            session: The bundle's graph, where it is loaded already; `device` and `threads` are its own then.
            tokenizer_json: The bundle's tokenizer, where it has been read already.
        """
        self.bundle = bundle
        self.session = session or Session(bundle, device, threads)
        self.label_positions = {label: position for position, label in enumerate(bundle.manifest.labels)}
        tokenizer_json = bundle.read_text(TOKENIZER) if tokenizer_json is None else tokenizer_json
        self.preprocess = preprocess.build(bundle.manifest.preprocessing, tokenizer_json, limits)

    @classmethod
    def open(cls, path: str | os.PathLike[str], device: Device = "auto") -> "Predictor":
        """Open and verify the bundle at `path` and load it."""
        return cls(Bundle.open(path), device)

    @property
    def labels_words(self) -> bool:
        """Whether the model answers for each word of an input."""
        return self.bundle.manifest.task == "token_classification"

    def infer(
        self, arrays: Sequence[npt.NDArray[Any]], sparsities: Sequence[Sparsity] = ()
    ) -> list[LabelSets | InvalidModelOutput]:
        """Answer preprocessed inputs as one batch; an input whose answer is not a probability fails alone.

        Args:
            arrays: What `preprocess` gave for each input.
            sparsities: One wish an input, or none at all; a token classifier grants it for each word.
        """
        if not arrays:
            return []
        return self.label_sets(arrays, self.session.run(*self.batch(arrays, sparsities)))

    def batch(
        self, arrays: Sequence[npt.NDArray[Any]], sparsities: Sequence[Sparsity] = ()
    ) -> tuple[Mapping[str, npt.NDArray[Any]], Sequence[Sparsity]]:
        """What the session is to be run with for at least one input: its tensors, and a wish for each of its rows."""
        if self.labels_words:
            wishes = sparsities or [LET_THE_MODEL_DECIDE] * len(arrays)
            sparsities = [wish for wish, array in zip(wishes, arrays, strict=True) for _ in words_read(array)]
        return self.preprocess.collate(arrays, self.session.empty), sparsities

    def label_sets(self, arrays: Sequence[npt.NDArray[Any]], answers: Answers) -> list[LabelSets | InvalidModelOutput]:
        """The answer for each input, of what the session gave for its batch."""
        if not self.labels_words:
            return [self._label_set(row) for row in answers.rows()]
        rows = iter(answers.rows())
        return [self._words(words_read(array), rows) for array in arrays]

    def _words(self, words: Sequence[int], rows: Iterator[SparseRow]) -> dict[int, LabelSet] | InvalidModelOutput:
        label_sets = {word: self._label_set(next(rows)) for word in words}
        broken = [answer for answer in label_sets.values() if isinstance(answer, InvalidModelOutput)]
        sound = {word: answer for word, answer in label_sets.items() if isinstance(answer, LabelSet)}
        return broken[0] if broken else sound

    def probabilities(self, arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Dense probabilities of preprocessed inputs, the model deciding the sparsity.

        Returns:
            `[N, C]`, one row an input; of a token classifier one row for each word that it reads, input by input.
        """
        dense = self.session.run(self.preprocess.collate(arrays, self.session.empty), dense=True).probabilities_NC
        assert dense is not None
        return dense

    def predict(self, items: Sequence[Item], sparsity: Sparsity = LET_THE_MODEL_DECIDE) -> list[Answer]:
        """Answer raw inputs: encoded pictures or recordings, texts, or the words of texts.

        Raises:
            LabelsetError: the first input that cannot be read or answered.
        """
        answers = self.infer([self.preprocess(item) for item in items], [sparsity] * len(items))
        for answer in answers:
            if isinstance(answer, InvalidModelOutput):
                raise answer
        return [
            named(item, answer)
            for item, answer in zip(items, answers, strict=True)
            if not isinstance(answer, InvalidModelOutput)
        ]

    def _label_set(self, row: SparseRow) -> LabelSet | InvalidModelOutput:
        # NaN != 0, so a broken row survives the compaction in the graph and is caught here, not served as a label set.
        if not np.isfinite(row.label_probability).all():
            return InvalidModelOutput("the model's probabilities for this input are not finite numbers")
        return label_set(row, self.bundle.manifest.labels)


def named(item: Item, label_sets: LabelSets) -> Answer:
    """The answer to an input: its label set, or its words with theirs."""
    if isinstance(label_sets, LabelSet):
        return label_sets
    assert not isinstance(item, bytes), "a token classifier is given texts and words"
    return label_words(item, label_sets)
