"""What a hostile server says arrives in logs and messages escaped, cut and masked; and results hold no credential."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api.redaction import redact, redact_data
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from airflow_provider_cm.operators.sources import UpdateSourceOperator
from tests.secrets import situations
from tests.secrets.search import Haul, logs_captured
from tests.secrets.subjects import _run_task, _run_trigger
from tests.unit.api.server import Answer, Request, Server

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 1000
INBOX = {"project": "acme-dev", "source_name": "inbox"}


def _use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    connection = situations.with_token(f"{url}/acme/dev/reinfer_")
    monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", json.dumps(connection))


def _answers() -> dict[str, Callable[[Request], Any]]:
    told = ("megabyte", "escapes", "page of escapes")
    return {name: answer for name, answer in situations.hostile_answers().items() if name in told}


@pytest.mark.parametrize("name", _answers())
def test_a_hostile_message_is_escaped_cut_and_masked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from airflow_provider_cm.triggers.sources import SourceTrigger

    with Server(_answers()[name]) as server, logs_captured() as logs:
        _use(monkeypatch, server.url)
        _run_trigger(Haul(), SourceTrigger, {**INBOX, "max_consecutive_failures": 2, "poll_interval": 0.01})
        with pytest.raises(Exception, match=r"\*\*\*") as info:
            UpdateSourceOperator(task_id="t", title="T", **INBOX).execute({})
        _, told = CommsMiningHook().test_connection()
    shown = [line for line in [*logs.lines, str(info.value), told] if "forged" in line]
    assert len(shown) >= 2
    assert name != "page of escapes" or [line for line in logs.lines if line.startswith("Poll 1 in a row failed")]
    for line in shown:
        assert line.isprintable(), line  # no line break, no terminal's escape, no reversal of direction
        assert r"\x1b[31mRED\x1b[0m" in line
        assert len(line) < LONGEST
        assert "***" in line
        assert situations.TOKEN[:12] not in line
    for line in logs.lines:
        assert len(line) < LONGEST
        assert situations.FORGED not in line


@pytest.mark.parametrize("name", ["source", "names"])
def test_a_hostile_source_forges_no_log_and_is_no_result(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    haul = Haul()
    with Server(situations.hostile_answers()[name]) as server, logs_captured() as logs:
        _use(monkeypatch, server.url)
        if name == "source":
            _run_task(haul, UpdateSourceOperator, {**INBOX, "title": "T"})
        else:
            with pytest.raises(Exception, match=r"not from this API|about another source"):
                _run_task(haul, UpdateSourceOperator, {**INBOX, "title": "T"})
    assert haul.search({"token": situations.TOKEN}) == []
    assert haul.counts["XCom"] == (1 if name == "source" else 0)
    assert [line for line in logs.lines if "\x1b" in line or "\n" in line] == []


def test_a_result_that_holds_our_credential_is_masked_and_otherwise_as_it_came() -> None:
    data = {"a": [situations.TOKEN, 1, None, True], f"k{situations.TOKEN}": {"b": "fine"}}
    assert redact_data(data, [situations.TOKEN]) == {
        "a": ["***", 1, None, True],
        "k***": {"b": "fine"},
    }
    untouched = {"title": "emulator"}
    assert redact_data(untouched, ["emulator"]) is untouched  # too short to be one


@pytest.mark.parametrize("way", situations.echoed("x"))
def test_every_echo_is_masked(way: str) -> None:
    index = situations.echoed("x").index(way)
    for secret in situations.SECRETS.values():
        haul = Haul()
        haul.add("text", redact(situations.echoed(f"user:{secret}")[index], [secret]))
        assert haul.search({"secret": secret}) == []


def test_a_text_that_is_cut_within_a_secret_shows_no_half_of_it() -> None:
    haul = Haul()
    for shift in range(100):
        haul.add("text", redact("x" * (65_536 - shift) + situations.TOKEN, [situations.TOKEN]))
        haul.add("text", redact(" " * shift + situations.MINTED * 200, [situations.MINTED]))
    assert haul.search({"token": situations.TOKEN, "minted": situations.MINTED}) == []


@pytest.mark.parametrize("piece", ["\\", "%25", "&#", "%5C", "eyJ", situations.TOKEN[:-1], "A"])
def test_looking_takes_no_time_to_speak_of_whatever_a_server_sends(piece: str) -> None:
    text = piece * (5_000_000 // len(piece))
    began = time.monotonic()
    redact(text, [*situations.SECRETS.values(), situations.MINTED])
    redact_data({"title": text[:1_000_000]}, [*situations.SECRETS.values(), situations.MINTED])
    assert time.monotonic() - began < 2


def test_a_server_keeps_no_cookie_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"status": "ok", "sources": []}'
    with Server([Answer(200, body, {"Set-Cookie": "lb=1; Path=/"}), Answer(200, body)]) as server:
        _use(monkeypatch, server.url)
        hook = CommsMiningHook()
        hook.sources.list()
        hook.sources.list()
    assert "Cookie" not in server.requests[1].headers


@pytest.mark.parametrize("name", ["token", "App Secret"])
def test_a_task_that_is_ended_while_it_waits_shows_no_credential(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    haul = Haul()
    with contextlib.ExitStack() as stack:
        (found,) = (each for each in situations.interrupted(stack) if each.name == f"interrupted, {name}")
        monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", json.dumps(found.connection))
        with found.around(), pytest.raises(situations.TaskTimeout) as info:
            CommsMiningHook().sources.list()
        haul.add_exception("exception", info.value)
    assert haul.counts["exception: variables"] > 10
    assert haul.search(situations.SECRETS) == []
