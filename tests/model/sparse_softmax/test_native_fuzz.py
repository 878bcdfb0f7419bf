"""The compiled row kernels against an obvious reference in double, on seeded rows made to break them.

The driver is in `native/fuzz/`; `make fuzz` gives it a million rows.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from model.sparse_softmax import native

NATIVE = Path(native.__file__).parent / "native"
DRIVER = NATIVE / "build" / "fuzz" / "fuzz_rows"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DRIVER.exists(), reason="the compiled r-softmax is not built here: make native"),
]

# The library's function, and then one fault.
FAULTY_LIBRARY = """
#include <dlfcn.h>
#include <labelset.h>
int labelset_r_softmax(const float* logits, const double* rates, int64_t rate_step, int64_t row_count,
                       int64_t class_count, float* result, int thread_count) {
    auto* original = reinterpret_cast<decltype(&labelset_r_softmax)>(dlsym(RTLD_NEXT, "labelset_r_softmax"));
    const int code = original(logits, rates, rate_step, row_count, class_count, result, thread_count);
    const int64_t count = row_count * class_count;
    volatile float touched = logits[0];
    FAULT
    (void)touched, (void)count;
    return code;
}
"""


def _fuzz(build: str, *options: str) -> list[str]:
    """Build and run the driver; returns the paths that agree with the reference."""
    done = subprocess.run([NATIVE / "fuzz" / "run.sh", build, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split()[1] for line in done.stdout.splitlines() if line.endswith("agrees with the reference")]


def test_every_path_agrees_under_address_and_undefined_behaviour_sanitizers():
    assert "portable" in _fuzz("asan", "--rows", "60000")


def test_threads_that_compute_and_choose_paths_at_once_do_not_race():
    assert "portable" in _fuzz("tsan", "--rows", "20000", "--threads", "4")


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("qemu-aarch64-static") is None,
    reason="no cross compiler or no emulator: Debian's g++-aarch64-linux-gnu and qemu-user-static",
)
def test_arm64_agrees_in_an_emulator():
    assert _fuzz("arm64", "--rows", "20000") == ["neon"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("if (result[0] == 0) result[0] = 1e-30f;", id="a zero is not zero"),
        pytest.param("result[count / 2] *= 1.0001f;", id="a probability is a little too large"),
        pytest.param("result[count] = 0;", id="a write beyond the end"),
        pytest.param("result[-1] = 0;", id="a write before the beginning"),
        pytest.param("touched = logits[count];", id="a read beyond the end"),
        pytest.param("touched = logits[-1];", id="a read before the beginning"),
    ],
)
def test_the_driver_notices_a_faulty_library(fault, tmp_path):
    (tmp_path / "faulty.cpp").write_text(FAULTY_LIBRARY.replace("FAULT", fault))
    compile_ = ["c++", "-std=c++17", "-shared", "-fPIC", f"-I{NATIVE}", "faulty.cpp", "-o", "faulty.so", "-ldl"]
    subprocess.run(compile_, cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "faulty.so")}
    done = subprocess.run([DRIVER, "--rows", "5000"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 2)
    assert "once more: fuzz_rows" in done.stderr
