"""SqlToCommsMiningOperator from SQLite, DuckDB and PostgreSQL into the emulator, through Airflow connections."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable
from airflow_provider_cm.transfers.sql_to_comms_mining import SqlToCommsMiningOperator
from tests.integration.transfers.conftest import AT, MAPPING, PROJECT, SOURCE, WHERE, Database, Task, message_ids, texts

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import TenantHandle
    from tests.conftest import Sent

pytestmark = pytest.mark.integration

SYNC = f"POST sources/{PROJECT}/{SOURCE}/sync"
COUNT = f"POST sources/{PROJECT}/{SOURCE}/statistics"


def fill(database: Database, count: int) -> None:
    values = ", ".join(f"({each}, '{AT}', 'Text 100% {each}', {each % 3}.5)" for each in range(count))
    database.run(
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, sent TIMESTAMP, text VARCHAR(100), score DECIMAL(5, 2))",
        f"INSERT INTO messages VALUES {values}",
    )


def load(**arguments: Any) -> dict[str, Any]:
    given = {"sql": "SELECT * FROM messages", "sql_conn_id": "crm", "mapping": MAPPING} | arguments
    return SqlToCommsMiningOperator(task_id="t", **WHERE, **given).execute({"ti": Task()})


@pytest.mark.parametrize("key", [None, "id"])
def test_every_row_is_loaded_once(tenant: TenantHandle, database: Database, sent: Sent, key: str | None) -> None:
    fill(database, 25)
    paging = {"key": key, "page_size": 4} if key else {"page_size": 4}
    mapping = MAPPING | {"properties": {"Score": "{score}"}}
    sent()
    report = load(mapping=mapping, batch_size=10, **paging)
    assert sent() == [COUNT, SYNC, SYNC, SYNC, COUNT]
    assert (report["rows"], report["new"], report["billable"], report["rejected"]) == (25, 25, 25, 0)
    assert texts(tenant) == {f"m-{each}": f"Text 100% {each}" for each in range(25)}
    (first,) = [each for each in tenant.messages(PROJECT, SOURCE) if each["id"] == "m-1"]
    assert first["user_properties"] == {"number:Score": 1.5}
    assert first["timestamp"].startswith("2026-01-05T09:12:00")
    again = load(mapping=mapping, **paging)
    assert (again["unchanged"], again["billable"]) == (25, 0)


def test_percent_signs_of_a_statement_stay_what_they_are(tenant: TenantHandle, database: Database) -> None:
    fill(database, 12)
    assert load(sql="SELECT * FROM messages WHERE text LIKE 'Text 100% %'", key="id", page_size=5)["new"] == 12


def test_parameters_are_for_the_statement(tenant: TenantHandle, database: Database) -> None:
    fill(database, 12)
    place = "%s" if database.kind == "postgres" else "?"
    load(sql=f"SELECT * FROM messages WHERE id >= {place} AND id <> {place}", parameters=[3, 5], key="id", page_size=2)
    assert sorted(message_ids(tenant)) == sorted(f"m-{each}" for each in range(3, 12) if each != 5)


@pytest.mark.parametrize("kind", ["TIMESTAMP", "VARCHAR(20)", "DECIMAL(12, 3)"])
def test_keys_of_other_types_page_too(tenant: TenantHandle, database: Database, kind: str) -> None:
    keys: list[Any] = [f"2026-01-05 09:12:{each:02}.{each}" for each in range(10, 30)]
    if kind.startswith("DECIMAL"):
        keys = [f"{each}.125" for each in range(20)]
    elif kind.startswith("VARCHAR"):
        keys = [f"Ä{each}" for each in range(20)]
    rows = ", ".join(f"('{key}', {number})" for number, key in enumerate(keys))
    database.run(f"CREATE TABLE odd (k {kind} PRIMARY KEY, id INTEGER)", f"INSERT INTO odd VALUES {rows}")
    load(sql=f"SELECT k, id, '{AT}' AS sent, 'x' AS text FROM odd", key="k", page_size=3)
    assert sorted(message_ids(tenant)) == sorted(f"m-{each}" for each in range(20))


def test_an_expression_may_be_the_key(tenant: TenantHandle, database: Database) -> None:
    fill(database, 9)
    load(sql="SELECT 100 - id AS back, id, sent, text FROM messages ORDER BY id", key="back", page_size=2)
    assert len(message_ids(tenant)) == 9


def test_no_rows_are_no_error(tenant: TenantHandle, database: Database) -> None:
    fill(database, 1)
    report = load(sql="SELECT * FROM messages WHERE id > 100", key="id")
    assert (report["rows"], report["new"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "nope"}, "nope"),
        ({"sql": "SELECT * FROM nowhere", "key": "id"}, "nowhere"),
        ({"sql": "SELECT * FROM nowhere"}, "nowhere"),
        ({"sql": "SELECT 1 AS id, 2 AS id"}, "two columns of the result have the name 'id'"),
        ({"sql": "SELECT NULL AS id", "key": "id"}, "the column id is NULL in a row"),
        ({"mapping": MAPPING | {"body": "{txt}"}}, "txt"),
    ],
)
def test_mistakes_fail_the_task_and_name_the_remedy(
    tenant: TenantHandle, database: Database, arguments: dict[str, Any], message: str
) -> None:
    fill(database, 3)
    with pytest.raises((CommsMiningFailure, CommsMiningRetryable)) as caught:
        load(**arguments)
    assert message in str(caught.value)
    assert message_ids(tenant) == []


def test_a_value_that_the_database_quotes_is_not_shown(
    tenant: TenantHandle, database: Database, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    if database.kind == "sqlite":  # it converts whatever it is given
        return
    fill(database, 3)
    with caplog.at_level(logging.DEBUG), pytest.raises(CommsMiningFailure) as caught:
        load(sql="SELECT CAST(text AS INTEGER) AS id, sent, text FROM messages")
    assert "the database reports an error" in str(caught.value)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "Text 100%" not in str(seen)
        seen = seen.__cause__
    assert "Text 100%" not in caplog.text + capsys.readouterr().out


def test_a_driver_that_buffers_is_named_and_key_recommended(
    tenant: TenantHandle, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(database, 3)
    load()
    lines = [line for line in capsys.readouterr().out.splitlines() if "key=" in line]
    expected = r"warning.*psycopg holds the whole result in memory; give key="
    if database.kind != "postgres":
        expected = r"info.*some drivers hold the whole result in memory; key= reads page by page"
    assert [bool(re.search(expected, line)) for line in lines] == [True]
    load(key="id")
    assert "key=" not in capsys.readouterr().out


def test_a_database_that_is_not_there_is_worth_a_retry(tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", "postgresql://airflow:a-password@127.0.0.1:1/none")
    with pytest.raises(CommsMiningRetryable, match="the database reports an error") as caught:
        load()
    assert "a-password" not in str(caught.value)


def test_a_connection_to_something_else_is_refused(tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "http", "host": "example.org"}))
    with pytest.raises(CommsMiningFailure, match="'crm' is not a connection to a SQL database: its hook is a HttpHook"):
        load()


def test_no_transaction_stays_open_while_messages_are_sent(tenant: TenantHandle, database: Database) -> None:
    if database.kind != "postgres":
        return
    fill(database, 10)
    task = SqlToCommsMiningOperator(
        task_id="t", **WHERE, sql="SELECT * FROM messages", sql_conn_id="crm", mapping=MAPPING, key="id", page_size=2
    )
    rows: Any = task.rows({})
    next(rows)
    connection = database.connect()
    connection.autocommit = True  # in a transaction, what the server tells of itself would not change
    cursor = connection.cursor()
    me = connection.info.backend_pid
    cursor.execute("SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
    assert cursor.fetchall() == []
    rows.close()
    until = time.monotonic() + 10
    left = None
    while left != [] and time.monotonic() < until:  # the server takes a moment to see it
        cursor.execute("SELECT query FROM pg_stat_activity WHERE query LIKE %s AND pid <> %s", ["%page_of_rows%", me])
        left = cursor.fetchall()
    assert left == []
    connection.close()


def test_lineage_names_the_tables(tenant: TenantHandle, database: Database) -> None:
    fill(database, 3)
    task = SqlToCommsMiningOperator(task_id="t", **WHERE, sql="SELECT * FROM messages", sql_conn_id="crm")
    expected = ["postgres.public.messages"] if database.kind == "postgres" else []
    assert [each.name for each in task.lineage_inputs()] == expected
