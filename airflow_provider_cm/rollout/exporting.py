"""Writes the manifest of a live project: what planning it again finds nothing to do about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_project, check_property
from airflow_provider_cm.api.source_fields import SETTABLE
from airflow_provider_cm.rollout.current_state import completed
from airflow_provider_cm.rollout.patterns import is_name
from airflow_provider_cm.rollout.planning import value_of
from airflow_provider_cm.rollout.variables import NAME, escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi

# What a source has that nobody gave a kind; it is no choice of anybody's, and may not be accepted in a create.
_NO_KIND = "unknown"


def export(
    project: str, sources: SourcesApi, *, variables: Mapping[str, str] | None = None, max_workers: int = 8
) -> str:
    """Write the manifest of a project as it is.

    Ids, times and what else the server makes are left out. Whatever the texts hold, planning the manifest on the same
    project finds nothing to do; a ``${`` in them is written ``$${``.

    :param project: the project.
    :param sources: the tenant.
    :param variables: what is to be written as ``${name}`` where it is the project's name or a bucket's id:
        ``{"project": "acme-dev", "nps_bucket": "18ba5ce699f8da1f"}``. With other values, the manifest is for another
        project or tenant.
    :param max_workers: how many sources are read by id at once, where the list does not show their language.
    :return: YAML.
    :raises ConfigurationError: for a variable whose value is found nowhere.
    :raises CommsMiningError: when the project cannot be read.
    """
    check_project(project)
    names = _VariableNames(variables or {})
    listed = [source for source in sources.list(project) if source.owner == project]
    needed = dict.fromkeys((source.name for source in listed), ("language",))
    whole = sorted(completed(sources, listed, needed, max_workers=max_workers), key=lambda source: source.name)
    notes, entries = [], []
    for source in whole:
        if not is_name(source.name):
            notes.append(f"# Left out, since a manifest cannot name it: {printable(source.name)}")
            continue
        entries.append(entry := _entry(source, names))
        if not all(map(_is_property, entry.get("sensitive_properties", ()))):
            del entry["sensitive_properties"]
            notes.append(f"# Left out, since no manifest can hold them: the sensitive_properties of {source.name}")
    manifest = {"project": names.replaced(project), "sources": entries}
    names.finish()
    head = [f"# The sources of {printable(project)} on {printable(sources.session.endpoint)}", *notes]
    return "\n".join(head) + "\n" + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _entry(source: Source, names: _VariableNames) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": source.name}
    for field in SETTABLE:
        value = value_of(source, field) if source.knows(field) else None
        if (
            value is None
            or (field == "kind" and value == _NO_KIND)
            or (field not in _MAY_BE_EMPTY and not _said(value))
        ):
            continue
        if field == "bucket_id":
            entry[field] = names.replaced(str(value))
        elif isinstance(value, tuple):
            entry[field] = [escape(item) for item in value]
        else:
            entry[field] = escape(value) if isinstance(value, str) else value
    return entry


def _is_property(name: str) -> bool:
    try:
        check_property(name.replace("$${", "${"))
    except ConfigurationError:
        return False
    return True


_MAY_BE_EMPTY = frozenset({"title", "description", "should_translate", "sensitive_properties"})


def _said(value: object) -> bool:
    """Whether a manifest can hold this for a field whose text may not be empty."""
    return isinstance(value, str) and value.strip() not in {"", "None"}


class _VariableNames:
    """Variables to write in place of their values.

    :param variables: values by name.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        for name, value in variables.items():
            if not NAME.fullmatch(name):
                raise ConfigurationError(f"variables: {name!r} is no name; use letters, digits and '_'")
            if value in self._names:
                raise ConfigurationError(f"variables: '{name}' and '{self._names[value]}' have the same value")
            self._names[value] = name
        self._used: set[str] = set()

    def replaced(self, value: str) -> str:
        """Return ``${name}`` for a variable's value, and any other text escaped."""
        if value not in self._names:
            return escape(value)
        self._used.add(value)
        return f"${{{self._names[value]}}}"

    def finish(self) -> None:
        """Refuse variables that were not used; reading the manifest would."""
        unused = [name for value, name in self._names.items() if value not in self._used]
        if unused:
            raise ConfigurationError(
                f"variables: the value of {', '.join(unused)} is neither the project nor the id of a bucket in use"
            )


class _Dumper(yaml.SafeDumper):
    """PyYAML's own, with long texts in their own lines, and lists set in from their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    if not text.replace("\n", "").isprintable():
        style: str | None = '"'  # with escapes; left to itself, the emitter loses U+0085, a line break to YAML
    else:
        # Read more easily in a review; the emitter falls back to quotes where this style could not hold the text.
        style = "|" if "\n" in text.strip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
