"""
Responses checked against the contract: for the tests of the emulator itself.

What the emulator answers by mistake, users would program against. So in the tests every response is checked, closed
objects included; one that breaks the contract is answered as 500 with the reason, and kept in :data:`VIOLATIONS`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.contract import contract_for
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.responses import envelope

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_cm.emulator.settings import EmulatorSettings

# What broke the contract in this process, oldest first.
VIOLATIONS: list[str] = []


class ResponseCheckMiddleware:
    """Holds back each response of a tenant until it was checked."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["emulator.tenant"] is None:
            await self.app(scope, receive, send)
            return
        settings: EmulatorSettings = scope["emulator.state"].settings
        start: Message = {}
        parts: list[bytes] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            body = b"".join(parts)
            mistake = violation(scope, start["status"], body, settings)
            if mistake is None:
                await send(start)
                await send({"type": "http.response.body", "body": body})
                return
            text = f"{scope['method']} {scope['path']} -> {start['status']} breaks the contract: {mistake}"
            VIOLATIONS.append(text)
            await envelope(RefusedRequestError(500, text))(scope, receive, send)

        await self.app(scope, receive, keep)


def violation(scope: Scope, status: int, body: bytes, settings: EmulatorSettings) -> str | None:
    """Explain how a response breaks the contract; ``None`` if it does not."""
    contract = contract_for(settings)
    operation_id = scope["emulator.answered"].get("operation")
    if status < 400 and operation_id is None:
        # Of no operation: the OpenAPI document itself.
        return None if scope["path"].endswith("/openapi.json") else "the contract has no such operation"
    if status < 400 and status != 200:
        return "the contract has no such status"
    schema = (
        contract.error_response if operation_id is None or status >= 400 else contract.operation(operation_id).response
    )
    if schema is None:
        return None
    try:
        content = json.loads(body)
    except ValueError:
        return "it is not JSON"
    return schema.error(content)
