"""Run by test_native_runtimes.py under each onnxruntime: who computes the op, and does it compute what it should?

Prints one JSON object. Without an argument no library is registered.
"""

import argparse
import json
import sys

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

from model.sparse_softmax import onnx_function, reference

LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]

# Where a model may hold the node. `pick` is there so that no branch is known before the model runs.
GRAPHS = {
    "in the graph": "probabilities = ai.labelset.RSoftmax (logits, rate)",
    "in a branch": """probabilities = If (pick) <
        then_branch = then () => (float[B, C] a) { a = ai.labelset.RSoftmax (logits, rate) },
        else_branch = else () => (float[B, C] b) { b = ai.labelset.RSoftmax (logits, rate) }>""",
    "in a function": "probabilities = test.Head (logits, rate)",
    "in a branch of a function": "probabilities = test.Choice (logits, rate, pick)",
}
MODEL = """
<ir_version: 9, opset_import: ["" : 18, "ai.labelset" : 1, "test" : 1]>
graph (float[B, C] logits, double[B] rate, bool pick) => (float[B, C] probabilities) {{ {nodes} }}

<opset_import: ["" : 18, "ai.labelset" : 1], domain: "test">
Head (logits, rate) => (probabilities) {{ probabilities = ai.labelset.RSoftmax (logits, rate) }}

<opset_import: ["" : 18, "ai.labelset" : 1], domain: "test">
Choice (logits, rate, pick) => (probabilities) {{
  probabilities = If (pick) <
    then_branch = then () => (a) {{ a = ai.labelset.RSoftmax (logits, rate) }},
    else_branch = else () => (b) {{ b = ai.labelset.RSoftmax (logits, rate) }}>
}}
"""
# No probability is -1: who gives it is this function, and not the kernel.
MINUS_ONE = """
<opset_import: ["" : 18], domain: "ai.labelset">
RSoftmax (logits, rate) => (probabilities) {
  one = Constant <value = float {1}> ()
  zeros = Sub (logits, logits)
  probabilities = Sub (zeros, one)
}
"""


def session(model, library, level="ORT_ENABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    if library:
        options.register_custom_ops_library(library)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def with_function(nodes, function):
    model = onnx.parser.parse_model(MODEL.format(nodes=nodes))
    model.functions.append(function)
    return model


def who_computes(place, level, library):
    model = with_function(GRAPHS[place], onnx.parser.parse_function(MINUS_ONE))
    logits = np.array([[3, 1, 2, 0], [0, 1, 2, 3]], np.float32)
    rates = np.array([0.5, 0.75])
    answers = [
        session(model, library, level).run(None, {"logits": logits, "rate": rates, "pick": np.array(pick)})[0]
        for pick in (False, True)
    ]
    if all((answer == -1).all() for answer in answers):
        return "function"
    expected = reference.r_softmax(logits, rates)
    return "kernel" if all(np.allclose(answer, expected, rtol=1e-6) for answer in answers) else repr(answers)


def random_rows_differ(library):
    """Shapes in which the zeros, or the probabilities, are not those of the reference."""
    runner = session(with_function(GRAPHS["in the graph"], onnx_function.r_softmax_function(18)), library)
    rng = np.random.default_rng(0)
    differ = []
    # TopK of an empty batch, which the function would need, ends the process in onnxruntime before 1.31.
    empty = [(0, 5)] if library else []
    for rows, classes in [*empty, (7, 1), (9, 17), (50, 80), (400, 300), (3, 50_000)]:
        logits = rng.normal(0, 3, (rows, classes)).astype(np.float32)
        rates = rng.uniform(0, 1, rows)
        result = runner.run(None, {"logits": logits, "rate": rates, "pick": np.array(True)})[0]
        expected = reference.r_softmax(logits, rates)
        if not np.array_equal(result == 0, expected == 0) or not np.allclose(result, expected, rtol=1e-5, atol=1e-30):
            differ.append([rows, classes])
    return differ


def float16_rows_differ(library):
    """Whether the zeros, or what is just above them, are not those of the reference where the node takes float16."""
    model = onnx.parser.parse_model(MODEL.replace("float[", "float16[").format(nodes=GRAPHS["in the graph"]))
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 9, (50, 80)).astype(np.float16)
    rates = rng.uniform(0, 1, 50)
    result = session(model, library).run(None, {"logits": logits, "rate": rates, "pick": np.array(True)})[0]
    expected = reference.r_softmax(logits, rates)
    assert (expected == 2.0**-24).any()
    return not np.array_equal(result == 0, expected == 0) or not np.allclose(result, expected, rtol=1e-3, atol=2**-24)


def refusal_of_another_batch(library):
    runner = session(with_function(GRAPHS["in the graph"], onnx_function.r_softmax_function(18)), library)
    try:
        runner.run(None, {"logits": np.ones((3, 4), np.float32), "rate": np.full(2, 0.5), "pick": np.array(True)})
    except Exception as error:  # whatever this runtime raises
        return str(error)
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library")
    library = parser.parse_args().library
    facts = {
        "version": ort.__version__,
        "who": {f"{place}, {level}": who_computes(place, level, library) for place in GRAPHS for level in LEVELS},
        "random rows differ": random_rows_differ(library),
        "float16 rows differ": float16_rows_differ(library) if library else None,
        "refusal of another batch": refusal_of_another_batch(library),
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
