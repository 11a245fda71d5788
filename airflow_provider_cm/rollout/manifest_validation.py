"""Judges a manifest that was read: what pydantic found, told with place and remedy, and what goes beyond one field."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.arguments import excerpt
from airflow_provider_cm.rollout.manifest_errors import Mistake, Path, path_text
from airflow_provider_cm.rollout.yaml_reader import NotText, Reported, YamlDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import ValidationError

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping of fields to values",
    "model_attributes_type": "a mapping of fields to values",
    "dict_type": "a mapping of fields to values",
}


class ManifestValidator:
    """Collects the mistakes of one manifest.

    :param document: what was read.
    :param filename: what to call it.
    """

    def __init__(self, document: YamlDocument, filename: str | None) -> None:
        self._document = document
        self._filename = filename
        self._found = list(document.mistakes)

    def wrong(self, path: Path, message: str) -> None:
        """Note a mistake.

        :param path: where it is.
        :param message: what is wrong.
        """
        self._found.append((path, self._document.line(path) if path else None, message))

    def has_data(self) -> bool:
        """Whether there is something to look into; notes it if that is not a mapping."""
        data = self._document.data
        if isinstance(data, Reported):
            if not self._found:
                self.wrong((), "it is empty; it needs at least `project` and `sources`")
            return False
        if not isinstance(data, dict):
            self.wrong((), f"it should be a mapping with `project` and `sources`, not {_kind(data)}")
            return False
        return True

    def check_entries(self) -> None:
        """Find names that are given twice, and entries that contradict themselves."""
        first: dict[str, int] = {}
        for number, entry in self._entries():
            name = entry.get("name")
            if isinstance(name, str):
                if name in first:
                    place = self._place(("sources", first[name]))
                    self.wrong(("sources", number, "name"), f"the source {excerpt(name)} is given already ({place})")
                first.setdefault(name, number)
            if entry.get("detach_bucket") is True and "bucket_id" in entry:
                self.wrong(
                    ("sources", number, "detach_bucket"), "it contradicts `bucket_id` of the same source; keep one"
                )

    def explain(self, error: ValidationError, known: Callable[[Path], Sequence[str]]) -> None:
        """Note what pydantic found.

        :param error: its report.
        :param known: the fields there are, at the place of an unknown one.
        """
        for item in error.errors(include_url=False):
            if isinstance(item["input"], Reported):
                continue
            path: Path = item["loc"]
            kind = item["type"]
            if kind == "extra_forbidden":
                self.wrong(path, _unknown_field(str(path[-1]), known(path)))
            elif kind == "missing":
                self.wrong(path, "it is required")
            elif kind == "value_error":
                self.wrong(path, str(item["ctx"]["error"]))
            else:
                self.wrong(path, self._mistyped(path, item["input"], _EXPECTED.get(kind), item["msg"]))

    def mistakes(self) -> list[Mistake]:
        """Return what was found, in the order of the file."""
        found = [self._mistake(*each) for each in dict.fromkeys(self._found)]
        return sorted(found, key=lambda mistake: (mistake.line is None, mistake.line or 0))

    def _mistyped(self, path: Path, value: object, expected: str | None, said: str) -> str:
        if expected is None:
            return said
        if isinstance(value, NotText):
            read_as, written = value.kind, value.written
        elif isinstance(value, bool):
            written = self._document.written.get(path, str(value))
            read_as = str(value).lower()
        elif isinstance(value, str):
            hint = ": write true or false, without quotes" if expected == "true or false" else ""
            return f"{excerpt(value)} is text, not {expected}{hint}"
        else:
            return f"this is {_kind(value)}, not {expected}"
        hint = f"; put it in quotes: '{written}'" if expected == "text" else ""
        return f"{written} is read as {read_as}, not as {expected}{hint}"

    def _mistake(self, path: Path, line: int | None, message: str) -> Mistake:
        entry = None
        if len(path) > 1 and path[0] == "sources" and isinstance(path[1], int):
            name = self._name(path[1])
            entry = excerpt(name)[1:-1] if isinstance(name, str) else None
        field = next((part for part in reversed(path) if isinstance(part, str)), None) if len(path) != 2 else None
        return Mistake(message, excerpt(path_text(path))[1:-1], entry, field, self._filename, line)

    def _name(self, number: int) -> object:
        data = self._document.data
        sources = data.get("sources") if isinstance(data, dict) else None
        entry = sources[number] if isinstance(sources, list) and number < len(sources) else None
        return entry.get("name") if isinstance(entry, dict) else None

    def _entries(self) -> list[tuple[int, dict[str, Any]]]:
        data = self._document.data
        sources = data.get("sources") if isinstance(data, dict) else None
        if not isinstance(sources, list):
            return []
        return [(number, entry) for number, entry in enumerate(sources) if isinstance(entry, dict)]

    def _place(self, path: Path) -> str:
        line = self._document.lines.get(path)
        return f"line {line}" if line else path_text(path)


def _unknown_field(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(known)}"
    return f"there is no field {excerpt(name)} here; {hint}"


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, NotText):
        return f"{value.written} ({value.kind})"
    return f"the text {excerpt(value)}" if isinstance(value, str) else excerpt(value)
