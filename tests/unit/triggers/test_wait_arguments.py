"""Conditions and what is read for them: names in errors, keys of polls, cursors of watchers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import ConfigurationError
from airflow_provider_cm.api.arguments import NOT_GIVEN, source_address
from airflow_provider_cm.triggers import condition as conditions
from airflow_provider_cm.triggers.asset_watch import Cursor
from airflow_provider_cm.triggers.condition import Condition, ConditionArguments
from airflow_provider_cm.triggers.deferred_wait import Terms
from airflow_provider_cm.triggers.poll_client import shared_client
from airflow_provider_cm.triggers.poll_loop import Snapshot
from airflow_provider_cm.triggers.readers import Listed, MessagesReader, SourceReader
from airflow_provider_cm.triggers.second_look import SecondLook
from airflow_provider_cm.triggers.sources import SourceTrigger

if TYPE_CHECKING:
    from tests.conftest import Connect

ID = "18ba5ce699f8da1f"
NAMED = source_address("acme-dev", "inbox", NOT_GIVEN)
BY_ID = source_address(NOT_GIVEN, NOT_GIVEN, ID)
ARGUMENTS: ConditionArguments = {
    "project": "acme-dev",
    "source_name": "inbox",
    "source_id": None,
    "until": "exists",
    "updated_after": None,
    "min_messages": 1,
    "match": None,
}


def condition(*, watching: bool = False, **arguments: Any) -> Condition:
    return Condition.parse(watching=watching, **{**ARGUMENTS, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"until": "soon"}, r"^until: 'soon'"),
        ({"until": "updated", "updated_after": "soon"}, r"^updated_after: 'soon'"),
        ({"until": "updated"}, r"^updated_after: until='updated'"),
        ({"until": "has_messages", "min_messages": "many"}, r"^min_messages: 'many'"),
        ({"match": "title"}, r"^match: 'title'"),
        ({"match": {"tilte": "x"}}, r"^match: .*'tilte'"),
        ({"match": {}, "until": "absent"}, r"^match: "),
        ({"updated_after": "2026-11-22"}, r"^updated_after: "),
        ({"min_messages": 2}, r"^min_messages: "),
        ({"source_name": "a b"}, r"^source_name: "),
        ({"project": "a b"}, r"^project: "),
        ({"project": None, "source_name": None, "source_id": "x"}, r"^source_id: "),
    ],
)
def test_an_error_names_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        condition(**arguments)


def test_what_is_not_given_is_not_checked() -> None:
    parsed = condition()
    assert (parsed.address, parsed.until, parsed.updated_after) == (NAMED, "exists", None)
    assert (parsed.min_messages, parsed.match) == (1, {})
    assert condition(match={}).match == {}
    assert condition(watching=True, until="updated").updated_after is None


def test_a_trigger_declares_each_argument_once() -> None:
    """Airflow stores what ``serialize`` gives, and both lists of arguments come from the fields of the class."""
    _, kwargs = SourceTrigger(comms_mining_conn_id="c", source_id=ID).serialize()
    assert kwargs["comms_mining_conn_id"] == "c"
    assert set(ConditionArguments.__annotations__) < set(kwargs)
    terms = Terms.parse({**kwargs, "deadline": "2026-11-22", "endpoint": "https://cm.example.com/"}, watching=False)
    assert (terms.conn_id, terms.condition.address, terms.interval) == ("c", BY_ID, 30.0)
    assert terms.endpoint == "https://cm.example.com"
    assert (terms.execution_deadline, terms.looked_at, terms.end_from_trigger) == (None, None, False)
    assert terms.deadline is not None
    assert terms.deadline.isoformat() == "2026-11-22T00:00:00+00:00"


# What polls share


def test_readers_with_equal_keys_read_the_same() -> None:
    assert MessagesReader(NAMED).key == ("messages", "acme-dev/inbox")
    assert MessagesReader(BY_ID).key == ("messages", ID)
    assert SourceReader(NAMED, by_id=True).key == ("source", "acme-dev/inbox", "True")
    assert SourceReader(BY_ID, by_id=False).key == ("source", ID, "False")
    assert condition().reader().key == ("listing", "acme-dev")
    assert condition(match={"title": "x"}).reader().key == ("listing", "acme-dev")
    assert condition(match={"language": "en"}).reader().key == ("source", "acme-dev/inbox", "True")
    assert condition().reader(alone=True).key == ("source", "acme-dev/inbox", "False")


# Cursors


def test_each_condition_connection_and_endpoint_has_a_cursor_of_its_own() -> None:
    class Store:
        """Notes what is asked for."""

        def __init__(self) -> None:
            self.keys: list[str] = []

        async def aget(self, key: str, default: Any = None) -> Any:
            self.keys.append(key)
            return default

        async def aset(self, key: str, value: Any) -> None:
            raise AssertionError

    store = Store()

    def load(watched: Condition, *place: str) -> None:
        conn_id, endpoint = place or ("c", "https://cm.example.com")
        asyncio.run(Cursor(store, watched, (conn_id, endpoint), 1.0).load())

    load(condition())
    load(condition(source_name="other"))
    load(condition(project="acme-prod"))
    load(condition(match={"title": "a"}))
    load(condition(match={"title": "b"}))
    load(condition(watching=True, until="updated"))
    load(condition(until="updated", updated_after="2026-11-22"))
    load(condition(until="updated", updated_after="2026-11-23"))
    load(condition(until="has_messages"))
    load(condition(until="has_messages", min_messages=2))
    load(condition(), "d", "https://cm.example.com")
    load(condition(), "c", "https://other.example.com")
    assert len(set(store.keys)) == len(store.keys) == 12
    load(condition(match={"title": "b", "description": "c"}))
    load(condition(match={"description": "c", "title": "b"}))
    assert len(set(store.keys)) == 13
    assert store.keys[0].startswith("comms_mining_exists_")


# The second look


def test_the_second_look_goes_where_the_poll_has_looked(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has followed the connection elsewhere and back again meanwhile."""
    monkeypatch.setattr(conditions, "SECOND_LOOK_AFTER", 0.0)
    dev = connect("/acme/dev/reinfer_")
    dev.add_source("acme-dev", "inbox")
    conn_id = "comms_mining_default"

    async def look() -> Any:
        async with shared_client(conn_id) as client:
            first = await client.call(lambda hook: hook.get_conn().endpoint)
            connect("/acme/prod/reinfer_")
            other = await client.call(lambda hook: hook.get_conn().endpoint, endpoint="https://elsewhere.example.com")
            assert first != other
            connect("/acme/dev/reinfer_")
            snapshot = Snapshot(datetime.now(UTC), Listed([]), first)
            return await SecondLook(condition(until="absent"), conn_id)(snapshot, known=(None,))

    found = asyncio.run(look())
    assert not found.met, "it is there after all"
    assert found.facts["name"] == "inbox"
