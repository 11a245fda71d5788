"""Write the tables of the documents that the code decides: faults, settings, messages.

Usage: ``docs_tables.py [--check]``; with ``--check`` nothing is written, and a table that is not right is an error.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.faults import ANY_STATUS, KINDS
from airflow_provider_cm.emulator.settings import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_provider_cm"
NO_MESSAGES = {"AttributeError", "AssertionError"}  # of programmers, not of users
PLACEHOLDER = "…"


def faults() -> str:
    """Return the kinds of faults."""
    rows = [
        f"| `{kind}` | {_cell(text)} | {when} |"
        for kind, (text, when, _) in {"503, 429, …": ANY_STATUS, **KINDS}.items()
    ]
    return "\n".join(["| kind | what happens | when, by default |", "|---|---|---|", *rows])


def settings() -> str:
    """Return the emulator's settings."""
    rows = [
        f"| `{name}` | {_cell(allowed)} | `{default}` | {_cell(text)} |" for name, allowed, default, text in describe()
    ]
    return "\n".join(
        ["| setting | values | default | what it decides, and on what evidence |", "|---|---|---|---|", *rows]
    )


def messages() -> str:
    """Return every message that the code raises, by the class of the error."""
    texts: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        if "emulator" not in path.relative_to(PACKAGE).parts:
            for kind, text in raised(path):
                texts[kind].add(text)
    rows = [f"| `{kind}` | {_cell(text)} |" for kind in sorted(texts) for text in sorted(texts[kind])]
    return "\n".join(["| error | message |", "|---|---|", *rows])


def raised(path: Path) -> Iterator[tuple[str, str]]:
    """Yield class and text of each message in a module.

    :param path: the module.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            continue
        kind, text = node.func.id, _text(node.args[0])
        named = re.fullmatch(r"[A-Z]\w*(Error|Failure|Retryable|SkipException|SensorTimeout|TaskTimeout)", kind)
        if named and kind not in NO_MESSAGES and re.search("[a-z]", text.replace(PLACEHOLDER, "")):
            yield kind, text


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return PLACEHOLDER


def _cell(text: str) -> str:
    """Return text for a cell of a table: in code spans only the bar needs a backslash, elsewhere all that is markup."""
    parts = " ".join(text.split()).split("`")
    paired = len(parts) % 2 == 1
    escaped = [
        part.replace("|", r"\|") if paired and number % 2 else re.sub(r"([|*_<>\[\]])", r"\\\1", part)
        for number, part in enumerate(parts)
    ]
    return ("`" if paired else r"\`").join(escaped)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "testing.md": {"faults": faults},
    "guesses.md": {"settings": settings},
    "errors.md": {"messages": messages},
}


def filled(page: str, text: str) -> str:
    """Return a page with its tables as the code has them now.

    :param page: its name.
    :param text: what it says.
    """
    for mark, table in TABLES[page].items():
        opened, closed = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        if text.count(opened) != 1 or text.count(closed) != 1:
            raise ValueError(f"{page}: there should be one place for the table '{mark}'")
        before, _, rest = text.partition(opened)
        text = f"{before}{opened}\n{table()}\n\n{closed}{rest.partition(closed)[2]}"
    return text


def main(*arguments: str) -> int:
    """Write the tables, or say which are not as they should be."""
    stale = []
    for page in TABLES:
        path = ROOT / "docs" / page
        text = path.read_text()
        if (new := filled(page, text)) != text:
            stale.append(page)
            if "--check" not in arguments:
                path.write_text(new)
    if stale and "--check" in arguments:
        print(f"not as the code has it: {', '.join(stale)}; run scripts/docs_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
