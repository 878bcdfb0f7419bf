"""The compiled op inside onnxruntime: what it refuses, and that sessions and threads do not disturb each other."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from model.sparse_softmax import reference

FLOAT, DOUBLE, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16
BFLOAT16, INT64 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.INT64
RUNTIME_ERRORS = onnxruntime.capi.onnxruntime_pybind11_state


@pytest.fixture
def open_session(native_library):
    def open_it(model, threads=1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        options.register_custom_ops_library(str(native_library))
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return open_it


def model_of(logits=("B", "C"), rate=("B",), *, types=(FLOAT, DOUBLE), result=None):
    """A model of one bare node; axes of None are not declared at all."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("RSoftmax", ["logits", "rate"], ["probabilities"], domain="ai.labelset")],
        "one_node",
        [
            onnx.helper.make_tensor_value_info("logits", types[0], logits),
            onnx.helper.make_tensor_value_info("rate", types[1], rate),
        ],
        [onnx.helper.make_tensor_value_info("probabilities", types[0], result)],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.labelset", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def feed(shape, seed=0):
    rng = np.random.default_rng(seed)
    return {"logits": rng.normal(0, 3, shape).astype(np.float32), "rate": rng.uniform(0, 1, shape[:-1])}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 100_000), (37, 5), (400, 1000), (16, 1025), (2, 3, 4, 5000), (20_000, 3)])
def test_many_rows_have_the_zeros_and_the_values_of_the_reference(open_session, shape, threads):
    given = feed(shape)
    [result] = open_session(model_of(None, None), threads).run(None, given)
    expected = reference.r_softmax(given["logits"], given["rate"])
    np.testing.assert_array_equal(result == 0, expected == 0)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-30)


def assert_half_like_reference(result, logits, rate):
    expected = reference.r_softmax(logits, rate)
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result == 0, expected == 0)
    np.testing.assert_array_max_ulp(result, expected, 1)
    # Rounded to nearest: float32 and float64 only differ where a number lies between two of float16.
    assert np.mean((result == expected) | np.isnan(expected)) > 0.99


def test_float16_has_the_zeros_of_the_spec(open_session, case):
    logits = case.logits_as(np.dtype(np.float16))
    rate = case.rate
    if rate is None:
        unmasked = (logits != -np.inf).sum(axis=-1)
        rate = np.maximum(unmasked - case.label_count, 0) / np.maximum(unmasked, 1)
    given = {"logits": logits, "rate": np.array(rate, dtype=np.float64)}
    [result] = open_session(model_of(None, None, types=(HALF, DOUBLE))).run(None, given)
    if case.label_count is not None:
        result *= (np.array(case.label_count) > 0)[..., np.newaxis]
    pattern = np.where(np.isnan(result), np.nan, result != 0)
    np.testing.assert_array_equal(pattern, np.asarray(case.support, dtype=float))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 100_000), (37, 5), (400, 1000), (16, 1025), (2, 3, 4, 5000), (20_000, 3)])
def test_float16_rows_have_the_zeros_and_the_values_of_the_reference(open_session, shape, threads):
    given = feed(shape)
    given["logits"] = given["logits"].astype(np.float16)
    [result] = open_session(model_of(None, None, types=(HALF, DOUBLE)), threads).run(None, given)
    assert_half_like_reference(result, **given)


def test_every_float16_number_is_told_from_the_next(open_session):
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.unique(numbers[np.isfinite(numbers)])
    logits = np.stack([finite] * 300)
    rate = np.linspace(0, 1, 300)
    [result] = open_session(model_of(types=(HALF, DOUBLE))).run(None, {"logits": logits, "rate": rate})
    assert_half_like_reference(result, logits, rate)
    # Two classes, one of them ever less probable: through all the numbers that a float16 has for it.
    logits = np.stack([np.zeros_like(finite), finite, np.full_like(finite, -65504)], axis=-1)[finite <= 0]
    [result] = open_session(model_of(types=(HALF, DOUBLE))).run(None, {"logits": logits, "rate": np.zeros(len(logits))})
    assert_half_like_reference(result, logits, 0)
    assert result[result > 0].min() == 2**-24


def test_float16_results_of_a_model_keep_survivors_too_small_for_the_type(open_session):
    model = model_of(types=(HALF, DOUBLE))
    model.graph.node.insert(0, onnx.helper.make_node("Add", ["scores", "scores"], ["logits"]))
    model.graph.input[0].name = "scores"
    scores = np.array([[0, -15, -40, -41], [0, -1, -2, -3]], np.float16)
    [result] = open_session(model).run(None, {"scores": scores, "rate": np.array([0.25, 0.25])})
    assert_half_like_reference(result, scores + scores, [0.25, 0.25])
    np.testing.assert_array_equal(result[0], [1, 2**-24, 2**-24, 0])


@pytest.mark.parametrize("rate_shape", [(), (1,), (6,), (2, 3), (6, 1)])
def test_the_rate_is_one_value_or_one_per_row_in_any_shape_as_in_the_function(open_session, rate_shape):
    logits = feed((2, 3, 50))["logits"]
    rates = np.linspace(0.1, 0.9, int(np.prod(rate_shape))).reshape(rate_shape)
    [result] = open_session(model_of(None, None)).run(None, {"logits": logits, "rate": rates})
    per_row = np.broadcast_to(rates.ravel(), 6).reshape(2, 3)
    np.testing.assert_array_equal(result == 0, reference.r_softmax(logits, per_row) == 0)


@pytest.mark.parametrize(
    ("logits_shape", "rate_shape", "message"),
    [
        ((3, 4), (2,), r"rate must be one value or one for each of the 3 rows of logits \[3, 4\], got 2 values"),
        ((3, 4), (0,), r"rate must be one value or one for each of the 3 rows of logits \[3, 4\], got 0 values"),
        ((0, 4), (2,), r"one for each of the 0 rows of logits \[0, 4\], got 2 values \(shape \[2\]\)"),
        ((2, 3, 4), (2,), r"one for each of the 6 rows of logits \[2, 3, 4\], got 2 values"),
        ((), (), "logits must have a class axis, got a scalar"),
        ((3, 0), (3,), r"logits must have at least one class, got the shape \[3, 0\]"),
        ((0,), (), r"logits must have at least one class, got the shape \[0\]"),
    ],
)
def test_a_wrong_shape_is_an_error_of_run_with_its_value(open_session, logits_shape, rate_shape, message):
    session = open_session(model_of(None, None))
    with pytest.raises(RUNTIME_ERRORS.InvalidArgument, match=f"RSoftmax: .*{message}"):
        session.run(None, {"logits": np.zeros(logits_shape, np.float32), "rate": np.full(rate_shape, 0.5)})
    assert session.run(None, {"logits": np.ones((1, 2), np.float32), "rate": np.array(0.5)})[0].shape == (1, 2)


@pytest.mark.parametrize("types", [(DOUBLE, DOUBLE), (BFLOAT16, DOUBLE), (FLOAT, FLOAT), (FLOAT, INT64), (HALF, HALF)])
def test_a_wrong_type_is_an_error_of_the_session(open_session, types):
    with pytest.raises(Exception, match="RSoftmax"):
        open_session(model_of(types=types))


@pytest.mark.parametrize("inputs", [["logits"], ["logits", ""], ["logits", "rate", "rate"]])
def test_a_wrong_number_of_inputs_is_an_error_of_the_session(open_session, inputs):
    model = model_of()
    del model.graph.node[0].input[:]
    model.graph.node[0].input.extend(inputs)
    with pytest.raises(Exception, match="RSoftmax"):
        open_session(model)


def test_the_shape_of_the_result_is_known_before_the_model_runs(open_session):
    assert open_session(model_of(("B", 7), ("B",))).get_outputs()[0].shape == ["B", 7]
    assert not open_session(model_of(None, None)).get_outputs()[0].shape


def test_two_sessions_on_two_models_run_at_once_as_they_do_alone(open_session):
    sessions = [open_session(model_of(None, None), threads=2), open_session(model_of(("B", 300)), threads=2)]
    feeds = [feed((rows, 300), seed=rows) for rows in range(1, 200, 7)]
    alone = [sessions[0].run(None, given)[0] for given in feeds]
    jobs = [(session, given) for given in feeds for session in sessions] * 3
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda job: job[0].run(None, job[1])[0], jobs))
    for index, result in enumerate(together):
        np.testing.assert_array_equal(result, alone[index // 2 % len(feeds)])


_OPEN_AND_CLOSE = """
import sys
import numpy as np
import onnxruntime

library, model = sys.argv[1:]
answers = []
for _ in range(30):
    options = [onnxruntime.SessionOptions() for _ in range(2)]
    for one in options:
        one.register_custom_ops_library(library)
    sessions = [onnxruntime.InferenceSession(model, one) for one in options]
    del options, one
    given = {"logits": np.array([[3, 1, 2, 0]], np.float32), "rate": np.array([0.5])}
    answers += [session.run(None, given)[0] for session in sessions]
    del sessions  # the last that holds the library, which the runtime now unloads
assert len(answers) == 60
assert all((answer != 0).tolist() == [[True, False, True, False]] for answer in answers)
"""


def test_the_library_may_be_unloaded_and_loaded_again(native_library, tmp_path):
    onnx.save(model_of(), tmp_path / "model.onnx")
    command = [sys.executable, "-c", _OPEN_AND_CLOSE, str(native_library), str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
