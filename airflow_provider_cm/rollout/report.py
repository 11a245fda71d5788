"""What applying a plan did, action by action."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from airflow_provider_cm.rollout.plan_model import Kind

FORMAT_VERSION = 1

Result = Literal["done", "confirmed", "unchanged", "stale", "failed", "skipped", "unknown"]
RESULTS: tuple[Result, ...] = ("done", "confirmed", "unchanged", "stale", "failed", "skipped", "unknown")
_FINE = frozenset({"done", "confirmed", "unchanged"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one action ended.

    - ``done``: carried out, and the server said so.
    - ``confirmed``: no answer said so, and the source was then seen to be as wanted.
    - ``unchanged``: the source is as wanted, and nothing was written here.
    - ``stale``: the source has moved since the plan was made, so it was left alone.
    - ``failed``: it is not as wanted; the message says why.
    - ``skipped``: nothing was tried; the message says why.
    - ``unknown``: it may or may not have been carried out.

    :param kind: the action's kind.
    :param project: the project.
    :param name: the source's name.
    :param result: one of the above.
    :param message: what happened, in a line.
    :param source_id: the source's id, where it is known.
    :param transient: whether applying the same plan again may end better.
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
        """Whether nothing is left to be done about it."""
        return self.result in _FINE

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): {self.result}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True, slots=True)
class Report:
    """How a plan's actions ended, one outcome for each.

    :param target: endpoint of the tenant.
    :param project: the project.
    :param plan_digest: digest of the plan.
    :param outcomes: in the plan's order.
    :param no_ops: how many sources were as wanted when the plan was made.
    :param problem: why the sources could not be listed once more at the end; empty if they could, or if there was
        nothing to verify.
    """

    target: str
    project: str
    plan_digest: str
    outcomes: tuple[Outcome, ...]
    no_ops: int = 0
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether all is as the plan wanted it, and was seen to be."""
        return not self.problem and all(outcome.ok for outcome in self.outcomes)

    @property
    def verified(self) -> bool:
        """Whether what was done was seen in a list afterwards."""
        return not self.problem

    @property
    def transient(self) -> bool:
        """Whether it is not ok, and applying the same plan again may make it so."""
        return bool(self.problem) or any(outcome.transient for outcome in self.failures)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that are not ok."""
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    @property
    def counts(self) -> dict[str, int]:
        """How many outcomes there are of each result; those without any are left out."""
        found = Counter(outcome.result for outcome in self.outcomes)
        return {result: found[result] for result in RESULTS if found[result]}

    def summary(self) -> str:
        """Say in one line how it ended."""
        counted = ", ".join(f"{count} {result}" for result, count in self.counts.items()) or "nothing to do"
        return f"{self.project}: {counted}" + (f"; not verified: {self.problem}" if self.problem else "")

    def failure_text(self, limit: int = 50) -> str:
        """Say what is not ok, a line for each; empty if all is.

        :param limit: how many lines at most.
        """
        if self.ok:
            return ""
        lines = [f"- {outcome}" for outcome in self.failures[:limit]]
        if len(self.failures) > limit:
            lines.append(f"- and {len(self.failures) - limit} more")
        return "\n".join([self.summary(), *lines])

    def render_markdown(self) -> str:
        """Write it for people, as Markdown in which no text of a source or server can become markup."""
        from airflow_provider_cm.rollout.rendering import render_report

        return render_report(self)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
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
