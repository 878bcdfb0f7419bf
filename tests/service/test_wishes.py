"""What of a label set its caller is told: the same through every door, and never more than the model said."""

import httpx
import numpy as np
import pytest
import tritonclient.http
from triton_clients import http_client

SENTENCE = "The group sent phishing mails to the staff of two banks and encrypted their disks."


@pytest.fixture(scope="module")
def service(serve):
    return serve()


def _asked(service, **body):
    answer = httpx.post(f"{service.url}/predict", json={"text": SENTENCE, **body})
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["predictions"]
    assert prediction["label_count"] == len(prediction["labels"])
    return [(label["label"], label["probability"]) for label in prediction["labels"]]


@pytest.fixture(scope="module")
def five(service):
    """A label set of five, of different probabilities."""
    labels = _asked(service, label_count=5)
    assert len({probability for _, probability in labels}) == 5
    return labels


def test_of_a_label_set_the_most_probable_are_told(service, five):
    for count in range(7):
        assert _asked(service, label_count=5, max_labels=count) == five[:count]


def test_a_label_is_told_from_its_own_probability_on(service, five):
    third = five[2][1]
    assert _asked(service, label_count=5, min_probability=third) == five[:3]
    assert _asked(service, label_count=5, min_probability=third * 1.001) == five[:2]
    assert _asked(service, label_count=5, min_probability=1) == []
    assert _asked(service, label_count=5, min_probability=0) == five


def test_only_and_all_but_some_labels_are_told(service, five):
    first, second, third, *_ = (label for label, _ in five)
    assert _asked(service, label_count=5, only=[third, first]) == [five[0], five[2]]
    assert _asked(service, label_count=5, exclude=[third, first]) == [five[1], *five[3:]]
    assert _asked(service, label_count=5, only=[first, second], exclude=[first]) == [five[1]]
    assert _asked(service, label_count=5, only=[]) == []
    # First what is left out, then how many.
    assert _asked(service, label_count=5, exclude=[first], max_labels=2) == five[1:3]


def test_the_query_says_it_too(service, five):
    query = {"label_count": 5, "only": [five[1][0], five[3][0]], "min_probability": five[1][1]}
    answer = httpx.post(
        f"{service.url}/predict", params=query, content=SENTENCE, headers={"content-type": "text/plain"}
    )
    assert [label["label"] for label in answer.json()["predictions"][0]["labels"]] == [five[1][0]]


def test_the_open_inference_protocol_says_it_too(service, five):
    with http_client(service.url) as client:
        text = tritonclient.http.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array([SENTENCE.encode()], dtype=object))
        wishes = {"label_count": 5, "exclude": [five[0][0]], "max_labels": 3}
        result = client.infer("text-demo", [text], parameters=wishes)
        assert [label.decode() for label in result.as_numpy("label")] == [label for label, _ in five[1:4]]
        assert result.as_numpy("row_offset").tolist() == [0, 3]


def test_the_metrics_count_what_the_model_said(service, five):
    def counted():
        text = httpx.get(f"{service.url}/metrics").text
        return next(line for line in text.splitlines() if line.startswith("labelset_label_set_size_sum"))

    before = float(counted().split()[-1])
    assert _asked(service, label_count=5, max_labels=1) == five[:1]
    assert float(counted().split()[-1]) == before + 5


@pytest.mark.parametrize(
    ("wishes", "code", "message"),
    [
        ({"max_labels": -1}, "invalid_request", "max_labels: Input should be greater than or equal to 0"),
        ({"max_labels": True}, "invalid_request", "max_labels: Input should be a number, got true"),
        ({"label_count": True}, "invalid_request", "label_count: Input should be a number, got true"),
        ({"min_probability": 1.5}, "invalid_request", "min_probability: Input should be less than or equal to 1"),
        (
            {"only": ["impcat"]},
            "unknown_label",
            "only must hold labels of text-demo, got 'impcat'; did you mean 'impact'?",
        ),
        ({"exclude": ["zzz"]}, "unknown_label", "exclude must hold labels of text-demo, got 'zzz'"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_by_name(service, wishes, code, message):
    answer = httpx.post(f"{service.url}/predict", json={"text": SENTENCE, **wishes})
    assert answer.status_code == 422
    assert (answer.json()["error"]["code"], answer.json()["error"]["message"]) == (code, message)
