"""A bundle made ready to answer: bytes or text -> array -> sparse row -> label set, as one readable path.

The command line uses it whole; the service uses its two halves (`preprocess` before the queue, `infer` behind it).
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model import preprocess
from model.bundle import TOKENIZER, Bundle
from model.errors import LabelsetError
from model.labels import LabelSet, SparseRow, label_set
from model.session import LET_THE_MODEL_DECIDE, Device, Session, Sparsity


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
    ) -> None:
        self.bundle = bundle
        self.session = Session(bundle, device, threads)
        self.preprocess = preprocess.build(bundle.manifest.preprocessing, bundle.read_text(TOKENIZER), limits)

    @classmethod
    def open(cls, path: str | os.PathLike[str], device: Device = "auto") -> "Predictor":
        """Open and verify the bundle at `path` and load it."""
        return cls(Bundle.open(path), device)

    def infer(
        self, arrays: Sequence[npt.NDArray[Any]], sparsities: Sequence[Sparsity] = ()
    ) -> list[LabelSet | InvalidModelOutput]:
        """Answer preprocessed inputs as one batch; a row that is not a probability fails alone.

        Args:
            arrays: What `preprocess` gave for each input.
            sparsities: One wish an input, or none at all.
        """
        if not arrays:
            return []
        rows, _ = self.session.run(self.preprocess.collate(arrays), sparsities)
        return [self._named(row) for row in rows]

    def probabilities(self, arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Dense probabilities `[N, C]` of preprocessed inputs, the model deciding the sparsity."""
        dense = self.session.run(self.preprocess.collate(arrays), dense=True)[1]
        assert dense is not None
        return dense

    def predict(self, items: Sequence[bytes | str], sparsity: Sparsity = LET_THE_MODEL_DECIDE) -> list[LabelSet]:
        """Answer raw inputs: encoded pictures, or texts.

        Raises:
            LabelsetError: the first input that cannot be read or answered.
        """
        answers = self.infer([self.preprocess(item) for item in items], [sparsity] * len(items))
        for answer in answers:
            if isinstance(answer, InvalidModelOutput):
                raise answer
        return [answer for answer in answers if isinstance(answer, LabelSet)]

    def _named(self, row: SparseRow) -> LabelSet | InvalidModelOutput:
        # NaN != 0, so a broken row survives the compaction in the graph and is caught here, not served as a label set.
        if not np.isfinite(row.label_probability).all():
            return InvalidModelOutput("the model's probabilities for this input are not finite numbers")
        return label_set(row, self.bundle.manifest.labels)
