"""SourceSensor: a task that waits for a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_cm.api import values
from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError
from airflow_provider_cm.assets import write_outlet_events, write_source_event
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable, task_errors
from airflow_provider_cm.links import ProjectLink

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow.sdk import BaseOperatorLink

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.triggers.condition import Condition, Look
    from airflow_provider_cm.triggers.sources import SourceTrigger


class SourceSensor(BaseSensorOperator):
    """Wait until a source exists, vanishes, changes, matches, or holds messages.

    It looks once before it waits, so that a wait that is over already costs one request and no deferral. With
    ``deferrable=True`` the triggerer waits, and no worker slot is held. ``timeout``, ``poke_interval``, ``mode``,
    ``soft_fail`` and ``never_fail`` are those of every sensor. Deferred, ``timeout`` is that of all tries together
    (from Airflow 3.3 on) and ``execution_timeout`` counts the deferral, as Airflow documents; ``silent_fail``,
    ``exponential_backoff`` and ``max_wait`` have no effect.

    :param project: the project, with ``source_name``. (templated)
    :param source_name: the source's name. (templated)
    :param source_id: the source's id, instead of the two. (templated)
    :param until: ``exists`` (default), ``absent``, ``updated`` or ``has_messages``. The last reads the source's
        statistics, known from the vendor's command-line client only. (templated)
    :param updated_after: for ``updated``: the moment to compare with, such as the ``updated_at`` that a task before
        returned. (templated)
    :param min_messages: for ``has_messages``: how many, 1 by default. (templated)
    :param match: for ``exists`` and ``updated``: values that the source must have, such as ``{"title": "Inbox"}``.
        (templated)
    :param comms_mining_conn_id: the connection, ``comms_mining_default`` by default. (templated)
    :param deferrable: wait in the triggerer; by default what ``[operators] default_deferrable`` says.
    :param end_from_trigger: when deferred, end the task with the trigger's event, without a worker. Such an end emits
        no asset events, so it is refused together with ``outlets``; and Airflow hands what it returns to other tasks as
        JSON text.
    :param max_consecutive_failures: when deferred, failed polls in a row that end the wait, 5 by default.
    :return: the source as the API's JSON object; nothing for ``absent``; for ``has_messages`` the project, the name
        and ``num_comments``.
    """

    template_fields: Sequence[str] = (
        "project",
        "source_name",
        "source_id",
        "until",
        "updated_after",
        "min_messages",
        "match",
        "comms_mining_conn_id",
    )
    operator_extra_links: Collection[BaseOperatorLink] = (ProjectLink(),)
    #: Address of the page that the task is linked to, once it is known; ``None`` in a worker that resumes the task.
    project_url: str | None = None

    def __init__(
        self,
        *,
        project: str | None = None,
        source_name: str | None = None,
        source_id: str | None = None,
        until: str = "exists",
        updated_after: str | datetime | None = None,
        min_messages: int | str = 1,
        match: Mapping[str, Any] | None = None,
        comms_mining_conn_id: str = "comms_mining_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        end_from_trigger: bool = False,
        max_consecutive_failures: int = 5,
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
        self._linked: str | None = None

    @property
    def hook(self) -> CommsMiningHook:
        """The hook; imported here, since DAG parsing must not pay for what only running tasks need."""
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

        return CommsMiningHook(self.comms_mining_conn_id)

    def poke(self, context: Any) -> PokeReturnValue:
        """Look once."""
        look = self._look(self._condition(), self.hook, context)
        return PokeReturnValue(look.met, look.facts if look.met else None)

    def execute(self, context: Any) -> Any:
        """Wait here, or look once and defer."""
        self.project_url = ""
        if not self.deferrable:
            return self._ended(context, super().execute(context))
        began = datetime.now(UTC)
        with self._skipped_if_asked():
            condition = self._condition()
            with task_errors():
                # What only the trigger uses is judged before the wait begins.
                values.seconds(self.poke_interval, "poke_interval")
                values.integer(self.max_consecutive_failures, "max_consecutive_failures", minimum=1)
            look = self._first_look(condition, context)
        if look is not None and look.met:
            return self._ended(context, look.facts)
        looked_at = datetime.now(UTC)
        deadline = self._waiting_since(context, began) + timedelta(seconds=float(self.timeout))
        self.defer(
            trigger=self._trigger(condition, began, looked_at, deadline),
            method_name="execute_complete",
            # The trigger keeps the deadlines itself; Airflow's own time-out is there in case that no triggerer runs.
            timeout=max(deadline - looked_at, timedelta(0)) + timedelta(seconds=2 * float(self.poke_interval) + 60),
        )
        raise AssertionError("defer raises")

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """Go on after the trigger's event.

        :param context: the task's context.
        :param event: payload of the :class:`SourceTrigger`'s event.
        :raises AirflowSensorTimeout: when the wait was not over in time.
        :raises AirflowTaskTimeout: when the task's ``execution_timeout`` was over before.
        :raises CommsMiningFailure: when polling met an error that waiting does not mend.
        :raises CommsMiningRetryable: when polling kept failing.
        """
        from airflow_provider_cm.triggers.events import error_from_json

        payload = event if isinstance(event, Mapping) else {}
        status, message = payload.get("status"), payload.get("message")
        if status == "success" and "source" in payload:
            return self._ended(context, payload["source"])
        with self._skipped_if_asked(), task_errors():
            if status == "timeout" and message and payload.get("over") == "timeout":
                raise AirflowSensorTimeout(f"Sensor has timed out: {message}")
            if status == "timeout" and message and payload.get("over") == "execution_timeout":
                raise AirflowTaskTimeout(f"The task's execution_timeout is over: {message}")
            error = error_from_json(payload.get("error"))
            if status == "error" and error is not None:
                raise error
            raise CommsMiningFailure(f"the trigger sent an event that is not a SourceTrigger's: {values.shown(event)}")

    def _condition(self) -> Condition:
        from airflow_provider_cm.triggers.condition import Condition

        with task_errors():
            if self.end_from_trigger and self.outlets:
                raise ConfigurationError(
                    "end_from_trigger: a task that ends in the triggerer emits no asset events; remove outlets, or this"
                )
            return Condition.parse(
                project=self.project,
                source_name=self.source_name,
                source_id=self.source_id,
                until=self.until,
                updated_after=self.updated_after,
                min_messages=self.min_messages,
                match=self.match,
            )

    def _look(self, condition: Condition, hook: CommsMiningHook, context: Any) -> Look:
        # The link comes first, so that it is there while the task waits and if the look fails.
        self._link(context, hook, condition.address.project or None)
        with task_errors():
            look = condition.look(hook.sources)
        if condition.address.source_id is not None and look.facts is not None:
            self._link(context, hook, look.facts.get("owner", look.facts.get("project")))
        self.log.info("Looked at %s: %s", condition.address, look.summary)
        return look

    def _link(self, context: Any, hook: CommsMiningHook, project: str | None) -> None:
        """Link the task to its project's page, once and not at every poke."""
        if project is not None and project != self._linked:
            ProjectLink.persist(self, context, hook, project)
            self._linked = project

    def _first_look(self, condition: Condition, context: Any) -> Look | None:
        """Look once before waiting; what may pass is left to the trigger, which tolerates it within its budget."""
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
        from airflow_provider_cm.triggers.condition import may_pass

        # Kept in no variable, which a traceback might show.
        hook = CommsMiningHook.from_connection(
            CommsMiningHook.get_connection(self.comms_mining_conn_id), max_attempts=1
        )
        try:
            return self._look(condition, hook, context)
        except (CommsMiningFailure, CommsMiningRetryable) as error:
            if not isinstance(error.__cause__, CommsMiningError) or not may_pass(error.__cause__):
                raise
            self.log.warning("The first look failed, the wait goes on in the triggerer: %s", error)
            return None

    @contextmanager
    def _skipped_if_asked(self) -> Iterator[None]:
        """Skip the task as ``soft_fail`` and ``never_fail`` say, and log why.

        Airflow itself does so for a poke and, from 3.1 on and without the reason, for a resumed sensor.
        """
        covered: tuple[type[BaseException], ...] = (AirflowException, AirflowTaskTimeout) if self.soft_fail else ()
        if self.never_fail:
            covered = (Exception, AirflowTaskTimeout)
        try:
            yield
        except covered as error:
            asked = "soft_fail" if self.soft_fail else "never_fail"
            # Of what is raised neither by Airflow nor here, nobody knows what its text holds.
            told = error if isinstance(error, (AirflowException, AirflowTaskTimeout)) else type(error).__name__
            self.log.warning("The task is skipped, since %s is set: %s", asked, told)
            raise AirflowSkipException(f"{asked} is set, and the wait failed") from error

    def _waiting_since(self, context: Any, began: datetime) -> datetime:
        """Tell when the first try began to wait, since a retry does not begin ``timeout`` anew.

        So Airflow has it for sensors that it reschedules. Below 3.3, a deferred one could keep that nowhere.
        """
        from airflow_provider_cm.api.models import parse_timestamp

        store = context.get("task_state_store")
        if store is None or not self.retries:
            return began
        # As Airflow counts first tries: clearing a task adds to max_tries, so what is cleared begins anew.
        key = f"comms_mining_waiting_since_try_{context['ti'].max_tries - self.retries + 1}"
        try:
            kept = parse_timestamp(store.get(key))
            if kept is None:
                store.set(key, began.isoformat())
        except Exception as error:  # noqa: BLE001  # the wait itself does not need it
            self.log.warning("When this wait began is kept nowhere for a retry: %s", type(error).__name__)
            return began
        return kept or began

    def _ended(self, context: Any, facts: Any) -> Any:
        """Tell the task's outlets what the wait ended with, and return it."""
        if self.outlets and isinstance(facts, dict):
            with task_errors():
                if "owner" in facts:
                    write_source_event(self, context, self.hook, facts)
                elif "project" in facts:
                    write_outlet_events(self, context, self.hook, facts, [(facts["project"], facts["source_name"], {})])
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
            # Airflow counts the time of a deferral too, its documents say, but Airflow 3 does not do it.
            execution_deadline=None if limit is None else (began + limit).isoformat(),
            max_consecutive_failures=self.max_consecutive_failures,
            looked_at=looked_at.isoformat(),
            end_from_trigger=self.end_from_trigger,
        )
