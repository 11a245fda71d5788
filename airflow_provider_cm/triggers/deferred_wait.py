"""A deferred wait in the triggerer: it ends with one event."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_cm.api.arguments import seconds
from airflow_provider_cm.api.endpoint import normalise_endpoint
from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.exceptions import CommsMiningRetryable, airflow_error
from airflow_provider_cm.triggers.condition import Condition, ConditionArguments
from airflow_provider_cm.triggers.error_events import error_to_json, storable
from airflow_provider_cm.triggers.failure_budget import FailureBudget, still_failing, timed_out
from airflow_provider_cm.triggers.poll_loop import PollFailure, Snapshot, moved
from airflow_provider_cm.triggers.second_look import SecondLook
from airflow_provider_cm.triggers.wait_arguments import moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_cm.triggers.condition import Look


class Terms(NamedTuple):
    """The arguments of a :class:`~airflow_provider_cm.triggers.sources.SourceTrigger`, parsed.

    :param conn_id: the connection.
    :param condition: the condition that ends the wait.
    :param interval: seconds between two polls.
    :param endpoint: the only endpoint to poll; ``None`` for the connection's endpoint at the first poll.
    :param deadline: when the sensor's ``timeout`` is over.
    :param execution_deadline: when the task's ``execution_timeout`` is over.
    :param looked_at: when the sensor itself looked.
    :param budget: how many polls may fail, and for how long.
    :param end_from_trigger: whether the trigger's event ends the task.
    """

    conn_id: str
    condition: Condition
    interval: float
    endpoint: str | None
    deadline: datetime | None
    execution_deadline: datetime | None
    looked_at: datetime | None
    budget: FailureBudget
    end_from_trigger: bool

    @classmethod
    def parse(cls, arguments: Mapping[str, Any], *, watching: bool) -> Terms:
        """Parse a trigger's arguments.

        :param arguments: by name, as the trigger serializes them.
        :param watching: whether the trigger is an asset watcher's.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        endpoint = arguments["endpoint"]
        moments = {name: arguments[name] for name in ("deadline", "execution_deadline", "looked_at")}
        return cls(
            conn_id=arguments["comms_mining_conn_id"],
            condition=Condition.parse(
                **{name: arguments[name] for name in ConditionArguments.__annotations__}, watching=watching
            ),
            interval=seconds(arguments["poll_interval"], "poll_interval"),
            endpoint=None if endpoint is None else normalise_endpoint(endpoint, allow_http=True),
            **{name: None if value is None else moment(value, name) for name, value in moments.items()},
            budget=FailureBudget.parse(arguments["max_consecutive_failures"], arguments["max_failure_seconds"]),
            end_from_trigger=arguments["end_from_trigger"],
        )


class DeferredWait:
    """One wait for one condition.

    :param terms: the condition, and how long to wait for it.
    :param log: the task's logger, whose class differs between versions of Airflow.
    """

    _next_turn: ClassVar[float] = 0.0

    def __init__(self, terms: Terms, log: Any) -> None:
        self._terms = terms
        self._log = log
        self._judge = SecondLook(terms.condition, terms.conn_id)
        self._endpoint = terms.endpoint
        self._began = datetime.now(UTC)
        self._last = "no poll has ended"

    async def event(self, items: AsyncIterator[Snapshot | PollFailure]) -> TriggerEvent:
        """Wait until the condition is true, the time is over, or polls have failed too often.

        :param items: the items of a poll loop.
        :return: the event that ends the wait.
        """
        terms = self._terms
        ends = [(terms.deadline, "timeout"), (terms.execution_deadline, "execution_timeout")]
        end, over = min(((end, over) for end, over in ends if end is not None), default=(None, ""))
        try:
            async with asyncio.timeout(None if end is None else (end - datetime.now(UTC)).total_seconds()):
                return await self._first_event(items)
        except TimeoutError:
            return TriggerEvent(
                {"status": "timeout", "over": over, "message": timed_out(over, terms.condition, self._last)}
            )

    async def _first_event(self, items: AsyncIterator[Snapshot | PollFailure]) -> TriggerEvent:
        budget = self._terms.budget
        async for item in items:
            look = await self._look(item)
            if look is None:
                continue
            if isinstance(look, CommsMiningError):
                await self._take_turn()
                if not budget.tolerates(look):
                    return failed(look)
                self._last = still_failing(look)
                self._log.warning("Poll %d in a row failed: %s", budget.failures, look)
                continue
            budget.forget()
            if look.summary != self._last:
                await self._take_turn()
                self._log.info("Looked at %s: %s", self._terms.condition.address, look.summary)
                self._last = look.summary
            if look.met:
                return self._succeeded(look)
        raise AssertionError("a poll loop has no end")

    async def _look(self, item: Snapshot | PollFailure) -> Look | CommsMiningError | None:
        # All waits of a poll share the error, and each raise would add frames to its traceback.
        if isinstance(item, PollFailure):
            return item.error
        looked_at = self._terms.looked_at
        # A poll that this process began after the wait is newer than the worker's look, whatever the clocks say.
        if looked_at is not None and item.asked_at < self._began and item.asked_at < looked_at:
            return None
        if self._endpoint is None:
            self._endpoint = item.endpoint
        if item.endpoint != self._endpoint:
            return moved(self._terms.conn_id, self._endpoint, item.endpoint)
        try:
            return await self._judge(item, known=(None,))
        except CommsMiningError as error:
            return error

    @classmethod
    async def _take_turn(cls) -> None:
        """Wait for a turn of 2 ms: a thousand waits that log or end at once would block the event loop."""
        now = asyncio.get_running_loop().time()
        turn = max(now, cls._next_turn)
        cls._next_turn = turn + 0.002
        await asyncio.sleep(turn - now)

    def _succeeded(self, look: Look) -> TriggerEvent:
        if self._terms.end_from_trigger:
            return TaskSuccessEvent(xcoms={"return_value": look.facts} if look.facts is not None else None)
        return TriggerEvent({"status": "success", "source": look.facts, "endpoint": self._endpoint})


def failed(error: CommsMiningError) -> TriggerEvent:
    """Return the event of a wait that ends with an error.

    :param error: the error.
    """
    retryable = isinstance(airflow_error(error), CommsMiningRetryable)
    described = error_to_json(error)
    return TriggerEvent(
        {"status": "error", "message": storable(str(error)), "retryable": retryable, "error": described}
    )
