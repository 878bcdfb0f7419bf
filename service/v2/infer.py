"""An inference request: its body -> what the pipeline is asked; the pipeline's answers -> the body of the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import LabelsetError
from model.predictor import Answer
from service.catalogue import ServedModel
from service.intake import Item
from service.v2.inputs import item_of, items_of
from service.v2.outputs import DENSE, build_outputs, wanted_outputs
from service.v2.tensor import Tensor
from service.v2.wire import (
    InferHead,
    RequestedOutput,
    RequestParameters,
    encode_answer,
    parse_header_length,
    parse_request,
)
from service.wishes import Wishes

# A body that is the input itself says nothing else. As Triton does, it is answered with bytes.
_RAW = InferHead(parameters=RequestParameters(binary_data_output=True))


@dataclass(frozen=True)
class Question:
    """An inference request, read.

    Attributes:
        header: What it says besides its inputs.
        items: The inputs.
        wanted: The outputs to answer with, in order.
    """

    header: InferHead
    items: Sequence[Item]
    wanted: Sequence[RequestedOutput]

    @property
    def wishes(self) -> Wishes:
        """What the caller wishes for each input.

        Raises:
            InvalidRequest: another number of wishes for single inputs than of inputs.
        """
        parameters = self.header.parameters
        return parameters.of_inputs(len(self.items), parameters.wishes)

    @property
    def is_dense(self) -> bool:
        """Whether the answer has a number for every class."""
        return any(output.name == DENSE for output in self.wanted)


def read_question(body: bytes, header_length: str | None, model: ServedModel, max_batch_size: int) -> Question:
    """Read a body.

    Args:
        body: No longer compressed.
        header_length: The header that says how many bytes of it are JSON; all, where there is none. With 0 the body
            is the one input itself.
        model: Who shall answer.
        max_batch_size: Inputs that one request may hold.

    Raises:
        InvalidJson, InvalidInferRequest, BodyTooLarge, BatchTooLarge: a request that breaks a rule.
    """
    json_length = len(body) if header_length is None else parse_header_length(header_length, len(body))
    if header_length is not None and json_length == 0:
        return Question(_RAW, [item_of(body, model)], wanted_outputs(model, []))
    request = parse_request(body, json_length)
    wanted = wanted_outputs(model, request.header.outputs)
    return Question(request.header, items_of(request, model, max_batch_size), wanted)


def output_tensors(model: ServedModel, question: Question, outcomes: Sequence[Answer | LabelsetError]) -> list[Tensor]:
    """The outputs that are wanted.

    Raises:
        LabelsetError: the first input that could not be answered; the protocol has no place for it beside the others.
    """
    return build_outputs(model, _all_answered(outcomes, model), question.wanted)


def write_answer(
    model: ServedModel, question: Question, outcomes: Sequence[Answer | LabelsetError]
) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where tensors follow as bytes.

    Raises:
        LabelsetError: the first input that could not be answered; the protocol has no place for it beside the others.
    """
    tensors = output_tensors(model, question, outcomes)
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    head["parameters"] = {"digest": model.digest}
    if question.header.id is not None:
        head["id"] = question.header.id
    default = question.header.parameters.binary_data_output
    as_bytes = [
        default if output.parameters.binary_data is None else output.parameters.binary_data
        for output in question.wanted
    ]
    return encode_answer(head, list(zip(tensors, as_bytes, strict=True)))


def _all_answered(outcomes: Sequence[Answer | LabelsetError], model: ServedModel) -> list[Answer]:
    answers: list[Answer] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, LabelsetError):
            message = f"element {index} of input {model.kind!r}: {outcome.message}"
            raise type(outcome)(message, **outcome.detail)
        answers.append(outcome)
    return answers
