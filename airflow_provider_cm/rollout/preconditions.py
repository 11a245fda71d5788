"""Compares a source with what an action expects of it: before it is carried out, and afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_cm.api.errors import printable
from airflow_provider_cm.api.models import describe_differences
from airflow_provider_cm.rollout.planning import difference
from airflow_provider_cm.rollout.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.rollout.actions import Action, Value
    from airflow_provider_cm.rollout.report import Result


_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Ending:
    """How one action ended by what was answered; a list that is made afterwards may know better.

    :param outcome: the outcome.
    :param sent: ``no``: no write was sent; ``refused``: one was sent and refused, so that nothing was changed;
        ``perhaps``: one may have been carried out.
    :param settled: whether it stands, whatever a list shows.
    """

    outcome: Outcome
    sent: Literal["no", "refused", "perhaps"] = "perhaps"
    settled: bool = False


def judge(action: Action, source: Source | None) -> Outcome | None:
    """Say how an action ends without anything being done, or ``None`` if it is to be carried out.

    :param action: to create, update or delete a source.
    :param source: the source of that name, with every field that the action tells of, as far as it is shown.
    """
    if source is None:
        return _judge_absent(action)
    if action.source_id is not None and source.id != action.source_id:
        return ended(
            action, "stale", f"another source has this name now: its id is {source.id}, not {action.source_id}"
        )
    if action.kind != "delete":
        differing, unknown = difference(source, action.after)
        if not differing and (action.kind == "create" or not unknown):
            note = f"; the server does not show its {', '.join(unknown)}" if unknown else ""
            return ended(action, "unchanged", f"it is as wanted already{note}", source.id)
        if action.kind == "create":
            moved = difference_text(differing, action.after)
            return ended(action, "stale", f"it has been created since the plan was made: {moved}", source.id)
    differing, unknown = difference(source, action.before)
    if differing or unknown:
        moved = "; ".join(
            part
            for part in (
                difference_text(differing, action.before),
                f"{', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not shown any more" if unknown else "",
            )
            if part
        )
        return ended(action, "stale", f"it has moved since the plan was made: {moved}")
    return None


def verify(action: Action, ending: Ending, source: Source | None) -> Outcome:
    """Say how an action ended in the light of a list that was made afterwards.

    :param action: the action.
    :param ending: how it ended by what was answered.
    :param source: the source of that name, if the list has one, with every field of the action that can be shown.
    """
    outcome = ending.outcome
    if ending.settled:
        return outcome
    if outcome.result in {"done", "confirmed"}:
        return _verify_success(action, outcome, source)
    if outcome.result == "unknown" and action.kind == "delete" and (source is None or source.id != action.source_id):
        return ended(action, "confirmed", "the response was lost; the source is gone")
    now = judge(action, source)
    if now is not None and now.result == "unchanged" and (ending.sent != "perhaps" or _is_whole(action, source)):
        return _as_wanted(action, ending, now)
    if outcome.result == "unchanged":
        # Only a delete that met a 404 comes here.
        if now is not None:
            return now
        return ended(action, "failed", f"the server lists the source, and yet does not find it: {outcome.message}")
    if ending.sent == "refused" and now is not None and now.result == "stale":
        return ended(action, "stale", f"{now.message}. The server answered: {outcome.message}", now.source_id)
    return outcome


def _verify_success(action: Action, outcome: Outcome, source: Source | None) -> Outcome:
    if action.kind == "delete":
        if source is not None and source.id == action.source_id:
            return ended(action, "failed", "the server accepted it, but still lists the source")
        return outcome
    if source is None:
        message = "the server accepted it, but does not list the source afterwards"
        return ended(action, "unknown", message, outcome.source_id, transient=True)
    if source.id != outcome.source_id:
        message = f"the server accepted it, but lists another source of this name afterwards (id {source.id})"
        return ended(action, "failed", message, outcome.source_id)
    differing, _ = difference(source, action.after)
    if differing:
        moved = difference_text(differing, action.after)
        message = f"the server accepted it, but the list afterwards shows something else: {moved}"
        return ended(action, "failed", message, outcome.source_id)
    return outcome


def _as_wanted(action: Action, ending: Ending, now: Outcome) -> Outcome:
    """Give the outcome of an action that did not succeed by what was answered, and whose source is as wanted."""
    outcome = ending.outcome
    state = "gone" if action.kind == "delete" else "as wanted"
    if outcome.result == "unknown":
        return ended(action, "confirmed", f"the response was lost; the source is {state}", now.source_id)
    if ending.sent == "perhaps":
        message = f"the source is {state}, although this went wrong: {outcome.message}"
        return ended(action, "confirmed", message, now.source_id)
    if outcome.result == "unchanged":
        return outcome
    return ended(action, "unchanged", f"it is {state}, and not by this apply: {outcome.message}", now.source_id)


def _is_whole(action: Action, source: Source | None) -> bool:
    """Whether a source shows all that an action wants of it."""
    return source is None or action.kind == "delete" or not difference(source, action.after)[1]


def ended(
    action: Action, result: Result, message: str, source_id: str | None = None, *, transient: bool = False
) -> Outcome:
    """Make the outcome of an action.

    :param action: the action.
    :param result: how it ended.
    :param message: what happened.
    :param source_id: the source's id, where the action does not know it.
    :param transient: whether applying again may end better.
    """
    said = printable(message, _LONGEST)  # it may quote what the server holds, and it ends up in logs
    return Outcome(action.kind, action.project, action.name, result, said, source_id or action.source_id, transient)


def not_begun(action: Action) -> Outcome:
    """Give the outcome of an action before which the task was stopped.

    :param action: the action.
    """
    return ended(action, "skipped", "not begun, since the task was stopped; apply the plan again", transient=True)


def cut_off(action: Action) -> Outcome:
    """Give the outcome of an action in the midst of which the task ended.

    :param action: the action.
    """
    message = "the task ended while it was under way, so it may or may not have been carried out; apply the plan again"
    return ended(action, "unknown", message, transient=True)


def difference_text(differing: Mapping[str, Value], expected: Mapping[str, Value]) -> str:
    """Say how a source differs from what is expected of it.

    :param differing: what there is instead, by field.
    :param expected: what is expected.
    """
    return describe_differences({name: (_plain(there), _plain(expected[name])) for name, there in differing.items()})


def _plain(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value


def _judge_absent(action: Action) -> Outcome | None:
    if action.kind == "create":
        return None
    if action.kind == "delete":
        return ended(action, "unchanged", "it is gone already")
    return ended(action, "stale", "it has vanished since the plan was made")
