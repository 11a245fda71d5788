"""The poll loop: one request an interval, whatever the server says, until nobody waits any more."""

from __future__ import annotations

import asyncio
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from asgiref.sync import sync_to_async

from airflow_provider_cm.api.errors import CommsMiningError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.hooks.settings import ConnectionLike
    from airflow_provider_cm.triggers.reading import Reader, Seen

_log = logging.getLogger(__name__)
T = TypeVar("T")

# A server may ask for a longer pause between polls, but not put the waiting tasks to sleep for good.
LONGEST_PAUSE = 3600.0

# After a restart of the triggerer not all loops should begin at once; whoever waits has just looked anyway.
FIRST_POLL_WITHIN = 5.0

# Threads of our own: the loop's default ones write Airflow's logs, and a server that stalls must not hold those up.
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="comms-mining-poll")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one poll saw.

    :param asked_at: this machine's clock before the request; the server's state is not older than that.
    :param seen: what was there.
    """

    asked_at: datetime
    seen: Seen


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one poll saw nothing.

    :param error: the error.
    """

    error: CommsMiningError


class PollLoop:
    """Polls for all who share it.

    The connection is looked up asynchronously, and anew after each failure: a secrets backend may hold another token by
    then. A poll is one attempt, since the next interval is the retry.

    :param conn_id: the connection.
    :param reader: what to read.
    :param interval: seconds between two polls.
    """

    def __init__(self, conn_id: str, reader: Reader, interval: float) -> None:
        self._conn_id = conn_id
        self._reader = reader
        self._interval = interval
        self._hook: CommsMiningHook | None = None

    async def items(self) -> AsyncGenerator[Snapshot | Failure, None]:
        """Poll for ever. Never raises for what went wrong with a poll: that would end every wait that shares this."""
        await asyncio.sleep(random.uniform(0, min(self._interval, FIRST_POLL_WITHIN)))  # noqa: S311  # not for secrets
        while True:
            item = await self._poll()
            yield item
            await asyncio.sleep(await self._pause_after(item))

    async def _pause_after(self, item: Snapshot | Failure) -> float:
        asked = item.error.retry_after if isinstance(item, Failure) else None
        pause = max(self._interval, min(asked or 0.0, LONGEST_PAUSE))
        if pause > self._interval and isinstance(item, Failure) and item.error.status == 429:
            await _in_thread(_count_rate_limit, pause - self._interval)
        return pause

    async def _poll(self) -> Snapshot | Failure:
        try:
            return await self._look()
        except CommsMiningError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # raising would end every wait that shares this loop
            _log.exception("A poll failed in an unexpected way")
            failure = CommsMiningError(f"the poll failed: {type(error).__name__}", transient=True)
        self._hook = None
        await _in_thread(_count_poll, failure)
        return Failure(failure)

    async def _look(self) -> Snapshot:
        while True:
            asked_at = datetime.now(UTC)
            if self._hook is None:
                self._hook = await _in_thread(_make_hook, _Sealed(await self._connection()))
            seen = await _in_thread(_read, self._hook, self._reader)
            if seen is not None:
                return Snapshot(asked_at, seen)
            await asyncio.sleep(self._interval)

    async def _connection(self) -> ConnectionLike:
        # Imported here, since DAG parsing must not pay for it.
        from airflow.providers.common.compat.connection import get_async_connection

        try:
            return await asyncio.shield(get_async_connection(self._conn_id))  # as in _in_thread
        except Exception as error:  # a secrets backend may raise anything, and may be back soon
            raise CommsMiningError(
                f"connection '{self._conn_id}' could not be read: {type(error).__name__}", transient=True
            ) from error


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Keeps a connection out of the variables that a traceback might show.

    :param connection: an Airflow connection.
    """

    connection: ConnectionLike = field(repr=False)


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run in a thread from where Airflow can be talked to, as it is when a token is to be masked in logs.

    Below Airflow 3.3, what a thread says to the triggerer's supervisor must go through the loop, which only a thread of
    asgiref's knows; and must not be cancelled between question and answer. Otherwise the next one to ask gets a wrong
    answer, and the triggerer dies.
    """
    return await asyncio.shield(sync_to_async(function, thread_sensitive=False, executor=_threads)(*arguments))


def _make_hook(sealed: _Sealed) -> CommsMiningHook:
    # Imported in the thread too: it takes longer than the event loop of all triggers should be held up.
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    return CommsMiningHook.from_connection(sealed.connection, max_attempts=1)


def _read(hook: CommsMiningHook, reader: Reader) -> Seen | None:
    seen = reader.read(hook.sources)
    _count_poll()
    return seen


# Metrics can block (a packet, a name look-up), so they are sent from the threads too.


def _count_poll(error: CommsMiningError | None = None) -> None:
    from airflow_provider_cm import metrics

    metrics.poll(error)


def _count_rate_limit(seconds: float) -> None:
    from airflow_provider_cm import metrics

    metrics.rate_limit_wait(seconds)
