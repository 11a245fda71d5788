"""Texts with columns in braces, and nothing else: no attributes, no calls, no formats."""

from __future__ import annotations

import re

from airflow_provider_cm.api.errors import ConfigurationError, printable

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SPECIAL = re.compile(r"[.\[\]!:()]")


class MappingError(ConfigurationError):
    """A mapping that no row can be loaded with; the message names the field and the remedy."""


class Template:
    """Text with columns in braces, as ``ticket-{id}``; doubled braces stand for themselves.

    :param text: the template.
    :param field: what to call it in an error.
    :raises MappingError: for a brace without its partner, or for more than a column's name in braces.
    """

    __slots__ = ("columns", "field", "parts")

    def __init__(self, text: object, field: str) -> None:
        if not isinstance(text, str):
            raise MappingError(f'{field}: a {type(text).__name__} is not text; use a text such as "{{column}}"')
        self.field = field
        self.parts: list[tuple[str, str | None]] = []  # what stands before a column, and the column
        before, at = "", 0
        for found in _PART.finditer(text):
            before += text[at : found.start()]
            at = found.end()
            column = found[1]
            if column is not None:
                self._check_column(column)
                self.parts.append((before, column))
                before = ""
            elif found[0] in ("{{", "}}"):
                before += found[0][0]
            else:
                raise MappingError(f"{field}: a '{found[0]}' has no partner; write it twice if it is meant as it is")
        before += text[at:]
        if before or not self.parts:
            self.parts.append((before, None))
        self.columns = tuple(column for _, column in self.parts if column is not None)

    @property
    def is_one_column(self) -> bool:
        """Whether it is one column and nothing else, whose own value is meant."""
        return len(self.parts) == 1 and not self.parts[0][0] and self.parts[0][1] is not None

    def _check_column(self, column: str) -> None:
        if not column.strip():
            raise MappingError(f"{self.field}: there is no column between two braces; write a column's name there")
        if _SPECIAL.search(column):
            raise MappingError(
                f"{self.field}: '{{{printable(column, 60)}}}' is more than a column's name: attributes, indexes, calls "
                "and formats are not possible; compute it in the query, or rename the column"
            )

    def __str__(self) -> str:
        return " and ".join(f"column '{column}'" for column in dict.fromkeys(self.columns)) or self.field
