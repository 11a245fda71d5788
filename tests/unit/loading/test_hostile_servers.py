"""Servers that answer wrongly: a load is never green with rows missing, and its requests stay few."""

from __future__ import annotations

import gzip
import io
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import ConfigurationError
from airflow_provider_cm.loading import LoadError, load
from airflow_provider_cm.loading.readers import ReadError, read_rows
from airflow_provider_cm.loading.readers.sql import Query
from tests.unit.loading.support import MAPPING, PLACE, Store, api_of, ok, row, rows

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serve
    from tests.unit.api.server import Answer, Request


def test_unchanged_is_not_believed_of_a_source_that_holds_nothing(serve: Serve) -> None:
    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": 0})
        return ok(new=0, updated=0, unchanged=len(request.json()["comments"]))

    with pytest.raises(LoadError, match=r"it has 0 after .* instead of 10 or more"):
        load(rows(10), api_of(serve(handler=handler)), mapping=MAPPING, **PLACE)


def test_ids_that_the_server_takes_for_one_are_missing_rows(serve: Serve) -> None:
    class Lower(Store):
        def put(self, comments: list[dict[str, Any]]) -> dict[str, int]:
            return super().put(
                list({each["id"].lower(): {**each, "id": each["id"].lower()} for each in comments}.values())
            )

    store = Lower()
    given = [{**row(1), "n": name} for name in ("A", "a", "b")]
    with pytest.raises(LoadError, match=r"it has 2 after .* instead of 3 or more"):
        load(given, api_of(serve(handler=store)), mapping=MAPPING, **PLACE)


def test_counts_that_do_not_add_up_give_the_upper_bound_of_the_bill(serve: Serve) -> None:
    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": 5})
        return ok(new=0, updated=5, unchanged=0, updated_properties_only=0, updated_text_changed=0)

    report = load(rows(5), api_of(serve(handler=handler)), mapping=MAPPING, **PLACE)
    assert (report.billable, report.billable_is_exact, report.updated_text_changed) == (5, False, None)


def test_a_message_that_is_refused_as_too_large_does_not_make_all_batches_small(serve: Serve) -> None:
    store = Store(lambda comment: comment["id"] == "t-13", status=413)
    report = load(rows(5000), api_of(serve(handler=store)), mapping=MAPPING, max_rejected=1, **PLACE)
    assert (report.sent, report.rejected) == (4999, 1)
    assert len(store.batches) <= 5000 / 250 + 18


def test_a_fraction_of_rows_is_exact(serve: Serve) -> None:
    given = [row(number, "x" * 70_000 if number <= 29 else "Hello") for number in range(1, 101)]
    assert load(given, api_of(serve(handler=Store())), mapping=MAPPING, max_rejected=0.29, **PLACE).rejected == 29


def test_a_batch_of_emails_has_a_limit_of_its_own(serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match="batch_size: 5000 is too large for raw emails; use 1 to 4096"):
        load([], api_of(serve(handler=Store())), raw_emails=True, batch_size=5000, **PLACE)


@pytest.mark.parametrize(
    ("cut", "problem"), [(0, "it has no bytes"), (1, "not a gzip file"), (20, "damaged or ends too early")]
)
def test_a_gzip_file_that_is_cut_off_is_an_error(cut: int, problem: str) -> None:
    content = gzip.compress(b'{"id": "1"}\n' * 100)[:cut]
    with pytest.raises(ReadError, match=problem):
        list(read_rows(io.BytesIO(content), "a.jsonl.gz", "jsonl"))


@dataclass(frozen=True)
class Rounded:
    """A key that its driver rounds up when it is sent back to the database."""

    value: int


def test_a_key_that_the_driver_changes_loses_no_row_silently() -> None:
    sqlite3.register_converter("rounded", lambda value: Rounded(int(value)))
    sqlite3.register_adapter(Rounded, lambda key: key.value + 1)
    connection = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)
    connection.execute("CREATE TABLE messages (id rounded)")
    connection.executemany("INSERT INTO messages VALUES (?)", [(number,) for number in range(10)])
    query = Query(connection, "SELECT id FROM messages", placeholder="?", page_size=4)
    with pytest.raises(ReadError, match="paging lost a row"):
        list(query.pages("id"))
    connection.close()


def test_a_server_that_refuses_all_from_some_moment_on_is_not_asked_twice_for_each_row(serve: Serve) -> None:
    store = Store()
    store._refuses = lambda comment: len(store.comments) >= 1000
    with pytest.raises(LoadError, match=r"refused 1,000 messages in a row.* a quota of the tenant is full") as caught:
        load(rows(20_000), api_of(serve(handler=store)), mapping=MAPPING, max_rejected=20_000, **PLACE)
    assert len(store.batches) < 2500
    assert caught.value.report is not None
    assert caught.value.report.sent == len(store.comments) == 1000
