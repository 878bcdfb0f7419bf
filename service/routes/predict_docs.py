"""What `/docs` says of `/predict`, which reads query and body itself: options, forms of the body, examples, answers."""

from typing import Any

from service.schemas import ErrorAnswer, PredictJson, PredictOptions
from service.wishes import OwnWishes

# A picture of 8 by 8 pixels, small enough to read and real enough to be answered.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAGklEQVR42mP88OEDAwwYbJgDZzMx4ACDUwIAR8EEXHesinkAAAAASUVORK5CYII="
)
# A hundredth of a second of silence.
_WAV = f"UklGRsQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YaAA{'A' * 216}"
_SENTENCE = "Adversaries may send spearphishing emails with a malicious attachment."
_DIGEST = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"

_JSON_EXAMPLES = {
    "one text": {"text": _SENTENCE},
    "several texts, three labels each": {"texts": [_SENTENCE, "The malware deletes event logs."], "label_count": 3},
    "several texts, each with wishes of its own": {
        "texts": [_SENTENCE, "The malware deletes event logs."],
        "wishes": [{"label_count": 3}, {"min_probability": 0.5}],
    },
    "the words of a text": {"words": ["The", "dog", "barks", "."], "model": "brown"},
    "one image": {"image": _PNG},
    "one recording": {"audio": _WAV},
    "several images, by model and version": {"images": [_PNG, _PNG], "model": "image-demo", "version": "1"},
}

_FILE = {"schema": {"type": "string", "format": "binary"}}


def _json_schema() -> dict[str, Any]:
    """Of a JSON body, in one piece: a reference would be looked for at the root of the whole document."""
    schema = PredictJson.model_json_schema()
    own_wishes = schema.pop("$defs")[OwnWishes.__name__]
    schema["properties"]["wishes"]["anyOf"][0]["items"] = own_wishes
    return schema


_OPTIONS = PredictOptions.model_json_schema()["properties"]

PREDICT_REQUEST: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "description": schema["description"], "schema": schema}
        for name, schema in _OPTIONS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _json_schema(),
                "examples": {name: {"value": value} for name, value in _JSON_EXAMPLES.items()},
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "Pictures or recordings in `files`, or texts in `text`, one or many, of one kind; "
                    "and any of the options, by their names.",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "text": {"type": "array", "items": {"type": "string"}},
                        **_OPTIONS,
                        "wishes": {"type": "string", "contentMediaType": "application/json"},
                    },
                },
            },
            "text/plain": {"schema": {"type": "string"}, "example": _SENTENCE},
            "image/*": _FILE,
            "audio/*": _FILE,
            "application/octet-stream": _FILE,
        },
    },
}

_ANSWERS = {
    "one text": {
        "model": {"name": "text-demo", "version": "1", "digest": _DIGEST},
        "predictions": [
            {
                "index": 0,
                "labels": [
                    {"label": "initial-access", "probability": 0.83},
                    {"label": "execution", "probability": 0.17},
                ],
                "label_count": 2,
                "sparsity_rate": 0.857,
            }
        ],
    },
    "the words of a text": {
        "model": {"name": "brown", "version": "1", "digest": _DIGEST},
        "predictions": [
            {
                "index": 0,
                "words": [
                    {"text": "Dogs", "start": 0, "end": 4, "labels": [{"label": "NNS", "probability": 1.0}]},
                    {"text": "bark", "start": 5, "end": 9, "labels": [{"label": "VB", "probability": 1.0}]},
                ],
                "truncated": False,
            }
        ],
    },
    "a batch with a bad input": {
        "model": {"name": "image-demo", "version": "1", "digest": _DIGEST},
        "predictions": [
            {
                "index": 0,
                "labels": [{"label": "bird", "probability": 1.0}],
                "label_count": 1,
                "sparsity_rate": 0.983,
            },
            {
                "index": 1,
                "error": {
                    "code": "not_an_image",
                    "message": "a picture must be one of JPEG, PNG, WEBP, GIF, BMP, TIFF, got bytes that begin as none "
                    "of them",
                    "detail": {},
                },
            },
        ],
    },
}

_ERRORS = {
    400: "`invalid_http`, `invalid_json`, `invalid_body`, `model_ambiguous`",
    404: "`model_not_found`, `version_not_found`",
    408: "`body_too_slow`",
    413: "`image_too_large`, `recording_too_large`, `text_too_long`, `batch_too_large`, `body_too_large`",
    415: "`unsupported_media_type`",
    422: "`not_an_image`, `image_corrupt`, `not_a_recording`, `recording_corrupt`, `invalid_base64`, `invalid_text`, "
    "`empty_input`, `wrong_input_kind`, `invalid_sparsity`, `unknown_label`, `invalid_request`",
    500: "`invalid_model_output`, `internal_error`",
    503: "`not_ready`; `queue_full` and `bodies_full`, with `Retry-After`",
    504: "`deadline_exceeded`, where the header `timeout-ms` gave the answer less time",
}

PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One prediction for each input, in the order of the request.",
        "content": {
            "application/json": {"examples": {name: {"value": value} for name, value in _ANSWERS.items()}},
        },
    },
    **{status: {"model": ErrorAnswer, "description": codes} for status, codes in _ERRORS.items()},
}
