"""Triton's Python backend: what the `model.py` of the model repository imports."""

import numpy as np
import triton_python_backend_utils as pb_utils  # only there within the backend

from benchmarks.serving.inside.answering import Answering

__all__ = ["TritonPythonModel"]


class TritonPythonModel:
    """One instance, a process of its own."""

    def initialize(self, args):
        """Load the model."""
        self._answering = Answering()

    def execute(self, requests):
        """Answer the requests that came together, each alone where one of them is broken."""
        responses, arrays = [], []
        for request in requests:
            content = pb_utils.get_input_tensor_by_name(request, "content").as_numpy().reshape(-1)[0]
            try:
                arrays.append(self._answering.array(content))
                responses.append(None)
            except Exception as error:
                responses.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))
        answers = iter(self._answering.answers(arrays) if arrays else [])
        return [response or _response(next(answers)) for response in responses]


def _response(answer):
    labels = np.array([[label["label"].encode() for label in answer["labels"]]], np.object_)
    probabilities = np.array([[label["probability"] for label in answer["labels"]]], np.float32)
    return pb_utils.InferenceResponse([pb_utils.Tensor("label", labels), pb_utils.Tensor("probability", probabilities)])
