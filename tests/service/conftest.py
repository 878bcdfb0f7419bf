"""A service with small limits, a client that checks the shape of every answer, and inputs of both kinds."""

import asyncio
import base64
import contextvars
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.session_host import SessionHost

LIMITS = {
    "max_image_bytes": 300_000,
    "max_image_pixels": 4_000_000,
    "max_audio_bytes": 300_000,
    "max_text_chars": 2_000,
    "max_batch_size": 8,
    "max_body_bytes": 1_000_000,
}


@pytest.fixture(scope="session")
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """As `asyncio.run`, but on one event loop, as the service has it."""
    with asyncio.Runner() as runner:
        # Each in a context of its own: a record that one takes in hand would be that of all who come after it.
        yield lambda coroutine: runner.run(coroutine, context=contextvars.copy_context())


@pytest.fixture(scope="session")
def host(run) -> Iterator[SessionHost]:
    """A session process, for tests of what is in the service's own."""
    one = SessionHost(call_seconds=60)
    yield one
    one.close()
    run(asyncio.sleep(0.1))  # its channels close with the loop's next breath


@pytest.fixture(scope="session")
def service(serve, bundles: Path):
    return serve(models=bundles, **LIMITS)


@pytest.fixture(scope="session")
def client(service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, event_hooks={"response": [check_answer]}, timeout=60) as client:
        yield client


def check_answer(response: httpx.Response) -> None:
    """Facts of every answer there is: no trace, no path of the machine, one shape of error."""
    response.read()
    assert "Traceback" not in response.text
    assert str(Path(__file__).parents[2]) not in response.text
    if response.status_code >= 400 and response.request.method != "HEAD":
        assert response.headers["content-type"] == "application/json"
        assert response.json().keys() == {"error"}
        assert response.json()["error"].keys() == {"code", "message", "detail"}
        assert response.json()["error"]["message"]


@pytest.fixture(scope="session")
def model_names(client: httpx.Client) -> dict[str, str]:
    """Name of the model that takes a kind of input."""
    return {model["kind"]: model["name"] for model in client.get("/models").json()["models"]}


Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Make a picture of noise: `encode(width=64, height=48, image_format="PNG")`."""

    def picture(width: int = 64, height: int = 48, image_format: str = "PNG") -> bytes:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, image_format)
        return stream.getvalue()

    return picture


@pytest.fixture(scope="session")
def png(encode: Encode) -> bytes:
    return encode()


@pytest.fixture(scope="session")
def png_base64(png: bytes) -> str:
    return base64.b64encode(png).decode()


def seal(folder: Path) -> None:
    """Let the manifest of an edited bundle name the files as they are now."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(manifest["files"])
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))


WriteVersion = Callable[..., Path]


@pytest.fixture(scope="session")
def write_version(bundles: Path) -> WriteVersion:
    """Write the text bundle to a folder, with a card of its own: `write_version(folder, "mark", golden="wrong")`.

    `golden` may be `"wrong"`: sealed, but not what the model answers. `graph` may be `"cut"` (half of the file, as
    where a copy is under way) or `"unreadable"` (sealed, but no graph). It is written beside, and comes or replaces
    what was there by renaming.
    """

    def write(folder: Path, mark: str, golden: str = "right", graph: str = "whole") -> Path:
        staging, replaced = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
        shutil.copytree(bundles / "text-demo" / "1", staging)
        (staging / "README.md").write_text(mark)
        if golden == "wrong":
            examples = json.loads((staging / "golden.json").read_text())
            examples[0]["labels"] = []
            (staging / "golden.json").write_text(json.dumps(examples))
        if graph == "unreadable":
            (staging / "model.onnx").write_bytes(b"no graph")
        seal(staging)
        if graph == "cut":
            content = (staging / "model.onnx").read_bytes()
            (staging / "model.onnx").write_bytes(content[: len(content) // 2])
        if folder.exists():
            folder.rename(replaced)
        staging.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
        return folder

    return write


@pytest.fixture(scope="session")
def huge_picture() -> bytes:
    """A picture of few bytes and 49 million pixels."""
    content = io.BytesIO()
    Image.new("RGB", (7000, 7000), "red").save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def slow_models(tmp_path, monkeypatch):
    """Services that are started now take a fifth of a second for each batch."""
    # Python reads this module when it starts.
    (tmp_path / "sitecustomize.py").write_text(
        "import asyncio, sys\n"
        "if 'serve' in sys.argv:\n"
        "    from service.session_host import HostedModel\n"
        "    infer = HostedModel.infer\n"
        "    async def slow(*arguments):\n"
        "        await asyncio.sleep(0.2)\n"
        "        return await infer(*arguments)\n"
        "    HostedModel.infer = slow\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
