"""The work itself, the same in every server: bytes -> array -> one session of one thread -> label names.

It is the project's own preprocessing and session (`model/` needs numpy, onnxruntime and pydantic, nothing of the
service), so that servers are compared and not decoders; the compiled r-softmax is registered where it was built.
"""

import base64
import os
from collections.abc import Sequence
from typing import Any

from model.bundle import Bundle
from model.labels import LabelSet
from model.predictor import Predictor

# The environment in which a peer's workers find their model; `CORES` of them work at once.
BUNDLE = "SERVING_BENCHMARK_BUNDLE"
VARIANT = "SERVING_BENCHMARK_VARIANT"
PORT = "SERVING_BENCHMARK_PORT"
CORES = os.cpu_count() or 1
# Of a batch, where a peer has a limit to be set; as many as ours takes by default.
MAX_BATCH_ROWS = 32


class Answering:
    """A model that answers."""

    def __init__(self, bundle: str | None = None, threads: int = 1) -> None:
        self._predictor = Predictor(Bundle.open(bundle or os.environ[BUNDLE]), "cpu", threads=threads)
        self._takes_text = self._predictor.bundle.manifest.preprocessing.kind == "text"

    def array(self, content: bytes) -> Any:
        """Decode or tokenize one input, as it came over the wire."""
        return self._predictor.preprocess(content.decode() if self._takes_text else content)

    def array_of_text(self, content: str) -> Any:
        """The same of an input within JSON, where a picture stands in base64."""
        return self._predictor.preprocess(content if self._takes_text else base64.b64decode(content))

    def answers(self, arrays: Sequence[Any]) -> list[dict[str, Any]]:
        """Answer one batch: for each input its label names with their probabilities."""
        answers = []
        for outcome in self._predictor.infer(arrays):
            assert isinstance(outcome, LabelSet)
            answers.append({"labels": [{"label": label, "probability": p} for label, p in outcome.labels]})
        return answers

    def answer(self, content: bytes) -> dict[str, Any]:
        """Answer one input."""
        return self.answers([self.array(content)])[0]


def is_batching() -> bool:
    """Whether this is the variant that puts requests together."""
    return os.environ[VARIANT] == "batching"
