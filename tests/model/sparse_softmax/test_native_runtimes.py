"""One library on each supported onnxruntime: the kernel where it is registered, the function where it is not.

The runtimes that are not installed here are fetched once, into pytest's cache, and run in a process of their own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The oldest that pyproject.toml allows, one between, and the installed one, which constraints.txt holds at the newest.
VERSIONS = ["1.22.0", "1.30.0", "installed"]


@pytest.fixture(scope="module", params=VERSIONS)
def runtime(request: pytest.FixtureRequest) -> list[str]:
    """The folders to import this runtime from, before all others."""
    if request.param == "installed":
        return []
    folder = Path(request.config.cache.mkdir("onnxruntime")) / request.param
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(unfinished)]
        done = subprocess.run([*pip, f"onnxruntime=={request.param}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            pytest.skip(f"pip cannot fetch onnxruntime {request.param} here: {done.stderr.strip().splitlines()[-1]}")
        try:
            unfinished.rename(folder)
        except OSError:  # another worker of this test run was faster
            shutil.rmtree(unfinished)
    return [str(folder)]


def _probe(runtime, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*runtime, str(ROOT)])}
    command = [sys.executable, str(Path(__file__).with_name("runtime_probe.py")), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout)
    assert not runtime or facts["version"] == Path(runtime[0]).name
    return facts


def test_without_the_library_the_function_computes(runtime):
    facts = _probe(runtime)
    assert set(facts["who"].values()) == {"function"}, facts["who"]
    assert facts["random rows differ"] == []


def test_with_the_library_the_kernel_computes_wherever_the_node_is(runtime, native_library):
    facts = _probe(runtime, "--library", str(native_library))
    assert len(facts["who"]) == 16
    assert set(facts["who"].values()) == {"kernel"}, facts["who"]
    assert facts["random rows differ"] == []
    assert facts["float16 rows differ"] is False
    assert "RSoftmax: rate must be one value or one for each of the 3 rows" in facts["refusal of another batch"]
