"""Metrics, sent through Airflow's ``Stats``. Every name and tag is declared here and described in docs/metrics.md.

Each tag has a limited number of values: routes, methods and errors are those of this package, or ``other``. A metric
that cannot be sent leaves only a debug line in the log, because no call may fail for it.
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

Kind = Literal["counter", "gauge", "timer"]
TokenKind = Literal["client_credentials", "developer_token"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    :param name: without Airflow's own prefix.
    :param kind: ``counter``, ``gauge`` or ``timer``; a timer's unit is milliseconds.
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

    def set(self, number: int) -> None:
        """Set the gauge; never raises.

        :param number: its present value.
        """
        try:
            Stats.gauge(self.name, number)
        except Exception:  # noqa: BLE001  # whatever it is, the poll goes on
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
RATE_LIMIT_WAIT = Metric("comms_mining.rate_limit_wait", "timer", ("set_by", "where"))
TOKEN_RENEWALS = Metric("comms_mining.token_renewals", "counter", ("kind", "outcome"))
POLLS = Metric("comms_mining.polls", "counter", ("outcome",))
POLL_GAP = Metric("comms_mining.poll_gap", "timer", ())
POLL_QUEUE = Metric("comms_mining.poll_queue", "gauge", ())
POLL_LOOPS = Metric("comms_mining.poll_loops", "gauge", ())
WAITS = Metric("comms_mining.waits", "gauge", ())

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

ALL = (
    *(REQUESTS, REQUEST_TIME, RETRIES, RATE_LIMIT_WAIT, TOKEN_RENEWALS),
    *(POLLS, POLL_GAP, POLL_QUEUE, POLL_LOOPS, WAITS),
    *LOADS.values(),
)

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
    """Send the metrics of one call; never raises.

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
    """Send the length of a wait if its reason was a 429; never raises.

    :param wait: from the session's ``on_wait``.
    """
    if wait.status == 429:
        rate_limit_wait(wait.seconds, set_by="server" if wait.requested else "backoff", where="call")


def rate_limit_wait(
    seconds: float,
    *,
    set_by: Literal["server", "backoff"] = "server",
    where: Literal["call", "poll"] = "poll",
) -> None:
    """Send the length of a wait after a 429; never raises.

    :param seconds: how long; for a poll, by how much its interval was stretched.
    :param set_by: ``server`` (default) if ``Retry-After`` set the time, else ``backoff``.
    :param where: ``poll`` (default) for the pause between two polls of a trigger, ``call`` for one within a call.
    """
    RATE_LIMIT_WAIT.time(seconds, set_by=set_by, where=where)


def token_renewed(kind: TokenKind, succeeded: bool) -> None:  # it is used as a callback
    """Count an attempt to get a token; never raises.

    :param kind: ``client_credentials`` or ``developer_token``.
    :param succeeded: whether there is another token now.
    """
    TOKEN_RENEWALS.count(1, kind=kind, outcome="ok" if succeeded else "failed")


def poll(error: BaseException | None, gap: float) -> None:
    """Send how one poll of a trigger ended; never raises.

    Call it in the thread that polls, never in an event loop: it sends a packet, and looks up a host name once.

    :param error: the error that the poll failed with, or ``None``.
    :param gap: seconds since the last poll that succeeded, or since the poll loop began.
    """
    outcome = "ok"
    if error is not None:
        outcome = type(error).__name__ if _is_ours(error) else OTHER
    POLLS.count(1, outcome=outcome)
    POLL_GAP.time(gap)


def polling(*, waits: int, loops: int, queue: int) -> None:
    """Send how much a triggerer polls; never raises. Call it as :func:`poll`.

    :param waits: the number of waits and watchers.
    :param loops: the number of poll loops that serve them.
    :param queue: the highest number of polls that waited for their turn at a time, since this was sent last.
    """
    WAITS.set(waits)
    POLL_LOOPS.set(loops)
    POLL_QUEUE.set(queue)


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
