"""Ray Serve's application: `python -m benchmarks.serving.inside.ray_app FOLDER`."""

import os
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request

from benchmarks.serving.inside.answering import CORES, MAX_BATCH_ROWS, PORT, Answering, is_batching


@serve.deployment(
    num_replicas=CORES,
    # The default of 5 would leave connections waiting in the proxy, and batches small.
    max_ongoing_requests=MAX_BATCH_ROWS,
    logging_config={"enable_access_log": False},
)
class Labels:
    """The model, in each of the replicas."""

    def __init__(self) -> None:
        self._answering = Answering()

    async def __call__(self, request: Request) -> Any:
        """Answer one request; the raw body."""
        content = await request.body()
        return await self._together(content) if is_batching() else self._answering.answer(content)

    # The wait that Ray Serve has by default.
    @serve.batch(max_batch_size=MAX_BATCH_ROWS, batch_wait_timeout_s=0.01)
    async def _together(self, contents: list[bytes]) -> list[Any]:
        return self._answering.answers([self._answering.array(content) for content in contents])


if __name__ == "__main__":
    ray.init(num_cpus=CORES, include_dashboard=False, _temp_dir=sys.argv[1])
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(os.environ[PORT])))
    serve.run(Labels.bind())
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
