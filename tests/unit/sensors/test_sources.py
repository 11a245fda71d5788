"""SourceSensor: what it waits for, in each mode, and how a wait ends."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    Asset,
    TaskDeferred,
)

from airflow_provider_cm.api import (
    ApiError,
    AuthenticationError,
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    NotShownError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    TokenError,
    TransportError,
)
from airflow_provider_cm.api.arguments import NOT_GIVEN
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from airflow_provider_cm.rollout import ManifestError
from airflow_provider_cm.sensors import sources as module
from airflow_provider_cm.sensors.sources import SourceSensor
from airflow_provider_cm.triggers import condition
from airflow_provider_cm.triggers.error_events import error_to_json
from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.features import needs
from tests.unit.api.server import Server, error, html, ok

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect, Sent

BY_NAME: dict[str, Any] = {"project": "acme-dev", "source_name": "inbox"}
PATH = "sources/acme-dev/inbox"


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", 0.01)


def sensor(**arguments: Any) -> SourceSensor:
    return SourceSensor(task_id="t", **{"deferrable": False, "poke_interval": 0.01, "timeout": 2, **arguments})


def poke(**arguments: Any) -> Any:
    """Poke once; gives the value to return if the wait is over, else "wait"."""
    result = sensor(**arguments).poke({})
    assert result.is_done or result.xcom_value is None
    return result.xcom_value if result.is_done else "wait"


def fails(cause: type[CommsMiningError] = ConfigurationError, **arguments: Any) -> str:
    """Expect that the task fails at once, before any wait and in each mode, and give the message."""
    told = set()
    for more in ({"deferrable": False}, {"deferrable": False, "mode": "reschedule"}, {"deferrable": True}):
        with pytest.raises(CommsMiningFailure) as info:
            sensor(**{**arguments, **more}).execute({"ti": Mock(get_first_reschedule_date=Mock(return_value=None))})
        assert type(info.value.__cause__) is cause
        told.add(str(info.value))
    (message,) = told
    return message


def defer(**arguments: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as info:
        sensor(**arguments, deferrable=True).execute({})
    return info.value


def trigger_of(deferred: TaskDeferred) -> SourceTrigger:
    """Give the trigger as the triggerer makes it: from what JSON keeps of it."""
    path, kwargs = deferred.trigger.serialize()
    trigger = resolve_name(path)(**json.loads(json.dumps(kwargs)))
    assert isinstance(trigger, SourceTrigger)
    assert trigger.serialize() == (path, kwargs)
    return trigger


def finish(deferred: TaskDeferred) -> Any:
    """Let the trigger wait, and give the payload of its one event."""

    async def wait() -> list[Any]:
        return [event async for event in trigger_of(deferred).run()]

    (event,) = asyncio.run(asyncio.wait_for(wait(), 10))
    return json.loads(json.dumps(event.payload))


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


# What is waited for


def test_exists(tenant: TenantHandle, sent: Sent) -> None:
    assert poke(**BY_NAME) == "wait"
    held = tenant.add_source("acme-dev", "inbox")
    assert poke(**BY_NAME) == held
    assert poke(source_id=held["id"], until="exists") == held
    assert sent() == [f"GET {PATH}", f"GET {PATH}", f"GET sources/id:{held['id']}"]


def test_absent(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox")
    assert poke(**BY_NAME, until="absent") == "wait"
    assert poke(source_id=held["id"], until="absent") == "wait"
    tenant.delete_source("acme-dev", "inbox")
    sent()
    assert poke(**BY_NAME, until="absent") is None
    assert poke(source_id=held["id"], until="absent") is None
    # Whether it is the source or its project that is not there, only the project's listing tells; and a server may
    # show it a little later.
    by_id = f"GET sources/id:{held['id']}"
    assert sent() == [f"GET {PATH}", "GET sources/acme-dev", f"GET {PATH}", by_id, by_id]


def test_a_misspelt_project_does_not_pass_for_a_source_that_is_gone(tenant: TenantHandle) -> None:
    assert poke(project="acme-dve", source_name="inbox") == "wait"
    arguments = {"project": "acme-dve", "source_name": "inbox", "until": "absent"}
    with pytest.raises(CommsMiningFailure, match="GET sources/acme-dve: 404"):
        poke(**arguments, max_consecutive_failures=1, max_failure_seconds=0)
    with pytest.raises(AirflowSensorTimeout, match="to be gone; still failing: GET sources/acme-dve: 404"):
        sensor(**arguments, timeout=0.05).execute({})


def test_updated(tenant: TenantHandle, sent: Sent) -> None:
    before = tenant.add_source("acme-dev", "inbox")
    arguments = {**BY_NAME, "until": "updated", "updated_after": before["updated_at"]}
    assert poke(**arguments) == "wait"
    after = tenant.update_source("acme-dev", "inbox", title="New")
    assert poke(**arguments) == after
    assert poke(source_id=before["id"], until="updated", updated_after=before["updated_at"]) == after
    assert poke(**{**arguments, "updated_after": after["updated_at"]}) == "wait"
    tenant.delete_source("acme-dev", "inbox")
    assert poke(**arguments) == "wait"
    assert len(sent()) == 5


@pytest.mark.parametrize("form", ["text", "datetime", "naive datetime", "naive text", "zulu", "other zone"])
def test_updated_after_has_many_forms(tenant: TenantHandle, form: str) -> None:
    held = tenant.add_source("acme-dev", "inbox")
    moment = datetime.fromisoformat(held["updated_at"])

    def told(moment: datetime) -> Any:
        return {
            "text": str(moment),
            "datetime": moment,
            "naive datetime": moment.replace(tzinfo=None),
            "naive text": moment.replace(tzinfo=None).isoformat(),
            "zulu": moment.replace(tzinfo=None).isoformat() + "Z",
            "other zone": moment.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo),
        }[form]

    assert poke(**BY_NAME, until="updated", updated_after=told(moment)) == "wait"
    assert poke(**BY_NAME, until="updated", updated_after=told(moment - timedelta(microseconds=1))) == held


def test_has_messages(tenant: TenantHandle, sent: Sent) -> None:
    assert poke(**BY_NAME, until="has_messages") == "wait"
    held = tenant.add_source("acme-dev", "inbox")
    assert poke(**BY_NAME, until="has_messages") == "wait"
    tenant.set_message_count("acme-dev", "inbox", 4)
    expected = {"project": "acme-dev", "source_name": "inbox", "num_comments": 4}
    assert poke(**BY_NAME, until="has_messages") == expected
    assert poke(**BY_NAME, until="has_messages", min_messages=4) == expected
    assert poke(**BY_NAME, until="has_messages", min_messages="5") == "wait"
    assert sent() == [f"POST {PATH}/statistics"] * 5
    assert poke(source_id=held["id"], until="has_messages", min_messages=4) == expected
    assert sent() == [f"GET sources/id:{held['id']}", f"POST {PATH}/statistics"]


def test_match(tenant: TenantHandle, sent: Sent) -> None:
    bucket = tenant.add_bucket("acme-dev", "mails")["id"]
    held = tenant.add_source(
        "acme-dev",
        "inbox",
        title="Inbox",
        should_translate=True,
        sensitive_properties=["string:a", "string:b"],
        bucket_id=bucket,
    )
    for match in (
        {},
        {"title": "Inbox"},
        {"should_translate": "True"},
        {"sensitive_properties": ("string:b", "string:a")},
        {"title": "Inbox", "language": "en", "kind": "unknown"},
        {"bucket_id": bucket, "email_transform_tag": None},
    ):
        assert poke(**BY_NAME, match=match) == held, match
    for match in (
        {"title": "Other"},
        {"title": "Inbox", "should_translate": "False"},
        {"sensitive_properties": ["string:a"]},
        {"bucket_id": None},
    ):
        assert poke(**BY_NAME, match=match) == "wait", match
    assert poke(source_id=held["id"], match={"title": "Inbox"}) == held
    # What a listing would not show is read by id.
    assert len(sent()) == 11 + 2


def test_match_and_updated_must_both_hold(tenant: TenantHandle) -> None:
    held = tenant.add_source("acme-dev", "inbox", title="Inbox")
    earlier = "2020-01-01T00:00:00Z"
    assert poke(**BY_NAME, until="updated", updated_after=earlier, match={"title": "Inbox"}) == held
    assert poke(**BY_NAME, until="updated", updated_after=earlier, match={"title": "Other"}) == "wait"
    assert poke(**BY_NAME, until="updated", updated_after=held["updated_at"], match={"title": "Inbox"}) == "wait"


def test_match_reads_by_id_what_a_read_by_name_does_not_show(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    comms_mining_emulator.configure(shapes="docs")
    held = tenant.add_source("acme-dev", "inbox", language="de")
    assert poke(**BY_NAME, match={"language": "de"})["id"] == held["id"]
    assert sent() == [f"GET {PATH}", f"GET sources/id:{held['id']}"]
    assert poke(**BY_NAME, match={"language": "en"}) == "wait"


def test_a_match_that_the_server_never_shows_fails(tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    comms_mining_emulator.configure(shapes="docs")
    tenant.add_source("acme-dev", "inbox")
    told = fails(NotShownError, **BY_NAME, match={"kind": "call"})
    assert "the server does not show kind of source acme-dev/inbox" in told


def test_an_updated_at_that_cannot_be_read_fails(connect: Connect) -> None:
    answer = ok(source={"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox", "updated_at": "yesterday"})
    with Server([answer] * 3) as server:
        connect(host=server.url)
        told = fails(NotShownError, **BY_NAME, until="updated", updated_after="2020-01-01")
    assert "source acme-dev/inbox has no readable `updated_at`" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"until": "updated"}, "updated_after: until='updated' needs it; give a moment, such as the `updated_at`"),
        ({"until": "updated", "updated_after": ""}, "updated_after: '' is not a moment such as 2026-"),
        ({"until": "updated", "updated_after": "None"}, "updated_after: 'None' is not a moment"),
        ({"until": "updated", "updated_after": 5}, "updated_after: 5 is not a moment"),
        ({"updated_after": "2026-11-22"}, "updated_after: until='exists' does not use it"),
        ({"until": "gone"}, "until: 'gone' is not one of exists, absent, updated, has_messages"),
        ({"until": "has_messages", "min_messages": 0}, "min_messages: 0 is not a whole number of 1 or more"),
        ({"until": "has_messages", "min_messages": "many"}, "min_messages: 'many' is not a whole number"),
        ({"min_messages": 5}, "min_messages: until='exists' does not use it"),
        ({"match": {"tilte": "x"}}, "match: a source has no field 'tilte'; use title, description"),
        ({"match": "title"}, "match: 'title' is not a mapping of fields to values"),
        ({"match": {"should_translate": "maybe"}}, "match: should_translate: 'maybe' is neither true nor false"),
        ({"match": {"sensitive_properties": "a"}}, "match: sensitive_properties: 'a' is not a list of texts"),
        ({"match": {"title": None}}, "match: title: it was given, but there is no value (None)"),
        ({"until": "absent", "match": {"title": "x"}}, "match: until='absent' does not use it"),
        ({"until": "has_messages", "match": {"title": "x"}}, "match: until='has_messages' does not use it"),
        ({"source_name": "a/b"}, "source_name: 'a/b' is not allowed"),
        ({"source_name": "x" * 300}, "(300 characters) is not allowed"),
        ({"project": ".."}, "project: '..' is not a project name"),
        ({"source_name": None}, "source_name: it was given, but there is no value (None)"),
        ({"source_name": NOT_GIVEN}, "source_id, or project and source_name: give one of the two"),
        ({"project": NOT_GIVEN, "source_name": NOT_GIVEN}, "source_id, or project and source_name: give one of the"),
        ({"match": None}, "match: it was given, but there is no value (None)"),
        ({"until": "updated", "updated_after": None}, "updated_after: it was given, but there is no value (None)"),
        ({"until": "upsert"}, "until: 'upsert' is not one of exists, absent"),
        ({"source_id": "18ba5ce699f8da1f"}, "source_id: it was given together with project or source_name"),
        ({"project": NOT_GIVEN, "source_name": NOT_GIVEN, "source_id": "None"}, "source_id: 'None' is not an id"),
        ({"end_from_trigger": True, "outlets": [Asset("x")]}, "end_from_trigger: a task that ends in the triggerer"),
    ],
)
def test_bad_input_is_told_before_the_wait(
    tenant: TenantHandle, sent: Sent, arguments: dict[str, Any], told: str
) -> None:
    assert told in fails(**{**BY_NAME, **arguments})
    assert sent() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"poke_interval": 0}, "poke_interval: 0.0 is not a number of seconds above 0"),
        ({"max_consecutive_failures": 0}, "max_consecutive_failures: 0 is not a whole number of 1 or more"),
    ],
)
def test_what_only_the_trigger_uses_is_judged_before_the_wait(
    tenant: TenantHandle, sent: Sent, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(CommsMiningFailure, match=told):
        sensor(**BY_NAME, **arguments, deferrable=True).execute({})
    assert sent() == []


# In the worker: poke and reschedule


def test_poke_mode_waits(tenant: TenantHandle, sent: Sent) -> None:
    timer = threading.Timer(0.1, lambda: tenant.add_source("acme-dev", "inbox"))
    timer.start()
    result = sensor(**BY_NAME, poke_interval=0.02, timeout=5).execute({})
    timer.join()
    assert result == tenant.source("acme-dev", "inbox")
    assert len(sent()) > 2


@pytest.mark.parametrize("by_id", [False, True])
def test_the_link_is_written_once_and_not_at_every_poke(connect: Connect, by_id: bool) -> None:
    tenant = connect(extra={"ui_url": "https://ui.example.com"})
    held = tenant.add_source("acme-dev", "inbox")
    address = {"source_id": held["id"]} if by_id else BY_NAME
    pushed: list[str] = []
    task_instance = Mock(xcom_push=lambda key, value: pushed.append(value))
    waiting = sensor(**address, match={"title": "Other"})
    for _ in range(3):
        assert not waiting.poke({"ti": task_instance}).is_done
    assert pushed == ["https://ui.example.com/projects/acme-dev"]


def test_poke_mode_times_out(tenant: TenantHandle) -> None:
    with pytest.raises(AirflowSensorTimeout):
        sensor(**BY_NAME, poke_interval=0.01, timeout=0.03).execute({})
    with pytest.raises(AirflowSkipException):
        sensor(**BY_NAME, poke_interval=0.01, timeout=0.03, soft_fail=True).execute({})
    # Here Airflow does not ask for it, as docs/waiting.md says.
    with pytest.raises(AirflowSensorTimeout):
        sensor(**BY_NAME, poke_interval=0.01, timeout=0.03, never_fail=True).execute({})


def test_reschedule_mode_gives_the_slot_back_between_looks(tenant: TenantHandle, sent: Sent) -> None:
    context: Any = {"ti": Mock(get_first_reschedule_date=Mock(return_value=None))}
    waiting = sensor(**BY_NAME, mode="reschedule", poke_interval=60, timeout=3600)
    with pytest.raises(AirflowRescheduleException) as info:
        waiting.execute(context)
    assert timedelta(seconds=55) < info.value.reschedule_date - datetime.now(UTC) <= timedelta(seconds=60)
    held = tenant.add_source("acme-dev", "inbox")
    assert waiting.execute(context) == held
    assert sent() == [f"GET {PATH}", f"GET {PATH}"]


@pytest.mark.parametrize(
    ("answer", "failure", "cause"),
    [
        (error(401, "no"), CommsMiningRetryable, AuthenticationError),
        (error(403, "no"), CommsMiningFailure, PermissionDeniedError),
        (error(500, "no"), CommsMiningRetryable, ServerError),
        (html(200), CommsMiningFailure, ProtocolError),
    ],
)
def test_an_error_of_a_look_ends_the_task_as_any_other(
    connect: Connect, answer: Any, failure: type[Exception], cause: type[Exception]
) -> None:
    with Server([answer]) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        with pytest.raises(failure) as info:
            sensor(**BY_NAME, max_consecutive_failures=1, max_failure_seconds=0).execute({})
    assert type(info.value) is failure
    assert type(info.value.__cause__) is cause


def test_a_task_looks_its_connection_up_and_connects_once(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    original = CommsMiningHook.get_connection

    def counted(_: object, conn_id: str) -> Any:
        looked_up.append(conn_id)
        return original(conn_id)

    monkeypatch.setattr(CommsMiningHook, "get_connection", classmethod(counted))
    source = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox"}
    with Server([*[error(404, "no")] * 7, ok(source=source)]) as server:
        connect(host=server.url)
        assert sensor(**BY_NAME).execute({}) == source
        assert (len(server.log), server.connections) == (8, 1)
    assert looked_up == ["comms_mining_default"]


def test_failed_looks_are_tolerated_within_the_budget(connect: Connect) -> None:
    """The same as in the triggerer: both the number and the time must be used up, by failures in a row."""
    bad, absent = error(403, "no"), error(404, "no")
    source = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox"}
    with Server([bad, bad, absent, bad, bad, ok(source=source), *[bad] * 3]) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        patience = {"max_consecutive_failures": 3, "max_failure_seconds": 0}
        assert sensor(**BY_NAME, **patience).execute({}) == source
        with pytest.raises(CommsMiningFailure, match="403"):
            sensor(**BY_NAME, **patience).execute({})
    assert len(server.log) == 9


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_short_outage_does_not_end_a_wait_however_often_it_looks(connect: Connect, deferrable: bool) -> None:
    with Server(lambda _: error(503, "no")) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        task = sensor(**BY_NAME, deferrable=deferrable, poke_interval=0.01, timeout=0.5)
        end = partial(task.execute, {})
        if deferrable:
            end = partial(task.execute_complete, {}, finish(defer(**BY_NAME, poke_interval=0.01, timeout=0.5)))
        with pytest.raises(AirflowSensorTimeout) as info:
            end()
        assert len(server.log) > 5
    assert str(info.value).startswith(
        "timed out waiting for source acme-dev/inbox to exist; still failing: GET sources/acme-dev"
    )
    assert str(info.value).count("503 Service Unavailable: no") == 1


@pytest.mark.parametrize(
    ("arguments", "goal"),
    [
        ({}, "to exist; it is not there"),
        ({"match": {"title": "x", "kind": "chat"}}, "to exist with the title, kind of `match`; it is not there"),
        (
            {"until": "updated", "updated_after": "2026-11-22"},
            "to change after 2026-11-22T00:00:00+00:00; it is not there",
        ),
        ({"until": "has_messages"}, "to hold at least 1 message; it is not there"),
        ({"until": "has_messages", "min_messages": 2}, "to hold at least 2 messages; it is not there"),
    ],
)
def test_a_time_out_says_what_was_waited_for_and_what_was_seen_last(
    tenant: TenantHandle, arguments: dict[str, Any], goal: str, capfd: pytest.CaptureFixture[str]
) -> None:
    short = {**BY_NAME, **arguments, "timeout": 0.02}
    with pytest.raises(AirflowSensorTimeout) as info:
        sensor(**short).execute({})
    assert str(info.value) == f"timed out waiting for source acme-dev/inbox {goal}"
    with pytest.raises(AirflowSkipException) as skipped:
        sensor(**short, soft_fail=True).execute({})
    assert str(skipped.value) == str(info.value)
    assert f"The task is skipped, since soft_fail is set: {info.value}" in "".join(capfd.readouterr())


def rescheduled(store: Store | None, **arguments: Any) -> None:
    """Look once in a process of its own, as Airflow does in mode reschedule."""
    context: Any = {"ti": Mock(get_first_reschedule_date=Mock(return_value=None), try_number=1)}
    if store is not None:
        context["task_state_store"] = store
    defaults = {**BY_NAME, "mode": "reschedule", "timeout": 60, "max_failure_seconds": 0}
    with pytest.raises(AirflowRescheduleException):
        sensor(**{**defaults, **arguments}).execute(context)


def test_mode_reschedule_counts_failures_over_its_looks(connect: Connect) -> None:
    store = Store()
    with Server([*[error(503, "no")] * 2, error(404, "no"), *[error(503, "no")] * 3]) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        for _ in range(5):
            rescheduled(store, max_consecutive_failures=3)
        with pytest.raises(CommsMiningRetryable, match="503"):
            rescheduled(store, max_consecutive_failures=3)
        assert len(server.log) == 6


def test_mode_reschedule_counts_each_look_by_itself_where_nothing_is_kept(connect: Connect) -> None:
    class Away(Store):
        def get(self, key: str, default: Any = None) -> Any:
            raise RuntimeError("away")

    with Server(lambda _: error(503, "no")) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        for store in (None, Away()):
            for _ in range(3):
                rescheduled(store, max_consecutive_failures=2)


def test_mode_reschedule_does_not_go_on_with_another_tenant(connect: Connect, tenant: TenantHandle) -> None:
    store = Store()
    rescheduled(store)
    connect("/acme/prod/reinfer_").add_source("acme-dev", "inbox")
    with pytest.raises(CommsMiningFailure, match=r"connection 'comms_mining_default' led to .*/acme/dev/reinfer_ when"):
        rescheduled(store)


def test_absent_waits_for_a_server_that_shows_sources_late(connect: Connect) -> None:
    """A copy that lags behind shows a source that was just created neither by its name nor in the listing."""
    source = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox"}
    other = {**source, "name": "other", "id": "28ba5ce699f8da1f"}
    late = [error(404, "no"), ok(sources=[other]), ok(source=source)]
    listed = [error(404, "no"), ok(sources=[source])]
    gone = [error(404, "no"), ok(sources=[other]), error(404, "no")]
    with Server([*late, *listed, *gone]) as server:
        connect(host=server.url)
        assert poke(**BY_NAME, until="absent") == "wait"
        assert poke(**BY_NAME, until="absent") == "wait"
        assert poke(**BY_NAME, until="absent") is None
        assert len(server.log) == 8


def test_the_event_of_another_tenant_than_the_connection_leads_to_tells_no_outlet(connect: Connect) -> None:
    connect("/acme/prod/reinfer_")
    event = {"status": "success", "source": {"id": "18ba5ce699f8da1f"}, "endpoint": "https://dev.reinfer.io"}
    assert sensor(**BY_NAME).execute_complete({}, event) == event["source"]
    with pytest.raises(CommsMiningFailure, match=r"led to https://dev\.reinfer\.io when this wait began"):
        sensor(**BY_NAME, outlets=[Asset("x")]).execute_complete({}, event)


# In the triggerer


@pytest.mark.parametrize("answer", [error(401, "no"), error(403, "no"), error(500, "no"), html(200), html(503)])
def test_a_first_look_that_fails_is_left_to_the_triggerer_after_one_attempt(connect: Connect, answer: Any) -> None:
    with Server([answer]) as server:
        connect(host=server.url)
        defer(**BY_NAME)
    assert len(server.log) == 1


@pytest.mark.parametrize("answer", [error(400, "no"), error(422, "no")])
def test_a_first_look_that_cannot_get_better_ends_the_task(connect: Connect, answer: Any) -> None:
    with Server([answer]) as server:
        connect(host=server.url)
        with pytest.raises(CommsMiningFailure):
            sensor(**BY_NAME, deferrable=True).execute({})


def test_a_connection_that_is_wrong_ends_the_task_before_the_wait(connect: Connect, sent: Sent) -> None:
    connect(extra={"readonly": True})
    with pytest.raises(CommsMiningFailure, match="did you mean `read_only`"):
        sensor(**BY_NAME, deferrable=True).execute({})
    assert sent() == []


def test_a_wait_that_is_over_already_costs_one_request_and_no_deferral(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox")
    assert sensor(**BY_NAME, deferrable=True).execute({}) == held
    assert sensor(project="acme-dev", source_name="other", until="absent", deferrable=True).execute({}) is None
    other = "GET sources/acme-dev/other"
    assert sent() == [f"GET {PATH}", other, "GET sources/acme-dev", other]


def test_a_deferral_carries_the_whole_wait_as_json(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    tenant.add_source("acme-dev", "inbox")
    before = datetime.now(UTC)
    deferred = defer(
        **BY_NAME,
        until="updated",
        updated_after=datetime(2040, 1, 1),  # noqa: DTZ001  # naive, as templates may give it
        match={"sensitive_properties": ("string:a",), "should_translate": "True"},
        poke_interval=timedelta(seconds=7),
        timeout=timedelta(hours=1),
        max_consecutive_failures=9,
        max_failure_seconds=75,
        end_from_trigger=True,
    )
    after = datetime.now(UTC)
    assert sent() == [f"GET {PATH}"]
    path, kwargs = deferred.trigger.serialize()
    assert path == "airflow_provider_cm.triggers.sources.SourceTrigger"
    assert json.loads(json.dumps(kwargs)) == kwargs
    deadline = datetime.fromisoformat(kwargs.pop("deadline"))
    assert before + timedelta(hours=1) <= deadline <= after + timedelta(hours=1)
    assert before <= datetime.fromisoformat(kwargs.pop("looked_at")) <= after
    assert kwargs.pop("execution_deadline") is None
    assert kwargs == {
        "comms_mining_conn_id": "comms_mining_default",
        "project": "acme-dev",
        "source_name": "inbox",
        "source_id": None,
        "until": "updated",
        "updated_after": "2040-01-01T00:00:00+00:00",
        "min_messages": 1,
        "match": {"sensitive_properties": ["string:a"], "should_translate": True},
        "poll_interval": 7.0,
        "max_consecutive_failures": 9,
        "max_failure_seconds": 75.0,
        "endpoint": f"{comms_mining_emulator.url}/acme/dev/reinfer_",
        "end_from_trigger": True,
    }
    assert deferred.method_name == "execute_complete"
    # The trigger ends the wait; Airflow's own time-out must not come before it.
    assert deferred.timeout is not None
    assert deferred.timeout > timedelta(hours=1)


def test_a_deferral_by_id_for_messages(tenant: TenantHandle) -> None:
    held = tenant.add_source("acme-dev", "inbox", messages=1)
    trigger = trigger_of(defer(source_id=held["id"], until="has_messages", min_messages="3"))
    assert (trigger.source_id, trigger.project, trigger.source_name) == (held["id"], None, None)
    assert (trigger.until, trigger.min_messages) == ("has_messages", 3)


def test_sensor_and_trigger_wait_together(tenant: TenantHandle) -> None:
    task = sensor(**BY_NAME, deferrable=True, poke_interval=0.05, timeout=5)
    with pytest.raises(TaskDeferred) as info:
        task.execute({})
    timer = threading.Timer(0.1, lambda: tenant.add_source("acme-dev", "inbox", title="Late"))
    timer.start()
    event = finish(info.value)
    timer.join()
    result = task.resume_execution(info.value.method_name, {"event": event}, {})
    assert result == tenant.source("acme-dev", "inbox")


@pytest.mark.parametrize("soft_fail", [False, True])
def test_sensor_and_trigger_time_out_together(tenant: TenantHandle, soft_fail: bool) -> None:
    task = sensor(**BY_NAME, deferrable=True, poke_interval=0.05, timeout=0.1, soft_fail=soft_fail)
    with pytest.raises(TaskDeferred) as info:
        task.execute({})
    event = finish(info.value)
    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout):
        task.resume_execution(info.value.method_name, {"event": event}, {})


def test_the_events_of_the_trigger_end_the_task() -> None:
    task = sensor(**BY_NAME)
    source = {"id": "18ba5ce699f8da1f", "name": "inbox"}
    assert task.execute_complete({}, {"status": "success", "source": source}) == source
    assert task.execute_complete({}, {"status": "success", "source": None}) is None
    with pytest.raises(AirflowSensorTimeout, match="not in time"):
        task.execute_complete({}, {"status": "timeout", "over": "timeout", "message": "not in time"})
    with pytest.raises(AirflowTaskTimeout, match="not in time"):
        task.execute_complete({}, {"status": "timeout", "over": "execution_timeout", "message": "not in time"})


@pytest.mark.parametrize(
    ("cause", "failure"),
    [
        (ServerError("no", method="GET", path=PATH, status=503, attempts=1, retry_after=7.0), CommsMiningRetryable),
        (RateLimitedError("no", status=429, api_message="slowly", platform_ms=3.5), CommsMiningRetryable),
        (TransportError("no response"), CommsMiningRetryable),
        (AuthenticationError("no", status=401), CommsMiningRetryable),
        (TokenError("no", error="invalid_client"), CommsMiningRetryable),
        (TokenError("no", error="invalid_scope"), CommsMiningFailure),
        (PermissionDeniedError("no", status=403), CommsMiningFailure),
        (ApiError("no", status=425, transient=True), CommsMiningRetryable),
        (ProtocolError("a page", status=503, transient=True), CommsMiningRetryable),
        (ProtocolError("a page", status=200), CommsMiningFailure),
        (ConflictError("no", status=409), CommsMiningFailure),
        (ConfigurationError("until: 'gone'"), CommsMiningFailure),
        (ManifestError([]), CommsMiningFailure),
    ],
)
def test_the_error_of_the_trigger_is_raised_as_what_it_was(cause: CommsMiningError, failure: type[Exception]) -> None:
    """Callbacks and policies look at the cause, whether the task waited here or in the triggerer."""
    event = json.loads(json.dumps({"status": "error", "message": str(cause), "error": error_to_json(cause)}))
    with pytest.raises(failure) as info:
        sensor(**BY_NAME).execute_complete({}, event)
    assert type(info.value) is failure
    assert str(info.value) == str(cause)
    assert getattr(info.value, "retry_after", None) == (cause.retry_after if failure is CommsMiningRetryable else None)
    told = info.value.__cause__
    assert isinstance(told, CommsMiningError)
    assert type(told) is type(cause) or isinstance(cause, ManifestError)
    facts = ("method", "path", "status", "api_message", "attempts", "platform_ms", "retry_after", "transient")
    assert [getattr(told, name) for name in facts] == [getattr(cause, name) for name in facts]
    assert getattr(told, "error", None) == getattr(cause, "error", None)


@pytest.mark.parametrize(
    "event",
    [
        None,
        "success",
        [],
        {},
        {"status": "done"},
        {"status": "success"},
        {"status": "timeout"},
        {"status": "timeout", "message": "x"},
        {"status": "timeout", "message": "x", "over": "patience"},
        {"status": "error"},
        {"status": "error", "message": "x"},
        {"status": "error", "error": "x"},
        {"status": "error", "error": {"type": "ServerError"}},
        {"status": "error", "error": {"type": "SystemExit", "message": "x"}},
        {"status": "error", "error": {"type": "ApiError", "message": "x", "a": "b"}},
    ],
)
def test_an_event_that_is_not_the_triggers_fails_loudly(event: Any) -> None:
    with pytest.raises(CommsMiningFailure, match="not a SourceTrigger's: ") as info:
        sensor(**BY_NAME).execute_complete({}, event)
    assert repr(event) in str(info.value)


def test_airflows_own_time_out_is_a_sensors() -> None:
    kwargs = {"error": "Trigger timeout", "traceback": None}
    with pytest.raises(AirflowSensorTimeout):
        sensor(**BY_NAME).resume_execution("__fail__", kwargs, {})


@needs("resumed sensors")
def test_soft_fail_covers_airflows_own_time_out() -> None:
    kwargs = {"error": "Trigger timeout", "traceback": None}
    with pytest.raises(AirflowSkipException):
        sensor(**BY_NAME, soft_fail=True).resume_execution("__fail__", kwargs, {})


@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"status": "error", "error": error_to_json(ServerError("busy", status=503))}, "busy"),
        ({"status": "error", "error": error_to_json(PermissionDeniedError("no", status=403))}, "no"),
        ({"status": "timeout", "over": "timeout", "message": "late"}, "late"),
        ({"status": "timeout", "over": "execution_timeout", "message": "late"}, "late"),
    ],
)
def test_soft_fail_and_never_fail_cover_every_bad_end_in_the_triggerer(
    option: str, event: dict[str, Any], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AirflowSkipException):
        sensor(**BY_NAME, **{option: True}).resume_execution("execute_complete", {"event": event}, {})
    # Airflow itself does not log why.
    (line,) = [line for line in "".join(capfd.readouterr()).splitlines() if "The task is skipped" in line]
    assert f"The task is skipped, since {option} is set: " in line
    assert told in line


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("answer", [error(400, "no"), None], ids=["refused", "bad input"])
def test_soft_fail_and_never_fail_cover_a_first_look_whether_it_would_defer_or_not(
    connect: Connect, option: str, deferrable: bool, answer: Any
) -> None:
    with Server([answer] if answer else []) as server:
        connect(host=server.url)
        arguments = {**BY_NAME, option: True, "deferrable": deferrable} | ({} if answer else {"until": "{{ gone }}"})
        with pytest.raises(AirflowSkipException):
            sensor(**arguments).execute({})


def test_never_fail_covers_a_secrets_backend_that_raises_anything(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("the vault's address is s3cr3t")

    monkeypatch.setattr(CommsMiningHook, "get_connection", broken)
    with pytest.raises(AirflowSkipException):
        sensor(**BY_NAME, never_fail=True, deferrable=True).execute({})
    logged = "".join(capfd.readouterr())
    assert "since never_fail is set: RuntimeError" in logged
    assert "s3cr3t" not in logged
    with pytest.raises(RuntimeError):
        sensor(**BY_NAME, soft_fail=True, deferrable=True).execute({})


# Deadlines


def test_execution_timeout_counts_the_deferral_too(tenant: TenantHandle) -> None:
    """As Airflow documents it; Airflow 3 itself counts a deferred task's time in the worker only."""
    task = sensor(**BY_NAME, deferrable=True, timeout=60, execution_timeout=timedelta(seconds=0.3))
    with pytest.raises(TaskDeferred) as info:
        task.execute({})
    event = finish(info.value)
    with pytest.raises(AirflowTaskTimeout, match="the task's execution_timeout ended while waiting for source"):
        task.resume_execution(info.value.method_name, {"event": event}, {})


class Store(dict[str, Any]):
    """Stands for Airflow's store of a task's state; tests/e2e/test_patience.py has the real one."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def deadline_of(store: Store | None, **arguments: Any) -> datetime:
    """Tell until when a try waits, which is the first of a task, or one after it was cleared (``max_tries`` grows)."""
    max_tries = arguments.pop("max_tries", 2)
    context: Any = {"ti": Mock(max_tries=max_tries)} | ({} if store is None else {"task_state_store": store})
    with pytest.raises(TaskDeferred) as info:
        sensor(**{**BY_NAME, "timeout": 60, "retries": 2, **arguments}, deferrable=True).execute(context)
    deadline = trigger_of(info.value).deadline
    assert deadline is not None
    return datetime.fromisoformat(deadline)


def test_a_retry_does_not_begin_the_timeout_anew(tenant: TenantHandle) -> None:
    store = Store()
    first = deadline_of(store)
    assert deadline_of(store) == first
    # Its author may change the DAG meanwhile.
    assert deadline_of(store, timeout=90) == first + timedelta(seconds=30)
    # But a task that is cleared begins anew, and its own retries go on with that.
    cleared = deadline_of(store, max_tries=4)
    assert cleared > first
    assert deadline_of(store, max_tries=4) == cleared


def test_a_wait_whose_time_was_over_between_two_tries_looks_once_more(tenant: TenantHandle) -> None:
    store = Store()
    assert deadline_of(store, timeout=0.01) < datetime.now(UTC) + timedelta(seconds=0.01)
    task = sensor(**BY_NAME, timeout=0.01, retries=2, deferrable=True)
    with pytest.raises(TaskDeferred) as info:
        task.execute({"ti": Mock(max_tries=2), "task_state_store": store})
    assert info.value.timeout is not None
    assert info.value.timeout > timedelta(0)
    assert finish(info.value)["over"] == "timeout"
    held = tenant.add_source("acme-dev", "inbox")
    assert task.execute({"ti": Mock(max_tries=2), "task_state_store": store}) == held


@pytest.mark.parametrize(("store", "retries"), [(None, 2), (Store(), 0)], ids=["below Airflow 3.3", "no retries"])
def test_without_a_store_or_retries_nothing_is_kept(tenant: TenantHandle, store: Store | None, retries: int) -> None:
    first = deadline_of(store, retries=retries)
    assert deadline_of(store, retries=retries) > first
    assert not store


def test_a_store_that_is_away_does_not_end_the_wait(tenant: TenantHandle, capfd: pytest.CaptureFixture[str]) -> None:
    class Away(Store):
        def get(self, key: str, default: Any = None) -> Any:
            raise RuntimeError("away")

    assert deadline_of(Away()) > datetime.now(UTC)
    assert "The start of this wait could not be stored for a retry: RuntimeError" in "".join(capfd.readouterr())


# What DAG authors rely on


@pytest.mark.parametrize("default", ["True", "False"])
def test_airflows_default_decides_whether_it_defers(monkeypatch: pytest.MonkeyPatch, default: str) -> None:
    # Read when the module is imported, as in every provider: so a copy of the module is.
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", default)
    spec = importlib.util.spec_from_file_location("a_copy_of_the_sensors", str(Path(str(module.__file__))))
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert copy.SourceSensor(task_id="t", **BY_NAME).deferrable is (default == "True")
    assert copy.SourceSensor(task_id="t", **BY_NAME, deferrable=False).deferrable is False


def test_every_value_of_the_wait_is_a_template_field_and_kept_as_it_is() -> None:
    own = set(inspect.signature(SourceSensor.__init__).parameters) - {"self", "kwargs"}
    assert own - set(SourceSensor.template_fields) == {
        "deferrable",
        "end_from_trigger",
        "max_consecutive_failures",
        "max_failure_seconds",
    }
    assert set(SourceSensor.template_fields) <= own
    values: dict[str, Any] = {name: f"{{{{ {name} }}}}" for name in SourceSensor.template_fields}
    task = SourceSensor(task_id="t", **values)
    assert {name: getattr(task, name) for name in SourceSensor.template_fields} == values


def test_the_interface_shows_match_as_json_and_the_package_s_color() -> None:
    task = SourceSensor(task_id="t", **BY_NAME)
    assert task.template_fields_renderers == {"match": "json"}
    assert (task.ui_color, task.ui_fgcolor) == ("#f7e3d4", "#1f2a37")


def test_arguments_may_come_from_other_tasks_and_be_mapped() -> None:
    with DAG("d"):
        first = SourceSensor(task_id="first", comms_mining_conn_id="there_is_no_such_connection", **BY_NAME)
        outputs: dict[str, Any] = dict.fromkeys(SourceSensor.template_fields, first.output)
        second = SourceSensor(task_id="second", **outputs)
        mapped: Any = SourceSensor.partial(task_id="third", project="acme-dev").expand(source_name=["a", "b"])
    assert second.upstream_task_ids == {"first"}
    task = mapped.unmap({"source_name": "b"})
    assert (type(task), task.project, task.source_name) == (SourceSensor, "acme-dev", "b")


def test_templates_are_rendered_into_the_wait(connect: Connect) -> None:
    held = connect(conn_id="mine").add_source("acme-dev", "inbox", title="Inbox of dev")
    with DAG("d"):
        task = SourceSensor(
            task_id="t",
            project="acme-{{ stage }}",
            source_name="{{ 'inbox' }}",
            match={"title": "Inbox of {{ stage }}", "should_translate": "{{ False }}"},
            comms_mining_conn_id="{{ 'mine' }}",
        )
    task.render_template_fields({"stage": "dev"})  # type: ignore[typeddict-unknown-key]
    assert task.execute({}) == held
