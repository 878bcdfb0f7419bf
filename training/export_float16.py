"""Some nodes of a graph computed in float16, and nothing else of it: what lies between the others stays float32.

(onnxruntime's own conversion rounds every tensor of the graph to float16, those that it was told to leave alone too;
logits that were different would tie there, and the label set would change.)
"""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from model.sparse_softmax import onnx_function

_LARGEST = float(np.finfo(np.float16).max)


def to_float16(model: ModelProto, node_names: Collection[str]) -> ModelProto:
    """A copy of a float32 graph in which the named nodes compute in float16; `RSoftmax` among them does not.

    Args:
        model: The graph, with the functions of its nodes, so that the types of their outputs are known.
        node_names: Nodes whose operators take float16 wherever they take float32.
    """
    copy: ModelProto = onnx.shape_inference.infer_shapes(model)
    graph = copy.graph
    in_half = {node.name for node in graph.node if node.name in node_names and node.op_type != onnx_function.NAME}
    known = [*graph.input, *graph.value_info, *graph.output]
    single = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    produced = {name for node in graph.node if node.name in in_half for name in node.output if name in single}
    cast: set[str] = set()
    nodes: list[NodeProto] = []
    for node in graph.node:
        half = node.name in in_half
        for position, name in enumerate(node.input):
            if half and name in weights:
                node.input[position] = _half_weight(graph, weights[name], cast)
            elif half and name in single and name not in produced:
                node.input[position] = _cast(nodes, name, f"{name}.float16", TensorProto.FLOAT16, cast)
            elif half and name in produced:
                node.input[position] = f"{name}.float16"
            elif not half and name in produced:
                _cast(nodes, f"{name}.float16", name, TensorProto.FLOAT, cast)
        if half:
            _compute_in_half(node, produced)
        nodes.append(node)
    for value in graph.output:
        if value.name in produced:
            _cast(nodes, f"{value.name}.float16", value.name, TensorProto.FLOAT, cast)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for field, content in ((graph.node, nodes), (graph.initializer, kept), (graph.value_info, [])):
        del field[:]
        field.extend(content)
    return copy


def _cast(nodes: list[NodeProto], source: str, target: str, to: int, done: set[str]) -> str:
    """The name of a tensor in another type; the cast is made once."""
    if target not in done:
        done.add(target)
        nodes.append(helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to))
    return target


def _half_weight(graph: onnx.GraphProto, weight: TensorProto, done: set[str]) -> str:
    name = f"{weight.name}.float16"
    if name not in done:
        done.add(name)
        # What masks a token is the most negative float32: in float16 it would be -inf, and -inf - -inf no number.
        value = numpy_helper.to_array(weight).clip(-_LARGEST, _LARGEST).astype(np.float16)
        graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _compute_in_half(node: NodeProto, produced: Collection[str]) -> None:
    for position, name in enumerate(node.output):
        if name in produced:
            node.output[position] = f"{name}.float16"
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(value, attribute.t.name))
