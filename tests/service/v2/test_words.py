"""A token classifier over the protocol: a row is a word, and two more outputs say whose word."""

import itertools

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from triton_clients import http_client

TEXTS = ["The dog  hears!", "a singer chases the duck ."]


@pytest.fixture(scope="module")
def grammar(serve, trained_tokens, tmp_path_factory):
    """The address of a service with a token classifier."""
    models = tmp_path_factory.mktemp("models")
    (models / "grammar").mkdir()
    (models / "grammar" / "1").symlink_to(trained_tokens.bundle)
    return serve(models=models).url


@pytest.fixture(scope="module")
def asked(grammar, bytes_input):
    def ask(*texts: str, **arguments) -> triton.InferResult:
        with http_client(grammar) as client:
            return client.infer("grammar", [bytes_input("text", [text.encode() for text in texts])], **arguments)

    return ask


def test_the_words_and_their_labels_are_those_of_predict(grammar, asked):
    result = asked(*TEXTS)
    assert result.as_numpy("word_offset").tolist() == [0, 4, 10]
    predictions = httpx.post(f"{grammar}/predict", json={"texts": TEXTS}, timeout=60).json()["predictions"]
    expected = [word for prediction in predictions for word in prediction["words"]]
    assert [word.decode() for word in result.as_numpy("word")] == [word["text"] for word in expected]
    bounds = itertools.pairwise(result.as_numpy("row_offset"))
    found = [result.as_numpy("label")[start:end] for start, end in bounds]
    assert [[label.decode() for label in labels] for labels in found] == [
        [label["label"] for label in word["labels"]] for word in expected
    ]


def test_a_word_that_was_not_read_has_an_empty_row(asked):
    result = asked("the dog hears " * 200)
    counts = np.diff(result.as_numpy("row_offset"))
    assert len(counts) == len(result.as_numpy("word")) == 600
    assert counts[0] == 1
    assert counts[-1] == 0


def test_dense_probabilities_and_classes_have_a_row_for_each_word(asked):
    dense = asked(*TEXTS, outputs=[triton.InferRequestedOutput("probabilities")]).as_numpy("probabilities")
    assert dense.shape == (10, 4)
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-5)
    wanted = [triton.InferRequestedOutput("probabilities", class_count=1)]
    best = asked("the dog", outputs=wanted).as_numpy("probabilities")
    assert [entry.decode().split(":", 1)[1] for entry in best[:, 0]] == ["0:DET", "2:NOUN"]


def test_the_metadata_name_the_outputs_of_words(grammar):
    outputs = httpx.get(f"{grammar}/v2/models/grammar").json()["outputs"]
    assert [output["name"] for output in outputs] == [
        "word_offset", "word", "row_offset", "label_index", "label", "label_probability", "probabilities",
    ]  # fmt: skip
