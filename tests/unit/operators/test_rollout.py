"""Operators for rollouts: what they hand on, refuse, report and leave alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException

from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable
from airflow_provider_cm.operators.rollout import (
    ApplySourcesOperator,
    ExportSourcesOperator,
    PlanSourcesOperator,
    ReconcileSourcesOperator,
)
from airflow_provider_cm.rollout import Plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.conftest import Connect

MANIFEST: dict[str, Any] = {
    "project": "${project}",
    "owns": ["support-*"],
    "sources": [{"name": "support-a", "title": "A"}, {"name": "support-b", "title": "{{ 6 * 7 }}"}],
}
DEV = {"project": "acme-dev"}


class Task:
    """What an operator uses of a task instance: a place for XComs."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


def run(operator: Any, task: Task | None = None) -> Any:
    """Render and execute, as a worker does."""
    context = {"ti": task or Task(), "params": {"name": "acme-dev"}}
    operator.render_template_fields(context)
    return json.loads(json.dumps(operator.execute(context)))


def plan(**arguments: Any) -> PlanSourcesOperator:
    return PlanSourcesOperator(task_id="plan", **{"manifest": MANIFEST, "variables": DEV} | arguments)


def reconcile(**arguments: Any) -> ReconcileSourcesOperator:
    return ReconcileSourcesOperator(task_id="reconcile", **{"manifest": MANIFEST, "variables": DEV} | arguments)


def test_a_plan_only_reads_and_is_shown_for_people(connect: Connect, sent: Callable[[], list[str]]) -> None:
    connect()
    task = Task()
    made = run(plan(), task)
    assert sent() == ["GET sources/acme-dev"]
    assert [(action["kind"], action["name"]) for action in made["actions"]] == [
        ("create", "support-a"),
        ("create", "support-b"),
    ]
    assert task.pushed["digest"] == Plan.from_dict(made).digest
    assert task.pushed["digest"] in task.pushed["markdown"]


def test_jinja_never_renders_a_manifest_but_its_variables(connect: Connect) -> None:
    tenant = connect()
    run(reconcile(variables={"project": "{{ params.name }}"}))
    assert {source["name"]: source["title"] for source in tenant.sources()} == {
        "support-a": "A",
        "support-b": "{{ 6 * 7 }}",
    }


def test_a_manifest_can_be_text_a_dict_or_a_file_beside_the_dag(connect: Connect, tmp_path: Path) -> None:
    connect()
    text = json.dumps(MANIFEST)
    (tmp_path / "acme.yaml").write_text(text)
    absolute = plan(manifest=None, manifest_file=str(tmp_path / "acme.yaml"))
    assert run(plan()) == run(plan(manifest=text)) == run(absolute)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"manifest": None}, "manifest_file, manifest: give one of the two"),
        ({"manifest_file": "x.yaml"}, "manifest_file, manifest: give one of the two"),
        ({"manifest": None, "manifest_file": "/nowhere/x.yaml"}, "manifest_file: x.yaml cannot be read"),
        ({"prune": "maybe"}, "prune: 'maybe' is neither true nor false"),
        ({"max_deletes": "some"}, "max_deletes: 'some' is not a whole number"),
        ({"variables": {}}, "project"),
        ({"manifest": MANIFEST | {"sauces": []}}, "sauces"),
    ],
)
def test_bad_input_is_named_and_costs_no_request(
    connect: Connect, sent: Callable[[], list[str]], arguments: dict[str, Any], says: str
) -> None:
    connect()
    with pytest.raises(CommsMiningFailure, match=says):
        run(plan(**arguments))
    assert [request for request in sent() if not request.startswith("GET")] == []


def test_what_follows_is_skipped_when_there_is_nothing_to_do(connect: Connect) -> None:
    connect()
    run(reconcile())
    task = Task()
    with pytest.raises(AirflowSkipException, match="2 unchanged"):
        run(plan(skip_if_no_changes="True"), task)
    # The plan can be looked at all the same.
    assert task.pushed["return_value"]["no_ops"] == 2
    assert run(plan())["actions"] == []


def test_an_apply_does_what_was_planned_and_again_changes_nothing(
    connect: Connect, sent: Callable[[], list[str]]
) -> None:
    tenant = connect()
    made = run(plan())
    sent()
    report = run(ApplySourcesOperator(task_id="apply", plan=made, max_workers="1"))
    assert report["counts"] == {"done": 2}
    assert sent() == [
        "GET sources/acme-dev",
        "PUT sources/acme-dev/support-a",
        "PUT sources/acme-dev/support-b",
        "GET sources/acme-dev",
    ]
    held = tenant.sources()
    assert run(ApplySourcesOperator(task_id="apply", plan=made))["counts"] == {"unchanged": 2}
    assert tenant.sources() == held


def test_only_the_approved_plan_is_applied(connect: Connect, sent: Callable[[], list[str]]) -> None:
    connect()
    task = Task()
    made = run(plan(), task)
    other = run(plan(manifest=MANIFEST | {"sources": [{"name": "support-a"}]}))
    sent()
    with pytest.raises(CommsMiningFailure, match=r"approved_digest: .* nothing was done"):
        run(ApplySourcesOperator(task_id="apply", plan=other, approved_digest=task.pushed["digest"]))
    assert sent() == []
    run(ApplySourcesOperator(task_id="apply", plan=made, approved_digest=task.pushed["digest"]))


def test_a_plan_for_one_tenant_is_refused_by_another(connect: Connect, sent: Callable[[], list[str]]) -> None:
    connect()
    made = run(plan())
    connect("/acme/prod/reinfer_", conn_id="prod")
    sent()
    with pytest.raises(CommsMiningFailure, match=r"the plan was made for .*/acme/dev/reinfer_, and this is"):
        run(ApplySourcesOperator(task_id="apply", plan=made, comms_mining_conn_id="prod"))
    assert sent() == []


def test_what_moved_is_left_alone_and_named_and_the_report_is_kept(connect: Connect) -> None:
    tenant = connect()
    tenant.add_source("acme-dev", "support-a", title="old")
    made = run(plan())
    tenant.update_source("acme-dev", "support-a", title="somebody else's")
    task = Task()
    with pytest.raises(CommsMiningFailure, match=r"support-a \(update\): stale"):
        run(ApplySourcesOperator(task_id="apply", plan=made), task)
    assert task.pushed["return_value"]["counts"] == {"done": 1, "stale": 1}
    source = tenant.source("acme-dev", "support-a")
    assert source is not None
    assert source["title"] == "somebody else's"


def test_an_apply_that_may_go_better_later_is_retried(connect: Connect, comms_mining_emulator: EmulatorServer) -> None:
    connect(extra={"max_attempts": 1})
    made = run(plan())
    comms_mining_emulator.faults.add("503", "PUT", "*support-a*")
    task = Task()
    with pytest.raises(CommsMiningRetryable):
        run(ApplySourcesOperator(task_id="apply", plan=made), task)
    assert run(ApplySourcesOperator(task_id="apply", plan=made))["counts"].keys() <= {"done", "unchanged"}


def test_a_no_op_reconcile_is_one_request(connect: Connect, sent: Callable[[], list[str]]) -> None:
    connect()
    run(reconcile())
    first = sent()
    assert (first[0], first[-1]) == ("GET sources/acme-dev", "GET sources/acme-dev")
    assert sorted(first[1:-1]) == ["PUT sources/acme-dev/support-a", "PUT sources/acme-dev/support-b"]
    result = run(reconcile())
    assert sent() == ["GET sources/acme-dev"]
    assert result["report"] is None
    assert result["plan"]["no_ops"] == 2


def test_drift_can_be_reported_or_fail_without_a_write(connect: Connect, sent: Callable[[], list[str]]) -> None:
    connect()
    assert len(run(reconcile(on_drift="report"))["plan"]["actions"]) == 2
    task = Task()
    with pytest.raises(CommsMiningFailure, match=r"drifted(.|\n)*\+ support-a"):
        run(reconcile(on_drift="fail"), task)
    assert len(task.pushed["return_value"]["plan"]["actions"]) == 2
    assert sent() == ["GET sources/acme-dev"] * 2
    with pytest.raises(CommsMiningFailure, match="on_drift: 'apologise' is not one of apply, fail, report"):
        run(reconcile(on_drift="apologise"))


def test_nothing_is_deleted_unless_it_was_asked_for_twice(connect: Connect) -> None:
    tenant = connect()
    tenant.add_source("acme-dev", "support-old")
    tenant.add_source("acme-dev", "sales")
    run(reconcile())
    assert tenant.source("acme-dev", "support-old")
    with pytest.raises(CommsMiningFailure, match="max_deletes"):
        run(reconcile(prune=True))
    run(reconcile(prune="True", max_deletes="1"))
    assert tenant.source("acme-dev", "support-old") is None
    assert tenant.source("acme-dev", "sales")


def test_guards_of_the_connection_hold_for_rollouts(connect: Connect) -> None:
    tenant = connect(extra={"allowed_projects": "other-*"})
    task = Task()
    with pytest.raises(CommsMiningFailure, match="allowed_projects"):
        run(reconcile(), task)
    assert tenant.sources() == []


def test_an_export_is_a_manifest_of_what_is_there(connect: Connect) -> None:
    tenant = connect()
    tenant.add_source("acme-dev", "support-a", title="{{ x }} ${y}", description="a: 'b'\n- c")
    text = run(ExportSourcesOperator(task_id="export", project="{{ params.name }}", variables={"project": "acme-dev"}))
    assert run(plan(manifest=text))["actions"] == []


def test_nothing_is_judged_before_the_task_runs() -> None:
    with DAG("d", schedule=None, default_args={"comms_mining_conn_id": "nowhere"}):
        exported = ExportSourcesOperator(task_id="export", project="p")
        planned = plan(manifest=exported.output, prune="{{ x }}")
        applied = ApplySourcesOperator(task_id="apply", plan=planned.output)
    assert planned.upstream_task_ids == {"export"}
    assert applied.upstream_task_ids == {"plan"}


def test_several_projects_are_mapped_over() -> None:
    with DAG("d", schedule=None):
        mapped = ReconcileSourcesOperator.partial(task_id="all", manifest_file="acme.yaml").expand(
            variables=[{"project": "acme-dev"}, {"project": "acme-prod"}]
        )
    assert mapped.operator_class is ReconcileSourcesOperator
