"""A service with a second port, and clients of it: NVIDIA's own, and bare messages.

Nothing here imports `service.rpc`: its messages have the names of the client's, and one process cannot hold both.
"""

import re
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2_grpc

LIMITS = {
    "max_image_bytes": 300_000,
    "max_audio_bytes": 300_000,
    "max_text_chars": 2_000,
    "max_batch_size": 8,
    "max_body_bytes": 1_000_000,
}


def address_of(service) -> str:
    """Where a service listens for gRPC, as its log says."""
    return re.search(r'gRPC listens on ([^\s"]+)', service.log.read_text())[1]


@pytest.fixture(scope="session")
def serve_rpc(serve, bundles):
    """Start a service with settings; gives it, and where it listens for gRPC."""

    def start(**settings):
        service = serve(**{"models": bundles, "grpc_port": 0, **settings})
        return service, address_of(service)

    return start


@pytest.fixture(scope="session")
def rpc_service(serve_rpc):
    return serve_rpc(**LIMITS)


@pytest.fixture(scope="session")
def rpc_client(rpc_service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(rpc_service[1]) as client:
        yield client


@pytest.fixture(scope="session")
def channel(rpc_service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(rpc_service[1]) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel) -> service_pb2_grpc.GRPCInferenceServiceStub:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="session")
def http(rpc_service) -> Iterator[httpx.Client]:
    """The same service over HTTP."""
    with httpx.Client(base_url=rpc_service[0].url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def bytes_input():
    """An input of Triton's client: `bytes_input("text", [b"a", b"b"])`."""

    def make(name: str, elements: list[bytes], column: bool = True) -> triton.InferInput:
        array = np.array(elements, object)
        array = array[:, None] if column else array
        return triton.InferInput(name, list(array.shape), "BYTES").set_data_from_numpy(array)

    return make
