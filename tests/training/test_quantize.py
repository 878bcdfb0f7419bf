import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.quantize import round_weights, store_weights_in_int8


def _graph(weight: np.ndarray) -> onnx.ModelProto:
    """`y = x @ weight`, and a small tensor that must stay."""
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("MatMul", ["x", "weight"], ["product"]),
                helper.make_node("Add", ["product", "b"], ["y"]),
            ],
            "matmul",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weight.shape[0]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", weight.shape[1]])],
            [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.ones((1, 1), np.float32), "b")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [y] = session.run(None, {"x": x})
    return y


@pytest.mark.parametrize("transposed", [False, True], ids=["rows", "columns"])
def test_int8_graph_answers_as_the_rounded_network_and_is_smaller(transposed):
    layer = nn.Linear(64, 48, bias=False)
    with torch.no_grad():
        layer.weight *= torch.logspace(-2, 2, 48).unsqueeze(1)  # rows of very different size
    round_weights(layer)
    weight = layer.weight.detach().numpy()
    # The scale of a row of the layer is that of a column of the matrix that a graph multiplies with, or of a row.
    graph = _graph(np.ascontiguousarray(weight if transposed else weight.T))
    x = np.random.default_rng(0).normal(size=(5, 48 if transposed else 64)).astype(np.float32)
    before, bytes_before = _run(graph, x), graph.ByteSize()
    store_weights_in_int8(graph)
    np.testing.assert_allclose(_run(graph, x), before, rtol=1e-5, atol=1e-5 * np.abs(before).max())
    assert graph.ByteSize() < 0.4 * bytes_before
    assert [tensor.data_type for tensor in graph.graph.initializer if tensor.name == "weight.int8"] == [
        TensorProto.INT8
    ]


def test_rounding_moves_a_weight_by_at_most_half_a_step_and_twice_is_once():
    layer = nn.Conv2d(8, 16, 3)
    before = layer.weight.detach().clone()
    bias = layer.bias.detach().clone()
    round_weights(layer)
    step = before.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    assert ((layer.weight - before).abs() <= step * 0.501).all()
    assert not torch.equal(layer.weight, before)
    assert torch.equal(layer.bias, bias)
    once = layer.weight.detach().clone()
    round_weights(layer)
    torch.testing.assert_close(layer.weight, once, rtol=1e-6, atol=0)


def test_weights_that_do_not_fit_stay_as_they_are():
    graph = _graph(np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32))
    before = graph.SerializeToString()
    store_weights_in_int8(graph)
    assert graph.SerializeToString() == before


def test_a_row_of_zeros_stays_zero():
    layer = nn.Linear(64, 32, bias=False)
    with torch.no_grad():
        layer.weight[3] = 0
    round_weights(layer)
    assert not layer.weight[3].any()
    assert layer.weight.isfinite().all()
