"""Secrets taken out of texts from outside, in whatever notation a server or proxy may echo them."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of a longer text only the beginning is shown, so only that much is looked at; what a server says can be of any length.
_LOOKED_AT = 64 * 1024
# The longest notation of one character, such as \\\\u00e9.
_LONGEST_NOTATION = 12
# So many characters of base64 do not stand in a text by chance.
_LEAST_ENCODED = 8
# A title or an id may well be the same as a short, made-up token of a test; a real one is longer than this.
_LEAST_IN_DATA = 16


def redact(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text that is to be shown, and cut a very long one.

    They are found as they are, and as JSON, Python, URLs, HTML and base64 write them.

    :param text: what a server said.
    :param secrets: what must not be shown.
    """
    known = [secret for secret in secrets if secret]
    shown = text[:_LOOKED_AT]
    for secret in known:
        for pattern in _patterns(secret):
            shown = pattern.sub("***", shown)
    if len(text) > _LOOKED_AT and known:
        # The cut may have gone through a secret, which is not recognised then.
        shown = shown[: -_LONGEST_NOTATION * max(map(len, known))]
    return shown


def redact_data(data: Any, body: bytes, secrets: Iterable[str]) -> Any:
    """Take secrets out of a JSON value, since results are stored and shown too; usually there is nothing to do.

    :param data: the value.
    :param body: the text that it was read from.
    :param secrets: what must not be shown.
    """
    text = body.decode("utf-8", "replace")
    patterns = [
        pattern
        for secret in secrets
        if len(secret) >= _LEAST_IN_DATA
        for pattern in _patterns(secret)
        if pattern.search(text)
    ]
    return _redacted(data, patterns) if patterns else data


def _redacted(data: Any, patterns: list[re.Pattern[str]]) -> Any:
    if isinstance(data, str):
        for pattern in patterns:
            data = pattern.sub("***", data)
        return data
    if isinstance(data, list):
        return [_redacted(each, patterns) for each in data]
    if isinstance(data, dict):
        return {_redacted(key, patterns): _redacted(value, patterns) for key, value in data.items()}
    return data


@lru_cache(maxsize=64)
def _patterns(secret: str) -> tuple[re.Pattern[str], ...]:
    """Give the expressions that find a secret: as text, and as base64 at each of the three alignments."""
    texts = [secret]
    data = secret.encode()
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + data).decode()
        # Only the characters that stand for the secret alone, whatever comes before and after it.
        core = encoded[-(-8 * shift // 6) : 8 * (shift + len(data)) // 6]
        if len(core) >= _LEAST_ENCODED:
            texts.append(core)
    return tuple(
        re.compile("".join(_notations(char, encoded=index > 0) for char in text)) for index, text in enumerate(texts)
    )


def _notations(char: str, *, encoded: bool) -> str:
    if char.isascii() and char.isalnum():
        return char
    data = char.encode()
    forms = {
        char,
        data.decode("latin-1"),  # as HTTP libraries read headers
        html.escape(char),
        f"&#{ord(char)};",
        json.dumps(char)[1:-1],
        repr(char)[1:-1],
        repr(data)[2:-1],
    }
    if encoded and char in "+/":
        forms.add({"+": "-", "/": "_"}[char])  # the alphabet for URLs
    if char == " ":
        forms.add("+")
    found = "|".join(_in_urls(form) for form in sorted(forms, key=len, reverse=True))
    # Each notation within another one puts backslashes before it; a limit keeps the search linear.
    return rf"{_BACKSLASH}{{0,4}}(?:{found})"


def _in_urls(text: str) -> str:
    """Give an expression for a text in which each character may be percent-encoded, once or more often."""
    return "".join(
        char if char.isascii() and char.isalnum() else f"(?:{re.escape(char)}|{_percent(char)})" for char in text
    )


def _percent(char: str) -> str:
    return "".join(f"(?i:%(?:25){{0,3}}{byte:02X})" for byte in char.encode())


_BACKSLASH = _in_urls("\\")
