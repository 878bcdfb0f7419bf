"""The function inside a model file, and the export that leaves a bare node for it."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from model.sparse_softmax import onnx_function, torch_op

MASK = -np.inf
LOGITS = np.array([[3, 1, 2, 0], [0, MASK, 5, 4], [7, 7, 7, 7]], dtype=np.float32)


class Head(torch.nn.Module):
    """A layer whose logits carry a gradient, as in a model that has just been trained."""

    def __init__(self, gradient="constant_t"):
        super().__init__()
        self.linear = torch.nn.Linear(6, 4)
        self.gradient = gradient

    def forward(self, features, label_count):
        logits = self.linear(features)
        return torch_op.r_softmax_count(logits, label_count, self.gradient), torch_op.r_softmax(logits, 0.4)


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def nodes_of_our_domain(model):
    return [(node.domain, node.op_type) for node in model.graph.node if node.domain]


@pytest.mark.parametrize("gradient", ["constant_t", "exact"])
def test_each_call_is_exported_as_one_bare_node(export_to_onnx, gradient):
    model = export_to_onnx(Head(gradient), torch.randn(3, 6), torch.tensor([1, 2, 3]))
    assert nodes_of_our_domain(model) == [("ai.labelset", "RSoftmax")] * 2
    assert not model.functions


def test_an_exported_model_answers_as_torch_does_at_any_batch_size(export_to_onnx):
    torch.manual_seed(0)
    head = Head()
    model = export_to_onnx(head, torch.randn(3, 6), torch.tensor([1, 2, 3]))
    onnx_function.attach(model)
    runners = session(model), ReferenceEvaluator(model)
    for batch_size in (0, 1, 7):
        features, label_count = torch.randn(batch_size, 6), torch.arange(batch_size)
        with torch.no_grad():
            expected = head(features, label_count)
        for runner in runners:
            with np.errstate(all="ignore"):
                results = runner.run(None, {"features": features.numpy(), "label_count": label_count.numpy()})
            for result, tensor in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result == 0, tensor.numpy() == 0)
                # Absolute too: the two sides round the layer before the op differently, and a class just above the cut
                # has a weight that is hardly more than this difference.
                np.testing.assert_allclose(result, tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_without_the_function_no_runtime_knows_the_node(export_to_onnx):
    model = export_to_onnx(Head(), torch.randn(3, 6), torch.tensor([1, 2, 3]))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match=r"ai\.labelset:RSoftmax"):
        session(model)


@pytest.mark.parametrize("rate", [-0.1, 1.5, np.nan, np.inf, -np.inf])
def test_a_rate_outside_its_range_makes_its_row_nan(rate_model, rate):
    rates = np.array([0.5, rate, 0.5])
    probabilities = session(rate_model(2, 1)).run(None, {"logits": LOGITS, "rate": rates})[0]
    assert np.isnan(probabilities[1]).all()
    np.testing.assert_array_equal(probabilities[[0, 2]] != 0, [[1, 0, 1, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize("row_count", [0, 2, 5])
def test_rates_of_another_batch_are_an_error_of_the_runtime(rate_model, row_count):
    with pytest.raises(Exception, match="onnxruntime"):
        session(rate_model(2, 1)).run(None, {"logits": LOGITS, "rate": np.full(row_count, 0.5)})


@pytest.mark.parametrize("opset_version", [18, 19, 20, 21, 22])
def test_the_function_takes_the_opset_of_its_model(rate_model, opset_version):
    model = rate_model(2, 0, opset_version)
    assert {opset.domain: opset.version for opset in model.functions[0].opset_import} == {"": opset_version}
    probabilities = session(model).run(None, {"logits": LOGITS, "rate": np.array(0.5)})[0]
    np.testing.assert_array_equal(probabilities != 0, [[1, 0, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]])


def test_an_opset_that_is_too_old_is_named():
    with pytest.raises(ValueError, match="opset_version must be at least 18, got 17"):
        onnx_function.r_softmax_function(17)


def test_attach_declares_the_domain_once(rate_model, export_to_onnx):
    exported = export_to_onnx(Head(), torch.randn(3, 6), torch.tensor([1, 2, 3]))
    onnx_function.attach(exported)
    for model in (exported, rate_model(2, 1)):
        assert [opset.domain for opset in model.opset_import].count("ai.labelset") == 1
        assert [(function.domain, function.name) for function in model.functions] == [("ai.labelset", "RSoftmax")]
        onnx.checker.check_model(model)
