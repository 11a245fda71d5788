"""What loading messages does: new, updated or unchanged, what is billed, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_records import Bill, StoredMessage
from airflow_provider_cm.emulator.message_times import is_naive, microseconds, moment_of, read_time
from airflow_provider_cm.emulator.serializers import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from airflow_provider_cm.emulator.message_store import MessageStore
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]


@dataclass
class SyncCounts:
    """How many messages of a batch were what."""

    new: int = 0
    unchanged: int = 0
    updated_properties_only: int = 0
    updated_text_changed: int = 0

    def to_json(self) -> Json:
        """Write them as a sync answers them."""
        return {
            "new": self.new,
            "updated": self.updated_properties_only + self.updated_text_changed,
            "unchanged": self.unchanged,
            "updated_properties_only": self.updated_properties_only,
            "updated_text_changed": self.updated_text_changed,
        }


@dataclass(frozen=True)
class SyncTarget:
    """
    Where messages go.

    :param tenant: path of the tenant.
    :param source: id of the source.
    :param now: the time, by the emulator's clock.
    """

    store: MessageStore
    tenant: str
    source: str
    now: datetime
    settings: EmulatorSettings

    @cached_property
    def _now(self) -> int:
        return microseconds(self.now)

    def sync(self, comments: list[Json], *, overwrite: bool = True) -> SyncCounts:
        """
        Keep a batch of valid comments.

        :param comments: as the contract has them; they are taken apart.
        :param overwrite: whether a comment may take the place of another one with its id.
        :raises RefusedRequestError: nothing was kept: 400 or 422 for what no schema can state, 403 for the quota,
            409 for a comment that is there with other content.
        """
        comments = self._without_duplicates(comments)
        there = self.store.get(self.tenant, self.source, [comment["id"] for comment in comments])
        counts, changed = SyncCounts(), dict[str, StoredMessage]()
        for index, comment in enumerate(comments):
            try:
                self._place(comment, there, changed, counts, overwrite=overwrite)
            except _BadMessageError as error:
                if self.settings.bad_message == "refuse":
                    raise RefusedRequestError(error.status, f"{error} (in comments[{index}].timestamp)") from None
        self._check_quota(counts.new)
        if changed:
            bill = Bill(counts.new, counts.updated_text_changed)
            self.store.put(self.tenant, self.source, changed.values(), bill=bill)
        return counts

    def _place(
        self,
        comment: Json,
        there: dict[str, StoredMessage],
        changed: dict[str, StoredMessage],
        counts: SyncCounts,
        *,
        overwrite: bool,
    ) -> None:
        old = there.get(comment["id"])
        new = self._stored(comment, old)
        if old is None:
            counts.new += 1
        elif _same(old, new):
            counts.unchanged += 1
            return
        elif not overwrite:
            raise RefusedRequestError(409, f"Comment '{new.id}' already exists with other content")
        elif self._texts(old) == self._texts(new):
            counts.updated_properties_only += 1
        else:
            counts.updated_text_changed += 1
        there[new.id] = changed[new.id] = new

    def _stored(self, comment: Json, old: StoredMessage | None) -> StoredMessage:
        message_id = comment.pop("id")
        text, thread = comment.pop("timestamp", None), comment.pop("thread_id", None)
        if text is not None:
            timestamp = self._timestamp(text)
        elif self.settings.message_without_timestamp != "now":
            raise _BadMessageError(self.settings.message_without_timestamp, "'timestamp' is a required property")
        else:
            timestamp = self._now if old is None else old.timestamp
        created = self._now if old is None else old.created
        if old is not None and self.settings.omitted_message_field == "keep":
            comment = {**old.fields, **comment}
            thread = old.thread if thread is None else thread
        annotated = False if old is None else old.annotated
        return StoredMessage(message_id, timestamp, created, self._now, thread, annotated, orjson.dumps(comment))

    def _timestamp(self, text: str) -> int:
        if self.settings.naive_timestamp != "utc" and is_naive(text):
            raise _BadMessageError(self.settings.naive_timestamp, f"'{text}' has no offset from UTC")
        try:
            return read_time(text)
        except (ValueError, OverflowError):
            raise _BadMessageError(422, f"'{text}' is not a valid timestamp") from None

    def _texts(self, message: StoredMessage) -> list[Any]:
        parts = ("body", "subject", "signature") if self.settings.billed_text == "all" else ("body",)
        matches = message.fields.get("messages", ())
        return [each.get(part, {}).get("text") for each in matches for part in parts]

    def _without_duplicates(self, comments: list[Json]) -> list[Json]:
        choice = self.settings.duplicate_messages
        if choice == "last" or len({comment["id"] for comment in comments}) == len(comments):
            return comments
        first: dict[str, Json] = {}
        for comment in comments:
            if first.setdefault(comment["id"], comment) is not comment and choice != "first":
                raise RefusedRequestError(choice, f"Comment '{comment['id']}' appears more than once")
        return list(first.values())

    def _check_quota(self, new: int) -> None:
        quota = self.settings.message_quota
        if quota is not None and new and self.store.count_tenant(self.tenant) + new > quota:
            raise RefusedRequestError(403, f"quotas exceeded: this tenant may hold {quota} comments")


class _BadMessageError(RefusedRequestError):
    """A message that breaks a rule no schema can state."""


def _same(old: StoredMessage, new: StoredMessage) -> bool:
    if (old.timestamp, old.thread) != (new.timestamp, new.thread):
        return False
    # The order of keys is no content.
    return old.content == new.content or old.fields == new.fields


def message_jsons(messages: Iterable[StoredMessage], target: SyncTarget, *, markup: bool) -> list[Json]:
    """Write messages as the API shows them; the markup of texts only if requested."""
    return [_message_json(each, target, markup=markup) for each in messages]


def _message_json(message: StoredMessage, target: SyncTarget, *, markup: bool) -> Json:

    fields = message.fields
    output: Json = {
        "uid": f"{target.source}.{message.id}",
        "id": message.id,
        "timestamp": timestamp(moment_of(message.timestamp), target.settings),
        "user_properties": fields.get("user_properties", {}),
        "messages": fields.get("messages", []),
        "attachments": [_attachment_json(each, target) for each in fields.get("attachments", ())],
        "source_id": target.source,
        "created_at": timestamp(moment_of(message.created), target.settings),
        "last_modified": timestamp(moment_of(message.modified), target.settings),
        "has_annotations": message.annotated,
    }
    if message.thread is not None:
        output["thread_id"] = message.thread
    if "text_format" in fields:
        output["text_format"] = fields["text_format"]
    if not markup:
        for each in output["messages"]:
            for part in ("body", "signature"):
                for name in ("text_markup", "translated_from_markup"):
                    each.get(part, {}).pop(name, None)
    return output


def _attachment_json(attachment: Json, target: SyncTarget) -> Json:
    """Write the metadata of an attachment; with a reference if its bytes were uploaded."""
    digest = attachment.get("content_hash")
    if digest is None or "attachment_reference" in attachment or target.store.file(target.tenant, digest) is None:
        return attachment
    return {**attachment, "attachment_reference": digest}
