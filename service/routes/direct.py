"""A route without dependencies: FastAPI documents it, and calls it straight away."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """Its endpoint takes the request and, by name, the parts of its path as they are, and gives a response.

    Solving dependencies and checking answers is a large part of what a request costs beside the model, so routes that
    bring inputs do both themselves.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What is called at each request."""

        async def handle(request: Request) -> Response:
            answer: Response = await self.endpoint(request, **request.path_params)
            return answer

        return handle
