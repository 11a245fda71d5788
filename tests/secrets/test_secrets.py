"""Nothing that is shown anywhere holds a secret: whatever runs, whatever goes wrong, and whoever wants it to."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import transport as transport_module
from airflow_provider_cm.get_provider_info import get_provider_info
from tests.faults.proxy import FaultProxy
from tests.features import has, needs
from tests.secrets import situations
from tests.secrets.search import Haul, logs_captured, pieces, warnings_captured
from tests.secrets.subjects import Subject, subjects, unprepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.secrets.search import Logs
    from tests.secrets.situations import Situation


pytestmark = pytest.mark.usefixtures("impatient")

# How many of all are run in situations that come in large numbers or take their time; SECRETS=all runs all of them.
FEW = 3
CHANNELS = (
    "answer of the hook",
    "event",
    "exception",
    "exception: pickle",
    "exception: traceback",
    "exception: variables",
    "log",
    "object",
    "rendered template",
    "serialized trigger",
    "stderr",
    "stdout",
    "XCom",
)
REPORT = os.environ.get("SECRETS_REPORT")
EVERYTHING = os.environ.get("SECRETS") == "all"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's settings out, and waits and endless answers short."""
    from airflow_provider_cm.api import client_credentials as auth_module

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")  # no ~/.netrc
    monkeypatch.setattr(auth_module, "_cells", {})
    monkeypatch.setattr(random, "uniform", lambda *_: 0.0)  # no waits between attempts
    monkeypatch.setattr(transport_module, "MAX_RESPONSE_BYTES", 4 * 1024 * 1024)


def test_whatever_the_provider_lists_is_prepared_to_be_run() -> None:
    assert unprepared(get_provider_info()) == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("operators", [{"python-modules": ["airflow.providers.standard.operators.empty"]}], "EmptyOperator"),
        ("sensors", [{"python-modules": ["airflow.providers.standard.sensors.bash"]}], "BashSensor"),
        ("triggers", [{"python-modules": ["airflow.providers.standard.triggers.file"]}], "FileTrigger"),
        ("hooks", [{"python-modules": ["airflow.providers.standard.hooks.subprocess"]}], "SubprocessHook"),
        pytest.param(
            "cli", ["tests.secrets.test_searcher.some_commands"], "airflow cm plan", marks=needs("command line")
        ),
        ("notifications", ["airflow_provider_cm.notifications.Notifier"], "`notifications` is a new key"),
    ],
)
def test_what_is_new_in_the_provider_is_not_forgotten(key: str, value: list[Any], told: str) -> None:
    (problem, *_) = unprepared({**get_provider_info(), key: value})
    assert told in problem


def test_no_secret_is_shown(
    comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    haul = Haul()
    secrets = {**situations.SECRETS, **situations.PERSONAL, "token minted by the server": situations.MINTED}
    with contextlib.ExitStack() as stack:
        logs = stack.enter_context(logs_captured())
        stack.enter_context(warnings_captured(haul))
        run_of = _Runner(haul, logs, monkeypatch, capfd)
        for situation in _situations(comms_mining_emulator, stack):
            _forget_masks()
            run_of.everything(situation)
            for grant in comms_mining_emulator.state.tokens.grants.values():
                if grant.name.startswith(situations.APP_ID):
                    secrets.setdefault(f"token minted by the emulator {grant.value[:4]}", grant.value)
    haul.origin = "the connection form"
    for text in _form():
        haul.add("connection form", text)

    hits = haul.search(secrets)

    forms = len(pieces("x" * 40))
    told = f"secrets: {haul.total:,} texts searched for {len(secrets)} secrets in {forms} forms, {len(hits)} found"
    with capfd.disabled():
        print(f"\n{told} ({run_of.runs} runs in {run_of.situations} situations)")
    if REPORT:
        Path(REPORT).write_text(json.dumps({"told": told, "runs": run_of.runs, "texts": dict(haul.counts)}))
    assert not hits, "\n".join([told, *dict.fromkeys(str(hit) for hit in hits[:40])])
    # Each command gets itself a token, other than tasks in one process.
    assert len(secrets) > (20 if has("command line") else 10), "the emulator has minted hardly a token"
    assert run_of.runs > 2000
    assert run_of.ended["succeeded"] > 100
    assert run_of.ended["failed"] > 1000
    # Each way to be seen was indeed looked at.
    assert {channel: haul.counts[channel] for channel in CHANNELS if haul.counts[channel] < 25} == {}


def _forget_masks() -> None:
    """Have Airflow forget what it masks: ever more secrets would make each line of its log slower."""
    for name, module in list(sys.modules.items()):
        if name.startswith("airflow.") and name.endswith("secrets_masker") and hasattr(module, "reset_secrets_masker"):
            module.reset_secrets_masker()


def _situations(emulator: EmulatorServer, stack: contextlib.ExitStack) -> Iterator[Situation]:
    forward = stack.enter_context(FaultProxy(int(emulator.url.rsplit(":", 1)[1])))
    yield from situations.faulty(emulator, forward)
    yield from situations.settings()
    yield from situations.tls(stack)
    yield from situations.proxies(stack)
    yield from situations.not_found()
    yield from situations.hostile(stack)
    yield from situations.interrupted(stack)


class _Runner:
    def __init__(
        self, haul: Haul, logs: Logs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.haul = haul
        self.logs = logs
        self.runs = self.situations = 0
        self.ended = {"succeeded": 0, "failed": 0}
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        self._subjects = subjects()
        self._first = deque(each for each in self._subjects if each.first)

    def everything(self, situation: Situation) -> None:
        self.situations += 1
        self._monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", json.dumps(situation.connection))
        for subject in self._chosen(situation):
            if subject.threaded and not situation.threads:
                continue
            self.runs += 1
            self.haul.origin = f"{subject.name} / {situation.name}"
            self._run(subject, situation)

    def _chosen(self, situation: Situation) -> list[Subject]:
        if not situation.brief or EVERYTHING:
            return self._subjects
        # All of them have the client in common, so that a few in turn show what any would.
        self._first.rotate(FEW)
        return list(self._first)[:FEW]

    def _run(self, subject: Subject, situation: Situation) -> None:
        try:
            with situation.around():
                subject.run(self.haul)
        except (Exception, SystemExit, situations.TaskTimeout) as error:  # noqa: BLE001  # what is raised is what is looked at
            self.ended["failed"] += 1
            self.haul.add_exception("exception", error)
        else:
            self.ended["succeeded"] += 1
        self.logs.pour_into(self.haul)
        out, err = self._capfd.readouterr()
        self.haul.add("stdout", out)
        self.haul.add("stderr", err)


def _form() -> Iterator[str]:
    """What Airflow's user interface is told of the connection."""
    from airflow.providers_manager import ProvidersManager

    yield json.dumps(get_provider_info())
    manager = ProvidersManager()
    for name, widget in manager.connection_form_widgets.items():
        if "comms_mining" in name:
            yield repr(widget)
    yield repr(manager.field_behaviours.get("comms_mining"))
