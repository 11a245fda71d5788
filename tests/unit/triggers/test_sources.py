"""SourceTrigger: one poll an interval, whatever the server says, and one event in the end."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent
from asgiref.sync import async_to_sync

from airflow_provider_cm.api import ConfigurationError
from airflow_provider_cm.triggers import condition, poll_client
from airflow_provider_cm.triggers.readers import ListingReader
from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.unit.api.server import Answer, Request, Server, Step, closed_port, error, html, ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect, Sent

PATH = "sources/acme-dev"
SOURCE = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox", "updated_at": "2026-11-22T01:00:00+00:00"}


def trigger(**arguments: Any) -> SourceTrigger:
    """Make a trigger as the triggerer does: from the JSON of another. Only the number of failures counts by default."""
    address: dict[str, Any] = {} if "source_id" in arguments else {"project": "acme-dev", "source_name": "inbox"}
    defaults = {
        "comms_mining_conn_id": "comms_mining_default",
        "poll_interval": 0.03,
        "max_failure_seconds": 0,
        **address,
    }
    path, kwargs = SourceTrigger(**{**defaults, **arguments}).serialize()
    made = resolve_name(path)(**json.loads(json.dumps(kwargs)))
    assert isinstance(made, SourceTrigger)
    return made


async def events_of(waiting: SourceTrigger) -> list[TriggerEvent]:
    async with asyncio.timeout(10):
        return [event async for event in waiting.run()]


def wait(*meanwhile: Callable[[], object], **arguments: Any) -> Any:
    """Let a trigger wait, do something every 0.1 s meanwhile (again while that is ``False``), and give the payload."""

    async def both() -> list[TriggerEvent]:
        waiting = asyncio.create_task(events_of(trigger(**arguments)))
        for action in meanwhile:
            await asyncio.sleep(0.1)
            assert not waiting.done(), waiting
            while action() is False:  # not yet; the wait's own time-out ends this, too
                await asyncio.sleep(0.05)
                assert not waiting.done(), waiting
        return await waiting

    (event,) = asyncio.run(both())
    assert type(event) is TriggerEvent
    assert json.loads(json.dumps(event.payload)) == event.payload
    return event.payload


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", 0.05)


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


# What travels through Airflow's database


def test_it_survives_a_restart_of_the_triggerer_unchanged() -> None:
    arguments = {
        "comms_mining_conn_id": "mine",
        "project": "acme-dev",
        "source_name": "inbox",
        "source_id": None,
        "until": "updated",
        "updated_after": "2026-11-22T01:00:00+00:00",
        "min_messages": 1,
        "match": {"title": "x", "sensitive_properties": ["a"]},
        "poll_interval": 7.5,
        "deadline": "2026-11-22T02:00:00+00:00",
        "execution_deadline": "2026-11-22T01:30:00+00:00",
        "max_consecutive_failures": 3,
        "max_failure_seconds": 90.0,
        "looked_at": "2026-11-22T01:59:00+00:00",
        "endpoint": "https://cloud.uipath.com/acme/dev/reinfer_",
        "end_from_trigger": True,
    }
    path, kwargs = trigger(**arguments).serialize()
    assert path == "airflow_provider_cm.triggers.sources.SourceTrigger"
    assert kwargs == arguments


def test_it_keeps_nothing_of_the_connection(connect: Connect) -> None:
    connect(auth="app").add_source("acme-dev", "inbox")
    waiting = trigger()
    asyncio.run(events_of(waiting))
    shown = f"{waiting!r} {waiting.serialize()} {vars(waiting)}"
    assert "emulator-secret" not in shown
    assert "127.0.0.1" not in shown


# What is waited for


def test_exists(tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent) -> None:
    payload = wait(lambda: tenant.add_source("acme-dev", "inbox"))
    assert payload == {
        "status": "success",
        "source": tenant.source("acme-dev", "inbox"),
        "endpoint": f"{comms_mining_emulator.url}/acme/dev/reinfer_",
    }
    # The project was empty, so a read by name may have told that this was no missing permission.
    assert {f"GET {PATH}"} <= set(sent()) <= {f"GET {PATH}", f"GET {PATH}/inbox"}


def test_by_id(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox")
    assert wait(source_id=held["id"])["source"] == held
    assert sent() == [f"GET sources/id:{held['id']}"]


def test_absent(tenant: TenantHandle) -> None:
    tenant.add_source("acme-dev", "inbox")
    payload = wait(lambda: tenant.delete_source("acme-dev", "inbox"), until="absent")
    assert (payload["status"], payload["source"]) == ("success", None)


def test_updated(tenant: TenantHandle) -> None:
    before = tenant.add_source("acme-dev", "inbox")
    payload = wait(
        lambda: tenant.update_source("acme-dev", "inbox", title="New"),
        until="updated",
        updated_after=before["updated_at"],
    )
    assert payload["source"]["title"] == "New"


def test_match(tenant: TenantHandle) -> None:
    tenant.add_source("acme-dev", "inbox", title="Old")
    payload = wait(lambda: tenant.update_source("acme-dev", "inbox", title="New"), match={"title": "New"})
    assert payload["source"]["title"] == "New"


def test_has_messages(tenant: TenantHandle) -> None:
    tenant.add_source("acme-dev", "inbox", messages=1)
    payload = wait(
        lambda: tenant.set_message_count("acme-dev", "inbox", 2),
        lambda: tenant.set_message_count("acme-dev", "inbox", 3),
        until="has_messages",
        min_messages=3,
    )
    assert payload["source"] == {"project": "acme-dev", "source_name": "inbox", "num_comments": 3}


@pytest.mark.parametrize("auth", ["token", "app"])
@pytest.mark.parametrize("path", ["/", "/acme/dev/reinfer_"])
@pytest.mark.parametrize("shapes", ["full", "docs"])
def test_every_kind_of_tenant(
    connect: Connect, comms_mining_emulator: EmulatorServer, path: str, auth: str, shapes: str
) -> None:
    comms_mining_emulator.configure(shapes=shapes)
    connect(path, auth=auth).add_source("acme-dev", "inbox", language="de")
    assert wait(match={"language": "de"})["status"] == "success"


@pytest.mark.parametrize("until", ["exists", "absent"])
def test_an_empty_listing_may_be_a_missing_permission(connect: Connect, until: str) -> None:
    """Where a listing leaves out what may not be seen, that must not pass for a source that is gone."""
    with Server([ok(sources=[]), error(403, "no")] * 2) as server:
        connect(host=server.url)
        payload = wait(until=until, max_consecutive_failures=2)
    assert (payload["status"], payload["retryable"]) == ("error", False)
    assert "GET sources/acme-dev/inbox: 403 Forbidden" in payload["message"]
    assert len(server.log) == 4


def test_an_empty_project_is_proven_anew_now_and_then(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request an interval, of which one after so many is the proof, and the listing after it tells."""
    monkeypatch.setattr(ListingReader, "_PROOF_LASTS", 3)
    empty, nothing = ok(sources=[]), error(404, "no such source")
    steps = [empty, nothing, *[empty] * 3, nothing, *[empty] * 2, ok(sources=[SOURCE])]
    with Server(steps) as server:
        connect(host=server.url)
        assert wait()["status"] == "success"
    assert [number for number, line in enumerate(server.log) if line.endswith("/inbox")] == [1, 5]
    assert server.unscripted == []


def test_what_appears_while_the_proof_is_sent_is_not_taken_for_absent(connect: Connect) -> None:
    other = {**SOURCE, "name": "other", "id": "28ba5ce699f8da1f"}

    def answer(request: Request) -> Step:
        if request.target.endswith("/other"):
            return error(404, "no")
        listings = sum(line.endswith("/acme-dev") for line in server.log)
        return ok(sources=[] if listings == 1 else [other] if listings < 5 else [SOURCE])

    with Server(answer) as server:
        connect(host=server.url)
        assert wait(source_name="other", until="absent")["status"] == "success"
    assert server.log.count("GET /api/v1/sources/acme-dev/other") == 2


# How a wait ends otherwise


def test_the_deadline_ends_the_wait(tenant: TenantHandle, sent: Sent) -> None:
    started = time.monotonic()
    payload = wait(poll_interval=30, deadline=soon(0.2))
    assert 0.15 < time.monotonic() - started < 2
    told = "timed out waiting for source acme-dev/inbox to exist; "
    assert payload == {"status": "timeout", "over": "timeout", "message": payload["message"]}
    assert payload["message"] in {told + "no poll has ended", told + "it is not there"}
    assert len(sent()) <= 1


@pytest.mark.parametrize(
    ("deadline", "execution_deadline", "over"),
    [(0.2, 30, "timeout"), (30, 0.2, "execution_timeout"), (None, 0.2, "execution_timeout"), (-5, -4, "timeout")],
)
def test_the_earlier_of_two_deadlines_ends_the_wait(
    tenant: TenantHandle, deadline: float | None, execution_deadline: float, over: str
) -> None:
    limits = {"deadline": None if deadline is None else soon(deadline), "execution_deadline": soon(execution_deadline)}
    assert wait(**limits)["over"] == over


def test_a_deadline_that_passed_while_the_triggerer_was_down_is_kept(tenant: TenantHandle, sent: Sent) -> None:
    assert wait(deadline="2020-01-01T00:00:00+00:00")["status"] == "timeout"
    assert sent() == []


def test_a_deadline_holds_while_a_server_stalls_or_asks_to_wait(connect: Connect) -> None:
    with Server([error(429, "no", {"Retry-After": "600"})]) as server:
        connect(host=server.url)
        started = time.monotonic()
        assert wait(deadline=soon(0.3))["status"] == "timeout"
    assert time.monotonic() - started < 2
    with Server([Answer(200, then_stall=True, stated_length=999)]) as server:
        connect(host=server.url)
        started = time.monotonic()
        assert wait(deadline=soon(0.3))["status"] == "timeout"
        assert time.monotonic() - started < 2


def test_a_worker_whose_clock_is_ahead_does_not_hold_the_wait_up(tenant: TenantHandle) -> None:
    """What was asked after the wait began is newer than the look before it, whatever two machines' clocks say."""
    tenant.add_source("acme-dev", "inbox")
    started = time.monotonic()
    assert wait(looked_at=soon(3600))["status"] == "success"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("answer", "told", "retryable"),
    [
        (error(401, "no"), "401 Unauthorized: no", True),
        (error(403, "no"), "403 Forbidden: no", False),
        (error(429, "no"), "429 Too Many Requests: no", True),
        (error(500, "no"), "500 Internal Server Error: no", True),
        (html(503), "503 Service Unavailable, but the body is not JSON", True),
    ],
)
def test_failed_polls_are_tolerated_up_to_the_budget(
    connect: Connect, answer: Answer, told: str, retryable: bool
) -> None:
    with Server([answer] * 3) as server:
        connect(host=server.url)
        payload = wait(max_consecutive_failures=3)
    assert len(server.log) == 3
    assert payload["status"] == "error"
    assert payload["retryable"] is retryable
    assert told in payload["message"]


def test_a_server_that_is_not_there_is_tolerated_up_to_the_budget(connect: Connect) -> None:
    connect(host=f"http://127.0.0.1:{closed_port()}")
    payload = wait(max_consecutive_failures=2)
    assert (payload["status"], payload["retryable"]) == ("error", True)
    assert "no response" in payload["message"]


def test_only_failures_in_a_row_count(connect: Connect) -> None:
    bad, absent, good = error(500, "no"), ok(sources=[{**SOURCE, "name": "other"}]), ok(sources=[SOURCE])
    with Server([bad, bad, absent, bad, bad, good]) as server:
        connect(host=server.url)
        assert wait(max_consecutive_failures=3)["source"] == SOURCE
    assert len(server.log) == 6


@pytest.mark.parametrize("answer", [error(400, "no"), error(422, "no")])
def test_what_cannot_change_ends_the_wait_at_once(connect: Connect, answer: Answer) -> None:
    with Server([answer]) as server:
        connect(host=server.url)
        payload = wait()
    assert (payload["status"], payload["retryable"]) == ("error", False)
    assert len(server.log) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"until": "updated"}, "updated_after: until='updated' needs it"),
        ({"updated_after": "2026-11-22"}, "updated_after: until='exists' does not use it"),
        ({"deadline": "soon"}, "deadline: 'soon' is not a moment such as"),
        ({"execution_deadline": "soon"}, "execution_deadline: 'soon' is not a moment such as"),
        ({"looked_at": "now"}, "looked_at: 'now' is not a moment such as"),
        ({"endpoint": "ftp://cm.example.com"}, "endpoint: "),
        ({"max_failure_seconds": -1}, "max_failure_seconds: -1 is not a number of seconds above 0"),
        ({"max_consecutive_failures": 0}, "max_consecutive_failures: 0 is not a whole number of 1 or more"),
    ],
)
def test_a_bad_argument_ends_the_wait_before_it_begins(
    tenant: TenantHandle, sent: Sent, arguments: dict[str, Any], told: str
) -> None:
    payload = wait(**arguments)
    assert (payload["status"], payload["retryable"]) == ("error", False)
    assert told in payload["message"]
    assert sent() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_name": "*"}, "source_name: '*' is not allowed"),
        ({"source_name": None}, "source_id, or project and source_name: give one of the two"),
        ({"source_id": "x"}, "source_id: 'x'"),
        ({"until": "upsert"}, "until: 'upsert' is not one of exists, absent, updated, has_messages"),
        ({"poll_interval": 0}, "poll_interval: 0 is not a number of seconds above 0"),
    ],
)
def test_what_can_never_be_right_is_an_error_of_the_dags_import(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as info:
        trigger(**arguments)
    assert told in str(info.value)


def test_a_bad_connection_ends_the_wait_at_once(connect: Connect, sent: Sent) -> None:
    connect(extra={"readonly": True})
    payload = wait()
    assert (payload["status"], payload["retryable"]) == ("error", False)
    assert "did you mean `read_only`?" in payload["message"]
    assert sent() == []


def test_a_connection_that_cannot_be_read_is_tolerated_up_to_the_budget() -> None:
    payload = wait(comms_mining_conn_id="nowhere", max_consecutive_failures=2)
    assert (payload["status"], payload["retryable"]) == ("error", True)
    assert payload["message"] == "connection 'nowhere' could not be read: AirflowNotFoundException"


def test_a_connection_that_comes_back_is_read(connect: Connect) -> None:
    payload = wait(
        lambda: connect(conn_id="late").add_source("acme-dev", "inbox"),
        comms_mining_conn_id="late",
        max_consecutive_failures=100,
    )
    assert payload["status"] == "success"


def test_a_short_outage_does_not_end_a_wait_however_short_its_interval(connect: Connect) -> None:
    """Both must be over, the number of failed polls and the time since the first of them."""
    started = time.monotonic()
    with Server(lambda _: error(503, "no")) as server:
        connect(host=server.url)
        payload = wait(max_consecutive_failures=3, max_failure_seconds=0.5)
        assert len(server.log) > 5
    assert payload["status"] == "error"
    assert time.monotonic() - started > 0.5


def test_the_budget_is_five_polls_and_ten_minutes_by_default(connect: Connect) -> None:
    waiting = SourceTrigger(comms_mining_conn_id="x", project="acme-dev", source_name="inbox")
    assert (waiting.max_consecutive_failures, waiting.max_failure_seconds) == (5, 600.0)


def test_a_time_out_tells_the_last_failure(connect: Connect) -> None:
    with Server(lambda _: error(404, "project 'acme-deve' not found")) as server:
        connect(host=server.url)
        payload = wait(deadline=soon(0.3), max_failure_seconds=600)
    begin = "timed out waiting for source acme-dev/inbox to exist; still failing: GET sources/acme-dev: 404"
    assert payload["message"].startswith(begin)
    assert payload["message"].count("project 'acme-deve' not found") == 1


# A connection that is changed while it waits


@pytest.mark.parametrize("endpoint", ["first look", "first poll"])
def test_a_wait_never_ends_with_another_tenants_source(
    connect: Connect, comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    """The connection was moved from dev to prod: what is there is not what was waited for."""
    monkeypatch.setattr(poll_client, "REREAD_AFTER", 0.0)
    connect()
    dev = f"{comms_mining_emulator.url}/acme/dev/reinfer_"

    def move() -> None:
        connect("/acme/prod/reinfer_").add_source("acme-dev", "inbox")

    def asked() -> bool:
        return len(comms_mining_emulator.requests) > 1

    payload = wait(asked, move, endpoint=f"{dev}/api/v1" if endpoint == "first look" else None)
    assert (payload["status"], payload["retryable"]) == ("error", False)
    assert payload["error"]["type"] == "ConfigurationError"
    assert f"connection 'comms_mining_default' led to {dev} when this wait began, and leads to" in payload["message"]


def test_a_wait_that_began_elsewhere_sends_nothing(connect: Connect, sent: Sent) -> None:
    connect("/acme/prod/reinfer_").add_source("acme-dev", "inbox")
    assert wait(endpoint="https://dev.reinfer.io")["status"] == "error"
    assert sent() == []


def test_a_connection_is_read_again_at_least_every_few_minutes() -> None:
    assert poll_client.REREAD_AFTER <= 300


# What a listing does not tell


@pytest.mark.parametrize(("until", "status"), [("exists", "success"), ("absent", "timeout"), ("updated", "success")])
def test_names_whose_case_does_not_count(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent, until: str, status: str
) -> None:
    """The listing and a read by name agree, and telling that costs one request more."""
    comms_mining_emulator.configure(names_case_sensitive=False)
    tenant.add_source("acme-dev", "Inbox")
    more = {"updated_after": "2020-01-01"} if until == "updated" else {}
    assert wait(until=until, deadline=soon(0.6), **more)["status"] == status
    assert [line for line in sent() if line != f"GET {PATH}"] == [f"GET {PATH}/inbox"]


def test_names_whose_case_counts(tenant: TenantHandle, sent: Sent) -> None:
    tenant.add_source("acme-dev", "Inbox")
    assert wait(until="exists", deadline=soon(0.6))["status"] == "timeout"
    assert [line for line in sent() if line != f"GET {PATH}"] == [f"GET {PATH}/inbox"]
    assert wait(until="absent", deadline=soon(0.6))["status"] == "success"


def test_what_an_outdated_copy_lacks_is_not_absent(connect: Connect) -> None:
    """Replicas lag: the listing lacks what was created, and a read some moments later finds it."""
    other = {**SOURCE, "name": "other", "id": "28ba5ce699f8da1f"}
    found = {"now": False}

    def step(request: Request) -> Step:
        if request.target.endswith("/inbox"):
            found["now"] = not found["now"]
            return ok(source=SOURCE) if found["now"] else error(404, "no")
        return ok(sources=[other])

    with Server(step) as server:
        connect(host=server.url)
        assert wait(until="absent")["status"] == "success"
        by_name = [line for line in server.log if line.endswith("/inbox")]
        assert len(by_name) == 2


@pytest.mark.parametrize("by_id", [False, True])
def test_absent_takes_longer_than_a_server_takes_to_show_a_source(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, by_id: bool
) -> None:
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", 0.6)
    comms_mining_emulator.configure(read_lag_s=0.5)
    tenant.add_source("acme-dev", "another")
    held = tenant.add_source("acme-dev", "inbox")
    address = {"source_id": held["id"]} if by_id else {}
    assert wait(until="absent", deadline=soon(1.2), **address)["status"] == "timeout"


def test_a_listing_that_hides_what_can_be_read_proves_nothing(connect: Connect) -> None:
    """The read by name that tells an empty project from a missing permission has found the source."""

    def step(request: Request) -> Step:
        return ok(source=SOURCE) if request.target.endswith("/inbox") else ok(sources=[])

    with Server(step) as server:
        connect(host=server.url)
        payload = wait(until="absent", max_consecutive_failures=2)
    assert payload["status"] == "error"
    assert "the listing of project 'acme-dev' is empty, although its source 'inbox' can be read" in payload["message"]


def test_what_a_server_says_can_be_stored_whatever_it_is(connect: Connect) -> None:
    """PostgreSQL's JSON takes neither NUL nor NaN, a lone surrogate kills the triggerer, and so do huge integers."""
    odd = SOURCE | {"title": "cut \ud83d", "big": 2**70, "text": "a\x00b"}
    with Server([ok(sources=[odd])]) as server:
        connect(host=server.url)
        payload = wait()
    told = json.dumps(payload, allow_nan=False)
    assert "\\ud83d" not in told
    assert "\\u0000" not in told
    assert all(not isinstance(value, int) or abs(value) < 2**63 for value in payload["source"].values())


# Tokens that change while it waits


def test_a_token_replaced_in_the_connection_is_picked_up(
    connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    tenant = connect()

    def replace() -> None:
        comms_mining_emulator.replace_token("emulator-admin", "another-developer-token")

    def enter_it() -> None:
        # For a while there were only 401s, one an interval.
        assert len(sent()) < 10
        connect()
        tenant.add_source("acme-dev", "inbox")

    assert wait(replace, enter_it, max_consecutive_failures=100)["status"] == "success"
    assert {request.token for request in comms_mining_emulator.requests[-1:]} == {"emulator-admin"}


def test_a_token_that_stays_refused_ends_the_wait(connect: Connect, comms_mining_emulator: EmulatorServer) -> None:
    connect()
    payload = wait(lambda: comms_mining_emulator.revoke_token("emulator-admin"), max_consecutive_failures=3)
    assert (payload["status"], payload["retryable"]) == ("error", True)
    assert "generating a new developer token invalidates the previous one" in payload["message"]
    statuses = [request.status for request in comms_mining_emulator.requests]
    assert statuses.count(401) == 3
    assert statuses[-3:] == [401] * 3


def test_a_minted_token_that_is_revoked_is_replaced_within_the_poll(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    tenant = connect(auth="app")

    def revoke() -> None:
        comms_mining_emulator.revoke_token("emulator-app#1")
        tenant.add_source("acme-dev", "inbox")

    assert wait(revoke, max_consecutive_failures=1)["status"] == "success"


# What is said to Airflow meanwhile


class Channel:
    """A triggerer's channel to its supervisor, as it was below Airflow 3.3: of one loop, and for one at a time.

    A question that comes from elsewhere, or is given up before it was answered, leaves an answer that the next to ask
    takes for its own; the triggerer dies of that. ``make matrix`` has real ones.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.elsewhere: list[str] = []

    def send(self, question: Any) -> None:
        async_to_sync(self.asend)(question)

    async def asend(self, question: Any) -> None:
        told = str(getattr(question, "value", question))
        self.asked.append(told)
        if asyncio.get_running_loop() is not self._loop:
            self.elsewhere.append(told)
        await asyncio.sleep(0.1)
        self.answered.append(told)


@pytest.mark.parametrize("given_up_after", [None, 1, 2])
def test_what_is_said_to_airflow_goes_through_the_triggerers_loop_and_is_heard_to_its_end(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, given_up_after: int | None
) -> None:
    """What is to be masked in logs: the connection's secret, and then the token that was got with it."""
    connect(auth="app").add_source("acme-dev", "inbox")

    async def wait() -> Channel:
        channel = Channel(asyncio.get_running_loop())
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        waiting = asyncio.create_task(events_of(trigger()))
        if given_up_after is None:
            (event,) = await waiting
            assert event.payload["status"] == "success"
            assert len(set(channel.asked)) == 2
            return channel
        async with asyncio.timeout(10):
            while len(set(channel.asked)) < given_up_after:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.sleep(1)  # there may be more to say
        return channel

    channel = asyncio.run(wait())
    assert channel.asked[0] == "emulator-secret"
    assert channel.elsewhere == []
    assert channel.answered == channel.asked


# It is a good neighbour; test_every_status.py has more of it


def test_a_renewed_token_costs_one_replay_and_no_more(connect: Connect) -> None:
    def step(request: Request) -> Step:
        if "identity_" not in request.target:
            return error(401, "no")
        # A new token each time, which the API likes no better.
        body = {"access_token": f"minted-{time.monotonic_ns()}", "token_type": "Bearer", "expires_in": 3600}
        return Answer(200, json.dumps(body).encode())

    with Server(step) as server:
        connect(auth="app", host=f"{server.url}/acme/dev/reinfer_")
        payload = wait(poll_interval=0.1, max_consecutive_failures=4)
    assert (payload["status"], payload["retryable"]) == ("error", True)
    polls = [line for line in server.log if line.startswith("GET")]
    assert len(polls) <= 2 * 4


def test_a_slow_server_does_not_hold_up_other_triggers(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    tenant.add_source("acme-dev", "inbox")
    comms_mining_emulator.configure(latency_ms=1000)
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def both() -> None:
        watching = asyncio.create_task(watch())
        await events_of(trigger())
        watching.cancel()

    asyncio.run(both())
    assert sum(gaps) > 0.9
    assert max(gaps) < 0.8


def test_it_stops_when_the_triggerer_cancels_it(tenant: TenantHandle, sent: Sent) -> None:
    async def cancel() -> None:
        waiting = asyncio.create_task(events_of(trigger(poll_interval=0.02)))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        # A thread cannot be cancelled: a poll on its way may still arrive.
        await asyncio.sleep(0.1)
        sent()
        await asyncio.sleep(0.1)

    asyncio.run(cancel())
    assert sent() == []


# Without a worker


def test_the_task_may_end_in_the_triggerer(tenant: TenantHandle) -> None:
    held = tenant.add_source("acme-dev", "inbox")
    (event,) = asyncio.run(events_of(trigger(end_from_trigger=True)))
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {"return_value": held}
    (event,) = asyncio.run(events_of(trigger(end_from_trigger=True, until="absent", source_name="other")))
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms is None


@pytest.mark.parametrize("arguments", [{"deadline": "2020-01-01T00:00:00Z"}, {"updated_after": "now"}])
def test_a_wait_that_ends_badly_goes_back_to_the_worker(tenant: TenantHandle, arguments: dict[str, Any]) -> None:
    (event,) = asyncio.run(events_of(trigger(end_from_trigger=True, **arguments)))
    assert type(event) is TriggerEvent
    assert event.payload["status"] in {"timeout", "error"}


def test_a_deferred_task_may_be_pinned_to_a_queue_of_triggerers() -> None:
    assert SourceTrigger.supports_triggerer_queue is True
