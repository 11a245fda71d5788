"""Checks that a success response belongs to its call: that it is about this source, or is a complete listing.

A faulty proxy, or a connection that is out of step, gives one call the response to another one. Such a response looks
valid, so it is compared with the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import ProtocolError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PAGING_WORDS = frozenset(
    {"after", "bookmark", "continuation", "continue", "continued", "cursor", "cursors", "incomplete", "marker", "more"}
    | {
        "next",
        "offset",
        "page",
        "pages",
        "paged",
        "paginated",
        "pagination",
        "paging",
        "partial",
        "scroll",
        "truncated",
    }
)
_ABOUT_PAGES = frozenset({"page", "pages", "pagination", "paging"})  # an object of these is looked into
_PAGING_PARTS = re.compile(
    "continuation|cursor|paginat|next_?(?:page|link|token|url)|has_?more|is_?truncated|last_?(?:evaluated_?)?key"
)
_END_WORDS = frozenset({"complete", "end", "final", "last"})
_COUNT = re.compile(r"(?:total|count|num|limit)_?(?:count|results|items|sources|records|elements|hits)?")
_NEXT_LINK = re.compile(r"rel\s*=\s*\"?[^\";,]*\bnext\b", re.IGNORECASE)


def expect_source(
    project: str | None = None, name: str | None = None, source_id: str | None = None
) -> Callable[[Mapping[str, Any], Mapping[str, str]], None]:
    """Return a check that a response is about one source.

    The check ignores case, because some servers do so in names, and answer with the name as it was first written.

    :param project: the requested project.
    :param name: the requested name.
    :param source_id: the requested ID.
    :return: raises :class:`ProtocolError`, transient, for another source. A response without a source passes.
    """
    wanted = {key: value for key, value in (("owner", project), ("name", name), ("id", source_id)) if value is not None}

    def check(payload: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        source = payload.get("source")
        if isinstance(source, Mapping):
            for key, value in wanted.items():
                _same(key, source.get(key), value)
        elif "sources" in payload or "statistics" in payload:
            raise ProtocolError("the response answers another call than this one", transient=True)

    return check


def expect_statistics(payload: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Check that a response is about statistics; these do not contain the name of their source.

    :raises ProtocolError: transient, for the response to another call.
    """
    if "statistics" not in payload and ("source" in payload or "sources" in payload):
        raise ProtocolError("the response answers another call than this one", transient=True)


def expect_listing(project: str | None) -> Callable[[Mapping[str, Any], Mapping[str, str]], None]:
    """Return a check that a listing is complete, and only of one project.

    The API has no documented paging. A client that took one page for the whole list would create sources that exist,
    and report others as deleted.

    :param project: the requested project; ``None`` for all.
    :return: raises :class:`ProtocolError`: transient for another project's sources, final for a listing in pages.
    """

    def check(payload: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        sources = payload.get("sources")
        if not isinstance(sources, list):
            if "source" in payload or "statistics" in payload:
                raise ProtocolError("the response answers another call than this one", transient=True)
            return
        sign = "a `Link` to the next page" if _NEXT_LINK.search(headers.get("Link") or "") else None
        sign = sign or next(_paging(payload, len(sources)), None)
        if sign is not None:
            raise ProtocolError(
                f"the response has {sign}, so it seems to be one page of a longer listing. This client reads no pages, "
                "and a part must not be taken for the whole. Please report it with the name of this key"
            )
        if project is not None:
            for source in sources:
                if isinstance(source, Mapping):
                    _same("owner", source.get("owner"), project)

    return check


def _same(key: str, there: object, wanted: str) -> None:
    if isinstance(there, str) and there.lower() != wanted.lower():
        raise ProtocolError(
            f"the response is about another source: its `{key}` is {printable(repr(there), 80)}, not '{wanted}'. "
            "It may be the answer to another call",
            transient=True,
        )


def _paging(payload: Mapping[str, Any], size: int, within: str = "") -> Iterator[str]:
    """Return the keys that announce further pages, the outermost first; null, false and empty values do not count."""
    for key, value in payload.items():
        quoted = f"`{within}{printable(key, 60)}`"
        words = {word.lower() for word in _WORD.findall(key)}
        opened = isinstance(value, Mapping) and words & _ABOUT_PAGES
        if value and not opened and (words & _PAGING_WORDS or _PAGING_PARTS.search(key.lower())):
            yield quoted
        elif value is False and words & _END_WORDS:
            yield f"{quoted} false"
        elif type(value) in (int, float) and _COUNT.fullmatch(key.lower()) and _goes_on(key, value, size):
            yield f"{quoted} {value:g} and {size} sources"
    for key, value in payload.items():
        if isinstance(value, Mapping) and key != "sources" and not within:
            yield from _paging(value, size, f"{printable(key, 60)}.")


def _goes_on(key: str, count: float, size: int) -> bool:
    return 0 < count <= size if key.lower().startswith("limit") else count > size
