"""The peers: which version of each, how it is set up at its best, and how it is asked.

Where a setting is a choice between good things, chiefly whether requests are put together, there are variants, and the
benchmark goes on with the one that is faster. Workers are as many as cores, each with a session of one thread.
"""

import base64
import io
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from benchmarks.serving.contestant import Contestant, Launch, post
from benchmarks.serving.environments import PeerUnavailable, peer_python
from benchmarks.serving.inside.answering import BUNDLE, CORES, MAX_BATCH_ROWS, PORT, VARIANT
from benchmarks.serving.processes import free_port
from benchmarks.serving.workloads import Workload
from model.preprocess import Item

_ROOT = Path(__file__).parents[2]
_INSIDE = "benchmarks.serving.inside"


class Peer(Contestant):
    """A contestant that pip installs into an environment of its own: what, and of which version."""

    requirements: tuple[str, ...]


class Triton(Peer):
    """Triton: a process of its Python backend for each core, raw bodies.

    Dynamic batching without a delay takes what waits; without it every request is alone.
    """

    name, variants = "triton", ("single", "batching")
    # It takes a worker for dead that gives no sign of life for a second; idle, it costs next to nothing.
    bears_freezing = False
    # Bundles tritonserver 2.51 with its Python backend, built for the first generation of numpy.
    requirements = ("nvidia-pytriton==0.7.0", "numpy==1.26.4")

    @override
    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        python = peer_python(self.requirements)
        packages = _packages(python)
        server = packages / "pytriton/tritonserver"
        stub = server / f"python_backend_stubs/3.{sys.version_info.minor}/triton_python_backend_stub"
        if not stub.is_file():
            raise PeerUnavailable(f"its Python backend has no stub for Python 3.{sys.version_info.minor}")
        repository = folder / "repository"
        version = repository / "labels/1"
        version.mkdir(parents=True)
        # The backend's interpreter takes no path from its environment.
        script = f"import sys\nsys.path[:0] = {[str(_ROOT), str(packages)]}\nfrom {_INSIDE}.triton_model import *\n"
        (version / "model.py").write_text(script)
        # The wheel leaves the choice of the backend's stub, one for each version of Python, to whoever starts it.
        shutil.copytree(server / "backends", folder / "backends")
        shutil.copy(stub, folder / "backends/python")
        (repository / "labels/config.pbtxt").write_text(_triton_config(variant))
        libraries = [str(packages / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
        environment = _environment(workload, variant, port) | {"LD_LIBRARY_PATH": ":".join(libraries)}
        command = [
            str(server / "bin/tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={folder / 'backends'}",
            f"--http-port={port}",
            "--http-address=127.0.0.1",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ]
        return Launch(command, environment, folder)

    @override
    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        # The length 0 says that there is no JSON and the body is the one input's one string.
        return post("/v2/models/labels/infer", _content(item), {"Inference-Header-Content-Length": "0"})

    @override
    def labels(self, body: bytes) -> Sequence[str]:
        # Asked in binary, it answers in binary: a description in JSON, then strings that follow their lengths.
        description, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        strings = io.BytesIO(body[end : end + description["outputs"][0]["parameters"]["binary_data_size"]])
        names = []
        while length := strings.read(4):
            names.append(strings.read(int.from_bytes(length, "little")).decode())
        return names


def _triton_config(variant: str) -> str:
    return f"""
name: "labels"
backend: "python"
max_batch_size: {MAX_BATCH_ROWS}
input [{{ name: "content" data_type: TYPE_STRING dims: [1] }}]
output [
  {{ name: "label" data_type: TYPE_STRING dims: [-1] }},
  {{ name: "probability" data_type: TYPE_FP32 dims: [-1] }}
]
instance_group [{{ count: {CORES} kind: KIND_CPU }}]
{"dynamic_batching { }" if variant == "batching" else ""}
"""


class MlServer(Peer):
    """MLServer: parallel workers; JSON with base64, since its runtimes get pictures in no other way over HTTP.

    Adaptive batching happens before the workers; it waits for a batch, here at most 5 ms. With the uvloop of later
    times its workers do not start.
    """

    name, variants = "mlserver", ("single", "batching")
    requirements = ("mlserver==1.7.1", "uvloop==0.21.0")

    @override
    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        python = peer_python(self.requirements)
        settings = {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": free_port(),
            "metrics_endpoint": None,
            "debug": False,
            "gzip_enabled": False,
            "parallel_workers": CORES,
        }
        model = {"name": "labels", "implementation": f"{_INSIDE}.mlserver_runtime.Runtime"}
        if variant == "batching":
            model |= {"max_batch_size": MAX_BATCH_ROWS, "max_batch_time": 0.005}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model))
        command = [str(python), "-c", "from mlserver.cli import main; main()", "start", str(folder)]
        return Launch(command, _environment(workload, variant, port), folder)

    @override
    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        tensor = {"name": "content", "datatype": "BYTES", "shape": [1, 1], "data": [_in_json(item)]}
        return _post_json("/v2/models/labels/infer", {"inputs": [tensor]})

    @override
    def labels(self, body: bytes) -> Sequence[str]:
        return _names(json.loads(json.loads(body)["outputs"][0]["data"][0]))


class LitServe(Peer):
    """LitServe: a worker for each core, raw bodies, the queue that it recommends above a hundred requests a second."""

    name, variants = "litserve", ("single", "batching")
    requirements = ("litserve==0.2.19",)

    @override
    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        python = peer_python(self.requirements)
        command = [str(python), "-m", f"{_INSIDE}.litserve_app"]
        return Launch(command, _environment(workload, variant, port), folder)

    @override
    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        return post("/predict", _content(item))

    @override
    def labels(self, body: bytes) -> Sequence[str]:
        return _names(json.loads(body))


class BentoMl(Peer):
    """BentoML: a worker for each core, JSON lists.

    Without its adaptive batching: that learns from how long things take, and comes to a standstill when it is stopped
    between its turns.
    """

    name, variants = "bentoml", ("single",)
    requirements = ("bentoml==1.4.39",)

    @override
    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        python = peer_python(self.requirements)
        service = f"{_INSIDE}.bentoml_service:Labels"
        command = [str(python), "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
        own = {"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "true"}
        return Launch([*command, "--working-dir", str(_ROOT)], _environment(workload, variant, port) | own, folder)

    @override
    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        return _post_json("/predict", {"contents": [_in_json(item)]})

    @override
    def labels(self, body: bytes) -> Sequence[str]:
        return _names(json.loads(body)[0])


class Ray(Peer):
    """Ray Serve: a replica for each core, raw bodies, the settings that it sums up as optimised for throughput.

    Requests come through its own proxy in Python, or through the HAProxy that its package brings.
    """

    name, variants = "ray", ("single", "haproxy", "batching")
    requirements = ("ray[serve]==2.60.0",)

    @override
    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        python = peer_python(self.requirements)
        own = {
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_ENABLE_HA_PROXY": str(int(variant == "haproxy")),
            "RAY_SERVE_ENABLE_DIRECT_INGRESS": str(int(variant == "haproxy")),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "haproxy.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "haproxy-state"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [str(python), "-m", f"{_INSIDE}.ray_app", str(folder)]
        return Launch(command, _environment(workload, variant, port) | own, folder)

    @override
    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        return post("/", _content(item))

    @override
    def labels(self, body: bytes) -> Sequence[str]:
        return _names(json.loads(body))


def _environment(workload: Workload, variant: str, port: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(_ROOT),
        BUNDLE: str(workload.bundle),
        VARIANT: variant,
        PORT: str(port),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _packages(python: Path) -> Path:
    """Where the environment of this Python has its packages."""
    question = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(question, capture_output=True, text=True, check=True).stdout.strip())


def _content(item: Item) -> bytes:
    assert not isinstance(item, tuple)
    return item if isinstance(item, bytes) else item.encode()


def _in_json(item: Item) -> str:
    assert not isinstance(item, tuple)
    return item if isinstance(item, str) else base64.b64encode(item).decode()


def _post_json(path: str, document: Any) -> bytes:
    return post(path, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _names(answer: Any) -> list[str]:
    return [label["label"] for label in answer["labels"]]


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Triton, MlServer, LitServe, BentoMl, Ray)}
