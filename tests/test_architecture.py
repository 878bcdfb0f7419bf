"""Who imports whom: the contracts of pyproject.toml, and a service that really runs without torch."""

import subprocess
import sys
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).parents[1]

_ANSWER_ONE_TEXT = """
import asyncio, sys
import httpx
from service.app import create_app

async def main():
    app = create_app()
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            answer = await client.post("/predict", json={"text": "A text."})
            assert answer.status_code == 200, answer.text

asyncio.run(main())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_service_answers_without_importing_torch_or_training():
    done = subprocess.run(
        [sys.executable, "-c", _ANSWER_ONE_TEXT], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert {"service", "model"} <= imported
    assert not imported & {"torch", "transformers", "accelerate", "onnx", "onnxscript", "training"}
    assert "grpc" not in imported  # an extra, and off unless a port is given


def test_the_import_contracts_hold():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
