"""Training and service see the same array for the same bytes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import golden
from model.predictor import Predictor
from training.data.arrays import ArrayDataset, raw_input

_SERVE = """
import hashlib, json, sys
from pathlib import Path
from model.predictor import Predictor

predictor = Predictor.open(sys.argv[1], device="cpu")
items = [Path(name).read_bytes() for name in sys.argv[2:]]
if predictor.bundle.manifest.preprocessing.kind == "text":
    items = [item.decode() for item in items]
arrays = [predictor.preprocess(item) for item in items]
assert not {"torch", "transformers", "onnx"} & sys.modules.keys(), "the serving side imported a training library"
print(json.dumps([[str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()] for array in arrays]))
"""


@pytest.fixture(params=["text", "image", "audio"])
def trained(request):
    return request.getfixturevalue(f"trained_{request.param}")


@pytest.fixture
def predictor(trained) -> Predictor:
    return Predictor.open(trained.bundle, device="cpu")


def test_the_array_of_an_example_is_the_array_of_its_request(trained, predictor):
    for index, example in enumerate(trained.parts.test.examples):
        trained_on, served = trained.parts.test[index].array, predictor.preprocess(raw_input(example))
        assert trained_on.dtype == served.dtype
        np.testing.assert_array_equal(trained_on, served)


def test_a_process_without_torch_makes_the_same_arrays(trained, tmp_path):
    files = []
    for index, example in enumerate(trained.parts.test.examples):
        item = raw_input(example)
        files.append(tmp_path / str(index))
        files[-1].write_bytes(item.encode() if isinstance(item, str) else item)
    command = [sys.executable, "-W", "error", "-c", _SERVE, trained.bundle, *files]
    root = Path(__file__).parents[2]
    finished = subprocess.run(list(map(str, command)), cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    expected = []
    for index in range(len(trained.parts.test)):
        array = trained.parts.test[index].array
        expected.append([str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()])
    assert json.loads(finished.stdout) == expected


def test_a_batch_is_padded_alike_on_both_sides(trained, predictor):
    rows = [trained.parts.test[index] for index in range(5)]
    trained_on = trained.parts.test.collate(rows).inputs.numpy()
    [served] = predictor.preprocess.collate(
        [predictor.preprocess(raw_input(example)) for example in trained.parts.test.examples[:5]]
    ).values()
    np.testing.assert_array_equal(trained_on, served)


def test_a_golden_example_holds_the_bytes_that_were_trained_on(trained, predictor):
    inputs = [raw_input(example) for example in trained.parts.test.examples]
    assert all(example.item in inputs for example in golden.load(predictor))


def test_arrays_beyond_the_cache_are_made_anew_and_are_the_same(trained):
    cached = trained.parts.test
    uncached = ArrayDataset(cached.examples, trained.data.labels, cached.preprocess, cache_bytes=0)
    np.testing.assert_array_equal(uncached[0].array, cached[0].array)
    assert cached[0].array is cached[0].array
    assert uncached[0].array is not uncached[0].array
