"""The operators for messages, over the network against the emulator: what is sent, what is left, what is said."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_cm import metrics
from airflow_provider_cm.decorators.load_messages import load_messages_task
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable
from airflow_provider_cm.loading import LoadError
from airflow_provider_cm.operators.loading import BaseLoadOperator
from airflow_provider_cm.operators.messages import DeleteMessagesOperator, LoadMessagesOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_cm.emulator import TenantHandle
    from tests.conftest import Connect, Sent

MAPPING = {"id": "ticket-{n}", "timestamp": "{at}", "body": "{text}"}
SYNC = "POST sources/acme-dev/tickets/sync"
COUNT = "POST sources/acme-dev/tickets/statistics"
ADDRESS = {"project": "acme-dev", "source_name": "tickets"}


def rows(number: int) -> list[dict[str, Any]]:
    return [{"n": n, "at": "2026-01-05T09:00:00Z", "text": f"the text of number {n}"} for n in range(number)]


class Instance:
    """What an operator asks of a task instance."""

    def __init__(self, max_tries: int = 2, map_index: int = -1) -> None:
        self.xcoms: dict[str, Any] = {}
        self.max_tries, self.map_index, self.try_number = max_tries, map_index, 1
        self.run_id = "run"

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class Store:
    """Airflow's store of a task's state, which keeps JSON."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.sets = 0

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    def set(self, key: str, value: Any) -> None:
        self.sets += 1
        self.kept[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


def operator(messages: list[dict[str, Any]], **arguments: Any) -> LoadMessagesOperator:
    arguments = {"task_id": "load", **ADDRESS, "mapping": MAPPING, **arguments}
    return LoadMessagesOperator(messages=messages, **arguments)


@pytest.fixture
def dev(connect: Connect) -> TenantHandle:
    tenant = connect()
    tenant.add_source("acme-dev", "tickets")
    return tenant


def ids(dev: TenantHandle) -> list[str]:
    return sorted(each["id"] for each in dev.messages("acme-dev", "tickets"))


# --- LoadMessagesOperator


def test_it_loads_every_row_with_as_few_requests_as_there_are_batches(dev: TenantHandle, sent: Sent) -> None:
    sent()
    report = operator(rows(250), batch_size=100).execute({"ti": Instance()})
    assert sent() == [COUNT, SYNC, SYNC, SYNC, COUNT]
    assert len(ids(dev)) == 250
    assert dev.bill.ai_units == 250
    assert (report["rows"], report["new"], report["billable"], report["rejected"]) == (250, 250, 250, 0)
    again = operator(rows(250), batch_size=100).execute({"ti": Instance()})
    assert (again["unchanged"], again["billable"], dev.bill.ai_units) == (250, 0, 250)
    assert json.loads(json.dumps(again)) == again


def test_templates_give_text_and_it_is_taken_for_numbers_and_truth_values(dev: TenantHandle, sent: Sent) -> None:
    arguments = {"batch_size": "{{ size }}", "dry_run": "{{ dry }}", "max_rejected": "{{ bad }}"}
    made = operator(rows(10), **arguments)
    context: Any = {"size": 5, "dry": True, "bad": 0.5}
    made.render_template_fields(context)
    sent()
    report = made.execute({"ti": Instance()})
    assert (report["dry_run"], report["billable"], report["ai_units"], report["platform_units"]) == (True, 10, 10, 2)
    assert SYNC not in sent()


def test_a_bad_row_fails_the_task_after_the_good_ones_are_loaded(dev: TenantHandle, tmp_path: Path) -> None:
    messages = rows(30)
    messages[17]["at"] = "yesterday, somewhen"
    instance = Instance(map_index=4)
    with pytest.raises(CommsMiningFailure, match=r"1 of 30 rows were rejected") as raised:
        operator(messages, rejects_path=str(tmp_path / "new" / "rejected.jsonl")).execute({"ti": instance})
    assert len(ids(dev)) == 29
    assert "row 18" in str(raised.value)
    assert "somewhen" not in str(raised.value)
    assert isinstance(raised.value.__cause__, LoadError)
    (line,) = (tmp_path / "new" / "rejected-4.jsonl").read_text().splitlines()
    assert json.loads(line)["row_number"] == 18
    assert instance.xcoms["return_value"]["rejected"] == 1
    assert instance.xcoms["return_value"]["new"] == 29

    report = operator(messages, max_rejected=1).execute({"ti": Instance()})
    assert (report["unchanged"], report["rejected"]) == (29, 1)


def test_a_path_that_cannot_be_written_is_known_before_anything_is_sent(
    dev: TenantHandle, sent: Sent, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    sent()
    with pytest.raises(CommsMiningFailure, match=r"rejects_path: it cannot be written \(\w+"):
        operator(rows(3), rejects_path=str(tmp_path / "file" / "rejected.jsonl")).execute({"ti": Instance()})
    assert SYNC not in sent()


def test_a_load_that_would_cost_too_much_stops(dev: TenantHandle) -> None:
    with pytest.raises(CommsMiningFailure, match="max_billable: ") as raised:
        operator(rows(25), batch_size=10, max_billable=20).execute({"ti": Instance()})
    assert len(ids(dev)) == 20
    assert "so they were not sent" in str(raised.value)


def test_a_guard_of_the_connection_refuses_loads(connect: Connect, sent: Sent) -> None:
    connect(extra={"allow_load": False}).add_source("acme-dev", "tickets")
    sent()
    with pytest.raises(CommsMiningFailure, match="allow_load"):
        operator(rows(3), verify=False).execute({"ti": Instance()})
    assert sent() == []


# --- a checkpoint for the next try


def kill_during_batch(made: LoadMessagesOperator, number: int, context: dict[str, Any]) -> None:
    """Run a task, and kill it as Airflow does, while a batch is on its way."""
    session, routes = made.hook.get_conn(), []
    observer = session._observer

    def observe(record: Any) -> None:
        routes.append(record.route)
        if sum(route.endswith("/sync") for route in routes) == number:
            made.on_kill()
        assert observer is not None
        observer(record)

    session._observer = observe
    with pytest.raises(CommsMiningRetryable, match="told to stop"):
        made.execute(context)


def test_a_retry_sends_only_what_is_left(dev: TenantHandle, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[str, int]] = []
    monkeypatch.setattr(metrics.Metric, "count", lambda self, number, **tags: recorded.append((self.name, number)))
    store, messages = Store(), rows(80)
    context = {"ti": Instance(), "task_state_store": store}
    kill_during_batch(operator(messages, batch_size=10, retries=2), 4, context)
    stored = len(ids(dev))
    assert 30 <= stored <= 40
    (key,) = store.kept
    assert key == "comms_mining_load_of_try_1"
    assert len(store.kept[key]) < 4096
    assert not re.search(r"ticket-|text of", store.kept[key])
    sent()
    report = operator(messages, batch_size=10, retries=2).execute(context)
    assert len(ids(dev)) == 80
    assert sent().count(SYNC) == 8 - report["resumed_at_row"] // 10
    assert report["resumed_at_row"] >= 30
    assert (report["new"], report["billable"]) == (80, 80)
    assert store.kept == {}
    billed = sum(number for name, number in recorded if name == metrics.LOAD_BILLABLE.name)
    loaded = sum(number for name, number in recorded if name == metrics.LOAD_ROWS.name)
    assert (billed, loaded) == (80, 80)


def test_a_task_that_is_cleared_loads_everything_again(dev: TenantHandle, sent: Sent) -> None:
    store, messages = Store(), rows(40)
    context = {"ti": Instance(max_tries=2), "task_state_store": store}
    kill_during_batch(operator(messages, batch_size=10, retries=2), 2, context)
    sent()
    cleared = {"ti": Instance(max_tries=5), "task_state_store": store}  # clearing adds to the tries
    report = operator(messages, batch_size=10, retries=2).execute(cleared)
    assert sent().count(SYNC) == 4
    assert (report["resumed_at_row"], report["unchanged"], report["new"]) == (None, 20, 20)


def test_rows_in_front_of_what_was_loaded_are_not_skipped(dev: TenantHandle) -> None:
    store, messages = Store(), rows(40)
    context = {"ti": Instance(), "task_state_store": store}
    kill_during_batch(operator(messages, batch_size=10, retries=2), 3, context)
    messages[0]["text"] = "changed"
    messages.insert(5, {"n": 99, "at": "2026-01-05T09:00:00Z", "text": "new in front"})
    operator(messages, batch_size=10, retries=2).execute(context)
    assert len(ids(dev)) == 41
    texts = [each["messages"][0]["body"]["text"] for each in dev.messages("acme-dev", "tickets")]
    assert {"changed", "new in front"} <= set(texts)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_store_that_fails_costs_no_row(dev: TenantHandle, caplog: pytest.LogCaptureFixture, retries: int) -> None:
    class Broken(Store):
        def get(self, key: str, default: Any = None) -> Any:
            raise RuntimeError("no store")

        def set(self, key: str, value: Any) -> None:
            raise RuntimeError("no store")

        def delete(self, key: str) -> None:
            raise RuntimeError("no store")

    store = Broken()
    operator(rows(20), batch_size=5, retries=retries).execute({"ti": Instance(), "task_state_store": store})
    assert len(ids(dev)) == 20
    warnings = [record.getMessage() for record in caplog.records if "checkpoint" in record.getMessage()]
    assert len(warnings) == (3 if retries else 0)


# --- what it leaves for others


def test_asset_events_carry_the_counts_and_no_message(dev: TenantHandle) -> None:
    asset, alias, events = Asset("tickets"), AssetAlias("loads"), OutletEventAccessors()
    made = operator(rows(3), outlets=[asset, alias], partition_key="2026-01-05")
    report = made.execute({"ti": Instance(), "outlet_events": events})
    assert events[asset].extra == report
    (event,) = events[alias].asset_alias_events
    assert event.dest_asset_key.uri.endswith("/acme-dev/tickets")
    assert event.extra == report
    if hasattr(events[asset], "partition_keys"):
        assert events[asset].partition_keys == {"2026-01-05"}


def test_without_a_key_an_event_starts_ordinary_dags(dev: TenantHandle) -> None:
    asset, events = Asset("tickets"), OutletEventAccessors()
    operator(rows(3), outlets=[asset]).execute({"ti": Instance(), "outlet_events": events})
    assert not getattr(events[asset], "partition_keys", None)


def test_openlineage_is_told_what_was_written_and_how_much(dev: TenantHandle) -> None:
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.utils.state import TaskInstanceState

    made = operator(rows(12))
    made.execute({"ti": Instance()})
    lineage = ExtractorManager().extract_metadata(Instance(), made, TaskInstanceState.SUCCESS, None)
    (output,) = lineage.outputs
    assert output.namespace == dev.endpoint.replace("http://", "comms-mining://")
    assert output.name == "acme-dev/tickets"
    assert output.outputFacets["outputStatistics"].rowCount == 12
    dry = operator(rows(12), dry_run=True)
    dry.execute({"ti": Instance()})
    assert dry.get_openlineage_facets_on_complete(None).outputs == []


def test_the_log_has_no_line_for_each_batch(dev: TenantHandle, capsys: pytest.CaptureFixture[str]) -> None:
    operator(rows(60), batch_size=2).execute({"ti": Instance()})
    printed = capsys.readouterr().out
    assert "/sync ->" not in printed
    assert "Loaded acme-dev/tickets: 60 rows: 60 new" in printed


# --- @task.load_messages


def fives() -> list[dict[str, Any]]:
    return rows(5)


def decorated(function: Any, **arguments: Any) -> Any:
    return load_messages_task(function, **{"task_id": "load", **ADDRESS, "mapping": MAPPING, **arguments})


def test_a_function_is_a_source_of_rows(dev: TenantHandle) -> None:
    with DAG("load", schedule=None):

        def tickets(number: int, params: Any = None) -> Iterator[dict[str, Any]]:
            for row in rows(number):
                yield {**row, "text": params["text"]}

        made = decorated(tickets, batch_size=10)(25).operator
    assert isinstance(made, BaseLoadOperator)
    report = made.execute({"ti": Instance(), "params": {"text": "from the context"}})
    assert (report["new"], report["batches"]) == (25, 3)
    assert {each["messages"][0]["body"]["text"] for each in dev.messages("acme-dev", "tickets")} == {"from the context"}


def test_its_arguments_are_judged_when_the_dag_is_parsed() -> None:
    with DAG("load", schedule=None):
        tickets = decorated(fives, mapping={**MAPPING, "id": "x"})
        with pytest.raises(CommsMiningFailure, match=r"mapping.id: "):
            tickets()


@pytest.mark.parametrize("given", [None, {"n": 1}, "words of somebody", 3])
def test_a_function_that_gives_no_rows_is_an_error(dev: TenantHandle, given: Any) -> None:
    with DAG("load", schedule=None):
        made = decorated(lambda: given)().operator
    with pytest.raises(CommsMiningFailure, match=f"gave a {type(given).__name__}; it has to yield rows") as raised:
        made.execute({"ti": Instance()})
    assert "somebody" not in str(raised.value)


def test_airflow_finds_the_decorator(dev: TenantHandle) -> None:
    from airflow.sdk import task

    with DAG("load", schedule=None):
        load_messages: Any = task.load_messages
        made = load_messages(**ADDRESS, mapping=MAPPING)(fives)().operator
    assert made.execute({"ti": Instance()})["new"] == 5


# --- DeleteMessagesOperator


def deleting(wanted: Any, **arguments: Any) -> DeleteMessagesOperator:
    return DeleteMessagesOperator(task_id="delete", **{**ADDRESS, "ids": wanted, "max_deletes": 100, **arguments})


@pytest.fixture
def loaded(dev: TenantHandle, sent: Sent) -> TenantHandle:
    operator(rows(70)).execute({"ti": Instance()})
    sent()
    return dev


def test_it_deletes_in_calls_of_32(loaded: TenantHandle, sent: Sent) -> None:
    wanted = [f"ticket-{n}" for n in range(65)]
    result = deleting(wanted, delete_annotated=True).execute({"ti": Instance()})
    assert result == {"requested": 65, "deleted": 65, "annotated": 0, "missing": 0}
    assert [line.partition("?")[0] for line in sent()] == ["DELETE sources/acme-dev/tickets/comments"] * 3
    assert len(ids(loaded)) == 5


def test_messages_that_somebody_annotated_are_left_alone(loaded: TenantHandle, sent: Sent) -> None:
    annotate(loaded, "ticket-1")
    wanted = ["ticket-0", "ticket-1", "gone", "ticket-0"]
    result = deleting(wanted).execute({"ti": Instance()})
    assert result == {"requested": 3, "deleted": 1, "annotated": 1, "missing": 1}
    assert "ticket-1" in ids(loaded)
    assert "ticket-0" not in ids(loaded)
    result = deleting(wanted, delete_annotated="True").execute({"ti": Instance()})
    assert (result["deleted"], "ticket-1" in ids(loaded)) == (3, False)


def annotate(tenant: TenantHandle, message_id: str) -> None:
    place = tenant._messages_of("acme-dev", "tickets")
    place.store.annotate(place.tenant, place.source, message_id, annotated=True)


def test_more_ids_than_allowed_delete_nothing(loaded: TenantHandle, sent: Sent) -> None:
    with pytest.raises(CommsMiningFailure, match="max_deletes: there are 3 ids and at most 2"):
        deleting(["a", "b", "c"], max_deletes=2)
    made = deleting("{{ found }}", max_deletes="{{ most }}")
    made.ids, made.max_deletes = ["ticket-1", "ticket-2", "ticket-3"], "2"
    with pytest.raises(CommsMiningFailure, match="so none was"):
        made.execute({"ti": Instance()})
    assert sent() == []


def test_a_source_that_is_not_there_is_no_success(loaded: TenantHandle) -> None:
    with pytest.raises(CommsMiningFailure, match="404"):
        deleting(["ticket-1"], source_name="tickts").execute({"ti": Instance()})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("ticket-of-somebody", "ids: it is not a list of texts but a str"),
        ([1], r"ids\[0\]: it is a int"),
        ([""], r"ids\[0\]: it is a str"),
        (None, "ids: "),
    ],
)
def test_what_is_no_list_of_ids_fails_the_dag_without_showing_it(wanted: Any, message: str) -> None:
    with pytest.raises(CommsMiningFailure, match=message) as raised:
        deleting(wanted)
    assert "somebody" not in str(raised.value)


def test_ids_are_rendered_and_not_shown(loaded: TenantHandle) -> None:
    with DAG("delete", schedule=None, render_template_as_native_obj=True):
        made = deleting(["ticket-{{ n }}", "ticket-2"])
    context: Any = {"n": 1}
    made.render_template_fields(context)
    assert str(made.ids) == "<2 ids, not shown>"
    assert made.execute({"ti": Instance()})["deleted"] == 2
