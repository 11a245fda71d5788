"""Blocks of a document that a command writes: between ``<!-- figures: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write(document: Path, name: str, text: str) -> None:
    """Put text into a document's block.

    :param document: the file.
    :param name: the block's.
    :param text: Markdown.
    """
    block = re.compile(rf"(<!-- figures: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    changed, count = block.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", document.read_text())
    if count != 1:
        raise SystemExit(f"{document} has {count} blocks for the figures '{name}', instead of one")
    document.write_text(changed)
