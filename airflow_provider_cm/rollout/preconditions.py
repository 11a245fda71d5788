"""Compares a source with the expectations of an action: before it is carried out, and afterwards."""

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
    """The ending of one action by the responses; a list made afterwards may correct it.

    :param outcome: the outcome.
    :param sent: ``no``: no write was sent; ``refused``: one was sent and refused, so that nothing was changed;
        ``perhaps``: one may have been carried out.
    :param settled: whether it is final, whatever a list shows.
    """

    outcome: Outcome
    sent: Literal["no", "refused", "perhaps"] = "perhaps"
    settled: bool = False


def judge(action: Action, source: Source | None) -> Outcome | None:
    """Return the outcome of an action that needs no write; ``None`` if it has to be carried out.

    :param action: an action that creates, updates or deletes a source.
    :param source: the source of that name, with every field of the action that the server shows; ``None`` if missing.
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
    """Return the outcome of an action after a list was made.

    :param action: the action.
    :param ending: the ending by the responses.
    :param source: the source of that name in the list, with every field of the action that the server shows.
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
    """Return the outcome of an action whose source matches, although no response said that it succeeded."""
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
    """Whether the server shows every field that an action sets."""
    return source is None or action.kind == "delete" or not difference(source, action.after)[1]


def ended(
    action: Action, result: Result, message: str, source_id: str | None = None, *, transient: bool = False
) -> Outcome:
    """Return an outcome of an action.

    :param action: the action.
    :param result: how it ended.
    :param message: what happened.
    :param source_id: the source's id, where the action does not know it.
    :param transient: whether another apply may succeed.
    """
    text = printable(message, _LONGEST)  # it may quote the server, and it ends up in logs
    return Outcome(action.kind, action.project, action.name, result, text, source_id or action.source_id, transient)


def not_begun(action: Action) -> Outcome:
    """Return the outcome of an action that had not begun when the task was stopped.

    :param action: the action.
    """
    return ended(action, "skipped", "not begun, since the task was stopped; apply the plan again", transient=True)


def cut_off(action: Action) -> Outcome:
    """Return the outcome of an action that was in progress when the task ended.

    :param action: the action.
    """
    message = "the task ended while it was under way, so it may or may not have been carried out; apply the plan again"
    return ended(action, "unknown", message, transient=True)


def difference_text(differing: Mapping[str, Value], expected: Mapping[str, Value]) -> str:
    """Return the differences between a source and the expected values, as words.

    :param differing: the present values that differ, by field.
    :param expected: the expected values.
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
