"""Operators for rollouts: plan, apply, reconcile, export.

A manifest is text that people review, so Jinja never renders it: a description that says ``{{ ... }}`` is just that.
What differs between projects and tenants goes into ``variables``, which are templated.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import values
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable, task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import XComArg

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.rollout import Manifest, Plan, Report

ON_DRIFT = ("apply", "fail", "report")


class AsItIs:
    """A value that Airflow hands on without rendering what it holds.

    :param value: any value; Airflow gets it back when the task's templates are rendered.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, context: Any) -> Any:
        """Give the value."""
        return self.value

    def __repr__(self) -> str:
        return repr(self.value)


def _unrendered(value: Any) -> Any:
    """Keep a value from Jinja; another task's output resolves itself, and is not rendered either."""
    return value if value is None or hasattr(value, "resolve") else AsItIs(value)


class _ManifestOperator(CommsMiningOperator):
    """What operators that read a manifest share; each documents the arguments for its users."""

    template_fields: Sequence[str] = (
        "manifest_file",
        "manifest",
        "variables",
        "prune",
        "max_deletes",
        "allow_risky",
        "comms_mining_conn_id",
    )

    def __init__(
        self,
        *,
        manifest_file: str | None = None,
        manifest: Mapping[str, Any] | str | XComArg | None = None,
        variables: Mapping[str, str] | None = None,
        prune: bool | str = False,
        max_deletes: int | str | None = None,
        allow_risky: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.manifest_file = manifest_file
        self.manifest = _unrendered(manifest)
        self.variables = variables
        self.prune = prune
        self.max_deletes = max_deletes
        self.allow_risky = allow_risky

    def _make_plan(self, run: Run) -> tuple[Plan, list[Source]]:
        from airflow_provider_cm.rollout import observe, plan

        manifest = self._read_manifest()
        run.link(manifest.project)
        most = None if self.max_deletes is None else values.integer(self.max_deletes, "max_deletes", minimum=0)
        sources = run.sources
        actual = observe(manifest, sources)
        made = plan(
            manifest,
            actual,
            target=sources.session.endpoint,
            prune=values.boolean(self.prune, "prune"),
            max_deletes=most,
            allow_risky=values.boolean(self.allow_risky, "allow_risky"),
        )
        self.log.info("%s", made.render())
        return made, actual

    def _read_manifest(self) -> Manifest:
        from airflow_provider_cm.rollout import Manifest

        manifest = self.manifest.value if isinstance(self.manifest, AsItIs) else self.manifest
        if (self.manifest_file is None) == (manifest is None):
            raise ConfigurationError("manifest_file, manifest: give one of the two")
        if self.manifest_file is None:
            return Manifest.parse(manifest, self.variables)
        path = Path(values.text(self.manifest_file, "manifest_file"))
        if not path.is_absolute():
            path = Path(self.dag.folder) / path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"manifest_file: {path.name} cannot be read: {error}") from None
        return Manifest.parse(text, self.variables, filename=path.name)


class PlanSourcesOperator(_ManifestOperator):
    """Compare a manifest with a project, and say what would make the project match. It only reads.

    One request when the list shows every managed field; one more for each source of which it does not.

    :param manifest_file: path of the manifest, read when the task runs; a relative one counts from the DAG file's
        folder. (templated)
    :param manifest: the manifest itself, as a dict or text, or another task's output. Not rendered.
    :param variables: fill the manifest's ``${name}``. (templated)
    :param prune: delete what the manifest owns by pattern and no longer names. (templated)
    :param max_deletes: how many deletes a plan may hold; required with ``prune``. (templated)
    :param allow_risky: let through what shows data or costs: dropping a sensitive property, attaching or changing a
        bucket. (templated)
    :param skip_if_no_changes: skip this task, and with it what follows, when there is nothing to do; ``False`` by
        default. The plan is returned all the same. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the plan, for :class:`ApplySourcesOperator`. Two more XComs are for approvals: ``markdown``, the plan for
        people, and ``digest``, what they approve.
    """

    template_fields: Sequence[str] = (*_ManifestOperator.template_fields, "skip_if_no_changes")

    def __init__(self, *, skip_if_no_changes: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skip_if_no_changes = skip_if_no_changes

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the plan.

        :raises CommsMiningFailure: for a manifest with mistakes, and what else trying again does not mend.
        :raises CommsMiningRetryable: when trying again may help.
        """
        with task_errors():
            skip = values.boolean(self.skip_if_no_changes, "skip_if_no_changes")
            run = Run(self, context)
            plan, _ = self._make_plan(run)
        context["ti"].xcom_push(key="markdown", value=plan.render_markdown())
        context["ti"].xcom_push(key="digest", value=plan.digest)
        if skip and not plan.drifted:
            # A skipped task returns nothing, but the plan is there to be looked at.
            _leave(context, plan.to_dict())
            raise AirflowSkipException(f"Nothing to do: {plan.summary()}")
        _tell_plan(run, plan)
        return plan.to_dict()


class ApplySourcesOperator(CommsMiningOperator):
    """Carry out a plan: creates, then updates, then deletes.

    What moved since the plan was made is left alone, and named. Running it again finishes what was left. When anything
    could not be done, the task fails after all that could be done was done, with the report in its XCom.

    :param plan: what :class:`PlanSourcesOperator` returned. Not rendered.
    :param approved_digest: refuse any plan but the one with this digest. (templated)
    :param max_workers: how many requests at once, 8 by default. (templated)
    :param delete_nonempty: delete sources that hold messages or have a bucket, or of which neither can be read;
        ``False`` by default. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the report: one outcome for each action.
    """

    template_fields: Sequence[str] = (
        "plan",
        "approved_digest",
        "max_workers",
        "delete_nonempty",
        "comms_mining_conn_id",
    )

    def __init__(
        self,
        *,
        plan: Mapping[str, Any] | XComArg,
        approved_digest: str | None = None,
        max_workers: int | str = 8,
        delete_nonempty: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = _unrendered(plan)
        self.approved_digest = approved_digest
        self.max_workers = max_workers
        self.delete_nonempty = delete_nonempty

    def execute(self, context: Any) -> dict[str, Any]:
        """Apply the plan.

        :raises CommsMiningFailure: when an action is stale, blocked or refused, or the plan is not the approved one.
        :raises CommsMiningRetryable: when running it again may finish it.
        """
        from airflow_provider_cm.rollout import Plan, apply

        with task_errors():
            plan = Plan.from_dict(self.plan.value if isinstance(self.plan, AsItIs) else self.plan)
            if self.approved_digest is not None and self.approved_digest != plan.digest:
                raise ConfigurationError(
                    f"approved_digest: {values.shown(self.approved_digest)} was approved, and this plan is "
                    f"{plan.digest}; nothing was done"
                )
            run = Run(self, context)
            run.link(plan.project)
            report = apply(
                plan,
                run.sources,
                max_workers=values.integer(self.max_workers, "max_workers", minimum=1),
                delete_nonempty=values.boolean(self.delete_nonempty, "delete_nonempty"),
            )
        return _finish(self, run, report, context)


class ReconcileSourcesOperator(_ManifestOperator):
    """Plan and apply in one task, for projects that nobody approves by hand, or look for drift only.

    Nothing to do is one request. N changes are N writes and two lists.

    :param manifest_file: path of the manifest, read when the task runs; a relative one counts from the DAG file's
        folder. (templated)
    :param manifest: the manifest itself, as a dict or text, or another task's output. Not rendered.
    :param variables: fill the manifest's ``${name}``. (templated)
    :param prune: delete what the manifest owns by pattern and no longer names. (templated)
    :param max_deletes: how many deletes a plan may hold; required with ``prune``. (templated)
    :param allow_risky: let through what shows data or costs: dropping a sensitive property, attaching or changing a
        bucket. (templated)
    :param on_drift: ``apply`` (default): make the project match; ``fail``: change nothing, and fail with the plan when
        there is anything to do; ``report``: change nothing, and return the plan. (templated)
    :param max_workers: how many requests at once, 8 by default. (templated)
    :param delete_nonempty: as for :class:`ApplySourcesOperator`. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: ``{"plan": ..., "report": ...}``; the report is ``None`` where nothing was applied.
    """

    template_fields: Sequence[str] = (*_ManifestOperator.template_fields, "on_drift", "max_workers", "delete_nonempty")

    def __init__(
        self,
        *,
        on_drift: str = "apply",
        max_workers: int | str = 8,
        delete_nonempty: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_drift = on_drift
        self.max_workers = max_workers
        self.delete_nonempty = delete_nonempty

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the plan, and apply it where asked to.

        :raises CommsMiningFailure: for drift with ``on_drift="fail"``, and as the two other operators.
        :raises CommsMiningRetryable: when trying again may help.
        """
        from airflow_provider_cm.rollout import apply

        with task_errors():
            on_drift = values.choice(self.on_drift, "on_drift", ON_DRIFT)
            workers = values.integer(self.max_workers, "max_workers", minimum=1)
            delete_nonempty = values.boolean(self.delete_nonempty, "delete_nonempty")
            run = Run(self, context)
            plan, actual = self._make_plan(run)
        result = {"plan": plan.to_dict(), "report": None}
        if not plan.drifted or on_drift == "report":
            _tell_plan(run, plan)
            return result
        if on_drift == "fail":
            _leave(context, result)
            raise CommsMiningFailure(f"The project has drifted from its manifest: {plan.summary()}\n{plan.render()}")
        with task_errors():
            report = apply(plan, run.sources, max_workers=workers, delete_nonempty=delete_nonempty, actual=actual)
        return _finish(self, run, report, context, result)


class ExportSourcesOperator(CommsMiningOperator):
    """Write the manifest of a live project, as text to be reviewed and kept.

    :param project: the project. (templated)
    :param variables: what is to be written as ``${name}`` where it is the project's name or a bucket's id, such as
        ``{"project": "acme-dev"}``; with other values the manifest is for another project or tenant. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the manifest, as YAML.
    """

    template_fields: Sequence[str] = ("project", "variables", "comms_mining_conn_id")

    def __init__(self, *, project: str, variables: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.variables = variables

    def execute(self, context: Any) -> str:
        """Read the project.

        :raises CommsMiningFailure: when trying again would end the same way.
        :raises CommsMiningRetryable: when trying again may help.
        """
        from airflow_provider_cm.rollout import export

        with task_errors():
            run = Run(self, context)
            run.link(self.project)
            text = export(self.project, run.sources, variables=self.variables)
        run.tell({"project": self.project})
        return text


def _leave(context: Any, result: dict[str, Any]) -> None:
    """Put a result where a task that ends well would have it."""
    # Imported here, since on Airflow 3.3 it takes longer than the import of all our operators.
    from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY

    context["ti"].xcom_push(key=XCOM_RETURN_KEY, value=result)


def _tell_plan(run: Run, plan: Plan) -> None:
    run.tell({"project": plan.project, "digest": plan.digest, "counts": plan.counts})


def _finish(
    operator: CommsMiningOperator, run: Run, report: Report, context: Any, result: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Give the report, or fail with it: it is in the XCom before the task fails, since nothing is returned then."""
    returned = report.to_dict() if result is None else {**result, "report": report.to_dict()}
    operator.log.info("Applied: %s", report.summary())
    if report.ok:
        # What an earlier try has done is unchanged now; that try has failed, and so has emitted no event.
        run.tell(
            {"project": report.project, "digest": report.plan_digest, "counts": report.counts},
            [(each.project, each.name, {"outcome": asdict(each)}) for each in report.outcomes],
        )
        return returned
    _leave(context, returned)
    kind = CommsMiningRetryable if report.transient else CommsMiningFailure
    raise kind(f"Not all was applied. {report.failure_text()}")
