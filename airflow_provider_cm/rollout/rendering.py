"""The actions of a plan as lines for people: as text for a log, and as Markdown for an approval."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import printable
from airflow_provider_cm.rollout.markdown import code_span, escaped, printable_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_cm.rollout.actions import Action, Change, Value

_SYMBOLS = {"create": "+", "update": "~", "delete": "-", "blocked": "!", "unverified": "?"}
_LONGEST = 120  # characters of a text that is not approved
_LEAD = 20  # characters before the first difference of two long texts


def text_lines(actions: Iterable[Action]) -> list[str]:
    """Return the lines of some actions as text. A value that is to be written is there in full.

    :param actions: the actions.
    """
    lines = []
    for action in actions:
        lines.append(f"  {_SYMBOLS[action.kind]} {_title(action)}")
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
    return lines


def markdown_lines(actions: Iterable[Action]) -> list[str]:
    """Return the lines of some actions as a Markdown list. Every text from outside is a code span or escaped.

    :param actions: the actions.
    """
    lines = []
    for action in actions:
        lines.append(f"- {_SYMBOLS[action.kind].replace('-', '&minus;').replace('+', '&plus;')} {_heading(action)}")
        if action.kind == "blocked":
            lines.append(f"  - {escaped(action.reason)}. Remedy: {escaped(action.remedy)}")
        elif action.kind == "unverified":
            lines.append(f"  - {escaped(action.reason)}")
        for change in action.changes:
            risk = f" **risky**: {escaped(change.risk)}" if change.risk else ""
            lines.append(f"  - {escaped(change.field)}: {_joined(action, change, ' &rarr; ', code_span)}{risk}")
        if action.unverified and action.kind != "unverified":
            lines.append(f"  - not shown by the server, so not written: {escaped(', '.join(action.unverified))}")
    return lines


def _title(action: Action) -> str:
    identity = f", id {action.source_id}" if action.source_id else ""
    return f"{printable(action.name)} ({_full_kind(action)}{identity})"


def _heading(action: Action) -> str:
    identity = f" (id {code_span(action.source_id)})" if action.source_id else ""
    return f"**{_full_kind(action)}** {code_span(action.name)}{identity}"


def _full_kind(action: Action) -> str:
    return f"{action.kind} {action.blocks}" if action.blocks else action.kind


def _joined(action: Action, change: Change, arrow: str, written: Callable[[str], str] = str) -> str:
    between, parts = _parts(action, change)
    return (between or arrow).join(label + ", ".join(written(text) for text in texts) for label, texts in parts)


def _parts(action: Action, change: Change) -> tuple[str, list[tuple[str, list[str]]]]:
    """Return the separator of a change's parts, and the label and texts of each part.

    What is approved is there in full. Long texts that stay as they are, or that a delete removes, are cut.
    """
    kind = action.blocks or action.kind
    if kind == "delete":
        whole = change.field == "sensitive_properties"
        return "", [("", [_excerpt(_written(change.before), 0, None if whole else _LONGEST)])]
    if kind == "create":
        return "", [("", [_excerpt(_written(change.after))])]
    if change.field == "sensitive_properties":
        return "; ", _list_parts(_items(change.before), _items(change.after))
    return "", [("", [side]) for side in _sides(_written(change.before), _written(change.after))]


def _list_parts(before: tuple[str, ...], after: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Return the parts of a changed list: the items dropped, the items added, and how many stay."""
    dropped = [_excerpt(_written(item)) for item in before if item not in after]
    added = [_excerpt(_written(item)) for item in after if item not in before]
    stays = sum(item in after for item in before)
    parts = [("dropped ", dropped), ("added ", added)]
    return [part for part in parts if part[1]] + ([(f"{stays} unchanged", [])] if stays else [])


def _items(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _sides(before: str, after: str) -> tuple[str, str]:
    """Return both sides of a change; long texts lose most of their common beginning and end."""
    if len(before) <= _LONGEST and len(after) <= _LONGEST:
        return _excerpt(before), _excerpt(after)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    first, last = max(0, start - _LEAD), max(0, end - _LEAD)
    first, last = (part if part > _LONGEST // 2 else 0 for part in (first, last))
    return _excerpt(before, first, len(before) - last), _excerpt(after, first, len(after) - last)


def _common(one: str, other: str) -> int:
    """Count the characters of the common beginning of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _written(value: Value) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False)


def _excerpt(text: str, start: int = 0, end: int | None = None) -> str:
    end = len(text) if end is None else min(end, len(text))
    part = printable_text(text[start:end])
    if start == 0 and end == len(text):
        return part
    return f"{'...' if start else ''}{part}{'...' if end < len(text) else ''} ({len(text)} characters)"
