"""BentoML's service: `python -m bentoml serve benchmarks.serving.inside.bentoml_service:Labels`."""

from typing import Any

import bentoml

from benchmarks.serving.inside.answering import CORES, MAX_BATCH_ROWS, Answering, is_batching


@bentoml.service(
    workers=CORES,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    traffic={"timeout": 60},
)
class Labels:
    """The model, in each of the workers."""

    def __init__(self) -> None:
        self._answering = Answering()

    # `max_latency_ms` is when a waiting request is refused, not how long a batch waits: that adapts by itself.
    @bentoml.api(batchable=is_batching(), max_batch_size=MAX_BATCH_ROWS, max_latency_ms=30_000)
    def predict(self, contents: list[str]) -> list[Any]:
        """Answer a list of inputs, pictures in base64: a batchable method takes its requests only as JSON lists."""
        return self._answering.answers([self._answering.array_of_text(content) for content in contents])
