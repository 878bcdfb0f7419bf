"""The clients of the protocol's tests: NVIDIA's own, and plain HTTP that checks the shape of every error."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from triton_clients import http_client


@pytest.fixture(scope="session")
def triton_client(service) -> Iterator[triton.InferenceServerClient]:
    with http_client(service.url) as client:
        yield client


@pytest.fixture(scope="session")
def v2(service) -> Iterator[httpx.Client]:
    """Plain HTTP; says of no body what is in it, and asks for no compression."""
    with httpx.Client(
        base_url=f"{service.url}/v2", event_hooks={"response": [check_answer]}, timeout=60,
        headers={"accept-encoding": "identity"},
    ) as client:  # fmt: skip
        yield client


def check_answer(response: httpx.Response) -> None:
    """Facts of every answer there is: no trace, no path of the machine, the protocol's shape of error."""
    response.read()
    assert b"Traceback" not in response.content
    assert str(Path(__file__).parents[3]).encode() not in response.content
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/json"
        assert response.json().keys() == {"error"}
        assert isinstance(response.json()["error"], str)
        assert response.json()["error"]


@pytest.fixture(scope="session")
def infer_path(model_names) -> dict[str, str]:
    """Where to ask the model of a kind."""
    return {kind: f"/models/{name}/infer" for kind, name in model_names.items()}


@pytest.fixture(scope="session")
def bytes_input():
    """An input of Triton's client: `bytes_input("text", [b"a", b"b"], binary=False)`."""

    def make(name: str, elements: list[bytes], binary: bool = True, column: bool = True) -> triton.InferInput:
        array = np.array(elements, object)
        array = array[:, None] if column else array
        made = triton.InferInput(name, list(array.shape), "BYTES")
        return made.set_data_from_numpy(array, binary_data=binary)

    return make
