"""What a sensor remembers.

From one look to the next, in a worker: its failures, and the endpoint that it began with. Mode ``poke`` keeps that in
the process. Mode ``reschedule`` begins a process for each look; it is kept in Airflow's store of a task's state then,
where there is one (from Airflow 3.3 on). From one try to the next: when the first one began to wait.
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
    """See the module.

    :param patience: counts the failures.
    :param endpoint: that the wait began with; ``None`` before the first look.
    :param store: where it is kept over looks; ``None`` for nowhere.
    :param key: its name there.
    """

    def __init__(self, patience: FailureBudget, endpoint: str | None = None, store: Any = None, key: str = "") -> None:
        self._patience = patience
        self._endpoint = endpoint
        self._store = store
        self._key = key

    @classmethod
    def read(cls, store: Any, context: Any, most: object, seconds: object) -> SensorState:
        """Read what the looks before this one left.

        :param store: Airflow's store of the task's state; ``None`` for none.
        :param context: the task's context. Each try has its own memory.
        :param most: ``max_consecutive_failures``.
        :param seconds: ``max_failure_seconds``.
        :raises ConfigurationError: when one of the two is not as it should be.
        """
        patience = FailureBudget.parse(most, seconds)
        if store is None:
            return cls(patience)
        key = f"comms_mining_looks_of_try_{context['ti'].try_number}"
        endpoint = None
        try:
            left = json.loads(store.get(key) or "{}")
            endpoint = left.get("endpoint")
            patience.failures, patience.since = int(left.get("failures", 0)), parse_timestamp(left.get("since"))
        except Exception as error:  # noqa: BLE001  # the wait itself does not need it
            _log.warning("What earlier looks left cannot be read: %s", type(error).__name__)
        return cls(patience, endpoint, store, key)

    @property
    def failures(self) -> int:
        """How many looks in a row have failed."""
        return self._patience.failures

    def check_endpoint(self, conn_id: str, endpoint: str) -> None:
        """Refuse to go on with another tenant than the wait began with.

        :param conn_id: the connection.
        :param endpoint: where it leads now.
        :raises ConfigurationError: when that is somewhere else.
        """
        if self._endpoint is None:
            self._endpoint = endpoint
            self._write()
        if self._endpoint != endpoint:
            raise moved(conn_id, self._endpoint, endpoint)

    def tolerates(self, error: CommsMiningError) -> bool:
        """Count a failure, and say whether the wait goes on.

        :param error: why the look failed.
        """
        tolerated = self._patience.tolerates(error)
        self._write()
        return tolerated

    def forget_failures(self) -> None:
        """Begin to count anew, after a look that did not fail."""
        if self._patience.failures:
            self._patience.forget()
            self._write()

    def _write(self) -> None:
        if self._store is None:
            return
        since = self._patience.since
        left = {
            "endpoint": self._endpoint,
            "failures": self._patience.failures,
            "since": since.isoformat() if since else None,
        }
        try:
            self._store.set(self._key, json.dumps(left))
        except Exception as error:  # noqa: BLE001  # the wait itself does not need it
            _log.warning("This look leaves nothing for the next one: %s", type(error).__name__)


def waiting_since(context: Any, began: datetime, retries: int | None) -> datetime:
    """Tell when the first try began to wait, since a retry does not begin ``timeout`` anew.

    So Airflow has it for sensors that it reschedules. Below 3.3, a deferred one could keep that nowhere.

    :param context: the task's context.
    :param began: when this try began.
    :param retries: the task's; without any, nothing is kept.
    """
    store = context.get("task_state_store")
    if store is None or not retries:
        return began
    # As Airflow counts first tries: clearing a task adds to max_tries, so what is cleared begins anew.
    key = f"comms_mining_waiting_since_try_{context['ti'].max_tries - retries + 1}"
    try:
        kept = parse_timestamp(store.get(key))
        if kept is None:
            store.set(key, began.isoformat())
    except Exception as error:  # noqa: BLE001  # the wait itself does not need it
        _log.warning("When this wait began is kept nowhere for a retry: %s", type(error).__name__)
        return began
    return kept or began
