"""The form of the API's responses: the envelope around every JSON object, and the platform's own time.

From the vendor's page "Using the API", sections "Errors" and "Performance timing".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import is_transient_status, status_text
from airflow_provider_cm.api.json_decoding import UnfitJson, decode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_cm.api.transport import Reply

_SERVER_TIMING = re.compile(r"(?:^|,)\s*total\s*(?:;[^,]*?)?;\s*dur\s*=\s*\"?([0-9]+(?:\.[0-9]+)?)")
_LONGEST_MS = 1e9  # twelve days; a longer time is no time of a response
_LOOKED_AT = 512 * 1024  # bytes of a body that is not JSON, to find an excerpt in
_TAG = re.compile(r"<(script|style).*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def read_envelope(reply: Reply, scrub: Callable[[str], str]) -> tuple[dict[str, Any], str | None, bool]:
    """Judge the form of a response.

    :param reply: the response.
    :param scrub: takes secrets out of a text.
    :return: its JSON object, which every database can hold (:func:`decode_json` says how); what is wrong with it, or
        ``None``; and whether asking again may help.
    """
    status, transient = reply.status, is_transient_status(reply.status)
    where = status_text(status)
    if 300 <= status < 400:
        target = reply.headers.get("Location", "nowhere")
        return {}, f"{where}: redirected to {target}; redirects are not followed, correct the endpoint", False
    if status == 206:
        return {}, f"{where}: this is only a part of the response, although no part was requested", False
    try:
        payload = decode_json(reply.body)
    except UnfitJson as problem:
        return {}, f"{where}, {problem}", transient
    except ValueError:
        # Secrets are taken out before the text is cut, since half of one would not be recognised.
        excerpt = _TAG.sub(" ", scrub(reply.body[:_LOOKED_AT].decode("utf-8", "replace"))[:4000])
        excerpt = " ".join(excerpt.split())[:200]
        if not reply.body.strip():
            return {}, f"{where}, with an empty body", transient or status < 300
        if reply.body.lstrip()[:1] == b"{":
            return {}, f"{where}, with JSON that is cut off or broken: {excerpt}", True
        return {}, f"{where}, but the body is not JSON (is the endpoint right?): {excerpt}", transient
    if not isinstance(payload, dict) or payload.get("status") not in ("ok", "error"):  # not in a set: it may be a list
        return (
            {},
            f"{where}, but the body has no status 'ok' or 'error', so it is not from this API",
            transient,
        )
    if (payload["status"] == "ok") != (200 <= status < 300):
        message = payload.get("message") or "no message"
        return payload, f"{where}, but the body has status '{payload['status']}' ({message})", transient
    return payload, None, transient


def parse_server_timing(headers: Mapping[str, str]) -> float | None:
    """Read the ``total`` of a ``Server-Timing`` header, in milliseconds; ``None`` if it is missing or not a time.

    :param headers: response headers, with case-insensitive look-up.
    """
    match = _SERVER_TIMING.search(headers.get("Server-Timing") or "")
    milliseconds = float(match.group(1)) if match else None
    return milliseconds if milliseconds is not None and milliseconds <= _LONGEST_MS else None
