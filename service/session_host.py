"""Keeps the session process: starts it, asks it, and starts another when it has died.

A model outlives the process: what is loaded is loaded again into the next one, from a file that is held open, whatever
has become of its folder.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from model.bundle import GRAPH, TOKENIZER, Bundle
from model.errors import LabelsetError
from model.preprocess import Item
from model.session import Sparsity
from service.session_calls import Call, Drop, Infer, Inferred, ListDevices, Load, Loaded, LoadSettings
from service.session_link import SessionLink, SessionProcessDied
from service.session_messages import LARGE_BYTES

# A process that dies while it loads what another had loaded is tried again; no caller is to blame for it.
_STARTS = 3

logger = logging.getLogger("labelset.service")


class SessionHost:
    """One process with all models; all but `ask_soon` blocks, and may be called from any thread."""

    def __init__(self, call_seconds: float) -> None:
        """`call_seconds`: a process that has not answered a call for so long is killed."""
        self._call_seconds = call_seconds
        self._keys = itertools.count()
        # Guards the three that follow.
        self._changing = threading.Lock()
        self._loaded: dict[int, Load] = {}
        self._link: SessionLink | None = None
        self._closed = False
        self._reviving = asyncio.Lock()
        # Models that nobody holds any more, with their files; None at the end.
        self._left: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._sweeper = threading.Thread(target=self._sweep, name="session-sweeper", daemon=True)
        self._sweeper.start()

    def load(self, bundle: Bundle, settings: LoadSettings) -> "HostedModel":
        """Load a verified bundle, which is replayed and warm when it is here.

        Raises:
            LabelsetError: the graph cannot be loaded, or the model does not answer as it did on the day of export.
            SessionProcessDied: the process died of it.
        """
        descriptor = os.open(bundle.file(GRAPH), os.O_RDONLY)
        try:
            graph = f"/proc/{os.getpid()}/fd/{descriptor}"
            if not Path(graph).exists():  # not Linux: then the folder has to stay where it is
                graph = str(bundle.file(GRAPH))
            load = Load(next(self._keys), bundle, settings, graph, bundle.read_text(TOKENIZER))
            model = HostedModel(self, load.key, self._load(load))
        except BaseException:
            os.close(descriptor)
            raise
        # Called wherever the garbage is collected, in the midst of anything: it takes no lock and does not wait.
        weakref.finalize(model, self._left.put, (load.key, descriptor)).atexit = False
        return model

    def devices(self) -> list[str]:
        """Devices that can be computed on, the preferred one first."""
        return list(self.ask(ListDevices()))

    def ask(self, call: Call) -> Any:
        """Have a call answered.

        Raises:
            LabelsetError: what the call raised there.
            SessionFailed: it failed in another way.
            SessionProcessDied: the process died before it answered; the next call is answered by another one.
        """
        return self._live_link().ask(call)

    async def ask_soon(self, call: Call) -> Any:
        """As `ask`, from the event loop."""
        link = self._link
        if link is None or not link.alive:
            async with self._reviving:  # one thread is enough to wait for a restart
                link = await asyncio.to_thread(self._live_link)
        return await link.ask_soon(call)

    def close(self) -> None:
        """End the process."""
        self._left.put(None)
        self._sweeper.join()
        with self._changing:
            self._closed = True
            if self._link:
                self._link.end()

    def _load(self, load: Load) -> Any:
        while True:
            link = self._live_link()
            facts = link.ask(load)
            with self._changing:
                if self._link is link:  # else it has died meanwhile, and the next one knows nothing of this model
                    self._loaded[load.key] = replace(load, is_known=True)
                    return facts

    def _live_link(self) -> SessionLink:
        with self._changing:
            return self._alive()

    def _alive(self) -> SessionLink:
        if self._closed:
            raise SessionProcessDied("the service is shutting down")
        for _ in range(_STARTS):
            if self._link and self._link.alive:
                return self._link
            self._link = self._started()
        if self._link and self._link.alive:
            return self._link
        raise SessionProcessDied(f"the session process could not load the models in {_STARTS} attempts")

    def _started(self) -> SessionLink | None:
        """A new process with what the one before had, less what cannot be loaded again; None where it dies of that."""
        if self._link is not None:
            logger.error("the session process %d died, starting another", self._link.pid)
            self._link.end()
        link = SessionLink(self._call_seconds)
        for load in self._loaded.values():
            try:
                link.ask(load)
            except SessionProcessDied:
                logger.error("the session process %d died while it loaded %s", link.pid, load.bundle.path)
                link.end()
                return None
            except LabelsetError as error:  # the others must not suffer for it
                logger.error("the session process %d could not load %s again: %s", link.pid, load.bundle.path, error)
        return link

    def _sweep(self) -> None:
        while left := self._left.get():
            key, descriptor = left
            with self._changing:
                self._loaded.pop(key, None)
                os.close(descriptor)
                if self._link and self._link.alive:
                    with contextlib.suppress(LabelsetError):
                        self._link.ask(Drop(key))


class HostedModel:
    """A model that is computed in the process of a host."""

    def __init__(self, host: SessionHost, key: int, facts: Loaded) -> None:
        self.facts = facts
        self._host = host
        self._key = key

    async def infer(self, items: Sequence[Item], sparsities: Sequence[Sparsity]) -> Inferred:
        """Answer inputs as they came from their callers, from the event loop.

        Raises:
            SessionFailed: the runtime failed.
            SessionProcessDied: the process died of it, or of what somebody else asked at the same time.
        """
        return Inferred(*await self._host.ask_soon(Infer(self._key, [_sent(item) for item in items], sparsities)))


def _sent(item: Item) -> Any:
    """An input as it is sent: a large file beside the rest of the message, without another copy."""
    return pickle.PickleBuffer(item) if isinstance(item, bytes) and len(item) >= LARGE_BYTES else item
