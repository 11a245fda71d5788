from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.api import client_credentials as auth_module
from tests.unit.api.server import Script, Server

if TYPE_CHECKING:
    import ssl

Serve = Callable[..., Server]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine that runs the tests out of them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")  # no ~/.netrc
    monkeypatch.setattr(auth_module, "_cells", {})


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a function that starts a server: one step for each request, or a function that gives the steps."""
    servers: list[Server] = []

    def start(*steps: object, handler: Script | None = None, tls: ssl.SSLContext | None = None) -> Server:
        server = Server(handler if handler is not None else steps, tls=tls)  # type: ignore[arg-type]
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
    assert [request for server in servers for request in server.unscripted] == []
