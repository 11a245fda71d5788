"""SECURITY.md says which permission each thing needs: it is tried out, with each permission alone and with both."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator.permissions import ADMIN, READ
from airflow_provider_cm.get_provider_info import get_provider_info
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from tests.features import has
from tests.secrets.search import Haul
from tests.secrets.situations import QUICK
from tests.secrets.subjects import (
    _BASES,
    INBOX,
    MANIFEST,
    MANIFEST_FILE,
    ONE_FAILURE,
    _run_command,
    _run_task,
    _run_trigger,
    commands,
    listed,
)
from tests.secrets.subjects import ARGUMENTS as LOADS
from tests.secrets.subjects import COMMANDS as COMMAND_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = pytest.mark.usefixtures("impatient")
SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
EDIT = "sources-add-comments"
GRANTS = {
    "View sources": {READ},
    "Edit messages": {EDIT},
    "Sources admin": {ADMIN},
    "View sources and Edit messages": {READ, EDIT},
    "View sources and Sources admin": {READ, ADMIN},
}
# Each thing of the table by its name there, with arguments with which it has something to do.
ARGUMENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "CreateSourceOperator": lambda _: {"project": "acme-dev", "source_name": "new"},
    "UpdateSourceOperator": lambda _: {**INBOX, "title": "New"},
    "GetSourceOperator": lambda _: INBOX,
    "ListSourcesOperator": lambda _: {"project": "acme-dev"},
    "DeleteSourceOperator by id": lambda source_id: {"source_id": source_id},
    "DeleteSourceOperator by name": lambda _: INBOX,
    "PlanSourcesOperator": lambda _: {"manifest": MANIFEST},
    "ApplySourcesOperator": lambda _: {"plan": _plan()},
    "ReconcileSourcesOperator": lambda _: {"manifest": MANIFEST},
    "ExportSourcesOperator": lambda _: {"project": "acme-dev"},
    "LoadMessagesOperator": lambda _: _load("LoadMessagesOperator"),
    "FilesToCommsMiningOperator": lambda _: _load("FilesToCommsMiningOperator"),
    "SqlToCommsMiningOperator": lambda _: _load("SqlToCommsMiningOperator"),
    "DeleteMessagesOperator with delete_annotated": lambda _: {
        **INBOX,
        "ids": ["a-message"],
        "max_deletes": 1,
        "delete_annotated": True,
    },
    "SourceSensor": lambda _: {**INBOX, "until": "has_messages", **ONE_FAILURE},
    "SourceTrigger": lambda _: {**INBOX, "until": "has_messages", **ONE_FAILURE},
}
COMMANDS: dict[str, list[str]] = {
    "comms-mining check": [],
    "comms-mining list": [],
    "comms-mining plan": ["--manifest", str(MANIFEST_FILE)],
    "comms-mining apply": ["--manifest", str(MANIFEST_FILE), "--yes"],
    "comms-mining export": ["--project", "acme-dev"],
    "comms-mining load": [*COMMAND_WORDS["comms-mining", "load"][1], "--no-verify"],
}


def _load(name: str) -> dict[str, Any]:
    """Return arguments of a load that does not count: the number of messages is fixed in these tests."""
    arguments = {key: value() if callable(value) else value for key, value in LOADS[name][0].items()}
    return {**arguments, "verify": False}


def _plan() -> dict[str, Any]:
    from tests.secrets.subjects import plan_for_the_connection

    return plan_for_the_connection()


def _table() -> dict[str, str]:
    rows = re.findall(r"^\| ([^|]+) \| (`[^|]+) \|$", SECURITY, re.MULTILINE)
    return {name.strip("` "): needed for needed, names in rows for name in names.split(",")}


def _tries(source_id: str) -> dict[str, Callable[[], object]]:
    info = get_provider_info()
    found: dict[str, Callable[[], object]] = {"test_connection": lambda: _checked(CommsMiningHook().test_connection())}
    for kind in set(_BASES) - {"hooks"}:
        for each in listed(info, kind):
            if each.__name__ == "ApproveSourcesOperator":
                continue  # it asks a person, and no server
            run = _trigger_succeeds if kind == "triggers" else _run_task
            names = [name for name in ARGUMENTS if name.partition(" ")[0] == each.__name__]
            assert names, f"say in {__name__} how {each.__name__} is tried out, and in SECURITY.md what it needs"
            for name in names:
                found[name] = lambda run=run, each=each, name=name: run(Haul(), each, ARGUMENTS[name](source_id))  # type: ignore[misc]
    for path, command in commands(info).items():
        if path[-1] == "validate":
            continue  # it reads a file, and needs no connection
        words = COMMANDS[" ".join(path)]
        found[f"airflow {' '.join(path)}"] = lambda command=command, words=words: _run_command(Haul(), command, words)  # type: ignore[misc]
    return found


def _checked(answer: tuple[bool, str]) -> None:
    worked, told = answer
    # What may not be seen is left out of a listing without an error.
    assert worked, told
    assert "0 sources" not in told


def _trigger_succeeds(_: Haul, kind: Any, arguments: dict[str, Any]) -> None:
    haul = Haul()
    _run_trigger(haul, kind, arguments)
    assert haul.search({"event": '"status": "success"'})


def _works(act: Callable[[], object]) -> bool:
    try:
        act()
    except SystemExit as end:
        return end.code == 0
    except Exception:  # noqa: BLE001
        return False
    return True


def test_a_writer_who_may_not_look_does_not_learn_what_became_of_a_lost_response(
    comms_mining_emulator: EmulatorServer,
) -> None:
    from airflow_provider_cm.api import ApiSession, DeveloperToken, OutcomeUnknownError, RetryPolicy, SourcesApi

    comms_mining_emulator.state.tokens.add("writer", "some-token-with-a-role", frozenset({ADMIN}))
    tenant = comms_mining_emulator.tenant("/acme/dev/reinfer_")
    tenant.add_source("acme-dev", "inbox")
    comms_mining_emulator.faults.add("no-answer", "POST", when="after")
    policy = RetryPolicy(sleep=lambda _: None)
    session = ApiSession(tenant.endpoint, DeveloperToken("some-token-with-a-role"), retry=policy)
    with pytest.raises(OutcomeUnknownError):
        SourcesApi(session).update("acme-dev", "inbox", title="New")
    assert [request.status for request in comms_mining_emulator.requests][-1] == 403


def test_each_thing_needs_the_permission_that_is_written_there(
    comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: dict[str, str] = {}
    for name in _tries(""):
        for label, permissions in GRANTS.items():
            comms_mining_emulator.reset()
            comms_mining_emulator.state.tokens.add("some", "some-token-with-a-role", frozenset(permissions))
            tenant = comms_mining_emulator.tenant("/acme/dev/reinfer_")
            source_id = tenant.add_source("acme-dev", "inbox", messages=1)["id"]
            connection = {
                "conn_type": "comms_mining",
                "host": tenant.endpoint,
                "password": "some-token-with-a-role",
                "extra": QUICK,
            }
            monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", json.dumps(connection))
            if _works(_tries(source_id)[name]):
                needed.setdefault(name, label)
    table = _table()
    if not has("command line"):
        table = {name: permission for name, permission in table.items() if not name.startswith("airflow ")}
    assert needed == table
