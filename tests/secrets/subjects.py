"""What is run: everything that the provider lists, found there, with the arguments prepared here.

What is added to the provider joins by being listed. It needs arguments here, or the test says so.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import csv
import importlib
import inspect
import json
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, TaskDeferred
from airflow.triggers.base import BaseTrigger

from airflow_provider_cm.get_provider_info import get_provider_info
from tests.features import has
from tests.secrets.situations import MESSAGE_ADDRESS, MESSAGE_ID, MESSAGE_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.secrets.search import Haul

INBOX: dict[str, Any] = {"project": "acme-dev", "source_name": "inbox"}
SOME_ID = "18ba5ce699f8da1f"
MANIFEST_FILE = Path(__file__).with_name("manifest.json")
MANIFEST = json.loads(MANIFEST_FILE.read_text())
PAST = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
WAIT_SECONDS = 0.5  # in which a trigger polls often enough to end by an error, or gives up


def plan_for_the_connection() -> dict[str, Any]:
    """Make a plan as if the project were empty, for the endpoint of the connection that the run is to use."""
    from airflow_provider_cm.api.endpoint import normalise_endpoint
    from airflow_provider_cm.rollout import Manifest, plan

    host = json.loads(os.environ["AIRFLOW_CONN_COMMS_MINING_DEFAULT"]).get("host") or "https://cm.example/a/b/reinfer_"
    try:
        target = normalise_endpoint(host, allow_http=True)
    except ValueError:
        target = "https://cm.example/a/b/reinfer_"
    return plan(Manifest.parse(MANIFEST), [], target=target).to_dict()


MAPPING = {"id": "{id}", "timestamp": "{at}", "body": "{text}", "sender": "{sender}", "properties": {"Who": "{sender}"}}
MESSAGE = {"id": MESSAGE_ID, "at": "2026-01-05T09:00:00Z", "text": MESSAGE_TEXT, "sender": MESSAGE_ADDRESS}
# Rows that are refused before they are sent: each puts what nobody may see where an error might quote it.
BAD_MESSAGES: list[dict[str, Any]] = [
    {**MESSAGE, "at": MESSAGE_TEXT},
    {**MESSAGE, "id": f"{MESSAGE_ID} {MESSAGE_ADDRESS}"},
    {**MESSAGE, "sender": [MESSAGE_ADDRESS]},
    {**MESSAGE, "text": MESSAGE_TEXT * 1000},
    {MESSAGE_TEXT: 1, MESSAGE_ADDRESS: 2},
]
LOAD: dict[str, Any] = {**INBOX, "mapping": MAPPING}
COMMENT = {
    "id": MESSAGE_ID,
    "timestamp": "2026-01-05T09:00:00Z",
    "messages": [{"body": {"text": MESSAGE_TEXT}, "from": MESSAGE_ADDRESS}],
}
_FOLDER = Path(tempfile.mkdtemp(prefix="airflow-provider-cm-secrets-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def message_file(kind: str, rows: list[dict[str, Any]]) -> str:
    """Write rows into a file, and give its path."""
    path = _FOLDER / f"{len(rows)}.{kind}"
    with path.open("w", newline="") as file:
        if kind == "jsonl":
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(MESSAGE), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def _mapping_file() -> str:
    path = _FOLDER / "mapping.json"
    path.write_text(json.dumps(MAPPING))
    return str(path)


def message_table() -> str:
    """Make a table of messages, and give the id of the connection to it."""
    path = _FOLDER / "messages.db"
    if not path.exists():
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE message (id TEXT PRIMARY KEY, at TEXT, text TEXT, sender TEXT)")
            database.execute("INSERT INTO message VALUES (:id, :at, :text, :sender)", MESSAGE)
            database.commit()
    os.environ["AIRFLOW_CONN_MESSAGES"] = json.dumps({"conn_type": "sqlite", "host": str(path)})
    return "messages"


# A wait tolerates failures for ten minutes otherwise.
ONE_FAILURE: dict[str, Any] = {"max_consecutive_failures": 1, "max_failure_seconds": 0}
# Each class that the provider lists, by its name, with the arguments of each run of it; a function is called to give
# an argument when the run begins.
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "CreateSourceOperator": [
        {"project": "acme-dev", "source_name": "new", "title": "{{ 'New' }}"},
        {**INBOX, "title": "Another", "if_exists": "match"},
        {**INBOX, "title": "Another", "if_exists": "update"},
    ],
    "UpdateSourceOperator": [{**INBOX, "description": "Changed"}],
    "GetSourceOperator": [INBOX, {"source_id": SOME_ID}],
    "ListSourcesOperator": [{}, {"project": "acme-dev", "name_pattern": "i*"}],
    "DeleteSourceOperator": [{**INBOX, "only_if_empty": True}, {"source_id": SOME_ID, "if_missing": "fail"}],
    "PlanSourcesOperator": [{"manifest": MANIFEST, "prune": True, "max_deletes": 1}],
    "ApplySourcesOperator": [{"plan": plan_for_the_connection, "delete_nonempty": True}],
    "ApproveSourcesOperator": [],  # it has no connection, and so no secret; it asks a person
    "ReconcileSourcesOperator": [
        {"manifest": MANIFEST, "prune": True, "max_deletes": 9, "delete_nonempty": True},
        {"manifest": MANIFEST, "on_drift": "fail"},
    ],
    "LoadMessagesOperator": [
        {**LOAD, "messages": [MESSAGE]},
        {**INBOX, "messages": [COMMENT, COMMENT], "verify": False},
        {**LOAD, "messages": BAD_MESSAGES, "max_rejected": 3, "rejects_path": str(_FOLDER / "rejected.jsonl")},
    ],
    "DeleteMessagesOperator": [
        {**INBOX, "ids": [MESSAGE_ID], "max_deletes": 1},
        {**INBOX, "ids": [MESSAGE_ID, "another"], "max_deletes": 2, "delete_annotated": True},
    ],
    "FilesToCommsMiningOperator": [
        {**LOAD, "path": lambda: message_file("csv", [MESSAGE]), "verify": False},
        {**LOAD, "path": lambda: message_file("jsonl", BAD_MESSAGES), "max_rejected": 0.5},
    ],
    "SqlToCommsMiningOperator": [
        {**LOAD, "sql": "SELECT * FROM message", "sql_conn_id": message_table, "verify": False},
        {**LOAD, "sql": "SELECT * FROM message", "sql_conn_id": message_table, "key": "id", "concurrency": 2},
    ],
    "ExportSourcesOperator": [{"project": "acme-dev"}],
    "SourceSensor": [
        {**INBOX, "match": {"title": "Other"}, "timeout": 0, "poke_interval": 0.01, **ONE_FAILURE},
        {**INBOX, "until": "has_messages", "deferrable": True, **ONE_FAILURE},
        {
            **INBOX,
            "until": "updated",
            "updated_after": PAST,
            "deferrable": True,
            "end_from_trigger": True,
            **ONE_FAILURE,
        },
    ],
    "SourceTrigger": [
        {**INBOX, "match": {"title": "Other"}, **ONE_FAILURE},
        {**INBOX, "until": "updated", "updated_after": PAST, **ONE_FAILURE},
        {"source_id": SOME_ID, "until": "absent", "poll_interval": 0.01, **ONE_FAILURE, "max_consecutive_failures": 2},
    ],
}
# What is done with each hook that the provider lists.
HOOK_CALLS: dict[str, list[Callable[[Any], object]]] = {
    "CommsMiningHook": [
        lambda hook: hook.test_connection(),
        lambda hook: hook.request("GET", "sources", "acme-dev"),
        lambda hook: hook.request("PUT", "sources", "acme-dev", "other", json={"source": {}}),
        lambda hook: hook.sources.statistics("acme-dev", "inbox"),
        lambda hook: repr(hook.messages.sync("acme-dev", "inbox", [COMMENT])),
        lambda hook: hook.messages.get("acme-dev", "inbox", MESSAGE_ID) and None,
        lambda hook: hook.messages.delete("acme-dev", "inbox", [MESSAGE_ID]),
        lambda hook: hook.messages.count("acme-dev", "inbox"),
    ]
}
# Each command of the provider's command line, such as ("cm", "plan"), with its arguments.
_PRUNE = ["--manifest", str(MANIFEST_FILE), "--prune", "--max-deletes", "9"]
COMMANDS: dict[tuple[str, ...], list[list[str]]] = {
    ("comms-mining", "check"): [[], ["--verbose"]],
    ("comms-mining", "list"): [["--project", "acme-dev", "--json"]],
    ("comms-mining", "validate"): [_PRUNE],
    ("comms-mining", "plan"): [["--markdown", *_PRUNE]],
    ("comms-mining", "apply"): [["--yes", "--delete-nonempty", "--verbose", *_PRUNE]],
    ("comms-mining", "export"): [["--project", "acme-dev"]],
    ("comms-mining", "load"): [
        [message_file("jsonl", BAD_MESSAGES), "--project", "acme-dev", "--source", "inbox", "--verbose"],
        [message_file("csv", [MESSAGE]), "--project", "acme-dev", "--source", "inbox", "--mapping", _mapping_file()],
    ],
}

# Keys of the provider's information under which there is code that runs, and those that hold only words.
# A link shows what a task has written, and a URI's handler is given no secret: a DAG's file holds it.
RUN = {"hooks", "operators", "transfers", "sensors", "triggers", "cli"}
WORDS = {"package-name", "name", "description", "integrations", "connection-types", "config"}
# A decorated function is run by the operators' base.
WORDS |= {"extra-links", "asset-uris", "task-decorators", "state", "lifecycle", "versions"}
_BASES: dict[str, type] = {
    "hooks": BaseHook,
    "operators": BaseOperator,
    "transfers": BaseOperator,
    "sensors": BaseSensorOperator,
    "triggers": BaseTrigger,
}


@dataclass(frozen=True)
class Subject:
    """One run of one thing that the provider lists.

    :param name: to tell it from others.
    :param run: does it, and puts all that it shows into the haul; what it raises is for the caller.
    :param first: the first of several runs.
    :param threaded: it talks to the API in another thread.
    """

    name: str
    run: Callable[[Haul], None]
    first: bool
    threaded: bool


def unprepared(info: dict[str, Any]) -> list[str]:
    """List what would not be run: the message of the test that fails then."""
    problems = [
        f"`{key}` is a new key of the provider's information: say in {__name__} how what it lists is run (RUN), or "
        "that nothing of it runs (WORDS)"
        for key in info
        if key not in RUN | WORDS
    ]
    prepared = ARGUMENTS.keys() | HOOK_CALLS.keys()
    problems += [
        f"{kind}: {each.__name__} is listed by the provider, and no arguments are prepared for it: add them to "
        f"ARGUMENTS (a hook's calls to HOOK_CALLS) in {__name__}"
        for kind in _BASES
        for each in listed(info, kind)
        if each.__name__ not in prepared
    ]
    problems += [
        f"cli: no arguments are prepared for `airflow {' '.join(path)}`: add them to COMMANDS in {__name__}"
        for path in commands(info)
        if path not in COMMANDS
    ]
    return problems


def listed(info: dict[str, Any], kind: str) -> list[type]:
    """Find the classes in the modules that the provider lists."""
    found: list[type] = []
    for block in info.get(kind, []):
        for name in block.get("python-modules") or [block["python-module"]]:
            found += [
                each
                for each in vars(importlib.import_module(name)).values()
                if inspect.isclass(each)
                and issubclass(each, _BASES[kind])
                and each.__module__ == name
                and not each.__name__.startswith("_")
                and each not in found
            ]
    return found


def commands(info: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Find the commands that the provider adds to Airflow's command line, by their words."""
    found: dict[tuple[str, ...], Any] = {}
    if not has("command line"):
        return found

    def collect(command: Any, before: tuple[str, ...]) -> None:
        path = (*before, command.name)
        if hasattr(command, "subcommands"):
            for each in command.subcommands:
                collect(each, path)
        else:
            found[path] = command

    for function in info.get("cli", []):
        for command in resolve_name(function)():
            collect(command, ())
    return found


def subjects() -> list[Subject]:
    """Give all runs of all that the provider lists."""
    info = get_provider_info()
    found: list[Subject] = []
    for kind in ("operators", "transfers", "sensors", "triggers"):
        for each in listed(info, kind):
            run = _run_trigger if kind == "triggers" else _run_task
            for number, arguments in enumerate(ARGUMENTS[each.__name__]):
                found.append(_subject(each.__name__, number, run, each, arguments))
    for each in listed(info, "hooks"):
        for number, call in enumerate(HOOK_CALLS[each.__name__]):
            found.append(_subject(each.__name__, number, _run_hook, each, call))
    for path, command in commands(info).items():
        for number, words in enumerate(COMMANDS[path]):
            found.append(_subject(f"airflow {' '.join(path)}", number, _run_command, command, words))
    return found


def _subject(name: str, number: int, run: Callable[[Haul, Any, Any], None], what: Any, how: Any) -> Subject:
    return Subject(f"{name} {number}", lambda haul: run(haul, what, how), number == 0, run is _run_trigger)


class _TaskInstance:
    """What of a task's instance our operators use."""

    def __init__(self, haul: Haul) -> None:
        self._haul = haul

    def xcom_push(self, key: str, value: Any) -> None:
        self._haul.add("XCom", json.dumps([key, value], default=repr))


def _run_task(haul: Haul, kind: Any, arguments: dict[str, Any]) -> None:
    task = kind(task_id="t", **{name: value() if callable(value) else value for name, value in arguments.items()})
    context: Any = {"ti": _TaskInstance(haul)}
    try:
        task.render_template_fields(context)
        try:
            haul.add("XCom", json.dumps(task.execute(context), default=repr))
        except TaskDeferred as deferral:
            haul.add("deferral", repr((deferral.method_name, deferral.kwargs)))
            for payload in _events(haul, deferral.trigger):
                haul.add("XCom", json.dumps(getattr(task, deferral.method_name)(context, payload), default=repr))
    finally:
        haul.add_object("object", task)
        rendered = {name: getattr(task, name) for name in task.template_fields}
        haul.add("rendered template", json.dumps(rendered, default=repr))


def _run_trigger(haul: Haul, kind: Any, arguments: dict[str, Any]) -> None:
    _events(haul, kind(comms_mining_conn_id="comms_mining_default", **arguments))


def _events(haul: Haul, trigger: Any) -> list[Any]:
    """Let a trigger run as the triggerer does: made anew from the JSON of itself."""
    path, arguments = trigger.serialize()
    haul.add("serialized trigger", json.dumps([path, arguments]))
    soon = (datetime.now(UTC) + timedelta(seconds=WAIT_SECONDS)).isoformat()
    again = resolve_name(path)(**json.loads(json.dumps({**arguments, "deadline": soon, "poll_interval": 0.01})))

    async def run() -> list[Any]:
        async with asyncio.timeout(20):
            return [event async for event in again.run()]

    try:
        events = asyncio.run(run())
    finally:
        haul.add_object("object", again)
        haul.add("object", repr(trigger))
    for event in events:
        haul.add("event", json.dumps(event.payload, default=repr))
        haul.add("event", repr(event))
    return [event.payload for event in events if not hasattr(event, "xcoms")]


def _run_hook(haul: Haul, kind: Any, call: Callable[[Any], object]) -> None:
    hook = kind()
    try:
        haul.add("answer of the hook", json.dumps(call(hook), default=repr))
    finally:
        haul.add_object("object", hook)


def _run_command(_: Haul, command: Any, words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for argument in command.args:
        argument.add_to_parser(parser)
    command.func(parser.parse_args(words))  # it writes to stdout and stderr, which are captured
