"""A real Triton, of the package nvidia-pytriton, with a model that has the inputs and outputs of one of ours.

`LABELSET_TRITON` names the folder that the package is installed in; docs/protocol.md says how. Without it the tests
that want it are skipped.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

TRITON = Path(os.environ.get("LABELSET_TRITON", ".")).absolute()

MODEL = "text-demo"
CONFIG = """
name: "text-demo"
backend: "python"
max_batch_size: 8
input [{ name: "text" data_type: TYPE_STRING dims: [1] }]
output [
  { name: "row_offset" data_type: TYPE_INT64 dims: [-1] },
  { name: "label_index" data_type: TYPE_INT64 dims: [-1] },
  { name: "label" data_type: TYPE_STRING dims: [-1] },
  { name: "label_probability" data_type: TYPE_FP32 dims: [-1] },
  { name: "probabilities" data_type: TYPE_FP32 dims: [14] label_filename: "labels.txt" }
]
"""
# A row of each output for a row of the input; Triton knows no sparse ones.
CODE = f"""
import sys
sys.path.insert(0, {str(TRITON)!r})  # its interpreter does not look at PYTHONPATH
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.answer(len(texts))) for texts in map(self.texts, requests)]

    def texts(self, request):
        return pb_utils.get_input_tensor_by_name(request, "text").as_numpy()

    def answer(self, rows):
        one = {{
            "row_offset": np.array([[0, 1]]), "label_index": np.array([[3]]), "label": np.array([[b"impact"]], object),
            "label_probability": np.array([[0.75]], np.float32),
            "probabilities": np.array([[0.25, 0, 0.75, *[0] * 11]], np.float32),
        }}
        return [pb_utils.Tensor(name, np.tile(row, (rows, 1))) for name, row in one.items()]
"""


def _free_ports(count):
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in with_ports]
    for listener in with_ports:
        listener.close()
    return ports


def _write_repository(root, labels):
    (root / MODEL / "1").mkdir(parents=True)
    (root / MODEL / "config.pbtxt").write_text(CONFIG)
    (root / MODEL / "labels.txt").write_text("\n".join(labels))
    (root / MODEL / "1" / "model.py").write_text(CODE)
    return root


def _copy_backend(root):
    """The Python backend, with the interpreter that it has for this version of Python."""
    server, version = TRITON / "pytriton/tritonserver", f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(server / "backends" / "python", root / "python")
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", root / "python")
    return root


class Addresses(NamedTuple):
    """Where a server listens."""

    http: str
    grpc: str


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Addresses]:
    if "LABELSET_TRITON" not in os.environ:
        pytest.skip("needs LABELSET_TRITON, a folder with a real Triton: see docs/protocol.md")
    labels = json.loads((bundles / MODEL / "1" / "bundle.json").read_text())["labels"]
    folder = tmp_path_factory.mktemp("triton")
    http, grpc = _free_ports(2)
    models, backends = _write_repository(folder / "models", labels), _copy_backend(folder / "backends")
    command = [
        TRITON / "pytriton/tritonserver/bin/tritonserver", f"--model-repository={models}",
        f"--backend-directory={backends}", "--model-control-mode=explicit", f"--load-model={MODEL}",
        "--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}",
        "--allow-metrics=false",
    ]  # fmt: skip
    found = {"LD_LIBRARY_PATH": str(TRITON / "nvidia_pytriton.libs")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **found})
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(http):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Triton did not become ready:\n{(folder / 'log').read_text()}")
            time.sleep(0.2)
        yield Addresses(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _is_ready(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False
