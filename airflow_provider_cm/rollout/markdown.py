"""Texts from outside as Markdown, none of which can become markup."""

from __future__ import annotations

import re

from airflow_provider_cm.api.errors import printable

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def code_span(text: str) -> str:
    """Return a text as a code span, whose fence is longer than any run of backticks in it.

    :param text: any text.
    """
    text = printable_text(text)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    # Markdown removes one space where there is one at both ends.
    pad = " " if not text or text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def escaped(text: str) -> str:
    """Return a text as prose, with a backslash before each character of punctuation.

    :param text: any text.
    """
    return _PUNCTUATION.sub(r"\\\1", printable_text(text))


def printable_text(text: str) -> str:
    """Return the whole text with its control characters escaped.

    :param text: any text.
    """
    return printable(text, max(1, len(text)))
