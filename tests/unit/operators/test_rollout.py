"""Operators for rollouts: what they hand on, refuse, report and leave alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, literal

from airflow_provider_cm.api.arguments import NOT_GIVEN
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

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect

MANIFEST: dict[str, Any] = {
    "project": "${project}",
    "owns": ["support-*"],
    "sources": [{"name": "support-a", "title": "A"}, {"name": "support-b", "title": "{{ 6 * 7 }}"}],
}
DEV = {"project": "acme-dev"}


class Task:
    """What an operator uses of a task instance: a place for XComs."""

    def __init__(self, try_number: int = 1) -> None:
        self.pushed: dict[str, Any] = {}
        self.try_number = try_number

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


class Store(dict[str, Any]):
    """A task's state store, as Airflow 3.3 has it: it survives a try."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def run(operator: Any, task: Task | None = None, store: Store | None = None) -> Any:
    """Render and execute, as a worker does."""
    context = {"ti": task or Task(), "params": {"name": "acme-dev"}}
    if store is not None:
        context["task_state_store"] = store
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
    absolute = plan(manifest=NOT_GIVEN, manifest_file=str(tmp_path / "acme.yaml"))
    as_path = plan(manifest=NOT_GIVEN, manifest_file=tmp_path / "acme.yaml")
    assert run(plan()) == run(plan(manifest=text)) == run(absolute) == run(as_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"manifest": NOT_GIVEN}, "manifest_file, manifest: give one of the two"),
        ({"manifest": None}, "manifest: it was given, but there is no value"),
        ({"manifest_file": "x.yaml"}, "manifest_file, manifest: give one of the two"),
        ({"manifest": NOT_GIVEN, "manifest_file": "/nowhere/x.yaml"}, "manifest_file: x.yaml cannot be read"),
        ({"prune": "maybe"}, "prune: 'maybe' is neither true nor false"),
        ({"max_deletes": "some"}, "max_deletes: 'some' is not a whole number"),
        ({"max_deletes": None}, "max_deletes: it was given, but there is no value"),
        ({"variables": None}, "variables: it was given, but there is no value"),
        ({"variables": {"project": "None"}}, r"variables\['project'\]: 'None' is what a template renders"),
        ({"variables": {"project": None}}, r"variables\['project'\]: it was given, but there is no value"),
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


@pytest.mark.parametrize(
    ("approved", "says"),
    [
        (None, "it was given, but there is no value"),
        ("None", "it is what a template renders|is what a template renders where there is no value"),
        ("", "it is empty"),
        ("{{ none }}", "there is no value|is what a template renders"),
        ({"chosen_options": ["Approve"]}, "is not text"),
        ("Approve", "is not the digest of a plan"),
        ("sha256:0c5e", "is not the digest of a plan"),
    ],
)
def test_no_digest_is_no_approval(connect: Connect, sent: Callable[[], list[str]], approved: Any, says: str) -> None:
    connect()
    made = run(plan())
    sent()
    with pytest.raises(CommsMiningFailure, match=f"approved_digest: .*({says})"):
        run(ApplySourcesOperator(task_id="apply", plan=made, approved_digest=approved))
    with DAG("d", schedule=None, render_template_as_native_obj=True):
        native = ApplySourcesOperator(task_id="apply", plan=made, approved_digest="{{ none }}")
    with pytest.raises(CommsMiningFailure, match="approved_digest: it was given, but there is no value"):
        run(native)
    with pytest.raises(CommsMiningFailure, match="plan: it was given, but there is no value"):
        run(ApplySourcesOperator(task_id="apply", plan=None))  # type: ignore[arg-type]
    assert sent() == []


def test_literals_that_can_never_be_right_fail_the_import(connect: Connect) -> None:
    for wrong in (
        {"on_drift": "upsert"},
        {"prune": True},
        {"max_workers": 0},
        {"delete_nonempty": "perhaps"},
        {"manifest_file": "x.yaml"},
        {"comms_mining_conn_id": ""},
    ):
        with pytest.raises(CommsMiningFailure, match=f"{next(iter(wrong))}|max_deletes"):
            reconcile(**wrong)
    with pytest.raises(CommsMiningFailure, match="project: 'a b' is not allowed"):
        ExportSourcesOperator(task_id="export", project="a b")
    reconcile(prune="{{ params.prune }}", on_drift="{{ params.on_drift }}", max_workers="{{ 1 }}")


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


def test_each_action_is_logged_with_its_outcome_and_markdown_is_left(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = connect()
    tenant.add_source("acme-dev", "support-a", title="old")
    task = Task()
    made = run(plan(), task)
    tenant.update_source("acme-dev", "support-a", title="<b>rival</b>")
    with caplog.at_level("INFO"), pytest.raises(CommsMiningFailure, match=r"^Not all was applied"):
        run(ApplySourcesOperator(task_id="apply", plan=made), task)
    lines = [record.getMessage() for record in caplog.records]
    assert "acme-dev: support-b (create): done: created" in lines
    assert sum(line.startswith("acme-dev: support-a (update): stale: it has moved") for line in lines) == 1
    assert not [line for line in lines if "\n" in line or "Applied" in line]
    markdown = task.pushed["markdown"]
    assert "- **done** `support-b` (create): created" in markdown
    assert "- **stale** `support-a` (update): it has moved" in markdown
    assert "<b>" not in markdown

    both = Task()
    run(reconcile(), both)
    assert "&plus; **create**" not in both.pushed["markdown"]
    assert "**Plan** for project" in both.pushed["markdown"]
    assert "**Report** for project" in both.pushed["markdown"]
    again = Task()
    run(reconcile(), again)
    assert "**Plan** for project" in again.pushed["markdown"]
    assert "**Report**" not in again.pushed["markdown"]


def test_nothing_is_said_to_be_applied_where_nothing_was(
    connect: Connect, comms_mining_emulator: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    connect(extra={"max_attempts": 1})
    made = run(plan())
    comms_mining_emulator.faults.add(403, "PUT", times=2)
    with pytest.raises(CommsMiningFailure, match=r"^Nothing was applied\."):
        run(ApplySourcesOperator(task_id="apply", plan=made))
    comms_mining_emulator.faults.clear()  # the second create is not sent if the first was refused early enough
    comms_mining_emulator.faults.add("no-answer", "PUT", times=2, when="before")
    comms_mining_emulator.faults.add("no-answer", "GET", "*/support-*", times=9, when="before")
    with pytest.raises(CommsMiningRetryable, match=r"^It is not known whether anything was applied\."):
        run(ApplySourcesOperator(task_id="apply", plan=made))
    comms_mining_emulator.faults.clear()
    assert "Applied" not in caplog.text


# What is left of a try


def test_a_later_try_hands_on_what_an_earlier_one_has_written(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    """Airflow deletes the XComs of a task when its next try begins."""
    connect(extra={"max_attempts": 1})
    made = run(plan())
    store, server = Store(), comms_mining_emulator
    server.faults.add(429, "PUT", "*support-a*")
    with pytest.raises(CommsMiningRetryable):
        run(ApplySourcesOperator(task_id="apply", plan=made), Task(1), store)
    for number in (2, 3):
        server.faults.add(503, "GET")
        refused = Task(number)
        with pytest.raises(CommsMiningRetryable):
            run(ApplySourcesOperator(task_id="apply", plan=made), refused, store)
        (earlier,) = refused.pushed["return_value"]["earlier_tries"]
        assert (earlier["try"], earlier["written"]) == (1, {"done": ["support-b"]})
        assert earlier["plan_digest"] == made["digest"]
    last = Task(4)
    report = run(ApplySourcesOperator(task_id="apply", plan=made), last, store)
    assert report["counts"] == {"done": 1, "unchanged": 1}
    assert [each["try"] for each in report["earlier_tries"]] == [1]
    assert [each["try"] for each in store["comms_mining_rollout"]] == [1, 4]


def test_a_reconcile_hands_it_on_too_even_if_it_cannot_plan_again(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    connect(extra={"max_attempts": 1})
    store = Store()
    comms_mining_emulator.faults.add(429, "PUT", "*support-a*")
    with pytest.raises(CommsMiningRetryable):
        run(reconcile(), Task(1), store)
    comms_mining_emulator.faults.add(503, "GET")
    task = Task(2)
    with pytest.raises(CommsMiningRetryable):
        run(reconcile(), task, store)
    assert task.pushed["return_value"]["earlier_tries"][0]["written"] == {"done": ["support-b"]}


def test_a_store_that_fails_costs_no_rollout(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Store):
        """Airflow's API server is away."""

        def get(self, key: str, default: Any = None) -> Any:
            raise ConnectionError("away")

        def set(self, key: str, value: Any) -> None:
            raise ConnectionError("away")

    connect()
    assert run(reconcile(), Task(), Broken())["report"]["counts"] == {"done": 2}
    assert "could not be stored for a retry: ConnectionError" in caplog.text


def test_a_report_is_there_before_the_first_write_and_after_an_interruption(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    """Whatever ends the task: a SIGKILL, or an exception such as that of Airflow's execution_timeout."""

    class TimeOut(BaseException):
        """Raised in the main thread, as by Airflow's timer."""

    class Watched(Task):
        """Looks what is there when something is left."""

        tenant: TenantHandle
        before = False

        def xcom_push(self, key: str, value: Any) -> None:
            super().xcom_push(key, value)
            if key == "return_value" and not self.tenant.sources():
                assert {each["result"] for each in value["outcomes"]} == {"unknown"}
                self.before = True

    task = Watched()
    task.tenant = connect()
    made = run(plan())
    store = Store()
    seen = []

    def interrupt(*_: object) -> None:
        seen.append(1)
        raise TimeOut

    comms_mining_emulator.configure(latency_ms=150)
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.45)
    try:
        with pytest.raises(TimeOut):
            run(ApplySourcesOperator(task_id="apply", plan=made, max_workers=1), task, store)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert task.before
    report = task.pushed["return_value"]
    assert report["problem"] == "the apply has not ended"
    assert set(report["counts"]) <= {"done", "unknown"}
    assert store["comms_mining_rollout"][0]["try"] == 1


def test_a_killed_apply_begins_nothing_more_and_leaves_its_report(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    """Airflow calls on_kill from the signal handler, in the midst of execute, and kills 5 seconds later."""
    tenant = connect()
    many = {"project": "acme-dev", "sources": [{"name": f"s-{number:03}"} for number in range(200)]}
    made = run(plan(manifest=many, variables=NOT_GIVEN))
    comms_mining_emulator.configure(latency_ms=30)
    operator, task, store = ApplySourcesOperator(task_id="apply", plan=made, max_workers=4), Task(), Store()
    killed_at = []

    def kill(*_: object) -> None:
        killed_at.append((time.monotonic(), len(tenant.sources())))
        operator.on_kill()

    previous = signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(CommsMiningRetryable, match="the task was stopped"):
            run(operator, task, store)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    ((at, written),) = killed_at
    assert time.monotonic() - at < 3
    time.sleep(0.3)
    assert len(tenant.sources()) <= written + 4
    report = task.pushed["return_value"]
    assert report["counts"]["done"] == len(tenant.sources())
    assert report["counts"] == {"done": len(tenant.sources()), "skipped": 200 - len(tenant.sources())}
    assert "not begun, since the task was stopped" in report["outcomes"][-1]["message"]
    assert store["comms_mining_rollout"][0]["counts"] == report["counts"]
    comms_mining_emulator.configure(latency_ms=0)
    assert run(ApplySourcesOperator(task_id="apply", plan=made), Task(2), store)["counts"]["done"] > 0


def test_a_task_that_is_killed_before_it_writes_writes_nothing(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    """While a reconcile still reads, say."""
    tenant = connect()
    comms_mining_emulator.configure(latency_ms=300)
    operator, task = reconcile(), Task()
    previous = signal.signal(signal.SIGALRM, lambda *_: operator.on_kill())
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(CommsMiningRetryable, match=r"^Nothing was applied\."):
            run(operator, task)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert tenant.sources() == []
    assert task.pushed["return_value"]["report"]["counts"] == {"skipped": 2}


def test_a_killed_apply_does_not_wait_for_the_server(connect: Connect, comms_mining_emulator: EmulatorServer) -> None:
    """Neither for a Retry-After that everybody waits for, nor for an answer that does not come."""
    connect()
    made = run(plan())
    operator, task = ApplySourcesOperator(task_id="apply", plan=made), Task()
    comms_mining_emulator.faults.add(429, "PUT", "*support-a*", retry_after=200, times=5)
    previous = signal.signal(signal.SIGALRM, lambda *_: operator.on_kill())
    signal.setitimer(signal.ITIMER_REAL, 1)
    started = time.monotonic()
    try:
        with pytest.raises(CommsMiningRetryable, match="the task was stopped"):
            run(operator, task)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < 4.5
    assert task.pushed["return_value"]["counts"]
    comms_mining_emulator.faults.clear()


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


# In Airflow's interface


@pytest.mark.parametrize(
    ("task", "renderers"),
    [
        (plan(), {"manifest": "yaml", "variables": "json"}),
        (reconcile(), {"manifest": "yaml", "variables": "json"}),
        (ApplySourcesOperator(task_id="t", plan={}), {"plan": "json"}),
        (ExportSourcesOperator(task_id="t", project="p"), {"variables": "json"}),
    ],
    ids=["plan", "reconcile", "apply", "export"],
)
def test_structured_arguments_are_shown_as_such_and_tasks_have_the_package_s_color(
    task: Any, renderers: dict[str, str]
) -> None:
    assert task.template_fields_renderers == renderers
    assert set(renderers) <= set(task.template_fields)
    assert task.ui_color == "#f7e3d4"
    assert task.ui_fgcolor == "#1f2a37"


def test_a_manifest_is_airflows_literal_until_it_is_rendered_and_a_literal_stays_one() -> None:
    given = literal(MANIFEST)
    assert plan(manifest=given).manifest is given
    task = plan()
    assert type(task.manifest) is type(given)
    task.render_template_fields({"params": {}})
    assert task.manifest == MANIFEST


def test_the_number_of_workers_may_come_from_airflows_configuration() -> None:
    code = (
        "from airflow_provider_cm.operators.rollout import ApplySourcesOperator as Apply; "
        "first, second = Apply(task_id='a', plan={}), Apply(task_id='b', plan={}, max_workers=3); "
        "print('WORKERS', first.max_workers, second.max_workers)"
    )
    for value, lines in (("5", "WORKERS 5 3"), (None, "WORKERS 8 3")):
        env = dict(os.environ) | ({"AIRFLOW__COMMS_MINING__MAX_WORKERS": value} if value else {})
        ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert lines in ended.stdout
