"""Patterns of source names: ``*``, ``?`` and ``[...]``, as in file names."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING

from airflow_provider_cm.api.arguments import excerpt
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.api.names import check_source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ALLOWED = re.compile(r"(?:[A-Za-z0-9_*?-]|\[!?[A-Za-z0-9_-]+\])+")
_WILDCARDS = re.compile(r"\[!?[^\]]+\]|[*?]")


def check_pattern(pattern: str) -> str:
    """Return a pattern back, or refuse one that no source's name can match.

    :param pattern: of letters, digits, hyphens and underscores, with ``*``, ``?`` and ``[...]``.
    :raises ValueError: saying what is allowed.
    """
    if not _ALLOWED.fullmatch(pattern):
        raise ValueError(
            f"{excerpt(pattern)} can match no source's name; use letters, digits, '-' and '_' with *, ? and [...]"
        )
    return pattern


def is_name(name: str) -> bool:
    """Whether a manifest could name such a source; no rule of the API is known that keeps others from being there.

    :param name: as a server lists it.
    """
    try:
        check_source_name(name)
    except ConfigurationError:
        return False
    return True


def matches_anything(pattern: str) -> bool:
    """Whether no letter or digit in a pattern is fixed, as in ``*``, ``[a-z]*`` or ``*-*``.

    :param pattern: the pattern.
    """
    return not any(character.isalnum() for character in _WILDCARDS.sub("", pattern))


def matcher(patterns: Iterable[str]) -> re.Pattern[str]:
    """Make one expression that matches the names which any of the patterns matches, in upper and lower case as written.

    :param patterns: the patterns; none match nothing.
    """
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)")


def matcher_of_any_case(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Make a function that says of a name whether any of the patterns matches it, in whatever case.

    :param patterns: the patterns; none match nothing.
    """
    exact = matcher(patterns := tuple(patterns))
    folded = re.compile(exact.pattern, re.IGNORECASE)
    # Both, since ``[!a-c]`` matches fewer names where case is ignored.
    return lambda name: bool(exact.match(name) or folded.match(name))
