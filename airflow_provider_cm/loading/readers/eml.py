"""Emails as the API's documents for ``sync-raw-emails``."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.loading.readers.errors import UnreadableRow
from airflow_provider_cm.loading.readers.unpacking import unpacking_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from typing import BinaryIO

LARGEST_EMAIL = 64 * 1024 * 1024
"""Bytes of the largest email that is read: an email is read as a whole."""

# What Python's parser raises for headers that are very wrong.
_PARSING_ERRORS = (ValueError, LookupError, AttributeError, TypeError, RecursionError)


def read_eml(file: BinaryIO, name: str) -> Iterator[dict[str, Any] | UnreadableRow]:
    """Read an email: its headers as they stand, its plain and HTML text, and what its attachments are called.

    The API makes the message's id of the ``Message-ID``, so an email without one is unreadable.

    :param file: open for reading bytes, unpacked.
    :param name: what errors call the file.
    :return: one document.
    :raises ReadError: for damaged gzip data.
    """
    with unpacking_errors(name):
        raw = file.read(LARGEST_EMAIL + 1)
    if len(raw) > LARGEST_EMAIL:
        yield UnreadableRow(name, f"the email is larger than {LARGEST_EMAIL} bytes", "take its attachments out")
        return
    try:
        yield _document(raw, name)
    except _PARSING_ERRORS as error:
        # The error's own text may quote a header.
        yield UnreadableRow(
            name, f"the email cannot be parsed ({type(error).__name__})", "look for what is odd in its headers"
        )


def _document(raw: bytes, name: str) -> dict[str, Any] | UnreadableRow:
    email: EmailMessage = message_from_bytes(raw, policy=policy.default)
    if not email.keys():
        return UnreadableRow(name, "it is not an email: it does not begin with a header", "check what the path matches")
    if not str(email.get("Message-ID", "")).strip():
        return UnreadableRow(
            name, "it has no Message-ID, of which the API makes the message's id", "add one to its headers"
        )
    return {"raw_email": _raw_email(raw, email)}


def _raw_email(raw: bytes, email: EmailMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"headers": {"raw": _header_block(raw)}, "body": {}}
    for kind in ("plain", "html"):
        part = email.get_body((kind,))
        if part is not None:
            found["body"][kind] = _text(part)
    if attachments := [_attachment(part) for part in email.iter_attachments()]:
        found["attachments"] = attachments
    return found


def _header_block(raw: bytes) -> str:
    block = raw.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return block.decode("utf-8", "replace").strip("\n")


def _text(part: Any) -> str:
    content = part.get_payload(decode=True) or b""
    try:
        return content.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:  # a charset that nobody knows
        return content.decode("utf-8", "replace")


def _attachment(part: Any) -> dict[str, Any]:
    content = part.get_payload(decode=True) or b""
    kind = part.get_content_type()
    return {"name": (part.get_filename() or kind)[:256], "size": len(content), "content_type": kind[:256]}
