"""The plain values that the emulator keeps of datasets: annotations, predictions set by a test, and streams."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  the state file reads the annotations
from typing import Any

Json = dict[str, Any]

# Of a stream that has given nothing yet; positions are (microseconds since 1970, number in the order of arrival).
BEGINNING = (-(2**62), 0)


def new_stream_id() -> str:
    """Make an id as the service does for streams: 32 lower-case hexadecimal digits."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class Annotation:
    """
    What people said about one message in one dataset.

    :param created: when the message was created, in microseconds: one that was deleted and created again has none.
    :param user_id: who said it last.
    """

    created: int
    user_id: str
    at: datetime
    assigned: list[Json] = field(default_factory=list)
    dismissed: list[Json] = field(default_factory=list)
    entities: Json = field(default_factory=dict)
    moon_forms: list[Json] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing is left of it."""
        return not (self.assigned or self.dismissed or any(self.entities.values()) or self.moon_forms)


@dataclass(slots=True)
class StoredStream:
    """
    One stream of a dataset.

    :param position: of the last message that was advanced past.
    :param exceptions: types of exceptions by uid of the message.
    """

    id: str
    name: str
    comment_filter: Json | None
    model: Json | None
    title: str
    description: str
    created_at: datetime
    updated_at: datetime
    position: tuple[int, int] = BEGINNING
    exceptions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class StoredDataset:
    """
    One dataset of a project.

    :param fields: what responses show besides the other parameters, under the API's own names.
    :param annotations: by uid of the message.
    :param predictions: labels that a test has set, by uid of the message.
    :param streams: by name.
    """

    id: str
    owner: str
    name: str
    created: datetime
    last_modified: datetime
    trained_at: datetime
    source_ids: tuple[str, ...]
    fields: Json
    model_version: int = 1
    annotations: dict[str, Annotation] = field(default_factory=dict)
    predictions: dict[str, list[Json]] = field(default_factory=dict)
    streams: dict[str, StoredStream] = field(default_factory=dict)

    @property
    def label_names(self) -> list[str]:
        """The names of the labels that it defines."""
        return [each["name"] for each in self.fields["label_defs"]]
