"""``${name}`` in the texts of a manifest.

It is filled once, after the file was parsed, and in values only; what is put in is never looked at again. ``$${``
stands for a ``${`` that is meant as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.arguments import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_cm.rollout.manifest_errors import Path

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?")


def escape(text: str) -> str:
    """Write a text so that a manifest gives it back as it is, whatever it holds.

    :param text: any text, e.g. the title of a live source.
    """
    return text.replace("${", "$${")


class Filler:
    """Fills the variables of one manifest.

    :param variables: values by name: texts, or ``True`` and ``False`` for a value that is nothing but ``${name}``.
    :param wrong: told of each mistake: where, and what.
    """

    def __init__(self, variables: Mapping[str, object], wrong: Callable[[Path, str], None]) -> None:
        self._variables = variables
        self._wrong = wrong
        self._used: set[str] = set()

    def fill(self, value: Any, path: Path = ()) -> Any:
        """Return a copy of a parsed manifest with every text filled.

        :param value: the manifest, or a part of it.
        :param path: where the part stands.
        """
        if isinstance(value, dict):
            return {key: self.fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*path, number)) for number, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) and "${" in value else value

    def finish(self) -> None:
        """Report what is wrong with the variables themselves, and those that were used nowhere."""
        for name, value in self._variables.items():
            if not NAME.fullmatch(str(name)):
                self._wrong((), f"variable {excerpt(name)}: this is no name; use letters, digits and '_'")
            elif not isinstance(value, str | bool):
                self._wrong((), f"variable '{name}': {excerpt(value)} is not text; give it as text")
            elif name not in self._used:
                self._wrong((), f"variable '{name}': it was given, but the manifest does not use it; remove it")

    def _text(self, text: str, path: Path) -> object:
        whole = _TOKEN.fullmatch(text)
        if whole and whole["name"]:
            return self._value(whole["name"], path, text)

        def put_in(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            if found["name"] is None:
                self._wrong(path, "a '${' without a name and '}' after it; write '$${' where '${' itself is meant")
                return found[0]
            value = self._value(found["name"], path, found[0])
            if isinstance(value, bool):
                self._wrong(path, f"variable '{found['name']}' is {value}, which cannot be a part of a text")
                return found[0]
            return value

        return _TOKEN.sub(put_in, text)

    def _value(self, name: str, path: Path, otherwise: str) -> str | bool:
        self._used.add(name)
        if name not in self._variables:
            known = ", ".join(sorted(str(each) for each in self._variables)) or "none"
            self._wrong(
                path,
                f"there is no variable '{name}' (given: {known}); give it, or write '$${{{name}}}' for the text itself",
            )
            return otherwise
        value = self._variables[name]
        return value if isinstance(value, str | bool) else otherwise
