"""Compares a source with what an action expects of it: before it is carried out, and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
            moved = _told(differing, action.after)
            return ended(action, "stale", f"it has been created since the plan was made: {moved}", source.id)
    differing, unknown = difference(source, action.before)
    if differing or unknown:
        moved = "; ".join(
            part
            for part in (
                _told(differing, action.before),
                f"{', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not shown any more" if unknown else "",
            )
            if part
        )
        return ended(action, "stale", f"it has moved since the plan was made: {moved}")
    return None


def verify(action: Action, outcome: Outcome, source: Source | None) -> tuple[Result, str] | None:
    """Say how an outcome has to change after what a list shows, or ``None`` if it stands.

    :param action: the action.
    :param outcome: done, confirmed or unknown.
    :param source: the source of that name, if the list has one.
    """
    settled = outcome.result == "unknown"
    if action.kind == "delete":
        if source is not None and source.id == action.source_id:
            return None if settled else ("failed", "the server accepted it, but still lists the source")
        return ("confirmed", "the response was lost; the source is gone") if settled else None
    if source is None:
        return None if settled else ("unknown", "the server accepted it, but does not list the source afterwards")
    differing, unknown = difference(source, action.after)
    if settled:
        moved = action.source_id is not None and source.id != action.source_id
        if differing or unknown or moved:
            return None
        return "confirmed", "the response was lost; the source is as wanted"
    if outcome.source_id is not None and source.id != outcome.source_id:
        return "failed", f"the server accepted it, but lists another source of this name afterwards (id {source.id})"
    if differing:
        told = _told(differing, action.after)
        return "failed", f"the server accepted it, but the list afterwards shows something else: {told}"
    return None


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


def _told(differing: Mapping[str, Value], expected: Mapping[str, Value]) -> str:
    return describe_differences({name: (_plain(there), _plain(expected[name])) for name, there in differing.items()})


def _plain(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value


def _judge_absent(action: Action) -> Outcome | None:
    if action.kind == "create":
        return None
    if action.kind == "delete":
        return ended(action, "unchanged", "it is gone already")
    return ended(action, "stale", "it has vanished since the plan was made")
