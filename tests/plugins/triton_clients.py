"""Triton's own HTTP client, as tests use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tritonclient.http


@contextmanager
def http_client(url: str, **options: Any) -> Iterator[tritonclient.http.InferenceServerClient]:
    """A client that is closed once, here: it does so again when it is collected.

    That may be in any thread, where gevent, by which it waits, has no place for it, and the test that then runs fails.
    """
    client = tritonclient.http.InferenceServerClient(url.removeprefix("http://"), **options)
    try:
        yield client
    finally:
        client.close()
        client.close = lambda: None
