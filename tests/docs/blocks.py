"""The fenced code blocks of the documents."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))])
_BLOCK = re.compile(r"(?:<!-- checked by (\S+) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block.

    :param page: the file, relative to the repository.
    :param line: where it begins.
    :param language: what stands after the fence.
    :param text: what it holds.
    :param checked_by: the test that the comment before it names.
    """

    page: str
    line: int
    language: str
    text: str
    checked_by: str | None

    @property
    def kind(self) -> str:
        """Say what a Python block is."""
        if self.language != "python":
            return self.language
        if re.search(r"\bDAG\(|@dag\b", self.text) and "def test_" not in self.text:
            return "dag"
        return "test" if re.search(r"def (test|pytest)_", self.text) else "script"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    page = path.relative_to(ROOT).as_posix()
    return [
        Block(page, text.count("\n", 0, found.start(2)) + 1, found[2], found[3], found[1])
        for found in _BLOCK.finditer(text)
    ]


# The API reference has signatures, and what docstrings hold.
BLOCKS = [block for path in PAGES if path.parent.name != "reference" for block in read(path)]


def of_kind(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def commands(text: str) -> list[list[str]]:
    """Give the commands of a shell block, each as its words; what runs in the background or may fail as any other."""
    found, kept = [], ""
    for line in text.splitlines():
        kept = f"{kept}\n{line}" if kept else line
        if kept.endswith("\\"):
            kept = kept[:-1]
            continue
        try:
            words = shlex.split(kept, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        kept = ""
        for stop in ("||", "&", "|", ">", "2>"):
            words = words[: words.index(stop)] if stop in words else words
        if words:
            found.append(words)
    if kept:
        raise ValueError(f"a quotation or a command has no end: {kept}")
    return found
