"""What all loads share, seen through LoadMessagesOperator: arguments, what a try leaves, what nobody gets to see."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.operators.messages import LoadMessagesOperator

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = {"id": "ticket-{n}", "timestamp": "{at}", "body": "{text}"}
ROWS = [{"n": n, "at": "2026-01-05T09:00:00Z", "text": f"the text of number {n}"} for n in range(3)]


def operator(**arguments: Any) -> LoadMessagesOperator:
    defaults: dict[str, Any] = {"project": "acme-dev", "source_name": "tickets", "messages": ROWS, "mapping": MAPPING}
    return LoadMessagesOperator(task_id="load", **{**defaults, **arguments})


# --- what is judged when the DAG is parsed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"project": "a b"}, "project: "),
        ({"source_name": ""}, "source_name: "),
        ({"mapping": {"id": "fixed", "timestamp": "{at}", "body": "{text}"}}, "mapping.id: "),
        ({"mapping": {**MAPPING, "subjct": "{x}"}}, "mapping: "),
        ({"mapping": None}, "mapping: "),
        ({"mapping": "- a\n- b"}, "mapping: "),
        ({"mapping": "id: 'a-{x}'\nid: 'b-{x}'\n"}, "mapping: line 2: the key 'id' is given twice"),
        ({"mapping": "id: [\n"}, "mapping: line "),
        ({"batch_size": 0}, "batch_size: "),
        ({"batch_size": 16385}, "batch_size: "),
        ({"max_batch_bytes": "many"}, "max_batch_bytes: "),
        ({"concurrency": 9}, "concurrency: "),
        ({"on_duplicate": "first"}, "on_duplicate: "),
        ({"max_rejected": -1}, "max_rejected: "),
        ({"max_rejected": 1.5}, "max_rejected: "),
        ({"max_rejected": "some"}, "max_rejected: "),
        ({"max_rejected": True}, "max_rejected: "),
        ({"rejects_path": " "}, "rejects_path: "),
        ({"reject_rows": "maybe"}, "reject_rows: "),
        ({"max_billable": -5}, "max_billable: "),
        ({"max_billable": None}, "max_billable: "),
        ({"dry_run": "no"}, "dry_run: "),
        ({"verify": None}, "verify: "),
        ({"log_ids": 2}, "log_ids: "),
        ({"partition_key": ""}, "partition_key: "),
        ({"comms_mining_conn_id": ""}, "comms_mining_conn_id: "),
        ({"messages": "a text of somebody"}, "messages: it is not a list of objects but a str"),
        ({"messages": {"n": 1}}, "messages: it is not a list of objects but a dict"),
        ({"messages": [{"n": 1}, "secret words"]}, "messages[1]: it is a str"),
        ({"messages": None}, "messages: "),
    ],
)
def test_a_value_that_can_never_be_right_fails_the_dag(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CommsMiningFailure) as raised:
        operator(**arguments)
    assert message in str(raised.value)
    assert "somebody" not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": "{{ params.size }}"},
        {"mapping": {**MAPPING, "subject": "{{ params.subject }}"}},
        {"mapping": "{{ params.mapping }}"},
        {"messages": []},
        {"batch_size": "100", "concurrency": "8", "max_rejected": "0.01", "dry_run": "True", "max_billable": "0"},
    ],
)
def test_what_may_be_right_is_let_through(arguments: dict[str, Any]) -> None:
    operator(**arguments)


def test_it_can_be_copied() -> None:
    made = operator()
    made.on_kill()
    assert copy.deepcopy(operator()).mapping == MAPPING
    assert made._stopping().is_set()


# --- template files


def in_dag(folder: Path, **arguments: Any) -> LoadMessagesOperator:
    with DAG("load", schedule=None, template_searchpath=[str(folder)]):
        return operator(**arguments)


def test_a_mapping_can_be_a_file_and_is_judged_when_the_dag_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("id: 'ticket-{n}'\ntimestamp: '{at}'\nbody: '{text}'\n")
    (tmp_path / "good.json").write_text(json.dumps(MAPPING))
    (tmp_path / "bad.yaml").write_text("id: ticket\ntimestamp: '{at}'\nbody: '{text}'\n")
    for name in ("good.yaml", "good.json"):
        made = in_dag(tmp_path, mapping=name)
        made.resolve_template_files()
        assert made.argument("mapping").columns == ("n", "at", "text")
    with pytest.raises(CommsMiningFailure, match=r"mapping.id: it names no column"):
        in_dag(tmp_path, mapping="bad.yaml").resolve_template_files()
    with pytest.raises(CommsMiningFailure, match=r"mapping: there is no file 'none.yaml' in the DAG's folder"):
        in_dag(tmp_path, mapping="none.yaml").resolve_template_files()


def test_a_mapping_file_is_found_by_a_mapped_task_as_well(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("id: 'ticket-{n}'\ntimestamp: '{at}'\nbody: '{{ params.column }}'\n")
    made = in_dag(tmp_path, mapping="good.yaml")
    made.render_template_fields({"params": {"column": "{text}"}})
    assert made.argument("mapping").columns == ("n", "at", "text")


def test_no_other_argument_is_taken_for_a_file(tmp_path: Path) -> None:
    made = in_dag(tmp_path, rejects_path="{{ params.folder }}/rejected.json")
    made.resolve_template_files()
    made.render_template_fields({"params": {"folder": "s3://bucket"}})
    assert made.rejects_path == "s3://bucket/rejected.json"


# --- nothing of a message is shown


def test_messages_are_neither_rendered_nor_shown(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "text": "see {{ params.secret }} there"}]
    made = in_dag(tmp_path, messages=rows)
    made.render_template_fields({"params": {"secret": "leaked"}})
    assert list(made.rows({})) == rows
    assert str(made.messages) == repr(made.messages) == "<1 messages, not shown>"


def test_what_another_task_gives_is_resolved_and_not_shown(tmp_path: Path) -> None:
    with DAG("load", schedule=None):
        before = LoadMessagesOperator(task_id="before", project="acme-dev", source_name="tickets", messages=[])
        made = operator(messages=before.output)
    assert made.upstream_task_ids == {"before"}
    made.messages = ROWS  # as Airflow does with what it has resolved
    assert list(made.rows({})) == ROWS
    assert str(made.messages) == "<3 messages, not shown>"


# --- files of rejected rows


@pytest.mark.parametrize(
    ("path", "map_index", "expected"),
    [
        ("s3://bucket/a.b/rejected.jsonl", -1, "s3://bucket/a.b/rejected.jsonl"),
        ("s3://bucket/a.b/rejected.jsonl", 2, "s3://bucket/a.b/rejected-2.jsonl"),
        ("rejected.jsonl.gz", 0, "rejected-0.jsonl.gz"),
        ("rejected", 11, "rejected-11"),
    ],
)
def test_each_map_index_has_its_own_file_of_rejected_rows(path: str, map_index: int, expected: str) -> None:
    class Instance:
        pass

    instance = Instance()
    instance.map_index = map_index  # type: ignore[attr-defined]
    assert operator(rejects_path=path)._rejects_path({"ti": instance}) == expected


def test_a_path_that_names_the_map_index_is_left_alone() -> None:
    class Instance:
        map_index = 3

    made = operator(rejects_path="rejected-{{ ti.map_index }}.jsonl")
    made.rejects_path = "rejected-3.jsonl"
    assert made._rejects_path({"ti": Instance()}) == "rejected-3.jsonl"
