"""Operators for rollouts: plan, apply, reconcile, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.exceptions import CommsMiningFailure, task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator
from airflow_provider_cm.operators.rollout_base import ApplyingOperator, ManifestOperator, digest, variables
from airflow_provider_cm.operators.rollout_reports import RolloutReports
from airflow_provider_cm.task import unrendered, unwrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import XComArg

    from airflow_provider_cm.task import Parsers

ON_DRIFT = ("apply", "fail", "report")


class PlanSourcesOperator(ManifestOperator):
    """Compare a manifest with a project, and plan the changes that make the project match. It only reads.

    One request if the list shows every managed field; one more for each source where it does not.

    :param skip_if_no_changes: skip this task, and with it those that follow, if there is nothing to do; ``False`` by
        default. The plan is in the XCom all the same. (templated)
    :return: the plan, for :class:`ApplySourcesOperator`. Two more XComs are for approvals: ``markdown``, the plan for
        people, and ``digest``, which they approve.
    """

    parsers: ClassVar[Parsers] = {"skip_if_no_changes": arguments.boolean, **ManifestOperator.parsers}
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, *, skip_if_no_changes: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skip_if_no_changes = skip_if_no_changes
        self.check_literals()

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the plan.

        :raises CommsMiningFailure: for mistakes in the manifest, and other errors that a retry does not fix.
        :raises CommsMiningRetryable: when trying again may help.
        """
        with task_errors():
            skip = self.argument("skip_if_no_changes")
            plan, _ = self.make_plan(context)
        context["ti"].xcom_push(key="digest", value=plan.digest)
        if skip and not plan.drifted:
            # A skipped task returns nothing, but people can look at the plan.
            RolloutReports(context).leave(plan.to_dict())
            raise AirflowSkipException(f"Nothing to do: {plan.summary()}")
        self.emit_plan(context, plan)
        return plan.to_dict()


class ApplySourcesOperator(ApplyingOperator):
    """Carry out a plan: creates, then updates, then deletes.

    A source that has changed since the plan was made is left alone, and named. Running the task again finishes the
    rest. If an action fails, the task does all other actions first; then it fails, with the report in its XCom.

    :param plan: the output of :class:`PlanSourcesOperator`. Not rendered.
    :param approved_digest: refuse any plan but the one with this digest, such as the output of
        :class:`~airflow_provider_cm.operators.approval.ApproveSourcesOperator`. If the DAG gives it, no digest is no
        approval: ``None`` is an error. (templated)
    :return: the report: one outcome for each action. The XCom ``markdown`` has it for people.
    """

    template_fields_renderers: ClassVar[dict[str, str]] = {"plan": "json"}
    parsers: ClassVar[Parsers] = {"plan": unwrapped, "approved_digest": digest, **ApplyingOperator.parsers}
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(
        self, *, plan: Mapping[str, Any] | XComArg, approved_digest: str | XComArg | NotGiven = NOT_GIVEN, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.plan = unrendered(plan)
        self.approved_digest = approved_digest
        self.check_literals()

    def execute(self, context: Any) -> dict[str, Any]:
        """Apply the plan.

        :raises CommsMiningFailure: if an action is stale, blocked or refused, or the plan is not the approved one.
        :raises CommsMiningRetryable: when running it again may finish it.
        """
        from airflow_provider_cm.rollout import Plan

        reports = RolloutReports(context)
        with reports.preserved():
            with task_errors():
                plan = Plan.from_dict(self.argument("plan"))
                approved = self.argument("approved_digest")
                if approved is not None and approved != plan.digest:
                    raise ConfigurationError(
                        f"approved_digest: {approved} was approved, and this plan is {plan.digest}; nothing was done"
                    )
                self.link_project(context, plan.project)
            return self.apply_plan(context, plan, reports)


class ReconcileSourcesOperator(ApplyingOperator, ManifestOperator):
    """Plan and apply in one task, for projects that nobody approves by hand; or only look for drift.

    If there is nothing to do, it sends one request. N changes are N writes and two lists.

    :param on_drift: ``apply`` (default): make the project match; ``fail``: change nothing, and fail with the plan if
        there is anything to do; ``report``: change nothing, and return the plan. (templated)
    :return: ``{"plan": ..., "report": ...}``; the report is ``None`` if nothing had to be applied. The XCom
        ``markdown`` has both for people.
    """

    parsers: ClassVar[Parsers] = {
        "on_drift": arguments.one_of(ON_DRIFT),
        **ManifestOperator.parsers,
        **ApplyingOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, *, on_drift: str = "apply", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_drift = on_drift
        self.check_literals()

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the plan, and apply it if ``on_drift`` says so.

        :raises CommsMiningFailure: for drift with ``on_drift="fail"``, and as the two other operators.
        :raises CommsMiningRetryable: when trying again may help.
        """
        reports = RolloutReports(context)
        with reports.preserved():
            with task_errors():
                on_drift = self.argument("on_drift")
                plan, actual = self.make_plan(context)
            result = reports.with_earlier({"plan": plan.to_dict(), "report": None})
            if not plan.drifted or on_drift == "report":
                self.emit_plan(context, plan)
                return result
            if on_drift == "fail":
                reports.leave(result)
                raise CommsMiningFailure(
                    f"The project has drifted from its manifest: {plan.summary()}\n{plan.render()}"
                )
            return self.apply_plan(context, plan, reports, own_plan=plan, actual=actual)


class ExportSourcesOperator(CommsMiningOperator):
    """Write the manifest of a live project, as text to review and to keep.

    :param project: the project. (templated)
    :param variables: values that the manifest shows as ``${name}``, if they are the project's name or a bucket's id,
        such as ``{"project": "acme-dev"}``; with other values the manifest is for another project or tenant.
        (templated)
    :return: the manifest, as YAML.
    """

    template_fields_renderers: ClassVar[dict[str, str]] = {"variables": "json"}
    parsers: ClassVar[Parsers] = {
        "project": arguments.project,
        "variables": variables,
        **CommsMiningOperator.parsers,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(self, *, project: str, variables: Mapping[str, str] | NotGiven = NOT_GIVEN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.variables = variables
        self.check_literals()

    def execute(self, context: Any) -> str:
        """Read the project.

        :raises CommsMiningFailure: when trying again would end the same way.
        :raises CommsMiningRetryable: when trying again may help.
        """
        from airflow_provider_cm.rollout import export

        with task_errors():
            project, variables = self.argument("project"), self.argument("variables")
            self.link_project(context, project)
            text = export(project, self.hook.sources, variables=variables)
        self.emit_events(context, {"project": project})
        return text
