"""Somebody else, who creates a source in the moment before our own create arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_cm.emulator import EmulatorServer


class Rival:
    """An ASGI layer that creates the source of each create that comes by, if it is not there.

    :param fields: the rival's idea of the source.
    """

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.app: ASGIApp | None = None
        self.server: EmulatorServer | None = None

    def wrap(self, app: ASGIApp) -> ASGIApp:
        self.app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        assert self.server is not None
        if scope["method"] == "PUT":
            project, name = scope["path"].split("/")[-2:]
            tenant = self.server.tenant(scope["emulator.tenant"].path)
            if tenant.source(project, name) is None:
                tenant.add_source(project, name, **self.fields)
        await self.app(scope, receive, send)
