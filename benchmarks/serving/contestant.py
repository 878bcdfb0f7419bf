"""What a contestant is: how its server is started, and how it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.workloads import Workload
from model.preprocess import Item


@dataclass(frozen=True)
class Launch:
    """A command to start; `environment` is added to our own."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


class Contestant:
    """A server that labels pictures and texts over HTTP.

    Attributes:
        name: What it is called in options and records.
        variants: Settings between which nothing but a measurement can choose.
        bears_freezing: Whether its processes go on as before when they were stopped for a while.
    """

    name: str
    variants: tuple[str, ...]
    bears_freezing = True

    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        """Prepare a server of one model on this port, with files of its own in an empty folder.

        Raises:
            PeerUnavailable: it cannot be installed here.
        """
        raise NotImplementedError

    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        """A whole HTTP request for the label set of one input."""
        raise NotImplementedError

    def labels(self, body: bytes) -> Sequence[str]:
        """The label names in the body of an answer."""
        raise NotImplementedError


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP request."""
    own = {"Content-Type": "application/octet-stream", **(headers or {}), "Content-Length": str(len(body))}
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in own.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
