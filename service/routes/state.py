"""What a route needs of the application."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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


# All of these are coroutines: FastAPI would run a plain function in a thread.


def having(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Require a key with a scope, where keys are in force.

    The caller is known before the body is read, and before anything is told of what is loaded.
    """

    async def admitted(request: Request) -> Caller:
        gate: Gate = request.app.state.gate
        return gate.admit(sent_key(request.headers), scope)

    return admitted


async def serving(request: Request) -> Serving:
    """The loaded service, whoever asks: what is said of it must be for everybody.

    Raises:
        NotReady: the models are not loaded yet, or no more.
    """
    state: Serving | None = getattr(request.app.state, "serving", None)
    if state is None:
        raise NotReady("the models are not loaded")
    return state


ServingState = Annotated[Serving, Depends(serving)]


async def inferring(caller: Annotated[Caller, Depends(having("infer"))], state: ServingState) -> Serving:
    """The loaded service, for who may ask its models and about them.

    Raises:
        Unauthorized, Forbidden, RateLimited: no key, or none for this.
        NotReady: the models are not loaded yet, or no more.
    """
    return replace(state, caller=caller)


InferringState = Annotated[Serving, Depends(inferring)]


async def admitting(state: InferringState) -> AsyncIterator[Serving]:
    """The loaded service, for a request that brings inputs: refused before its body is read where there is no room.

    Raises:
        Unauthorized, Forbidden, RateLimited: no key, or none for this.
        NotReady: the models are not loaded yet, or no more; the server ended the request, because it has to stop.
        QueueFull: there is no place for another input.
    """
    state.pipeline.admission.require_a_place()
    try:
        yield state
    except asyncio.CancelledError:
        # Nobody else cancels a request. Passed on, it would be a trace in the log and a bare 500 for the caller.
        raise NotReady("the service is shutting down") from None


AdmittingState = Annotated[Serving, Depends(admitting)]
