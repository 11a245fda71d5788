"""Whether a success answers the call that was made: about this source, and the whole of a listing.

A proxy or a connection that is out of step gives one call the answer to another one. It looks well, so what is asked
for is compared with what came.
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
    """Give a check that an answer is about one source.

    Upper and lower case are the same here: some servers mind no case in names, and answer with the name as it was
    given first.

    :param project: the project that was asked for.
    :param name: the name that was asked for.
    :param source_id: the id that was asked for.
    :return: raises :class:`ProtocolError`, transient, for another source. An answer without a source passes; whether it
        needs one is for the caller to know.
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
    """Check that an answer is about statistics: they come without the name of their source.

    :raises ProtocolError: transient, for the answer to another call.
    """
    if "statistics" not in payload and ("source" in payload or "sources" in payload):
        raise ProtocolError("the response answers another call than this one", transient=True)


def expect_listing(project: str | None) -> Callable[[Mapping[str, Any], Mapping[str, str]], None]:
    """Give a check that a listing is that of one project, and all of it.

    The API does not page as far as is known. A client that takes a page for the whole creates what exists, and believes
    to be gone what is there.

    :param project: the project that was asked for; ``None`` for all.
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
    """Give the keys that say that a listing goes on, the outermost first; one that is null, false or empty does not."""
    for key, value in payload.items():
        shown = f"`{within}{printable(key, 60)}`"
        words = {word.lower() for word in _WORD.findall(key)}
        opened = isinstance(value, Mapping) and words & _ABOUT_PAGES
        if value and not opened and (words & _PAGING_WORDS or _PAGING_PARTS.search(key.lower())):
            yield shown
        elif value is False and words & _END_WORDS:
            yield f"{shown} false"
        elif type(value) in (int, float) and _COUNT.fullmatch(key.lower()) and _goes_on(key, value, size):
            yield f"{shown} {value:g} and {size} sources"
    for key, value in payload.items():
        if isinstance(value, Mapping) and key != "sources" and not within:
            yield from _paging(value, size, f"{printable(key, 60)}.")


def _goes_on(key: str, count: float, size: int) -> bool:
    return 0 < count <= size if key.lower().startswith("limit") else count > size
