"""The API's rules for raw email documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.loading import validation as rules
from airflow_provider_cm.loading.shapes import BadRowError, a_text, an_object, known_only, sized_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOCUMENT = ("raw_email", "comment_id", "user_properties")
_EMAIL = ("headers", "body", "attachments")


def check_document(document: Mapping[str, Any]) -> None:
    """Check a raw email document.

    :param document: as the API takes it.
    :raises BadRowError: for the first rule that it breaks.
    """
    known_only(document, _DOCUMENT, "")
    if "comment_id" in document:
        rules.check_id(document["comment_id"], "comment_id")
    for name, value in an_object(document.get("user_properties", {}), "user_properties").items():
        a_text(value, f"user_properties['{name}']")
    email = an_object(document.get("raw_email"), "raw_email")
    known_only(email, _EMAIL, "raw_email.")
    headers = an_object(email.get("headers"), "raw_email.headers")
    if len(headers) != 1 or not {"raw", "parsed"} & set(headers):
        raise BadRowError("raw_email.headers", "it holds neither `raw` nor `parsed` alone", "give one of the two")
    if "raw" in headers:
        sized_text(headers["raw"], "raw_email.headers.raw", 1, rules.MAX_TEXT)
    else:
        an_object(headers["parsed"], "raw_email.headers.parsed")
    body = an_object(email.get("body"), "raw_email.body")
    known_only(body, ("plain", "html"), "raw_email.body.")
    for part, most in (("plain", rules.MAX_TEXT), ("html", rules.MAX_HTML)):
        if part in body:
            sized_text(body[part], f"raw_email.body.{part}", 0, most)
    if "attachments" in email:
        rules.check_attachments(email["attachments"], "raw_email.attachments")
