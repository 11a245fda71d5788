"""Operators for rollouts: plan, apply, reconcile, export.

A manifest is text that people review, so Jinja never renders it: a description that says ``{{ ... }}`` is just that.
What differs between projects and tenants goes into ``variables``, which are templated.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable, task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator, Run
from airflow_provider_cm.operators.rollout_reports import RolloutReports

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import XComArg

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.rollout import Manifest, Plan, Report

ON_DRIFT = ("apply", "fail", "report")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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


def unrendered(value: Any) -> Any:
    """Keep a value from Jinja; another task's output resolves itself, and is not rendered either.

    :param value: of a template field.
    """
    return value if value is None or value is NOT_GIVEN or hasattr(value, "resolve") else AsItIs(value)


def given_as_it_is(value: object, field: str) -> Any:
    """Give what was kept from Jinja back.

    :param value: from :func:`unrendered`.
    :param field: what to call it in an error.
    :raises ConfigurationError: when there is none.
    """
    return arguments.given(value.value if isinstance(value, AsItIs) else value, field)


def _variables(value: object, field: str) -> dict[str, str | bool]:
    value = arguments.given(value, field)
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{field}: {arguments.shown(value)} is not a mapping of names to texts")
    # Here, and not only in the manifest: a template that rendered nothing would make a project called None.
    return {
        name: text if isinstance(text, bool) else arguments.text(text, f"{field}[{name!r}]")
        for name, text in value.items()
    }


def digest(value: object, field: str) -> str:
    """Give the digest of a plan.

    :param value: ``sha256:`` and 64 hexadecimal digits.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else; so a digest that an approval did not give approves nothing.
    """
    text = arguments.filled_text(value, field)
    if not _DIGEST.fullmatch(text):
        raise ConfigurationError(
            f"{field}: {arguments.shown(text)} is not the digest of a plan; a digest is 'sha256:' and 64 hexadecimal "
            "digits"
        )
    return text


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
    parsers = {  # noqa: RUF012  # declared in the base class
        "manifest_file": arguments.filled_text,
        "manifest": given_as_it_is,
        "variables": _variables,
        "prune": arguments.boolean,
        "max_deletes": partial(arguments.integer, minimum=0),
        "allow_risky": arguments.boolean,
        "comms_mining_conn_id": arguments.filled_text,
    }

    def __init__(
        self,
        *,
        manifest_file: str | PurePath | NotGiven = NOT_GIVEN,
        manifest: Mapping[str, Any] | str | XComArg | NotGiven = NOT_GIVEN,
        variables: Mapping[str, str | bool] | NotGiven = NOT_GIVEN,
        prune: bool | str = False,
        max_deletes: int | str | NotGiven = NOT_GIVEN,
        allow_risky: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # A path has a method `resolve`, which older Airflows take for that of another task's output.
        self.manifest_file = str(manifest_file) if isinstance(manifest_file, PurePath) else manifest_file
        self.manifest = unrendered(manifest)
        self.variables = variables
        self.prune = prune
        self.max_deletes = max_deletes
        self.allow_risky = allow_risky

    def check_together(self) -> None:
        """Check that there is one manifest, and that what prunes says how much."""
        if self.is_given("manifest_file") == self.is_given("manifest"):
            raise ConfigurationError("manifest_file, manifest: give one of the two")
        if self.is_settled("prune") and self.argument("prune") and not self.is_given("max_deletes"):
            from airflow_provider_cm.rollout.planning import check_max_deletes

            check_max_deletes(None)

    def _make_plan(self, run: Run, context: Any) -> tuple[Plan, list[Source]]:
        from airflow_provider_cm.rollout import observe, plan

        options = {name: self.argument(name) for name in ("prune", "max_deletes", "allow_risky")}
        manifest = self._read_manifest()
        run.link(manifest.project)
        sources = run.sources
        actual = observe(manifest, sources)
        made = plan(manifest, actual, target=sources.session.endpoint, **options)
        for line in made.render().splitlines():
            self.log.info("%s", line)
        context["ti"].xcom_push(key="markdown", value=made.render_markdown())
        return made, actual

    def _read_manifest(self) -> Manifest:
        from airflow_provider_cm.rollout import Manifest

        variables = self.argument("variables")
        if self.is_given("manifest"):
            return Manifest.parse(self.argument("manifest"), variables)
        path = Path(self.argument("manifest_file"))
        if not path.is_absolute():
            path = Path(self.dag.folder) / path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"manifest_file: {path.name} cannot be read: {error}") from None
        return Manifest.parse(text, variables, filename=path.name)


class _ApplyingOperator(CommsMiningOperator):
    """What operators that apply a plan share."""

    max_workers: Any
    delete_nonempty: Any
    _stop: threading.Event | None = None

    def on_kill(self) -> None:
        """Begin nothing more; what is under way gets a few seconds, and the report is left.

        Airflow calls it from the signal handler, in the midst of the task, so it only sets a mark.
        """
        self._stopping().set()

    def _stopping(self) -> threading.Event:
        # Not made in the constructor, since an operator is copied deeply, and this cannot be.
        if self._stop is None:
            self._stop = threading.Event()
        return self._stop

    def _apply(
        self, plan: Plan, run: Run, reports: RolloutReports, own_plan: Plan | None, actual: Iterable[Source] | None
    ) -> dict[str, Any]:
        """Apply a plan, and give or leave the report: it is in the XCom before the task fails."""
        from airflow_provider_cm.rollout import apply

        with task_errors():
            report = apply(
                plan,
                run.sources,
                max_workers=self.argument("max_workers"),
                delete_nonempty=self.argument("delete_nonempty"),
                actual=actual,
                stop=self._stopping(),
                record=lambda report: _ignore(reports.record(report, own_plan)),
            )
        result = reports.record(report, own_plan)
        if report.ok:
            # What an earlier try has done is unchanged now; that try has failed, and so has emitted no event.
            run.tell(
                {"project": report.project, "digest": report.plan_digest, "counts": report.counts},
                [(each.project, each.name, {"outcome": asdict(each)}) for each in report.outcomes],
            )
            return result
        kind = CommsMiningRetryable if report.transient else CommsMiningFailure
        raise kind(f"{_how_much(report)} {report.failure_text()}")


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
    parsers = {**_ManifestOperator.parsers, "skip_if_no_changes": arguments.boolean}  # noqa: RUF012  # as above

    def __init__(self, *, skip_if_no_changes: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skip_if_no_changes = skip_if_no_changes
        self.check_literals()

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the plan.

        :raises CommsMiningFailure: for a manifest with mistakes, and what else trying again does not mend.
        :raises CommsMiningRetryable: when trying again may help.
        """
        with task_errors():
            skip = self.argument("skip_if_no_changes")
            run = Run(self, context)
            plan, _ = self._make_plan(run, context)
        context["ti"].xcom_push(key="digest", value=plan.digest)
        if skip and not plan.drifted:
            # A skipped task returns nothing, but the plan is there to be looked at.
            RolloutReports(context).leave(plan.to_dict())
            raise AirflowSkipException(f"Nothing to do: {plan.summary()}")
        _tell_plan(run, plan)
        return plan.to_dict()


class ApplySourcesOperator(_ApplyingOperator):
    """Carry out a plan: creates, then updates, then deletes.

    What moved since the plan was made is left alone, and named. Running it again finishes what was left. When anything
    could not be done, the task fails after all that could be done was done, with the report in its XCom.

    :param plan: what :class:`PlanSourcesOperator` returned. Not rendered.
    :param approved_digest: refuse any plan but the one with this digest, such as the output of
        :class:`~airflow_provider_cm.operators.approval.ApproveSourcesOperator`. Once it is given, no digest is no
        approval: ``None`` is an error. (templated)
    :param max_workers: how many requests at once, 8 by default. (templated)
    :param delete_nonempty: delete sources that hold messages or have a bucket, or of which neither can be read;
        ``False`` by default. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the report: one outcome for each action. The XCom ``markdown`` has it for people.
    """

    template_fields: Sequence[str] = (
        "plan",
        "approved_digest",
        "max_workers",
        "delete_nonempty",
        "comms_mining_conn_id",
    )
    parsers = {  # noqa: RUF012  # as above
        "plan": given_as_it_is,
        "approved_digest": digest,
        "max_workers": partial(arguments.integer, minimum=1),
        "delete_nonempty": arguments.boolean,
        "comms_mining_conn_id": arguments.filled_text,
    }

    def __init__(
        self,
        *,
        plan: Mapping[str, Any] | XComArg,
        approved_digest: str | XComArg | NotGiven = NOT_GIVEN,
        max_workers: int | str = 8,
        delete_nonempty: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = unrendered(plan)
        self.approved_digest = approved_digest
        self.max_workers = max_workers
        self.delete_nonempty = delete_nonempty
        self.check_literals()

    def execute(self, context: Any) -> dict[str, Any]:
        """Apply the plan.

        :raises CommsMiningFailure: when an action is stale, blocked or refused, or the plan is not the approved one.
        :raises CommsMiningRetryable: when running it again may finish it.
        """
        from airflow_provider_cm.rollout import Plan

        reports = RolloutReports(context)
        with reports.kept():
            with task_errors():
                plan = Plan.from_dict(self.argument("plan"))
                approved = self.argument("approved_digest")
                if approved is not None and approved != plan.digest:
                    raise ConfigurationError(
                        f"approved_digest: {approved} was approved, and this plan is {plan.digest}; nothing was done"
                    )
                run = Run(self, context)
                run.link(plan.project)
            return self._apply(plan, run, reports, None, None)


class ReconcileSourcesOperator(_ApplyingOperator, _ManifestOperator):
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
    :return: ``{"plan": ..., "report": ...}``; the report is ``None`` where nothing was to be applied. The XCom
        ``markdown`` has both for people.
    """

    template_fields: Sequence[str] = (*_ManifestOperator.template_fields, "on_drift", "max_workers", "delete_nonempty")
    parsers = {  # noqa: RUF012  # as above
        **_ManifestOperator.parsers,
        "on_drift": arguments.one_of(ON_DRIFT),
        "max_workers": partial(arguments.integer, minimum=1),
        "delete_nonempty": arguments.boolean,
    }

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
        self.check_literals()

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the plan, and apply it where asked to.

        :raises CommsMiningFailure: for drift with ``on_drift="fail"``, and as the two other operators.
        :raises CommsMiningRetryable: when trying again may help.
        """
        reports = RolloutReports(context)
        with reports.kept():
            with task_errors():
                on_drift = self.argument("on_drift")
                run = Run(self, context)
                plan, actual = self._make_plan(run, context)
            result = reports.with_earlier({"plan": plan.to_dict(), "report": None})
            if not plan.drifted or on_drift == "report":
                _tell_plan(run, plan)
                return result
            if on_drift == "fail":
                reports.leave(result)
                raise CommsMiningFailure(
                    f"The project has drifted from its manifest: {plan.summary()}\n{plan.render()}"
                )
            return self._apply(plan, run, reports, plan, actual)


class ExportSourcesOperator(CommsMiningOperator):
    """Write the manifest of a live project, as text to be reviewed and kept.

    :param project: the project. (templated)
    :param variables: what is to be written as ``${name}`` where it is the project's name or a bucket's id, such as
        ``{"project": "acme-dev"}``; with other values the manifest is for another project or tenant. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the manifest, as YAML.
    """

    template_fields: Sequence[str] = ("project", "variables", "comms_mining_conn_id")
    parsers = {  # noqa: RUF012  # as above
        "project": arguments.project,
        "variables": _variables,
        "comms_mining_conn_id": arguments.filled_text,
    }

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
            run = Run(self, context)
            run.link(project)
            text = export(project, run.sources, variables=variables)
        run.tell({"project": project})
        return text


def _tell_plan(run: Run, plan: Plan) -> None:
    run.tell({"project": plan.project, "digest": plan.digest, "counts": plan.counts})


def _how_much(report: Report) -> str:
    """Say how much of a plan was applied, for a report that is not ok."""
    if report.counts.keys() & {"done", "confirmed"}:
        return "Not all was applied." if report.failures else "All was applied, but not seen to be."
    return "It is not known whether anything was applied." if "unknown" in report.counts else "Nothing was applied."


def _ignore(_: object) -> None:
    """Take a result that nobody needs."""
