"""Applies a plan, and reports the outcome of every action."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.api.lost_responses import LAG
from airflow_provider_cm.rollout.actions import CARRIED_OUT, Action
from airflow_provider_cm.rollout.current_state import completed
from airflow_provider_cm.rollout.executor import Executor
from airflow_provider_cm.rollout.plan_model import Plan, PlanError
from airflow_provider_cm.rollout.preconditions import Ending, cut_off, judge, not_begun, verify
from airflow_provider_cm.rollout.report import Outcome, Report
from airflow_provider_cm.rollout.worker_pool import WorkerPool

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.rollout.report import Result

PROGRESS_SECONDS = 10.0

_CUT_OFF = "the apply has not ended"
_log = logging.getLogger(__name__)
# A logger of its own, so that a caller who prints the whole report can disable it.
_outcomes_log = logging.getLogger("airflow_provider_cm.rollout.outcomes")


def apply(
    plan: Plan,
    sources: SourcesApi,
    *,
    max_workers: int = 8,
    delete_nonempty: bool = False,
    actual: Iterable[Source] | None = None,
    stop: threading.Event | None = None,
    record: Callable[[Report], None] | None = None,
) -> Report:
    """Apply a plan: creates, then updates, then deletes.

    Each source is compared with the plan first: one that matches already is *unchanged*, one that is as the plan read
    it is written, and any other is *stale* and left alone. A second apply, after a failure or kill, finishes it.
    N writes take N requests and two lists, two more requests for each delete (its messages are counted, and the source
    is read right before it), and one for each source of which the list does not show every field. If the last list does
    not confirm the outcomes, another one follows some seconds later.

    :param plan: the plan.
    :param sources: the tenant that the plan was made for.
    :param max_workers: the number of concurrent requests. When the server asks one of them to wait, all wait.
    :param delete_nonempty: whether to delete sources that hold messages or have a bucket, or whose messages cannot be
        counted.
    :param actual: a recent result of :func:`airflow_provider_cm.rollout.observe`, which saves the first list.
    :param stop: once another thread or a signal handler sets it, no further action begins: requests in flight get a few
        seconds to end, and the rest is *skipped*.
    :param record: called with the present report right before the first write, and again if an exception ends the
        apply, so that there is always a report; an action that may have been carried out is *unknown*.
    :return: one outcome for each action. After 401 or 403 the remaining actions are *skipped*; other failures stop
        nothing.
    :raises PlanError: when the plan was made for another tenant; nothing was sent.
    :raises CommsMiningError: when the project could not be listed at the beginning; nothing was written.
    """
    if plan.target != sources.session.endpoint:
        raise PlanError(
            f"the plan was made for {plan.target}, and this is {sources.session.endpoint}: nothing was done. "
            "Make a plan for this tenant"
        )
    run = _ApplyRun(plan, sources, max_workers, delete_nonempty, stop, record)
    actions = [action for action in plan.actions if action.kind in CARRIED_OUT]
    if actions:
        run.carry_out(actions, actual)
    report = run.report()
    _log.info("%s", report.summary())
    return report


def _not_carried_out(action: Action) -> Outcome:
    """Return the outcome of an action that the plan does not allow or need to be carried out."""
    if action.kind == "unverified":
        result: Result = "unchanged"
        message = action.reason
    else:
        result = "skipped"
        message = f"the plan blocks it: {action.reason}; {action.remedy}"
    return Outcome(action.kind, action.project, action.name, result, message, action.source_id)


class _ApplyRun:
    def __init__(
        self,
        plan: Plan,
        sources: SourcesApi,
        max_workers: int,
        delete_nonempty: bool,
        stop: threading.Event | None,
        record: Callable[[Report], None] | None,
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._max_workers = max_workers
        self._stop = stop
        self._record = record
        self._writer = Executor(sources, delete_nonempty=delete_nonempty, stop=stop)
        self._current: dict[str, Source] = {}
        self._endings: dict[str, Ending] = {}
        self._begun: set[str] = set()
        self._outcomes = {action.name: _not_carried_out(action) for action in plan.actions}
        self._problem = ""

    def report(self, problem: str = "") -> Report:
        """Return the present report."""
        plan = self._plan
        outcomes = tuple(self._outcomes[action.name] for action in plan.actions)
        return Report(plan.target, plan.project, plan.digest, outcomes, plan.no_ops, problem or self._problem)

    def carry_out(self, actions: list[Action], actual: Iterable[Source] | None) -> None:
        """Carry out the actions."""
        listed = self._sources.list(self._plan.project) if actual is None else list(actual)
        self._current = self._by_name(listed, actions)
        left = []
        for action in actions:
            outcome = judge(action, self._current.get(action.name))
            if outcome is None:
                left.append(action)
            else:
                self._note(action, Ending(outcome, sent="no"))
        if not left:
            return
        self._outcomes |= {action.name: cut_off(action) for action in left}
        self._leave(_CUT_OFF)
        try:
            self._write(left)
        except BaseException:
            self._leave(_CUT_OFF)
            raise
        if self._stop is not None and self._stop.is_set():
            self._problem = "the task was stopped, and so the sources were not listed once more"
            return
        try:
            self._verify([action for action in actions if action.name in self._endings])
        except CommsMiningError as error:
            self._problem = f"the sources could not be listed at the end: {error}"
        except BaseException:
            self._leave(_CUT_OFF)
            raise

    def _leave(self, problem: str) -> None:
        if self._record is not None:
            self._record(self.report(problem))

    def _write(self, actions: list[Action]) -> None:
        size = min(self._max_workers, len(actions))
        total = len(self._plan.actions)

        def log_progress() -> None:
            ended = total - len(actions) + sum(action.name in self._endings for action in actions)
            _log.info("%s: %d of %d actions have ended", self._plan.project, ended, total)

        with WorkerPool(size, self._sources.session.close, self._stop) as pool:
            for kind in CARRIED_OUT:
                jobs = [lambda action=action: self._do(action) for action in actions if action.kind == kind]
                if jobs:
                    pool.run(jobs, progress_seconds=PROGRESS_SECONDS, on_progress=log_progress)
        for action in actions:
            # After a stop: actions that no thread has begun. Those in progress stay unknown.
            if action.name not in self._begun:
                self._note(action, Ending(not_begun(action), sent="no"))

    def _do(self, action: Action) -> None:
        self._begun.add(action.name)
        self._note(action, self._writer.carry_out(action, self._current.get(action.name)))

    def _note(self, action: Action, ending: Ending) -> None:
        self._endings[action.name] = ending
        self._tell(ending.outcome)

    def _tell(self, outcome: Outcome) -> None:
        self._outcomes[outcome.name] = outcome
        _outcomes_log.log(logging.INFO if outcome.ok else logging.WARNING, "%s: %s", self._plan.project, outcome)

    def _verify(self, actions: list[Action]) -> None:
        """Correct the outcomes by a new list.

        Before an outcome is failed or unknown, the project is listed a second time: a replica of the server may lag.
        """
        doubtful = self._look(actions)
        if doubtful:
            policy = self._sources.session.retry
            policy.sleep(min(LAG, policy.max_seconds / 2))
            with contextlib.suppress(CommsMiningError):
                self._look(doubtful)

    def _look(self, actions: list[Action]) -> list[Action]:
        """Correct the outcomes by a list; return the actions that it does not confirm."""
        sure = {"done", "confirmed"}
        unsure = [action for action in actions if self._endings[action.name].outcome.result not in sure]
        present = self._by_name(self._sources.list(self._plan.project), unsure)
        doubtful = []
        for action in actions:
            ending = self._endings[action.name]
            outcome = verify(action, ending, present.get(action.name))
            if outcome != self._outcomes[action.name]:
                self._tell(outcome)
            if outcome.result in {"failed", "unknown"} and ending.sent != "no" and not ending.settled:
                doubtful.append(action)
        return doubtful

    def _by_name(self, listed: Iterable[Source], actions: list[Action]) -> dict[str, Source]:
        """Return the project's sources by name, with every readable field of those that some actions concern."""
        fields = {action.name: tuple(action.before) for action in actions}
        whole = completed(self._sources, listed, fields, max_workers=self._max_workers)
        return {source.name: source for source in whole if source.owner == self._plan.project}
