"""What a route needs of the application."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from service.access.caller import ANYONE, Caller
from service.access.gate import Gate, sent_key
from service.access.keys import Scope
from service.catalogue import Catalogue
from service.errors import NotReady
from service.pipeline import Pipeline
from service.repository import Repository
from service.settings import Settings


@dataclass(frozen=True)
class Serving:
    """What there is once the models are loaded and have passed their golden examples, for one caller."""

    settings: Settings
    repository: Repository
    pipeline: Pipeline
    caller: Caller = ANYONE

    @property
    def catalogue(self) -> Catalogue:
        """What is served at this moment, and the caller may use; a request takes it once."""
        return self.repository.catalogue.seen_by(self.caller)


def caller(request: Request, scope: Scope) -> Caller:
    """Who asks.

    The caller is known before the body is read, and before anything is told of what is loaded.

    Raises:
        Unauthorized, Forbidden, RateLimited: no key with this scope, where keys are in force.
    """
    gate: Gate = request.app.state.gate
    return ANYONE if gate.is_open else gate.admit(sent_key(request.headers), scope)


@contextmanager
def admitted(request: Request) -> Iterator[Serving]:
    """The loaded service, for a request that brings inputs: refused before its body is read where there is no room.

    Not a dependency: see `direct.py`.

    Raises:
        Unauthorized, Forbidden, RateLimited: no key, or none for this.
        NotReady: the models are not loaded yet, or no more; the server ended the request, because it has to stop.
        QueueFull: there is no place for another input.
    """
    asks = caller(request, "infer")
    state = loaded(request)
    state.pipeline.admission.require_a_place()
    try:
        yield state if asks is ANYONE else replace(state, caller=asks)
    except asyncio.CancelledError:
        # Nobody else cancels a request. Passed on, it would be a trace in the log and a bare 500 for the caller.
        raise NotReady("the service is shutting down") from None


def loaded(request: Request) -> Serving:
    """The loaded service, whoever asks.

    Raises:
        NotReady: the models are not loaded yet, or no more.
    """
    state: Serving | None = getattr(request.app.state, "serving", None)
    if state is None:
        raise NotReady("the models are not loaded")
    return state


# Dependencies. All of them are coroutines: FastAPI would run a plain function in a thread.


def having(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Require a key with a scope, where keys are in force."""

    async def admitted_caller(request: Request) -> Caller:
        return caller(request, scope)

    return admitted_caller


async def serving(request: Request) -> Serving:
    """The loaded service, whoever asks: what is said of it must be for everybody."""
    return loaded(request)


ServingState = Annotated[Serving, Depends(serving)]


async def inferring(asks: Annotated[Caller, Depends(having("infer"))], state: ServingState) -> Serving:
    """The loaded service, for who may ask its models and about them.

    Raises:
        Unauthorized, Forbidden, RateLimited: no key, or none for this.
        NotReady: the models are not loaded yet, or no more.
    """
    return replace(state, caller=asks)


InferringState = Annotated[Serving, Depends(inferring)]
