"""The examples of docs/protocol.md, run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.repository import Repository
from service.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
OVER_HTTP, OVER_GRPC = PAGE.split("\n## Over gRPC\n")
FIGURE = re.compile(r"\d\.\d*")


@pytest.fixture
def assert_prints_what_it_says(tmp_path):
    def check(part: str, address: str, real: str) -> None:
        [code] = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
        [promised] = re.findall(r"```text\n(.*?)```", part, re.DOTALL)
        code = code.replace(address, real)
        run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        assert FIGURE.sub("", run.stdout) == FIGURE.sub("", promised)
        for printed, written in zip(FIGURE.findall(run.stdout), FIGURE.findall(promised), strict=True):
            assert abs(float(printed) - float(written)) < 0.02

    return check


def test_the_example_prints_what_the_page_says(service, host, bundles, tmp_path, assert_prints_what_it_says):
    image_model = Repository.open(Settings(models=bundles), host).catalogue.get("image-demo")
    (tmp_path / "photo.jpg").write_bytes(image_model.facts.golden_examples[0].item)
    assert_prints_what_it_says(OVER_HTTP, "localhost:8000", service.url.removeprefix("http://"))


def test_the_example_over_grpc_prints_what_the_page_says(serve, bundles, assert_prints_what_it_says):
    log = serve(models=bundles, grpc_port=0).log.read_text()
    assert_prints_what_it_says(OVER_GRPC, "localhost:8001", re.search(r"gRPC listens on (\S+)", log)[1])
