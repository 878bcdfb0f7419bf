"""The same bundle gives the same answers wherever it runs."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from model.bundle import GRAPH
from model.policies import graph_code
from model.predictor import Predictor
from model.session import Sparsity
from training.data.arrays import raw_input
from training.evaluate import answer

PROBABILITY_TOLERANCE = 1e-5
WISHES = [Sparsity(), Sparsity(label_count=2), Sparsity(label_count=0), Sparsity(sparsity_rate=0.5)]
ROOT = Path(__file__).parents[2]

# The labels of each input with their probabilities, the most probable first.
Answers = list[list[tuple[str, float]]]


@pytest.fixture(scope="module", params=["text", "image"])
def trained(request):
    return request.getfixturevalue(f"trained_{request.param}")


@pytest.fixture(scope="module")
def predictor(trained) -> Predictor:
    return Predictor.open(trained.bundle, device="cpu")


@pytest.fixture(scope="module")
def items(trained) -> list[bytes | str]:
    """The test split, as a caller would send it."""
    return [raw_input(example) for example in trained.data.test]


@pytest.fixture(scope="module")
def expected(predictor, items) -> Callable[[Sparsity], Answers]:
    """The library's answers."""
    return lambda wish: [list(answer.labels) for answer in predictor.predict(items, wish)]


@pytest.fixture(scope="module")
def client(serve, trained_text, trained_image, bundle_root):
    # Both are asked for, so that both lie in the repository when the service reads it.
    service = serve(models=bundle_root, device="cpu")
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def _assert_same(actual: Answers, expected: Answers) -> None:
    assert len(actual) == len(expected)
    for got, wanted in zip(actual, expected, strict=True):
        assert [label for label, _ in got] == [label for label, _ in wanted]
        assert [p for _, p in got] == pytest.approx([p for _, p in wanted], abs=PROBABILITY_TOLERANCE)


def _named(dense_NC: np.ndarray, labels: tuple[str, ...]) -> Answers:
    """Dense rows as a caller reads them."""
    return [
        [(labels[index], float(row[index])) for index in np.argsort(-row, kind="stable") if row[index] != 0]
        for row in dense_NC
    ]


def test_the_test_split_has_answers_of_different_sizes(expected):
    assert len({len(labels) for labels in expected(Sparsity())}) > 1


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_the_reference_evaluator_answers_as_the_library(trained, predictor, items, expected, wish):
    feed = {
        **predictor.preprocess.collate([predictor.preprocess(item) for item in items]),
        "label_count": np.full(len(items), -1 if wish.label_count is None else wish.label_count),
        "sparsity_rate": np.full(len(items), -1.0 if wish.sparsity_rate is None else wish.sparsity_rate),
        "sparsity_policy": np.full(len(items), graph_code(predictor.bundle.manifest.sparsity.policy)),
    }
    evaluator = ReferenceEvaluator(str(trained.bundle / GRAPH))
    # Like every ONNX graph, it computes both sides of a choice: also the division that is then not taken.
    with np.errstate(divide="ignore", invalid="ignore"):
        index, probability, offset, _, dense = evaluator.run(None, feed)
    labels = predictor.bundle.manifest.labels
    _assert_same(_named(dense, labels), expected(wish))
    rows = [slice(start, end) for start, end in pairwise(offset)]
    for dense_row, row in zip(dense, rows, strict=True):
        np.testing.assert_array_equal(index[row], dense_row.nonzero()[0])
        np.testing.assert_array_equal(probability[row], dense_row[index[row]])


def test_the_network_answers_as_the_library(trained, expected):
    dense = answer(trained.parts.classifier, trained.parts.test, "test").probabilities_NC
    _assert_same(_named(dense, trained.data.labels), expected(Sparsity()))


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_the_service_answers_as_the_library(trained, client, items, expected, wish):
    if isinstance(items[0], str):
        body = {"texts": items}
    else:
        body = {"images": [base64.b64encode(item).decode() for item in items]}
    wishes = {name: value for name, value in vars(wish).items() if value is not None}
    response = client.post("/predict", params={"model": trained.recipe.name, **wishes}, json=body)
    assert response.status_code == 200, response.text
    answers = [
        [(label["label"], label["probability"]) for label in prediction["labels"]]
        for prediction in response.json()["predictions"]
    ]
    _assert_same(answers, expected(wish))


def test_the_command_line_answers_as_the_library(trained, expected):
    examples = trained.data.test
    inputs = [str(example.image) if example.image else f"--text={example.text}" for example in examples]
    wish = Sparsity(label_count=2)
    command = [
        sys.executable,
        ROOT / "labelset.py",
        "predict",
        "--json",
        "--bundle",
        trained.bundle,
        "--label-count",
        2,
    ]
    finished = subprocess.run([*map(str, command), *inputs], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    answers = [
        [(label["label"], label["probability"]) for label in document["labels"]]
        for document in json.loads(finished.stdout)
    ]
    _assert_same(answers, expected(wish))
