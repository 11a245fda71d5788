"""Reading the one file of a ``multipart/form-data`` body."""

from __future__ import annotations

from email.message import Message

from airflow_provider_cm.emulator.errors import RefusedRequestError

_EXPECTED = "The request body is not multipart/form-data with a field named 'file'"


def uploaded_file(content_type: str, body: bytes) -> bytes:
    """
    Return the bytes of the field ``file``.

    :param content_type: the request's header.
    :raises RefusedRequestError: 400 if there is none.
    """
    boundary = _parameter("Content-Type", content_type, "boundary")
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise RefusedRequestError(400, _EXPECTED)
    mark = b"--" + boundary.encode()
    # A part ends with the line break that belongs to the next mark.
    for part in (b"\r\n" + body).split(b"\r\n" + mark)[1:]:
        head, matches, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if matches and name.lower() == "content-disposition" and _parameter(name, value.strip(), "name") == "file":
                return content
    raise RefusedRequestError(400, _EXPECTED)


def _parameter(header: str, value: str, name: str) -> str | None:
    message = Message()
    message[header] = value
    matches = message.get_param(name, header=header)
    return matches if isinstance(matches, str) else None
