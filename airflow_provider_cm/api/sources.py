"""SourcesApi: the endpoints of sources, and what is true after each of them.

Methods, paths, bodies, fields and permissions: the vendor's page "Sources". Not on that page: ``kind``,
``email_transform_tag`` and ``bucket_id: null``, which are known from the vendor's command-line client, and the
statistics, which are part of its v1 contract of 2025.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_cm.api.calls import Call, CallOutcome, Check, Verdict
from airflow_provider_cm.api.errors import (
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProtocolError,
    status_text,
)
from airflow_provider_cm.api.lost_responses import LAG, Attempted, SettledWrite
from airflow_provider_cm.api.models import Source, describe_differences
from airflow_provider_cm.api.names import check_project, check_property, check_source_id, check_source_name
from airflow_provider_cm.api.response_checks import expect_listing, expect_source, expect_statistics
from airflow_provider_cm.api.source_fields import SETTABLE, SettableFields, UpdatableFields

if TYPE_CHECKING:
    from airflow_provider_cm.api.retry import Budget
    from airflow_provider_cm.api.session import ApiSession

_READ = "View sources"
_WRITE = "Sources admin"
_BY_NAME = "sources/{project}/{name}"
_BY_ID = "sources/id:{id}"


class SourcesApi:
    """The sources of a tenant.

    ``None`` as an argument means that the field is not sent. After a write, what is returned is what the server holds:
    where a response got lost, the source was read again (``Source.confirmed``), and where that could not settle it,
    :class:`OutcomeUnknownError` says so. The state afterwards is promised, not authorship: a rival's change between two
    attempts may be overwritten, since the API has no conditional writes. An answer about another source than the one
    asked for is no answer: a read is repeated, a write is settled by reading.

    Every method raises the errors of :mod:`airflow_provider_cm.api.errors`; names and ids are checked before a request
    is spent.

    :param session: the tenant.
    """

    def __init__(self, session: ApiSession) -> None:
        self.session = session

    def list(self, project: str | None = None) -> builtins.list[Source]:
        """List the sources that are visible with this token, of one project or of all. Needs "View sources".

        :param project: only this project's. What a user may not see is left out, without an error.
        :raises ProtocolError: when the answer is, or may be, only one page of the list.
        """
        return self._list(project, self.session.budget())

    def _list(self, project: str | None, budget: Budget) -> builtins.list[Source]:
        check = expect_listing(project)
        if project is None:
            call = self._read("sources", route="sources", check=check)
        else:
            call = self._read("sources", check_project(project), route="sources/{project}", check=check)
        payload = self.session.run(call, budget).unwrap()
        sources = payload.get("sources")
        if not isinstance(sources, builtins.list):
            raise ProtocolError("the response has no list `sources`", method=call.method, path=call.path)
        return [Source.parse(source) for source in sources]

    def get(self, project: str, name: str) -> Source:
        """Read a source by its name. Needs "View sources".

        :param project: the project.
        :param name: the source's name.
        :raises NotFoundError: when it is not there, or not visible.
        """
        return _source(self.session.run(self._by_name(project, name), self.session.budget()))

    def get_by_id(self, source_id: str) -> Source:
        """Read a source by its id. Needs "View sources".

        :param source_id: 16 hexadecimal digits, without ``id:``.
        :raises NotFoundError: when it is not there, or not visible.
        """
        return _source(self.session.run(self._by_id(source_id), self.session.budget()))

    def statistics(self, project: str, name: str, *, comment_filter: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Read a source's statistics, such as ``{"num_comments": 12}``. Needs "View sources".

        The endpoint is part of the vendor's v1 contract of 2025; its page does not mention it.

        :param project: the project.
        :param name: the source's name.
        :param comment_filter: which messages to count, as the API's comment filter; all by default.
        :raises NotFoundError: when it is not there, or not visible.
        """
        call = self.session.prepare(
            "POST",
            "sources",
            check_project(project),
            check_source_name(name),
            "statistics",
            json={"comment_filter": dict(comment_filter or {})},
            route=f"{_BY_NAME}/statistics",
            permission=_READ,
            check=expect_statistics,
        )
        statistics = self.session.run(call, self.session.budget()).unwrap().get("statistics")
        if not isinstance(statistics, dict):
            raise ProtocolError("the response has no object `statistics`", method=call.method, path=call.path)
        return statistics

    def message_count(self, project: str, name: str, *, comment_filter: Mapping[str, Any] | None = None) -> int:
        """Read how many messages a source holds; parameters and errors as for :meth:`statistics`."""
        count = self.statistics(project, name, comment_filter=comment_filter).get("num_comments")
        if isinstance(count, bool) or not isinstance(count, int | float):
            raise ProtocolError(f"the statistics of {project}/{name} have no number `num_comments`")
        return int(count)

    def create(
        self,
        project: str,
        name: str,
        **fields: Unpack[SettableFields],
    ) -> Source:
        """Create a source. Needs "Sources admin".

        When the response gets lost: a source that is there with every value asked for is the result; one that was
        created before this call, or has other values, is a conflict; when there is none, it is created again. Which
        came first is judged by the application's own timestamps. Where only the ``Date`` of the answer says that the
        source is older than the call, the outcome is unknown, since that clock may be another one; what it was ahead at
        the session's last create is allowed for.

        On a server that treats PUT as an upsert, a source that was there before is a conflict if the answer's
        ``updated_at`` is later than its ``created_at`` by more than the call has taken.

        :param project: the project, which must exist.
        :param name: the new source's name.
        :param title: one line for people.
        :param description: a longer text.
        :param language: ``en`` (the default) or ``Multilingual``, by the vendor's page.
        :param should_translate: translate messages where required; the server's default is ``False``.
        :param sensitive_properties: properties to hide from users without the privilege to see them.
        :param bucket_id: id of a bucket whose data is loaded into the source.
        :param kind: the API's ``_kind``, such as ``call`` or ``chat``.
        :param email_transform_tag: how e-mails of the bucket are made into messages.
        :return: the source as the server holds it.
        :raises ConflictError: when the name is taken.
        """
        wanted = _wanted(fields, SettableFields)
        call = self._write("PUT", project, name, wanted)

        def accept(outcome: CallOutcome, attempted: Attempted) -> Source:
            source = _source(outcome)
            if attempted.preceded_by(source, outcome):
                raise ConflictError(
                    f"the server answered this create with a source that has existed since {_since(source)}: "
                    "it treats PUT as an upsert, so the existing source may have been changed. Look before creating, "
                    "as CreateSourceOperator does",
                    method=call.method,
                    path=call.path,
                    status=200,
                )
            attempted.learn(source, outcome)
            return source

        def settle(look: CallOutcome, attempted: Attempted) -> Source | None:
            if isinstance(look.error, NotFoundError):
                attempted.last_seen = "the source was not there when it was last looked for"
                attempted.absent = True
                return None
            source, differences, unknown = self._seen(look, wanted, attempted)
            if differences or attempted.preceded_by(source, look):
                problem = describe_differences(differences) or f"it has existed since {_since(source)}"
                raise ConflictError(
                    f"another source of this name (id {source.id}) is there: {problem}",
                    differences=differences,
                    method=call.method,
                    path=call.path,
                )
            if unknown:
                attempted.last_seen = f"the source is there, but the server does not show its {', '.join(unknown)}"
                raise OutcomeUnknownError(attempted.last_seen)
            if attempted.perhaps_preceded_by(source, look):
                attempted.last_seen = (
                    f"a source with every value asked for is there (id {source.id}); it has existed since "
                    f"{_since(source)}, which is before this call if the clocks of gateway and application agree"
                )
                raise OutcomeUnknownError(attempted.last_seen)
            return source

        return SettledWrite(self.session, call, lambda: self._by_name(project, name), accept, settle).carry_out()

    def update(
        self,
        project: str,
        name: str,
        *,
        detach_bucket: bool = False,
        **fields: Unpack[UpdatableFields],
    ) -> Source:
        """Change a source; what is not given stays as it is. Needs "Sources admin".

        When the response gets lost: a source that has the values asked for is the result; otherwise the update is sent
        again. Language and kind are not parameters: the vendor's contract accepts both here, but the effect is unknown.

        :param project: the project.
        :param name: the source's name.
        :param title: one line for people.
        :param description: a longer text.
        :param should_translate: translate messages into English where required.
        :param sensitive_properties: the whole new list.
        :param bucket_id: id of a bucket whose data is loaded into the source.
        :param email_transform_tag: how e-mails of the bucket are made into messages.
        :param detach_bucket: take the bucket away from the source; the only way to do so.
        :return: the source as the server holds it.
        :raises NotFoundError: when it is not there, or not visible.
        """
        wanted = _wanted(fields, UpdatableFields)
        if detach_bucket and "bucket_id" in wanted:
            raise ConfigurationError("detach_bucket: it contradicts `bucket_id`; give one of them")
        if detach_bucket:
            wanted["bucket_id"] = None
        call = self._write("POST", project, name, wanted)

        def accept(outcome: CallOutcome, attempted: Attempted) -> Source:
            return _source(outcome)

        def settle(look: CallOutcome, attempted: Attempted) -> Source | None:
            if isinstance(look.error, NotFoundError):
                raise look.error
            source, differences, unknown = self._seen(look, wanted, attempted)
            if differences or unknown:
                missing = describe_differences(differences) or f"the server does not show its {', '.join(unknown)}"
                attempted.last_seen = f"the source was there when last read; {missing}"
                return None
            return source

        return SettledWrite(self.session, call, lambda: self._by_name(project, name), accept, settle).carry_out()

    def delete(self, source_id: str, *, project: str | None = None) -> bool:
        """Delete a source and all its messages, for good. Needs "Sources admin".

        When the response gets lost: a source that is gone, and not listed either a moment later, is deleted; one that
        is still there is deleted again.

        :param source_id: 16 hexadecimal digits, without ``id:``.
        :param project: its project, if it is known. Where a list is needed to know whether the source is gone, it is
            this project's, and otherwise that of all sources.
        :return: whether the server said so itself; ``False`` when the response got lost and the source was then seen to
            be gone.
        :raises NotFoundError: when the server did not know the source the first time it was asked, and shows it nowhere
            else.
        :raises PermissionDeniedError: also for 404, when the source is still there.
        """
        check_source_id(source_id)
        call = self.session.prepare(
            "DELETE",
            "sources",
            f"id:{source_id}",
            route=_BY_ID,
            permission=_WRITE,
            check=expect_source(source_id=source_id),
        )

        def accept(outcome: CallOutcome, attempted: Attempted) -> bool:
            return True

        def settle(look: CallOutcome, attempted: Attempted) -> bool | None:
            if look.verdict is not Verdict.OK and not isinstance(look.error, NotFoundError):
                raise OutcomeUnknownError(attempted.last_seen)
            if isinstance(look.error, NotFoundError):
                attempted.budget.linger(LAG)
                if not self._is_listed(source_id, project, attempted):
                    return False
            attempted.last_seen = "the source was still there when it was last read"
            return None

        def refused(error: CommsMiningError, attempted: Attempted) -> CommsMiningError:
            if isinstance(error, NotFoundError) and self._is_there(source_id, project, attempted, call, error):
                return PermissionDeniedError(
                    f"{status_text(404)}, but source id:{source_id} is still there: the server hides behind "
                    "404 that the token may not delete it. "
                    f"The permission '{_WRITE}' on its project is probably missing.",
                    method=call.method,
                    path=call.path,
                    status=error.status,
                    api_message=error.api_message,
                    attempts=error.attempts,
                    platform_ms=error.platform_ms,
                )
            return error

        return SettledWrite(self.session, call, lambda: self._by_id(source_id), accept, settle, refused).carry_out()

    def _is_there(
        self, source_id: str, project: str | None, attempted: Attempted, call: Call, cause: CommsMiningError
    ) -> bool:
        """Look for a source that a delete did not find: by id, then in the list."""
        attempted.budget.linger(LAG)
        look = self.session.run(self._by_id(source_id), attempted.budget)
        if look.verdict is Verdict.OK:
            return True
        try:
            if not isinstance(look.error, NotFoundError):
                raise OutcomeUnknownError(attempted.last_seen)
            return self._is_listed(source_id, project, attempted)
        except OutcomeUnknownError:
            last_seen = "the server knew no such source, but whether it is gone could not be read"
            raise self.session.unknown(call, last_seen, cause, attempted.writes) from cause

    def _is_listed(self, source_id: str, project: str | None, attempted: Attempted) -> bool:
        try:
            listed = self._list(project, attempted.budget)
        except NotFoundError:
            return False  # the project is gone, too
        except CommsMiningError:
            raise OutcomeUnknownError(attempted.last_seen) from None
        return any(source.id.lower() == source_id.lower() for source in listed)

    def _read(self, *segments: str, route: str, check: Check) -> Call:
        return self.session.prepare("GET", *segments, route=route, permission=_READ, check=check)

    def _by_name(self, project: str, name: str) -> Call:
        check = expect_source(check_project(project), check_source_name(name))
        return self._read("sources", project, name, route=_BY_NAME, check=check)

    def _by_id(self, source_id: str) -> Call:
        check = expect_source(source_id=check_source_id(source_id))
        return self._read("sources", f"id:{source_id}", route=_BY_ID, check=check)

    def _write(self, method: str, project: str, name: str, wanted: Mapping[str, object]) -> Call:
        return self.session.prepare(
            method,
            "sources",
            check_project(project),
            check_source_name(name),
            json={"source": {SETTABLE[field]: value for field, value in wanted.items()}},
            route=_BY_NAME,
            permission=_WRITE,
            check=expect_source(project, name),
        )

    def _seen(
        self, look: CallOutcome, wanted: Mapping[str, object], attempted: Attempted
    ) -> tuple[Source, dict[str, tuple[object, object]], builtins.list[str]]:
        """Compare what was read back with what was asked for, reading by id what a read by name does not show."""
        if look.verdict is not Verdict.OK:
            raise OutcomeUnknownError(attempted.last_seen)
        try:
            source = Source.parse(look.payload.get("source"), confirmed=True)
        except ProtocolError:
            raise OutcomeUnknownError(attempted.last_seen) from None
        differences, unknown = source.compare(wanted)
        if unknown and not differences:
            check = expect_source(source.owner, source.name, source.id)
            by_id = self._read("sources", f"id:{source.id}", route=_BY_ID, check=check)
            fuller = self.session.run(by_id, attempted.budget)
            if fuller.verdict is Verdict.OK:
                try:
                    source = Source.parse(fuller.payload.get("source"), confirmed=True)
                except ProtocolError:
                    raise OutcomeUnknownError(attempted.last_seen) from None
                differences, unknown = source.compare(wanted)
        return source, differences, unknown


def _wanted(fields: Mapping[str, Any], allowed: type[UpdatableFields]) -> dict[str, Any]:
    """Give the fields to send, without those that are ``None``.

    :raises TypeError: for a name that is not a field, which only a type checker would notice otherwise.
    """
    for name in fields:
        if name not in allowed.__annotations__:
            raise TypeError(
                f"unexpected keyword argument '{name}'; the fields are {', '.join(allowed.__annotations__)}"
            )
    wanted = {name: value for name, value in fields.items() if value is not None}
    if "sensitive_properties" in wanted:
        properties = wanted["sensitive_properties"]
        if isinstance(properties, str) or not isinstance(properties, Sequence):
            raise ConfigurationError(f"sensitive_properties: {properties!r} is not a list of texts; give a list")
        wanted["sensitive_properties"] = [check_property(each) for each in properties]
    return wanted


def _since(source: Source) -> str:
    # Not the server's own text, in which a log could be forged.
    return source.created_at.isoformat() if source.created_at else "an unknown time"


def _source(outcome: CallOutcome) -> Source:
    return Source.parse(outcome.unwrap().get("source"))
