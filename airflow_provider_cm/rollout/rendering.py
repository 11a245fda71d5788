"""A plan for people, as text for a log and as Markdown for those who approve it; and a report, as Markdown."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.rollout.plan_model import Action, Change, Plan, Value
    from airflow_provider_cm.rollout.report import Report

_SYMBOLS = {"create": "+", "update": "~", "delete": "-", "blocked": "!", "unverified": "?"}
_SHOWN = 120
_LEAD = 20  # what is shown of two long texts before they part
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def render_text(plan: Plan) -> str:
    """Write a plan as text.

    :param plan: the plan.
    :return: lines; texts of sources are quoted, and hold no control characters. What is to be written is there in full.
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
            lines.append(f"    {mark}{printable(change.field)}: {_joined(action, change, ' -> ')}{risk}")
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
            risk = f" **risky**: {_prose(change.risk)}" if change.risk else ""
            lines.append(f"  - {_prose(change.field)}: {_joined(action, change, ' &rarr; ', _code)}{risk}")
        if action.unverified and action.kind != "unverified":
            lines.append(f"  - not shown by the server, so not written: {_prose(', '.join(action.unverified))}")
    return "\n".join(
        [*lines, *([""] if plan.actions else []), f"{plan.summary()}.", "", f"Digest: {_code(plan.digest)}"]
    )


def render_report(report: Report) -> str:
    """Write a report as Markdown.

    :param report: the report.
    :return: as for :func:`render_markdown`.
    """
    lines = [f"**Report** for project {_code(report.project)} on {_code(report.target)}", ""]
    for each in report.outcomes:
        reason = f": {_prose(each.message)}" if each.message else ""
        lines.append(f"- **{each.result}** {_code(each.name)} ({each.kind}){reason}")
    summary = _prose(report.summary())
    return "\n".join([*lines, *([""] if report.outcomes else []), summary, "", f"Digest: {_code(report.plan_digest)}"])


def _title(action: Action, name: str) -> str:
    what = f"{action.kind} {action.blocks}" if action.blocks else action.kind
    known = f", id {action.source_id}" if action.source_id else ""
    return f"{printable(name)} ({what}{known})"


def _heading(action: Action) -> str:
    what = f"{action.kind} {action.blocks}" if action.blocks else action.kind
    known = f" (id {_code(action.source_id)})" if action.source_id else ""
    return f"**{what}** {_code(action.name)}{known}"


def _joined(action: Action, change: Change, arrow: str, written: Callable[[str], str] = str) -> str:
    between, parts = _parts(action, change)
    return (between or arrow).join(label + ", ".join(written(text) for text in texts) for label, texts in parts)


def _parts(action: Action, change: Change) -> tuple[str, list[tuple[str, list[str]]]]:
    """Give what to show of a change: what stands between the parts, and each part's label and texts.

    All that is approved is there in full: of what stays as it is, and of what a delete takes away, long texts are cut.
    """
    kind = action.blocks or action.kind
    if kind == "delete":
        whole = change.field == "sensitive_properties"
        return "", [("", [_excerpt(_written(change.before), 0, None if whole else _SHOWN)])]
    if kind == "create":
        return "", [("", [_excerpt(_written(change.after))])]
    if change.field == "sensitive_properties":
        return "; ", _list_parts(_items(change.before), _items(change.after))
    return "", [("", [side]) for side in _sides(_written(change.before), _written(change.after))]


def _list_parts(before: tuple[str, ...], after: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Say of a list what is dropped, and what is added."""
    dropped = [_excerpt(_written(item)) for item in before if item not in after]
    added = [_excerpt(_written(item)) for item in after if item not in before]
    stays = sum(item in after for item in before)
    parts = [("dropped ", dropped), ("added ", added)]
    return [part for part in parts if part[1]] + ([(f"{stays} unchanged", [])] if stays else [])


def _items(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _sides(before: str, after: str) -> tuple[str, str]:
    """Give both sides of a change, without most of what long texts have in common at their beginning and end."""
    if len(before) <= _SHOWN and len(after) <= _SHOWN:
        return _excerpt(before), _excerpt(after)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    first, last = max(0, start - _LEAD), max(0, end - _LEAD)
    first, last = (part if part > _SHOWN // 2 else 0 for part in (first, last))
    return _excerpt(before, first, len(before) - last), _excerpt(after, first, len(after) - last)


def _common(one: str, other: str) -> int:
    """Count the characters that two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _written(value: Value) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False)


def _excerpt(text: str, start: int = 0, end: int | None = None) -> str:
    end = len(text) if end is None else min(end, len(text))
    part = _printable(text[start:end])
    if start == 0 and end == len(text):
        return part
    return f"{'...' if start else ''}{part}{'...' if end < len(text) else ''} ({len(text)} characters)"


def _printable(text: str) -> str:
    return printable(text, max(1, len(text)))


def _code(text: str) -> str:
    """Put a text into a code span, whose fence is longer than any run of backticks in it."""
    text = _printable(text)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    # Of a space at both ends, Markdown takes one away.
    pad = " " if not text or text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _prose(text: str) -> str:
    return _PUNCTUATION.sub(r"\\\1", _printable(text))
