"""Finds the compiled r-softmax kernel for onnxruntime. Without one, a model runs on the function that it carries."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model.errors import LabelsetError

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

# A library file, or "off".
ENVIRONMENT_VARIABLE = "LABELSET_NATIVE_LIBRARY"
_BUILT_LIBRARY = Path(__file__).parent / "native" / "liblabelset.so"


class LibraryNotFound(LabelsetError):
    """The environment names a library that is not there."""

    code = "native_library_not_found"


class LibraryUnusable(LabelsetError):
    """The environment names a library that does not load here."""

    code = "native_library_unusable"


@dataclass(frozen=True)
class Implementation:
    """What computes r-softmax in the sessions of this process.

    Attributes:
        kind: The compiled kernel, or the function in the model's own file.
        instructions: What the kernel runs on: `cuda`, `avx512`, `avx2`, `neon` or `portable`; None without the kernel.
        reason: Why the kernel is not used; None where it is.
    """

    kind: Literal["native", "function"]
    instructions: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        return f"native ({self.instructions})" if self.kind == "native" else f"function: {self.reason}"


def library_path() -> Path | None:
    """Find the library: `LABELSET_NATIVE_LIBRARY`, or else the one built in `native/`; None where there is none.

    Raises:
        LibraryNotFound: the variable names a file that does not exist.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named == "off":
        return None
    if named:
        path = Path(named)
        if not path.is_file():
            raise LibraryNotFound(f"{ENVIRONMENT_VARIABLE} must name a library file, or be 'off', got {named}")
        return path
    return _BUILT_LIBRARY if _BUILT_LIBRARY.is_file() else None


def implementation(device: Literal["cpu", "cuda"] = "cpu") -> Implementation:
    """What `register` gives to a session here. A library that we built and that does not load is done without.

    Args:
        device: Where the session computes. A library without CUDA kernels serves a session on CUDA from the CPU.

    Raises:
        LibraryNotFound: the environment names a file that does not exist.
        LibraryUnusable: the environment names a file that does not load.
    """
    path = library_path()
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if path is None:
        reason = f"switched off by {ENVIRONMENT_VARIABLE}" if named else "not built, run `make native`"
        return Implementation("function", reason=reason)
    path = path.resolve()  # the loader would look for a bare name among the system's libraries
    try:
        return Implementation("native", instructions=_load(path, device))
    except Exception as error:  # OSError of the loader, AttributeError of ctypes, a dozen types of the runtime's own
        # The reason goes to callers of the service, whom the machine's folders do not concern.
        reason = f"{path.name} does not load: {error}".replace(str(path), path.name)
        if named:
            raise LibraryUnusable(f"{ENVIRONMENT_VARIABLE} must name a library that loads here: {reason}") from error
        return Implementation("function", reason=f"{reason} (run `make native` again)")


def register(session_options: "SessionOptions") -> bool:
    """Let the sessions made from these options use the library; call it once, before the session is made.

    Returns:
        Whether there was a library to register; `implementation` says why not.

    Raises:
        LibraryNotFound: the environment names a file that does not exist.
        LibraryUnusable: the environment names a file that does not load.
    """
    path = library_path()
    if path is None or implementation().kind == "function":
        return False
    session_options.register_custom_ops_library(str(path.resolve()))
    return True


def _load(path: Path, device: str) -> str:
    """Load the library and let this onnxruntime register it, on options that nobody uses; gives its instructions."""
    from onnxruntime import SessionOptions  # not at the top: training asks for the path alone

    library = ctypes.CDLL(str(path))
    library.labelset_cpu_path.restype = ctypes.c_char_p
    instructions: bytes = library.labelset_cpu_path()
    SessionOptions().register_custom_ops_library(str(path))
    return "cuda" if device == "cuda" and hasattr(library, "labelset_cuda_r_softmax") else instructions.decode()
