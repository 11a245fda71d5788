"""SourceTrigger: wait for a source without holding a worker.

DAG files import this module with the sensor. Modules that only a triggerer needs are imported in the methods, which
saves a third of the parse time (benchmarks/parse_cost.py).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.triggers import wait_arguments

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping

    from airflow_provider_cm.triggers.deferred_wait import Terms
    from airflow_provider_cm.triggers.poll_loop import PollFailure, Snapshot


@dataclass(kw_only=True, eq=False, repr=False)
class SourceTrigger(BaseEventTrigger):
    """Wait until a source exists, is gone, changes, matches, or holds messages.

    With Airflow 3.3 and later, all triggers of one triggerer that have the same connection, endpoint, project and
    interval share one poll: a listing of the project. What a listing does not show is polled by source: a source that
    is given by its id, the number of messages, and a ``match`` of ``language``, ``kind`` or ``email_transform_tag``.
    No poll costs more than one request an interval, the replay after a renewed token excepted, and the first one comes
    at a random moment of the first five seconds. A ``Retry-After`` stretches the interval, up to an hour, for all that
    share it. All polls of a connection share one client, which sends at most eight requests at a time.

    It only reads, so there is nothing to cancel when the task is killed. All arguments are JSON: deadline and baselines
    are absolute, so that a restart of the triggerer changes nothing. ``None`` stands for an argument not given.

    A poll that fails is tolerated, a refused token, a missing permission and a missing project included (tokens get
    replaced, new projects appear late), until ``max_consecutive_failures`` polls in a row have failed and the first of
    them was ``max_failure_seconds`` ago; what cannot change ends the wait at once, a connection that leads to another
    endpoint than before included. The event's payload has ``status``: ``success`` with ``source`` and the ``endpoint``
    that it was seen at; ``timeout`` with ``message``, and which of the sensor's arguments said so, ``timeout`` or
    ``execution_timeout``, as ``over``; or ``error`` with ``message``, ``retryable``, and the ``error`` as JSON.

    In an ``AssetWatcher`` it goes on for ever, with one event each time that the condition has become true, or true of
    another source or change; the state that it finds first is no event, and failed polls only log. The payload has
    ``status`` ``success``, ``until``, the source's address, ``source``, and ``before``: what was there at the look
    before, unless this process has not seen it. ``updated`` needs no ``updated_after`` there. With Airflow 3.3 and
    later, a cursor in the asset's state store remembers the last transition over restarts; each connection and endpoint
    has its own.

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
    :param max_failure_seconds: seconds that polls must have failed for, too, before they end the wait; 600 by default,
        0 for none.
    :param looked_at: the moment in ISO 8601 when whoever defers had looked; what polls saw before then does not count.
    :param endpoint: the endpoint that whoever defers had looked at. By default a wait keeps to the one that its first
        poll sees, and a watcher follows its connection.
    :param end_from_trigger: end the task with the trigger's event, without a worker.
    :raises ConfigurationError: for an address or an ``until`` that can never be right.
    """

    # A deferred task may be pinned to a triggerer's queue; the base class, made for asset watchers, refuses queues.
    supports_triggerer_queue = True

    # The last snapshot of each shared poll in this process, for triggers that join between two polls.
    _latest: ClassVar[dict[Hashable, Snapshot]] = {}

    comms_mining_conn_id: str
    project: str | None = None
    source_name: str | None = None
    source_id: str | None = None
    until: str = "exists"
    updated_after: str | None = None
    min_messages: int = 1
    match: Mapping[str, Any] | None = None
    poll_interval: float = 30.0
    deadline: str | None = None
    execution_deadline: str | None = None
    max_consecutive_failures: int = 5
    max_failure_seconds: float = 600.0
    looked_at: str | None = None
    endpoint: str | None = None
    end_from_trigger: bool = False

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow has no annotations for it
        # The arguments of a watcher hold no templates, so that a wrong one fails the import of its DAG. The other
        # arguments are checked when they are used: that needs imports which are too slow for DAG parsing.
        address = (self.project, self.source_name, self.source_id)
        arguments.source_address(*(arguments.NOT_GIVEN if each is None else each for each in address))
        arguments.choice(self.until, "until", wait_arguments.UNTIL)
        arguments.seconds(self.poll_interval, "poll_interval")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments. Airflow keeps them in its database; none is a secret."""
        path = "airflow_provider_cm.triggers.sources.SourceTrigger"
        return path, {field.name: getattr(self, field.name) for field in fields(self)}

    def shared_stream_key(self) -> Hashable | None:
        """Return the key of the shared poll; ``None`` if an argument is wrong, which :meth:`run` reports."""
        try:
            terms = self._parse(watching=True)
        except ConfigurationError:
            return None
        reads = terms.condition.reader().key
        return (self.serialize()[0], self.comms_mining_conn_id, self.endpoint, *reads, terms.interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Snapshot | PollFailure, None]:
        """Poll for all triggers with one key.

        :param kwargs: the arguments of one of them; only those in the key are used.
        """
        import structlog

        from airflow_provider_cm.triggers.poll_loop import Snapshot

        # The poll belongs to no task, so it logs to the triggerer's own log.
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
        self, shared_stream: AsyncIterator[Snapshot | PollFailure]
    ) -> AsyncGenerator[TriggerEvent, None]:
        """Wait for the condition of this trigger.

        :param shared_stream: the items of :meth:`open_shared_stream`.
        """
        # A watcher goes on from its cursor; an older snapshot would look like a transition backwards.
        latest = None if self._watches else self._latest.get(self.shared_stream_key())
        async with aclosing(self._events(_with(latest, shared_stream))) as events:
            async for event in events:
                yield event

    async def run(self) -> AsyncGenerator[TriggerEvent, None]:
        """Wait with an own poll: below Airflow 3.3, and in ``dag.test()``."""
        async with aclosing(self._events(self._poll())) as events:
            async for event in events:
                yield event

    @property
    def _watches(self) -> bool:
        """Whether an asset watcher runs this trigger, by the attributes that Airflow sets."""
        if hasattr(self, "asset_state_store"):
            return self.asset_state_store is not None
        # Below 3.3. Without a triggerer (dag.test()) a trigger has no id, and a deferred task's has a task instance.
        return getattr(self, "trigger_id", None) is not None and self.task_instance is None

    def _parse(self, *, watching: bool) -> Terms:
        from airflow_provider_cm.triggers.deferred_wait import Terms

        return Terms.parse(self.serialize()[1], watching=watching)

    async def _poll(self) -> AsyncGenerator[Snapshot | PollFailure, None]:
        from airflow_provider_cm.triggers.poll_loop import PollLoop

        terms = self._parse(watching=True)
        loop = PollLoop(terms.conn_id, terms.condition.reader(), terms.interval, terms.endpoint)
        async with aclosing(loop.items()) as items:
            async for item in items:
                yield item

    async def _events(self, items: AsyncGenerator[Snapshot | PollFailure, None]) -> AsyncGenerator[TriggerEvent, None]:
        from airflow_provider_cm.triggers import poll_metrics
        from airflow_provider_cm.triggers.deferred_wait import DeferredWait, failed

        watches = self._watches
        try:
            terms = self._parse(watching=watches)
        except ConfigurationError as error:
            if watches:
                # An event would start a DAG, and a trigger that ends is started again at once.
                self.log.error("This watcher cannot watch: %s", error)  # noqa: TRY400  # the message says it all
                await asyncio.Event().wait()
            yield failed(error)
            return
        async with aclosing(items):
            with poll_metrics.waits.one_more():
                if not watches:
                    yield await DeferredWait(terms, self.log).event(items)
                    return
                async with aclosing(self._transitions(items, terms)) as events:
                    async for event in events:
                        yield event

    async def _transitions(
        self, items: AsyncIterator[Snapshot | PollFailure], terms: Terms
    ) -> AsyncGenerator[TriggerEvent, None]:
        from airflow_provider_cm.triggers.asset_watch import Watch

        watch = Watch(terms.condition, terms.conn_id, getattr(self, "asset_state_store", None), terms.interval)
        async with aclosing(watch.transitions(items)) as looks:
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


async def _with(
    latest: Snapshot | None, items: AsyncIterator[Snapshot | PollFailure]
) -> AsyncGenerator[Snapshot | PollFailure, None]:
    if latest is not None:
        yield latest
    async for item in items:
        yield item
