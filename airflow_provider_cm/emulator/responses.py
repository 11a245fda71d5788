"""How responses leave the emulator: JSON that survives any text, and one envelope for all errors."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from airflow_provider_cm.emulator.errors import RefusedRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request


class JsonResponse(JSONResponse):
    """JSON in ASCII, so that an error can quote whatever was sent, lone surrogates included."""

    def render(self, content: Any) -> bytes:
        """Write the content."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def ok(**payload: object) -> JsonResponse:
    """Answer a success: 200 with the payload and ``"status": "ok"``."""
    return JsonResponse({**payload, "status": "ok"})


def envelope(error: RefusedRequestError) -> JsonResponse:
    """Answer an error."""
    return JsonResponse({"message": error.message, "status": "error"}, error.status, error.headers)


def application(routes: Sequence[Route]) -> Starlette:
    """Make an application of routes, in which every error is answered with the envelope."""

    async def own(_request: Request, error: Exception) -> JsonResponse:
        assert isinstance(error, RefusedRequestError)  # noqa: S101  it is registered for nothing else
        return envelope(error)

    async def no_route(request: Request, error: Exception) -> JsonResponse:
        assert isinstance(error, HTTPException)  # noqa: S101  it is registered for nothing else
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette names the methods of the first route with that path, and there is one for each method.
            matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
            headers = {"Allow": ", ".join(sorted({method for route in matching for method in route.methods or ()}))}
        return envelope(RefusedRequestError(error.status_code, f"{error.status_code} {error.detail}", headers))

    async def broken(_request: Request, _error: Exception) -> JsonResponse:
        return envelope(RefusedRequestError(500, "500 Internal Server Error"))

    handlers: dict[Any, Any] = {RefusedRequestError: own, HTTPException: no_route, Exception: broken}
    made = Starlette(routes=list(routes), exception_handlers=handlers)
    # The API has no redirects, and a client must not be led to believe so.
    made.router.redirect_slashes = False
    return made
