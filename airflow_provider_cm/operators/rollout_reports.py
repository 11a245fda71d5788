"""Keeps the report of a rollout where people and later tries of the task find it, however the try ends."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.rollout import Plan, Report

KEY = "comms_mining_rollout"
"""Where the task state store (Airflow 3.3) has what each try has written."""
_TRIES = 10
_LARGEST = 48 * 1024  # Airflow warns of more than 64 KiB in the store
_WRITTEN = ("done", "confirmed", "unknown")

_log = logging.getLogger(__name__)


class RolloutReports:
    """What one try of a rollout task leaves in its XComs and in its state store.

    Airflow deletes a task's XComs when its next try begins, so what a try has written is also kept in the task state
    store, where Airflow has one, and every later try hands it on as ``earlier_tries``.

    :param context: the task's context.
    """

    def __init__(self, context: Any) -> None:
        self._ti = context["ti"]
        self._store = context.get("task_state_store")
        self._try = getattr(self._ti, "try_number", None)
        self._earlier = self._read()
        self._left = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Hand on what earlier tries have written if this try ends with an exception and left nothing itself."""
        try:
            yield
        except BaseException:
            if self._earlier and not self._left:
                self.leave({})
            raise

    def record(self, report: Report, plan: Plan | None = None) -> dict[str, Any]:
        """Keep a report as it stands.

        :param report: the report.
        :param plan: the plan, for a task that made it itself.
        :return: what the task is to return.
        """
        self._remember(report)
        markdown = report.render_markdown()
        if plan is not None:
            markdown = f"{plan.render_markdown()}\n\n{markdown}"
        self._ti.xcom_push(key="markdown", value=markdown)
        own = report.to_dict()
        return self.leave(own if plan is None else {"plan": plan.to_dict(), "report": own})

    def leave(self, result: dict[str, Any]) -> dict[str, Any]:
        """Put a result where a task that ends well would have it, with what earlier tries have written.

        :param result: JSON values.
        :return: the same, with ``earlier_tries`` if there were any.
        """
        # Imported here, since on Airflow 3.3 it takes longer than the import of all our operators.
        from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY

        result = self.with_earlier(result)
        self._ti.xcom_push(key=XCOM_RETURN_KEY, value=result)
        self._left = True
        return result

    def with_earlier(self, result: dict[str, Any]) -> dict[str, Any]:
        """Add to a result what earlier tries have written.

        :param result: JSON values.
        """
        return {**result, "earlier_tries": self._earlier} if self._earlier else result

    def earlier_text(self) -> str:
        """Say in a sentence what earlier tries have written; empty if there were none."""
        return "".join(f" Try {each['try']} has written: {each['summary']}." for each in self._earlier)

    def _read(self) -> list[dict[str, Any]]:
        if self._store is None:
            return []
        try:
            found = self._store.get(KEY) or []
        except Exception as error:  # noqa: BLE001  # the rollout itself does not need it
            _log.warning("What earlier tries have written could not be read: %s", type(error).__name__)
            return []
        return [each for each in found if each.get("try") != self._try]

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
            _log.warning("What this try has written is kept nowhere for a retry: %s", type(error).__name__)
