"""The link from a task to its project's page in the web interface."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

log = logging.getLogger(__name__)


class ProjectLink(BaseOperatorLink):
    """A button on the task that opens the project's page in the web interface.

    The task pushes the address as soon as it knows the project, to the XCom that Airflow reads links from. So the
    button works while the task runs, while it waits in the triggerer, and after it has ended.
    """

    name = "Communications Mining project"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address that the task has pushed.

        :param operator: the task.
        :param ti_key: the key of the task's instance.
        :return: the address; empty if there is none.
        """
        # Airflow calls this when a worker leaves the task, and writes the result to that same XCom. Reading the XCom
        # each time would cost a request, and log an error for each task that has no link.
        url = getattr(operator, "project_url", None)
        if url is None:
            url = XCom.get_value(key=self.xcom_key, ti_key=ti_key)
        return url if isinstance(url, str) else ""

    @classmethod
    def persist(cls, operator: Any, context: Any, hook: CommsMiningHook, project: object) -> None:
        """Push the address of a project's page, if it has one. It sends no request to the API, and never fails a task.

        :param operator: the task; its ``project_url`` becomes the address. It is ``None`` in a worker that resumes the
            task: that worker then reads the XCom of another one.
        :param context: the task's context; without a task instance in it, nothing is written.
        :param hook: the task's hook.
        :param project: the project; what is not text has no page.
        """
        task_instance = context.get("ti")
        if task_instance is None or not isinstance(project, str):
            return
        try:
            url = hook.project_url(project)
            if url is not None:
                operator.project_url = url
                task_instance.xcom_push(key=cls().xcom_key, value=url)
        except Exception as error:  # noqa: BLE001  # the task's own calls report a wrong connection
            log.debug("No link to the project's page: %s", type(error).__name__)
