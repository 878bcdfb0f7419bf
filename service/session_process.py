"""The process in which inputs are decoded and graphs computed, as the service asks over a socket.

It is a process of its own so that whatever an input or a graph does to it, the service lives on and starts another. It
is also what leaves the service's own Python to the event loop. Started by
`service/session_link.py`, which says on which descriptor it hears of new channels; each has a thread that answers it.
"""

import os
import signal
import socket
import threading
import traceback
from typing import Any

from model.devices import available_devices
from model.errors import LabelsetError
from service import session_messages
from service.session_calls import Call, Drop, Failure, Infer, ListDevices, Load
from service.session_model import SessionModel

# Where the cores do not suffice the service goes first: it takes little, and many wait for it.
_NICENESS = 10


class _Models:
    """The models of this process, by the keys that the service gave them."""

    def __init__(self) -> None:
        self._models: dict[int, SessionModel] = {}

    def answer(self, call: Call) -> Any:
        """What a call gives, or what went wrong with it."""
        try:
            return self._answer(call)
        except LabelsetError as error:
            return Failure(error)
        except BaseException:  # such as the panic of a decoder written in Rust, which is no Exception
            return Failure(None, traceback.format_exc())

    def _answer(self, call: Call) -> Any:
        match call:
            case Infer(key, items, sparsities):
                if key not in self._models:
                    raise RuntimeError("this model could not be loaded again after the process before had died")
                return self._models[key].infer(items, sparsities)
            case Load(key):
                self._models[key] = SessionModel(call)
                return self._models[key].facts
            case Drop(key):
                self._models.pop(key, None)
                return None
            case ListDevices():
                return available_devices()


def main(descriptor: int) -> None:
    """Answer calls until the service closes its end."""
    # Ctrl-C in a terminal and managers of services reach both processes; when this one ends is the service's to say.
    for ours in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ours, signal.SIG_IGN)
    os.nice(_NICENESS)
    models = _Models()
    with socket.socket(fileno=descriptor) as control:
        while True:
            message, channels, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                os._exit(0)  # the service has gone, and what is still computed or hangs is nobody's any more
            threading.Thread(target=_serve, args=(models, *channels), daemon=True).start()


def _serve(models: _Models, descriptor: int) -> None:
    """Answer the calls of one channel, one after another."""
    with socket.socket(fileno=descriptor) as channel:
        try:
            while True:
                session_messages.send(channel, models.answer(session_messages.receive(channel)))
        except (EOFError, OSError):
            return  # the service has closed it, and may have others
