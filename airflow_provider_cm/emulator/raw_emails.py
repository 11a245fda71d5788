"""
Raw emails made into messages, as far as an emulator needs it.

How the service parses an email depends on the transform tag, and is not known. Here the body is the plain part, or the
text of the HTML; the thread is the first email that this one refers to; the addresses are taken as they stand.
"""

from __future__ import annotations

from email.parser import HeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any

from airflow_provider_cm.emulator.errors import RefusedRequestError

Json = dict[str, Any]
_LONGEST_TEXT = 65536


def comment_of(document: Json) -> Json:
    """
    Make the comment that a document stands for.

    :raises RefusedRequestError: 422 if it has neither an id nor a Message-ID to make one of.
    """
    raw = document["raw_email"]
    headers = _headers(raw["headers"])
    message_id = headers.get("message-id", [""])[0].strip()
    comment_id = document.get("comment_id") or message_id.encode().hex()[:1024]
    if not comment_id:
        raise RefusedRequestError(422, "An email without a Message-ID needs a comment_id")
    comment: Json = {"id": comment_id, "messages": [_message(raw["body"], headers)]}
    if thread := (headers.get("references", [""])[0].split() or [message_id])[0]:
        comment["thread_id"] = thread
    if "sent_at" in comment["messages"][0]:
        comment["timestamp"] = comment["messages"][0]["sent_at"]
    for source, name in ((document, "user_properties"), (raw, "attachments")):
        if name in source:
            comment[name] = source[name]
    return comment


def _headers(headers: Json) -> dict[str, list[str]]:
    """Return the values of each header by its name in small letters."""
    if "raw" in headers:
        pairs = [(name, str(value)) for name, value in HeaderParser().parsestr(headers["raw"]).items()]
    else:
        pairs = [
            (name, str(each))
            for name, value in headers["parsed"].items()
            for each in (value if isinstance(value, list) else [value])
        ]
    matches: dict[str, list[str]] = {}
    for name, value in pairs:
        matches.setdefault(name.lower(), []).append(value)
    return matches


def _message(body: Json, headers: dict[str, list[str]]) -> Json:
    text = body["plain"] if "plain" in body else _text_of(body.get("html", ""))
    message: Json = {"body": {"text": text[:_LONGEST_TEXT]}}
    if subject := headers.get("subject"):
        message["subject"] = {"text": subject[0]}
    if (sender := headers.get("from", [""])[0].strip()) != "":
        message["from"] = sender
    for name in ("to", "cc", "bcc"):
        if addresses := [address for _, address in getaddresses(headers.get(name, [])) if address]:
            message[name] = addresses
    if (sent := _sent_at(headers.get("date", [""])[0])) is not None:
        message["sent_at"] = sent
    return message


def _sent_at(text: str) -> str | None:
    try:
        return parsedate_to_datetime(text).isoformat()
    except (ValueError, OverflowError):
        return None


class _TextOfHtml(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        if tag in ("br", "p", "div", "tr", "li"):
            self.texts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)


def _text_of(html: str) -> str:
    parser = _TextOfHtml()
    parser.feed(html)
    parser.close()
    return "".join(parser.texts).strip()
