"""Every way in which a call is refused: its status, and a message that names the thing, the rule and the value."""

import struct

import grpc
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

INFER = "/inference.GRPCInferenceService/ModelInfer"


def text_request(text: bytes = b"A dog barks.", **changes) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="text-demo")
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], **changes}
    request.inputs.add(**tensor).contents.bytes_contents.append(text)
    return request


@pytest.fixture
def refused(stub, channel):
    """Why a request is refused; every fact that holds for all refusals is checked."""

    def ask(request: service_pb2.ModelInferRequest | bytes, code: str = "INVALID_ARGUMENT") -> str:
        content = request if isinstance(request, bytes) else request.SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(INFER)(content, timeout=60)
        assert caught.value.code() == grpc.StatusCode[code], caught.value.details()
        message = caught.value.details()
        assert message
        assert "Traceback" not in message
        return message

    return ask


@pytest.mark.parametrize("content", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\xff\xfe", b"\x2a\x03\x0a\x0aa"])
def test_a_message_that_is_none_is_refused(refused, content):
    assert refused(content) == "a message must be that of the protocol, got one that cannot be read"


def test_a_message_of_a_great_many_parts_is_refused_before_it_is_parsed(refused):
    request = text_request()
    for _ in range(11_000):
        request.outputs.add(name="label")
    assert refused(request) == "a message must have at most 10008 parts, got more"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "image"}, "text-demo must be given one input, 'text', got ['image']"),
        ({"datatype": "FP32"}, "datatype of input 'text' must be BYTES, whole files or texts, got 'FP32'"),
        ({"shape": []}, "shape of input 'text' must be [B] or [B, 1], got []"),
        ({"shape": [1, 2]}, "shape of input 'text' must be [B] or [B, 1], got [1, 2]"),
        ({"shape": [0]}, "input 'text' must hold at least one element, got shape [0]"),
        ({"shape": [-1, 1]}, "input 'text' must hold at least one element, got shape [-1, 1]"),
        ({"shape": [2]}, "input 'text' must hold 2 elements by its shape [2], got 1"),
        ({"shape": [9]}, "a request must hold at most 8 inputs, got more"),
        ({"shape": [2**62]}, "a request must hold at most 8 inputs, got more"),
    ],
)
def test_an_input_that_breaks_a_rule_is_refused_and_the_rule_is_told(refused, changes, message):
    assert refused(text_request(**changes)) == message


def test_an_input_must_be_the_only_one(refused):
    request = text_request()
    request.inputs.add(name="more")
    assert refused(request) == "text-demo must be given one input, 'text', got ['text', 'more']"
    assert refused(service_pb2.ModelInferRequest(model_name="text-demo")).endswith("got []")


def element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


@pytest.mark.parametrize(
    ("contents", "raw", "message"),
    [
        ([b"a"], [element(b"a")], "input 'text' must have contents or raw_input_contents, got both"),
        ([], [element(b"a")] * 2, "input 'text' must have contents or raw_input_contents, got 2 of the latter"),
        ([], [], "input 'text' must hold 1 elements by its shape [1], got 0"),
        ([b"a", b"b"], [], "input 'text' must hold 1 elements by its shape [1], got 2"),
        ([], [b"\x05\0\0\0four"], "element 0 of input 'text' must end within the tensor's 8 bytes, by its length it "
         "ends at 9"),
        ([], [element(b"a") + b"b"], "input 'text' must hold 1 elements by its shape, got 1 bytes after them"),
        ([], [b""], "element 0 of input 'text' must end within the tensor's 0 bytes, by its length it ends at 4"),
    ],
)  # fmt: skip
def test_the_elements_of_an_input_come_in_one_way_and_fill_it(refused, contents, raw, message):
    request = service_pb2.ModelInferRequest(model_name="text-demo", raw_input_contents=raw)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
    if contents:
        tensor.contents.bytes_contents.extend(contents)
    assert refused(request) == message


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("label_cont", "int64_param", 3, "a parameter must be one of ['label_count', 'sparsity_rate', "),
        ("sequence_id", "int64_param", 3, "a parameter must be one of ['label_count', 'sparsity_rate', "),
        ("label_count", "bool_param", True, "parameters.label_count: Input should be a number, got true"),
        ("label_count", "double_param", 1.5, "parameters.label_count: "),
        ("label_count", "int64_param", -1, "label_count must be in [0, 14], got -1"),
        ("label_count", "uint64_param", 2**64 - 1, "parameters.label_count: Input should be less than"),
        ("sparsity_rate", "double_param", float("nan"), "sparsity_rate must be in [0, 1], got nan"),
        ("min_probability", "double_param", float("nan"), "parameters.min_probability: "),
        ("label_count", "string_param", "three",
         "parameter 'label_count' must be a number, true or false, or JSON in a string, got 'three'"),
        ("only", "string_param", "impact",
         "parameter 'only' must be a number, true or false, or JSON in a string, got 'impact'"),
        ("only", "string_param", "[" * 5000, "parameter 'only' must be a number, true or false, or JSON in a string"),
        ("only", "string_param", '"impact"', "parameters.only: Input should be a valid list"),
        ("only", "string_param", "[5]", "parameters.only.0: Input should be a valid string"),
        ("only", "string_param", '["impct"]',
         "only must hold labels of text-demo, got 'impct'; did you mean 'impact'?"),
        ("only", "string_param", "[" + "1," * 100_000 + "1]",
         "a JSON body must have at most 65536 bytes outside of its strings"),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_followed_is_named(refused, name, field, value, message):
    request = text_request()
    setattr(request.parameters[name], field, value)
    assert refused(request).startswith(message)


def test_two_wishes_that_exclude_each_other_are_refused(refused):
    request = text_request()
    request.parameters["label_count"].int64_param = 1
    request.parameters["sparsity_rate"].double_param = 0.5
    assert refused(request).startswith("label_count and sparsity_rate exclude each other")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"name": "scores"}], "an output of text-demo must be one of ['row_offset', "),
        ([{"name": "label"}, {"name": "label"}], "an output must be asked for once, got 'label' more than once"),
    ],
)
def test_an_output_that_cannot_be_had_is_named(refused, outputs, message):
    request = text_request()
    for output in outputs:
        request.outputs.add(**output)
    assert refused(request).startswith(message)


def test_shared_memory_and_classes_of_what_has_none_are_refused(refused):
    request = text_request()
    request.outputs.add(name="label").parameters["shared_memory_region"].string_param = '"r"'
    assert refused(request).endswith("got 'shared_memory_region'")
    request = text_request()
    request.outputs.add(name="label").parameters["classification"].int64_param = 3
    assert refused(request) == "classification must be asked of the output 'probabilities', got 'label'"


def test_a_model_or_version_that_is_not_there_is_not_found(refused):
    request = text_request()
    request.model_version = "9"
    assert refused(request, "NOT_FOUND") == "version of text-demo must be one of ['1'], got '9'"
    request.model_name = "nope"
    assert refused(request, "NOT_FOUND") == "model must be one of ['image-demo', 'text-demo'], got 'nope'"


def test_what_is_too_long_to_be_told_is_cut(refused):
    request = text_request()
    request.model_name = "ü" * 20_000
    assert refused(request, "NOT_FOUND").startswith("model must be one of ")


def test_an_input_that_cannot_be_read_fails_the_call_and_its_index_is_told(rpc_client, bytes_input, png):
    with pytest.raises(InferenceServerException, match="element 1 of input 'image': a picture must be one") as caught:
        rpc_client.infer("image-demo", [bytes_input("image", [png, b"not a picture", png])])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="element 2 of input 'text': a text must be UTF-8"):
        rpc_client.infer("text-demo", [bytes_input("text", [b"fine", b"fine", b"\xff"])])


def test_a_message_over_the_limit_is_refused_however_it_comes(rpc_client, bytes_input):
    # Nothing that could be answered; 3 kB on the wire.
    blank = bytes_input("text", [b" " * 3_000_000])
    for algorithm in (None, "gzip"):
        with pytest.raises(InferenceServerException, match="larger than max") as caught:
            rpc_client.infer("text-demo", [blank], compression_algorithm=algorithm)
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert rpc_client.is_server_live()


def test_a_call_without_a_message_is_refused(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(INFER)(iter([]), timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "a call must bring one message that is not too large, got none"


def test_calls_that_find_no_place_are_unavailable_and_told_when_to_come_again(serve_rpc):
    _, address = serve_rpc(max_waiting=4, max_batch_size=4, max_batch_rows=1)
    request = text_request(shape=[4])
    request.inputs[0].contents.bytes_contents.extend([b"A dog barks at the moon."] * 3)
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(INFER)
        calls = [infer.future(request.SerializeToString(), timeout=60) for _ in range(40)]
        codes = [call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        for call in calls:
            if call.code() == grpc.StatusCode.UNAVAILABLE:
                assert call.details().startswith("at most 4 inputs are worked on at once")
                assert dict(call.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
        infer(request.SerializeToString(), timeout=60)  # and afterwards there is room again


def test_what_nobody_foresaw_is_told_without_a_cause(serve_rpc, bytes_input, tmp_path, monkeypatch):
    # Python reads this module in the service's process as well, and there a method fails.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'serve' in sys.argv:\n"
        "    from service.v2 import metadata\n"
        "    def broken(*described):\n"
        "        raise RuntimeError('secret /etc/passwd')\n"
        "    metadata.server_metadata = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    service, address = serve_rpc()
    with triton.InferenceServerClient(address) as client:
        with pytest.raises(InferenceServerException) as caught:
            client.get_server_metadata()
        assert caught.value.message() == "the service failed to answer; its log says why"
        assert caught.value.status() == "StatusCode.INTERNAL"
        assert client.is_server_live()
    assert "secret /etc/passwd" in service.log.read_text()
