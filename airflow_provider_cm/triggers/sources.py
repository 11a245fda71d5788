"""SourceTrigger: wait for a source without holding a worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_cm.api import values
from airflow_provider_cm.api.errors import (
    AuthenticationError,
    CommsMiningError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    TokenError,
)
from airflow_provider_cm.api.models import parse_timestamp
from airflow_provider_cm.exceptions import CommsMiningRetryable, airflow_error
from airflow_provider_cm.triggers.condition import Condition, Look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.hooks.settings import ConnectionLike


class SourceTrigger(BaseEventTrigger):
    """Wait until a source exists, vanishes, changes, matches, or holds messages.

    It only reads, with one attempt an interval, so there is nothing to cancel when the task is killed. All arguments
    are JSON: deadline and baseline are absolute, so that a restart of the triggerer changes nothing.

    A poll that fails is tolerated, a refused token and a missing permission included (tokens get replaced, new projects
    appear late), until ``max_consecutive_failures`` polls in a row have failed; what cannot change ends the wait at
    once. The event's payload has ``status``: ``success`` with ``source``, ``timeout``, or ``error`` with ``message``
    and ``retryable``.

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
    :param max_consecutive_failures: failed polls in a row that end the wait, 5 by default.
    :param end_from_trigger: end the task with the trigger's event, without a worker.
    """

    # A deferred task may be pinned to a triggerer's queue; the base class, made for asset watchers, says no to that.
    supports_triggerer_queue = True

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
        max_consecutive_failures: int = 5,
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
        self.max_consecutive_failures = max_consecutive_failures
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
                "max_consecutive_failures": self.max_consecutive_failures,
                "end_from_trigger": self.end_from_trigger,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the wait is over; yields exactly one event."""
        yield await self._wait()

    async def _wait(self) -> TriggerEvent:
        try:
            condition, deadline, interval, budget = self._parse()
        except ConfigurationError as error:
            return self._failed(error)
        failures = 0
        hook: CommsMiningHook | None = None
        while True:
            try:
                if hook is None:
                    # Kept in no variable, which a traceback might show.
                    hook = await asyncio.to_thread(_make_hook, await self._connection())
                look = await asyncio.to_thread(_look, hook, condition)
            except CommsMiningError as error:
                failures += 1
                if not _may_pass(error) or failures >= budget:
                    return self._failed(error)
                self.log.warning("Poll %d in a row failed: %s", failures, error)
                # The connection is read anew: a secrets backend may hold another token by now.
                hook = None
            else:
                failures = 0
                self.log.info("Looked at %s: %s", condition.address, look.summary)
                if look.met:
                    return self._succeeded(look)
            left = interval if deadline is None else (deadline - datetime.now(UTC)).total_seconds()
            if left <= 0:
                return TriggerEvent({"status": "timeout", "message": f"{condition.address}: {self.until} not in time"})
            await asyncio.sleep(min(interval, left))

    def _parse(self) -> tuple[Condition, datetime | None, float, int]:
        condition = Condition.parse(
            project=self.project,
            source_name=self.source_name,
            source_id=self.source_id,
            until=self.until,
            updated_after=self.updated_after,
            min_messages=self.min_messages,
            match=self.match,
        )
        deadline = parse_timestamp(self.deadline)
        if self.deadline is not None and deadline is None:
            raise ConfigurationError(f"deadline: {values.shown(self.deadline)} is not a moment in ISO 8601")
        interval = values.seconds(self.poll_interval, "poll_interval")
        budget = values.integer(self.max_consecutive_failures, "max_consecutive_failures", minimum=1)
        return condition, deadline, interval, budget

    async def _connection(self) -> ConnectionLike:
        try:
            return await get_async_connection(self.comms_mining_conn_id)
        except Exception as error:  # a secrets backend may raise anything, and may be back soon
            raise CommsMiningError(
                f"connection '{self.comms_mining_conn_id}' could not be read: {type(error).__name__}", transient=True
            ) from error

    def _succeeded(self, look: Look) -> TriggerEvent:
        if self.end_from_trigger:
            return TaskSuccessEvent(xcoms={"return_value": look.facts} if look.facts is not None else None)
        return TriggerEvent({"status": "success", "source": look.facts})

    def _failed(self, error: CommsMiningError) -> TriggerEvent:
        retryable = isinstance(airflow_error(error), CommsMiningRetryable)
        return TriggerEvent({"status": "error", "message": str(error), "retryable": retryable})


def _make_hook(connection: ConnectionLike) -> CommsMiningHook:
    # Imported in the thread too: it takes longer than the event loop of all triggers should be held up.
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    # One attempt a poll: the next interval is the retry.
    return CommsMiningHook.from_connection(connection, max_attempts=1)


def _look(hook: CommsMiningHook, condition: Condition) -> Look:
    return condition.look(hook.sources)


def _may_pass(error: CommsMiningError) -> bool:
    """Whether a failed poll may be followed by a better one: what a person can put right while the task waits."""
    return error.transient or isinstance(
        error, AuthenticationError | PermissionDeniedError | NotFoundError | TokenError
    )
