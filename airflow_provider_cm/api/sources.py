"""SourcesApi: the sources of a tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_cm.api import source_calls
from airflow_provider_cm.api.errors import ConfigurationError, ProtocolError
from airflow_provider_cm.api.names import check_property, check_source_id
from airflow_provider_cm.api.source_fields import SettableFields, UpdatableFields
from airflow_provider_cm.api.source_writes import CreateSource, DeleteSource, UpdateSource

if TYPE_CHECKING:
    import builtins

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.session import ApiSession


class SourcesApi:
    """The sources of a tenant.

    A field that is ``None`` is not sent. After a write, the result is the source as the server holds it: if a response
    got lost, the source was read again (``Source.confirmed``), and if that did not show the outcome,
    :class:`OutcomeUnknownError` is raised. The state after a write is guaranteed, not its author: a change that
        somebody
    else makes between two attempts may be overwritten, because the API has no conditional writes. A response about
    another source than the requested one does not count: a read is repeated, and a write is settled by reading.

    Every method raises the errors of :mod:`airflow_provider_cm.api.errors`. Names and IDs are checked before a request
    is sent.

    :param session: the tenant.
    """

    def __init__(self, session: ApiSession) -> None:
        self.session = session

    def list(self, project: str | None = None) -> builtins.list[Source]:
        """List the visible sources of one project, or of all. Needs "View sources".

        :param project: the project; ``None`` (default) for all. Sources that the token may not see are left out,
            without an error.
        :raises ProtocolError: if the response is, or may be, only one page of the list.
        """
        return source_calls.list_sources(self.session, project, self.session.budget())

    def get(self, project: str, name: str) -> Source:
        """Read a source by its name. Needs "View sources".

        :param project: the project.
        :param name: the source's name.
        :raises NotFoundError: if the source does not exist or is not visible.
        """
        call = source_calls.read_by_name(self.session, project, name)
        return source_calls.source_in(self.session.run(call, self.session.budget()))

    def get_by_id(self, source_id: str) -> Source:
        """Read a source by its ID. Needs "View sources".

        :param source_id: 16 hexadecimal digits, without ``id:``.
        :raises NotFoundError: if the source does not exist or is not visible.
        """
        call = source_calls.read_by_id(self.session, check_source_id(source_id))
        return source_calls.source_in(self.session.run(call, self.session.budget()))

    def statistics(self, project: str, name: str, *, comment_filter: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Read a source's statistics, such as ``{"num_comments": 12}``. Needs "View sources".

        The endpoint is part of the vendor's v1 contract of 2025; the vendor's page does not mention it.

        :param project: the project.
        :param name: the source's name.
        :param comment_filter: the messages to count, as the API's comment filter; all by default.
        :raises NotFoundError: if the source does not exist or is not visible.
        """
        call = source_calls.read_statistics(self.session, project, name, comment_filter)
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

    def create(self, project: str, name: str, **fields: Unpack[SettableFields]) -> Source:
        """Create a source. Needs "Sources admin".

        If the response gets lost, the source is read: if it has every wanted value, it is the result; if it existed
        before this call, or has other values, there is a conflict; if there is none, it is created again. The
        application's own timestamps decide which came first. If only the ``Date`` header suggests that the source is
        older than the call, the outcome is unknown, because ``Date`` may come from another clock.

        On a server that treats PUT as an upsert, a source that existed before is a conflict if the response's
        ``updated_at`` is later than its ``created_at`` by more than the call has taken.

        :param project: the project, which must exist.
        :param name: the new source's name.
        :param title: one line for people.
        :param description: a longer text.
        :param language: ``en`` (the server's default) or ``Multilingual``, by the vendor's page. An update does not
            send it.
        :param should_translate: translate messages where required; the server's default is ``False``.
        :param sensitive_properties: properties to hide from users without the privilege to see them.
        :param bucket_id: ID of a bucket whose data is loaded into the source.
        :param kind: the API's ``_kind``, such as ``call`` or ``chat``. An update does not send it.
        :param email_transform_tag: selects how the bucket's e-mails become messages.
        :return: the source as the server holds it.
        :raises ConflictError: if the name is taken.
        """
        return CreateSource(self.session, project, name, _wanted(fields, SettableFields)).carry_out()

    def update(
        self, project: str, name: str, *, detach_bucket: bool = False, **fields: Unpack[UpdatableFields]
    ) -> Source:
        """Change a source; fields that are not given stay as they are. Needs "Sources admin".

        If the response gets lost, the source is read: if it has the wanted values, it is the result; otherwise the
        update is sent again. ``language`` and ``kind`` are not parameters: the vendor's contract accepts them in an
        update, but the effect is unknown.

        :param project: the project.
        :param name: the source's name.
        :param title: one line for people.
        :param description: a longer text.
        :param should_translate: translate messages into English where required.
        :param sensitive_properties: the whole new list.
        :param bucket_id: ID of a bucket whose data is loaded into the source.
        :param email_transform_tag: selects how the bucket's e-mails become messages.
        :param detach_bucket: remove the bucket from the source; the only way to do so. ``False`` by default.
        :return: the source as the server holds it.
        :raises NotFoundError: if the source does not exist or is not visible.
        """
        wanted = _wanted(fields, UpdatableFields)
        if detach_bucket and "bucket_id" in wanted:
            raise ConfigurationError("detach_bucket: it contradicts `bucket_id`; give one of them")
        if detach_bucket:
            wanted["bucket_id"] = None
        return UpdateSource(self.session, project, name, wanted).carry_out()

    def delete(self, source_id: str, *, project: str | None = None) -> bool:
        """Delete a source and all its messages, for good. Needs "Sources admin".

        If the response gets lost, the source is read: if it is gone, and not listed either a moment later, it is
        deleted; if it is still there, the delete is sent again.

        :param source_id: 16 hexadecimal digits, without ``id:``.
        :param project: the source's project, if known. If a list is needed to learn whether the source is gone, it is
            this project's; otherwise all sources are listed.
        :return: ``True`` if the server confirmed the delete; ``False`` if the response got lost and the source was gone
            afterwards.
        :raises NotFoundError: if the server answered the first request with 404, and does not show the source
            elsewhere.
        :raises PermissionDeniedError: also for 404, if the source is still there.
        """
        return DeleteSource(self.session, check_source_id(source_id), project).carry_out()


def _wanted(fields: Mapping[str, Any], allowed: type[UpdatableFields]) -> dict[str, Any]:
    """Return the fields to send, without those that are ``None``.

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
