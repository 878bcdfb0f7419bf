"""A model with r-softmax in its self-attention: trained, exported, and answered by all that can read the graph."""

import copy

import httpx
import numpy as np
import onnx
import pytest

from model.bundle import GRAPH
from model.nn.attention import set_rate
from model.predictor import Predictor
from model.sparse_softmax import native
from training.agreement import Disagreement, compare
from training.evaluate import answer
from training.export import export_bundle
from training.overrides import override
from training.train_and_export import train

RATE = 0.15


@pytest.fixture(scope="module")
def recipe(text_recipe):
    """Its head keeps half of the labels, so that probabilities are not all 1, and every change of attention shows."""
    attention = ["backbone.layers=2", f"backbone.attention.sparsity_rate={RATE}", "backbone.attention.ramp=0"]
    head = ["head.policy=fixed_rate", "head.sparsity_rate=0.5"]
    return override(text_recipe, ["name=sparse-attention", "schedule.epochs=2", *attention, *head])


@pytest.fixture(scope="module")
def parts(recipe, text_data, tmp_path_factory):
    return train(recipe, text_data, tmp_path_factory.mktemp("runs")).whole


@pytest.fixture(scope="module")
def exported(recipe, text_data, parts, tmp_path_factory):
    return export_bundle(recipe, text_data, parts, tmp_path_factory.mktemp("bundles") / recipe.name / "1")


@pytest.fixture(params=["kernel", "function"])
def predictor(request, exported, monkeypatch):
    """The bundle, once with the compiled kernel, and once with what every onnxruntime finds in the file."""
    if request.param == "function":
        monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, "off")
    elif native.library_path() is None:
        pytest.skip("the kernel is not built: run `make native`")
    predictor = Predictor.open(exported.bundle.path, device="cpu")
    assert native.implementation().kind == {"kernel": "native", "function": "function"}[request.param]
    return predictor


def _nodes(graph):
    return [node for node in graph.node if node.op_type == "RSoftmax"]


def _rates(graph):
    """What the nodes of the two blocks take for their rate."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [constants[node.input[1]] for node in _nodes(graph)[:2]]


def test_each_block_and_the_head_have_a_node_and_the_file_one_function(exported):
    model = onnx.load(exported.bundle.path / GRAPH)
    assert [node.domain for node in _nodes(model.graph)] == ["ai.labelset"] * 3
    assert [(function.domain, function.name) for function in model.functions] == [("ai.labelset", "RSoftmax")]


def test_the_rate_stands_in_the_graph_as_float64(exported):
    rates = _rates(onnx.load(exported.bundle.path / GRAPH).graph)
    assert [(rate.dtype, rate.tolist()) for rate in rates] == [(np.dtype(np.float64), RATE)] * 2


def test_the_answers_are_those_of_the_network(predictor, parts, exported):
    agreement = compare(answer(parts.classifier, parts.test, "test"), predictor, parts.test)
    assert agreement.examples == len(parts.test) == 10
    assert agreement.undecided <= 1
    assert agreement.largest_difference < 1e-5


def test_the_answer_to_a_text_does_not_depend_on_its_neighbours(predictor, parts):
    arrays = [parts.test[index].array for index in range(len(parts.test))]
    assert len({len(array) for array in arrays}) > 2
    together_NC = predictor.probabilities(arrays)
    for array, row_C in zip(arrays, together_NC, strict=True):
        np.testing.assert_allclose(predictor.probabilities([array])[0], row_C, atol=1e-6)


def test_a_network_of_another_rate_is_not_the_one_of_the_graph(exported, parts):
    other = copy.deepcopy(parts.classifier)
    set_rate(other, 0.9)
    with pytest.raises(Disagreement):
        compare(answer(other, parts.test, "test"), Predictor.open(exported.bundle.path, device="cpu"), parts.test)


def test_the_service_answers_as_the_network(serve, exported, parts, text_data):
    service = serve(models=exported.bundle.path.parents[1], device="cpu")
    texts = [example.text for example in text_data.test]
    response = httpx.post(f"{service.url}/predict", json={"texts": texts}, timeout=60)
    assert response.status_code == 200, response.text
    predictions = response.json()["predictions"]
    expected_NC = answer(parts.classifier, parts.test, "test").probabilities_NC
    served_NC = np.zeros_like(expected_NC)
    for row_C, prediction in zip(served_NC, predictions, strict=True):
        for label in prediction["labels"]:
            row_C[text_data.labels.index(label["label"])] = label["probability"]
    np.testing.assert_allclose(served_NC, expected_NC, atol=1e-5)
