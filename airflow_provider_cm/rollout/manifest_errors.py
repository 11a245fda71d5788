"""Mistakes in a manifest, each with the place where it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from airflow_provider_cm.api.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[str | int, ...]
"""Where a value stands: ``("sources", 3, "title")``."""

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake.

    :param message: what is wrong, and what would be right.
    :param path: where it is, e.g. ``sources[3].title``; empty for the manifest as a whole.
    :param entry: name of the source that it belongs to, where there is one.
    :param field: the field, e.g. ``title``.
    :param file: the file's name, where it was given.
    :param line: the line in the file, from 1; ``None`` for a manifest that was given as a dict.
    """

    message: str
    path: str = ""
    entry: str | None = None
    field: str | None = None
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        entry = f"source '{self.entry}'" if self.entry is not None else ""
        if self.line is None:
            places = [self.file or "", self.path, entry]
        else:
            field = self.path if self.entry is None else self.field
            places = [f"{self.file or 'line '}{':' if self.file else ''}{self.line}", entry, field or ""]
        where = ", ".join(place for place in places if place)
        return f"{where}: {self.message}" if where else self.message


class ManifestError(ConfigurationError):
    """A manifest that cannot be used, with all of its mistakes at once.

    :param mistakes: in the order of the file.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = list(mistakes)
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}"
        lines = [f"- {mistake}" for mistake in mistakes[:_SHOWN]]
        if len(mistakes) > _SHOWN:
            lines.append(f"- and {len(mistakes) - _SHOWN} more")
        super().__init__("\n".join([f"the manifest has {count}:", *lines]))

    def __reduce__(self) -> tuple[type[Self], tuple[list[Mistake]]]:
        """Pickle what the constructor takes, and not the message that it makes of it."""
        return type(self), (self.mistakes,)


def path_text(path: Path) -> str:
    """Return ``sources[3].title`` for ``("sources", 3, "title")``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
