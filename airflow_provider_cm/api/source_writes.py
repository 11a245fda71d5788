"""Create, update and delete: the rules by which each of them settles an unknown outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import source_calls
from airflow_provider_cm.api.calls import Verdict
from airflow_provider_cm.api.clocks import certainly_existed
from airflow_provider_cm.api.errors import (
    CommsMiningError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProtocolError,
    status_text,
)
from airflow_provider_cm.api.lost_responses import SettledWrite
from airflow_provider_cm.api.models import Source, describe_differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.api.calls import Call, CallOutcome
    from airflow_provider_cm.api.session import ApiSession


class _FieldsWrite(SettledWrite[Source]):
    """A write of fields, settled by comparing them with what is read.

    :param session: to send with.
    :param method: ``PUT`` or ``POST``.
    :param project: the project.
    :param name: the source's name.
    :param wanted: the fields, by their names in Python.
    """

    def __init__(self, session: ApiSession, method: str, project: str, name: str, wanted: Mapping[str, object]) -> None:
        super().__init__(session, source_calls.write(session, method, project, name, wanted))
        self._project = project
        self._name = name
        self._wanted = wanted

    def reread(self) -> Call:
        """Prepare the read by name."""
        return source_calls.read_by_name(self.session, self._project, self._name)

    def _compare(self, look: CallOutcome) -> tuple[Source, dict[str, tuple[object, object]], list[str]]:
        """Compare the source with the wanted fields; read it by ID if the read by name does not show all of them."""
        source = self._source(look)
        differences, unknown = source.compare(self._wanted)
        if unknown and not differences:
            by_id = source_calls.read_by_id(self.session, source.id, source.owner, source.name)
            complete = self.session.run(by_id, self.budget)
            if complete.verdict is Verdict.OK:
                source = self._source(complete)
                differences, unknown = source.compare(self._wanted)
        return source, differences, unknown

    def _source(self, look: CallOutcome) -> Source:
        if look.verdict is not Verdict.OK:
            raise OutcomeUnknownError(self.last_seen)
        try:
            return Source.parse(look.payload.get("source"), confirmed=True)
        except ProtocolError:
            raise OutcomeUnknownError(self.last_seen) from None


class CreateSource(_FieldsWrite):
    """A create.

    If the response gets lost: a source that has every wanted value is the result; one that existed before this call, or
    has other values, is a conflict; if there is none, the create is sent again. Which came first is judged by
    :mod:`airflow_provider_cm.api.clocks`.

    On a server that treats PUT as an upsert, a source that existed before is a conflict if the response's
    ``updated_at`` is later than its ``created_at`` by more than the call has taken.
    """

    def __init__(self, session: ApiSession, project: str, name: str, wanted: Mapping[str, object]) -> None:
        super().__init__(session, "PUT", project, name, wanted)
        self._absent = False  # a look has shown that there was no source

    def accept(self, outcome: CallOutcome) -> Source:
        """Return the created source."""
        source = source_calls.source_in(outcome)
        if certainly_existed(source, outcome, self.sent_at):
            raise self._conflict(
                f"the server answered this create with a source that has existed since {_since(source)}: it treats PUT "
                "as an upsert, so the existing source may have been changed. Look before creating, as "
                "CreateSourceOperator does",
                status=200,
            )
        self.session.clocks.learn(source, outcome)
        return source

    def settle(self, look: CallOutcome) -> Source | None:
        """Judge the source that has the name now."""
        if isinstance(look.error, NotFoundError):
            self.last_seen = "the source was not there when it was last looked for"
            self._absent = True
            return None
        source, differences, unknown = self._compare(look)
        if differences or certainly_existed(source, look, self.sent_at):
            problem = describe_differences(differences) or f"it has existed since {_since(source)}"
            raise self._conflict(
                f"another source of this name (id {source.id}) is there: {problem}", differences=differences
            )
        if unknown:
            self.last_seen = f"the source is there, but the server does not show its {', '.join(unknown)}"
            raise OutcomeUnknownError(self.last_seen)
        if not self._absent and self.session.clocks.perhaps_existed(source, look, self.sent_at):
            self.last_seen = (
                f"a source with every wanted value is there (id {source.id}); it has existed since {_since(source)}, "
                "which is before this call if the clocks of gateway and application agree"
            )
            raise OutcomeUnknownError(self.last_seen)
        return source

    def _conflict(self, message: str, **facts: Any) -> ConflictError:
        return ConflictError(message, method=self.call.method, path=self.call.path, **facts)


class UpdateSource(_FieldsWrite):
    """An update. If the response gets lost, it is sent again until the source has the wanted values."""

    def __init__(self, session: ApiSession, project: str, name: str, wanted: Mapping[str, object]) -> None:
        super().__init__(session, "POST", project, name, wanted)

    def accept(self, outcome: CallOutcome) -> Source:
        """Return the updated source."""
        return source_calls.source_in(outcome)

    def settle(self, look: CallOutcome) -> Source | None:
        """Judge the source that has the name now."""
        if isinstance(look.error, NotFoundError):
            raise look.error
        source, differences, unknown = self._compare(look)
        if differences or unknown:
            missing = describe_differences(differences) or f"the server does not show its {', '.join(unknown)}"
            self.last_seen = f"the source was there when last read; {missing}"
            return None
        return source


class DeleteSource(SettledWrite[bool]):
    """A delete.

    If the response gets lost: a source that is gone, and not listed either a moment later, is deleted; one that is
    still there is deleted again.

    :param session: to send with.
    :param source_id: the source.
    :param project: the project to list if a list is needed; ``None`` for all.
    """

    def __init__(self, session: ApiSession, source_id: str, project: str | None) -> None:
        super().__init__(session, source_calls.delete_by_id(session, source_id))
        self._source_id = source_id
        self._project = project

    def reread(self) -> Call:
        """Prepare the read by ID."""
        return source_calls.read_by_id(self.session, self._source_id)

    def accept(self, outcome: CallOutcome) -> bool:
        """Return ``True``."""
        return True

    def settle(self, look: CallOutcome) -> bool | None:
        """Return ``False`` if the source is gone."""
        if look.verdict is not Verdict.OK and not isinstance(look.error, NotFoundError):
            raise OutcomeUnknownError(self.last_seen)
        if isinstance(look.error, NotFoundError):
            self.linger()
            if not self._is_listed():
                return False
        self.last_seen = "the source was still there when it was last read"
        return None

    def refused(self, error: CommsMiningError) -> CommsMiningError:
        """Turn 404 into an error about permissions if the source is still there."""
        if not isinstance(error, NotFoundError) or not self._is_there(error):
            return error
        return PermissionDeniedError(
            f"{status_text(404)}, but source id:{self._source_id} is still there: the server answers 404 to hide that "
            f"the token must not delete it. The permission '{source_calls.WRITE}' on its project is probably missing.",
            method=self.call.method,
            path=self.call.path,
            status=error.status,
            api_message=error.api_message,
            attempts=error.attempts,
            platform_ms=error.platform_ms,
        )

    def _is_there(self, refusal: CommsMiningError) -> bool:
        """Look for a source that a delete did not find: by ID, then in the list."""
        self.linger()
        look = self.session.run(self.reread(), self.budget)
        if look.verdict is Verdict.OK:
            return True
        try:
            if not isinstance(look.error, NotFoundError):
                raise OutcomeUnknownError(self.last_seen)
            return self._is_listed()
        except OutcomeUnknownError:
            self.last_seen = "the server knew no such source, but whether it is gone could not be read"
            raise self.unknown(refusal) from refusal

    def _is_listed(self) -> bool:
        try:
            listed = source_calls.list_sources(self.session, self._project, self.budget)
        except NotFoundError:
            return False  # the project is gone, too
        except CommsMiningError:
            raise OutcomeUnknownError(self.last_seen) from None
        return any(source.id.lower() == self._source_id.lower() for source in listed)


def _since(source: Source) -> str:
    # Not the server's own text, in which a log could be forged.
    return source.created_at.isoformat() if source.created_at else "an unknown time"
