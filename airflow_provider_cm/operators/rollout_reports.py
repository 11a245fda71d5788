"""The report of a rollout: in the XComs for people, and in the task's state store for later tries of the task."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.rollout import Plan, Report

KEY = "comms_mining_rollout"
"""The key in the task state store (Airflow 3.3); the value lists the writes of each try."""
_TRIES = 10
_LARGEST = 48 * 1024  # Airflow warns of more than 64 KiB in the store
_WRITTEN = ("done", "confirmed", "unknown")

_log = logging.getLogger(__name__)


class RolloutReports:
    """The report of one try of a rollout task, and those of earlier tries.

    Airflow deletes a task's XComs when its next try begins. So each try also lists its writes in the task state store,
    if Airflow has one, and every later try returns them as ``earlier_tries``.

    :param context: the task's context.
    """

    def __init__(self, context: Any) -> None:
        self._ti = context["ti"]
        self._store = context.get("task_state_store")
        self._try = getattr(self._ti, "try_number", None)
        self._earlier = self._read()
        self._left = False

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Leave the writes of earlier tries if this try fails before it has a report."""
        try:
            yield
        except BaseException:
            if self._earlier and not self._left:
                self.leave({})
            raise

    def record(self, report: Report, plan: Plan | None = None) -> dict[str, Any]:
        """Leave a report in the XComs and in the state store; a task does so before its writes, too.

        :param report: the report.
        :param plan: the plan, for a task that made it itself.
        :return: the result for the task to return.
        """
        self._remember(report)
        markdown = report.render_markdown()
        if plan is not None:
            markdown = f"{plan.render_markdown()}\n\n{markdown}"
        self._ti.xcom_push(key="markdown", value=markdown)
        own = report.to_dict()
        return self.leave(own if plan is None else {"plan": plan.to_dict(), "report": own})

    def leave(self, result: dict[str, Any]) -> dict[str, Any]:
        """Push a result as the XCom of a successful task, so that a failed one has it too.

        :param result: JSON values.
        :return: the same, with ``earlier_tries`` if there were any.
        """
        # Imported here, since on Airflow 3.3 it takes longer than the import of all operators of this package.
        from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY

        result = self.with_earlier(result)
        self._ti.xcom_push(key=XCOM_RETURN_KEY, value=result)
        self._left = True
        return result

    def with_earlier(self, result: dict[str, Any]) -> dict[str, Any]:
        """Add the writes of earlier tries to a result.

        :param result: JSON values.
        """
        return {**result, "earlier_tries": self._earlier} if self._earlier else result

    def _read(self) -> list[dict[str, Any]]:
        if self._store is None:
            return []
        try:
            tries = self._store.get(KEY) or []
        except Exception as error:  # noqa: BLE001  # the rollout itself does not need it
            _log.warning("The writes of earlier tries could not be read: %s", type(error).__name__)
            return []
        return [each for each in tries if each.get("try") != self._try]

    def _remember(self, report: Report) -> None:
        written = {
            result: [each.name for each in report.outcomes if each.result == result]
            for result in _WRITTEN
            if result in report.counts
        }
        if self._store is None or not written:
            return
        entry: dict[str, Any] = {"try": self._try, "plan_digest": report.plan_digest, "summary": report.summary()}
        if len(json.dumps(written)) < _LARGEST // (len(self._earlier) + 1):
            entry["written"] = written
        try:
            self._store.set(KEY, [*self._earlier[-_TRIES:], {**entry, "counts": report.counts}])
        except Exception as error:  # noqa: BLE001  # as above
            _log.warning("The writes of this try could not be stored for a retry: %s", type(error).__name__)
