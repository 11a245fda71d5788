"""Paging by key over real databases in this process: SQLite and DuckDB. PostgreSQL: tests/integration/transfers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.loading.readers.errors import ReadError
from airflow_provider_cm.loading.readers.sql import Query, buffering_driver
from airflow_provider_cm.loading.readers.sql_key import check_key

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["sqlite", "duckdb"])
def database(request: pytest.FixtureRequest) -> Iterator[Any]:
    opened: Any = sqlite3.connect(":memory:") if request.param == "sqlite" else duckdb.connect(":memory:")
    with closing(opened):
        yield opened


def table(database: Any, keys: list[Any], kind: str = "INTEGER") -> None:
    database.execute(f"CREATE TABLE messages (id {kind}, body VARCHAR)")
    for key in keys:
        database.execute("INSERT INTO messages VALUES (?, ?)", [key, f"text {key}"])


def query(database: Any, sql: str = "SELECT * FROM messages", **arguments: Any) -> Query:
    given_or_not: dict[str, Any] = {"placeholder": "?", "page_size": 3} | arguments
    return Query(database, sql, **given_or_not)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7, 20])
def test_pages_give_every_row_in_the_order_of_the_key(database: Any, count: int) -> None:
    table(database, [(each * 7) % 23 for each in range(count)])
    rows = list(query(database).pages("id"))
    assert [row["id"] for row in rows] == sorted((each * 7) % 23 for each in range(count))
    assert all(row == {"id": row["id"], "body": f"text {row['id']}"} for row in rows)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4), max_size=25))
def test_pages_give_every_row_whatever_text_its_key_is(keys: set[str]) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        table(database, sorted(keys), "TEXT")
        assert {row["id"] for row in query(database).pages("id")} == keys


def test_one_page_is_fetched_at_a_time(database: Any) -> None:
    table(database, list(range(10)))
    rows = query(database).pages("id")
    assert [next(rows)["id"] for _ in range(3)] == [0, 1, 2]
    database.execute("INSERT INTO messages VALUES (100, 'late')")
    assert [row["id"] for row in rows] == [3, 4, 5, 6, 7, 8, 9, 100]


def test_rows_that_change_between_two_pages_lose_none_of_the_others(database: Any) -> None:
    table(database, [10, 20, 30, 40, 50, 60, 70, 80])
    rows = query(database).pages("id")
    assert [next(rows)["id"] for _ in range(3)] == [10, 20, 30]
    database.execute("DELETE FROM messages WHERE id IN (30, 40)")
    database.execute("INSERT INTO messages VALUES (35, 'new')")
    assert [row["id"] for row in rows] == [35, 50, 60, 70, 80]


def test_the_end_may_be_deleted_between_two_pages(database: Any) -> None:
    table(database, [1, 2, 3, 4])
    rows = query(database).pages("id")
    assert [next(rows)["id"] for _ in range(3)] == [1, 2, 3]
    database.execute("DELETE FROM messages WHERE id = 4")
    assert list(rows) == []


@pytest.mark.parametrize("keys", [[1, 1, 2], [1, 2, 3, 3, 4], [1, 2, 3, 3], [1, 2, 3, 4, 5, 6, 6]])
def test_a_key_that_is_not_unique_loses_no_row_silently(database: Any, keys: list[int]) -> None:
    table(database, keys)
    with pytest.raises(ReadError, match=r"two rows have the same value in the column id.*such as the primary key"):
        list(query(database).pages("id"))


@pytest.mark.parametrize("keys", [["a", "b", "c", "C"], ["a", "b", "C", "c"]])
def test_two_keys_that_only_the_database_takes_for_equal_lose_no_row_silently(keys: list[str]) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        table(database, keys, "TEXT COLLATE NOCASE")
        with pytest.raises(ReadError, match="two rows have the same value"):
            list(query(database).pages("id"))


@pytest.mark.parametrize("keys", [[None, 1, 2, 3, 4, 5], [1, None]])
def test_a_key_that_is_null_is_refused_before_a_row_is_given(database: Any, keys: list[Any]) -> None:
    table(database, keys)
    with pytest.raises(ReadError, match=r"the column id is NULL in a row.*give another key"):
        next(query(database).pages("id"))


def test_a_query_may_have_parameters_a_with_a_comment_and_a_semicolon(database: Any) -> None:
    table(database, list(range(10)))
    sql = "WITH chosen AS (SELECT * FROM messages WHERE id <> ? AND body LIKE 'text%') SELECT * FROM chosen -- all\n;"
    assert [row["id"] for row in query(database, sql, parameters=[4]).pages("id")] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    sql = "SELECT * FROM messages -- all of them"
    assert len(list(query(database, sql).pages("id"))) == 10


def test_a_key_may_stand_in_quotes_and_in_other_letters(database: Any) -> None:
    table(database, list(range(5)))
    assert len(list(query(database).pages("ID"))) == 5
    assert len(list(query(database, 'SELECT id AS "The Id", body FROM messages').pages('"The Id"'))) == 5


def test_a_column_that_is_not_there_lists_those_that_are(database: Any) -> None:
    # SQLite takes a quoted name that is no column's for a text.
    table(database, [1])
    with pytest.raises((ConfigurationError, ReadError), match=r"no column|reports an error.*nope"):
        list(query(database).pages('"nope"'))


def test_without_a_key_the_statement_runs_once_as_it_is(database: Any) -> None:
    table(database, [3, 1, 2, 1])
    sql = "SELECT id, body FROM messages WHERE body LIKE 'text%' ORDER BY id DESC"
    assert [row["id"] for row in query(database, sql).rows()] == [3, 2, 1, 1]
    assert [row["id"] for row in query(database, sql.replace("LIKE 'text%'", "= ?"), parameters=["text 2"]).rows()] == [
        2
    ]


def test_two_columns_of_one_name_are_refused(database: Any) -> None:
    table(database, [1])
    with pytest.raises(ConfigurationError, match=r"two columns of the result have the name 'id'.*AS"):
        list(query(database, "SELECT m.id, n.id FROM messages m, messages n").rows())


def test_a_statement_that_gives_no_rows_is_refused() -> None:
    with closing(sqlite3.connect(":memory:")) as database, pytest.raises(ConfigurationError, match="give a SELECT"):
        list(query(database, "CREATE TABLE other (id INTEGER)").rows())


def test_an_error_of_the_database_is_shown_but_never_a_value(database: Any) -> None:
    table(database, ["the secret text"], "VARCHAR")
    with pytest.raises(ReadError, match=r"the database reports an error \(.*nowhere"):
        list(query(database, "SELECT * FROM nowhere").pages("id"))
    with closing(duckdb.connect(":memory:")) as other:
        table(other, ["the secret text"], "VARCHAR")
        with pytest.raises(ReadError, match=r"the database reports an error \(ConversionException\)") as caught:
            list(query(other, "SELECT CAST(id AS INTEGER) AS id FROM messages").rows())
    assert not caught.value.transient
    assert caught.value.__suppress_context__


def test_names_of_parameters_stay_the_drivers() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        table(database, [1, 2])
        rows = query(database, "SELECT * FROM messages WHERE id = :id", parameters={"id": 2}).rows()
        assert [row["id"] for row in rows] == [2]


@pytest.mark.parametrize(
    ("dialect", "end"),
    [
        ("oracle", "ORDER BY id FETCH FIRST 4 ROWS ONLY"),
        ("mssql", "ORDER BY id OFFSET 0 ROWS FETCH NEXT 4 ROWS ONLY"),
        ("mysql", "ORDER BY id LIMIT 4"),
    ],
)
def test_databases_without_limit_get_their_own_words(dialect: str, end: str) -> None:
    statements: list[str] = []

    class Cursor:
        description = (("id",),)

        def execute(self, sql: str, *_parameters: Any) -> None:
            statements.append(sql)

        def fetchall(self) -> list[Any]:
            return []

        def close(self) -> None:
            pass

    class Connection:
        cursor = Cursor

    assert list(query(Connection(), "SELECT 1 AS id;", dialect=dialect).pages("id")) == []
    assert statements[1] == f"SELECT * FROM (SELECT 1 AS id\n) page_of_rows  {end}"


@pytest.mark.parametrize("key", ["", "a b", "t.id", "id; DROP TABLE messages", "id, other", '"a"b"', None, 3])
def test_a_key_that_is_no_column_is_refused(key: object) -> None:
    with pytest.raises(ConfigurationError, match=r"key: .* is not the name of a column"):
        check_key(key)


def test_drivers_that_buffer_whole_results_are_known() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        assert buffering_driver(database) is None
