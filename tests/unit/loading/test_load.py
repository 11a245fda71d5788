"""load(): requests, refusals, money, rejects, checkpoints; against a real server over loopback."""

from __future__ import annotations

import json
import math
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import ConfigurationError
from airflow_provider_cm.loading import LoadError, load
from tests.unit.api.server import Answer
from tests.unit.api.support import Clock
from tests.unit.loading.support import MAPPING, PLACE, Memory, Store, api_of, ok, refusal, row, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_cm.api import MessagesApi
    from tests.unit.api.conftest import Serve
    from tests.unit.api.server import Request

ID = "t-13"


def is_bad(comment: dict[str, Any]) -> bool:
    return bool(comment["messages"][0]["body"]["text"] == "bad")


def with_bad(count: int, *bad: int) -> list[dict[str, Any]]:
    return [row(number, "bad" if number in bad else "Hello") for number in range(1, count + 1)]


def listed(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# How many requests


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(("count", "batch_size"), [(0, 500), (1, 500), (500, 500), (501, 500), (1234, 100)])
def test_rows_cost_as_many_syncs_as_batches_and_two_counts(
    serve: Serve, count: int, batch_size: int, concurrency: int
) -> None:
    store = Store()
    report = load(
        iter(rows(count)), api_of(serve(handler=store)), mapping=MAPPING, batch_size=batch_size,
        concurrency=concurrency, **PLACE,
    )  # fmt: skip
    assert len(store.batches) == math.ceil(count / batch_size)
    assert store.counts == (2 if count else 1)
    assert (report.rows, report.new, report.sent, report.billable) == (count, count, count, count)
    assert report.billable_is_exact
    assert len(store.comments) == count


def test_batches_end_at_so_many_bytes(serve: Serve) -> None:
    store = Store()
    load(rows(10), api_of(serve(handler=store)), mapping=MAPPING, max_batch_bytes=250, **PLACE)
    assert [len(batch) for batch in store.batches] == [2] * 5


@pytest.mark.parametrize("bad", [1, 2, 250, 251, 499, 500])
@pytest.mark.parametrize("server", ["whole", "keeps good", "silent"])
def test_one_bad_row_in_a_batch_of_500_costs_at_most_18_more(
    serve: Serve, tmp_path: Path, bad: int, server: str
) -> None:
    store = Store(is_bad, keeps_good=server == "keeps good", silent=server == "silent")
    path = tmp_path / "rejects.jsonl"
    report = load(
        with_bad(500, bad), api_of(serve(handler=store)), mapping=MAPPING, max_rejected=1, rejects_path=str(path),
        **PLACE,
    )  # fmt: skip
    assert len(store.batches) <= 1 + 18
    assert len(store.comments) == 499
    assert [(each["row_number"], each["stage"]) for each in listed(path)] == [(bad, "api")]
    assert (report.sent, report.rejected, report.new + report.unchanged) == (499, 1, 499)
    if server == "keeps good":
        # The refused request stored them, so that what it created is counted as unchanged afterwards.
        assert report.replayed
        assert not report.billable_is_exact
    else:
        assert (report.new, report.billable, report.billable_is_exact) == (499, 499, True)
    assert report.billable <= store.billed == 499


@pytest.mark.parametrize("status", [400, 413, 422])
def test_all_bad_rows_are_found_and_all_others_loaded(serve: Serve, tmp_path: Path, status: int) -> None:
    store, bad = Store(is_bad, status=status), {3, 17, 18, 90, 100}
    path = tmp_path / "new folder" / "rejects.jsonl"
    with pytest.raises(LoadError) as caught:
        load(
            with_bad(100, *bad), api_of(serve(handler=store)), mapping=MAPPING, batch_size=40, rejects_path=str(path),
            reject_rows=True, **PLACE,
        )  # fmt: skip
    assert {each["row_number"] for each in listed(path)} == bad
    assert all(each["row"]["text"] == "bad" for each in listed(path))
    assert len(store.comments) == 95
    told = str(caught.value)
    assert "5 of 100 rows were rejected, and max_rejected is 0" in told
    assert str(path) in told
    assert "row 3: one of the comments is not valid" in told
    assert caught.value.report is not None
    assert (caught.value.report.sent, caught.value.report.rejected) == (95, 5)


@pytest.mark.parametrize(("most", "fails"), [(5, False), (4, True), (0.05, False), (0.04, True), ("0.05", False)])
def test_so_many_rows_may_be_left_out(serve: Serve, most: Any, fails: bool) -> None:
    given = [row(number, "x" * 70_000 if number <= 5 else "Hello") for number in range(1, 101)]
    api = api_of(serve(handler=Store()))
    if fails:
        with pytest.raises(LoadError, match="5 of 100 rows were rejected"):
            load(given, api, mapping=MAPPING, max_rejected=most, **PLACE)
    else:
        assert load(given, api, mapping=MAPPING, max_rejected=most, **PLACE).rejected == 5


def test_a_wrong_mapping_is_given_up_after_20_single_messages(serve: Serve) -> None:
    store = Store(lambda comment: True, message="timestamp is not valid")
    with pytest.raises(LoadError, match=r"each of the first messages .* Its message: timestamp is not valid"):
        load(rows(5000), api_of(serve(handler=store)), mapping=MAPPING, max_rejected=5000, **PLACE)
    assert sum(len(batch) == 1 for batch in store.batches) == 20


def test_rows_of_which_none_can_be_mapped_are_not_read_to_the_end(serve: Serve) -> None:
    given = ({"other": number} for number in range(10_000))
    with pytest.raises(
        LoadError, match=r"none of the first 1,000 rows .* column 'n': it is not there; the columns are"
    ):
        load(given, api_of(serve(handler=Store())), mapping=MAPPING, max_rejected=10_000, **PLACE)
    assert next(given) == {"other": 1000}


@pytest.mark.parametrize("status", [401, 403, 404, 409, 405])
def test_what_is_no_matter_of_single_rows_ends_the_load_at_once(serve: Serve, status: int) -> None:
    asked = []

    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": 0})
        asked.append(request)
        return refusal(status, "quotas exceeded")

    with pytest.raises(LoadError, match="quotas exceeded") as caught:
        load(rows(100), api_of(serve(handler=handler)), mapping=MAPPING, batch_size=10, **PLACE)
    assert len(asked) == 1
    assert caught.value.status == status
    assert not caught.value.transient
    assert caught.value.report is not None
    assert caught.value.report.sent == 0


def test_a_batch_that_is_not_answered_is_sent_again_and_then_the_load_ends(serve: Serve) -> None:
    asked: list[bytes] = []

    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": 0})
        asked.append(request.body)
        return refusal(503, "later")

    with pytest.raises(LoadError, match=r"not known whether .* sending the same again is safe") as caught:
        load(rows(100), api_of(serve(handler=handler)), mapping=MAPPING, batch_size=10, **PLACE)
    assert len(asked) == 5
    assert len(set(asked)) == 1
    assert caught.value.transient
    assert caught.value.report is not None
    assert not caught.value.report.billable_is_exact


def test_a_request_that_is_too_large_makes_those_that_follow_smaller(serve: Serve) -> None:
    store = Store()

    def handler(request: Request) -> Answer:
        if not request.target.endswith("/statistics") and len(request.json()["comments"]) > 10:
            return Answer(413, b"<html>Request Entity Too Large</html>")
        return store(request)

    report = load(rows(200), api_of(serve(handler=handler)), mapping=MAPPING, batch_size=40, **PLACE)
    assert len(store.comments) == 200
    # Two of 40 were made before the answer to the first; then 10 at a time.
    assert report.splits <= 3 + 3
    assert {len(batch) for batch in store.batches[-10:-1]} <= {9, 10}  # half of the bytes, the envelope's included


def test_a_timeout_makes_batches_smaller(serve: Serve) -> None:
    store, asked = Store(), []

    def handler(request: Request) -> Answer:
        if not request.target.endswith("/statistics"):
            asked.append(len(request.json()["comments"]))
            if len(asked) == 1:
                store(request)
                return Answer(headers={"X": "y"}, then_stall=True, stated_length=1000)
        return store(request)

    report = load(rows(100), api_of(serve(handler=handler), load_timeout=0.3), mapping=MAPPING, batch_size=20, **PLACE)
    assert asked[:2] == [20, 20]
    assert asked[-1] == 10
    assert report.replayed
    assert len(store.comments) == store.billed == 100


def test_one_that_asks_to_wait_is_obeyed_by_all_threads(serve: Serve) -> None:
    clock, store, refused = Clock(), Store(), threading.Event()

    def handler(request: Request) -> Answer:
        if not request.target.endswith("/statistics") and not refused.is_set():
            refused.set()
            return Answer(429, b'{"status": "error", "message": "slow"}', headers={"Retry-After": "30"})
        return store(request)

    api = api_of(serve(handler=handler), retry=clock.policy())
    report = load(rows(100), api, mapping=MAPPING, batch_size=10, concurrency=4, **PLACE)
    assert clock.slept[0] == 30
    assert (report.new, report.replayed) == (100, False)


# Duplicates


def test_two_rows_with_one_id_end_the_load_with_both_numbers(serve: Serve) -> None:
    store = Store()
    given = [*rows(50), row(7, "again"), *rows(3)]
    with pytest.raises(LoadError, match="rows 7 and 51 have the same id; make the ids unique") as caught:
        load(given, api_of(serve(handler=store)), mapping=MAPPING, batch_size=10, **PLACE)
    assert "t-7" not in str(caught.value)
    assert "50 messages were loaded before" in str(caught.value)
    with pytest.raises(LoadError, match=r"rows 7 and 51 have the same id \(id 't-7'\)"):
        load(given, api_of(serve(handler=store)), mapping=MAPPING, log_ids=True, **PLACE)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 100])
def test_the_last_row_of_an_id_wins(serve: Serve, batch_size: int, concurrency: int) -> None:
    store = Store()
    given = [*rows(30), *(row(number, "again") for number in range(1, 31, 3)), row(1, "at last")]
    report = load(
        given, api_of(serve(handler=store)), mapping=MAPPING, batch_size=batch_size, concurrency=concurrency,
        on_duplicate="last", **PLACE,
    )  # fmt: skip
    assert report.duplicates == 11
    texts = {name: comment["messages"][0]["body"]["text"] for name, comment in store.comments.items()}
    wanted = {f"t-{each['n']}": each["text"] for each in given}
    assert texts == wanted


# Money


def test_it_stops_before_the_batch_that_could_cost_too_much(serve: Serve) -> None:
    store = Store()
    api = api_of(serve(handler=store))
    with pytest.raises(LoadError, match="max_billable: up to 20 messages are billable so far, and the next 10"):
        load(rows(100), api, mapping=MAPPING, batch_size=10, max_billable=25, concurrency=3, **PLACE)
    assert len(store.comments) == 20
    # What is there already costs nothing, so the rest has room.
    report = load(rows(30), api, mapping=MAPPING, batch_size=10, max_billable=20, **PLACE)
    assert (report.new, report.unchanged, report.billable) == (10, 20, 10)


def test_a_dry_run_sends_nothing_and_tells_the_most_it_could_cost(serve: Serve, tmp_path: Path) -> None:
    server, path = serve(), tmp_path / "rejects.jsonl"
    given = [*rows(100), row(101, None)]  # type: ignore[arg-type]
    report = load(given, api_of(server), mapping=MAPPING, dry_run=True, max_rejected=1, rejects_path=str(path), **PLACE)
    assert server.requests == []
    assert (report.rows, report.rejected, report.billable, report.dry_run) == (101, 1, 100, True)
    assert (report.ai_units, report.platform_units, report.billable_is_exact) == (100.0, 20.0, False)
    assert report.bytes > 5000
    assert listed(path)[0]["reason"] == "column 'text': it has no value; every message needs its body"
    assert "at most 100 AI units or 20 Platform units" in str(report)


def test_a_server_that_does_not_split_updates_gives_an_upper_bound(serve: Serve) -> None:
    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": 5})
        return ok(new=0, updated=2, unchanged=1)

    report = load(rows(3), api_of(serve(handler=handler)), mapping=MAPPING, **PLACE)
    assert (report.billable, report.billable_is_exact, report.updated_text_changed) == (2, False, None)
    assert "billable: at most 2" in str(report)


# Afterwards


def test_it_waits_until_the_source_has_grown(serve: Serve) -> None:
    clock, counts = Clock(), iter([5, 5, 6, 8])

    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": next(counts)})
        return ok(new=3, updated=0, unchanged=0, updated_properties_only=0, updated_text_changed=0)

    load(rows(3), api_of(serve(handler=handler), retry=clock.policy()), mapping=MAPPING, **PLACE)
    assert clock.slept == [0.5, 1.0]


def test_a_source_that_does_not_grow_fails_the_load_and_its_checkpoint(serve: Serve) -> None:
    memory = Memory()

    def handler(request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            return ok(statistics={"num_comments": 5})
        return ok(new=3, updated=0, unchanged=0, updated_properties_only=0, updated_text_changed=0)

    with pytest.raises(LoadError, match="verify: the source had 5 messages, 3 were created, and it has 5 after 300 s"):
        load(rows(3), api_of(serve(handler=handler)), mapping=MAPPING, checkpoint=memory, **PLACE)
    assert memory.saved
    assert memory.text is None


# Checkpoints


class Crash(BaseException):
    """The process ends."""


def crashing(given: list[dict[str, Any]], at: int) -> Iterator[dict[str, Any]]:
    yield from given[:at]
    raise Crash


def interrupted(api: MessagesApi, memory: Memory, given: list[dict[str, Any]], at: int, **more: Any) -> None:
    with pytest.raises(Crash):
        load(
            crashing(given, at), api, mapping=MAPPING, batch_size=10, checkpoint=memory,
            **PLACE, **more,
        )  # fmt: skip


def test_a_retry_sends_what_is_left(serve: Serve) -> None:
    store, memory = Store(), Memory()
    api = api_of(serve(handler=store))
    interrupted(api, memory, rows(100), 65)
    done = json.loads(memory.text or "")["rows"]
    assert done in {50, 60}
    store.batches.clear()
    report = load(rows(100), api, mapping=MAPPING, batch_size=10, checkpoint=memory, **PLACE)
    assert store.batches[0][0] == f"t-{done + 1}"
    assert (report.resumed_at_row, report.rows, report.sent, len(store.comments)) == (done, 100, 100, 100)
    assert report.replayed
    assert store.billed == 100
    assert memory.text is None


@pytest.mark.parametrize("change", ["in front", "first", "middle", "fewer", "none left"])
def test_a_row_is_skipped_only_where_nothing_changed_before_it(serve: Serve, change: str) -> None:
    store, memory = Store(), Memory()
    given = rows(100)
    api = api_of(serve(handler=store))
    interrupted(api, memory, given, 65)
    match change:
        case "in front":
            given.insert(0, row(500, "in front"))
        case "first":
            given[0] = row(1, "changed")
        case "middle":
            given[33] = row(34, "changed")
        case "fewer":
            del given[20:]
        case _:
            given = []
    load(given, api, mapping=MAPPING, batch_size=10, checkpoint=memory, **PLACE)
    wanted = {f"t-{each['n']}": each["text"] for each in given}
    texts = {name: comment["messages"][0]["body"]["text"] for name, comment in store.comments.items()}
    assert {name: texts[name] for name in wanted} == wanted


def test_rows_that_the_api_refused_are_listed_by_the_retry_too(serve: Serve, tmp_path: Path) -> None:
    store, memory, path = Store(is_bad), Memory(), tmp_path / "rejects.jsonl"
    given = with_bad(100, 13)
    api = api_of(serve(handler=store))
    interrupted(api, memory, given, 65, max_rejected=1)
    report = load(
        given, api, mapping=MAPPING, batch_size=10, checkpoint=memory, max_rejected=1,
        rejects_path=str(path), **PLACE,
    )  # fmt: skip
    assert [each["row_number"] for each in listed(path)] == [13]
    assert (report.rejected, report.sent, len(store.comments)) == (1, 99, 99)
    assert (report.resumed_at_row or 0) >= 50


def test_a_checkpoint_of_another_load_is_not_used(serve: Serve) -> None:
    store, memory = Store(), Memory()
    api = api_of(serve(handler=store))
    interrupted(api, memory, rows(100), 65)
    other = {**MAPPING, "subject": "{text}"}
    report = load(rows(100), api, mapping=other, batch_size=10, checkpoint=memory, **PLACE)
    assert (report.resumed_at_row, report.new + report.updated) == (None, 100)


def test_a_checkpoint_is_small_however_long_the_load(serve: Serve) -> None:
    memory = Memory()
    load(rows(2000), api_of(serve(handler=Store())), mapping=MAPPING, batch_size=10, checkpoint=memory, **PLACE)
    assert len(memory.saved) == 200
    assert max(map(len, memory.saved)) < 2048


def test_a_checkpoint_that_cannot_be_kept_only_costs_time(serve: Serve) -> None:
    class Broken(Memory):
        def load(self) -> dict[str, Any]:
            raise OSError("no store")

        def save(self, state: dict[str, Any]) -> None:
            raise OSError("no store")

    store = Store()
    load(rows(20), api_of(serve(handler=store)), mapping=MAPPING, checkpoint=Broken(), **PLACE)
    assert len(store.comments) == 20


# The rest


def test_it_stops_when_told_to(serve: Serve) -> None:
    store = Store()
    with pytest.raises(LoadError, match="the load was told to stop") as caught:
        load(
            rows(100), api_of(serve(handler=store)), mapping=MAPPING, batch_size=10,
            should_stop=lambda: len(store.batches) >= 3, **PLACE,
        )  # fmt: skip
    assert caught.value.transient
    assert len(store.comments) == len(store.batches) * 10 < 100


def test_progress_is_told_after_each_batch_and_its_failure_does_not_matter(serve: Serve) -> None:
    told = []

    def note(progress: Any) -> None:
        told.append((progress.sent, progress.batches))
        raise ValueError("broken")

    load(rows(30), api_of(serve(handler=Store())), mapping=MAPPING, batch_size=10, on_progress=note, **PLACE)
    assert told == [(10, 1), (20, 2), (30, 3)]


def test_a_failure_of_the_rows_is_the_load_s_own(serve: Serve) -> None:
    store = Store()

    def broken() -> Iterator[dict[str, Any]]:
        yield from rows(25)
        raise ZeroDivisionError("the database is gone")

    with pytest.raises(ZeroDivisionError):
        load(broken(), api_of(serve(handler=store)), mapping=MAPPING, batch_size=10, **PLACE)
    assert len(store.comments) == 20


@pytest.mark.parametrize(
    "given",
    [
        [{"comment": {"id": "a", "timestamp": "2026-01-05T09:12:00Z", "messages": [{"body": {"text": "x"}}]}}],
        [{"id": "a", "timestamp": "2026-01-05T09:12:00Z", "messages": [{"body": {"text": "x"}}]}],
    ],
)
def test_without_a_mapping_a_row_is_a_comment(serve: Serve, given: list[dict[str, Any]]) -> None:
    store = Store()
    load(given, api_of(serve(handler=store)), **PLACE)
    assert list(store.comments) == ["a"]


def test_annotations_are_not_left_out_silently(serve: Serve) -> None:
    given = [{"comment": {"id": "a"}, "labelling": {"assigned": ["x"]}}]
    with pytest.raises(LoadError, match="row 1: labelling: a load takes messages only"):
        load(given, api_of(serve(handler=Store())), **PLACE)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 0}, "batch_size: 0 is not a whole number of 1 or more"),
        ({"batch_size": 20_000}, "batch_size: 20000 is too large; use 1 to 16384"),
        ({"concurrency": 9}, "concurrency: 9 is too large; use 1 to 8"),
        ({"on_duplicate": "first"}, "on_duplicate: 'first' is not one of fail, last"),
        ({"max_rejected": -1}, "max_rejected: -1 is not"),
        ({"max_rejected": 1.5}, "max_rejected: 1.5 is neither a number of rows nor a fraction"),
        ({"max_rejected": float("nan")}, "max_rejected: nan is neither"),
        ({"reject_rows": True}, "reject_rows: there is no `rejects_path`"),
        ({"max_billable": "many"}, "max_billable: 'many' is not a whole number"),
        ({"raw_emails": True}, "mapping: raw emails are not mapped"),
        ({"transform_tag": "a.1.B"}, "transform_tag: it is for raw emails only"),
        ({"project": "a b"}, "project: 'a b' is not allowed"),
    ],
)
def test_arguments_are_checked_before_a_row_is_read(serve: Serve, options: dict[str, Any], told: str) -> None:
    given = iter(rows(1))
    with pytest.raises(ConfigurationError) as caught:
        load(given, api_of(serve()), mapping=MAPPING, **{**PLACE, **options})
    assert str(caught.value).startswith(told)
    assert len(list(given)) == 1


# Privacy

TEXT, ADDRESS, NAME = "Xylophone Quasar 77341", "quagga.zebu@okapi.example", "tkt/axolotl"
ECHOES = [
    f"'{TEXT}' is too long",
    f"{TEXT[:14]} is not valid",
    f"bad id tkt%2Faxolotl from {ADDRESS}",
    "WHlsb3Bob25lIFF1YXNhciA3NzM0MQ==",
    r"\u0058\u0079\u006c\u006f\u0070\u0068\u006f\u006e\u0065",
    "&#88;&#121;lophone",
]


@pytest.mark.parametrize("said", ECHOES)
@pytest.mark.parametrize("status", [400, 403, 503])
def test_nothing_of_a_message_is_shown(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path, status: int, said: str
) -> None:
    caplog.set_level("DEBUG")
    given = [row(number, f"{TEXT} {number}", who=ADDRESS, name=NAME) for number in range(40)]
    mapping = {**MAPPING, "id": "{name}-{n}", "id_escape": "percent", "sender": "{who}"}
    store = Store(lambda comment: True, status=status, message=said)
    path = tmp_path / "rejects.jsonl"
    with pytest.raises(LoadError) as caught:
        load(given, api_of(serve(handler=store)), mapping=mapping, rejects_path=str(path), **PLACE)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    # The frame of this test holds them itself.
    shown = "".join(str(frame.locals) for frame in frames if frame.filename != __file__)
    assert len(frames) == 2
    reasons = "".join(each["reason"] for each in listed(path))
    for place in (
        shown,
        caplog.text,
        reasons,
        repr(caught.value),
        str(vars(caught.value)),
        str(caught.value.__cause__),
    ):
        for secret in ("Xylo", "xylo", "Quasar", "77341", "quagga", "okapi", "axolotl", "WHls", "u0058", "#88"):
            assert secret not in place, (secret, place[:2000])
