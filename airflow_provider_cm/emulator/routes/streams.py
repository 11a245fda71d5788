"""Streams: list, get, create, update, delete; results, advance, reset, exceptions, and the older fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.dataset_json import fetched_json, stream_json, stream_model_json, stream_result_json
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.routes.datasets import find_dataset, messages_of
from airflow_provider_cm.emulator.stream_store import (
    advance,
    continuation_of,
    create_stream,
    find_stream,
    page_of,
    reset,
    update_stream,
)

if TYPE_CHECKING:
    from starlette.responses import Response

    from airflow_provider_cm.emulator.dataset_records import StoredDataset, StoredStream


def _find(call: OperationCall) -> tuple[StoredDataset, StoredStream]:
    dataset = find_dataset(call)
    return dataset, find_stream(dataset, call.path["stream_name"], call.settings)


@operation("getAllStreams")
def list_streams(call: OperationCall) -> Response:
    """List the streams of a dataset."""
    dataset = find_dataset(call)
    return ok(streams=[stream_json(each, dataset, call.settings) for each in dataset.streams.values()])


@operation("getStreamByName")
def get_stream(call: OperationCall) -> Response:
    """Get a stream."""
    dataset, stream = _find(call)
    return ok(stream=stream_json(stream, dataset, call.settings))


@operation("createStream")
def create(call: OperationCall) -> Response:
    """Create a stream."""
    dataset = find_dataset(call)
    stream = create_stream(dataset, call.body["stream"], call.state.now(), call.settings)
    call.state.changed()
    return ok(stream=stream_json(stream, dataset, call.settings))


@operation("updateStream")
def update(call: OperationCall) -> Response:
    """Update a stream."""
    dataset, stream = _find(call)
    update_stream(dataset, stream, call.body["stream"], call.state.now(), call.settings)
    call.state.changed()
    return ok(stream=stream_json(stream, dataset, call.settings))


@operation("deleteStream")
def delete(call: OperationCall) -> Response:
    """Delete a stream; whether one that is gone is an error is a setting."""
    dataset = find_dataset(call)
    try:
        del dataset.streams[find_stream(dataset, call.path["stream_name"], call.settings).name]
    except RefusedRequestError as error:
        if call.settings.delete_missing != 200:
            raise RefusedRequestError(call.settings.delete_missing, error.message) from None
    call.state.changed()
    return ok()


@operation("getStreamResults")
def results(call: OperationCall) -> Response:
    """Return the next messages; the same ones until the stream is advanced."""
    dataset, stream = _find(call)
    messages = messages_of(call, dataset)
    most, most_filtered = _limit(call, "max_results"), _limit(call, "max_filtered")
    page = page_of(stream, messages, most, most_filtered)
    return ok(
        results=[stream_result_json(each, stream, messages) for each in page.messages],
        num_filtered=page.filtered,
        more_results=page.more,
        continuation=continuation_of(stream, page.end),
        **stream_model_json(stream, messages),
    )


def _limit(call: OperationCall, name: str) -> int:
    settings = call.settings
    usual = settings.stream_results if name == "max_results" else settings.max_stream_results
    value: int = call.query.get(name, usual)
    if not 1 <= value <= max(settings.max_stream_results, usual):
        raise RefusedRequestError(
            400, f"{value} is not between 1 and {settings.max_stream_results} (in query parameter {name})"
        )
    return value


@operation("fetchFromStream")
def fetch(call: OperationCall) -> Response:
    """Return the next messages, in the older shape."""
    dataset, stream = _find(call)
    messages = messages_of(call, dataset)
    page = page_of(stream, messages, int(call.body["size"]), int(call.body.get("max_filtered", 1024)))
    return ok(
        results=[fetched_json(each, stream, messages) for each in page.messages],
        filtered=page.filtered,
        sequence_id=continuation_of(stream, page.end),
        is_end_sequence=not page.more,
    )


@operation("advanceStream")
def advance_stream(call: OperationCall) -> Response:
    """Move a stream to the position behind a continuation."""
    _, stream = _find(call)
    advance(stream, call.body["sequence_id"], call.settings)
    call.state.changed()
    return ok(sequence_id=continuation_of(stream, stream.position))


@operation("resetStream")
def reset_stream(call: OperationCall) -> Response:
    """Move a stream to the messages created at a time or later."""
    dataset, stream = _find(call)
    reset(stream, call.body["to_comment_created_at"])
    call.state.changed()
    return ok(sequence_id=continuation_of(stream, stream.position), stream=stream_json(stream, dataset, call.settings))


@operation("storeException")
def store_exceptions(call: OperationCall) -> Response:
    """Tag messages that a consumer could not process."""
    _, stream = _find(call)
    stream.exceptions |= {each["uid"]: each["metadata"]["type"] for each in call.body["exceptions"]}
    call.state.changed()
    return ok()


@operation("deleteException")
def delete_exceptions(call: OperationCall) -> Response:
    """Remove the tags of messages, or all if the request names none."""
    _, stream = _find(call)
    for uid in call.query.get("uid", list(stream.exceptions)):
        stream.exceptions.pop(uid, None)
    call.state.changed()
    return ok()
