"""The approval of a plan by a person in Airflow's web interface. Airflow 3.1 and newer.

A module of its own, since Airflow 3.0 has no tasks that wait for people, but can import the other operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

try:
    # First what older Airflows lack: the DAG processor of 3.0 stops when a DAG file imports the operator below.
    import airflow.sdk.execution_time.hitl  # noqa: F401
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except ImportError as error:
    from airflow import __version__ as _airflow

    raise ImportError(
        "airflow_provider_cm.operators.approval needs Airflow 3.1 or newer with apache-airflow-providers-standard, "
        f"where tasks can wait for a person; this is Airflow {_airflow} ({error}). Without it, a person reads the plan "
        "and gives its digest to ApplySourcesOperator (`approved_digest`) in a second DAG."
    ) from error

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.exceptions import task_errors
from airflow_provider_cm.operators.rollout_base import digest
from airflow_provider_cm.task import CommsMiningTask, unrendered, unwrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import XComArg

_DIGEST = "digest"


class ApproveSourcesOperator(ApprovalOperator):
    """Show a plan to a person, and return its digest once that person has approved it.

    The digest is that of the plan that this try shows. If somebody makes a new plan later and does not ask again,
    :class:`~airflow_provider_cm.operators.rollout.ApplySourcesOperator` refuses the new plan:

    .. code-block:: python

        approve = ApproveSourcesOperator(task_id="approve", plan=plan.output)
        apply = ApplySourcesOperator(task_id="apply", plan=plan.output, approved_digest=approve.output)

    Rejection, timeouts and who may answer are those of Airflow's ``ApprovalOperator``. All of its arguments work here
    except ``body``: ``assigned_users``, ``response_timeout``, ``fail_on_reject``, ``notifiers`` and so on. A rejected
    plan has no digest, so that no later task can apply it.

    :param plan: the output of :class:`~airflow_provider_cm.operators.rollout.PlanSourcesOperator`. Not rendered.
    :param subject: the headline, ``Apply this plan?`` by default. (templated)
    :return: the digest of the approved plan. The XCom ``response`` says who answered, and when.
    """

    ui_color = CommsMiningTask.ui_color
    ui_fgcolor = CommsMiningTask.ui_fgcolor
    template_fields: Sequence[str] = ("plan", *ApprovalOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"plan": "json", "body": "md"}
    FIXED_ARGS = [*ApprovalOperator.FIXED_ARGS, "body"]  # noqa: RUF012  # as Airflow's

    def __init__(self, *, plan: Mapping[str, Any] | XComArg, subject: str = "Apply this plan?", **kwargs: Any) -> None:
        super().__init__(subject=subject, **kwargs)
        self.plan = unrendered(plan)
        with task_errors():
            arguments.given(plan, "plan")

    def execute(self, context: Any) -> None:
        """Show the plan, and wait.

        :raises CommsMiningFailure: if ``plan`` is not a plan.
        """
        from airflow_provider_cm.rollout import Plan

        with task_errors():
            plan = Plan.from_dict(unwrapped(self.plan, "plan"))
        for line in plan.render().splitlines():
            self.log.info("%s", line)
        self.body = plan.render_markdown()
        # The person approves this digest, whatever the plan's task returns later. Airflow keeps it while the task
        # waits.
        context["ti"].xcom_push(key=_DIGEST, value=plan.digest)
        super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str | None:
        """Return the digest if the person approved the plan.

        :param event: the answer.
        :raises CommsMiningFailure: if the digest is no longer known.
        """
        answer = super().execute_complete(context, event)
        ti = context["ti"]
        response = {"chosen_options": answer["chosen_options"], "responded_by_user": answer.get("responded_by_user")}
        ti.xcom_push(key="response", value={**response, "responded_at": str(answer.get("responded_at"))})
        if answer["chosen_options"] != [self.APPROVE]:
            return None
        approved = ti.xcom_pull(task_ids=self.task_id, key=_DIGEST, map_indexes=ti.map_index)
        with task_errors():
            if approved is None:
                raise ConfigurationError(
                    f"{_DIGEST}: which plan was approved is no longer known; clear this task, and ask again"
                )
            digest(approved, _DIGEST)
        self.log.info("%s was approved", approved)
        return str(approved)
