"""An emulator that runs in a thread of this process, on a real port."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_provider_cm.emulator.middleware import WIRE, Middleware, build
from airflow_provider_cm.emulator.records import Clock, SourceChange, utc_now
from airflow_provider_cm.emulator.state import State
from airflow_provider_cm.emulator.state_file import StateFile
from airflow_provider_cm.emulator.tenant_handle import TenantHandle

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from airflow_provider_cm.emulator.faults import Faults
    from airflow_provider_cm.emulator.request_log import RecordedRequest
    from airflow_provider_cm.emulator.settings import EmulatorSettings

LOOPBACK = "127.0.0.1"
CHECK_RESPONSES = "COMMS_MINING_EMULATOR_CHECK_RESPONSES"
_START_SECONDS = 30.0


class EmulatorServer:
    """
    Serve the emulator until stopped; a context manager.

    ::

        with EmulatorServer() as server:
            requests.get(f"{server.url}/api/v1/sources", headers={"Authorization": "Bearer emulator-admin"})

    :param port: port to listen on; 0 takes a free one.
    :param settings: behavior to start with, and to return to on :meth:`reset`.
    :param host: address to listen on. Any but ``127.0.0.1`` makes up random tokens.
    :param fill: puts in the tenants to start with, such as a seed file's; the default ones if not given.
    :param state_file: keeps tenants, projects and sources across restarts.
    :param clock: returns the time for timestamps, the ``Date`` header, rate limits and the expiry of tokens.
    :param middleware: ASGI layers to put around the API (see :func:`airflow_provider_cm.emulator.middleware.build`).
    :param check_responses: check every response against the contract, and answer 500 for one that breaks it; by default
        only if the environment variable ``COMMS_MINING_EMULATOR_CHECK_RESPONSES`` is set.
    """

    def __init__(
        self,
        port: int = 0,
        settings: EmulatorSettings | None = None,
        *,
        host: str = LOOPBACK,
        fill: Callable[[State], None] | None = None,
        state_file: Path | str | None = None,
        clock: Clock = utc_now,
        middleware: Sequence[Middleware] = (),
        check_responses: bool | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self.state = State(settings, clock=clock, random_tokens=host != LOOPBACK, fill=fill)
        if state_file is not None:
            StateFile(Path(state_file)).keep(self.state)
        check = bool(os.environ.get(CHECK_RESPONSES)) if check_responses is None else check_responses
        self._app = build(self.state, middleware, check_responses=check)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    # Running

    def start(self) -> Self:
        """
        Start serving, and return once connections are accepted.

        :raises OSError: the address can't be listened on.
        """
        if self._thread is not None:
            raise RuntimeError("the emulator is running already")
        listener = _listen(self._host, self._port)
        # Kept, so that a server that is stopped and started again is found where it was.
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # The Date header comes from the emulator's clock.
            date_header=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="comms-mining-emulator", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(_START_SECONDS) or not self._server.started:
            self.stop()
            raise RuntimeError("the emulator did not start; its log says why")
        return self

    def stop(self) -> None:
        """Stop serving; what it holds stays, and :meth:`start` serves it again on the same port."""
        if self._thread is None or self._server is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._thread = self._server = None

    def __enter__(self) -> Self:
        """Start serving."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.stop()

    # What it holds

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def settings(self) -> EmulatorSettings:
        """The settings in force."""
        return self.state.settings

    @property
    def requests(self) -> list[RecordedRequest]:
        """
        The requests so far, oldest first, without those to the admin endpoint; at most the last 100,000.

        The bodies are kept while they are 256 MiB in all (see :class:`RecordedRequest`).
        """
        with self.state.lock:
            return list(self.state.requests)

    @property
    def changes(self) -> list[SourceChange]:
        """The writes that were carried out so far, oldest first; at most the last 100,000."""
        with self.state.lock:
            return list(self.state.changes)

    @property
    def faults(self) -> Faults:
        """The faults in force; :meth:`~airflow_provider_cm.emulator.faults.Faults.add` adds one."""
        return self.state.faults

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        with self.state.lock:
            self.state.requests.clear()

    def configure(self, **changes: object) -> EmulatorSettings:
        """
        Change settings from the next request on.

        :param changes: fields of :class:`EmulatorSettings`.
        :raises ValueError: a name is unknown or a value not allowed.
        """
        return self.state.configure(**changes)

    def reset(self) -> None:
        """Return to the start, settings and tokens included and without faults, and forget every request."""
        self.state.reset()

    def replace_token(self, name: str, value: str) -> None:
        """Replace the value of a token, as regenerating it would; the old one is refused from then on."""
        self.state.tokens.replace(name, value)

    def revoke_token(self, name: str) -> None:
        """Make a token invalid; minted ones are named ``<app id>#1``, ``#2`` and so on."""
        self.state.tokens.revoke(name)

    def tenant(self, path: str = "/") -> TenantHandle:
        """
        Get hold of one tenant.

        :param path: ``/`` or such as ``/acme/dev/reinfer_``.
        :raises RefusedRequestError: there is no such tenant.
        """
        path = "/" + path.strip("/")
        self.state.tenant(path)
        return TenantHandle(self.state, path, self.url)


def _listen(host: str, port: int) -> socket.socket:
    # With the protocol named, unlike socket.create_server: asyncio sets TCP_NODELAY only on such sockets, and
    # without it each answer waits 40 ms for the client's delayed acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's own, which shows each request the connection that it came over."""

    app_state: dict[str, Any]

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        # Configured off as well, but another library in the same process may turn it on again.
        self.access_log = False
        self.app_state = {**self.app_state, WIRE: transport}


class _Server(uvicorn.Server):
    """uvicorn, which reports when it is ready, or that it failed to start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # A client that does not take its answer would keep its connection open beyond the end of the loop.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which they are closed

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self.ready.set()
