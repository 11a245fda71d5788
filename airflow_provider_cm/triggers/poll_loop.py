"""The poll loop: at most one request per interval, as long as a wait needs it."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError
from airflow_provider_cm.triggers import poll_metrics
from airflow_provider_cm.triggers.poll_client import in_thread, shared_client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.triggers.poll_client import PollClient
    from airflow_provider_cm.triggers.readers import Reader, Seen

_log = logging.getLogger(__name__)

# A server may ask for a longer pause between polls, up to this many seconds.
LONGEST_PAUSE = 3600.0

# After a restart of the triggerer, the loops should not all begin at once; each sensor has just looked anyway.
FIRST_POLL_WITHIN = 5.0

# A poll times out after its interval, but not sooner than this.
LEAST_SECONDS_OF_A_POLL = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of one poll.

    :param asked_at: this machine's time before the request; the server's state is not older than that.
    :param seen: the sources (or message counts) that exist, by name or id.
    :param endpoint: the tenant that was polled.
    """

    asked_at: datetime
    seen: Seen
    endpoint: str


@dataclass(frozen=True, slots=True)
class PollFailure:
    """The failure of one poll.

    :param error: the error.
    """

    error: CommsMiningError


class PollLoop:
    """Polls for all waits that share it. A poll is one attempt; the next interval is the retry.

    :param conn_id: the connection.
    :param reader: reads what the waits need.
    :param interval: seconds between two polls.
    :param endpoint: the only tenant to poll: if the connection has another endpoint, the poll fails and sends nothing.
        ``None`` (default) for the connection's endpoint.
    """

    def __init__(self, conn_id: str, reader: Reader, interval: float, endpoint: str | None = None) -> None:
        self._conn_id = conn_id
        self._endpoint = endpoint
        self._interval = interval
        self._read = _Read(reader, interval)
        self._metrics = poll_metrics.PollMetrics()

    async def items(self) -> AsyncGenerator[Snapshot | PollFailure, None]:
        """Poll forever. A failed poll is an item and never raises, since that would end every wait of this loop."""
        # In this order: the client sends the numbers for the last time when it closes.
        async with shared_client(self._conn_id) as client:
            with poll_metrics.loops.one_more():
                await asyncio.sleep(random.uniform(0, min(self._interval, FIRST_POLL_WITHIN)))  # noqa: S311  # no secret
                while True:
                    item = await self._poll(client)
                    if item is not None:
                        yield item
                    await asyncio.sleep(self._pause_after(item))

    async def _poll(self, client: PollClient) -> Snapshot | PollFailure | None:
        try:
            return await client.call(self._look, endpoint=self._endpoint, slow=self._read.slow)
        except CommsMiningError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # raising would end every wait that shares this loop
            _log.exception("A poll failed in an unexpected way")
            failure = CommsMiningError(f"the poll failed: {type(error).__name__}", transient=True)
        item = PollFailure(failure)
        await in_thread(self._metrics.send, failure, self._pause_after(item) - self._interval)
        return item

    def _look(self, hook: CommsMiningHook) -> Snapshot | None:
        endpoint = hook.get_conn().endpoint
        if self._endpoint is not None and endpoint != self._endpoint:
            raise moved(self._conn_id, self._endpoint, endpoint)
        snapshot = self._read(hook)
        self._metrics.send(None, 0.0)
        return snapshot

    def _pause_after(self, item: Snapshot | PollFailure | None) -> float:
        asked = item.error.retry_after if isinstance(item, PollFailure) else None
        return max(self._interval, min(asked or 0.0, LONGEST_PAUSE))


def moved(conn_id: str, before: str, now: str) -> ConfigurationError:
    """Return the error of a wait whose connection was changed to another endpoint.

    :param conn_id: the connection.
    :param before: the endpoint when the wait began.
    :param now: the endpoint that the connection leads to.
    """
    return ConfigurationError(
        f"connection '{conn_id}' led to {before} when this wait began, and leads to {now} now: what is there is not "
        "what was waited for; clear the task to wait for that, or change the connection back"
    )


class _Read:
    """Reads in bounded time, and remembers whether that took long.

    :param reader: the reader.
    :param interval: seconds between two polls.
    """

    def __init__(self, reader: Reader, interval: float) -> None:
        self._reader = reader
        self._seconds = max(interval, LEAST_SECONDS_OF_A_POLL)
        self.slow = False

    def __call__(self, hook: CommsMiningHook) -> Snapshot | None:
        from airflow_provider_cm.api.sources import SourcesApi

        session = hook.get_conn()
        began, asked_at = monotonic(), datetime.now(UTC)
        try:
            seen = self._reader.read(SourcesApi(session.within(self._seconds)))
        finally:
            self.slow = monotonic() - began > self._seconds / 2
        return None if seen is None else Snapshot(asked_at, seen, session.endpoint)
