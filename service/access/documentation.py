"""OpenAPI where keys are in force: how they are sent, where they are asked for, what is answered without."""

from typing import Any

from fastapi import FastAPI

# What whoever routes requests asks, and what says nothing of the models.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/version", "/v2/health/live", "/v2/health/ready"})

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_REFUSALS = {
    "401": "`unauthorized`: no key, or none that is known here",
    "403": "`forbidden`: the key is for other things, or other models",
    "429": "`rate_limited`: the key was used too fast; `Retry-After` says when to come again",
}


def document_keys(app: FastAPI) -> None:
    """Let `/openapi.json`, and so `/docs`, say where a key is asked for."""
    plain = app.openapi

    def with_keys() -> dict[str, Any]:
        document = plain()  # made once, and kept by the application
        document["components"]["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            if path not in OPEN_PATHS:
                for operation in operations.values():
                    _ask_for_a_key(operation, "ProtocolError" if path.startswith("/v2") else "ErrorAnswer")
        return document

    app.openapi = with_keys  # type: ignore[method-assign]


def _ask_for_a_key(operation: dict[str, Any], error: str) -> None:
    operation["security"] = [{name: []} for name in _SCHEMES]
    schema = {"$ref": f"#/components/schemas/{error}"}
    for status, description in _REFUSALS.items():
        answer = {"description": description, "content": {"application/json": {"schema": schema}}}
        operation["responses"].setdefault(status, answer)
