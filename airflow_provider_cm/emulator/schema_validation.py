"""
JSON Schema, checked fast and explained well.

Two well-kept validators share the work. ``jsonschema-rs`` accepts what is right, in a fraction of the time that
loading a million messages needs otherwise. Whatever it does not accept goes to ``jsonschema``, whose verdict counts,
since the contract's patterns are written for Python's ``re``, and whose wording is the one of the vendor's service.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jsonschema_rs
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable

Schema = dict[str, Any]

# The schema of a property that is not allowed, whatever it holds.
FORBIDDEN: Schema = {"not": {}}

_LONGEST = 200
_PYTHON_PATTERN = "x-python-pattern"


class SchemaValidator:
    """
    Checks values against one schema.

    :param schema: the schema; what it refers to is looked up in ``components``.
    :param components: the ``components`` of the OpenAPI document.
    """

    def __init__(self, schema: Schema, components: Schema) -> None:
        self.schema = schema
        self._whole = {**schema, "components": components}

    def error(self, value: object, at: str = "") -> str | None:
        """
        Explain what is wrong with a value, with the place in parentheses; ``None`` if nothing is.

        :param at: the place of the value itself.
        """
        if self.accepts(value):
            return None
        mistake = best_match(self._exact.iter_errors(value))
        if mistake is None:
            return None
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in mistake.absolute_path)
        if mistake.validator == "not" and mistake.validator_value == FORBIDDEN["not"]:
            name = mistake.absolute_path[-1]
            place = place.removesuffix(f".{name}")
            message = f"Additional properties are not allowed ({shorten(name)} was unexpected)"
        else:
            message = mistake.message
        if len(message) > _LONGEST:
            message = message.replace(repr(mistake.instance), shorten(mistake.instance), 1)
        if len(message) > 3 * _LONGEST:
            message = message[: 3 * _LONGEST] + "..."
        place = f"{at}{place}".removeprefix(".")
        return f"{message} (in {place})" if place else message

    def accepts(self, value: object) -> bool:
        """Return whether a value is certain to be valid; :meth:`error` decides about the few others."""
        try:
            return bool(self._fast.is_valid(value))
        except (ValueError, TypeError, OverflowError):
            # Such as an integer that is too large for it.
            return False

    @cached_property
    def _fast(self) -> Any:
        return jsonschema_rs.Draft202012Validator(_for_rust(self._whole), keywords={_PYTHON_PATTERN: _PythonPattern})

    @cached_property
    def _exact(self) -> Draft202012Validator:
        return Draft202012Validator(self._whole)


class _PythonPattern:
    """``pattern`` with the syntax and meaning of Python's ``re``, as a keyword for the fast validator."""

    def __init__(self, _parent: object, pattern: str, _path: object) -> None:
        self._search = re.compile(pattern).search

    def validate(self, value: object) -> None:
        """Raise for a text that does not match."""
        if isinstance(value, str) and self._search(value) is None:
            raise ValueError


def _for_rust(schema: Any) -> Any:
    # Property names that only Python's reading of a pattern matches are left to the exact validator.
    return _with_patterns(schema, lambda pattern: (_PYTHON_PATTERN, pattern))


def portable(schema: Any) -> Any:
    """Return a schema, or a whole OpenAPI document, with its patterns in the syntax that JSON Schema recommends."""
    return _with_patterns(schema, lambda pattern: ("pattern", _ecmascript(pattern)))


def _with_patterns(schema: Any, change: Callable[[str], tuple[str, str]]) -> Any:
    if isinstance(schema, list):
        return [_with_patterns(item, change) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed: Schema = {}
    for key, value in schema.items():
        if key == "pattern" and isinstance(value, str):
            keyword, pattern = change(value)
            changed[keyword] = pattern
        elif key == "patternProperties":
            changed[key] = {_ecmascript(name): _with_patterns(rule, change) for name, rule in value.items()}
        else:
            changed[key] = _with_patterns(value, change)
    return changed


def _ecmascript(pattern: str) -> str:
    for python, portable_form in ((r"\Z", "$"), (r"\'", "'"), (r"\"", '"'), ("(?P<", "(?<"), ("{,", "{0,")):
        pattern = pattern.replace(python, portable_form)
    return pattern


def shorten(value: object) -> str:
    """Show a value in a message, however long it is."""
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
