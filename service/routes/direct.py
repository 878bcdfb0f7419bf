"""Routes that bring inputs: FastAPI documents them, and their requests go past it.

Finding a route, solving its dependencies and checking its answer cost more than the rest of the way to a small model
and back, and most of what a refusal costs.
"""

from collections.abc import Iterable, Mapping

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.error_answers import answer_to


class DirectRoute(APIRoute):
    """Its endpoint takes the request and, by name, the parts of its path as they are, and gives a response."""


class DirectRoutes:
    """Those among some routes, found by their paths."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, DirectRoute)]

    def find(self, method: str, path: str) -> tuple[DirectRoute | None, Mapping[str, str]]:
        """The route of a request and the parts of its path; none for a path, or a method, that is not for here."""
        for route in self._routes:
            found = route.path_regex.match(path)
            if found and method in (route.methods or ()):
                return route, found.groupdict()
        return None, {}


class DirectWay:
    """Middleware, the innermost one: a request for a direct route goes to its endpoint, any other on to FastAPI."""

    def __init__(self, app: ASGIApp, routes: DirectRoutes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        route, parts = self._routes.find(scope["method"], scope["path"]) if scope["type"] == "http" else (None, {})
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request, **parts)
        except Exception as error:
            response = await answer_to(request, error)
            # An error that was an answer, and is raised, holds the frame that holds it, and with it the body.
            error.__traceback__ = None
        await response(scope, receive, send)
