"""Asset watchers: one event for each transition, and a cursor that survives a restart of the triggerer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.triggers.poll_loop import PollFailure, Snapshot
from airflow_provider_cm.triggers.second_look import SecondLook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from airflow_provider_cm.triggers.condition import Condition, Look

_log = logging.getLogger(__name__)

# Airflow stores an event about a second after the trigger yields it, without notice. If the cursor were stored first
# and the triggerer died in between, the event would be lost.
EVENT_IS_STORED_AFTER = 5.0


class AssetStateStore(Protocol):
    """The methods used of Airflow's store for the state of an asset."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Read a value.

        :param key: its name.
        :param default: the value to return if there is none, ``None`` by default.
        """

    async def aset(self, key: str, value: Any) -> None:
        """Write a value.

        :param key: its name.
        :param value: JSON.
        """


@dataclass(frozen=True, slots=True)
class WatchProgress:
    """The last look that a watcher has dealt with.

    :param value: the mark of that look, see :class:`airflow_provider_cm.triggers.condition.Look`.
    """

    value: str | None


class Cursor:
    """Stores the progress of a watcher for the next triggerer.

    :param store: Airflow's store; without one (below Airflow 3.3) the mark is kept in memory only.
    :param condition: the watched condition; each has its own cursor, so that an asset can have several watchers.
    :param place: the connection and the endpoint; each pair has its own cursor.
    :param retry_seconds: pause after a failed access.
    """

    def __init__(
        self, store: AssetStateStore | None, condition: Condition, place: tuple[str, str], retry_seconds: float
    ) -> None:
        self._store = store
        arguments = [str(condition.address), str(condition.updated_after), condition.min_messages]
        described = json.dumps([*place, *arguments, sorted(condition.match.items())])
        self._key = f"comms_mining_{condition.until}_{hashlib.sha256(described.encode()).hexdigest()[:16]}"
        self._retry_seconds = retry_seconds
        self._wanted: WatchProgress | None = None
        self._due = 0.0
        self._changed = asyncio.Event()

    async def load(self) -> WatchProgress | None:
        """Return the progress that an earlier triggerer stored; ``None`` if there is none."""
        while self._store is not None:
            try:
                stored = await self._store.aget(self._key)
            except ValueError:
                _log.warning("Several assets share this watcher, so its cursor is kept in memory only")
                self._store = None
            except Exception as error:  # noqa: BLE001  # the API server may be away
                _log.warning("The cursor of the watcher cannot be read: %s", type(error).__name__)
                await asyncio.sleep(self._retry_seconds)
            else:
                return WatchProgress(stored["mark"]) if isinstance(stored, dict) and "mark" in stored else None
        return None

    def keep(self, mark: WatchProgress, *, after_event: bool) -> None:
        """Schedule the progress to be stored as soon as that is safe.

        :param mark: the progress.
        :param after_event: whether an event was just yielded, which Airflow must store first.
        """
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now + EVENT_IS_STORED_AFTER if after_event else now)
        self._wanted = mark
        self._changed.set()

    async def store(self) -> None:
        """Store each scheduled progress, as long as the watcher runs."""
        while self._store is not None:
            await self._changed.wait()
            wait = self._due - asyncio.get_running_loop().time()
            if wait > 0:
                await asyncio.sleep(wait)
                continue  # there may have been another event meanwhile
            self._changed.clear()
            mark = self._wanted
            try:
                await self._store.aset(self._key, {"mark": mark.value if mark else None})
            except Exception as error:  # noqa: BLE001  # the API server may be away
                _log.warning("The cursor of the watcher cannot be stored: %s", type(error).__name__)
                await asyncio.sleep(self._retry_seconds)
                self._changed.set()


class Watch:
    """One watcher.

    :param condition: the watched condition.
    :param conn_id: the connection.
    :param store: Airflow's store of the asset's state, if there is one.
    :param retry_seconds: pause after a failed access to it.
    """

    def __init__(self, condition: Condition, conn_id: str, store: AssetStateStore | None, retry_seconds: float) -> None:
        self._condition = condition
        self._conn_id = conn_id
        self._store = store
        self._retry_seconds = retry_seconds
        self._judge = SecondLook(condition, conn_id)
        self._storing: list[asyncio.Task[None]] = []

    async def transitions(
        self, items: AsyncIterator[Snapshot | PollFailure]
    ) -> AsyncGenerator[tuple[Look, dict[str, Any] | None], None]:
        """Yield each look at which the condition has become true, or true of another source or change.

        The very first look is no transition, nor is the first look after the connection was changed to another
        endpoint. A failure is only logged, since an event would start a DAG.

        :param items: the items of a poll loop.
        :return: the look, and the facts of the look before, if this process made one.
        """
        endpoint = last = ""
        facts: dict[str, Any] | None = None
        mark: WatchProgress | None = None
        try:
            async for item in items:
                if isinstance(item, Snapshot) and item.endpoint != endpoint:
                    if endpoint:
                        _log.warning("Connection '%s' leads to %s now, which is watched", self._conn_id, item.endpoint)
                    endpoint, facts = item.endpoint, None
                    cursor, mark = await self._begin(endpoint)
                look = await self._look(item, mark)
                if isinstance(look, CommsMiningError):
                    if str(look) != last:
                        _log.warning("A poll failed, the watch goes on: %s", look)
                    last = str(look)
                    continue
                if look.summary != last:
                    _log.info("Looked at %s: %s", self._condition.address, look.summary)
                before, facts, last = facts, look.facts, look.summary
                fired = mark is not None and look.mark is not None and look.mark != mark.value
                if fired:
                    yield look, before
                if mark is None or mark.value != look.mark:
                    mark = WatchProgress(look.mark)
                    cursor.keep(mark, after_event=fired)
        finally:
            for task in self._storing:
                task.cancel()

    async def _begin(self, endpoint: str) -> tuple[Cursor, WatchProgress | None]:
        cursor = Cursor(self._store, self._condition, (self._conn_id, endpoint), self._retry_seconds)
        mark = await cursor.load()
        # The cursor of the endpoint before may still have something to store.
        self._storing.append(asyncio.create_task(cursor.store()))
        return cursor, mark

    async def _look(self, item: Snapshot | PollFailure, mark: WatchProgress | None) -> Look | CommsMiningError:
        # The error is not raised: all watchers of a poll share it, and each raise would add its frames to it.
        if isinstance(item, PollFailure):
            return item.error
        try:
            return await self._judge(item, known=() if mark is None else (mark.value,))
        except CommsMiningError as error:
            return error
