"""Secrets taken out of texts from outside.

A secret is found as it is, in base64 (at any offset, in either alphabet), and as it is written in a URL
(percent-encoded, a space as ``%20`` or ``+``), in JSON, in Python (``repr`` of text and bytes), in HTML (``&amp;``,
``&#38;``, ``&#x26;``), and by what reads UTF-8 as Latin-1; one of nothing but ASCII, as tokens are, in any two of these
notations too, one within the other. Which of its characters are escaped does not matter. These are the notations that
SECURITY.md promises; in others it is not found.
"""

from __future__ import annotations

import html
import re
from binascii import b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Of a longer text only the beginning is shown, so only that much is looked at; what a server says can be of any length.
_SHOWN = 64 * 1024
# More characters than one of a secret takes in any two notations; so far beyond what is shown a secret may end.
_LONGEST_NOTATION = 32
# One notation within another.
_DEPTH = 2
# So many characters of base64 do not stand in a text by chance.
_LEAST_ENCODED = 8
# A title or an id may well be the same as a short, made-up token of a test; a real one is longer than this.
_LEAST_IN_DATA = 16

Span = tuple[int, int]


class Sealed(str):
    """A secret text: its ``repr``, which is what a traceback that shows variables shows, does not tell it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class NoFrames:
    """A block in which variables hold secrets: when a task is ended from outside in it, its frames are dropped."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep the frames of a mistake, which is an ``Exception``, and of nothing else."""
        if error is not None and not isinstance(error, Exception):
            error.__traceback__ = error.__context__ = None


def redact(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text that is to be shown, and cut a very long one.

    :param text: what a server said.
    :param secrets: what must not be shown.
    """
    needles = _needles(secrets)
    if not needles:
        return text[:_SHOWN]
    looked_at = text[: _SHOWN + _LONGEST_NOTATION * max(map(len, needles))]
    return _masked(looked_at, _spans(looked_at, needles), _SHOWN)


def redact_data(data: Any, secrets: Iterable[str]) -> Any:
    """Take secrets out of a JSON value, since results are stored and shown too; usually there is nothing to do.

    :param data: the value; it is changed in place.
    :param secrets: what must not be shown; those of less than 16 characters are left in.
    :return: the value.
    """
    needles = _needles(secret for secret in secrets if len(secret) >= _LEAST_IN_DATA)
    if not needles:
        return data
    whole = [data]
    found = _containers(whole)
    # All at once, which is many times faster than one by one, and nearly always finds nothing. Most texts are shorter
    # than any secret, and a secret in another notation is never shorter than itself.
    shortest = min(map(len, needles))
    if _spans("\n".join(text for each in found for text in _texts(each) if len(text) >= shortest), needles):
        for each in found:
            _mask(each, needles)
    return whole[0]


def _containers(whole: list[Any]) -> list[Any]:
    """Return all lists and objects of a JSON value; by a loop, since JSON may be nested deeper than Python calls."""
    found: list[Any] = [whole]
    for each in found:  # which grows on the way
        found += [value for value in _values(each) if type(value) is dict or type(value) is list]
    return found


def _values(container: Any) -> Iterable[Any]:
    return container.values() if type(container) is dict else container


def _texts(container: Any) -> list[str]:
    found = [value for value in _values(container) if type(value) is str]
    return found + list(container) if type(container) is dict else found


def _mask(container: Any, needles: tuple[Sealed, ...]) -> None:
    if type(container) is dict:
        masked = {_without(key, needles): _without(value, needles) for key, value in container.items()}
        container.clear()
        container.update(masked)
    else:
        container[:] = [_without(value, needles) for value in container]


def _without(value: Any, needles: tuple[Sealed, ...]) -> Any:
    return _masked(value, _spans(value, needles)) if type(value) is str else value


def _masked(text: str, spans: list[Span], end: int | None = None) -> str:
    """Return a text with ``***`` in place of the spans, which may overlap, and without what begins after ``end``."""
    end = len(text) if end is None else min(end, len(text))
    shown, at = [], 0
    for first, last in sorted(spans):
        if first >= end:
            break
        if first >= at:
            shown += [text[at:first], "***"]
        at = max(at, last)
    return "".join([*shown, text[at:end]])


# --- What is looked for


def _needles(secrets: Iterable[str]) -> tuple[Sealed, ...]:
    return tuple(needle for secret in secrets if secret for needle in _needles_of(Sealed(secret)))


@lru_cache(maxsize=64)
def _needles_of(secret: Sealed) -> tuple[Sealed, ...]:
    """Return the texts that stand for a secret when nothing is escaped."""
    plain = {secret, _misread(secret)}
    spaced = {Sealed(each.replace(" ", "+")) for each in plain}  # as forms have it
    encoded = {each for shift in range(3) if len(each := _base64(secret, shift)) >= _LEAST_ENCODED}
    for_urls = {Sealed(each.replace("+", "-").replace("/", "_")) for each in encoded}
    return tuple(plain | spaced | encoded | for_urls)


def _misread(secret: Sealed) -> Sealed:
    """Return a text as it becomes when its UTF-8 is read as Latin-1, as HTTP libraries do with headers."""
    return Sealed(secret.encode("utf-8", "surrogatepass").decode("latin-1"))


def _base64(secret: Sealed, shift: int) -> Sealed:
    """Return the characters that stand for the secret alone, after ``shift`` other bytes (modulo 3)."""
    bits = 8 * (shift + len(secret.encode("utf-8", "surrogatepass")))
    # In one expression, so that no variable shows it.
    return Sealed(
        b2a_base64(bytes(shift) + secret.encode("utf-8", "surrogatepass"))[-(-8 * shift // 6) : bits // 6].decode()
    )


# --- Where it stands


@dataclass(frozen=True, slots=True)
class _Notation:
    """A way to write characters.

    :param mark: stands in every text that makes use of it.
    :param escape: finds one character, written in this way.
    :param meaning: gives that character.
    """

    mark: str
    escape: re.Pattern[str]
    meaning: Callable[[re.Match[str]], str]


def _of_backslash(found: re.Match[str]) -> str:
    text = found[0][1:]
    if text[0] not in "uUx" or len(text) == 1:
        return _CONTROLS.get(text, text)
    if len(text) > 9:  # a pair of surrogates
        return chr(0x10000 + ((int(text[1:5], 16) & 0x3FF) << 10) + (int(text[7:], 16) & 0x3FF))
    return chr(min(int(text[1:], 16), 0x10FFFF))


def _of_ampersand(found: re.Match[str]) -> str:
    text = found[0][1:-1]
    if text[0] != "#":
        return html.unescape(found[0])
    # Not by html.unescape, which reads some numbers as browsers do, and leaves others out.
    return chr(min(int(f"0{text[1:]}", 0) if text[1] in "xX" else int(text[1:]), 0x10FFFF))


_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_PAIR = r"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_NOTATIONS = (
    _Notation("%", re.compile("%([0-9a-fA-F]{2})"), lambda found: chr(int(found[1], 16))),
    _Notation(
        "\\",
        re.compile(rf"\\(?:{_PAIR}|u[0-9a-fA-F]{{4}}|U[0-9a-fA-F]{{8}}|x[0-9a-fA-F]{{2}}|[^0-9A-Za-z]|[nrtbf])"),
        _of_backslash,
    ),
    _Notation(
        "&",
        re.compile("&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"),
        _of_ampersand,
    ),
)


def _spans(text: str, needles: tuple[Sealed, ...], depth: int = _DEPTH) -> list[Span]:
    """Find where a text tells a secret, as it is and in each notation."""
    spans = []
    for needle in needles:
        at = text.find(needle)
        while at >= 0:
            spans.append((at, at + len(needle)))
            at = text.find(needle, at + len(needle))
    for notation in _NOTATIONS if depth else ():
        if notation.mark in text:
            inner, escapes = notation.escape.subn(notation.meaning, text)
            if escapes and (found := _spans(inner, needles, depth - 1)):
                offsets = _offsets(text, notation)
                spans += [(offsets[first], offsets[last]) for first, last in found]
    return spans


def _offsets(text: str, notation: _Notation) -> list[int]:
    """Say for each character of the unescaped text where it begins in the text, and at last where the text ends."""
    offsets: list[int] = []
    at = 0
    for found in notation.escape.finditer(text):
        offsets += range(at, found.start())
        offsets += [found.start()] * len(notation.meaning(found))
        at = found.end()
    return [*offsets, *range(at, len(text) + 1)]
