"""The approval of a plan: what is shown, what is returned, and that nothing else can be applied with it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.operators.rollout import ApplySourcesOperator, PlanSourcesOperator
from airflow_provider_cm.rollout import Plan
from tests.features import has, needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.operators.approval import ApproveSourcesOperator
    from tests.conftest import Connect

REFUSED = {"chosen_options": ["Reject"]}
APPROVED = {"chosen_options": ["Approve"]}


class Task:
    """What the operators use of a task instance: XComs of two tasks, which outlast a wait."""

    id, map_index, task_id = "0192", -1, "approve"

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == ("approve", -1)
        return self.pushed.get(key)


def plan(title: str) -> Any:
    manifest = {"project": "acme-dev", "sources": [{"name": "inbox", "title": title}]}
    return PlanSourcesOperator(task_id="plan", manifest=manifest).execute({"ti": Task()})


def approval(**arguments: Any) -> ApproveSourcesOperator:
    from airflow_provider_cm.operators.approval import ApproveSourcesOperator

    return ApproveSourcesOperator(task_id="approve", **arguments)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Take what Airflow would show to people."""
    from airflow.providers.standard.operators import hitl

    found: list[dict[str, Any]] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: found.append(detail))
    return found


def waiting() -> type[BaseException]:
    """Give what ends the first half of such a task."""
    from airflow.providers.common.compat.sdk import TaskDeferred
    from airflow.providers.standard.operators import hitl

    found: type[BaseException] = getattr(hitl, "TaskAwaitingInput", TaskDeferred)
    return found


def ask(operator: ApproveSourcesOperator, task: Task) -> None:
    context: Any = {"ti": task, "task_instance": task}
    operator.render_template_fields(context)
    with pytest.raises(waiting()):
        operator.execute(context)


def answer(operator: ApproveSourcesOperator, task: Task, said: dict[str, Any]) -> Any:
    """Go on as Airflow does: in another process, with the template fields rendered anew."""
    context: Any = {"ti": task, "task_instance": task, "task": operator}
    operator.render_template_fields(context)
    user = {"id": "eva", "name": "Eva"}
    event = {**said, "params_input": {}, "responded_at": datetime(2026, 1, 2, tzinfo=UTC), "responded_by_user": user}
    return operator.execute_complete(context, event)


@needs("approvals")
def test_the_plan_is_shown_and_its_digest_is_returned(connect: Connect, asked: list[dict[str, Any]]) -> None:
    connect()
    made, task = plan("{{ 6 * 7 }} | <b>"), Task()
    ask(approval(plan=made, subject="To {{ ti.task_id }}?"), task)
    (detail,) = asked
    assert detail["body"] == Plan.from_dict(made).render_markdown()
    assert detail["subject"] == "To approve?"
    assert detail["options"] == ["Approve", "Reject"]
    approved = answer(approval(plan=made), task, APPROVED)
    assert approved == made["digest"]
    assert task.pushed["response"]["responded_by_user"] == {"id": "eva", "name": "Eva"}
    assert ApplySourcesOperator(task_id="apply", plan=made, approved_digest=approved).execute({"ti": Task()})["ok"]


@needs("approvals")
def test_a_plan_that_was_made_anew_after_it_was_shown_is_refused(
    connect: Connect, asked: list[dict[str, Any]], sent: Callable[[], list[str]]
) -> None:
    """As when somebody clears only the plan: before or after the answer, the approval is of what was shown."""
    tenant = connect()
    shown, task = plan("shown"), Task()
    ask(approval(plan=shown), task)
    anew = plan("nobody saw this")
    approved = answer(approval(plan=anew), task, APPROVED)
    assert approved == shown["digest"]
    sent()
    with pytest.raises(CommsMiningFailure, match=r"was approved, and this plan is .*nothing was done"):
        ApplySourcesOperator(task_id="apply", plan=anew, approved_digest=approved).execute({"ti": Task()})
    assert sent() == []
    assert tenant.sources() == []


@needs("approvals")
def test_a_rejected_plan_has_no_digest(connect: Connect, asked: list[dict[str, Any]]) -> None:
    from airflow.providers.standard.exceptions import HITLRejectException, HITLTimeoutError

    connect()
    made, task = plan("a"), Task()
    ask(approval(plan=made), task)
    assert answer(approval(plan=made), task, REFUSED) is None
    with pytest.raises(HITLRejectException):
        answer(approval(plan=made, fail_on_reject=True), task, REFUSED)
    with pytest.raises(HITLTimeoutError):
        answer(approval(plan=made), task, {"error": "late", "error_type": "timeout"})
    with pytest.raises(CommsMiningFailure, match="approved_digest: it was given, but there is no value"):
        ApplySourcesOperator(task_id="apply", plan=made, approved_digest=None)  # type: ignore[arg-type]


@needs("approvals")
def test_what_was_shown_must_be_known(connect: Connect, asked: list[dict[str, Any]]) -> None:
    connect()
    with pytest.raises(CommsMiningFailure, match="which plan was approved is no longer known"):
        answer(approval(plan=plan("a")), Task(), APPROVED)


@needs("approvals")
@pytest.mark.parametrize("wrong", [None, {}, {"format_version": 1}, "{{ none }}"])
def test_what_is_no_plan_is_shown_to_nobody(asked: list[dict[str, Any]], wrong: Any) -> None:
    with pytest.raises(CommsMiningFailure, match="plan"):
        ask(approval(plan=wrong), Task())
    assert asked == []


@needs("approvals")
def test_airflows_own_arguments_are_passed_on() -> None:
    operator = approval(plan={}, assigned_users={"id": "eva", "name": "eva"}, fail_on_reject=True)
    assert operator.assigned_users == [{"id": "eva", "name": "eva"}]
    with pytest.raises(ValueError, match="Passing body"):
        approval(plan={}, body="something nicer")
    assert operator.template_fields == ("plan", "subject", "body")


HIDE = """
import sys
sys.modules["airflow.sdk.execution_time.hitl"] = None
import airflow_provider_cm.operators.rollout
try:
    import airflow_provider_cm.operators.approval
except ImportError as error:
    print("SAYS " + str(error))
print("HITL", "airflow.providers.standard.operators.hitl" in sys.modules)
"""


def test_where_airflow_has_no_such_tasks_only_this_module_refuses_and_says_why() -> None:
    """Airflow's own operator is not even touched, since its import stops the DAG processor of Airflow 3.0."""
    out = subprocess.run([sys.executable, "-c", HIDE], capture_output=True, text=True, check=True).stdout
    assert "SAYS airflow_provider_cm.operators.approval needs Airflow 3.1 or newer" in out
    assert "HITL False" in out
    if not has("approvals"):
        with pytest.raises(ImportError, match=r"needs Airflow 3\.1"):
            approval(plan={})
