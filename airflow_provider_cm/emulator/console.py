"""What the command prints: a greeting, and one line for each request."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.records import RecordedRequest
    from airflow_provider_cm.emulator.server import EmulatorServer
    from airflow_provider_cm.emulator.state import State

_STDERR = 2
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def greeting(server: EmulatorServer, *, remote: bool) -> str:
    """Say where the server is and how to get in; the first line is for programs."""
    state = server.state
    with state.lock:
        tenants = [f"  {server.url}{tenant.prefix}" for tenant in state.tenants.values()]
        tokens = [f"  {_named(grant.name, grant.value)}" for grant in state.grants.values()]
        apps = [f"  app id {app.client_id}, secret {app.secret}" for app in state.applications.values()]
    lines = [
        f"listening on {server.url}",
        "tenants (the host of a connection):",
        *tenants,
        "developer tokens:",
        *tokens,
        "external application (token endpoint <url>/identity_/connect/token):",
        *apps,
    ]
    if remote:
        lines += ["admin token (for /_emulator/):", f"  {state.admin_token}", "these are not shown again"]
    return "\n".join(lines) + "\n"


def _named(name: str, value: str) -> str:
    return name if name == value else f"{name}: {value}"


class RequestLog:
    """
    Writes a line for each request to standard error.

    A thread of its own writes, and lines are dropped when they pile up: a program that starts the emulator with
    a pipe and never reads it must not bring the emulator to a halt.
    """

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(maxsize=1000)

    def start(self, state: State) -> None:
        """Follow the requests to an emulator from now on."""
        state.on_request = self._note
        threading.Thread(target=self._write, name="request-log", daemon=True).start()

    def _note(self, request: RecordedRequest, elapsed: float) -> None:
        who = request.token or "no known token"
        fault = f" [fault: {request.fault}]" if request.fault else ""
        line = f"{request.method} {request.path} -> {request.status} in {elapsed:.1f} ms ({who}){fault}"
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line.translate(_CONTROL) + "\n")

    def _write(self) -> None:
        try:
            while True:
                # Not through sys.stderr, whose lock would hold up the end of the process.
                os.write(_STDERR, self._lines.get().encode(errors="replace"))
        except OSError:
            # Nobody reads any more.
            return
