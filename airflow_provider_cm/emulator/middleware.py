"""
The ASGI layers around the API, from the wire inwards.

:class:`RecordingMiddleware` notes each request and completes each answer; :class:`RateLimitMiddleware` limits and
delays; :class:`TenantRouter` finds the tenant, the token endpoint or the admin endpoint. Between the first two is the
layer that carries out faults, and further ones go there too (see :func:`build`): there a request is already tidied up,
and nothing has been done about it yet.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Callable, Sequence
from email.utils import format_datetime
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_cm.emulator.app import build_app
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.fault_middleware import CLOSE, FaultMiddleware
from airflow_provider_cm.emulator.request_log import RecordedRequest
from airflow_provider_cm.emulator.response_check import ResponseCheckMiddleware
from airflow_provider_cm.emulator.responses import envelope
from airflow_provider_cm.emulator.routes import token_endpoint
from airflow_provider_cm.emulator.routes.admin import ADMIN_PATH, build_admin
from airflow_provider_cm.emulator.state import serving

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.state import State

Middleware = Callable[[ASGIApp], ASGIApp]

# Where the server leaves the connection's transport in the scope's state, for faults that break it off.
WIRE = "emulator.wire"

_log = logging.getLogger(__name__)
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
_SLASHES = re.compile(r"/{2,}")
_TOKEN_PATH = re.compile(r"(?:/([^/]+))?/identity_/connect/token")


def build(state: State, middleware: Sequence[Middleware] = (), *, check_responses: bool = False) -> ASGIApp:
    """
    Put the layers together.

    :param state: what is served.
    :param check_responses: check every response against the contract.
    :param middleware: ASGI layers to put inside the faults, the first one outermost. They find the tidied path in
        ``scope["path"]``, the tenant (or ``None``) in ``scope["emulator.tenant"]`` and the state in
        ``scope["emulator.state"]``.
    """
    app: ASGIApp = RateLimitMiddleware(TenantRouter(), state)
    if check_responses:
        app = ResponseCheckMiddleware(app)
    for wrap in reversed(middleware):
        app = wrap(app)
    return RecordingMiddleware(FaultMiddleware(app, state), state)


class RecordingMiddleware:
    """Notes each request, and gives each answer its ``Date`` and ``Server-Timing``."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = perf_counter()
        answered = False
        path = tidy(scope["raw_path"].decode("latin-1"))
        tenant = self.state.find_tenant(path) if _tenant_path(path) else None
        scope.update(
            {
                "path": path,
                "emulator.state": self.state,
                "emulator.tenant": tenant,
                "emulator.waited": 0.0,
                "emulator.number": 0 if path.startswith(ADMIN_PATH) else self.state.number(),
                "emulator.grant": self.state.tokens.find(Headers(scope=scope).get("authorization")),
                "emulator.fault": None,
                "emulator.timed": True,
                # Filled in by the operation that answers.
                "emulator.answered": {},
            }
        )
        serving.set(scope["emulator.number"] or None)
        body = await _read(receive)
        if body is None:
            self._note(scope, b"", 0, 0.0)
            return

        async def send_completed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                elapsed = (perf_counter() - started - scope["emulator.waited"]) * 1000
                headers = MutableHeaders(scope=message)
                headers.setdefault("Date", format_datetime(self.state.gateway_time(), usegmt=True))
                if scope["emulator.timed"]:
                    headers.setdefault("Server-Timing", f"total;dur={elapsed:.1f}")
                # Before the answer leaves, so that a client that has it finds its request on record.
                self._note(scope, body, message["status"], elapsed)
            elif message["type"] == CLOSE:
                if not answered:
                    answered = True
                    self._note(scope, body, 0, 0.0)
                _hang_up(scope)
                return
            await send(message)

        try:
            await self.app(scope, _replay(body, receive), send_completed)
        except Exception:  # noqa: BLE001  whatever breaks, a client must get an answer
            _log.exception("%s %s failed", scope["method"], path)
            if not answered:
                broken = envelope(RefusedRequestError(500, "500 Internal Server Error"))
                await broken(scope, receive, send_completed)
        if not answered:
            self._note(scope, body, 0, 0.0)

    def _note(self, scope: Scope, body: bytes, status: int, elapsed: float) -> None:
        if scope["path"].startswith(ADMIN_PATH):
            return
        query = scope["query_string"].decode("latin-1")
        headers = Headers(raw=list(scope["headers"]))
        tenant, grant = scope["emulator.tenant"], scope["emulator.grant"]
        request = RecordedRequest(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
            headers=headers,
            body=body,
            status=status,
            tenant=tenant.path if tenant else "",
            token=grant.name if grant else None,
            at=self.state.clock(),
            number=scope["emulator.number"],
            fault=scope["emulator.fault"],
        )
        with self.state.lock:
            self.state.requests.append(request)
        if self.state.on_request is not None:
            self.state.on_request(request, elapsed)


class RateLimitMiddleware:
    """Holds requests to the rate limit, and lets them wait as long as the settings say."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith(ADMIN_PATH):
            await self.app(scope, receive, send)
            return
        if latency := self.state.settings.latency_ms / 1000:
            await asyncio.sleep(latency)
            scope["emulator.waited"] += latency
        authorization = Headers(scope=scope).get("authorization")
        if scope["emulator.tenant"] is not None and authorization:
            wait = self.state.seconds_to_wait(authorization)
            if wait is not None:
                seconds = str(max(1, math.ceil(wait)))
                refused = envelope(RefusedRequestError(429, "429 Too Many Requests", {"Retry-After": seconds}))
                await refused(scope, receive, send)
                return
        await self.app(scope, receive, send)


class TenantRouter:
    """Leads a request to the tenant, the token endpoint or the admin endpoint that its path names."""

    def __init__(self) -> None:
        self.tenants = build_app()
        self.admin = build_admin()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path: str = scope["path"]
        state: State = scope["emulator.state"]
        tenant = scope["emulator.tenant"]
        if path.startswith(ADMIN_PATH):
            await self.admin(scope, receive, send)
        elif (match := _TOKEN_PATH.fullmatch(path)) and _knows(state, match[1]):
            response = await token_endpoint.token(Request(scope, receive), state, match[1])
            await response(scope, receive, send)
        elif tenant is not None:
            inner = {**scope, "path": path[len(tenant.prefix) :] or "/", "root_path": ""}
            await self.tenants(inner, receive, send)
        else:
            await envelope(RefusedRequestError(404, "404 Not Found"))(scope, receive, send)


def tidy(raw_path: str) -> str:
    """Decode a path as the service does: ``%2F`` separates like ``/``, and repeated slashes count as one."""
    return unquote(_SLASHES.sub("/", _ENCODED_SLASH.sub("/", raw_path)))


def _hang_up(scope: Scope) -> None:
    transport = scope.get("state", {}).get(WIRE)
    if transport is not None:
        transport.close()


def _tenant_path(path: str) -> bool:
    return not path.startswith(ADMIN_PATH) and not _TOKEN_PATH.fullmatch(path)


def _knows(state: State, organization: str | None) -> bool:
    return organization is None or any(tenant.organization == organization for tenant in list(state.tenants.values()))


async def _read(receive: Receive) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = True

    async def replayed() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed
