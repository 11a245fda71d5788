"""Rows, one after the other, made into encoded messages; bad ones are put aside."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_cm.api.messages import email_id
from airflow_provider_cm.loading.duplicates import MetIds
from airflow_provider_cm.loading.emails import check_document
from airflow_provider_cm.loading.message import Message
from airflow_provider_cm.loading.readers.errors import UnreadableRow
from airflow_provider_cm.loading.shapes import BadRowError
from airflow_provider_cm.loading.validation import check_comment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_cm.loading.mapping import Mapping as MessageMapping
    from airflow_provider_cm.loading.rejects import Rejects
    from airflow_provider_cm.loading.resuming import Resumption

_encode = msgspec.json.Encoder().encode
_NOTHING = b"-"  # what a row that was put aside adds to the digest
_HOPELESS = 1000
# Raised by code that reads or encodes a value that no message can hold, such as an integer of 5,000 digits.
_UNFIT_VALUES = (TypeError, ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError)


class DuplicateIdError(Exception):
    """Two rows have one id."""


class HopelessError(Exception):
    """None of the first rows could be made into a message."""


def comment_of(mapping: MessageMapping | None) -> Callable[[Mapping[str, Any]], tuple[str, Mapping[str, Any]]]:
    """Return what makes (id, comment object) of a row.

    :param mapping: without one a row is a comment object, bare or as ``{"comment": {...}}``.
    """
    if mapping is not None:

        def mapped(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
            comment = mapping.message(row)
            return comment["id"], comment

        return mapped

    def own(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        comment = row
        if "comment" in row:
            comment = row["comment"]
            if not isinstance(comment, Mapping):
                raise BadRowError("comment", "it is not an object", "see the API's comment object")
            others = sorted(str(key) for key, value in row.items() if key != "comment" and value not in (None, {}, []))
            if others:
                raise BadRowError(
                    others[0], "a load takes messages only, no annotations or attachments", "take it out of the row"
                )
        check_comment(comment)
        return comment["id"], comment

    return own


def email_of(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return (id, raw email document) of a row that is one."""
    check_document(row)
    found = email_id(row)
    if found is None:
        raise BadRowError("comment_id", "there is none, nor a Message-ID", "give the document a comment_id")
    return found, row


class Rows:
    """Reads rows and gives the messages that are to be sent.

    :param rows: read once, lazily.
    :param make: makes (id, object) of a row; raises :class:`BadRowError`.
    :param rejects: where rows that cannot be sent are put aside.
    :param on_duplicate: ``fail`` or ``last``.
    :param resumption: skips what an earlier attempt has loaded; ``None`` where no checkpoint is kept.
    """

    def __init__(
        self,
        rows: Iterable[Any],
        make: Callable[[Mapping[str, Any]], tuple[str, Mapping[str, Any]]],
        rejects: Rejects,
        on_duplicate: str,
        resumption: Resumption | None,
    ) -> None:
        self.read = 0
        self.duplicates = 0
        self.valid = 0
        self.digest = b""
        self._rows = rows
        self._make = make
        self._rejects = rejects
        self._last_wins = on_duplicate == "last"
        self._resumption = resumption
        self._met = MetIds()

    def __iter__(self) -> Iterator[Message]:
        messages = self._messages()
        return self._resumption.unskipped(messages) if self._resumption is not None else self._good(messages)

    @staticmethod
    def _good(messages: Iterable[tuple[int, bytes, Message | None]]) -> Iterator[Message]:
        return (message for _, _, message in messages if message is not None)

    def _messages(self) -> Iterator[tuple[int, bytes, Message | None]]:
        """Return (row number, digest so far, message) of each row; no message for one that was put aside."""
        for row in self._rows:
            self.read += 1
            message = self._message(row)
            del row  # a traceback of what fails next must not show it
            yield self.read, self.digest, message

    def _message(self, row: Any) -> Message | None:
        number, message_id = self.read, None
        try:
            if isinstance(row, UnreadableRow):
                raise BadRowError(row.place, row.problem, row.remedy, "mapping")
            if type(row) is not dict and not isinstance(row, Mapping):  # the second question takes longer
                raise BadRowError("row", f"a {type(row).__name__} is not an object", "give rows as objects", "mapping")
            message_id, body = self._encoded(row)
        except BadRowError as error:
            shown_id = message_id if isinstance(message_id, str) else None
            self._rejects.add(number, shown_id, error.stage, str(error), self._raw(row))
            self._advance(_NOTHING)
            if not self.valid and number == _HOPELESS:
                raise HopelessError(
                    f"none of the first {number:,} rows could be made into a message: {error}"
                ) from None
            return None
        again = self._meet(message_id, number)
        self.valid += 1
        self._advance(body)
        return Message(number, message_id, body, self.digest, self._raw(row), again)

    def _encoded(self, row: Mapping[str, Any]) -> tuple[str, bytes]:
        try:
            message_id, content = self._make(row)
            return message_id, _encode(content)
        except UnicodeEncodeError:
            problem, remedy = "a text holds half of a character (a lone surrogate)", "decode the source as UTF-8"
        except _UNFIT_VALUES:
            problem, remedy = "a value cannot be written as JSON", "use texts, and numbers of usual size"
        raise BadRowError("row", problem, remedy)

    def _raw(self, row: Any) -> str | None:
        if not self._rejects.with_rows:
            return None
        try:
            return _encode(row).decode()
        except _UNFIT_VALUES:
            pass
        try:
            return _encode(str(row).encode("utf-8", "replace").decode()).decode()
        except _UNFIT_VALUES:
            return "null"

    def _meet(self, message_id: str, number: int) -> bool:
        earlier = self._met.meet(message_id, number)
        if not earlier:
            return False
        if not self._last_wins:
            raise DuplicateIdError(
                f"rows {earlier:,} and {number:,} have the same id{self._rejects.shown_id(message_id)}; make the ids "
                'unique, or set on_duplicate="last" to let the later row overwrite the earlier one'
            )
        self.duplicates += 1
        return True

    def _advance(self, content: bytes) -> None:
        if self._resumption is not None:
            self.digest = hashlib.blake2b(content, digest_size=16, key=self.digest).digest()
