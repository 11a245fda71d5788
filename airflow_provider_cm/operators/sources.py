"""Operators for sources: create, update, delete, get, list.

Literal arguments are checked when the DAG is parsed; templates and other tasks' outputs when the task runs. An optional
argument that the DAG gives must have a value then: ``None`` is an error that names it, not "leave this alone". Results
are the API's own JSON objects.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
)
from airflow_provider_cm.operators.base import CommsMiningOperator
from airflow_provider_cm.operators.sources_base import (
    ADDRESS,
    CHANGEABLE,
    NAME,
    SETTINGS,
    AddressedOperator,
    SettingsOperator,
    SourcesOperator,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.task import Parsers

IF_EXISTS = ("match", "update", "ignore", "skip", "fail")
IF_MISSING = ("ignore", "skip", "fail")


class CreateSourceOperator(SettingsOperator):
    """Create a source; running it again changes nothing.

    It looks first, then creates: two requests, or one if the source exists. Nobody outside the vendor knows what the
    API does with a create for a name that is taken.

    :param language: ``en`` (the server's default) or ``Multilingual``; an update does not send it. (templated)
    :param kind: the API's ``_kind``, such as ``call`` or ``chat``; an update does not send it. (templated)
    :param if_exists: what to do if there is a source of this name. ``match`` (default): succeed if it has every value
        that the DAG gives, else fail with the differences; ``update``: change the differences; ``ignore``: return it as
        it is; ``skip``: skip the task; ``fail``. (templated)
    :return: the source, as the API's JSON object.
    """

    parsers: ClassVar[Parsers] = {
        **NAME,
        **dict.fromkeys(SETTINGS, arguments.setting),
        "if_exists": arguments.one_of(IF_EXISTS),
        **CommsMiningOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(
        self,
        *,
        language: str | NotGiven = NOT_GIVEN,
        kind: str | NotGiven = NOT_GIVEN,
        if_exists: str = "match",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.language = language
        self.kind = kind
        self.if_exists = if_exists
        self.check_literals()

    def _work(self, context: Any) -> dict[str, Any]:
        """Look, then create."""
        source, change = self._create(self.hook.sources)
        self._sources_written = [(source.project, source.name, change)]
        return self.emit_source(context, source)

    def _create(self, sources: SourcesApi) -> tuple[Source, str]:
        # Imported here, since it would be a sixth of what parsing takes.
        from airflow_provider_cm.operators.if_exists import adopt

        if_exists = self.argument("if_exists")
        project, name = self.argument("project"), self.argument("source_name")
        wanted = self.settings(SETTINGS)
        existing = _look(sources, project, name)
        if existing is None:
            try:
                source = sources.create(project, name, **wanted)
            except (ConflictError, BadRequestError):
                # Somebody else may have created it since the look. Servers differ in the status of this error.
                existing = _look(sources, project, name)
                if existing is None:
                    raise
            else:
                how = " (confirmed by reading it back)" if source.confirmed else ""
                self.log.info("Created source %s/%s with id %s%s", source.project, source.name, source.id, how)
                return source, "CREATE"
        return adopt(sources, existing, wanted, if_exists)


class UpdateSourceOperator(SettingsOperator):
    """Change a source; a setting that the DAG does not give stays as it is. One request.

    :param detach_bucket: take the bucket away from the source; ``False`` by default. (templated)
    :return: the source, as the API's JSON object.
    """

    parsers: ClassVar[Parsers] = {
        **NAME,
        **dict.fromkeys(CHANGEABLE, arguments.setting),
        "detach_bucket": arguments.boolean,
        **CommsMiningOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, *, detach_bucket: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.detach_bucket = detach_bucket
        self.check_literals()

    def check_together(self) -> None:
        """Check that there is something to change."""
        given = any(self.is_given(name) for name in CHANGEABLE)
        if not given and self.is_settled("detach_bucket") and not self.argument("detach_bucket"):
            raise ConfigurationError(f"nothing to change: give at least one of {', '.join(CHANGEABLE)}, detach_bucket")
        if self.is_given("bucket_id") and self.is_settled("detach_bucket") and self.argument("detach_bucket"):
            raise ConfigurationError("detach_bucket: it contradicts `bucket_id`; give one of them")

    def _work(self, context: Any) -> dict[str, Any]:
        """Send the update."""
        self.check_together()
        project, name = self.argument("project"), self.argument("source_name")
        changes, detach = self.settings(CHANGEABLE), self.argument("detach_bucket")
        source = self.hook.sources.update(project, name, **changes, detach_bucket=detach)
        how = " (confirmed by reading it back)" if source.confirmed else ""
        self.log.info("Updated source %s/%s with id %s%s", source.project, source.name, source.id, how)
        self._sources_written = [(source.project, source.name, "ALTER")]
        return self.emit_source(context, source)


class GetSourceOperator(AddressedOperator):
    """Read a source, by name or by id. One request.

    :return: the source, as the API's JSON object.
    """

    parsers: ClassVar[Parsers] = {**ADDRESS, **CommsMiningOperator.parsers}
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_literals()

    def _work(self, context: Any) -> dict[str, Any]:
        """Read the source."""
        source = self.read_source(context, self.address())
        self._sources_read = [(source.project, source.name)]
        return self.emit_source(context, source)


class ListSourcesOperator(SourcesOperator):
    """List the sources that are visible with the connection, for dynamic task mapping for example. One request.

    :param project: only this project's; all by default. (templated)
    :param name_pattern: only names that match this pattern, such as ``support-*``. (templated)
    :return: the sources, as a list of the API's JSON objects.
    """

    parsers: ClassVar[Parsers] = {
        "project": arguments.project,
        "name_pattern": arguments.filled_text,
        **CommsMiningOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(
        self, *, project: str | NotGiven = NOT_GIVEN, name_pattern: str | NotGiven = NOT_GIVEN, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.name_pattern = name_pattern
        self.check_literals()

    def _work(self, context: Any) -> list[dict[str, Any]]:
        """List the sources."""
        project, pattern = self.argument("project"), self.argument("name_pattern")
        sources = self.hook.sources.list(project)
        matches = [source for source in sources if pattern is None or fnmatchcase(source.name, pattern)]
        self.log.info("Listed %d sources, %d of them returned", len(sources), len(matches))
        self.emit_events(context, {"project": project, "count": len(matches)})
        return [source.to_dict() for source in matches]


class DeleteSourceOperator(AddressedOperator):
    """Delete a source and all its messages, for good.

    Give the id that the create returned wherever you can: by the time that a retry runs, a name can be somebody's new
    source. By id it is one request; by name two, since the API deletes by id only. If the source is not there, up to
    two more requests make sure: a source that a list shows is there, whatever else the server says. Works as a teardown
    task.

    :param if_missing: if the source is not there: ``ignore`` (default), ``skip`` the task, or ``fail``. (templated)
    :param only_if_empty: fail unless the source's statistics show that it holds no message; ``False`` by default.
        The look and the delete are two requests, and a message that arrives between them is deleted too. (templated)
    :return: ``{"source_id": ..., "deleted": ...}``; ``deleted`` is false if it was not there.
    """

    parsers: ClassVar[Parsers] = {
        **ADDRESS,
        "if_missing": arguments.one_of(IF_MISSING),
        "only_if_empty": arguments.boolean,
        **CommsMiningOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, *, if_missing: str = "ignore", only_if_empty: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.if_missing = if_missing
        self.only_if_empty = only_if_empty
        self.check_literals()

    def _work(self, context: Any) -> dict[str, Any]:
        """Resolve the name if there is no id, look if the DAG asks for it, delete."""
        if_missing, only_if_empty = self.argument("if_missing"), self.argument("only_if_empty")
        address = self.address()
        source_id, project, name = address.source_id, address.project, address.source_name
        deleted = True
        try:
            if source_id is None or only_if_empty:
                source = self._find(context, address)
                source_id, project, name = source.id, source.project, source.name
                if only_if_empty:
                    self._check_empty(source)
            answered = self.hook.sources.delete(source_id, project=project or None)
        except NotFoundError as error:
            if if_missing == "fail":
                raise
            if if_missing == "skip":
                raise AirflowSkipException(f"{address} is not there") from error
            self.log.warning("%s is not there, so there is nothing to delete", address)
            deleted = False
        else:
            how = "" if answered else " (confirmed by looking for it)"
            self.log.info("Deleted %s with id %s%s", address, source_id, how)
        result = {"source_id": source_id, "deleted": deleted}
        # The id alone does not say which asset and which dataset it was.
        named = [(project, name)] if name else []
        self._sources_written = [(*each, "DROP") for each in named if deleted]
        self.emit_events(context, result, [(*each, {}) for each in named])
        return result

    def _find(self, context: Any, address: arguments.SourceAddress) -> Source:
        """Read a source that is to be deleted. One that a read does not show, but a list does, is there."""
        try:
            return self.read_source(context, address)
        except NotFoundError:
            # Imported here, since DAG parsing must not pay for it.
            from airflow_provider_cm.api.lost_responses import LAG

            sources = self.hook.sources
            sources.session.budget().linger(LAG)
            wanted = (address.source_id, address.source_name)
            for source in sources.list(address.project or None):
                if wanted in {(source.id, ""), (None, source.name)}:
                    return source
            raise

    def _check_empty(self, source: Source) -> None:
        where = f"source {source.project}/{source.name} (id {source.id})"
        sources = self.hook.sources
        try:
            count = sources.message_count(source.project, source.name)
        except NotFoundError as error:
            # It was there a moment ago: either it has vanished, or this server has no statistics.
            sources.get_by_id(source.id)
            raise ConflictError(f"{where} was not deleted: whether it is empty could not be read: {error}") from error
        if count:
            raise ConflictError(f"{where} was not deleted: it holds {count} messages and only_if_empty is set")


def _look(sources: SourcesApi, project: str, name: str) -> Source | None:
    try:
        return sources.get(project, name)
    except NotFoundError:
        return None
