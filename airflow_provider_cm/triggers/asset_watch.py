"""Asset watchers: one event for each transition, and a cursor that outlives the triggerer."""

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

# Airflow stores an event about a second after a trigger has yielded it, and does not tell the trigger. A cursor that is
# stored before its event would lose the event if the triggerer died in between.
EVENT_IS_STORED_AFTER = 5.0


class Store(Protocol):
    """Airflow's store for the state of an asset, as far as it is used here."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Read a value.

        :param key: its name.
        :param default: what to give where there is none.
        """

    async def aset(self, key: str, value: Any) -> None:
        """Write a value.

        :param key: its name.
        :param value: JSON.
        """


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a watcher has got.

    :param value: what the last look was marked with, see :class:`airflow_provider_cm.triggers.condition.Look`.
    """

    value: str | None


class Cursor:
    """Keeps a watcher's mark where a restarted triggerer finds it.

    :param store: Airflow's store; without one (below Airflow 3.3) the mark is kept in memory only.
    :param condition: what is watched; each condition has its own cursor, so an asset can have several watchers.
    :param place: the connection and the endpoint, which have cursors of their own.
    :param retry_seconds: pause after a failed access.
    """

    def __init__(self, store: Store | None, condition: Condition, place: tuple[str, str], retry_seconds: float) -> None:
        self._store = store
        what = [str(condition.address), str(condition.updated_after), condition.min_messages]
        described = json.dumps([*place, *what, sorted(condition.match.items())])
        self._key = f"comms_mining_{condition.until}_{hashlib.sha256(described.encode()).hexdigest()[:16]}"
        self._retry_seconds = retry_seconds
        self._wanted: Mark | None = None
        self._due = 0.0
        self._changed = asyncio.Event()

    async def load(self) -> Mark | None:
        """Read the mark of the triggerer before this one; ``None`` for the first look ever."""
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
                return Mark(stored["mark"]) if isinstance(stored, dict) and "mark" in stored else None
        return None

    def keep(self, mark: Mark, *, after_event: bool) -> None:
        """Have a mark stored as soon as that is safe.

        :param mark: the mark.
        :param after_event: an event goes with it.
        """
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now + EVENT_IS_STORED_AFTER if after_event else now)
        self._wanted = mark
        self._changed.set()

    async def store(self) -> None:
        """Store what is to be kept, for as long as the watcher runs."""
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

    :param condition: what is watched.
    :param conn_id: the connection.
    :param store: Airflow's store of the asset's state, if there is one.
    :param retry_seconds: pause after a failed access to it.
    """

    def __init__(self, condition: Condition, conn_id: str, store: Store | None, retry_seconds: float) -> None:
        self._condition = condition
        self._conn_id = conn_id
        self._store = store
        self._retry_seconds = retry_seconds
        self._judge = SecondLook(condition, conn_id)
        self._storing: list[asyncio.Task[None]] = []

    async def transitions(
        self, items: AsyncIterator[Snapshot | PollFailure]
    ) -> AsyncGenerator[tuple[Look, dict[str, Any] | None], None]:
        """Give each look at which the condition has become true, or true in another way, since the look before.

        What holds at the very first look is no transition, nor is what a connection shows first that was changed to
        lead elsewhere. Failures only log: an event would start a DAG.

        :param items: from the poll loop.
        :return: the look, and what was there before as far as this process has seen it.
        """
        endpoint = last = ""
        facts: dict[str, Any] | None = None
        mark: Mark | None = None
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
                    mark = Mark(look.mark)
                    cursor.keep(mark, after_event=fired)
        finally:
            for task in self._storing:
                task.cancel()

    async def _begin(self, endpoint: str) -> tuple[Cursor, Mark | None]:
        cursor = Cursor(self._store, self._condition, (self._conn_id, endpoint), self._retry_seconds)
        mark = await cursor.load()
        # What the cursor of another endpoint has not stored yet is stored still.
        self._storing.append(asyncio.create_task(cursor.store()))
        return cursor, mark

    async def _look(self, item: Snapshot | PollFailure, mark: Mark | None) -> Look | CommsMiningError:
        # The error is not raised: all watchers of a poll share it, and each raise would add its frames to it.
        if isinstance(item, PollFailure):
            return item.error
        try:
            return await self._judge(item, known=() if mark is None else (mark.value,))
        except CommsMiningError as error:
            return error
