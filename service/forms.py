"""The parts of a multipart body."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import InvalidBody, InvalidRequest, batch_too_large

_INPUT_FIELDS = ("files", "text")
# Beside the inputs; the event loop takes some 20 us for each.
_MAX_OPTIONS = 100


class _MultipartParser(MultiPartParser):
    """Starlette's parser leaves out a part that is cut off, without a word; this one can tell.

    It keeps files in memory, of which bodies may only have so much: what callers send is never written to a disk, which
    may be full.
    """

    spool_max_size = 2**62
    is_whole = False

    def on_end(self) -> None:
        self.is_whole = True


@asynccontextmanager
async def parsed_form(request: Request, max_batch_size: int) -> AsyncIterator[FormData]:
    """The fields and files of a body, as long as they are read.

    Raises:
        InvalidBody: a body that is none, or is cut off.
        BatchTooLarge: more than `max_batch_size` inputs, as far as that can be told while they are read.
        InvalidRequest: more options than a form may have.
    """
    # The body as a whole is limited already, and preprocessing names the limit on a text better than the parser.
    max_fields = max_batch_size + _MAX_OPTIONS
    limits = {"max_files": max_batch_size, "max_fields": max_fields, "max_part_size": 2**62}
    parser = _MultipartParser(request.headers, request.stream(), **limits)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many"):
            inputs = sum(name in _INPUT_FIELDS for name, _ in parser.items)
            if error.message.startswith("Too many files") or inputs > max_batch_size:
                raise batch_too_large(max_batch_size) from None
            raise InvalidRequest(f"a form must have at most {_MAX_OPTIONS} options, got more") from None
        raise InvalidBody(f"the multipart body cannot be read: {error.message}") from None
    try:
        if not parser.is_whole:
            raise InvalidBody("a multipart body must end with its closing boundary, got one that is cut off")
        yield form
    finally:
        await form.close()
