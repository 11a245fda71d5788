"""The bases of the operators for rollouts: how a manifest becomes a plan, and how a plan is applied.

A manifest is text that people review, so Jinja never renders it: a description that says ``{{ ... }}`` is just that.
The values that differ between projects and tenants go into ``variables``, which are templated.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable, task_errors
from airflow_provider_cm.operators.base import CommsMiningOperator
from airflow_provider_cm.task import unrendered, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import XComArg

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.operators.rollout_reports import RolloutReports
    from airflow_provider_cm.rollout import Manifest, Plan, Report
    from airflow_provider_cm.task import Parsers

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# As OpenLineage calls the changes; an outcome that is unknown may be one.
_CHANGES = {"create": "CREATE", "update": "ALTER", "delete": "DROP"}
_WRITTEN = ("done", "confirmed", "unknown")


def variables(value: object, field: str) -> dict[str, str | bool]:
    """Parse the values for a manifest's ``${name}``.

    :param value: a mapping of names to texts, or to true or false.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else.
    """
    value = arguments.given(value, field)
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{field}: {arguments.excerpt(value)} is not a mapping of names to texts")
    # Here, and not only in the manifest: a template without a value would make a project called None.
    return {
        name: text if isinstance(text, bool) else arguments.text(text, f"{field}[{name!r}]")
        for name, text in value.items()
    }


def digest(value: object, field: str) -> str:
    """Parse the digest of a plan.

    :param value: ``sha256:`` and 64 hexadecimal digits.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else; so an approval that gave no digest approves nothing.
    """
    text = arguments.filled_text(value, field)
    if not _DIGEST.fullmatch(text):
        raise ConfigurationError(
            f"{field}: {arguments.excerpt(text)} is not the digest of a plan; a digest is 'sha256:' and 64 hexadecimal "
            "digits"
        )
    return text


class ManifestOperator(CommsMiningOperator):
    """The base of operators that read a manifest.

    :param manifest_file: path of the manifest, which the task reads when it runs; a relative path starts at the DAG
        file's folder. (templated)
    :param manifest: the manifest itself, as a dict or text, or another task's output. Not rendered.
    :param variables: values for the manifest's ``${name}``. (templated)
    :param prune: delete sources that the manifest owns by pattern and no longer names. (templated)
    :param max_deletes: how many deletes a plan may hold; required with ``prune``. (templated)
    :param allow_risky: allow changes that show data or cost money: dropping a sensitive property, attaching or changing
        a bucket. (templated)
    """

    template_fields_renderers: ClassVar[dict[str, str]] = {"manifest": "yaml", "variables": "json"}
    parsers: ClassVar[Parsers] = {
        "manifest_file": arguments.filled_text,
        "manifest": unwrapped,
        "variables": variables,
        "prune": arguments.boolean,
        "max_deletes": partial(arguments.integer, minimum=0),
        "allow_risky": arguments.boolean,
        **CommsMiningOperator.parsers,
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
        """Check that there is one manifest, and a limit if it prunes."""
        if self.is_given("manifest_file") == self.is_given("manifest"):
            raise ConfigurationError("manifest_file, manifest: give one of the two")
        if self.is_settled("prune") and self.argument("prune") and not self.is_given("max_deletes"):
            from airflow_provider_cm.rollout.planning import check_max_deletes

            check_max_deletes(None)

    def make_plan(self, context: Any) -> tuple[Plan, list[Source]]:
        """Compare the manifest with the project; the plan is in the log, and in the XCom ``markdown``.

        :param context: the task's context.
        :return: the plan, and the project's sources.
        """
        from airflow_provider_cm.rollout import observe, plan

        options = {name: self.argument(name) for name in ("prune", "max_deletes", "allow_risky")}
        manifest = self._read_manifest()
        self.link_project(context, manifest.project)
        sources = self.hook.sources
        actual = observe(manifest, sources)
        made = plan(manifest, actual, target=sources.session.endpoint, **options)
        for line in made.render().splitlines():
            self.log.info("%s", line)
        context["ti"].xcom_push(key="markdown", value=made.render_markdown())
        return made, actual

    def emit_plan(self, context: Any, plan: Plan) -> None:
        """Describe a plan in the task's asset events.

        :param context: the task's context.
        :param plan: the plan.
        """
        self.emit_events(context, {"project": plan.project, "digest": plan.digest, "counts": plan.counts})

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


class ApplyingOperator(CommsMiningOperator):
    """The base of operators that apply a plan.

    :param max_workers: how many requests at once; by default ``[comms_mining] max_workers`` of Airflow's configuration,
        8 without it. (templated)
    :param delete_nonempty: delete also sources that hold messages or have a bucket, and sources where the server shows
        neither; ``False`` by default. (templated)
    """

    parsers: ClassVar[Parsers] = {
        "max_workers": partial(arguments.integer, minimum=1),
        "delete_nonempty": arguments.boolean,
        **CommsMiningOperator.parsers,
    }
    _stop: threading.Event | None = None

    def __init__(
        self,
        *,
        max_workers: int | str = conf.getint("comms_mining", "max_workers", fallback=8),
        delete_nonempty: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_workers = max_workers
        self.delete_nonempty = delete_nonempty

    def on_kill(self) -> None:
        """Start no more requests; those under way get a few seconds, and the report is left in the XCom.

        Airflow calls this from the signal handler, in the middle of the task, so it only sets a flag.
        """
        self._stopping().set()

    def _stopping(self) -> threading.Event:
        # Not made in the constructor: Airflow copies an operator deeply, which an event does not allow.
        if self._stop is None:
            self._stop = threading.Event()
        return self._stop

    def apply_plan(
        self,
        context: Any,
        plan: Plan,
        reports: RolloutReports,
        *,
        own_plan: Plan | None = None,
        actual: Iterable[Source] | None = None,
    ) -> dict[str, Any]:
        """Apply a plan. The report is in the XCom before the task fails.

        :param context: the task's context.
        :param plan: the plan.
        :param reports: keeps the report.
        :param own_plan: the plan, for a task that made it itself, to keep with the report.
        :param actual: the project's sources, if the task has just read them.
        :return: the report, as the task returns it.
        :raises CommsMiningFailure: if an action failed, and applying the plan again would end the same way.
        :raises CommsMiningRetryable: if applying it again may help.
        """
        from airflow_provider_cm.rollout import apply

        with task_errors():
            report = apply(
                plan,
                self.hook.sources,
                max_workers=self.argument("max_workers"),
                delete_nonempty=self.argument("delete_nonempty"),
                actual=actual,
                stop=self._stopping(),
                record=lambda report: _ignore(reports.record(report, own_plan)),
            )
        result = reports.record(report, own_plan)
        self._sources_written = [
            (each.project, each.name, _CHANGES[each.kind]) for each in report.outcomes if each.result in _WRITTEN
        ]
        if report.ok:
            # The writes of an earlier try are `unchanged` now; that try has failed, and so has emitted no event.
            self.emit_events(
                context,
                {"project": report.project, "digest": report.plan_digest, "counts": report.counts},
                [(each.project, each.name, {"outcome": asdict(each)}) for each in report.outcomes],
            )
            return result
        kind = CommsMiningRetryable if report.transient else CommsMiningFailure
        raise kind(f"{_how_much(report)} {report.failure_text()}")


def _how_much(report: Report) -> str:
    """Say how much of a plan was applied, for a report that is not ok."""
    if report.counts.keys() & {"done", "confirmed"}:
        return "Not all was applied." if report.failures else "All was applied, but not seen to be."
    return "It is not known whether anything was applied." if "unknown" in report.counts else "Nothing was applied."


def _ignore(_: object) -> None:
    """Drop a result."""
