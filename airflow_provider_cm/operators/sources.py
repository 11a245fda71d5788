"""Operators for sources: create, update, delete, get, list.

Literal arguments are judged when the DAG is parsed; templates and other tasks' outputs when the task runs. An optional
argument that was given must have a value then: ``None`` is an error that names it, not "leave this alone". Results are
the API's own JSON objects.
"""

from __future__ import annotations

from abc import abstractmethod
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
)
from airflow_provider_cm.exceptions import task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi

IF_EXISTS = ("match", "update", "ignore", "skip", "fail")
IF_MISSING = ("ignore", "skip", "fail")
_CHANGEABLE = (
    "title",
    "description",
    "should_translate",
    "sensitive_properties",
    "bucket_id",
    "email_transform_tag",
)
_SETTINGS = (*_CHANGEABLE, "language", "kind")
_ADDRESS = {"project": arguments.project, "source_name": arguments.source_name, "source_id": arguments.identifier}


class _SourcesOperator(CommsMiningOperator):
    """What the operators of this module share: errors that tell Airflow whether to retry, and the link."""

    project: Any  # judged when the task runs

    def execute(self, context: Any) -> Any:
        """Do the task's work.

        :raises CommsMiningFailure: when trying again would end the same way.
        :raises CommsMiningRetryable: when trying again may help.
        """
        with task_errors():
            run = Run(self, context)
            if self.is_given("project"):
                run.link(self.argument("project"))
            return self._work(run)

    @abstractmethod
    def _work(self, run: Run) -> Any:
        """Do the work.

        :param run: gives the client, and takes what the asset events are to tell.
        """

    def _settings(self, names: Sequence[str]) -> dict[str, Any]:
        """Parse the arguments of these names that were given."""
        return {name: self.argument(name) for name in names if self.is_given(name)}


class _AddressedOperator(_SourcesOperator):
    """What the operators share that take a source by its id, or by project and name."""

    source_name: Any
    source_id: Any

    def check_together(self) -> None:
        """Check that one way to address a source is given, and only one."""
        if self.is_settled(*_ADDRESS):
            self._address()

    def _address(self) -> arguments.SourceAddress:
        return arguments.source_address(self.project, self.source_name, self.source_id)


class CreateSourceOperator(_SourcesOperator):
    """Create a source; running it again changes nothing.

    It looks first, then creates: two requests, one when the source exists already. Nobody outside the vendor knows what
    the API does with a create for a name that is taken.

    :param project: the project, which must exist. (templated)
    :param source_name: letters, digits, ``-`` and ``_``, at most 256. (templated)
    :param title: one line for people. (templated)
    :param description: a longer text. (templated)
    :param language: ``en`` (the server's default) or ``Multilingual``; it cannot be changed later. (templated)
    :param should_translate: translate messages where required; the server's default is ``False``. (templated)
    :param sensitive_properties: properties to hide from users without the privilege to see them. (templated)
    :param bucket_id: id of a bucket whose data is loaded into the source, which costs. (templated)
    :param kind: the API's ``_kind``, such as ``call`` or ``chat``; it cannot be changed later. (templated)
    :param email_transform_tag: how e-mails of the bucket are made into messages. (templated)
    :param if_exists: what to do with a source of this name. ``match`` (default): succeed if it has every value asked
        for, else fail with the differences; ``update``: change what differs; ``ignore``: return it as it is; ``skip``:
        skip the task; ``fail``. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the source, as the API's JSON object.
    """

    template_fields: Sequence[str] = (
        "project",
        "source_name",
        *_SETTINGS,
        "if_exists",
        "comms_mining_conn_id",
    )
    parsers = {  # noqa: RUF012  # declared in the base class
        "project": arguments.project,
        "source_name": arguments.source_name,
        **dict.fromkeys(_SETTINGS, arguments.setting),
        "if_exists": arguments.one_of(IF_EXISTS),
        "comms_mining_conn_id": arguments.filled_text,
    }

    def __init__(
        self,
        *,
        project: str,
        source_name: str,
        title: str | NotGiven = NOT_GIVEN,
        description: str | NotGiven = NOT_GIVEN,
        language: str | NotGiven = NOT_GIVEN,
        should_translate: bool | str | NotGiven = NOT_GIVEN,
        sensitive_properties: Sequence[str] | NotGiven = NOT_GIVEN,
        bucket_id: str | NotGiven = NOT_GIVEN,
        kind: str | NotGiven = NOT_GIVEN,
        email_transform_tag: str | NotGiven = NOT_GIVEN,
        if_exists: str = "match",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.source_name = source_name
        self.title = title
        self.description = description
        self.language = language
        self.should_translate = should_translate
        self.sensitive_properties = sensitive_properties
        self.bucket_id = bucket_id
        self.kind = kind
        self.email_transform_tag = email_transform_tag
        self.if_exists = if_exists
        self.check_literals()

    def _work(self, run: Run) -> dict[str, Any]:
        """Look, then create."""
        return run.tell_source(self._create(run.sources))

    def _create(self, sources: SourcesApi) -> Source:
        # Imported here, since it would be a sixth of what parsing takes.
        from airflow_provider_cm.operators.if_exists import adopt

        if_exists = self.argument("if_exists")
        project, name = self.argument("project"), self.argument("source_name")
        wanted = self._settings(_SETTINGS)
        existing = _look(sources, project, name)
        if existing is None:
            try:
                source = sources.create(project, name, **wanted)
            except (ConflictError, BadRequestError):
                # Somebody else may have created it since it was looked for. Servers differ in the status for that.
                existing = _look(sources, project, name)
                if existing is None:
                    raise
            else:
                how = " (confirmed by reading it back)" if source.confirmed else ""
                self.log.info("Created source %s/%s with id %s%s", source.project, source.name, source.id, how)
                return source
        return adopt(sources, existing, wanted, if_exists)


class UpdateSourceOperator(_SourcesOperator):
    """Change a source; what is not given stays as it is. One request.

    :param project: the project. (templated)
    :param source_name: the source's name. (templated)
    :param title: one line for people. (templated)
    :param description: a longer text. (templated)
    :param should_translate: translate messages into English where required. (templated)
    :param sensitive_properties: the whole new list; what is dropped from it becomes visible. (templated)
    :param bucket_id: id of a bucket whose data is loaded into the source, which costs. (templated)
    :param email_transform_tag: how e-mails of the bucket are made into messages. (templated)
    :param detach_bucket: take the bucket away from the source; ``False`` by default. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the source, as the API's JSON object.
    """

    template_fields: Sequence[str] = (
        "project",
        "source_name",
        *_CHANGEABLE,
        "detach_bucket",
        "comms_mining_conn_id",
    )
    parsers = {  # noqa: RUF012  # declared in the base class
        "project": arguments.project,
        "source_name": arguments.source_name,
        **dict.fromkeys(_CHANGEABLE, arguments.setting),
        "detach_bucket": arguments.boolean,
        "comms_mining_conn_id": arguments.filled_text,
    }

    def __init__(
        self,
        *,
        project: str,
        source_name: str,
        title: str | NotGiven = NOT_GIVEN,
        description: str | NotGiven = NOT_GIVEN,
        should_translate: bool | str | NotGiven = NOT_GIVEN,
        sensitive_properties: Sequence[str] | NotGiven = NOT_GIVEN,
        bucket_id: str | NotGiven = NOT_GIVEN,
        email_transform_tag: str | NotGiven = NOT_GIVEN,
        detach_bucket: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.source_name = source_name
        self.title = title
        self.description = description
        self.should_translate = should_translate
        self.sensitive_properties = sensitive_properties
        self.bucket_id = bucket_id
        self.email_transform_tag = email_transform_tag
        self.detach_bucket = detach_bucket
        self.check_literals()

    def check_together(self) -> None:
        """Check that there is something to change."""
        given = any(self.is_given(name) for name in _CHANGEABLE)
        if not given and self.is_settled("detach_bucket") and not self.argument("detach_bucket"):
            raise ConfigurationError(f"nothing to change: give at least one of {', '.join(_CHANGEABLE)}, detach_bucket")
        if self.is_given("bucket_id") and self.is_settled("detach_bucket") and self.argument("detach_bucket"):
            raise ConfigurationError("detach_bucket: it contradicts `bucket_id`; give one of them")

    def _work(self, run: Run) -> dict[str, Any]:
        """Send the update."""
        self.check_together()
        project, name = self.argument("project"), self.argument("source_name")
        changes, detach = self._settings(_CHANGEABLE), self.argument("detach_bucket")
        source = run.sources.update(project, name, **changes, detach_bucket=detach)
        how = " (confirmed by reading it back)" if source.confirmed else ""
        self.log.info("Updated source %s/%s with id %s%s", source.project, source.name, source.id, how)
        return run.tell_source(source)


class GetSourceOperator(_AddressedOperator):
    """Read a source, by name or by id. One request.

    :param project: the project, with ``source_name``. (templated)
    :param source_name: the source's name. (templated)
    :param source_id: the source's id, instead of the two. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the source, as the API's JSON object.
    """

    template_fields: Sequence[str] = ("project", "source_name", "source_id", "comms_mining_conn_id")
    parsers = {**_ADDRESS, "comms_mining_conn_id": arguments.filled_text}  # noqa: RUF012  # declared in the base class

    def __init__(
        self,
        *,
        project: str | NotGiven = NOT_GIVEN,
        source_name: str | NotGiven = NOT_GIVEN,
        source_id: str | NotGiven = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.source_name = source_name
        self.source_id = source_id
        self.check_literals()

    def _work(self, run: Run) -> dict[str, Any]:
        """Read the source."""
        return run.tell_source(_read(run, self._address()))


class ListSourcesOperator(_SourcesOperator):
    """List the sources that the connection may see, made to be expanded with dynamic task mapping. One request.

    :param project: only this project's; all by default. (templated)
    :param name_pattern: only names that match this pattern, such as ``support-*``. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the sources, as a list of the API's JSON objects.
    """

    template_fields: Sequence[str] = ("project", "name_pattern", "comms_mining_conn_id")
    parsers = {  # noqa: RUF012  # declared in the base class
        "project": arguments.project,
        "name_pattern": arguments.filled_text,
        "comms_mining_conn_id": arguments.filled_text,
    }

    def __init__(
        self, *, project: str | NotGiven = NOT_GIVEN, name_pattern: str | NotGiven = NOT_GIVEN, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.name_pattern = name_pattern
        self.check_literals()

    def _work(self, run: Run) -> list[dict[str, Any]]:
        """List the sources."""
        project, pattern = self.argument("project"), self.argument("name_pattern")
        found = run.sources.list(project)
        kept = [source for source in found if pattern is None or fnmatchcase(source.name, pattern)]
        self.log.info("Listed %d sources, %d of them returned", len(found), len(kept))
        run.tell({"project": project, "count": len(kept)})
        return [source.to_dict() for source in kept]


class DeleteSourceOperator(_AddressedOperator):
    """Delete a source and all its messages, for good.

    Give the id that the create returned wherever you can: a name can be somebody's new source by the time that a retry
    runs. By id it is one request; by name two, since the API deletes by id only. A source that is not there takes up to
    two more requests: what a list shows is there, whatever else the server says of it. Works as a teardown task.

    :param source_id: the source's id. (templated)
    :param project: the project, with ``source_name``, instead of the id. (templated)
    :param source_name: the source's name. (templated)
    :param if_missing: what to do when it is not there: ``ignore`` (default), ``skip`` the task, or ``fail``.
        (templated)
    :param only_if_empty: fail unless the source's statistics show that it holds no message; ``False`` by default.
        The look and the delete are two requests, and what arrives between them is deleted too. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: ``{"source_id": ..., "deleted": ...}``; ``deleted`` is false when it was not there.
    """

    template_fields: Sequence[str] = (
        "source_id",
        "project",
        "source_name",
        "if_missing",
        "only_if_empty",
        "comms_mining_conn_id",
    )
    parsers = {  # noqa: RUF012  # declared in the base class
        **_ADDRESS,
        "if_missing": arguments.one_of(IF_MISSING),
        "only_if_empty": arguments.boolean,
        "comms_mining_conn_id": arguments.filled_text,
    }

    def __init__(
        self,
        *,
        source_id: str | NotGiven = NOT_GIVEN,
        project: str | NotGiven = NOT_GIVEN,
        source_name: str | NotGiven = NOT_GIVEN,
        if_missing: str = "ignore",
        only_if_empty: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_id = source_id
        self.project = project
        self.source_name = source_name
        self.if_missing = if_missing
        self.only_if_empty = only_if_empty
        self.check_literals()

    def _work(self, run: Run) -> dict[str, Any]:
        """Resolve the name where needed, look where asked, delete."""
        if_missing, only_if_empty = self.argument("if_missing"), self.argument("only_if_empty")
        address = self._address()
        source_id, project, name = address.source_id, address.project, address.source_name
        deleted = True
        try:
            if source_id is None or only_if_empty:
                source = _find(run, address)
                source_id, project, name = source.id, source.project, source.name
                if only_if_empty:
                    self._check_empty(run.sources, source)
            answered = run.sources.delete(source_id, project=project or None)
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
        # By id alone nobody knows which asset it was.
        run.tell(result, [(project, name, {})] if name else [])
        return result

    def _check_empty(self, sources: SourcesApi, source: Source) -> None:
        where = f"source {source.project}/{source.name} (id {source.id})"
        try:
            count = sources.message_count(source.project, source.name)
        except NotFoundError as error:
            # It was there a moment ago: either it has vanished, or this server has no statistics to ask for.
            sources.get_by_id(source.id)
            raise ConflictError(f"{where} was not deleted: whether it is empty could not be read: {error}") from error
        if count:
            raise ConflictError(f"{where} was not deleted: it holds {count} messages and only_if_empty is set")


def _look(sources: SourcesApi, project: str, name: str) -> Source | None:
    try:
        return sources.get(project, name)
    except NotFoundError:
        return None


def _read(run: Run, address: arguments.SourceAddress) -> Source:
    if address.source_id is None:
        return run.sources.get(address.project, address.source_name)
    source = run.sources.get_by_id(address.source_id)
    run.link(source.project)  # until now nobody knew the project
    return source


def _find(run: Run, address: arguments.SourceAddress) -> Source:
    """Read a source that is to be deleted. One that a read does not show, but a list does, is there."""
    try:
        return _read(run, address)
    except NotFoundError:
        # Imported here, since DAG parsing must not pay for it.
        from airflow_provider_cm.api.lost_responses import LAG

        run.sources.session.budget().linger(LAG)
        wanted = (address.source_id, address.source_name)
        for source in run.sources.list(address.project or None):
            if wanted in {(source.id, ""), (None, source.name)}:
                return source
        raise
