"""What pages in a browser may do: our own only what they need, those of others nothing, unless they are named."""

import re
from collections.abc import Mapping

from fastapi import FastAPI, Request
from starlette.middleware.cors import CORSMiddleware

from service.errors import Forbidden

# Everything a page needs is its own: a script or a style from anywhere else is somebody's attack.
PAGE_HEADERS: Mapping[str, str] = {
    # Visitors' files are blobs, and the icons in Swagger UI's style sheet are data.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # Asked again each time (and answered 304), so that an upgrade never meets the old script.
    "Cache-Control": "no-cache",
}

# Headers of the service's own: those that a page may send, and those of an answer that its script may read.
_SENT = ("Authorization", "X-API-Key", "X-Request-Id", "traceparent", "tracestate", "timeout-ms")
_SENT_IN_THE_PROTOCOL = ("Inference-Header-Content-Length", "Content-Encoding")
_SHOWN = ("X-Request-Id", "Server-Timing", "Retry-After", "Inference-Header-Content-Length")

_NEEDS_NO_NAME_SERVER = re.compile(r"(localhost|[\d.]+|\[[\da-f:.]+\])(:\d+)?", re.ASCII)


def allow_origins(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Let pages of these origins ask, and read the answers."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=(*_SENT, *_SENT_IN_THE_PROTOCOL),
        expose_headers=_SHOWN,
    )


def refuse_foreign_page(request: Request, asks_for_keys: bool) -> None:
    """Refuse a request that a page of another origin makes a browser send; CORS keeps such a page from the answer only.

    Raises:
        Forbidden: the request comes from a page, and that is not from here.
    """
    origin = request.headers.get("origin")
    if origin is None:  # not from a browser: they all send it with POST
        return
    host = request.headers.get("host", "")
    is_ours = host != "" and origin.partition("://")[2] == host
    # Where no key is asked for, a page could still come from a name that leads to its own server first and here later
    # (DNS rebinding). There is nothing of the kind for an address, or for localhost.
    if not is_ours or not (asks_for_keys or _NEEDS_NO_NAME_SERVER.fullmatch(host)):
        raise Forbidden("a page in a browser may not do this, unless it comes from this service itself")
