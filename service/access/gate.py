"""Who asks, and whether he may: the one place where a key that was sent is compared with those of the file."""

import asyncio
import hashlib
import hmac
import logging
import math
from collections.abc import Mapping
from pathlib import Path

from service.access.caller import ANYONE, Caller
from service.access.keys import InvalidKeys, Key, Scope, is_readable_by_all, read_keys
from service.access.rate import RateLimit
from service.errors import Forbidden, RateLimited, Unauthorized
from service.record import current_record

logger = logging.getLogger("labelset.service")


def sent_key(headers: Mapping[str, str]) -> str | None:
    """The key that was sent, by lower-case headers. Never in a query, which stands in the logs of proxies."""
    # A proxy may have an `Authorization` of its own, so the header that can only be meant for us goes first.
    own = headers.get("x-api-key")
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return own or (credentials.strip() if scheme.lower() == "bearer" else None)


class _Holder:
    """A key that is in force, and how fast it was used."""

    def __init__(self, key: Key) -> None:
        self.digest = bytes.fromhex(key.sha256)
        self.scopes = key.scopes
        self.caller = Caller(key.name, frozenset(key.models) if key.models else None)
        self.rate = RateLimit(key.requests_per_second) if key.requests_per_second else None


class Gate:
    """Lets callers in by the keys of a file; without a file, everybody.

    It belongs to the event loop: nothing else may call `admit`.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file.

        Raises:
            InvalidKeys: it cannot be read, or an entry breaks a rule.
        """
        self._path = path
        self._keys: tuple[Key, ...] = ()
        self._holders: list[_Holder] = []
        self._trouble = ""
        if path:
            self._take(read_keys(path))
            if is_readable_by_all(path):
                logger.warning("every user of this machine can read %s: let it have the mode 600", path)

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a key."""
        return self._path is None

    def admit(self, secret: str | None, scope: Scope) -> Caller:
        """The caller who sent a key, for one request.

        Args:
            secret: What was sent.
            scope: What it is sent for.

        Raises:
            Unauthorized: no key, or none that is known.
            Forbidden: the key is for other things.
            RateLimited: the key was used too fast.
        """
        holder = self._allowed(secret, scope)
        if holder is None:
            return ANYONE
        wait = holder.rate.take() if holder.rate else 0
        if wait:
            seconds = math.ceil(wait)
            raise RateLimited(f"this key was used too fast: try again in {seconds} s", retry_after_seconds=seconds)
        return holder.caller

    def check(self, secret: str | None, scope: Scope) -> None:
        """Refuse a key as `admit` does, before there is a request: this is no use of the key.

        Raises:
            Unauthorized: no key, or none that is known.
            Forbidden: the key is for other things.
        """
        self._allowed(secret, scope)

    def _allowed(self, secret: str | None, scope: Scope) -> _Holder | None:
        """Whose key was sent; None where nobody needs one."""
        if self._path is None:
            return None
        if not secret:
            raise Unauthorized("this needs an API key: send Authorization: Bearer KEY, or X-API-Key: KEY")
        holder = self._holder_of(secret)
        if holder is None:
            raise Unauthorized("this API key is not known here")
        current_record().key = holder.caller.name
        if scope not in holder.scopes:
            raise Forbidden(f"this needs a key with the scope {scope}, got one with {list(holder.scopes)}", scope=scope)
        return holder

    def _holder_of(self, secret: str) -> _Holder | None:
        digest = hashlib.sha256(secret.encode()).digest()
        found = None
        # All of them are compared, each in constant time: how long it takes tells nothing of any of them.
        for holder in self._holders:
            if hmac.compare_digest(holder.digest, digest):
                found = holder
        return found

    async def reread(self) -> None:
        """Take over what the file says now; where it is broken, what it said before stays in force."""
        if self._path is None:
            return
        trouble = ""
        try:
            keys = await asyncio.to_thread(read_keys, self._path)
            if keys != self._keys:  # else what is known of their use would be forgotten
                self._take(keys)
        except InvalidKeys as error:
            trouble = error.message
            if trouble != self._trouble:
                logger.error("the API keys stay as they were: %s", trouble)
        self._trouble = trouble

    def _take(self, keys: tuple[Key, ...]) -> None:
        self._keys, self._holders = keys, [_Holder(key) for key in keys]
        logger.info("API keys in force: %d", len(keys))
