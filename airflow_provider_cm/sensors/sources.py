"""SourceSensor: a task that waits for a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError
from airflow_provider_cm.exceptions import CommsMiningFailure, task_errors
from airflow_provider_cm.task import CommsMiningTask
from airflow_provider_cm.triggers import wait_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.sensors.sensor_state import SensorState
    from airflow_provider_cm.task import Parsers
    from airflow_provider_cm.triggers.condition import Condition, Look
    from airflow_provider_cm.triggers.sources import SourceTrigger

# The arguments of a trigger's condition.
_CONDITION: Parsers = {
    "project": arguments.project,
    "source_name": arguments.source_name,
    "source_id": arguments.identifier,
    "until": arguments.one_of(wait_arguments.UNTIL),
    "updated_after": wait_arguments.moment,
    "min_messages": wait_arguments.count,
    "match": wait_arguments.match,
}


class SourceSensor(CommsMiningTask, BaseSensorOperator):
    """Wait until a source exists, is gone, changes, matches, or holds messages.

    It looks once before it waits: if the condition is true already, that is one request and no deferral. With
    ``deferrable=True`` the triggerer waits, and the task holds no worker slot. ``timeout``, ``poke_interval``,
    ``mode``, ``soft_fail`` and ``never_fail`` are those of every sensor. When deferred, ``timeout`` is that of all
    tries together (from Airflow 3.3 on) and ``execution_timeout`` counts the deferral, as Airflow documents;
    ``silent_fail``, ``exponential_backoff`` and ``max_wait`` have no effect.

    A few looks may fail: one budget covers those here and in the triggerer. An error that does not go away by itself
    ends the wait at once. Mode ``reschedule`` counts over its looks if Airflow keeps a task's state (3.3); below, each
    look starts at zero. Literal arguments are checked when the DAG is parsed; an optional argument that the DAG gives
    must have a value.

    :param project: the project, with ``source_name``. (templated)
    :param source_name: the source's name. (templated)
    :param source_id: the source's id, instead of project and name. (templated)
    :param until: ``exists`` (default), ``absent``, ``updated`` or ``has_messages``. The last reads the source's
        statistics. (templated)
    :param updated_after: for ``updated``: the moment to compare with, such as the ``updated_at`` that an earlier task
        returned. (templated)
    :param min_messages: for ``has_messages``: how many, 1 by default. (templated)
    :param match: for ``exists`` and ``updated``: values that the source must have, such as ``{"title": "Inbox"}``.
        (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :param deferrable: wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param end_from_trigger: if deferred, let the trigger's event end the task, without a worker. Such a task emits no
        asset events, so it must have no ``outlets``; and other tasks get its result as JSON text.
    :param max_consecutive_failures: failed looks in a row that end the wait, 5 by default.
    :param max_failure_seconds: seconds that looks must have failed for, too, before they end the wait; 600 by default,
        0 for no minimum.
    :return: the source as the API's JSON object; nothing for ``absent``; for ``has_messages`` the project, the name
        and ``num_comments``.
    """

    parsers: ClassVar[Parsers] = {
        **_CONDITION,
        "comms_mining_conn_id": arguments.filled_text,
        "max_consecutive_failures": wait_arguments.count,
        "max_failure_seconds": wait_arguments.failure_seconds,
    }
    template_fields: Sequence[str] = (*_CONDITION, "comms_mining_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"match": "json"}
    # Another process may have written the link before this one resumes the task.
    project_url = None

    def __init__(
        self,
        *,
        project: str | NotGiven = NOT_GIVEN,
        source_name: str | NotGiven = NOT_GIVEN,
        source_id: str | NotGiven = NOT_GIVEN,
        until: str = "exists",
        updated_after: str | datetime | NotGiven = NOT_GIVEN,
        min_messages: int | str = 1,
        match: Mapping[str, Any] | NotGiven = NOT_GIVEN,
        comms_mining_conn_id: str = "comms_mining_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        end_from_trigger: bool = False,
        max_consecutive_failures: int = 5,
        max_failure_seconds: float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.source_name = source_name
        self.source_id = source_id
        self.until = until
        self.updated_after = updated_after
        self.min_messages = min_messages
        self.match = match
        self.comms_mining_conn_id = comms_mining_conn_id
        self.deferrable = deferrable
        self.end_from_trigger = end_from_trigger
        self.max_consecutive_failures = max_consecutive_failures
        self.max_failure_seconds = max_failure_seconds
        self._state: SensorState | None = None
        self._last = "no look has ended"
        self.check_literals()

    def check_together(self) -> None:
        """Check that there is one way to address a source, and no argument that ``until`` does not use."""
        if self.is_settled("project", "source_name", "source_id"):
            arguments.source_address(self.project, self.source_name, self.source_id)
        if self.is_settled("until"):
            wait_arguments.check_together(
                self.argument("until"),
                updated_after=self.is_given("updated_after"),
                match=self.is_given("match"),
                min_messages=self.is_settled("min_messages") and self.argument("min_messages") != 1,
            )
        if self.end_from_trigger and self.outlets:
            raise ConfigurationError(
                "end_from_trigger: a task that ends in the triggerer emits no asset events; remove outlets, or this"
            )

    def poke(self, context: Any) -> PokeReturnValue:
        """Look once."""
        from airflow_provider_cm.triggers.failure_budget import still_failing

        with task_errors():
            condition, state = self._condition(), self._sensor_state(context)
            state.check_endpoint(self.comms_mining_conn_id, self.hook.get_conn().endpoint)
            try:
                look = self._look(condition, context)
            except CommsMiningError as error:
                self._last = still_failing(error)
                if not state.tolerates(error):
                    raise
                self.log.warning("Look %d in a row failed: %s", state.failures, error)
                return PokeReturnValue(is_done=False)
        state.forget_failures()
        return PokeReturnValue(look.met, look.facts if look.met else None)

    def execute(self, context: Any) -> Any:
        """Wait here, or look once and defer."""
        self.project_url = ""
        if not self.deferrable:
            return self._ended(context, self._wait_here(context))
        from airflow_provider_cm.sensors.sensor_state import waiting_since

        began = datetime.now(UTC)
        with self._skipped_if_asked():
            with task_errors():
                condition = self._condition()
                # Only the trigger uses it, but an error must come before the wait.
                arguments.seconds(self.poke_interval, "poke_interval")
            look = self._first_look(condition, context)
        if look is not None and look.met:
            return self._ended(context, look.facts)
        looked_at = datetime.now(UTC)
        deadline = waiting_since(context, began, self.retries) + timedelta(seconds=float(self.timeout))
        self.defer(
            trigger=self._trigger(condition, began, looked_at, deadline),
            method_name="execute_complete",
            # The trigger keeps the deadlines itself; Airflow's own timeout is for the case that no triggerer runs.
            timeout=max(deadline - looked_at, timedelta(0)) + timedelta(seconds=2 * float(self.poke_interval) + 60),
        )
        raise AssertionError("defer raises")

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """Continue after the trigger's event.

        :param context: the task's context.
        :param event: payload of the :class:`SourceTrigger`'s event.
        :raises AirflowSensorTimeout: when ``timeout`` ended the wait.
        :raises AirflowTaskTimeout: when the task's ``execution_timeout`` ended it.
        :raises CommsMiningFailure: when a poll failed with an error that does not go away by waiting.
        :raises CommsMiningRetryable: when polls failed for too long.
        """
        from airflow_provider_cm.triggers.error_events import error_from_json

        payload = event if isinstance(event, Mapping) else {}
        status, message = payload.get("status"), payload.get("message")
        if status == "success" and "source" in payload:
            self._check_endpoint(payload.get("endpoint"))
            return self._ended(context, payload["source"])
        with self._skipped_if_asked(), task_errors():
            if status == "timeout" and message and payload.get("over") == "timeout":
                raise AirflowSensorTimeout(message)
            if status == "timeout" and message and payload.get("over") == "execution_timeout":
                raise AirflowTaskTimeout(message)
            error = error_from_json(payload.get("error"))
            if status == "error" and error is not None:
                raise error
            raise CommsMiningFailure(
                f"the trigger sent an event that is not a SourceTrigger's: {arguments.excerpt(event)}"
            )

    def _condition(self) -> Condition:
        from airflow_provider_cm.triggers.condition import Condition

        self.check_together()
        return Condition.parse(**{name: self.argument(name) for name in _CONDITION})

    def _wait_here(self, context: Any) -> Any:
        """Wait as every sensor does; the message of a timeout says what the last look showed."""
        from airflow_provider_cm.triggers.failure_budget import timed_out

        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            with task_errors():
                message = timed_out("timeout", self._condition(), self._last)
            raise AirflowSensorTimeout(message) from None
        except AirflowSkipException as error:
            if error.__cause__ is not None:
                raise
            with task_errors():
                message = timed_out("timeout", self._condition(), self._last)
            self.log.warning("The task is skipped, since soft_fail is set: %s", message)
            raise AirflowSkipException(message) from None

    def _look(self, condition: Condition, context: Any) -> Look:
        # The link comes first, so that it is there while the task waits and if the look fails.
        self.link_project(context, condition.address.project or None)
        look = condition.look(self.hook.sources)
        if condition.address.source_id is not None and look.facts is not None:
            self.link_project(context, look.facts.get("owner", look.facts.get("project")))
        self.log.info("Looked at %s: %s", condition.address, look.summary)
        self._last = look.summary
        return look

    def _first_look(self, condition: Condition, context: Any) -> Look | None:
        """Look once before waiting; an error that may go away is left to the trigger and its budget."""
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
        from airflow_provider_cm.triggers.failure_budget import may_pass

        # Kept in no variable, which a traceback might show.
        self.hook = CommsMiningHook.from_connection(
            CommsMiningHook.get_connection(self.argument("comms_mining_conn_id")), max_attempts=1
        )
        with task_errors():
            try:
                return self._look(condition, context)
            except CommsMiningError as error:
                if not may_pass(error):
                    raise
                self.log.warning("The first look failed, the wait continues in the triggerer: %s", error)
                return None

    def _sensor_state(self, context: Any) -> SensorState:
        from airflow_provider_cm.sensors.sensor_state import SensorState

        if self._state is None:
            store = context.get("task_state_store") if self.reschedule else None
            self._state = SensorState.read(store, context, self.max_consecutive_failures, self.max_failure_seconds)
        return self._state

    def _check_endpoint(self, endpoint: object) -> None:
        """Emit no asset event for a source of another tenant than the connection leads to now."""
        from airflow_provider_cm.triggers.poll_loop import moved

        with self._skipped_if_asked(), task_errors():
            if self.outlets and isinstance(endpoint, str) and endpoint != self.hook.get_conn().endpoint:
                raise moved(self.comms_mining_conn_id, endpoint, self.hook.get_conn().endpoint)

    @contextmanager
    def _skipped_if_asked(self) -> Iterator[None]:
        """Skip the task if ``soft_fail`` or ``never_fail`` ask for it, and log why.

        Airflow does the same for a poke and, from 3.1 on and without the reason, for a resumed sensor.
        """
        covered: tuple[type[BaseException], ...] = (AirflowException, AirflowTaskTimeout) if self.soft_fail else ()
        if self.never_fail:
            covered = (Exception, AirflowTaskTimeout)
        try:
            yield
        except covered as error:
            option = "soft_fail" if self.soft_fail else "never_fail"
            # The text of any other library's exception might hold a secret.
            problem = error if isinstance(error, (AirflowException, AirflowTaskTimeout)) else type(error).__name__
            self.log.warning("The task is skipped, since %s is set: %s", option, problem)
            raise AirflowSkipException(f"{option} is set, and the wait failed") from error

    def _ended(self, context: Any, facts: Any) -> Any:
        """Emit the task's asset events, and return the result of the wait."""
        if isinstance(facts, dict) and facts.keys() & {"owner", "project"}:
            whole = "owner" in facts  # the API's object; otherwise a number of messages
            project, name = (facts["owner"], facts["name"]) if whole else (facts["project"], facts["source_name"])
            self._sources_read = [(project, name)]
            if self.outlets:
                with task_errors():
                    self.emit_events(context, {"source": facts} if whole else facts, [(project, name, {})])
        return facts

    def _trigger(self, condition: Condition, began: datetime, looked_at: datetime, deadline: datetime) -> SourceTrigger:
        from airflow_provider_cm.triggers.sources import SourceTrigger

        after, limit = condition.updated_after, self.execution_timeout
        return SourceTrigger(
            comms_mining_conn_id=self.comms_mining_conn_id,
            project=condition.address.project or None,
            source_name=condition.address.source_name or None,
            source_id=condition.address.source_id,
            until=condition.until,
            updated_after=after.isoformat() if after else None,
            min_messages=condition.min_messages,
            match=dict(condition.match) or None,
            poll_interval=float(self.poke_interval),
            deadline=deadline.isoformat(),
            # Airflow's documents say that it counts the time of a deferral too, but Airflow 3 does not.
            execution_deadline=None if limit is None else (began + limit).isoformat(),
            max_consecutive_failures=self.argument("max_consecutive_failures"),
            max_failure_seconds=self.argument("max_failure_seconds"),
            endpoint=self.hook.get_conn().endpoint,
            looked_at=looked_at.isoformat(),
            end_from_trigger=self.end_from_trigger,
        )
