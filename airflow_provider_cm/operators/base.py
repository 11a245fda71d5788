"""What all operators share: a connection, the hook made from it when the task runs, what a run leaves for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_cm.assets import write_outlet_events, write_source_event
from airflow_provider_cm.links import ProjectLink
from airflow_provider_cm.task import CommsMiningTask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from airflow.sdk import BaseOperatorLink

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi


class CommsMiningOperator(CommsMiningTask, BaseOperator):
    """An operator with a connection to Communications Mining.

    :param comms_mining_conn_id: the connection, ``comms_mining_default`` by default.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (ProjectLink(),)
    #: Address of the page that the task is linked to, once it is known.
    project_url: str | None = ""

    def __init__(self, *, comms_mining_conn_id: str = "comms_mining_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.comms_mining_conn_id = comms_mining_conn_id


class Run:
    """One run of an operator: its client, and what it leaves for people (a link) and for other DAGs (asset events).

    :param operator: the operator that runs.
    :param context: the task's context.
    :raises ConfigurationError: when a setting of the connection is wrong.
    """

    def __init__(self, operator: CommsMiningOperator, context: Any) -> None:
        self._operator = operator
        self._context = context
        self._hook = operator.hook
        self.sources: SourcesApi = self._hook.sources

    def link(self, project: object) -> None:
        """Link the task to a project's page.

        :param project: the project; what is not text has no page.
        """
        ProjectLink.persist(self._operator, self._context, self._hook, project)

    def tell(self, extra: Mapping[str, Any], sources: Iterable[tuple[str, str, Mapping[str, Any]]] = ()) -> None:
        """Say in the task's asset events what it did; see :func:`airflow_provider_cm.assets.write_outlet_events`.

        :param extra: what to say, as JSON values.
        :param sources: project, name, and what to say in addition, of each source that an alias is to be given.
        """
        write_outlet_events(self._operator, self._context, self._hook, extra, sources)

    def tell_source(self, source: Source) -> dict[str, Any]:
        """Tell of a source in the task's asset events.

        :param source: the source.
        :return: the API's JSON object, for the task to return.
        """
        told = source.to_dict()
        write_source_event(self._operator, self._context, self._hook, told)
        return told
