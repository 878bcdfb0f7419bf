"""The root of every error this project raises on purpose: a stable code, a message for people, details for programs."""

import functools
from typing import Any, ClassVar


class LabelsetError(Exception):
    """An error with a code that callers may rely on.

    It knows no HTTP: `service/errors.py` maps codes to statuses, the command line maps them to exit codes.

    Attributes:
        code: Stable, snake_case, one for each way of going wrong.
        message: One sentence that names the thing, the rule and the value.
        detail: The same facts for a program; JSON-serialisable.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        # Of itself pickle would make it again of the message alone.
        return functools.partial(type(self), self.message, **self.detail), ()
