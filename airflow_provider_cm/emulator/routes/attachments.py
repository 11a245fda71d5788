"""Files of messages: attachments and recordings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import Response

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.multipart import uploaded_file
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.records import StoredSource

_BYTES = "application/octet-stream"


def _source(call: OperationCall) -> StoredSource:
    source = call.tenant.sources.get(call.path["source_id"])
    if source is None:
        raise RefusedRequestError(404, f"Source '{call.path['source_id']}' not found")
    return source


def _recorded(call: OperationCall) -> str:
    """Return the id of the source whose message has, or is to have, a recording; 404 if there is no such message."""
    source, comment_id = _source(call), call.path["comment_id"]
    if not call.state.messages.get(call.tenant.path, source.id, [comment_id]):
        raise RefusedRequestError(404, f"Comment '{comment_id}' not found")
    return source.id


@operation("uploadCommentAttachment")
def upload_attachment(call: OperationCall) -> Response:
    """Keep the bytes of an attachment, whose hash the message that comes later names."""
    content = uploaded_file(call.request.headers.get("content-type", ""), call.data)
    digest = hashlib.sha256(content).hexdigest()
    call.state.messages.put_file(call.tenant.path, _source(call).id, digest, content)
    return ok(content_hash=digest)


@operation("getAttachment")
def get_attachment(call: OperationCall) -> Response:
    """Return the bytes of an attachment."""
    content = call.state.messages.file(call.tenant.path, call.path["attachment_reference"])
    if content is None:
        raise RefusedRequestError(404, "Attachment not found")
    return Response(content, media_type=_BYTES)


@operation("uploadCommentAudio")
def upload_audio(call: OperationCall) -> Response:
    """Keep the recording of a message."""
    source_id = _recorded(call)
    content = uploaded_file(call.request.headers.get("content-type", ""), call.data)
    digest = hashlib.sha256(content).hexdigest()
    call.state.messages.put_audio(call.tenant.path, source_id, call.path["comment_id"], digest, content)
    return ok()


@operation("getCommentAudio")
def get_audio(call: OperationCall) -> Response:
    """Return the recording of a message."""
    content = call.state.messages.audio(call.tenant.path, _recorded(call), call.path["comment_id"])
    if content is None:
        raise RefusedRequestError(404, "Audio not found")
    return Response(content, media_type=_BYTES)
