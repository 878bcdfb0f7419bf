"""Inputs of one request with different wishes: each gets what it would get alone, through every door."""

import itertools
import json

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from triton_clients import http_client

TEXTS = [
    "The group sent phishing mails to the staff of two banks and encrypted their disks.",
    "The malware logs keystrokes and uploads them.",
    "It lists the processes that run.",
    "It deletes the event logs.",
]
COMMON = {"label_count": 5, "max_labels": 4}
OWN = [{}, {"label_count": 2}, {"sparsity_rate": 0.5, "max_labels": None}, {"label_count": None, "exclude": ["impact"]}]
# What a caller who asks for one of the texts alone would say.
ALONE = [COMMON, {"label_count": 2, "max_labels": 4}, {"sparsity_rate": 0.5}, {"max_labels": 4, "exclude": ["impact"]}]


@pytest.fixture(scope="module")
def service(serve):
    return serve(grpc_port=0)


@pytest.fixture(scope="module")
def ask(service):
    def asked(**body):
        return httpx.post(f"{service.url}/predict", json=body)

    return asked


@pytest.fixture(scope="module")
def alone(ask):
    """The label sets of the texts, each asked for by itself."""
    answers = [ask(text=text, **wishes).json()["predictions"][0] for text, wishes in zip(TEXTS, ALONE, strict=True)]
    # Else the wishes could have changed places, or gone unheard.
    assert len({answer["sparsity_rate"] for answer in answers}) == 4
    assert [answer["label_count"] for answer in answers][:2] == [4, 2]
    return [[label["label"] for label in answer["labels"]] for answer in answers]


def _labels(answer):
    assert answer.status_code == 200, answer.text
    return [[label["label"] for label in prediction["labels"]] for prediction in answer.json()["predictions"]]


def test_each_input_gets_what_it_would_get_alone(ask, alone):
    assert _labels(ask(texts=TEXTS, wishes=OWN, **COMMON)) == alone
    # Without any for all, and in the query those for all.
    assert _labels(ask(texts=TEXTS, wishes=ALONE)) == alone


def test_the_query_speaks_for_all_and_the_body_for_each(service, alone):
    answer = httpx.post(f"{service.url}/predict", params=COMMON, json={"texts": TEXTS, "wishes": OWN})
    assert _labels(answer) == alone


def test_a_form_speaks_for_all_and_for_each(service, alone):
    common = {"label_count": (None, "5"), "max_labels": (None, "4")}
    texts = [("text", (None, text)) for text in TEXTS]
    form = [*texts, *common.items(), ("wishes", (None, json.dumps(OWN)))]
    answer = httpx.post(f"{service.url}/predict", params={"label_count": 1}, files=form)
    assert _labels(answer) == alone
    several = [*texts, ("label_count", (None, "5")), ("exclude", (None, "impact")), ("exclude", (None, "collection"))]
    assert not {"impact", "collection"} & {*itertools.chain(*_labels(httpx.post(answer.url, files=several)))}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("label_count", "many", "label_count: Input should be a valid integer, unable to parse string as an integer"),
        ("wishes", "[{]", "wishes: Invalid JSON: key must be a string at line 1 column 3"),
        ("wishes", "[{}, {}]", "wishes must hold one for each of the 1 inputs, got 2"),
        ("wishes", '[{"max_labels": -1}]', "wishes.0.max_labels: Input should be greater than or equal to 0"),
    ],
)
def test_what_is_malformed_in_a_form_is_refused_by_name(service, name, value, message):
    answer = httpx.post(f"{service.url}/predict", files=[("text", (None, TEXTS[0])), (name, (None, value))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["message"] == message


def test_wishes_of_a_great_many_values_in_a_form_are_not_even_parsed(service):
    answer = httpx.post(
        f"{service.url}/predict", files=[("text", (None, "a")), ("wishes", (None, f"[{'{},' * 30_000}{{}}]"))]
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert answer.json()["error"]["message"].startswith("wishes must have at most 65536 bytes outside of its strings")


def test_a_form_of_very_many_options_is_refused_as_one(service):
    form = [("text", (None, TEXTS[0])), *[("exclude", (None, f"label {number}")) for number in range(12_000)]]
    answer = httpx.post(f"{service.url}/predict", files=form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["message"] == "a form must have at most 100 options, got more"


def test_no_wishes_in_a_form_are_none(service):
    form = [("text", (None, TEXTS[0])), ("wishes", (None, "null"))]
    assert httpx.post(f"{service.url}/predict", files=form).status_code == 200


def test_one_input_may_have_a_list_of_one(ask, alone):
    assert _labels(ask(text=TEXTS[1], wishes=[{"label_count": 2}])) == alone[1:2]


def test_an_input_whose_own_wish_cannot_be_granted_fails_alone(ask, alone):
    wishes = [OWN[0], {"label_count": 99}, {"only": ["impcat"]}, OWN[3]]
    answer = ask(texts=TEXTS, wishes=wishes, **COMMON)
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["predictions"]
    assert [label["label"] for label in first["labels"]] == alone[0]
    assert (second["index"], second["error"]["code"]) == (1, "invalid_sparsity")
    assert second["error"]["message"] == "label_count must be in [0, 14], got 99"
    assert (third["index"], third["error"]["code"]) == (2, "unknown_label")
    assert third["error"]["message"].endswith("did you mean 'impact'?")
    assert [label["label"] for label in fourth["labels"]] == alone[3]


def test_a_request_of_one_input_is_refused_for_its_own_wish(ask):
    answer = ask(text=TEXTS[0], wishes=[{"label_count": 99}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_sparsity")


def test_a_wish_for_all_that_cannot_be_granted_refuses_the_request(ask):
    answer = ask(texts=TEXTS, wishes=OWN, label_count=99)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_sparsity")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ([{}, {}], "wishes must hold one for each of the 4 inputs, got 2"),
        ([], "wishes must hold one for each of the 4 inputs, got 0"),
        ([{}, {}, {"max_labels": -1}, {}], "wishes.2.max_labels: Input should be greater than or equal to 0"),
        ([{}, {"labels": 1}, {}, {}], "wishes.1.labels: Extra inputs are not permitted"),
        ([{}, {"model": "text-demo"}, {}, {}], "wishes.1.model: Extra inputs are not permitted"),
    ],
)
def test_what_is_malformed_is_refused_by_name_and_place(ask, wishes, message):
    answer = ask(texts=TEXTS, wishes=wishes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["message"] == message


def _text(client_module):
    elements = np.array([text.encode() for text in TEXTS], object)
    return client_module.InferInput("text", [len(TEXTS)], "BYTES").set_data_from_numpy(elements)


def _rows(result):
    bounds, labels = result.as_numpy("row_offset"), result.as_numpy("label")
    return [[label.decode() for label in labels[a:b]] for a, b in itertools.pairwise(bounds)]


@pytest.fixture(scope="module")
def infer_over_http(service):
    with http_client(service.url) as client:

        def infer(**parameters):
            return client.infer("text-demo", [_text(tritonclient.http)], parameters=parameters)

        yield infer


@pytest.fixture(scope="module")
def infer_over_grpc(service):
    address = service.log.read_text().partition("gRPC listens on ")[2].split()[0]
    with tritonclient.grpc.InferenceServerClient(address) as client:

        def infer(wishes, **parameters):
            return client.infer(
                "text-demo", [_text(tritonclient.grpc)], parameters={**parameters, "wishes": json.dumps(wishes)}
            )

        yield infer


@pytest.mark.parametrize("door", ["infer_over_http", "infer_over_grpc"])
def test_the_open_inference_protocol_says_it_too(request, alone, door):
    infer = request.getfixturevalue(door)
    assert _rows(infer(wishes=OWN, **COMMON)) == alone


@pytest.mark.parametrize("door", ["infer_over_http", "infer_over_grpc"])
@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ([{}, {"label_count": 99}, {}, {}], "element 1 of input 'text': label_count must be in [0, 14], got 99"),
        ([{}], "wishes must hold one for each of the 4 inputs, got 1"),
        ([{}, {}, {"max_labels": 1.5}, {}], "parameters.wishes.2.max_labels: Input should be a valid integer"),
        ([{}, {}, {}, {"priority": 1}], "a wish for element 3 must be one of ['label_count', 'sparsity_rate',"),
    ],
)
def test_there_an_element_whose_wish_cannot_be_granted_fails_its_request_by_name(request, door, wishes, message):
    with pytest.raises(tritonclient.http.InferenceServerException) as caught:
        request.getfixturevalue(door)(wishes=wishes)
    assert caught.value.message().startswith(message)
