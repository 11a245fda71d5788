"""What the transfers say of wrong arguments: when the DAG is parsed where the value is a literal."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.transfers.files_to_comms_mining import FilesToCommsMiningOperator
from airflow_provider_cm.transfers.sql_to_comms_mining import SqlToCommsMiningOperator

MAPPING = {"id": "m-{id}", "timestamp": "{at}", "body": "{text}"}


def files(**arguments: Any) -> FilesToCommsMiningOperator:
    given = {"path": "a.jsonl"} | arguments
    return FilesToCommsMiningOperator(task_id="t", project="acme-dev", source_name="inbox", **given)


def sql(**arguments: Any) -> SqlToCommsMiningOperator:
    given = {"sql": "SELECT 1", "sql_conn_id": "db", "mapping": MAPPING} | arguments
    return SqlToCommsMiningOperator(task_id="t", project="acme-dev", source_name="inbox", **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": ""}, "path: it is empty"),
        ({"path": []}, "path: the list is empty"),
        ({"path": ["a.jsonl", None]}, "path: it was given, but there is no value"),
        ({"path": 3}, "path: 3 is not text"),
        ({"format": "xml"}, "format: 'xml' is not one of jsonl, csv, parquet, eml"),
        ({"if_empty": "ignore"}, "if_empty: 'ignore' is not one of fail, skip"),
        ({"delimiter": ";;"}, "delimiter: ';;' is not one character that separates columns"),
        ({"delimiter": ""}, "delimiter: '' is not one character"),
        ({"encoding": "utf-9"}, "encoding: 'utf-9' is not an encoding that Python knows"),
        ({"format": "jsonl", "delimiter": ";"}, "delimiter: it is for CSV, and the format is jsonl"),
        ({"format": "parquet", "encoding": "cp1252"}, "encoding: it is for CSV, and the format is parquet"),
        ({"format": "csv", "transform_tag": "a.0.B"}, "transform_tag: it is for emails, and the format is csv"),
        ({"format": "eml", "mapping": MAPPING}, "mapping: the server makes emails into messages; leave it out"),
        ({"batch_size": 0}, "batch_size: 0 is not a whole number of 1 or more"),
        ({"mapping": {"id": "fixed", "timestamp": "{at}", "body": "{text}"}}, "id"),
    ],
)
def test_wrong_arguments_for_files_are_import_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CommsMiningFailure) as caught:
        files(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sql": " "}, "sql: it is empty"),
        ({"sql": ["SELECT 1"]}, "sql: ['SELECT 1'] is not text"),
        ({"sql_conn_id": None}, "sql_conn_id: it was given, but there is no value"),
        ({"parameters": "2026"}, "parameters: it is neither a list nor an object"),
        ({"parameters": {"a": 1}, "key": "id"}, "parameters: an object does not go with key="),
        ({"key": "m.id"}, "key: 'm.id' is not the name of a column"),
        ({"page_size": 0}, "page_size: 0 is not a whole number of 1 or more"),
        ({"hook_params": ["a"]}, "hook_params: it is not an object"),
    ],
)
def test_wrong_arguments_for_sql_are_import_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CommsMiningFailure) as caught:
        sql(**arguments)
    assert message in str(caught.value)


def test_templates_are_judged_when_the_task_runs() -> None:
    files(path="{{ params.path }}", format="{{ params.format }}", delimiter="{{ x }}", encoding="{{ y }}")
    sql(sql="{{ a }}", key="{{ b }}", page_size="{{ c }}", parameters=["{{ ds }}"])


@pytest.mark.parametrize(("operator", "own"), [(files, "path"), (sql, "sql")])
def test_every_argument_is_a_template_field(operator: Any, own: str) -> None:
    task = operator()
    assert own in task.template_fields
    assert set(task.parsers) == set(task.template_fields)


def test_a_sql_file_is_read_and_rendered(tmp_path: Any) -> None:
    (tmp_path / "messages.sql").write_text("SELECT * FROM messages WHERE day = '{{ day }}'")
    with DAG("d", template_searchpath=[str(tmp_path)]):
        task = sql(sql="messages.sql")
    task.resolve_template_files()
    context: Any = {"day": "2026-01-05"}
    task.render_template_fields(context)
    assert task.sql == "SELECT * FROM messages WHERE day = '2026-01-05'"
    assert task.template_fields_renderers["sql"] == "sql"
