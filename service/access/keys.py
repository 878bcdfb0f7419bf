"""The file of API keys: who holds one and what it allows. Of a key itself it holds the hash, so it opens no door."""

import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import LabelsetError

Scope = Literal["infer", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

# Tells scanners for leaked secrets, and people, what it is.
_PREFIX = "labelset_"
_SECRET_BYTES = 32


class InvalidKeys(LabelsetError):
    """A file of keys that cannot be read or written, or an entry that breaks a rule."""

    code = "invalid_keys"


class Key(BaseModel):
    """An entry of the file.

    Attributes:
        name: Whose it is; stands in the log, so it holds nothing that could break a line.
        sha256: That of the key. A key is 256 random bits: nobody can go through candidates, as with a password, and a
            slow hash would add nothing but the time that anybody may cost us with a wrong one.
        scopes: `infer` asks models and about them, `metrics` scrapes, `admin` loads and unloads.
        models: Those that it is limited to.
        requests_per_second: How fast it may ask; the requests of one second may come at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(default=("infer",), min_length=1)
    models: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(default=None, min_length=1)
    requests_per_second: float | None = Field(default=None, ge=0.001, allow_inf_nan=False)


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[Key, ...]

    @model_validator(mode="after")
    def _nothing_stands_twice(self) -> "_KeyFile":
        for what in ("name", "sha256"):
            values = [getattr(key, what) for key in self.keys]
            for index, value in enumerate(values):
                if value in values[:index]:
                    earlier = self.keys[values.index(value)].name
                    raise ValueError(
                        f"keys.{index} ({self.keys[index].name!r}) has the {what} of the entry {earlier!r}"
                    )
        return self


def new_key(name: str, **allowed: Any) -> tuple[Key, str]:
    """A fresh key: the entry for the file, and the key itself, which is in no other place.

    Args:
        name: Whose it is.
        allowed: The other fields of the entry.

    Raises:
        InvalidKeys: a field breaks a rule.
    """
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    try:
        return Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), **allowed), secret
    except ValidationError as error:
        finding = error.errors()[0]
        raise InvalidKeys(f"{_place(finding['loc'])}: {finding['msg']}, got {finding['input']!r}") from None


def read_keys(path: Path) -> tuple[Key, ...]:
    """The entries of a file.

    Raises:
        InvalidKeys: it cannot be read, or an entry breaks a rule; no message holds anything of a hash, in whose place
            somebody may have put a key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidKeys(f"the keys in {path} cannot be read: {error.strerror}") from None
    try:
        return _KeyFile.model_validate_json(content).keys
    except ValidationError as error:
        finding = error.errors(include_url=False, include_input=False)[0]
        message = finding["msg"].removeprefix("Value error, ")
        raise InvalidKeys(": ".join(filter(None, (str(path), _place(finding["loc"], content), message)))) from None


def is_readable_by_all(path: Path) -> bool:
    """Whether every user of the machine can read a file that is there."""
    return os.name == "posix" and bool(path.stat().st_mode & stat.S_IROTH)


def _place(location: tuple[int | str, ...], content: bytes = b"") -> str:
    """`keys.1 ('batch').sha256`: an entry is easier to find by its name."""
    parts = [str(part) for part in location]
    if content and len(location) > 1:
        entry = json.loads(content)["keys"][location[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        parts[1] += f" ({str(name)[:64]!r})" if name else ""
    return ".".join(parts)


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Put entries in the place of those in a file, in one step; nobody else may read it.

    Raises:
        InvalidKeys: it cannot be written.
    """
    content = _KeyFile(keys=tuple(keys)).model_dump_json(indent=2, exclude_none=True)
    try:
        handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(content + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(staging, path)
        except BaseException:
            os.unlink(staging)
            raise
    except OSError as error:
        raise InvalidKeys(f"the keys in {path} cannot be written: {error.strerror}") from None
