"""The approval of a plan by a person in Airflow's web interface. Airflow 3.1 and newer.

A module of its own: Airflow 3.0 has no tasks that wait for people, and can import the other operators without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from airflow_provider_cm.operators.rollout import digest, given_as_it_is, unrendered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import XComArg

_SHOWN = "digest"


class ApproveSourcesOperator(ApprovalOperator):
    """Show a plan to a person, and return the digest of what was shown once it is approved.

    The digest is that of the plan as this try has shown it. When the plan is made anew meanwhile or afterwards, and
    this task is not, :class:`~airflow_provider_cm.operators.rollout.ApplySourcesOperator` refuses it:

    .. code-block:: python

        approve = ApproveSourcesOperator(task_id="approve", plan=plan.output)
        apply = ApplySourcesOperator(task_id="apply", plan=plan.output, approved_digest=approve.output)

    Rejection, time-out and who may answer are those of Airflow's ``ApprovalOperator``, all of whose arguments but
    ``body`` can be given: ``assigned_users``, ``response_timeout``, ``fail_on_reject``, ``notifiers`` and so on. A
    rejected plan has no digest, so that no later task can apply it.

    :param plan: what :class:`~airflow_provider_cm.operators.rollout.PlanSourcesOperator` returned. Not rendered.
    :param subject: the headline, ``Apply this plan?`` by default. (templated)
    :return: the digest of the plan that was approved. The XCom ``response`` says who has answered, and when.
    """

    template_fields: Sequence[str] = ("plan", *ApprovalOperator.template_fields)
    FIXED_ARGS = [*ApprovalOperator.FIXED_ARGS, "body"]  # noqa: RUF012  # as Airflow's

    def __init__(self, *, plan: Mapping[str, Any] | XComArg, subject: str = "Apply this plan?", **kwargs: Any) -> None:
        super().__init__(subject=subject, **kwargs)
        self.plan = unrendered(plan)
        with task_errors():
            arguments.given(plan, "plan")

    def execute(self, context: Any) -> None:
        """Show the plan, and wait.

        :raises CommsMiningFailure: for what is no plan.
        """
        from airflow_provider_cm.rollout import Plan

        with task_errors():
            plan = Plan.from_dict(given_as_it_is(self.plan, "plan"))
        for line in plan.render().splitlines():
            self.log.info("%s", line)
        self.body = plan.render_markdown()
        # What is shown counts, and not what the plan's task may return by the time somebody answers. Airflow keeps it
        # while the task waits.
        context["ti"].xcom_push(key=_SHOWN, value=plan.digest)
        super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str | None:
        """Give the digest that was shown, if the plan was approved.

        :param event: the answer.
        :raises CommsMiningFailure: when it is not known what was shown.
        """
        answer = super().execute_complete(context, event)
        ti = context["ti"]
        response = {"chosen_options": answer["chosen_options"], "responded_by_user": answer.get("responded_by_user")}
        ti.xcom_push(key="response", value={**response, "responded_at": str(answer.get("responded_at"))})
        if answer["chosen_options"] != [self.APPROVE]:
            return None
        shown = ti.xcom_pull(task_ids=self.task_id, key=_SHOWN, map_indexes=ti.map_index)
        with task_errors():
            if shown is None:
                raise ConfigurationError(
                    f"{_SHOWN}: what was shown is not known any more; clear this task, and ask again"
                )
            approved = digest(shown, _SHOWN)
        self.log.info("%s was approved", approved)
        return approved
