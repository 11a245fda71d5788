"""The ASGI layer that makes requests go wrong, as :mod:`airflow_provider_cm.emulator.faults` says."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.routes.admin import ADMIN_PATH

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_cm.emulator.faults import Fault
    from airflow_provider_cm.emulator.state import State
    from airflow_provider_cm.emulator.tokens import Grant

# Not ASGI: asks the edge to close the connection as it is. The request is on record before it happens.
CLOSE = "emulator.close"

_JSON = ("content-type", "application/json")
_HTML = ("content-type", "text/html")
_CHALLENGE = ("www-authenticate", "Bearer")
# As they stand in the body; Python's own writer would not make all of them.
_ODD_VALUES = {
    "surrogate": '"half of an emoji: \\ud83d"',
    "nul": '"a\\u0000b"',
    "big-integer": "123456789012345678901234567890",
    "nan": "NaN",
    "infinity": "1e999",
}
_ENDLESS_PART = b" " * 65536


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)

    def start(self, *, promised: int | None = None) -> Message:
        headers = [pair for pair in self.headers if pair[0] != "content-length"]
        if promised is not None:
            headers.append(("content-length", str(promised)))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return {"type": "http.response.start", "status": self.status, "headers": raw}


class FaultMiddleware:
    """Passes each request on, unless a fault applies to it."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        faults = self.state.faults
        if not faults or scope["path"].startswith(ADMIN_PATH):
            await self.app(scope, receive, send)
            return
        tenant, grant = scope["emulator.tenant"], scope["emulator.grant"]
        fault = faults.take(scope["method"], scope["path"], tenant.path if tenant else "", grant)
        if fault is None:
            await self.app(scope, receive, send)
            return
        scope["emulator.fault"] = fault
        # A gateway knows nothing of the platform's time.
        scope["emulator.timed"] = not (fault.html or fault.kind == "html")
        await self._strike(fault, grant, scope, receive, send)

    async def _strike(self, fault: Fault, grant: Grant | None, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive()
        real: _Answer | None = None
        if fault.kind == "slow-start" and fault.when == "before":
            # Who left while waiting gets nothing done.
            if await _left_within(fault.seconds or 0, receive):
                return
            scope["emulator.waited"] += fault.seconds
            await self.app(scope, _again(request, receive), send)
            return
        if fault.when == "after":
            real = await _carry_out(self.app, scope, _again(request, receive))
        await self._answer(fault, grant, real, scope, receive, send)

    async def _answer(
        self, fault: Fault, grant: Grant | None, real: _Answer | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if fault.kind == "no-answer":
            await _close(receive, send)
            return
        if grant is not None and fault.kind in ("revoked-token", "expired-token"):
            # By now another request may have been first.
            with suppress(RefusedRequestError):
                spoil = self.state.tokens.revoke if fault.kind == "revoked-token" else self.state.tokens.expire
                spoil(grant.name)
        answer = self._made_up(fault, real)
        match fault.kind:
            case "slow-start":
                if await _left_within(fault.seconds or 0, receive):
                    return
                scope["emulator.waited"] += fault.seconds
                await _send(answer, send)
            case "slow-body":
                await _drip(answer, fault, receive, send)
            case "truncated":
                await send(answer.start(promised=len(answer.body)))
                half = answer.body[: len(answer.body) // 2]
                await send({"type": "http.response.body", "body": half, "more_body": True})
                await _close(receive, send)
            case "endless":
                await _pour(answer, receive, send)
            case "odd-json":
                await _send(_odd(answer, fault.odd or ""), send)
            case _:
                await _send(answer, send)

    def _made_up(self, fault: Fault, real: _Answer | None) -> _Answer:
        """Make the answer that a fault sends instead of the real one, or the one to spoil if there is no real one."""
        status = fault.status or 200
        match fault.kind:
            case "wrong-envelope":
                wrong = {"status": "ok"} if status >= 400 else {"status": "error", "message": "Something went wrong"}
                return _json(status, wrong)
            case "empty":
                return _Answer(status, b"")
            case "html":
                return _page(status, "Sign in", "Please sign in to continue.")
            case "redirect":
                return _Answer(status, b"", [("location", fault.to or "")])
            case "revoked-token":
                return replace(_error(401, "The token is not valid"), headers=[_JSON, _CHALLENGE])
            case "expired-token":
                return replace(_error(401, "The token has expired"), headers=[_JSON, _CHALLENGE])
            case "quota":
                return _error(403, "quotas exceeded: this tenant may hold no more sources")
            case "endless":
                return _Answer(200, b'{"status": "ok", "padding": "', [_JSON])
            case "slow-start" | "slow-body" | "truncated" | "odd-json":
                return real or _error(503, "503 Service Unavailable")
            case _:
                return self._failure(fault)

    def _failure(self, fault: Fault) -> _Answer:
        status = int(fault.kind)
        title = f"{status} {_phrase(status)}".strip()
        answer = _page(status, title, "") if fault.html else _error(status, title)
        if fault.retry_after is None:
            return answer
        after = f"{fault.retry_after:g}"
        if fault.date:
            after = format_datetime(self.state.gateway_time() + timedelta(seconds=fault.retry_after), usegmt=True)
        return replace(answer, headers=[*answer.headers, ("retry-after", after)])


def _json(status: int, content: dict[str, Any]) -> _Answer:
    return _Answer(status, json.dumps(content, separators=(",", ":")).encode(), [_JSON])


def _odd(answer: _Answer, odd: str) -> _Answer:
    """Add to an answer what a JSON parser or a database may not take."""
    if odd == "timing":
        return replace(answer, headers=[*answer.headers, ("server-timing", f"total;dur={'9' * 400}")])
    content = json.loads(answer.body)
    for each in (content, content.get("source"), *content.get("sources", ())):
        if each is not None:
            each["odd"] = "ODD"
    body = json.dumps(content, separators=(",", ":")).replace('"ODD"', _ODD_VALUES[odd])
    return replace(answer, body=body.encode("ascii"))


def _error(status: int, message: str) -> _Answer:
    return _json(status, {"message": message, "status": "error"})


def _page(status: int, title: str, text: str) -> _Answer:
    head = f"<html>\r\n<head><title>{title}</title></head>\r\n"
    body = f"<body>\r\n<h1>{title}</h1>\r\n{text}\r\n</body>\r\n</html>\r\n"
    return _Answer(status, (head + body).encode(), [_HTML])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def _send(answer: _Answer, send: Send) -> None:
    await send(answer.start(promised=len(answer.body)))
    await send({"type": "http.response.body", "body": answer.body})


async def _drip(answer: _Answer, fault: Fault, receive: Receive, send: Send) -> None:
    await send(answer.start(promised=len(answer.body)))
    size = fault.chunk or 1
    for start in range(0, len(answer.body), size):
        if start and await _left_within(fault.seconds or 0, receive):
            return
        last = start + size >= len(answer.body)
        await send({"type": "http.response.body", "body": answer.body[start : start + size], "more_body": not last})


async def _pour(answer: _Answer, receive: Receive, send: Send) -> None:
    await send(answer.start())
    part = answer.body
    # Sending waits while the client does not read, and time passes only here when it does.
    while not await _left_within(0, receive):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        part = _ENDLESS_PART


async def _close(receive: Receive, send: Send) -> None:
    await send({"type": CLOSE})
    while (await receive())["type"] != "http.disconnect":
        pass


async def _left_within(seconds: float, receive: Receive) -> bool:
    """Wait so long; true, and at once, if the client leaves."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


def _again(request: Message, receive: Receive) -> Receive:
    waiting = [request]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def _carry_out(app: ASGIApp, scope: Scope, receive: Receive) -> _Answer:
    """Carry out a request, and return the answer instead of sending it."""
    start: Message = {}
    parts: list[bytes] = []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
    return _Answer(start["status"], b"".join(parts), headers)
