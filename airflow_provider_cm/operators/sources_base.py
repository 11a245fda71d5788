"""The bases of the operators for sources: how a source is addressed, and the settings that a task can write."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.exceptions import task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.task import Parsers

CHANGEABLE = (
    "title",
    "description",
    "should_translate",
    "sensitive_properties",
    "bucket_id",
    "email_transform_tag",
)
SETTINGS = (*CHANGEABLE, "language", "kind")
NAME: Parsers = {"project": arguments.project, "source_name": arguments.source_name}
ADDRESS: Parsers = {**NAME, "source_id": arguments.identifier}


class SourcesOperator(CommsMiningOperator):
    """The base of this module's operators: errors that tell Airflow whether to retry, and the link."""

    project: Any  # parsed when the task runs

    def execute(self, context: Any) -> Any:
        """Do the task's work.

        :raises CommsMiningFailure: when trying again would end the same way.
        :raises CommsMiningRetryable: when trying again may help.
        """
        with task_errors():
            if self.is_given("project"):
                self.link_project(context, self.argument("project"))
            return self._work(context)

    @abstractmethod
    def _work(self, context: Any) -> Any:
        """Do the work, and let errors of the API client through.

        :param context: the task's context.
        """

    def settings(self, names: Sequence[str]) -> dict[str, Any]:
        """Parse those of these arguments that the DAG gives.

        :param names: names of arguments.
        """
        return {name: self.argument(name) for name in names if self.is_given(name)}

    def emit_source(self, context: Any, source: Source) -> dict[str, Any]:
        """Describe a source in the task's asset events.

        :param context: the task's context.
        :param source: the source.
        :return: the API's JSON object, for the task to return.
        """
        data = source.to_dict()
        self.emit_events(context, {"source": data}, [(source.project, source.name, {})])
        return data


class AddressedOperator(SourcesOperator):
    """The base of operators for one source.

    :param project: the project, with ``source_name``. (templated)
    :param source_name: the source's name. (templated)
    :param source_id: the source's id, instead of project and name. (templated)
    """

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

    def check_together(self) -> None:
        """Check that there is one way to address a source, and only one."""
        if self.is_settled(*ADDRESS):
            self.address()

    def address(self) -> arguments.SourceAddress:
        """Parse the address.

        :raises ConfigurationError: if there is none, or two.
        """
        return arguments.source_address(self.project, self.source_name, self.source_id)

    def read_source(self, context: Any, address: arguments.SourceAddress) -> Source:
        """Read the source.

        :param context: the task's context.
        :param address: from :meth:`address`.
        """
        if address.source_id is None:
            return self.hook.sources.get(address.project, address.source_name)
        source = self.hook.sources.get_by_id(address.source_id)
        self.link_project(context, source.project)  # the id alone does not name the project
        return source


class SettingsOperator(SourcesOperator):
    """The base of operators that write a source's settings.

    :param project: the project, which must exist. (templated)
    :param source_name: letters, digits, ``-`` and ``_``, at most 256. (templated)
    :param title: one line for people. (templated)
    :param description: a longer text. (templated)
    :param should_translate: translate messages where required; the server's default is ``False``. (templated)
    :param sensitive_properties: properties to hide from users without the privilege to see them. An update replaces
        the whole list: a property that is not in the new one becomes visible. (templated)
    :param bucket_id: id of a bucket whose data is loaded into the source, which costs. (templated)
    :param email_transform_tag: how e-mails of the bucket are made into messages. (templated)
    """

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
