"""Weights stored in int8, computed in float32: a quarter of the bytes, and the answers of the rounded network exactly.

The graph multiplies each int8 matrix by its scales again; the runtime folds that into float32 weights when it loads
the graph, so inference is as fast as before. (Integer arithmetic is another matter, and needs calibration.)
"""

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

# Smaller tensors (biases, norms) stay: they cost nothing, and their rounding would.
MIN_ELEMENTS = 1024


def round_weights(network: nn.Module) -> None:
    """Round every matrix and kernel of a network, in place, to what int8 with one scale a row can hold."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and parameter.numel() >= MIN_ELEMENTS:
                scale = _scale(parameter.numpy(force=True))
                parameter.copy_(torch.from_numpy(_quantized(parameter.numpy(force=True), scale) * scale))


def store_weights_in_int8(model: onnx.ModelProto) -> None:
    """Replace every large float32 initializer whose rows fit into int8 by int8 values and their scales, in place.

    The exporter may have transposed a matrix, so rows are looked for along the first axis and along the last.
    """
    graph = model.graph
    restored = []
    for initializer in list(graph.initializer):
        if initializer.data_type != onnx.TensorProto.FLOAT or len(initializer.dims) < 2:
            continue
        value = numpy_helper.to_array(initializer)
        scale = _fitting_scale(value) if value.size >= MIN_ELEMENTS else None
        if scale is None:
            continue
        name = initializer.name
        graph.initializer.remove(initializer)
        graph.initializer.append(numpy_helper.from_array(_quantized(value, scale).astype(np.int8), f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        restored += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.float32"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.float32", f"{name}.scale"], [name]),
        ]
    nodes = [*restored, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _scale(value: np.ndarray, axis: int = 0) -> np.ndarray:
    """One scale for each index of `axis`, shaped to broadcast: the row's largest magnitude is 127."""
    others = tuple(other for other in range(value.ndim) if other != axis % value.ndim)
    largest = np.abs(value).max(axis=others, keepdims=True)
    return (np.where(largest > 0, largest, 1.0) / 127.0).astype(np.float32)


def _quantized(value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(value / scale), -127, 127).astype(np.float32)


def _fitting_scale(value: np.ndarray) -> np.ndarray | None:
    for axis in (0, -1):
        scale = _scale(value, axis)
        if np.allclose(_quantized(value, scale) * scale, value, rtol=0, atol=1e-6 * float(np.abs(value).max())):
            return scale
    return None
