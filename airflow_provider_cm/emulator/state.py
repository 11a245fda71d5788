"""Everything one emulator knows, behind one lock."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import deque
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.faults import Faults
from airflow_provider_cm.emulator.message_store import MessageStore
from airflow_provider_cm.emulator.message_times import microseconds
from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.emulator.records import Clock, SourceChange, StoredSource, utc_now
from airflow_provider_cm.emulator.request_log import RequestHistory
from airflow_provider_cm.emulator.settings import EmulatorSettings
from airflow_provider_cm.emulator.tenant import Tenant
from airflow_provider_cm.emulator.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_cm.emulator.request_log import RecordedRequest

DEFAULT_TENANTS = ("/", "/acme/dev/reinfer_", "/acme/prod/reinfer_")
DEFAULT_PROJECTS = ("acme-dev", "acme-prod")
# Enough for any test; a server left running for weeks must not fill the memory.
_MOST_KEPT = 100_000
# The number of the request being served, for the record of changes; none outside a request.
serving: ContextVar[int | None] = ContextVar("serving", default=None)


class State:
    """
    Tenants, tokens, settings and the record of what was done.

    :param settings: what to start with and return to on :meth:`reset`.
    :param clock: returns the time for timestamps, the ``Date`` header and the expiry of tokens.
    :param random_tokens: make up the tokens and the secret, for a server that others can reach.
    :param fill: puts in what the state begins with; the default tenants if not given.
    """

    def __init__(
        self,
        settings: EmulatorSettings | None = None,
        *,
        clock: Clock = utc_now,
        random_tokens: bool = False,
        fill: Callable[[State], None] | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.on_change: Callable[[], None] | None = None
        self.on_request: Callable[[RecordedRequest, float], None] | None = None
        self.faults = Faults(self.tenant)
        self.tokens = Tokens(self.now)
        self.admin_token = secrets.token_urlsafe(24) if random_tokens else None
        self._initial_settings = settings or EmulatorSettings()
        self._fill = fill or fill_default
        self.messages = MessageStore()
        self._values = {
            name: secrets.token_urlsafe(24) if random_tokens else name
            for name in ("emulator-admin", "emulator-viewer", "emulator-secret")
        }
        self.reset()

    def reset(self) -> None:
        """Return to what the emulator was started with, without faults, and forget every request."""
        with self.lock:
            self.faults.clear()
            self.settings = self._initial_settings
            self.tenants: dict[str, Tenant] = {}
            self.requests = RequestHistory(_MOST_KEPT)
            self.changes: deque[SourceChange] = deque(maxlen=_MOST_KEPT)
            self._numbers = itertools.count(1)
            self._sent: dict[str, deque[float]] = {}
            self.messages.clear()
            self.tokens.clear()
            for role in ("admin", "viewer"):
                name = f"emulator-{role}"
                self.tokens.add(name, self._values[name], ROLES[role])
            self.tokens.add_application("emulator-app", self._values["emulator-secret"], ROLES["admin"])
            self._fill(self)
            self.changes.clear()
            self.changed()

    def now(self) -> datetime:
        """Return the emulator's time."""
        return self.clock()

    def gateway_time(self) -> datetime:
        """Return the time by the clock of the gateway in front, as the ``Date`` header has it."""
        return self.clock() + timedelta(seconds=self.settings.date_offset_s)

    def keep_messages(self, path: Path) -> None:
        """
        Keep messages in a database on disk from now on, and show those that it holds of the sources that there are.

        :raises OSError: the database can't be opened.
        """
        with self.lock:
            self.messages.close()
            self.messages = MessageStore(path)
            self.messages.keep_only((tenant.path, each) for tenant in self.tenants.values() for each in tenant.sources)

    # Tenants

    def add_tenant(self, path: str) -> Tenant:
        """Add an empty tenant at a path such as ``/`` or ``/acme/dev/reinfer_``."""
        tenant = Tenant(path, clock=self.now, record=self._record_change)
        self.tenants[path] = tenant
        return tenant

    def find_tenant(self, path: str) -> Tenant | None:
        """Find the tenant whose path a URL's path begins with; the longest wins."""
        best: Tenant | None = None
        with self.lock:
            tenants = list(self.tenants.values())
        for tenant in tenants:
            prefix = tenant.prefix
            if (path == prefix or path.startswith(prefix + "/")) and (best is None or len(prefix) > len(best.prefix)):
                best = tenant
        return best

    def tenant(self, path: str) -> Tenant:
        """Return the tenant at a path; 404 if there is none."""
        try:
            return self.tenants[path]
        except KeyError:
            known = ", ".join(self.tenants)
            raise RefusedRequestError(404, f"There is no tenant at '{path}'; there are: {known}") from None

    def changed(self) -> None:
        """Save the state, if the server saves it."""
        if self.on_change is not None:
            self.on_change()

    def set_message_count(self, tenant: str, source: StoredSource, count: int) -> None:
        """Set the number of messages of a source in its statistics; 409 if messages were loaded into it."""
        if self.messages.was_loaded(tenant, source.id):
            raise RefusedRequestError(
                409, f"'{source.owner}/{source.name}' holds messages that were loaded, and counts them"
            )
        self.tenant(tenant).set_comments(source, count)
        self.changed()

    def _record_change(self, change: SourceChange) -> None:
        self.changes.append(replace(change, request=serving.get()))
        if change.action == "delete" and change.before is not None:
            self.messages.delete_source(change.tenant, change.before.id)

    def number(self) -> int:
        """Return the number of the next request."""
        return next(self._numbers)

    def readable(self, tenant: Tenant) -> Tenant:
        """Return the tenant as reads show it: without the changes that have yet to be replicated."""
        shown_until = self.clock() - timedelta(seconds=self.settings.read_lag_s)
        unseen = []
        for change in reversed(self.changes):
            if change.at <= shown_until:
                break
            if change.tenant == tenant.path:
                unseen.append(change)
        return tenant.without(unseen) if unseen else tenant

    def statistics_time(self) -> int | None:
        """Return the time up to which statistics are complete, in microseconds; ``None`` for now."""
        lag = self.settings.statistics_lag_s
        return microseconds(self.clock() - timedelta(seconds=lag)) if lag else None

    # Settings and limits

    def configure(self, **changes: object) -> EmulatorSettings:
        """Change settings from the next request on."""
        with self.lock:
            self.settings = self.settings.changed(**changes)
            return self.settings

    def seconds_to_wait(self, authorization: str) -> float | None:
        """Count a request against its token's rate limit; if it is over, return the time until one is allowed."""
        with self.lock:
            limit = self.settings.rate_limit
            if limit is None:
                return None
            now = self.clock().timestamp()
            sent = self._sent.setdefault(authorization, deque())
            while sent and sent[0] <= now - 60:
                sent.popleft()
            if len(sent) < limit:
                sent.append(now)
                return None
            return sent[-limit] + 60 - now


def fill_default(state: State) -> None:
    """Put in the tenants and projects that an emulator without a seed file has."""
    for path in DEFAULT_TENANTS:
        tenant = state.add_tenant(path)
        for project in DEFAULT_PROJECTS:
            tenant.add_project(project, {}, state.settings)
