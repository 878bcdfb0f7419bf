"""Our own service as a contestant, with whatever settings are to be measured."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from benchmarks.serving.contestant import Contestant, Launch, post
from benchmarks.serving.workloads import Workload
from model.preprocess import Item

ROOT = Path(__file__).parents[2]


class Ours(Contestant):
    """`labelset serve`, by default with the settings that it has by default."""

    def __init__(self, settings: Mapping[str, str] | None = None, name: str = "ours") -> None:
        """`settings`: as in the environment, without `LABELSET_` and in small letters."""
        self.name = name
        self.variants = ("",)
        self.settings = dict(settings or {})

    @override
    def launch(self, workload: Workload, variant: str, port: int, folder: Path) -> Launch:
        return self.launch_on(workload.bundle, port, folder)

    def launch_on(self, models: Path, port: int, folder: Path) -> Launch:
        """Prepare a server of a bundle or a repository."""
        command = [sys.executable, "-m", "labelset", "serve", str(models), "--port", str(port)]
        environment = {f"LABELSET_{name.upper()}": value for name, value in self.settings.items()}
        return Launch(command, {"PYTHONPATH": str(ROOT), **environment}, folder)

    @override
    def request(self, workload: Workload, variant: str, item: Item) -> bytes:
        return own_request(item)

    @override
    def labels(self, body: bytes) -> Sequence[str]:
        return [label["label"] for label in json.loads(body)["predictions"][0]["labels"]]


def own_request(item: Item) -> bytes:
    """A whole request for a label set: the input as the body."""
    if isinstance(item, str):
        return post("/predict", item.encode(), {"Content-Type": "text/plain"})
    assert isinstance(item, bytes)
    return post("/predict", item, {"Content-Type": "image/jpeg"})
