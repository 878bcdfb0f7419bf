"""The walk over a message counts what a parser would make objects of, and trusts no length."""

import pytest
from tritonclient.grpc import service_pb2

from service.errors import BodyTooLarge
from service.rpc.structure import check_structure

MANY = 5_000


def request(**fields) -> bytes:
    return service_pb2.ModelInferRequest(**fields).SerializeToString()


Input = service_pb2.ModelInferRequest.InferInputTensor
Contents = service_pb2.InferTensorContents
MANY_PARTS = {
    "inputs": request(inputs=[Input()] * MANY),
    "outputs": request(outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor()] * MANY),
    "raw contents": request(raw_input_contents=[b""] * MANY),
    "parameters": request(parameters={str(number): service_pb2.InferParameter() for number in range(MANY)}),
    "a shape": request(inputs=[Input(shape=[1] * MANY)]),
    "elements": request(inputs=[Input(contents=Contents(bytes_contents=[b""] * MANY))]),
    "parameters of an input": request(inputs=[Input(parameters={str(i): {} for i in range(MANY)})]),
    "unknown numbers": b"\x98\x06\x01" * MANY,
    "unknown messages": b"\x9a\x06\x00" * MANY,
    "inputs before the end that is cut off": request(inputs=[Input()] * MANY) + b"\x0a",
}


@pytest.mark.parametrize("what", MANY_PARTS)
def test_a_great_many_parts_are_refused(what):
    with pytest.raises(BodyTooLarge, match=f"at most {MANY - 10} parts"):
        check_structure(MANY_PARTS[what], MANY - 10)
    check_structure(MANY_PARTS[what], MANY + 10)


def test_a_large_element_is_one_part():
    content = request(
        model_name="text-demo", inputs=[Input(name="text", shape=[1, 1])], raw_input_contents=[b"\x2a\x00" * 1_000_000]
    )
    check_structure(content, 10)


@pytest.mark.parametrize(
    "content", [b"\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x05\x0a", b"\x08" + b"\xff" * 10_000_000]
)
def test_what_is_malformed_is_left_to_the_parser(content):
    check_structure(content, 1)
