"""The streams of a dataset: a place in the order of arrival that stays where it is until it is advanced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.dataset_messages import read_token, token
from airflow_provider_cm.emulator.dataset_records import BEGINNING, StoredDataset, StoredStream, new_stream_id
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_times import microseconds, read_time

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_cm.emulator.dataset_messages import DatasetMessage, DatasetMessages, Position
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

# The greatest number in the order of arrival: behind all messages of a moment.
_LAST = 2**62


@dataclass(frozen=True)
class StreamPage:
    """
    One page of a stream.

    :param messages: those that its filter lets through.
    :param filtered: how many it did not let through.
    :param more: whether there are messages behind these.
    :param end: position of the last message looked at, or where the stream is.
    """

    messages: list[DatasetMessage]
    filtered: int
    more: bool
    end: Position


def find_stream(dataset: StoredDataset, name: str, settings: EmulatorSettings) -> StoredStream:
    """Find a stream by name; 404 if there is none."""
    if name in dataset.streams:
        return dataset.streams[name]
    if not settings.names_case_sensitive:
        for stream in dataset.streams.values():
            if stream.name.lower() == name.lower():
                return stream
    raise RefusedRequestError(404, f"Stream '{name}' not found")


def create_stream(dataset: StoredDataset, body: Json, now: datetime, settings: EmulatorSettings) -> StoredStream:
    """
    Create a stream.

    :raises RefusedRequestError: 422 without a name; what happens if it is taken is the setting ``duplicate_put``.
    """
    name = body.get("name")
    if name is None:
        raise RefusedRequestError(422, "'name' is a required property (in stream)")
    try:
        existing = find_stream(dataset, name, settings)
    except RefusedRequestError:
        pass
    else:
        if settings.duplicate_put != "upsert":
            raise RefusedRequestError(settings.duplicate_put, f"Stream '{name}' already exists")
        return update_stream(dataset, existing, body, now, settings)
    stream = StoredStream(
        id=new_stream_id(),
        name=name,
        title=body.get("title", name[:128] if settings.default_title == "name" else ""),
        description=body.get("description", ""),
        created_at=now,
        updated_at=now,
        comment_filter=body.get("comment_filter"),
        model=body.get("model"),
        position=(microseconds(now), _LAST) if settings.stream_start == "creation" else BEGINNING,
    )
    dataset.streams[name] = stream
    return stream


def update_stream(
    dataset: StoredDataset, stream: StoredStream, body: Json, now: datetime, settings: EmulatorSettings
) -> StoredStream:
    """Change the fields sent, its name included, and leave the others alone; it stays where it is."""
    name = body.get("name", stream.name)
    if name != stream.name:
        if name in dataset.streams:
            status = 409 if settings.duplicate_put == "upsert" else settings.duplicate_put
            raise RefusedRequestError(status, f"Stream '{name}' already exists")
        dataset.streams[name] = dataset.streams.pop(stream.name)
        stream.name = name
    stream.title = body.get("title", stream.title)
    stream.description = body.get("description", stream.description)
    stream.comment_filter = body.get("comment_filter", stream.comment_filter)
    stream.model = body.get("model", stream.model)
    stream.updated_at = now
    return stream


def page_of(stream: StoredStream, messages: DatasetMessages, most: int, most_filtered: int) -> StreamPage:
    """
    Return the next messages of a stream, which stays where it is.

    :param most: how many results to give at most.
    :param most_filtered: how many messages to leave out at most.
    """
    passes = messages.filter(stream.comment_filter or {})
    matches: list[DatasetMessage] = []
    filtered, end = 0, stream.position
    for each in messages.walk("created", after=stream.position):
        if len(matches) == most or filtered == most_filtered:
            return StreamPage(matches, filtered, True, end)
        if passes(each):
            matches.append(each)
        else:
            filtered += 1
        end = each.position
    return StreamPage(matches, filtered, False, end)


def continuation_of(stream: StoredStream, position: Position) -> str:
    """Write a position as the continuation, or sequence id, of a stream."""
    return token(stream.id, *position)


def advance(stream: StoredStream, continuation: str, settings: EmulatorSettings) -> None:
    """
    Move a stream to the place behind a position; what an old one does is the setting ``old_continuation``.

    :raises RefusedRequestError: 422 for what is no continuation of this stream.
    """
    first, second = read_token(continuation, stream.id, 2)
    position = (first, second)
    if position < stream.position and settings.old_continuation != "rewind":
        if settings.old_continuation != "ignore":
            raise RefusedRequestError(settings.old_continuation, "The stream has been advanced past this continuation")
        return
    stream.position = position


def reset(stream: StoredStream, text: str) -> None:
    """
    Move a stream to the messages created at a time or later.

    :raises RefusedRequestError: 422 for what is no time.
    """
    try:
        moment = read_time(text)
    except (ValueError, OverflowError):
        raise RefusedRequestError(422, f"'{text[:100]}' is not a valid timestamp (in to_comment_created_at)") from None
    stream.position = (moment, -1)
