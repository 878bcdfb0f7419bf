"""The example of docs/protocol.md, run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

from service.repository import Repository
from service.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
FIGURE = re.compile(r"\d\.\d*")


def test_the_example_prints_what_the_page_says(service, bundles, tmp_path):
    image_model = Repository.open(Settings(models=bundles)).catalogue.get("image-demo")
    (tmp_path / "photo.jpg").write_bytes(image_model.golden_examples[0].item)
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    [promised] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    code = code.replace("localhost:8000", service.url.removeprefix("http://"))
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert FIGURE.sub("", run.stdout) == FIGURE.sub("", promised)
    for printed, written in zip(FIGURE.findall(run.stdout), FIGURE.findall(promised), strict=True):
        assert abs(float(printed) - float(written)) < 0.02
