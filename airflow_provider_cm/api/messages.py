"""MessagesApi: the messages of a source, which the API calls comments.

Methods, paths and bodies: the vendor's page "Comments" and its contract of 2025. A message is created or overwritten by
its id, so a request whose outcome is unknown is sent again: nothing needs to be read back, as for a source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.calls import CallOutcome, Verdict
from airflow_provider_cm.api.echoes import Echoes
from airflow_provider_cm.api.errors import ConfigurationError, OutcomeUnknownError, ProtocolError
from airflow_provider_cm.api.frames import without_frames
from airflow_provider_cm.api.names import check_project, check_source_name
from airflow_provider_cm.api.repeating import Gate, Open, repeated
from airflow_provider_cm.api.sources import SourcesApi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_cm.api.calls import Call
    from airflow_provider_cm.api.session import ApiSession

MAX_BATCH = 16_384
"""Most messages in one sync, by the vendor's page."""

MAX_EMAILS = 4_096
"""Most emails in one sync, by a description in the vendor's contract."""

MAX_DELETES = 32
"""Most ids in one delete, by the vendor's client."""

_READ = "View sources"
_EDIT = "Edit messages"
_ROUTE = "sources/{project}/{name}"
_OTHERS = ("source", "sources", "statistics", "comment", "comments")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What became of a batch of messages.

    :param new: created.
    :param updated: changed, in text or properties.
    :param unchanged: there already, the same.
    :param updated_properties_only: changed in properties only; ``None`` where the server does not say.
    :param updated_text_changed: changed in text; ``None`` where the server does not say.
    :param replayed: the batch was sent again after its answer was lost: what the lost attempt did is counted as
        ``unchanged``, so that the other counts are "at least".
    :param timeouts: attempts that were not answered in time.
    """

    new: int
    updated: int
    unchanged: int
    updated_properties_only: int | None = None
    updated_text_changed: int | None = None
    replayed: bool = False
    timeouts: int = 0

    @property
    def stored(self) -> int:
        """Messages of the batch that the source holds."""
        return self.new + self.updated + self.unchanged

    @property
    def billable(self) -> int:
        """What the vendor charges for: created, or changed in text; the upper bound where the server does not say."""
        return self.new + (self.updated if self.updated_text_changed is None else self.updated_text_changed)

    @property
    def billable_is_exact(self) -> bool:
        """Whether ``billable`` is exact."""
        return self.updated_text_changed is not None and not self.replayed


class MessagesApi:
    """The messages of a tenant's sources.

    What an error, a log line or a ``repr`` shows holds no text, address or id of a message: what a server says of them
    is shown without the words that were sent (:mod:`airflow_provider_cm.api.echoes`). Every method raises the errors of
    :mod:`airflow_provider_cm.api.errors`.

    :param session: the tenant.
    """

    def __init__(self, session: ApiSession) -> None:
        self.session = session

    @without_frames
    def sync(self, project: str, source_name: str, comments: Sequence[Mapping[str, Any]]) -> SyncResult:
        """Create messages, or overwrite those with the same id. Needs "Edit messages".

        After an unknown outcome the same batch is sent again.

        :param project: the project.
        :param source_name: the source, which must exist.
        :param comments: at most 16384 of the API's comment objects; of two with one id the result is not defined.
        :raises BadRequestError: the server refused the batch; as far as is known, none of it was stored.
        :raises OutcomeUnknownError: no attempt was answered, so that some or all messages may be stored; sending the
            same batch later is safe.
        """
        _check_items(comments, "comments", MAX_BATCH)
        return self.sync_encoded(project, source_name, _encoded({"comments": list(comments)}), len(comments))

    @without_frames
    def sync_raw_emails(
        self,
        project: str,
        source_name: str,
        documents: Sequence[Mapping[str, Any]],
        *,
        transform_tag: str | None = None,
    ) -> SyncResult:
        """Create messages from emails, or overwrite those with the same id. Needs "Edit messages".

        :param documents: at most 4096 of the API's raw email documents. Each needs a ``comment_id`` or a Message-ID
            among its headers, since without an id it could not be sent again.
        :param transform_tag: how emails become messages; the source's own by default.
        :raises ConfigurationError: for a document without an id; otherwise as for :meth:`sync`.
        """
        _check_items(documents, "documents", MAX_EMAILS)
        for index, document in enumerate(documents):
            if email_id(document) is None:
                raise ConfigurationError(
                    f"documents[{index}]: it has neither a `comment_id` nor a Message-ID among its headers, so it "
                    "cannot be sent again without being stored twice; give it a `comment_id`"
                )
        body: dict[str, Any] = {"documents": list(documents)}
        if transform_tag is not None:
            body["transform_tag"] = transform_tag
        return self.sync_encoded(project, source_name, _encoded(body), len(documents), endpoint="sync-raw-emails")

    @without_frames
    def sync_encoded(
        self,
        project: str,
        source_name: str,
        body: bytes,
        size: int,
        *,
        endpoint: str = "sync",
        gate: Gate | None = None,
    ) -> SyncResult:
        """Send a batch that is JSON already; otherwise as :meth:`sync`.

        :param body: the whole request body.
        :param size: how many messages it holds.
        :param endpoint: ``sync`` or ``sync-raw-emails``.
        :param gate: asked before each attempt, and told to hold all others back when the server asks for it.
        """

        def check(payload: Mapping[str, Any], headers: Mapping[str, str]) -> None:
            if _result(payload).stored > size:
                raise ProtocolError("the response counts more messages than were sent", transient=True)

        call = self.session.prepare(
            "POST",
            "sources",
            check_project(project),
            check_source_name(source_name),
            endpoint,
            body=body,
            route=f"{_ROUTE}/{endpoint}",
            permission=_EDIT,
            check=check,
        )
        outcome, doubtful, timeouts = self._carry_out(call, gate)
        return replace(_result(outcome.payload), replayed=doubtful, timeouts=timeouts)

    @without_frames
    def get(self, project: str, source_name: str, message_id: str, *, include_markup: bool = False) -> dict[str, Any]:
        """Read one message. Needs "View sources".

        :param message_id: its id in the source.
        :param include_markup: give the markup of texts too.
        :return: the API's comment object.
        :raises NotFoundError: when the message or the source is not there, or not visible.
        """

        def check(payload: Mapping[str, Any], headers: Mapping[str, str]) -> None:
            comment = payload.get("comment")
            if not isinstance(comment, Mapping) or comment.get("id") != message_id:
                raise ProtocolError("the response is not about the message that was asked for", transient=True)

        call = self.session.prepare(
            "GET",
            "sources",
            check_project(project),
            check_source_name(source_name),
            "comments",
            _check_id(message_id),
            params={"include_markup": "true"} if include_markup else None,
            route=f"{_ROUTE}/comments/{{id}}",
            permission=_READ,
            check=check,
            clear=Echoes([message_id]),
        )
        call = replace(call, path=f"sources/{project}/{source_name}/comments/{{id}}")
        comment: dict[str, Any] = self.session.run(call, self.session.budget()).unwrap()["comment"]
        return comment

    @without_frames
    def delete(self, project: str, source_name: str, ids: Iterable[str]) -> int:
        """Delete messages for good; those that are gone do not matter. Needs "Edit messages".

        They are deleted in calls of at most 32, each repeated after an unknown outcome.

        :param ids: their ids in the source, consumed lazily.
        :return: how many ids were sent; one that is given twice in a row of 32 is sent once.
        :raises OutcomeUnknownError: no attempt of one call was answered; deleting again is safe.
        """
        check_project(project)
        check_source_name(source_name)
        if isinstance(ids, str):
            raise ConfigurationError("ids: it is one text, not a list of ids; give a list")
        deleted, chunk = 0, dict[str, None]()
        for message_id in ids:
            chunk[_check_id(message_id)] = None
            if len(chunk) == MAX_DELETES:
                deleted += self._delete(project, source_name, list(chunk))
                chunk.clear()
        return deleted + (self._delete(project, source_name, list(chunk)) if chunk else 0)

    def _delete(self, project: str, source_name: str, ids: list[str]) -> int:
        def check(payload: Mapping[str, Any], headers: Mapping[str, str]) -> None:
            if any(key in payload for key in _OTHERS):
                raise ProtocolError("the response answers another call than this one", transient=True)

        call = self.session.prepare(
            "DELETE",
            "sources",
            project,
            source_name,
            "comments",
            params={"id": ids},
            route=f"{_ROUTE}/comments",
            permission=_EDIT,
            check=check,
            clear=Echoes(ids),
        )
        self._carry_out(call)
        return len(ids)

    def count(self, project: str, source_name: str, *, comment_filter: Mapping[str, Any] | None = None) -> int:
        """Count the messages of a source, or those that a filter lets through. Needs "View sources".

        The number may lag behind what was loaded; for how long is not known.

        :param comment_filter: the API's comment filter, such as ``{"user_properties": {...}}``.
        :raises NotFoundError: when the source is not there, or not visible.
        """
        return SourcesApi(self.session).message_count(project, source_name, comment_filter=comment_filter)

    def _carry_out(self, call: Call, gate: Gate | None = None) -> tuple[CallOutcome, bool, int]:
        outcome, doubtful, timeouts = repeated(self.session, call, gate or Open())
        if outcome.verdict is Verdict.OK:
            return outcome, doubtful, timeouts
        if outcome.verdict is not Verdict.UNKNOWN:
            outcome.unwrap()
        error = OutcomeUnknownError(
            f"it is not known whether this was carried out; sending the same again is safe. Last problem: "
            f"{outcome.error}",
            method=call.method,
            path=call.path,
            status=outcome.status,
            attempts=outcome.sent,
        )
        raise error from outcome.error


def email_id(document: Mapping[str, Any]) -> str | None:
    """Return the id that a raw email document will have: its ``comment_id``, or else its Message-ID.

    :param document: the API's raw email document.
    """
    own = document.get("comment_id")
    if isinstance(own, str) and own:
        return own
    email = document.get("raw_email")
    headers = email.get("headers") if isinstance(email, Mapping) else None
    if not isinstance(headers, Mapping):
        return None
    parsed = headers.get("parsed")
    if isinstance(parsed, Mapping):
        found = next((value for name, value in parsed.items() if str(name).lower() == "message-id"), None)
        return found if isinstance(found, str) and found.strip() else None
    lines = str(headers.get("raw") or "").splitlines()
    for index, line in enumerate(lines):
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "message-id":
            folded = lines[index + 1].strip() if index + 1 < len(lines) and lines[index + 1][:1] in (" ", "\t") else ""
            return value.strip() or folded or None
    return None


def _result(payload: Mapping[str, Any]) -> SyncResult:
    names = ("new", "updated", "unchanged", "updated_properties_only", "updated_text_changed")
    new, updated, unchanged, *optional = (payload.get(name) for name in names)
    if not all(map(_is_count, (new, updated, unchanged))) or not all(n is None or _is_count(n) for n in optional):
        raise ProtocolError(
            "the response does not say how many messages are new, updated and unchanged", transient=True
        )
    result = SyncResult(new, updated, unchanged, *optional)  # type: ignore[arg-type]  # checked above
    if (result.updated_text_changed or 0) > result.updated:
        raise ProtocolError("the response counts more changes of text than updates", transient=True)
    if None not in optional and sum(optional) != result.updated:  # type: ignore[arg-type]  # checked above
        # Counts that do not add up say nothing of the bill, so its upper bound is reported.
        return replace(result, updated_properties_only=None, updated_text_changed=None)
    return result


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_items(items: object, field: str, most: int) -> None:
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise ConfigurationError(f"{field}: it is no list; give a list of objects")
    if len(items) > most:
        raise ConfigurationError(f"{field}: there are {len(items)}, and a request takes {most}; send them in parts")


def _check_id(message_id: object) -> str:
    if not isinstance(message_id, str) or not message_id or message_id in {".", ".."}:
        raise ConfigurationError(f"message id: a {type(message_id).__name__} is not one; give a text that is not empty")
    return message_id


def _encoded(body: object) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        kind = type(error).__name__
    # Not the encoder's words, which may quote a text.
    raise ConfigurationError(f"the messages cannot be written as JSON ({kind}); see that they hold JSON values only")
