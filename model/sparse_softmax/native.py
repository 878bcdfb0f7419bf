"""Finds the compiled r-softmax kernel for onnxruntime. Without one, a model runs on the function that it carries."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import LabelsetError

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

ENVIRONMENT_VARIABLE = "LABELSET_NATIVE_LIBRARY"
_BUILT_LIBRARY = Path(__file__).parent / "native" / "liblabelset.so"


class LibraryNotFound(LabelsetError):
    """The environment names a library that is not there."""

    code = "native_library_not_found"


def library_path() -> Path | None:
    """Find the library: `LABELSET_NATIVE_LIBRARY`, or else the one built in `native/`; None where there is none.

    Raises:
        LibraryNotFound: the variable names a file that does not exist.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            raise LibraryNotFound(f"{ENVIRONMENT_VARIABLE} must name a library file, got {named}")
        return path
    return _BUILT_LIBRARY if _BUILT_LIBRARY.is_file() else None


def register(session_options: "SessionOptions") -> bool:
    """Let the sessions made from these options use the library; call it once, before the session is made.

    Returns:
        Whether there was a library to register.

    Raises:
        LibraryNotFound: the environment names a file that does not exist.
    """
    path = library_path()
    if path is None:
        return False
    session_options.register_custom_ops_library(str(path))
    return True
