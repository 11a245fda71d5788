"""The plain values that the emulator keeps of messages: a message, and what a tenant would pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """
    One message as it is kept.

    :param timestamp: microseconds since 1970, as are ``created`` and ``modified``.
    :param content: the request's JSON without what has a field of its own here.
    """

    id: str
    timestamp: int
    created: int
    modified: int
    thread: str | None
    annotated: bool
    content: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """What the request said: messages, user properties, attachments, text format."""
        fields: dict[str, Any] = orjson.loads(self.content)
        return fields


@dataclass(frozen=True, slots=True)
class Bill:
    """
    What a tenant would have paid for so far.

    :param created: messages that were created.
    :param text_changed: updates that changed a text.
    """

    created: int = 0
    text_changed: int = 0

    @property
    def ai_units(self) -> int:
        """One for each message created, and for each update that changed a text."""
        return self.created + self.text_changed
