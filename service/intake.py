"""From an HTTP body to the inputs in it: multipart, a raw image or recording, plain text or JSON.

Knows neither models nor pixels. An input that cannot even be read takes part as its own error, so that in a batch it
fails alone.
"""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile

from model import preprocess
from model.errors import LabelsetError
from model.preprocess.audio_formats import AUDIO_ENDINGS, audio_format
from service.body import declared_bytes, whole_body
from service.catalogue import InputKind, Kind
from service.errors import (
    BodyTooLarge,
    EmptyInput,
    ImageUnread,
    InvalidBase64,
    InvalidJson,
    InvalidRequest,
    RecordingUnread,
    UnsupportedMediaType,
    batch_too_large,
    invalid_request,
)
from service.forms import parsed_form
from service.schemas import LISTED_OPTIONS, FormOptions, PredictJson, PredictOptions
from service.settings import Settings
from service.wishes import OwnWishes, Wishes

Item = preprocess.Item | LabelsetError
OptionsT = TypeVar("OptionsT", bound=PredictOptions)

_MAX_BYTES_OUTSIDE_STRINGS = 64 * 1024

_WHAT_TO_SEND = (
    "send multipart/form-data (curl -F files=@photo.jpg), an image (content-type: image/jpeg), a recording "
    "(content-type: audio/wav), text/plain, or application/json (-H 'content-type: application/json' "
    '-d \'{"text": "..."}\')'
)


@dataclass(frozen=True)
class Inputs:
    """The inputs of one request, all of one kind, at least one, and what is wished for them."""

    kind: InputKind
    items: Sequence[Item]
    options: PredictOptions
    own_wishes: Sequence[OwnWishes] | None = None

    @property
    def wishes(self) -> Wishes:
        """What is wished for each input.

        Raises:
            InvalidRequest: another number of wishes for single inputs than of inputs.
        """
        return self.options.of_inputs(len(self.items), self.own_wishes)


async def read_inputs(request: Request, options: PredictOptions, settings: Settings) -> Inputs:
    """Read the body of a request.

    Args:
        request: Its body is not read yet.
        options: Those of the query; what a JSON body or a form says goes before them.
        settings: Say how many inputs one request may hold, and how large a file may be.

    Raises:
        ImageUnread, RecordingUnread: a file that is the body, and too large.
        UnsupportedMediaType: a content type that is none of the forms, another charset than UTF-8, or compressed.
        BodyTooLarge: more bytes, or more JSON values, than are read.
        InvalidJson: a JSON body that is none.
        InvalidBody: a multipart body that is none.
        InvalidRequest: a field that is missing, unknown or of the wrong type.
        EmptyInput: no input at all.
        BatchTooLarge: more inputs than one request may hold.
    """
    _check_encoding(request.headers.get("content-encoding", ""))
    header = request.headers.get("content-type", "")
    media_type = header.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        _check_charset(media_type, header)
        inputs = await _from_multipart(request, options, settings.max_batch_size)
    elif media_type == "application/json":
        # Tens of megabytes of base64 would stop the event loop for a second.
        inputs = await asyncio.to_thread(_from_json, await whole_body(request), options)
    elif media_type == "text/plain":
        _check_charset(media_type, header)
        inputs = Inputs("text", [decoded_text(await whole_body(request))], options)
    elif media_type.startswith(("image/", "audio/")) or media_type == "application/octet-stream":
        check_declared(request, media_type.partition("/")[0], settings)
        content = await whole_body(request)
        inputs = Inputs(_kind_of_files([_is_recording(content, media_type)]), [content], options)
    else:
        raise _unsupported(media_type)
    if not inputs.items:
        raise EmptyInput("a request must hold at least one input, got none")
    if len(inputs.items) > settings.max_batch_size:
        raise batch_too_large(settings.max_batch_size)
    return inputs


def check_declared(request: Request, kind: str, settings: Settings) -> None:
    """Refuse a body that is one file, where its head says that it is too large, before it is read.

    Args:
        request: Its body is not read yet.
        kind: Of the file; where it is neither `image` nor `audio`, nothing is said of it here.
        settings: Say how large a file may be.

    Raises:
        ImageUnread, RecordingUnread: it is.
    """
    size = declared_bytes(request.scope)
    if size > settings.max_body_bytes:  # which its reader is told, of a body of any kind
        return
    if kind == "image" and size > settings.max_image_bytes:
        raise _too_large(ImageUnread, "a picture", settings.max_image_bytes, size)
    if kind == "audio" and size > settings.max_audio_bytes:
        raise _too_large(RecordingUnread, "a recording", settings.max_audio_bytes, size)


def _too_large(error: type[LabelsetError], what: str, limit: int, size: int) -> LabelsetError:
    """As preprocessing says it of a file that it gets."""
    message = f"{what} must have at most {limit} bytes, got {size}"
    return error(message, quantity="bytes", limit=limit, value=size)


async def _from_multipart(request: Request, options: PredictOptions, max_batch_size: int) -> Inputs:
    files: list[bytes] = []
    are_recordings: list[bool] = []
    texts: list[Item] = []
    said: list[tuple[str, str]] = []
    async with parsed_form(request, max_batch_size) as form:
        for name, part in form.multi_items():
            if name == "files" and isinstance(part, UploadFile):
                files.append(await part.read())
                are_recordings.append(_is_recording(files[-1], part.content_type or "", part.filename or ""))
            elif name == "text":
                texts.append(decoded_text(await part.read()) if isinstance(part, UploadFile) else part)
            elif name == "files":
                raise InvalidRequest("files must be uploaded as files (curl -F files=@photo.jpg), got a plain value")
            elif name in FormOptions.model_fields and isinstance(part, str):
                said.append((name, part))
            else:
                raise InvalidRequest(
                    "a form field must be named files (pictures or recordings), text or, with a plain value, as an "
                    f"option ({', '.join(FormOptions.model_fields)}), got {name[:80]!r}"
                )
    if files and texts:
        raise InvalidRequest("one request must hold files or texts, got both")
    own_wishes = None
    if said:
        # As of a JSON body: megabytes of wishes would stop the event loop.
        fields = await asyncio.to_thread(_options_of_form, said)
        options, own_wishes = _with_wishes(options, fields), fields.wishes
    kind: Kind = "text" if texts else _kind_of_files(are_recordings)
    return Inputs(kind, texts or files, options, own_wishes)


def _options_of_form(fields: Sequence[tuple[str, str]]) -> FormOptions:
    for name, value in fields:
        if name == "wishes":
            check_json_structure(value.encode(errors="replace"), "wishes")
    return options_of_fields(FormOptions, fields)


def _kind_of_files(are_recordings: Sequence[bool]) -> Kind:
    """What at least half of the files are, so that one of another kind, or of none, fails alone."""
    return "audio" if sum(are_recordings) * 2 >= len(are_recordings) else "image"


def _is_recording(content: bytes, media_type: str, name: str = "") -> bool:
    """What a caller says goes first: then a recording that cannot be read is refused as one."""
    if media_type.startswith(("audio/", "image/")):
        return media_type.startswith("audio/")
    return audio_format(content) is not None or PurePath(name).suffix.lower() in AUDIO_ENDINGS


def _from_json(body: bytes, options: PredictOptions) -> Inputs:
    check_json_structure(body)
    try:
        content = PredictJson.model_validate_json(body)
    except ValidationError as error:
        findings = error.errors(include_url=False, include_context=False, include_input=False)
        if findings[0]["type"] == "json_invalid":
            raise InvalidJson(findings[0]["msg"]) from None
        raise invalid_request(findings) from None
    kind, items = _items_of_json(content)
    return Inputs(kind, items, _with_wishes(options, content), content.wishes)


def _with_wishes(options: PredictOptions, body: PredictOptions) -> PredictOptions:
    """The options of the query, those of the body before them."""
    return options.model_copy(update=body.model_dump(include=set(PredictOptions.model_fields), exclude_none=True))


def options_of_fields(form: type[OptionsT], fields: Sequence[tuple[str, str]]) -> OptionsT:
    """Options as a query or a form says them: by name, and as text.

    Raises:
        InvalidRequest: one that is not known, or of the wrong type.
    """
    values: dict[str, Any] = {}
    for name, value in fields:
        if name in LISTED_OPTIONS:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return form.model_validate(values)
    except ValidationError as error:
        findings = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid_request(findings) from None


def _items_of_json(content: PredictJson) -> tuple[InputKind, list[Item]]:
    texts = content.texts if content.text is None else [content.text]
    if texts is not None:
        return "text", [*texts]
    if content.words is not None:
        return "words", _sentences(content.words)
    images = content.images if content.image is None else [content.image]
    if images is not None:
        return "image", [decoded_base64(image, "an image") for image in images]
    audios = content.audios if content.audio is None else [content.audio]
    return "audio", [decoded_base64(audio, "a recording") for audio in audios or []]


def _sentences(words: list[str] | list[list[str]]) -> list[Item]:
    """The words of one text, or of several."""
    sentences = [words] if not words or isinstance(words[0], str) else words
    return [tuple(map(str, sentence)) for sentence in sentences]


def check_json_structure(content: bytes, what: str = "a JSON body") -> None:
    """Refuse JSON of a great many values before a parser makes objects of them: 64 MiB of `1,` become 13 GB."""
    # Without escaped backslashes and then escaped quotes, every quote left begins or ends a string.
    unescaped = content.replace(rb"\\", b"").replace(rb"\"", b"")
    if unescaped.count(b'"') <= _MAX_BYTES_OUTSIDE_STRINGS:
        outside = unescaped.split(b'"')[::2]
        if sum(map(len, outside)) <= _MAX_BYTES_OUTSIDE_STRINGS:
            return
    raise BodyTooLarge(
        f"{what} must have at most {_MAX_BYTES_OUTSIDE_STRINGS} bytes outside of its strings, got more",
        limit=_MAX_BYTES_OUTSIDE_STRINGS,
    )


def decoded_text(content: bytes) -> str | preprocess.InvalidText:
    """A text, or the error that it takes part as."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        return preprocess.InvalidText(f"a text must be UTF-8, it is not at byte {error.start}", position=error.start)


def decoded_base64(content: str, what: str) -> bytes | InvalidBase64:
    """A file in JSON, or the error that it takes part as; `what` is the file, as the error names it."""
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        return InvalidBase64(f"{what} in JSON must be base64: {error}")


def _check_charset(media_type: str, header: str) -> None:
    """Refuse every charset but UTF-8: some of Python's codecs take minutes for a megabyte (punycode)."""
    # As the multipart parser reads it: what is checked must be what is used.
    charset = parse_options_header(header)[1].get(b"charset", b"utf-8").decode("latin-1").lower()[:80]
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType(f"{media_type} must have the charset utf-8, got {charset}", charset=charset)


def _check_encoding(encoding: str) -> None:
    if encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType(
            f"a body at /predict must come as it is, got Content-Encoding {encoding[:80]!r} (what comes compressed is "
            "read at /v2)",
            content_encoding=encoding[:80],
        )


def _unsupported(media_type: str) -> UnsupportedMediaType:
    if media_type == "application/x-www-form-urlencoded":
        problem = "application/x-www-form-urlencoded is not read here (curl -d sends it unless told otherwise)"
    else:
        problem = f"a content type must say what the body is, got {media_type[:80] or 'none'}"
    return UnsupportedMediaType(f"{problem}: {_WHAT_TO_SEND}", content_type=media_type[:80])
