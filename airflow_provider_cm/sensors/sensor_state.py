"""The state of a sensor that waits in a worker.

From one look to the next: the number of failures, and the endpoint of the first look. Mode ``poke`` holds both in the
process. Mode ``reschedule`` starts a process for each look, so they are in Airflow's task state store, if there is one
(Airflow 3.3 and later). From one try to the next: when the first try began to wait.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.models import parse_timestamp
from airflow_provider_cm.triggers.failure_budget import FailureBudget
from airflow_provider_cm.triggers.poll_loop import moved

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_cm.api.errors import CommsMiningError

_log = logging.getLogger(__name__)


class SensorState:
    """The failures and the endpoint of one try.

    :param budget: counts the failures.
    :param endpoint: the endpoint of the first look; ``None`` before it.
    :param store: Airflow's task state store; ``None`` to keep the state in the process only.
    :param key: the key in the store.
    """

    def __init__(self, budget: FailureBudget, endpoint: str | None = None, store: Any = None, key: str = "") -> None:
        self._budget = budget
        self._endpoint = endpoint
        self._store = store
        self._key = key

    @classmethod
    def read(cls, store: Any, context: Any, most: object, seconds: object) -> SensorState:
        """Read the state that earlier looks have stored.

        :param store: Airflow's task state store; ``None`` if there is none.
        :param context: the task's context. Each try has its own state.
        :param most: ``max_consecutive_failures``.
        :param seconds: ``max_failure_seconds``.
        :raises ConfigurationError: if one of these two is invalid.
        """
        budget = FailureBudget.parse(most, seconds)
        if store is None:
            return cls(budget)
        key = f"comms_mining_looks_of_try_{context['ti'].try_number}"
        endpoint = None
        try:
            stored = json.loads(store.get(key) or "{}")
            endpoint = stored.get("endpoint")
            budget.failures, budget.since = int(stored.get("failures", 0)), parse_timestamp(stored.get("since"))
        except Exception as error:  # noqa: BLE001  # the wait itself does not need it
            _log.warning("The state of earlier looks cannot be read: %s", type(error).__name__)
        return cls(budget, endpoint, store, key)

    @property
    def failures(self) -> int:
        """How many looks in a row have failed."""
        return self._budget.failures

    def check_endpoint(self, conn_id: str, endpoint: str) -> None:
        """Check that the connection still leads to the tenant of the first look.

        :param conn_id: the connection.
        :param endpoint: its endpoint now.
        :raises ConfigurationError: if that is another one.
        """
        if self._endpoint is None:
            self._endpoint = endpoint
            self._write()
        if self._endpoint != endpoint:
            raise moved(conn_id, self._endpoint, endpoint)

    def tolerates(self, error: CommsMiningError) -> bool:
        """Count a failure, and return whether the wait continues.

        :param error: the error of the look.
        """
        tolerated = self._budget.tolerates(error)
        self._write()
        return tolerated

    def forget_failures(self) -> None:
        """Reset the count, after a look that did not fail."""
        if self._budget.failures:
            self._budget.forget()
            self._write()

    def _write(self) -> None:
        if self._store is None:
            return
        since = self._budget.since
        state = {
            "endpoint": self._endpoint,
            "failures": self._budget.failures,
            "since": since.isoformat() if since else None,
        }
        try:
            self._store.set(self._key, json.dumps(state))
        except Exception as error:  # noqa: BLE001  # the wait itself does not need it
            _log.warning("The state of this look could not be stored for the next one: %s", type(error).__name__)


def waiting_since(context: Any, began: datetime, retries: int | None) -> datetime:
    """Return when the first try began to wait, since a retry does not restart ``timeout``.

    Airflow does the same for sensors that it reschedules. Below 3.3 there is no store for the time of a deferred one.

    :param context: the task's context.
    :param began: when this try began.
    :param retries: the task's ``retries``; without any, nothing is stored.
    """
    store = context.get("task_state_store")
    if store is None or not retries:
        return began
    # As Airflow counts first tries: clearing a task adds to max_tries, so that a cleared task starts again.
    key = f"comms_mining_waiting_since_try_{context['ti'].max_tries - retries + 1}"
    try:
        first = parse_timestamp(store.get(key))
        if first is None:
            store.set(key, began.isoformat())
    except Exception as error:  # noqa: BLE001  # the wait itself does not need it
        _log.warning("The start of this wait could not be stored for a retry: %s", type(error).__name__)
        return began
    return first or began
