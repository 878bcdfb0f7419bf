"""A short run of each target, from its seeds; `tests/fuzz/run.py` says how to make a long one."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY_ROOT = Path(__file__).parents[2]
SECONDS = 3


@pytest.mark.skipif(find_spec("atheris") is None, reason="needs atheris, which has wheels for x86-64 Linux alone")
@pytest.mark.parametrize("target", ["image", "audio", "infer", "json"])
def test_nothing_but_an_error_for_the_caller_comes_out_whatever_goes_in(target, tmp_path):
    command = [sys.executable, "-m", "tests.fuzz.run", target, "--seconds", str(SECONDS), "--corpus", str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY_ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    tried = int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1])
    found = int(re.search(r"new_units_added: +(\d+)", done.stderr)[1])
    # Fewer seeds than this there are not; and where nothing is found, nothing is measured.
    assert tried > 30
    assert found > 3
