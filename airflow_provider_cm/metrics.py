"""Metrics, through Airflow's own ``Stats``: every name and tag is declared here, and described in docs/metrics.md.

No tag has a value that somebody could make up: routes, methods and errors are those of this package, or ``other``. A
metric that cannot be sent is lost without a trace but a debug line, since no call may fail for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_cm.api.errors import CommsMiningError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.api.request_records import Exchange, RequestRecord, RetryWait

_log = logging.getLogger(__name__)

Kind = Literal["counter", "timer"]
TokenKind = Literal["client_credentials", "developer_token"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    :param name: as Airflow is given it; Airflow puts its own prefix before it.
    :param kind: ``counter`` or ``timer``; a timer's unit is milliseconds.
    :param tags: names of its tags.
    """

    name: str
    kind: Kind
    tags: tuple[str, ...]

    def count(self, number: int, **tags: str) -> None:
        """Add to the counter; never raises.

        :param number: how many; nothing is sent for 0.
        :param tags: a value for each tag.
        """
        if number:
            try:
                Stats.incr(self.name, number, tags=tags)
            except Exception:  # noqa: BLE001  # whatever it is, the call goes on
                _log.debug("Metric %s was not sent", self.name, exc_info=True)

    def time(self, seconds: float, **tags: str) -> None:
        """Note a time; never raises.

        :param seconds: how long.
        :param tags: a value for each tag.
        """
        try:
            # As a timedelta, since a bare number means different units to different backends.
            Stats.timing(self.name, timedelta(seconds=seconds), tags=tags)
        except Exception:  # noqa: BLE001  # whatever it is, the call goes on
            _log.debug("Metric %s was not sent", self.name, exc_info=True)


REQUESTS = Metric("comms_mining.requests", "counter", ("method", "route", "status"))
REQUEST_TIME = Metric("comms_mining.request_time", "timer", ("method", "route", "status"))
RETRIES = Metric("comms_mining.retries", "counter", ("method", "route"))
RATE_LIMIT_WAIT = Metric("comms_mining.rate_limit_wait", "timer", ("told", "where"))
TOKEN_RENEWALS = Metric("comms_mining.token_renewals", "counter", ("kind", "outcome"))
POLLS = Metric("comms_mining.polls", "counter", ("outcome",))

LOAD_ROWS = Metric("comms_mining.load_rows", "counter", ())
LOAD_BATCHES = Metric("comms_mining.load_batches", "counter", ())
LOAD_BILLABLE = Metric("comms_mining.load_billable", "counter", ())
LOAD_REJECTED = Metric("comms_mining.load_rejected", "counter", ())
LOAD_SPLITS = Metric("comms_mining.load_splits", "counter", ())

LOADS = {
    "sent": LOAD_ROWS,
    "batches": LOAD_BATCHES,
    "billable": LOAD_BILLABLE,
    "rejected": LOAD_REJECTED,
    "splits": LOAD_SPLITS,
}
"""By the names of a load report's counts."""

ALL = (REQUESTS, REQUEST_TIME, RETRIES, RATE_LIMIT_WAIT, TOKEN_RENEWALS, POLLS, *LOADS.values())

OTHER = "other"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# Tags may hold neither braces nor colons in StatsD.
ROUTES = {
    "sources": "sources",
    "sources/{project}": "sources/PROJECT",
    "sources/{project}/{name}": "sources/PROJECT/NAME",
    "sources/{project}/{name}/statistics": "sources/PROJECT/NAME/statistics",
    "sources/id:{id}": "sources/ID",
    "sources/{project}/{name}/sync": "sources/PROJECT/NAME/sync",
    "sources/{project}/{name}/sync-raw-emails": "sources/PROJECT/NAME/sync-raw-emails",
    "sources/{project}/{name}/comments": "sources/PROJECT/NAME/comments",
    "sources/{project}/{name}/comments/{id}": "sources/PROJECT/NAME/comments/ID",
}


def call_ended(record: RequestRecord) -> None:
    """Send what one call amounts to; never raises.

    :param record: from the session's observer.
    """
    where = {
        "method": record.method if record.method in METHODS else OTHER,
        "route": ROUTES.get(record.route, OTHER),
    }
    for exchange in record.exchanges:
        status = _status(exchange)
        REQUESTS.count(1, **where, status=status)
        REQUEST_TIME.time(exchange.total_ms / 1000, **where, status=status)
    RETRIES.count(record.repeats, **where)


def call_waited(wait: RetryWait) -> None:
    """Send how long a call waited, if the reason was a 429; never raises.

    :param wait: from the session.
    """
    if wait.status == 429:
        rate_limit_wait(wait.seconds, told=wait.told, where="call")


def rate_limit_wait(seconds: float, *, told: bool = True, where: Literal["call", "poll"] = "poll") -> None:
    """Send that a 429 made somebody wait; never raises.

    :param seconds: how long; of a poll, by how much its interval was stretched.
    :param told: whether the server said how long (``Retry-After``), ``True`` by default.
    :param where: ``poll`` (default) for the pause between two polls of a trigger, ``call`` for one within a call.
    """
    RATE_LIMIT_WAIT.time(seconds, told="server" if told else "backoff", where=where)


def token_renewed(kind: TokenKind, succeeded: bool) -> None:  # it is used as a callback
    """Count an attempt to get a token; never raises.

    :param kind: ``client_credentials`` or ``developer_token``.
    :param succeeded: whether there is another token now.
    """
    TOKEN_RENEWALS.count(1, kind=kind, outcome="ok" if succeeded else "failed")


def poll(error: BaseException | None = None) -> None:
    """Count one poll of a trigger; never raises.

    It may send a packet and, once a process, look up the host to send it to: not in an event loop, therefore, but in
    the thread that polls.

    :param error: what the poll failed with, if it did.
    """
    outcome = "ok"
    if error is not None:
        outcome = type(error).__name__ if _is_ours(error) else OTHER
    POLLS.count(1, outcome=outcome)


def load_ended(counts: Mapping[str, int], earlier: Mapping[str, int]) -> None:
    """Send what one try of a load did; never raises.

    :param counts: of the load's report, by the keys of :data:`LOADS`.
    :param earlier: what earlier tries have sent of them.
    """
    for name, metric in LOADS.items():
        metric.count(max(counts[name] - earlier.get(name, 0), 0))


def _status(exchange: Exchange) -> str:
    if exchange.status is not None and (exchange.status >= 400 or exchange.error is None):
        return str(exchange.status)
    return exchange.error or OTHER


def _is_ours(error: BaseException) -> bool:
    return isinstance(error, CommsMiningError) and type(error).__module__.startswith("airflow_provider_cm.")
