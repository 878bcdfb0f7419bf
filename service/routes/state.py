"""What a route needs of the application."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.errors import NotReady
from service.pipeline import Pipeline
from service.repository import Repository
from service.settings import Settings


@dataclass(frozen=True)
class Serving:
    """What there is once the models are loaded and have passed their golden examples."""

    settings: Settings
    repository: Repository
    pipeline: Pipeline


def serving(request: Request) -> Serving:
    """The loaded service.

    Raises:
        NotReady: the models are not loaded yet, or no more.
    """
    state: Serving | None = getattr(request.app.state, "serving", None)
    if state is None:
        raise NotReady("the models are not loaded")
    return state


ServingState = Annotated[Serving, Depends(serving)]


async def admitting(state: ServingState) -> AsyncIterator[Serving]:
    """The loaded service, for a request that brings inputs: refused before its body is read where there is no room.

    Raises:
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
