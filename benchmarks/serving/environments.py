"""A virtual environment for each peer, made when it is first wanted, into the cache."""

import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from training.data.cache import cached_folder

# What `inside/answering.py` needs, in the very versions that ours runs on: the decoders and the runtime are no contest.
_SHARED = ("onnxruntime", "pillow", "pydantic", "tokenizers")
_FORBIDDEN = ("torch", "nvidia-cublas", "nvidia-cuda-runtime")


class PeerUnavailable(Exception):
    """A peer that cannot be installed, or that does not answer; the message says why."""


def peer_python(requirements: tuple[str, ...]) -> Path:
    """The Python of an environment with these packages.

    Raises:
        PeerUnavailable: pip cannot install them, or they bring what no server of an ONNX graph needs.
    """
    wanted = [*requirements, *(f"{name}=={importlib.metadata.version(name)}" for name in _SHARED)]
    digest = hashlib.sha256(" ".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    name = requirements[0].partition("==")[0].partition("[")[0]

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        python = folder / "bin/python"
        _run([str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check", *wanted])
        installed = subprocess.run([str(python), "-m", "pip", "freeze"], capture_output=True, text=True).stdout
        if pulled := [name for name in _FORBIDDEN if f"\n{name}==" in f"\n{installed}"]:
            raise PeerUnavailable(f"{requirements[0]} brings {', '.join(pulled)}, which is gigabytes of no use here")

    # Scripts of an environment name its folder, which is renamed when it is complete: always start `python -m`.
    return cached_folder(f"serving-peer-{name}-{digest}", install) / "bin/python"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        lines = done.stdout.splitlines()
        said = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        # Without the folders of this machine: reasons are published.
        raise PeerUnavailable(f"`python {' '.join(command[1:3])}` ended with {done.returncode}: {' / '.join(said)}")
