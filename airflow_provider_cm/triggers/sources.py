"""SourceTrigger: wait for a source without holding a worker.

A DAG file imports it with the sensor, so that what only a triggerer needs is imported in the methods: a third of the
time that parsing takes (benchmarks/parse_cost.py).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_cm.api import values
from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError
from airflow_provider_cm.exceptions import CommsMiningRetryable, airflow_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping

    from airflow_provider_cm.triggers.condition import Condition, Look
    from airflow_provider_cm.triggers.polling import Failure, Snapshot


class _Wait(NamedTuple):
    """The arguments, judged."""

    condition: Condition
    interval: float
    deadline: datetime | None
    execution_deadline: datetime | None
    looked_at: datetime | None
    budget: int


class SourceTrigger(BaseEventTrigger):
    """Wait until a source exists, vanishes, changes, matches, or holds messages.

    With Airflow 3.3 and later, all triggers of one triggerer that have the same connection, project and interval share
    one poll: a listing of the project. What a listing does not show is polled by source: a source that is given by its
    id, the number of messages, and a ``match`` of ``language``, ``kind`` or ``email_transform_tag``. No wait costs more
    than one request an interval, the replay after a renewed token excepted, and the first one comes at a random moment
    of the first five seconds. A ``Retry-After`` stretches the interval, up to an hour, for all that share it.

    It only reads, so there is nothing to cancel when the task is killed. All arguments are JSON: deadline and baselines
    are absolute, so that a restart of the triggerer changes nothing.

    A poll that fails is tolerated, a refused token, a missing permission and a missing project included (tokens get
    replaced, new projects appear late), until ``max_consecutive_failures`` polls in a row have failed; what cannot
    change ends the wait at once. The event's payload has ``status``: ``success`` with ``source``; ``timeout`` with
    ``message``, and which of the sensor's arguments said so, ``timeout`` or ``execution_timeout``, as ``over``; or
    ``error`` with ``message``, ``retryable``, and the ``error`` as JSON.

    In an ``AssetWatcher`` it goes on for ever, with one event each time that the condition has become true, or true of
    another source or change; the state that it finds first is no event, and failed polls only log. The payload has
    ``status`` ``success``, ``until``, the source's address, ``source``, and ``before``: what was there at the look
    before, unless this process has not seen it. ``updated`` needs no ``updated_after`` there. With Airflow 3.3 and
    later, a cursor in the asset's state store remembers the last transition over restarts.

    :param comms_mining_conn_id: the connection.
    :param project: the project, with ``source_name``.
    :param source_name: the source's name.
    :param source_id: the source's id, instead of the two.
    :param until: ``exists`` (default), ``absent``, ``updated`` or ``has_messages``.
    :param updated_after: for ``updated``: a moment in ISO 8601.
    :param min_messages: for ``has_messages``: how many, 1 by default.
    :param match: values that the source must have, by field.
    :param poll_interval: seconds between two polls, 30 by default.
    :param deadline: when to give up, in ISO 8601; never by default.
    :param execution_deadline: when the task's ``execution_timeout`` is over, in ISO 8601; never by default.
    :param max_consecutive_failures: failed polls in a row that end the wait, 5 by default.
    :param looked_at: the moment in ISO 8601 when whoever defers had looked; what was seen before then does not count.
    :param end_from_trigger: end the task with the trigger's event, without a worker.
    """

    # A deferred task may be pinned to a triggerer's queue; the base class, made for asset watchers, says no to that.
    supports_triggerer_queue = True

    # The last snapshot of each shared poll of this process, for those who join between two polls.
    _latest: ClassVar[dict[Hashable, Snapshot]] = {}
    _next_turn: ClassVar[float] = 0.0

    def __init__(
        self,
        *,
        comms_mining_conn_id: str,
        project: str | None = None,
        source_name: str | None = None,
        source_id: str | None = None,
        until: str = "exists",
        updated_after: str | None = None,
        min_messages: int = 1,
        match: Mapping[str, Any] | None = None,
        poll_interval: float = 30.0,
        deadline: str | None = None,
        execution_deadline: str | None = None,
        max_consecutive_failures: int = 5,
        looked_at: str | None = None,
        end_from_trigger: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it without annotations
        self.comms_mining_conn_id = comms_mining_conn_id
        self.project = project
        self.source_name = source_name
        self.source_id = source_id
        self.until = until
        self.updated_after = updated_after
        self.min_messages = min_messages
        self.match = match
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.execution_deadline = execution_deadline
        self.max_consecutive_failures = max_consecutive_failures
        self.looked_at = looked_at
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give the class and the arguments, which Airflow keeps in its database: no secret is among them."""
        return (
            "airflow_provider_cm.triggers.sources.SourceTrigger",
            {
                "comms_mining_conn_id": self.comms_mining_conn_id,
                "project": self.project,
                "source_name": self.source_name,
                "source_id": self.source_id,
                "until": self.until,
                "updated_after": self.updated_after,
                "min_messages": self.min_messages,
                "match": self.match,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "execution_deadline": self.execution_deadline,
                "max_consecutive_failures": self.max_consecutive_failures,
                "looked_at": self.looked_at,
                "end_from_trigger": self.end_from_trigger,
            },
        )

    def shared_stream_key(self) -> Hashable | None:
        """Tell which triggers share one poll; ``None`` for arguments that are wrong, which :meth:`run` reports."""
        try:
            wait = self._parse(watching=True)
        except ConfigurationError:
            return None
        return (self.serialize()[0], self.comms_mining_conn_id, *wait.condition.reader().key, wait.interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Snapshot | Failure, None]:
        """Poll for all triggers with one key.

        :param kwargs: arguments of one of them, of which only those in the key are used.
        """
        import structlog

        from airflow_provider_cm.triggers.polling import Snapshot

        # The poll belongs to no task: its log goes to the triggerer's own.
        structlog.contextvars.clear_contextvars()
        trigger = cls(**kwargs)
        key = trigger.shared_stream_key()
        latest: Snapshot | None = None
        try:
            async with aclosing(trigger._poll()) as items:
                async for item in items:
                    latest = item if isinstance(item, Snapshot) else None
                    if latest is not None:
                        cls._latest[key] = latest
                    else:
                        cls._latest.pop(key, None)
                    yield item
        finally:
            # A new loop for the same key may have begun before this one was cancelled.
            if latest is not None and cls._latest.get(key) is latest:
                del cls._latest[key]

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Snapshot | Failure]
    ) -> AsyncGenerator[TriggerEvent, None]:
        """Wait for what this trigger's own arguments say.

        :param shared_stream: from :meth:`open_shared_stream`.
        """
        # A watcher goes on from its cursor, and what was seen before that would be a transition backwards.
        latest = None if self._watches else self._latest.get(self.shared_stream_key())
        async with aclosing(self._events(_with(latest, shared_stream))) as events:
            async for event in events:
                yield event

    async def run(self) -> AsyncGenerator[TriggerEvent, None]:
        """Wait with a poll of one's own: below Airflow 3.3, and in ``dag.test()``."""
        async with aclosing(self._events(self._poll())) as events:
            async for event in events:
                yield event

    @property
    def _watches(self) -> bool:
        """Whether this is an asset watcher's. Airflow does not say so, but gives what only one or the other needs."""
        if hasattr(self, "asset_state_store"):
            return self.asset_state_store is not None
        # Below 3.3. Without a triggerer (dag.test()) a trigger has no id, and a deferred task's has a task instance.
        return getattr(self, "trigger_id", None) is not None and self.task_instance is None

    def _parse(self, *, watching: bool) -> _Wait:
        from airflow_provider_cm.triggers.condition import Condition

        condition = Condition.parse(
            project=self.project,
            source_name=self.source_name,
            source_id=self.source_id,
            until=self.until,
            updated_after=self.updated_after,
            min_messages=self.min_messages,
            match=self.match,
            watching=watching,
        )
        return _Wait(
            condition,
            values.seconds(self.poll_interval, "poll_interval"),
            _moment(self.deadline, "deadline"),
            _moment(self.execution_deadline, "execution_deadline"),
            _moment(self.looked_at, "looked_at"),
            values.integer(self.max_consecutive_failures, "max_consecutive_failures", minimum=1),
        )

    async def _poll(self) -> AsyncGenerator[Snapshot | Failure, None]:
        from airflow_provider_cm.triggers.polling import PollLoop

        wait = self._parse(watching=True)
        loop = PollLoop(self.comms_mining_conn_id, wait.condition.reader(), wait.interval)
        async with aclosing(loop.items()) as items:
            async for item in items:
                yield item

    async def _events(self, items: AsyncGenerator[Snapshot | Failure, None]) -> AsyncGenerator[TriggerEvent, None]:
        watches = self._watches
        try:
            wait = self._parse(watching=watches)
        except ConfigurationError as error:
            if watches:
                # An event would start a DAG, and an end would have Airflow begin anew at once.
                self.log.error("This watcher cannot watch: %s", error)  # noqa: TRY400  # the message says it all
                await asyncio.Event().wait()
            yield self._failed(error)
            return
        async with aclosing(items):
            if watches:
                async with aclosing(self._transitions(items, wait)) as events:
                    async for event in events:
                        yield event
            else:
                yield await self._wait(items, wait)

    async def _transitions(
        self, items: AsyncIterator[Snapshot | Failure], wait: _Wait
    ) -> AsyncGenerator[TriggerEvent, None]:
        from airflow_provider_cm.triggers.watching import Cursor, transitions

        cursor = Cursor(getattr(self, "asset_state_store", None), wait.condition, wait.interval)
        async with aclosing(transitions(items, wait.condition, cursor)) as looks:
            async for look, before in looks:
                yield TriggerEvent(
                    {
                        "status": "success",
                        "until": self.until,
                        "project": self.project,
                        "source_name": self.source_name,
                        "source_id": self.source_id,
                        "source": look.facts,
                        "before": before,
                    }
                )

    async def _wait(self, items: AsyncIterator[Snapshot | Failure], wait: _Wait) -> TriggerEvent:
        ends = [(wait.deadline, "timeout"), (wait.execution_deadline, "execution_timeout")]
        end, over = min(((end, over) for end, over in ends if end is not None), default=(None, ""))
        try:
            async with asyncio.timeout(None if end is None else (end - datetime.now(UTC)).total_seconds()):
                return await self._first_event(items, wait)
        except TimeoutError:
            message = f"{wait.condition.address}: {self.until} not in time"
            return TriggerEvent({"status": "timeout", "over": over, "message": message})

    async def _first_event(self, items: AsyncIterator[Snapshot | Failure], wait: _Wait) -> TriggerEvent:
        from airflow_provider_cm.triggers.condition import may_pass
        from airflow_provider_cm.triggers.polling import Failure

        failures, said = 0, ""
        async for item in items:
            if isinstance(item, Failure):
                failures += 1
                await self._take_turn()
                if not may_pass(item.error) or failures >= wait.budget:
                    return self._failed(item.error)
                self.log.warning("Poll %d in a row failed: %s", failures, item.error)
                continue
            failures = 0
            if wait.looked_at is not None and item.asked_at < wait.looked_at:
                continue
            try:
                look = wait.condition.judge(item.seen)
            except CommsMiningError as error:
                return self._failed(error)
            if look.summary != said:
                await self._take_turn()
                self.log.info("Looked at %s: %s", wait.condition.address, look.summary)
                said = look.summary
            if look.met:
                return self._succeeded(look)
        raise AssertionError("a poll loop has no end")

    @classmethod
    async def _take_turn(cls) -> None:
        """Wait for a moment when no other wait logs or ends: a thousand at once would block the event loop."""
        now = asyncio.get_running_loop().time()
        turn = max(now, cls._next_turn)
        cls._next_turn = turn + 0.002
        await asyncio.sleep(turn - now)

    def _succeeded(self, look: Look) -> TriggerEvent:
        if self.end_from_trigger:
            return TaskSuccessEvent(xcoms={"return_value": look.facts} if look.facts is not None else None)
        return TriggerEvent({"status": "success", "source": look.facts})

    def _failed(self, error: CommsMiningError) -> TriggerEvent:
        from airflow_provider_cm.triggers.events import error_to_json

        retryable = isinstance(airflow_error(error), CommsMiningRetryable)
        told = error_to_json(error)
        return TriggerEvent({"status": "error", "message": str(error), "retryable": retryable, "error": told})


async def _with(
    latest: Snapshot | None, items: AsyncIterator[Snapshot | Failure]
) -> AsyncGenerator[Snapshot | Failure, None]:
    if latest is not None:
        yield latest
    async for item in items:
        yield item


def _moment(value: str | None, name: str) -> datetime | None:
    from airflow_provider_cm.api.models import parse_timestamp

    moment = parse_timestamp(value)
    if value is not None and moment is None:
        raise ConfigurationError(f"{name}: {values.shown(value)} is not a moment in ISO 8601")
    return moment
