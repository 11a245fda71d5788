"""The report of an apply: one outcome for each action of the plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cm.rollout.markdown import code_span, escaped

if TYPE_CHECKING:
    from airflow_provider_cm.rollout.actions import Kind

FORMAT_VERSION = 1

Result = Literal["done", "confirmed", "unchanged", "stale", "failed", "skipped", "unknown"]
RESULTS: tuple[Result, ...] = ("done", "confirmed", "unchanged", "stale", "failed", "skipped", "unknown")
_FINE = frozenset({"done", "confirmed", "unchanged"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one action.

    - ``done``: the server confirmed the write.
    - ``confirmed``: the response was lost or failed, but a later read showed the wanted state.
    - ``unchanged``: the source matched already, and this apply wrote nothing.
    - ``stale``: the source has changed since the plan was made, so it was left alone.
    - ``failed``: the source does not match; the message says why.
    - ``skipped``: nothing was sent; the message says why.
    - ``unknown``: the write may or may not have been carried out.

    :param kind: the action's kind.
    :param project: the project.
    :param name: the source's name.
    :param result: one of the above.
    :param message: what happened, in one line.
    :param source_id: the source's id, if known.
    :param transient: whether another apply of the same plan may succeed.
    """

    kind: Kind
    project: str
    name: str
    result: Result
    message: str = ""
    source_id: str | None = None
    transient: bool = False

    @property
    def ok(self) -> bool:
        """Whether the source matches the plan."""
        return self.result in _FINE

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): {self.result}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of a plan's actions.

    :param target: endpoint of the tenant.
    :param project: the project.
    :param plan_digest: digest of the plan.
    :param outcomes: one for each action, in the plan's order.
    :param no_ops: how many sources matched when the plan was made.
    :param problem: why the final list failed; empty if it succeeded, or if there was nothing to verify.
    """

    target: str
    project: str
    plan_digest: str
    outcomes: tuple[Outcome, ...]
    no_ops: int = 0
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether every source matches the plan, and the final list confirmed it."""
        return not self.problem and all(outcome.ok for outcome in self.outcomes)

    @property
    def verified(self) -> bool:
        """Whether a list made afterwards confirmed the outcomes."""
        return not self.problem

    @property
    def transient(self) -> bool:
        """Whether the report is not ok, and another apply of the same plan may succeed."""
        return bool(self.problem) or any(outcome.transient for outcome in self.failures)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that are not ok."""
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    @property
    def counts(self) -> dict[str, int]:
        """The number of outcomes by result, without zeros."""
        by_result = Counter(outcome.result for outcome in self.outcomes)
        return {result: by_result[result] for result in RESULTS if by_result[result]}

    def summary(self) -> str:
        """Return the report in one line: the number of outcomes by result."""
        counted = ", ".join(f"{count} {result}" for result, count in self.counts.items()) or "nothing to do"
        return f"{self.project}: {counted}" + (f"; not verified: {self.problem}" if self.problem else "")

    def failure_text(self, limit: int = 50) -> str:
        """Return the outcomes that are not ok, one a line; empty if the report is ok.

        :param limit: the highest number of outcomes to list, 50 by default.
        """
        if self.ok:
            return ""
        lines = [f"- {outcome}" for outcome in self.failures[:limit]]
        if len(self.failures) > limit:
            lines.append(f"- and {len(self.failures) - limit} more")
        return "\n".join([self.summary(), *lines])

    def render_markdown(self) -> str:
        """Return the report as Markdown. No text of a source or server can become markup."""
        lines = [f"**Report** for project {code_span(self.project)} on {code_span(self.target)}", ""]
        for each in self.outcomes:
            reason = f": {escaped(each.message)}" if each.message else ""
            lines.append(f"- **{each.result}** {code_span(each.name)} ({each.kind}){reason}")
        lines += [""] if self.outcomes else []
        return "\n".join([*lines, escaped(self.summary()), "", f"Digest: {code_span(self.plan_digest)}"])

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "target": self.target,
            "project": self.project,
            "plan_digest": self.plan_digest,
            "ok": self.ok,
            "problem": self.problem,
            "no_ops": self.no_ops,
            "counts": self.counts,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }
