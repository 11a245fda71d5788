"""A plan for people: as text for a log, and as Markdown for those who approve it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import printable

if TYPE_CHECKING:
    from airflow_provider_cm.rollout.actions import Action, Change, Plan, Value

_SYMBOLS = {"create": "+", "update": "~", "delete": "-", "blocked": "!", "unverified": "?"}
_SHOWN = 120
_LEAD = 20  # what is shown of two long texts before they part
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def render_text(plan: Plan) -> str:
    """Write a plan as text.

    :param plan: the plan.
    :return: lines; texts of sources are quoted, cut, and hold no control characters.
    """
    lines = [f"Plan for project {printable(plan.project)} on {printable(plan.target)}"]
    for action in plan.actions:
        lines.append(f"  {_SYMBOLS[action.kind]} {_title(action, action.name)}")
        if action.kind == "blocked":
            lines.append(f"      {printable(action.reason)}")
            lines.append(f"      remedy: {printable(action.remedy)}")
        elif action.kind == "unverified":
            lines.append(f"      {printable(action.reason)}")
        for change in action.changes:
            mark = "! " if change.risk else "  "
            risk = f"  (risky: {printable(change.risk)})" if change.risk else ""
            lines.append(f"    {mark}{printable(change.field)}: {' -> '.join(_sides(action, change))}{risk}")
        if action.unverified and action.kind != "unverified":
            lines.append(f"      not shown by the server, so not written: {printable(', '.join(action.unverified))}")
    return "\n".join([*lines, plan.summary(), f"Digest: {plan.digest}"])


def render_markdown(plan: Plan) -> str:
    """Write a plan as Markdown.

    :param plan: the plan.
    :return: all that comes from outside stands in code spans or is escaped, so that none of it becomes markup.
    """
    lines = [f"**Plan** for project {_code(plan.project)} on {_code(plan.target)}", ""]
    for action in plan.actions:
        lines.append(f"- {_SYMBOLS[action.kind].replace('-', '&minus;').replace('+', '&plus;')} {_heading(action)}")
        if action.kind == "blocked":
            lines.append(f"  - {_prose(action.reason)}. Remedy: {_prose(action.remedy)}")
        elif action.kind == "unverified":
            lines.append(f"  - {_prose(action.reason)}")
        for change in action.changes:
            sides = " &rarr; ".join(_code(side) for side in _sides(action, change))
            risk = f" **risky**: {_prose(change.risk)}" if change.risk else ""
            lines.append(f"  - {_prose(change.field)}: {sides}{risk}")
        if action.unverified and action.kind != "unverified":
            lines.append(f"  - not shown by the server, so not written: {_prose(', '.join(action.unverified))}")
    return "\n".join(
        [*lines, *([""] if plan.actions else []), f"{plan.summary()}.", "", f"Digest: {_code(plan.digest)}"]
    )


def _title(action: Action, name: str) -> str:
    what = f"{action.kind} {action.blocks}" if action.blocks else action.kind
    known = f", id {action.source_id}" if action.source_id else ""
    return f"{printable(name)} ({what}{known})"


def _heading(action: Action) -> str:
    what = f"{action.kind} {action.blocks}" if action.blocks else action.kind
    known = f" (id {_code(action.source_id)})" if action.source_id else ""
    return f"**{what}** {_code(action.name)}{known}"


def _sides(action: Action, change: Change) -> tuple[str, ...]:
    """Give what to show of a change: both sides, or the one that there is."""
    kind = action.blocks or action.kind
    if kind == "create":
        return (_cut(_written(change.after), 0),)
    if kind == "delete":
        return (_cut(_written(change.before), 0),)
    before, after = _written(change.before), _written(change.after)
    start = 0
    if len(before) > _SHOWN or len(after) > _SHOWN:
        # Two long texts that begin alike would look the same when cut; so it is shown from shortly before they part.
        same = next((i for i, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), None)
        start = max(0, min(len(before), len(after)) - _LEAD if same is None else same - _LEAD)
        start = start if start > _SHOWN // 2 else 0
    return _cut(before, start), _cut(after, start)


def _written(value: Value) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False)


def _cut(text: str, start: int) -> str:
    kept = text[start : start + _SHOWN]
    cut = start > 0 or len(text) > start + _SHOWN
    shown = printable(f"{'...' if start else ''}{kept}", 10 * _SHOWN)
    if not cut:
        return shown
    return f"{shown}{'...' if len(text) > start + _SHOWN else ''} ({len(text)} characters)"


def _code(text: str) -> str:
    """Put a text into a code span, whose fence is longer than any run of backticks in it."""
    text = printable(text, 10 * _SHOWN)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    # Of a space at both ends, Markdown takes one away.
    pad = " " if not text or text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _prose(text: str) -> str:
    return _PUNCTUATION.sub(r"\\\1", printable(text))
