"""What a caller is told when something goes wrong: the errors, and one table from their codes to statuses."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.errors import LabelsetError
from model.preprocess import ImageTooLarge, RecordingTooLarge

# Every code that a caller may meet. A code that is not here is our own fault: 500, and no word about it in the answer.
STATUS: Mapping[str, int] = {
    "invalid_json": 400,
    "invalid_body": 400,
    "invalid_http": 400,
    "invalid_infer_request": 400,
    "model_ambiguous": 400,
    "unauthorized": 401,
    "admin_off": 403,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "version_not_found": 404,
    "method_not_allowed": 405,
    "body_too_slow": 408,
    "batch_too_large": 413,
    "body_too_large": 413,
    "image_too_large": 413,
    "recording_too_large": 413,
    "text_too_long": 413,
    "unsupported_media_type": 415,
    "empty_input": 422,
    "image_corrupt": 422,
    "invalid_base64": 422,
    "invalid_request": 422,
    "invalid_sparsity": 422,
    "invalid_text": 422,
    "model_refused": 422,
    "not_a_recording": 422,
    "not_an_image": 422,
    "recording_corrupt": 422,
    "unknown_label": 422,
    "wrong_input_kind": 422,
    "rate_limited": 429,
    "internal_error": 500,
    "invalid_model_output": 500,
    "bodies_full": 503,
    "not_ready": 503,
    "queue_full": 503,
    "deadline_exceeded": 504,
}


class InvalidJson(LabelsetError):
    """A body that says it is JSON and is not."""

    code = "invalid_json"


class InvalidBody(LabelsetError):
    """A body that is not what its content type says."""

    code = "invalid_body"


class InvalidRequest(LabelsetError):
    """A field or parameter that is missing, unknown or of the wrong type."""

    code = "invalid_request"


class InvalidInferRequest(LabelsetError):
    """An inference request, JSON and tensors, that breaks a rule of the Open Inference Protocol or of the model."""

    code = "invalid_infer_request"


class InvalidBase64(LabelsetError):
    """An image or a recording in JSON that is not base64."""

    code = "invalid_base64"


class EmptyInput(LabelsetError):
    """A request, or one of its inputs, that holds nothing."""

    code = "empty_input"


class BatchTooLarge(LabelsetError):
    """More inputs than one request may hold."""

    code = "batch_too_large"


class BodyTooLarge(LabelsetError):
    """A body with more bytes than the service reads."""

    code = "body_too_large"


class ImageUnread(ImageTooLarge):
    """A picture of too many bytes, as the head of its request says: it is not read."""


class RecordingUnread(RecordingTooLarge):
    """As `ImageUnread`, of a recording."""


class BodyTooSlow(LabelsetError):
    """A body that does not arrive in time."""

    code = "body_too_slow"


class UnsupportedMediaType(LabelsetError):
    """A body of a type that is not read here, or compressed in a way that is not."""

    code = "unsupported_media_type"


class UnknownLabel(LabelsetError):
    """A wish about a label that the model does not have."""

    code = "unknown_label"


class NotReady(LabelsetError):
    """The models are not loaded yet."""

    code = "not_ready"


class AdminOff(LabelsetError):
    """A route that changes the service, which was started without such routes."""

    code = "admin_off"


class Unauthorized(LabelsetError):
    """No API key where one is needed, or none that is known."""

    code = "unauthorized"


class Forbidden(LabelsetError):
    """What a key does not allow, or a page in a browser may not do."""

    code = "forbidden"


class RateLimited(LabelsetError):
    """A key that was used too fast; the detail says for how long to wait."""

    code = "rate_limited"


class QueueFull(LabelsetError):
    """More inputs than the service can answer in good time."""

    code = "queue_full"
    seconds_to_wait = 1


class BodiesFull(LabelsetError):
    """More bytes, in the bodies of all requests, than the service holds at once."""

    code = "bodies_full"
    seconds_to_wait = 1


class DeadlineExceeded(LabelsetError):
    """The caller's own time is up."""

    code = "deadline_exceeded"


def error_body(error: LabelsetError) -> dict[str, Any]:
    """What stands under `error` in an answer."""
    return {"code": error.code, "message": error.message, "detail": error.detail}


def batch_too_large(limit: int) -> BatchTooLarge:
    """The error of a request with more inputs than `limit`."""
    return BatchTooLarge(f"a request must hold at most {limit} inputs, got more", limit=limit)


def invalid_request(errors: Sequence[Any]) -> InvalidRequest:
    """Name the first of pydantic's findings in the message, the first ten in the detail, and the input in neither."""
    findings = [
        {
            "field": ".".join(str(part)[:80] for part in error["loc"] if part not in {"query", "path", "body"}),
            "message": str(error["msg"]).removeprefix("Value error, "),
        }
        for error in errors[:10]
    ]
    first = findings[0]
    return InvalidRequest(": ".join(part for part in (first["field"], first["message"]) if part), errors=findings)
