"""The link to a project's page: written down early, for free, and at no risk to the task."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskDeferred, XCom

from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from airflow_provider_cm.links import ProjectLink
from airflow_provider_cm.operators.rollout import (
    ApplySourcesOperator,
    ExportSourcesOperator,
    PlanSourcesOperator,
    ReconcileSourcesOperator,
)
from airflow_provider_cm.operators.sources import (
    CreateSourceOperator,
    DeleteSourceOperator,
    GetSourceOperator,
    ListSourcesOperator,
    UpdateSourceOperator,
)
from airflow_provider_cm.sensors.sources import SourceSensor

if TYPE_CHECKING:
    from tests.conftest import Connect, Sent

UI = {"ui_url": "https://ui.acme.example"}
PAGE = "https://ui.acme.example/projects/acme-dev"
KEY = "_link_ProjectLink"  # where Airflow reads it
MANIFEST = {"project": "${project}", "sources": [{"name": "inbox"}]}
BY_NAME: dict[str, Any] = {"project": "acme-dev", "source_name": "inbox"}
OPERATOR = GetSourceOperator(task_id="get", **BY_NAME)
DEFERRED = partial(SourceSensor, deferrable=True)
BY_MANIFEST: dict[str, Any] = {"manifest": MANIFEST, "variables": {"project": "acme-dev"}}
WITH_PROJECT: list[tuple[Any, dict[str, Any]]] = [
    (CreateSourceOperator, BY_NAME),
    (UpdateSourceOperator, BY_NAME | {"title": "x"}),
    (GetSourceOperator, BY_NAME),
    (ListSourcesOperator, {"project": "acme-dev"}),
    (DeleteSourceOperator, BY_NAME | {"if_missing": "fail"}),
    (PlanSourcesOperator, BY_MANIFEST),
    (ReconcileSourcesOperator, BY_MANIFEST),
    (ExportSourcesOperator, {"project": "acme-dev"}),
]


class Task:
    """A task instance's place for XComs, which notes what had been sent when one was written."""

    def __init__(self, sent: Sent | None = None) -> None:
        self.sent = sent
        self.links: list[str] = []
        self.before: list[str] = []

    def xcom_push(self, key: str, value: Any) -> None:
        if key == KEY:
            self.links.append(value)
            self.before = self.sent() if self.sent else []


@pytest.mark.parametrize(("operator", "arguments"), WITH_PROJECT)
def test_a_known_project_is_linked_before_the_first_request_and_if_the_task_fails(
    connect: Connect, sent: Sent, operator: Any, arguments: dict[str, Any]
) -> None:
    connect(extra=UI, password="nobodys-token")
    task = Task(sent)
    with pytest.raises(Exception, match="401"):
        operator(task_id="t", **arguments).execute({"ti": task})
    assert task.links == [PAGE]
    assert task.before == []
    assert len(sent()) > 0


def test_an_apply_is_linked_to_the_project_of_its_plan(connect: Connect, sent: Sent) -> None:
    connect(extra=UI)
    plan = PlanSourcesOperator(task_id="plan", **BY_MANIFEST).execute({"ti": Task()})
    sent()
    task = Task(sent)
    ApplySourcesOperator(task_id="apply", plan=plan).execute({"ti": task})
    assert (task.links, task.before) == ([PAGE], [])


def test_by_id_it_is_linked_once_the_source_was_read(connect: Connect, sent: Sent) -> None:
    tenant = connect(extra=UI)
    source = tenant.add_source("acme-dev", "inbox")
    tenant.set_message_count("acme-dev", "inbox", 3)
    read, kept, blind = Task(sent), Task(), Task()
    GetSourceOperator(task_id="t", source_id=source["id"]).execute({"ti": read})
    assert (read.links, read.before) == ([PAGE], [f"GET sources/id:{source['id']}"])
    with pytest.raises(CommsMiningFailure, match="holds 3 messages"):
        DeleteSourceOperator(task_id="t", source_id=source["id"], only_if_empty=True).execute({"ti": kept})
    assert kept.links == [PAGE]
    DeleteSourceOperator(task_id="t", source_id=source["id"]).execute({"ti": blind})
    assert blind.links == []


@pytest.mark.parametrize("project", [None, 5, "", ".."])
def test_what_is_no_project_has_no_link(connect: Connect, project: object) -> None:
    connect(extra=UI)
    task = Task()
    ProjectLink.persist(OPERATOR, {"ti": task}, CommsMiningHook(), project)
    assert task.links == []


def test_plain_http_has_no_link(connect: Connect) -> None:
    connect()
    task = Task()
    ProjectLink.persist(OPERATOR, {"ti": task}, CommsMiningHook(), "acme-dev")
    assert task.links == []


def test_it_never_fails_a_task(connect: Connect) -> None:
    class Broken:
        def xcom_push(self, key: str, value: Any) -> None:
            raise RuntimeError("the API server is away")

    connect(extra=UI)
    hook = CommsMiningHook()
    ProjectLink.persist(OPERATOR, {"ti": Broken()}, hook, "acme-dev")
    ProjectLink.persist(OPERATOR, {}, hook, "acme-dev")
    connect(host="ftp://nowhere")
    ProjectLink.persist(OPERATOR, {"ti": Task()}, CommsMiningHook(), "acme-dev")
    ProjectLink.persist(OPERATOR, {"ti": Task()}, CommsMiningHook("no_such_connection"), "acme-dev")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """What Airflow has stored, and the questions for it."""
    stored: list[Any] = [None]
    questions: list[Any] = []

    def get_value(*, key: str, ti_key: object) -> object:
        questions.append((key, ti_key))
        return stored[0]

    monkeypatch.setattr(XCom, "get_value", get_value)
    return stored, questions


@pytest.mark.parametrize(("stored", "given"), [(PAGE, PAGE), (None, ""), ("", ""), ({"not": "text"}, "")])
def test_a_resumed_task_gives_what_another_worker_wrote_down(
    asked: tuple[list[Any], list[Any]], stored: object, given: str
) -> None:
    asked[0][0] = stored
    assert ProjectLink().get_link(SourceSensor(task_id="wait", **BY_NAME), ti_key="the key") == given
    assert asked[1] == [(KEY, "the key")]


@pytest.mark.parametrize(("extra", "given"), [(UI, PAGE), ({}, "")])
@pytest.mark.parametrize("make", [GetSourceOperator, SourceSensor, DEFERRED])
def test_a_worker_that_ran_the_task_knows_and_does_not_ask(
    connect: Connect, asked: tuple[list[Any], list[Any]], make: Any, extra: dict[str, Any], given: str
) -> None:
    tenant = connect(extra=extra)
    if make is not DEFERRED:
        tenant.add_source("acme-dev", "inbox")
    operator = make(task_id="t", **BY_NAME)
    with contextlib.suppress(TaskDeferred):
        operator.execute({"ti": Task()})
    assert ProjectLink().get_link(operator, ti_key="the key") == given
    assert asked[1] == []


@pytest.mark.parametrize("make", [GetSourceOperator, DEFERRED])
def test_a_task_that_fails_at_once_does_not_ask(
    connect: Connect, asked: tuple[list[Any], list[Any]], make: Any
) -> None:
    connect(host="ftp://nowhere")
    operator = make(task_id="t", **BY_NAME)
    with pytest.raises(CommsMiningFailure, match="ftp"):
        operator.execute({"ti": Task()})
    assert ProjectLink().get_link(operator, ti_key="the key") == ""
    assert asked[1] == []


def test_a_mapped_task_declares_it_too() -> None:
    with DAG("d", schedule=None):
        mapped = GetSourceOperator.partial(task_id="get").expand(source_id=["1", "2"])
    assert [type(link) for link in mapped.operator_extra_links] == [ProjectLink]
    assert ProjectLink().xcom_key == KEY
