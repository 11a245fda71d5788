"""How answers leave the emulator: JSON that survives any text, and one envelope for all errors."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from airflow_provider_cm.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastapi import FastAPI, Request
    from starlette.routing import BaseRoute


class JsonResponse(JSONResponse):
    """JSON in ASCII, so that an error can quote whatever was sent, lone surrogates included."""

    def render(self, content: Any) -> bytes:
        """Write the content."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def ok(**payload: object) -> JsonResponse:
    """Answer a success: 200 with the payload beside ``"status": "ok"``."""
    return JsonResponse({**payload, "status": "ok"})


def envelope(error: ApiError) -> JsonResponse:
    """Answer an error."""
    return JsonResponse({"message": error.message, "status": "error"}, error.status, error.headers)


def install_handlers(app: FastAPI) -> None:
    """Have every error of an application answered with the envelope."""

    @app.exception_handler(ApiError)
    async def own(_request: Request, error: ApiError) -> JsonResponse:
        return envelope(error)

    @app.exception_handler(HTTPException)
    async def route(request: Request, error: HTTPException) -> JsonResponse:
        message = f"{error.status_code} {HTTPStatus(error.status_code).phrase}"
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette names the methods of the first route with that path, and there is one for each method.
            headers = {"Allow": ", ".join(sorted(_methods(request, app.routes)))}
        return envelope(ApiError(error.status_code, message, headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JsonResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return envelope(ApiError(400, f"{where}: {first['msg']}"))

    @app.exception_handler(Exception)
    async def broken(_request: Request, _error: Exception) -> JsonResponse:
        return envelope(ApiError(500, "500 Internal Server Error"))


def _methods(request: Request, routes: Iterable[BaseRoute]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            yield from route.methods or ()
