"""Carries a plan out, and says of every action how it ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.rollout.actions import CARRIED_OUT, Action, Plan, PlanError
from airflow_provider_cm.rollout.crew import Crew
from airflow_provider_cm.rollout.judging import ended, judge, verify
from airflow_provider_cm.rollout.observing import completed
from airflow_provider_cm.rollout.report import Outcome, Report
from airflow_provider_cm.rollout.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.rollout.report import Result

PROGRESS_SECONDS = 10.0

_log = logging.getLogger(__name__)


def apply(
    plan: Plan,
    sources: SourcesApi,
    *,
    max_workers: int = 8,
    delete_nonempty: bool = False,
    actual: Iterable[Source] | None = None,
) -> Report:
    """Carry a plan out: creates, then updates, then deletes.

    What became of the sources since the plan was made decides first: one that is as wanted is *unchanged*, one that is
    as it was is acted on, any other is *stale* and left alone. So applying a plan again, after a failure or a kill,
    finishes it. N writes take N requests and two lists, one more for each delete (its messages are counted), and
    one for each source of which the list does not show every field; a delete that begins more than a second after the
    list reads its source once more.

    :param plan: the plan.
    :param sources: the tenant that the plan was made for.
    :param max_workers: how many requests at once. When the server asks one of them to wait, all do.
    :param delete_nonempty: delete sources that hold messages or have a bucket, or of which neither can be read.
    :param actual: what :func:`airflow_provider_cm.rollout.observe` gave a moment ago, which saves the first list.
    :return: one outcome for each action. After 401 and 403 nothing more is tried, and the rest is *skipped*; no other
        failure stops anything.
    :raises PlanError: when the plan was made for another tenant; nothing was sent.
    :raises CommsMiningError: when the project could not be listed at the beginning; nothing was written.
    """
    if plan.target != sources.session.endpoint:
        raise PlanError(
            f"the plan was made for {plan.target}, and this is {sources.session.endpoint}: nothing was done. "
            "Make a plan for this tenant"
        )
    outcomes = {action.name: _not_carried_out(action) for action in plan.actions if action.kind not in CARRIED_OUT}
    actions = [action for action in plan.actions if action.kind in CARRIED_OUT]
    problem = ""
    if actions:
        run = _Run(plan, sources, max_workers, delete_nonempty)
        run.carry_out(actions, actual)
        outcomes |= run.outcomes
        problem = run.problem
    report = Report(
        plan.target,
        plan.project,
        plan.digest,
        tuple(outcomes[action.name] for action in plan.actions),
        plan.no_ops,
        problem,
    )
    _log.info("%s", report.summary())
    return report


def _not_carried_out(action: Action) -> Outcome:
    """Give the outcome of an action that the plan itself says is not to be done."""
    if action.kind == "unverified":
        result: Result = "unchanged"
        message = action.reason
    else:
        result = "skipped"
        message = f"the plan blocks it: {action.reason}; {action.remedy}"
    return Outcome(action.kind, action.project, action.name, result, message, action.source_id)


class _Run:
    def __init__(self, plan: Plan, sources: SourcesApi, max_workers: int, delete_nonempty: bool) -> None:
        self._plan = plan
        self._sources = sources
        self._max_workers = max_workers
        self._writer = Writer(sources, delete_nonempty=delete_nonempty)
        self._current: dict[str, Source] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.problem = ""

    def carry_out(self, actions: list[Action], actual: Iterable[Source] | None) -> None:
        """Do what is to be done, and fill ``outcomes``."""
        listed = self._sources.list(self._plan.project) if actual is None else list(actual)
        self._writer.listed()
        fields = {action.name: tuple(action.before) for action in actions}
        whole = completed(self._sources, listed, fields, max_workers=self._max_workers)
        self._current = {source.name: source for source in whole if source.owner == self._plan.project}
        left = []
        for action in actions:
            outcome = judge(action, self._current.get(action.name))
            if outcome is None:
                left.append(action)
            else:
                self._note(outcome)
        if left:
            self._write(left)
            self._verify(left)

    def _write(self, actions: list[Action]) -> None:
        size = min(self._max_workers, len(actions))
        total = len(self.outcomes) + len(actions)

        def tell(_: int) -> None:
            _log.info("%s: %d of %d actions have ended", self._plan.project, len(self.outcomes), total)

        with Crew(size, self._sources.session.close) as crew:
            for kind in CARRIED_OUT:
                jobs = [lambda action=action: self._do(action) for action in actions if action.kind == kind]
                if jobs:
                    crew.run(jobs, every=PROGRESS_SECONDS, tell=tell)

    def _do(self, action: Action) -> None:
        self._note(self._writer.carry_out(action, self._current.get(action.name)))

    def _note(self, outcome: Outcome) -> None:
        self.outcomes[outcome.name] = outcome
        level = logging.DEBUG if outcome.ok or outcome.result == "skipped" else logging.WARNING
        _log.log(level, "%s: %s", self._plan.project, outcome)

    def _verify(self, actions: list[Action]) -> None:
        """List once more, and believe what is there rather than what was answered."""
        doubtful = [
            action for action in actions if self.outcomes[action.name].result in {"done", "confirmed", "unknown"}
        ]
        if not doubtful:
            return
        try:
            listed = self._sources.list(self._plan.project)
        except CommsMiningError as error:
            self.problem = f"the sources could not be listed at the end: {error}"
            return
        shown = {source.name: source for source in listed if source.owner == self._plan.project}
        for action in doubtful:
            outcome = self.outcomes[action.name]
            seen = verify(action, outcome, shown.get(action.name))
            if seen is not None:
                result, message = seen
                self._note(ended(action, result, message, outcome.source_id, transient=result == "unknown"))
