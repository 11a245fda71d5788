"""
The probe finds any emulator's settings again, touches nothing but its own sources, and leaves none behind.

``EMULATOR_EXAMPLES=500`` tries more random settings, and ``EMULATOR_SEED=random`` others.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
from airflow_provider_cm.emulator.probe.cli import run
from airflow_provider_cm.emulator.probe.client import ProbeClient, _retry_after, clean
from airflow_provider_cm.emulator.probe.credentials import TokenCredentials
from airflow_provider_cm.emulator.probe.dataset_questions import DATASET_QUESTIONS
from airflow_provider_cm.emulator.probe.limits import longest
from airflow_provider_cm.emulator.probe.message_questions import MESSAGE_QUESTIONS
from airflow_provider_cm.emulator.probe.run import ProbeRun
from airflow_provider_cm.emulator.probe.scratch import ScratchProject
from airflow_provider_cm.emulator.probe.unsettled import UnsettledError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import TenantHandle
    from airflow_provider_cm.emulator.probe.report import ProbeReport
    from airflow_provider_cm.emulator.request_log import RecordedRequest

PATH = "/acme/dev/reinfer_"
EXAMPLES = int(os.environ.get("EMULATOR_EXAMPLES", "12"))
SEED = random.randrange(2**32) if os.environ.get("EMULATOR_SEED") == "random" else 1
# Asking would harm the tenant, or would need more than one machine and one moment.
NEVER_ASKED = {"rate_limit", "latency_ms", "read_lag_s", "date_offset_s", "predicted_labels", "stream_results"}
APPLICATION = {"token_lifetime", "invalid_client"}
SECRETS = {"CM_TOKEN": "emulator-admin", "CM_VIEWER": "emulator-viewer", "CM_SECRET": "emulator-secret"}


@pytest.fixture
def tenant(comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TenantHandle]:
    """Yield a tenant that holds somebody's sources, and check that the test left them unchanged."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    tenant = comms_mining_emulator.tenant(PATH)
    tenant.add_source("acme-dev", "inbox", title="T")
    tenant.add_source("acme-prod", "Inbox")
    sources = comms_mining_emulator.state.tenant(PATH).sources
    before = list(sources.values())
    yield tenant
    assert list(sources.values())[:2] == before


def _own(tenant: TenantHandle) -> list[str]:
    return [source["name"] for source in tenant.sources() if source["name"].startswith("probe-")]


def _arguments(tenant: TenantHandle, *more: str, application: bool = False) -> list[str]:
    token = ["--token-env", "CM_TOKEN"]
    if application:
        token = ["--app-id", "emulator-app", "--app-secret-env", "CM_SECRET", "--identity-url", tenant.identity_url]
    endpoint = ["--endpoint", tenant.endpoint, "--project", "acme-dev", "--viewer-token-env", "CM_VIEWER"]
    return [*endpoint, *token, "--yes", "--json", *more]


def _probe(tenant: TenantHandle, token: str = "emulator-admin") -> ProbeRun:
    scratch = ScratchProject(ProbeClient(tenant.endpoint, TokenCredentials(token), backoff=0.001), "acme-dev")
    scratch.viewer_token = "emulator-viewer"
    scratch.languages = ("en", "de", "xlm", "Multilingual")
    return ProbeRun(scratch.client, scratch, lambda text: None)


def _compare(report: ProbeReport, settings: EmulatorSettings) -> None:
    truth = settings.model_dump()
    assert report.settings == {name: truth[name] for name in report.settings}, report.evidence


def test_it_settles_what_can_be_settled(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    # With six digits it takes luck to tell fixed from trimmed: one time in a hundred no time ends in 0.
    settings = comms_mining_emulator.configure(timestamp_digits=3)
    assert run(_arguments(tenant, "--load-messages", application=True)) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    expected = {name: value for name, value in settings.model_dump(mode="json").items() if name not in NEVER_ASKED}
    assert report["settings"] == expected
    assert set(report["not_settled"]) == NEVER_ASKED
    assert 0 < tenant.bill.ai_units <= 15
    assert set(report["evidence"]) == set(expected)
    assert report["observed"]["a wrong token"].startswith("401 'The token is not valid'")
    assert (report["left_behind"], report["unsure"], report["stopped"]) == ([], [], None)
    assert (_own(tenant), report["requests"]) == ([], len(comms_mining_emulator.requests))
    assert report["requests"] <= 185
    assert "will create" in err
    for secret in SECRETS.values():
        assert secret not in out + err


def test_the_report_is_a_command_line_that_works(tenant: TenantHandle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([each for each in _arguments(tenant) if each != "--json"]) == 0
    out = capsys.readouterr().out
    for text in (
        "duplicate_put = 409\n      it answered 409 \"Source 'acme-dev/probe-",
        "  rate_limit: finding it out would load the service",
        "  token_lifetime: needs an external application (--app-id)",
        "requests were sent.\nEverything that was created is deleted again.\n",
    ):
        assert text in out
    line = next(line for line in out.splitlines() if "python -m airflow_provider_cm.emulator --set" in line)
    words = line.split()
    changes = dict(word.split("=", 1) for word in words if "=" in word)
    assert EmulatorSettings().changed(**changes) == EmulatorSettings()


# Random settings


class _Ticking:
    """Moves on by more than a second whenever it is read, so that nobody has to wait for times to differ."""

    def __init__(self) -> None:
        self.time = datetime(2024, 2, 28, tzinfo=UTC)
        self.dice = random.Random(3)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1.5, microseconds=self.dice.randrange(10**6))
        return self.time


def _random_settings(dice: random.Random) -> EmulatorSettings:
    known = ["en", "de", "xlm", "Multilingual", "fr", "it"]
    choices: dict[str, list[Any]] = {
        "shapes": ["full", "docs"],
        "duplicate_put": [400, 409, 422, "upsert"],
        "missing_project": [400, 403, 404],
        "missing_project_list": [403, 404, "empty"],
        "delete_missing": [200, 404],
        "invalid_name": [400, 404, 422],
        "no_permission": [401, 403, 404],
        "null_field": [400, "ignore"],
        "unknown_field": [400, "ignore"],
        "unknown_bucket": [400, 404, 422, "accept"],
        "languages": [tuple(dice.sample(known, dice.randint(1, len(known))))],
        "language_on_update": ["refuse", "accept", "ignore"],
        "kind_on_update": ["refuse", "accept", "ignore"],
        "sensitive_properties_update": ["replace", "merge"],
        "updated_at_moves": ["always", "sent", "changed"],
        "names_case_sensitive": [True, False],
        "default_title": ["empty", "name"],
        "timestamp_digits": [0, 1, 2, 3, 4, 5, 6, "trim"],
        "max_title": [1, 2, 127, 128, 129, dice.randint(1, 2000)],
        "max_description": [1, 16383, 16384, 16385, dice.randint(1, 40000)],
        "max_sensitive_properties": [1, 4096, 4097, dice.randint(1, 9000)],
        "source_quota": [None, 20],
    }
    return EmulatorSettings(**{name: dice.choice(values) for name, values in choices.items()})


@pytest.fixture(scope="module")
def ticking() -> Iterator[EmulatorServer]:
    with EmulatorServer(clock=_Ticking()) as server:
        yield server


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_random_settings_are_found_again(ticking: EmulatorServer, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(ProbeClient, "rest", lambda self, seconds: None)
    actual = random.randrange(2**32) if os.environ.get("EMULATOR_SEED") == "random" else seed
    settings = _random_settings(random.Random(actual))
    ticking.reset()
    ticking.configure(**settings.model_dump())
    tenant = ticking.tenant(PATH)
    report = _probe(tenant).go()
    _compare(report, settings)
    excused = (
        NEVER_ASKED | APPLICATION | set(MESSAGE_QUESTIONS | DATASET_QUESTIONS)
    )  # asked in test_emulator_messages_probe.py
    if settings.languages == ("en",):
        excused |= {"language_on_update"}  # no second language to tell by
    if settings.shapes == "docs" and settings.kind_on_update != "refuse":
        excused |= {"kind_on_update"}  # it is not shown
    if settings.timestamp_digits in (6, "trim"):
        excused |= {"timestamp_digits"}  # chance may have it that no time ends in 0
    assert {name for name in report.unsettled if name not in excused} == set(), (actual, report.unsettled)
    assert (report.exit_code, report.left, report.unsure, tenant.sources()) == (0, [], [], [])
    assert report.requests <= 150


@pytest.mark.parametrize("digits", [1, 2])
def test_it_waits_until_times_must_differ(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, digits: int
) -> None:
    comms_mining_emulator.configure(timestamp_digits=digits, updated_at_moves="sent")
    started = time.monotonic()
    report = _probe(tenant).go()
    assert (report.settings["timestamp_digits"], report.settings["updated_at_moves"]) == (digits, "sent")
    assert time.monotonic() - started < 10


# Interruptions


def test_a_stop_at_any_request_leaves_nothing(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    # It takes from 53 requests on, as chance has it with the digits of times.
    for number in range(1, 60, 1 if EXAMPLES > 100 else 6):
        probe = _probe(tenant)
        client = probe._client

        def stop(
            _request: RecordedRequest, _elapsed: float, client: ProbeClient = client, number: int = number
        ) -> None:
            if client.requests >= number:
                client.stop.set()

        comms_mining_emulator.state.on_request = stop
        try:
            report = probe.go()
        finally:
            comms_mining_emulator.state.on_request = None
        assert (_own(tenant), report.left, report.unsure) == ([], [], []), number
        assert report.stopped == "it was interrupted" or number > 50


@pytest.mark.parametrize(("number", "changes"), [(signal.SIGINT, 1), (signal.SIGTERM, 10), (signal.SIGHUP, 3)])
def test_a_signal_in_the_middle_leaves_nothing(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, number: int, changes: int
) -> None:
    comms_mining_emulator.configure(latency_ms=15)
    before = len(comms_mining_emulator.changes)
    command = [sys.executable, "-m", "airflow_provider_cm.emulator.probe", *_arguments(tenant)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while len(comms_mining_emulator.changes) < before + changes:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    report = json.loads(out)
    assert (process.returncode, report["stopped"], report["left_behind"]) == (1, "it was interrupted", [])
    assert _own(tenant) == []
    assert err.count("stopping after this request, and cleaning up\n") == 1
    assert "Traceback" not in err


def test_a_crash_of_its_own_leaves_nothing(tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ScratchProject, source: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(ScratchProject, "read", broken)
    with pytest.raises(ZeroDivisionError):
        _probe(tenant).go()
    assert _own(tenant) == []


# Faults

FAULTS = [
    ("503", {"when": "before"}),
    ("503", {"when": "after"}),
    ("429", {"when": "before", "retry_after": 0}),
    ("429", {"when": "after", "retry_after": 0}),
    ("502", {"when": "after", "html": True}),
    ("no-answer", {"when": "before"}),
    ("no-answer", {"when": "after"}),
    ("truncated", {}),
    ("empty", {"when": "after"}),
    ("wrong-envelope", {"when": "after"}),
    ("wrong-envelope", {"when": "before", "status": 404}),
    ("html", {"when": "after"}),
    ("redirect", {"when": "after", "to": "http://127.0.0.1:1/"}),
    ("slow-body", {"seconds": 0.0, "chunk": 100}),
]


@pytest.mark.parametrize(("kind", "options"), FAULTS)
def test_faults_make_no_answer_wrong_and_leave_nothing(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, kind: str, options: dict[str, Any]
) -> None:
    # Other than the defaults where that costs no more requests.
    usual = {
        name: getattr(EmulatorSettings(), name) for name in EmulatorSettings.model_fields if name.startswith("max_")
    }
    settings = _random_settings(random.Random(kind)).changed(timestamp_digits=4, source_quota=None, **usual)
    comms_mining_emulator.configure(**settings.model_dump())
    # Not where the run begins, which may end it at once; the last faults are met while it cleans up.
    comms_mining_emulator.faults.add(kind, skip=1, probability=0.2, seed=SEED, times=30, **options)
    report = _probe(tenant).go()
    _compare(report, settings)
    assert len(report.settings) >= 8 or report.stopped
    assert (_own(tenant), report.left) == ([], [])


def test_what_cant_be_deleted_is_said(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    comms_mining_emulator.faults.add("500", "DELETE", "*/sources/*", probability=1)
    arguments = [each for each in _arguments(tenant) if each != "--json"]
    assert run(arguments, backoff=0.001) == 1
    out = capsys.readouterr().out
    left = out.partition("LEFT BEHIND, to be deleted by hand:\n")[2].splitlines()
    assert {re.findall(r"acme-dev/(\S+) \(id [0-9a-f]{16}\): .*500", line)[0] for line in left} == set(_own(tenant))
    assert _own(tenant) != []
    assert "Everything that was created is deleted again." not in out


def test_a_revoked_token_ends_it(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    comms_mining_emulator.faults.add("revoked-token", "POST", skip=3)
    report = _probe(tenant).go()
    assert (report.exit_code, "the token is refused: 401" in report.stopped) == (1, True)
    assert len(report.left) + len(report.unsure) >= len(_own(tenant)) == 1


def test_an_expired_token_is_minted_anew(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    comms_mining_emulator.configure(timestamp_digits=3)
    comms_mining_emulator.faults.add("expired-token", probability=0.1, seed=1)
    assert run(_arguments(tenant, "--load-messages", application=True), backoff=0.001) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["not_settled"]) == NEVER_ASKED
    assert 0 < tenant.bill.ai_units <= 15
    assert _own(tenant) == []


def test_it_obeys_retry_after(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    comms_mining_emulator.faults.add("429", retry_after=1)
    started = time.monotonic()
    assert _probe(tenant).go().exit_code == 0
    assert time.monotonic() - started >= 1
    comms_mining_emulator.faults.add("429", retry_after=86400)
    report = _probe(tenant).go()
    assert report.stopped == "it wants to be left alone for 86400 s"


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < _retry_after({"Retry-After": later}, 1.0) <= 60
    assert _retry_after({"Retry-After": "Thu, 29 Feb 2024 12:00:00 GMT"}, 1.0) == 0
    assert (_retry_after({"Retry-After": "soon"}, 1.5), _retry_after({}, 1.5)) == (1.5, 1.5)


def test_a_full_quota_settles_less_and_leaves_nothing(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle
) -> None:
    comms_mining_emulator.configure(source_quota=3)
    report = _probe(tenant).go()
    _compare(report, comms_mining_emulator.settings)
    assert "quotas exceeded" in report.unsettled["duplicate_put"]
    assert (report.exit_code, _own(tenant)) == (0, [])


def test_a_project_that_is_not_there_ends_it(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    scratch = ScratchProject(ProbeClient(tenant.endpoint, TokenCredentials("emulator-admin")), "absent")
    report = ProbeRun(scratch.client, scratch, lambda text: None).go()
    assert report.stopped == "the project 'absent' can't be listed: 404 \"Project 'absent' not found\""
    assert (report.exit_code, len(comms_mining_emulator.requests)) == (1, 1)


# What it refuses

REFUSED = {
    "--project": "the following arguments are required: --project",
    "--endpoint": "the following arguments are required: --endpoint",
    "--token-env": "error: needs --token-env, or --app-id, --app-secret-env and --identity-url",
    "--yes": "error: there is no terminal to ask for confirmation; --yes goes without",
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_it_needs(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    arguments = _arguments(tenant)
    place = arguments.index(option)
    del arguments[place : place + (1 if option == "--yes" else 2)]
    assert _code(arguments) == 2
    assert REFUSED[option] in capsys.readouterr().err
    assert comms_mining_emulator.requests == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--token-env", "CM_ABSENT"], "the environment variable CM_ABSENT is not set"),
        (["--token-env", "CM_SPACE"], "the environment variable CM_SPACE holds spaces"),
        (["--app-id", "x"], "either --token-env or --app-id"),
        (["--endpoint", "http://cm.example.com"], "the token would travel in clear text"),
        (["--endpoint", "https://user@cm.example.com"], "--endpoint should be a URL such as"),
        (["--endpoint", "ftp://cm.example.com"], "--endpoint should be a URL such as"),
        (["--endpoint", "cm.example.com"], "--endpoint should be a URL such as"),
        (["--pause", "-1"], "'-1' should be a number of seconds"),
    ],
)
def test_what_it_refuses(
    tenant: TenantHandle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("CM_SPACE", "two words")
    assert _code([*_arguments(tenant), *more]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "two words" not in err


def _code(arguments: list[str]) -> object:
    try:
        return run(arguments)
    except SystemExit as end:  # how argparse leaves
        return end.code


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_it_asks_first(
    comms_mining_emulator: EmulatorServer,
    tenant: TenantHandle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    assert run([each for each in _arguments(tenant) if each != "--yes"]) == code
    err = capsys.readouterr().err
    assert f"in the project 'acme-dev' at\n{tenant.endpoint}, named probe-" in err
    assert "Go on? [y/N]" in err
    assert bool(comms_mining_emulator.requests) == (code == 0)


def test_secrets_are_never_printed(
    comms_mining_emulator: EmulatorServer,
    tenant: TenantHandle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    comms_mining_emulator.replace_token("emulator-admin", "the-first-secret")
    comms_mining_emulator.replace_token("emulator-viewer", "the-second-secret")
    monkeypatch.setenv("CM_TOKEN", "the-first-secret")
    monkeypatch.setenv("CM_VIEWER", "the-second-secret")
    monkeypatch.setenv("CM_SECRET", "the-third-secret")
    assert run(_arguments(tenant)) == 0
    assert run(_arguments(tenant, application=True)) == 1
    comms_mining_emulator.revoke_token("emulator-admin")
    assert run(_arguments(tenant)) == 1
    out, err = capsys.readouterr()
    assert "-secret" not in out + err
    assert "invalid_client" in out
    assert "the-first-secret" not in repr(TokenCredentials("the-first-secret"))


# Its parts


@pytest.mark.parametrize("limit", [0, 1, 2, 63, 64, 65, 66, 127, 128, 129, 200, 255, 256, 300, 511])
def test_the_longest_length_is_found(limit: int) -> None:
    asked: list[int] = []

    def accepts(length: int) -> bool:
        asked.append(length)
        return length <= limit

    assert longest(accepts, 128, 512) == limit
    assert len(asked) == len(set(asked)) <= 12
    assert max(asked) <= 512
    assert len(asked) == 2 or limit != 128


def test_the_longest_length_is_not_looked_for_without_end() -> None:
    with pytest.raises(UnsettledError, match="512 are accepted, and more were not tried"):
        longest(lambda length: True, 128, 512)


def test_it_deletes_only_what_it_created(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    scratch = ScratchProject(ProbeClient(tenant.endpoint, TokenCredentials("emulator-admin")), "acme-dev")
    theirs = tenant.add_source("acme-dev", f"{scratch.prefix}-1")  # even with its prefix, as long as it did not ask
    with pytest.raises(ValueError, match="not the probe's"):
        scratch.delete(theirs["id"])
    assert scratch.clean() == ([], [])
    assert tenant.source("acme-dev", theirs["name"]) == theirs
    assert comms_mining_emulator.requests == []


def test_a_servers_text_is_made_harmless() -> None:
    assert clean("a\x1b[31mb\nc\u202ed") == "a?[31mb?c?d"
    assert len(clean("x" * 1000)) == 160


def test_help_explains_itself() -> None:
    command = [sys.executable, "-m", "airflow_provider_cm.emulator.probe", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert max(len(line) for line in result.stdout.splitlines()) <= 120
    for text in ("--viewer-token-env", "exit codes:", "Retry-After", "Ctrl-C", "--pause", "--languages"):
        assert text in result.stdout
