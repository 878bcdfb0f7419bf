"""MLServer's custom runtime."""

import json

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.serving.inside.answering import Answering


class Runtime(MLModel):
    """The model, in each of the parallel workers."""

    async def load(self) -> bool:
        """Load the model."""
        self._answering = Answering()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request; with adaptive batching the requests that came together look like one."""
        content = payload.inputs[0].data.root
        arrays = [self._answering.array_of_text(item) for item in content]
        # A row of text an input: what is batched has to be cut into its requests again, by rows.
        answers = [json.dumps(answer) for answer in self._answering.answers(arrays)]
        output = ResponseOutput(name="answer", shape=[len(answers), 1], datatype="BYTES", data=answers)
        return InferenceResponse(model_name=self.name, outputs=[output])
