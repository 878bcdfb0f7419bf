"""LitServe's server: `python -m benchmarks.serving.inside.litserve_app`."""

import os
from typing import Annotated, Any

import litserve
from fastapi import Body

from benchmarks.serving.inside.answering import CORES, MAX_BATCH_ROWS, PORT, Answering, is_batching


class Api(litserve.LitAPI):
    """The model, in each of the workers."""

    def setup(self, device: Any) -> None:
        """Load the model."""
        self._answering = Answering()

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Any:
        """Decode one input; the raw body, which is cheaper than base64 in JSON."""
        return self._answering.array(request)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Leave arrays of several lengths as they are."""
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One answer an input."""
        return output

    def predict(self, x: Any) -> Any:
        """Answer one array, or with batching a list of them."""
        return self._answering.answers(x) if self.max_batch_size > 1 else self._answering.answers([x])[0]

    def encode_response(self, output: Any) -> Any:
        """JSON, as it is."""
        return output


if __name__ == "__main__":
    # A hundredth of a second is what LitServe's own examples wait for a batch on a fast model.
    api = Api(max_batch_size=MAX_BATCH_ROWS, batch_timeout=0.01) if is_batching() else Api()
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=CORES, fast_queue=True)
    server.run(host="127.0.0.1", port=int(os.environ[PORT]), log_level="warning", generate_client_file=False)
