"""OpenLineage: the sources that tasks read and write, as Airflow's OpenLineage provider gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.openlineage.extractors.base import DefaultExtractor

from airflow_provider_cm.assets import source_uri
from airflow_provider_cm.lineage import source_dataset
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
    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect

BY_NAME: dict[str, Any] = {"project": "acme-dev", "source_name": "inbox"}
MANIFEST: dict[str, Any] = {
    "project": "acme-dev",
    "owns": ["a-*"],
    "sources": [{"name": "a-new"}, {"name": "a-inbox", "title": "New"}, {"name": "a-same", "title": "Same"}],
}
Lineage = tuple[list[str], list[tuple[str, str]]]


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


class Task:
    """A task instance that forgets its XComs."""

    try_number = 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Forget it."""


def lineage(operator: Any, **arguments: Any) -> Lineage:
    """Run a task, and list its inputs, and its outputs with their changes."""
    task = operator(task_id="t", **arguments)
    context: dict[str, Any] = {"ti": Task()}
    task.render_template_fields(context)
    task.execute(context)
    return of(task)


def of(task: Any) -> Lineage:
    found = DefaultExtractor(task).extract_on_complete(None)
    assert found is not None
    for each in (*found.inputs, *found.outputs):
        assert (
            each.namespace
            == "comms-mining://" + urlsplit(task.hook.get_conn().endpoint)._replace(scheme="").geturl()[2:]
        )
    return [each.name for each in found.inputs], [(each.name, change(each)) for each in found.outputs]


def change(dataset: Any) -> str:
    facet = dataset.facets.get("lifecycleStateChange")
    return facet.lifecycleStateChange.value if facet else ""


def test_a_create_writes_the_source_and_says_so_only_if_it_changed_something(tenant: TenantHandle) -> None:
    assert lineage(CreateSourceOperator, **BY_NAME) == ([], [("acme-dev/inbox", "CREATE")])
    assert lineage(CreateSourceOperator, **BY_NAME) == ([], [("acme-dev/inbox", "")])
    assert lineage(CreateSourceOperator, **BY_NAME, if_exists="ignore") == ([], [("acme-dev/inbox", "")])
    updated = lineage(CreateSourceOperator, **BY_NAME, title="x", if_exists="update")
    assert updated == ([], [("acme-dev/inbox", "ALTER")])


def test_an_update_a_read_and_a_delete(tenant: TenantHandle) -> None:
    source_id = tenant.add_source("acme-dev", "inbox")["id"]
    assert lineage(UpdateSourceOperator, **BY_NAME, title="x") == ([], [("acme-dev/inbox", "ALTER")])
    assert lineage(GetSourceOperator, source_id=source_id) == (["acme-dev/inbox"], [])
    assert lineage(DeleteSourceOperator, **BY_NAME) == ([], [("acme-dev/inbox", "DROP")])
    assert lineage(DeleteSourceOperator, **BY_NAME) == ([], [])


def test_a_delete_by_id_does_not_know_the_name(tenant: TenantHandle) -> None:
    source_id = tenant.add_source("acme-dev", "inbox")["id"]
    assert lineage(DeleteSourceOperator, source_id=source_id) == ([], [])


def test_a_rollout_writes_the_sources_of_its_plan(tenant: TenantHandle) -> None:
    for name, title in (("a-inbox", "Old"), ("a-same", "Same"), ("a-old", "Old")):
        tenant.add_source("acme-dev", name, title=title)
    options: dict[str, Any] = {"manifest": MANIFEST, "prune": True, "max_deletes": 1}
    plan = PlanSourcesOperator(task_id="plan", **options).execute({"ti": Task()})
    inputs, outputs = lineage(ApplySourcesOperator, plan=plan)
    assert inputs == []
    assert sorted(outputs) == [("acme-dev/a-inbox", "ALTER"), ("acme-dev/a-new", "CREATE"), ("acme-dev/a-old", "DROP")]
    assert lineage(ApplySourcesOperator, plan=plan) == ([], [])
    assert lineage(ReconcileSourcesOperator, **options) == ([], [])


def test_a_rollout_that_fails_names_what_it_has_written(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    connect(extra={"max_attempts": 1})
    comms_mining_emulator.faults.add(429, "PUT", "*new*")
    sources = [{"name": "new"}, {"name": "other"}]
    task = ReconcileSourcesOperator(task_id="t", manifest={"project": "acme-dev", "sources": sources})
    with pytest.raises(AirflowException):
        task.execute({"ti": Task()})
    assert of(task) == ([], [("acme-dev/other", "CREATE")])


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (ListSourcesOperator, {"project": "acme-dev"}),
        (PlanSourcesOperator, {"manifest": MANIFEST}),
        (ExportSourcesOperator, {"project": "acme-dev"}),
    ],
)
def test_a_task_that_lists_a_project_has_no_lineage(tenant: TenantHandle, operator: Any, arguments: Any) -> None:
    tenant.add_source("acme-dev", "inbox")
    assert lineage(operator, **arguments) == ([], [])


@pytest.mark.parametrize("until", ["exists", "has_messages"])
def test_a_sensor_reads_the_source_that_it_waited_for(tenant: TenantHandle, until: str) -> None:
    tenant.add_source("acme-dev", "inbox", messages=1)
    assert lineage(SourceSensor, **BY_NAME, until=until) == (["acme-dev/inbox"], [])


def test_a_sensor_that_is_resumed_reads_it_too(tenant: TenantHandle) -> None:
    source = tenant.add_source("acme-dev", "inbox")
    task = SourceSensor(task_id="t", **BY_NAME, deferrable=True)
    task.execute_complete({"ti": Task()}, {"status": "success", "source": source})
    assert of(task) == (["acme-dev/inbox"], [])


def test_waiting_for_absence_reads_nothing_and_needs_no_connection(
    tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lineage(SourceSensor, **BY_NAME, until="absent") == ([], [])
    monkeypatch.delenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT")
    assert of(SourceSensor(task_id="t", **BY_NAME)) == ([], [])


@pytest.mark.parametrize("endpoint", ["https://cloud.uipath.com/acme/dev/reinfer_", "https://acme.reinfer.io"])
def test_namespace_and_name_are_the_uri_of_the_asset(endpoint: str) -> None:
    dataset = source_dataset(endpoint, "acme-dev", "inbox", "DROP")
    assert f"{dataset.namespace}/{dataset.name}" == source_uri(endpoint, "acme-dev", "inbox")
    assert change(dataset) == "DROP"
