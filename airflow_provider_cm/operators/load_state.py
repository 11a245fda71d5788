"""What a load keeps while it runs: a checkpoint for the next try, the file of rejected rows, lines in the log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TextIO

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_cm import metrics
from airflow_provider_cm.api.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from airflow_provider_cm.loading import LoadReport, Progress

_SECONDS_BETWEEN_LINES = 30.0

_log = logging.getLogger(__name__)


class TaskCheckpoint:
    """A load's checkpoint in Airflow's store of a task's state, which has one for each map index.

    What cannot be read or written there costs time, since messages are sent again, and no money: so it is a warning.

    :param store: the store, from the task's context.
    :param key: of the checkpoint.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._store = store
        self._key = key
        self._warned = False
        self._state: dict[str, Any] | None = None
        self._rows = 0
        self._counted: dict[str, int] = {}

    @classmethod
    def of(cls, context: Any, retries: int | None) -> TaskCheckpoint | None:
        """Return a task's checkpoint.

        :param context: the task's context.
        :param retries: the task's.
        :return: ``None`` where Airflow has no such store (before 3.3), or no retry would read it.
        """
        store = context.get("task_state_store")
        if store is None or not retries:
            return None
        # Airflow keeps the state of a task that is cleared, which is to begin anew. Clearing adds to max_tries, so this
        # number is the same for all retries of a try, and another one for what is cleared.
        return cls(store, f"comms_mining_load_of_try_{context['ti'].max_tries - retries + 1}")

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, ``None`` if nothing was."""
        try:
            state = self._store.get(self._key)
        except Exception as error:  # noqa: BLE001  # the load does not need it
            _log.warning("The checkpoint cannot be read, so the load begins anew: %s", type(error).__name__)
            return None
        if not isinstance(state, dict):
            return None
        self._rows, self._counted = state.get("rows", 0), state.pop("counted", {})
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Keep this in place of what was saved before.

        :param state: JSON values.
        """
        self._state = {**state, "counted": self._counted}
        try:
            self._store.set(self._key, self._state)
        except Exception as error:  # noqa: BLE001  # as above
            if not self._warned:
                _log.warning("No checkpoint is kept, so a retry will begin anew: %s", type(error).__name__)
            self._warned = True

    def counted(self, report: LoadReport) -> dict[str, int]:
        """Note what metrics are sent of a load that failed, since the report of the next try includes it.

        :param report: of this try.
        :return: what earlier tries have sent and this report includes.
        """
        earlier = self._counted if report.resumed_at_row == self._rows else {}
        self._counted = {name: getattr(report, name) for name in metrics.LOADS}
        if self._state is not None:
            self.save(self._state)
        return earlier

    def clear(self) -> None:
        """Forget what was saved."""
        self._state = None
        try:
            self._store.delete(self._key)
        except Exception as error:  # noqa: BLE001  # as above
            _log.warning("The checkpoint cannot be deleted: %s", type(error).__name__)


def count_load(report: LoadReport, checkpoint: TaskCheckpoint | None) -> None:
    """Send the metrics of a try.

    :param report: of the load.
    :param checkpoint: of the task, ``None`` for none.
    """
    if not report.dry_run:
        earlier = {} if checkpoint is None else checkpoint.counted(report)
        metrics.load_ended({name: getattr(report, name) for name in metrics.LOADS}, earlier)


def open_rejects(path: str) -> TextIO:
    """Open the file of rejected rows for writing, and make its folder where it is a local one.

    :param path: a path, or a URL that :class:`airflow.sdk.ObjectStoragePath` takes, such as ``s3://conn@bucket/key``.
    :raises ConfigurationError: when it cannot be written.
    """
    try:
        place = ObjectStoragePath(path)
        if place.protocol in {"", "file"}:
            place.parent.mkdir(parents=True, exist_ok=True)
        file: TextIO = place.open("w", encoding="utf-8")
    except Exception as error:
        # Each file system has exceptions of its own, and not all of their texts are fit to be shown.
        reason = getattr(error, "strerror", None)
        shown = f"{type(error).__name__}: {printable(reason)}" if isinstance(reason, str) else type(error).__name__
        raise ConfigurationError(f"rejects_path: it cannot be written ({shown}); check path and connection") from error
    return file


class LoadProgress:
    """Writes how far a load has got, at most every 30 seconds.

    :param log: the task's log.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Write a line if it is time for one.

        :param progress: how far the load has got.
        """
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        self._log.info(
            "%d rows read, %d messages loaded in %d requests, %d rows rejected, %d billable so far; %.0f rows/s",
            progress.rows,
            progress.sent,
            progress.batches,
            progress.rejected,
            progress.billable,
            progress.rows / max(progress.seconds, 0.001),
        )
