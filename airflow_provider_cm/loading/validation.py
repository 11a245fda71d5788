"""The API's rules for a message, so that a bad one is found before it is sent.

The limits are those of the vendor's contract of 2025, and where that has none those of its schema of 2021. A problem
is told without the value that has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_property
from airflow_provider_cm.loading.cells import is_finite
from airflow_provider_cm.loading.shapes import BadRowError, a_list, a_text, an_object, known_only, sized_text

MAX_TEXT = 65_536
MAX_ADDRESS = 512
MAX_ADDRESSES = 2_048
MAX_LANGUAGE = 8
MAX_ATTACHMENTS = 128
MAX_MARKUP = 4_096
MAX_HTML = 33_554_432

_ID = re.compile(r"[\w\x21-\x2e\x3a-\x40\x5b-\x60\x7b-\x7e]{1,1024}")
_NOT_IN_ID = re.compile(r"[^\w\x21-\x2e\x3a-\x40\x5b-\x60\x7b-\x7e]")
_TIMESTAMP = re.compile(
    r"(?:1[4-9]|[2-9]\d)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[T\s]"
    r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?:[zZ]|[+-](?:[01]\d|2[0-3]):?(?:[0-5]\d)?)",
    re.ASCII,
)
_HASH = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"[A-Za-z0-9_-]{0,128}")
_COMMENT = ("id", "timestamp", "thread_id", "user_properties", "messages", "text_format", "attachments")
_MESSAGE = ("from", "to", "cc", "bcc", "sent_at", "language", "body", "subject", "signature")
_SUBJECT = ("text", "translated_from")
_TEXT = (*_SUBJECT, "text_markup", "translated_from_markup")
_MARKUP_KINDS = ("text", "break", "link", "style", "paragraph", "list", "table", "image")
_ATTACHMENT = ("name", "size", "content_type", "content_hash", "inline", "attachment_reference")


def check_comment(comment: Mapping[str, Any]) -> None:
    """Check a comment object.

    :param comment: as the API takes it.
    :raises BadRowError: for the first rule that it breaks.
    """
    known_only(comment, _COMMENT, "")
    check_id(comment.get("id"))
    _check_timestamp(comment.get("timestamp"))
    if "thread_id" in comment:
        a_text(comment["thread_id"], "thread_id")
    if "user_properties" in comment:
        _check_properties(comment["user_properties"])
    messages = comment.get("messages")
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], Mapping):
        raise BadRowError("messages", "it is not a list of exactly one message", "one row is one message")
    _check_message(messages[0])
    if "text_format" in comment and comment["text_format"] not in ("markdown", "plain"):
        raise BadRowError("text_format", "it is neither markdown nor plain", "use one of the two, or leave it out")
    if "attachments" in comment:
        check_attachments(comment["attachments"], "attachments")


def fits(comment: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether a comment that a mapping made keeps the rules that its making does not keep already.

    It says no too often rather than too seldom; :func:`check_comment` knows.

    :param comment: the comment, whose properties and times are right already.
    :param message: its message.
    """
    for field, value in message.items():
        if type(value) is dict:
            good = len(value["text"]) <= MAX_TEXT
        elif type(value) is str:
            good = len(value) <= (MAX_ADDRESS if field == "from" else MAX_LANGUAGE)
        else:
            good = len(value) <= MAX_ADDRESSES and all(len(each) <= MAX_ADDRESS for each in value)
        if not good:
            return False
    return _ID.fullmatch(comment["id"]) is not None


def check_id(value: object, where: str = "id") -> None:
    """Check the id of a message.

    :param value: the id.
    :param where: what to call it in an error.
    :raises BadRowError: naming the characters that an id cannot hold.
    """
    if isinstance(value, str) and _ID.fullmatch(value):
        return
    if not isinstance(value, str) or not value:
        problem = "there is none" if value is None or value == "" else f"a {type(value).__name__} is not text"
        raise BadRowError(where, problem, "every message needs an id that stays the same")
    if len(value) > 1024:
        raise BadRowError(where, f"it has {len(value)} characters, and the API takes 1024", "use a shorter id")
    bad = sorted(set(_NOT_IN_ID.findall(value)))
    shown = ", ".join(printable(repr(each), 12) for each in bad[:5])
    raise BadRowError(
        where, f"it holds {shown}, which no id may", 'use other characters, or "id_escape": "percent" in the mapping'
    )


def escaped_id(value: str) -> str:
    """Return an id with the characters that it cannot hold percent-encoded, and with them the percent sign itself.

    :param value: any text.
    """
    return _NOT_IN_ID.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass")),
        value.replace("%", "%25"),
    )


def _check_timestamp(value: object) -> None:
    if value is None:
        raise BadRowError("timestamp", "there is none", "every message needs one")
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        naive = isinstance(value, str) and _TIMESTAMP.fullmatch(f"{value}Z")
        if naive:
            raise BadRowError("timestamp", "it has no offset from UTC", 'add one, or "timezone" to the mapping')
        raise BadRowError(
            "timestamp", "it is not a time in ISO 8601", "use a time such as 2026-01-05T09:12:00+01:00, from year 1400"
        )
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise BadRowError("timestamp", "there is no such day or time", "correct it") from None


def _check_properties(properties: object) -> None:
    for name, value in an_object(properties, "user_properties").items():
        kind = _kind_of(name)
        if kind == "string" and type(value) is str:
            continue
        if kind == "number" and type(value) in (int, float) and is_finite(value):
            continue
        where = f"user_properties['{printable(str(name), 80)}']"
        if kind is None:
            raise BadRowError(
                where, "this is not a property's name", "use string:<name> or number:<name>, with 1 to 64 characters"
            )
        if kind == "number" and type(value) in (int, float):
            raise BadRowError(where, "it is too large, infinite or NaN, which is no number in JSON", "leave it out")
        other = "number" if kind == "string" else "string"
        what = "text" if kind == "string" else "a number"
        raise BadRowError(where, f"a {type(value).__name__} is not {what}", f"use {what}, or a {other}: property")


@lru_cache(maxsize=1024)
def _kind_of(name: object) -> str | None:
    """Return ``string`` or ``number``, or ``None`` for what is no property's name."""
    try:
        return check_property(name).partition(":")[0]
    except ConfigurationError:
        return None


def _check_message(message: Mapping[str, Any]) -> None:
    known_only(message, _MESSAGE, "messages[0].")
    if "body" not in message:
        raise BadRowError("messages[0].body", "there is none", "every message needs a body; an empty text is one")
    _check_text(message["body"], "messages[0].body", _TEXT)
    if "subject" in message:
        _check_text(message["subject"], "messages[0].subject", _SUBJECT)
    if "signature" in message:
        _check_text(message["signature"], "messages[0].signature", _TEXT)
    if "from" in message:
        sized_text(message["from"], "messages[0].from", 1, MAX_ADDRESS)
    for field in ("to", "cc", "bcc"):
        if field in message:
            where = f"messages[0].{field}"
            for address in a_list(message[field], where, MAX_ADDRESSES):
                sized_text(address, where, 1, MAX_ADDRESS)
    if "language" in message:
        sized_text(message["language"], "messages[0].language", 1, MAX_LANGUAGE)
    if "sent_at" in message:
        a_text(message["sent_at"], "messages[0].sent_at")


def _check_text(value: object, where: str, known: tuple[str, ...]) -> None:
    text = an_object(value, where)
    known_only(text, known, f"{where}.")
    if "text" not in text:
        raise BadRowError(f"{where}.text", "there is none", "leave the whole out, or give it a text")
    for field, content in text.items():
        if field in _SUBJECT:
            sized_text(content, f"{where}.{field}", 0, MAX_TEXT)
        else:
            for node in a_list(content, f"{where}.{field}", MAX_MARKUP):
                if not isinstance(node, Mapping) or node.get("kind") not in _MARKUP_KINDS:
                    kinds = ", ".join(_MARKUP_KINDS)
                    raise BadRowError(
                        f"{where}.{field}", "an element is no markup node", f"use objects of kind {kinds}"
                    )


def check_attachments(value: object, where: str) -> None:
    """Check the metadata of attachments.

    :param value: the API's list of them.
    :param where: what to call it in an error.
    :raises BadRowError: for the first rule that it breaks.
    """
    for index, each in enumerate(a_list(value, where, MAX_ATTACHMENTS)):
        at = f"{where}[{index}]"
        attachment = an_object(each, at)
        known_only(attachment, _ATTACHMENT, f"{at}.")
        for field in ("name", "content_type"):
            sized_text(attachment.get(field), f"{at}.{field}", 0, 256)
        size = attachment.get("size")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise BadRowError(f"{at}.size", "it is not a number of bytes", "use a whole number of 0 or more")
        for field, pattern in (("content_hash", _HASH), ("attachment_reference", _REFERENCE)):
            if field in attachment and not pattern.fullmatch(a_text(attachment[field], f"{at}.{field}")):
                raise BadRowError(f"{at}.{field}", "it has another form than the API's", "leave it out")
        if not isinstance(attachment.get("inline", False), bool):
            raise BadRowError(f"{at}.inline", "it is neither true nor false", "use one of them, or leave it out")
