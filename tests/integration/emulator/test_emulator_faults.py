"""The fault layer: what goes wrong, for which requests, how often, and whether the request was carried out."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.emulator.cli import run
from airflow_provider_cm.emulator.faults import KINDS, Fault
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

INBOX = "/api/v1/sources/acme-dev/inbox"
EMPTY: dict[str, Any] = {"source": {}}
ERROR = {"status": "error"}

# Each fault that gives an answer of its own: what is set, and the status, body and headers that arrive.
ANSWERS: dict[str, tuple[dict[str, Any], int, Any, dict[str, str]]] = {
    "429": ({"kind": "429"}, 429, {"status": "error", "message": "429 Too Many Requests"}, {}),
    "429 seconds": ({"kind": 429, "retry_after": 3}, 429, ERROR, {"Retry-After": "3"}),
    "429 at once": ({"kind": "429", "retry_after": 0}, 429, ERROR, {"Retry-After": "0"}),
    "500": ({"kind": "500"}, 500, {"status": "error", "message": "500 Internal Server Error"}, {}),
    "502": ({"kind": "502"}, 502, {"status": "error", "message": "502 Bad Gateway"}, {}),
    "503": ({"kind": "503", "retry_after": 1}, 503, ERROR, {"Retry-After": "1"}),
    "504": ({"kind": "504"}, 504, {"status": "error", "message": "504 Gateway Timeout"}, {}),
    "599": ({"kind": "599"}, 599, {"status": "error", "message": "599"}, {}),
    "502 page": ({"kind": "502", "html": True}, 502, "<h1>502 Bad Gateway</h1>", {"Content-Type": "text/html"}),
    "200 says error": ({"kind": "wrong-envelope"}, 200, ERROR, {}),
    "404 says ok": ({"kind": "wrong-envelope", "status": 404}, 404, {"status": "ok"}, {}),
    "empty": ({"kind": "empty"}, 200, "", {"Content-Length": "0"}),
    "empty 500": ({"kind": "empty", "status": 500}, 500, "", {"Content-Length": "0"}),
    "html": ({"kind": "html"}, 200, "<html>", {"Content-Type": "text/html"}),
    "redirect": ({"kind": "redirect", "to": "http://x.test/"}, 302, "", {"Location": "http://x.test/"}),
    "redirect 307": ({"kind": "redirect", "to": "/", "status": 307}, 307, "", {"Location": "/"}),
    "revoked": ({"kind": "revoked-token"}, 401, ERROR, {"WWW-Authenticate": "Bearer"}),
    "quota": ({"kind": "quota"}, 403, ERROR, {"Content-Type": "application/json"}),
}


def _holds(answer: requests.Response, status: int, body: Any, headers: dict[str, str]) -> None:
    assert answer.status_code == status
    if isinstance(body, str):
        assert body in answer.text
        assert body or answer.content == b""
    else:
        answer_json = answer.json()
        assert {key: answer_json[key] for key in body} == body
    assert {name: answer.headers[name] for name in headers} == headers
    assert "Date" in answer.headers
    # What comes from a gateway knows nothing of the platform's time.
    assert ("Server-Timing" in answer.headers) == ("<html>" not in answer.text)


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_in_place_of_the_real_one(
    comms_mining_emulator: EmulatorServer, api: Caller, case: str, when: str
) -> None:
    options, status, body, headers = ANSWERS[case]
    fault = comms_mining_emulator.faults.add(path="*/inbox", when=when, **options)
    answer = api("PUT", INBOX, {"source": {"title": "T"}}, allow_redirects=False)
    _holds(answer, status, body, headers)
    request = comms_mining_emulator.requests[0]
    assert (request.fault, request.status, request.token) == (fault, status, "emulator-admin")
    # The changes are the truth: an answer that is replaced has been earned, one before that has not.
    assert [(change.action, change.request) for change in comms_mining_emulator.changes] == (
        [("create", request.number)] if when == "after" else []
    )
    assert (comms_mining_emulator.tenant("/").source("acme-dev", "inbox") is not None) == (when == "after")
    assert comms_mining_emulator.faults.remaining() == []
    assert api("GET", "/api/v1/sources").status_code == (401 if case == "revoked" else 200)
    assert comms_mining_emulator.requests[1].fault is None


@pytest.mark.parametrize("path", ["/api/v1/sources", INBOX])
@pytest.mark.parametrize(
    ("odd", "value"),
    [
        ("surrogate", '"half of an emoji: \\ud83d"'),
        ("nul", '"a\\u0000b"'),
        ("big-integer", "123456789012345678901234567890"),
        ("nan", "NaN"),
        ("infinity", "1e999"),
    ],
)
def test_odd_json(comms_mining_emulator: EmulatorServer, api: Caller, odd: str, value: str, path: str) -> None:
    comms_mining_emulator.faults.add("odd-json", "PUT", odd=odd)
    comms_mining_emulator.faults.add("odd-json", "GET", odd=odd)
    made, read = api("PUT", INBOX, EMPTY), api("GET", path)
    for answer in (made, read):
        # In the envelope and in the source, and the rest is as ever.
        assert (answer.status_code, answer.text.count(f'"odd":{value}')) == (200, 2)
        assert answer.headers["Content-Length"] == str(len(answer.content))
    source = made.json()["source"]
    assert source.pop("odd") == made.json()["odd"] or odd == "nan"
    assert api("GET", "/api/v1/sources").json()["sources"] == [source]


def test_odd_timing(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.faults.add("odd-json", odd="timing")
    answer = api("GET", "/api/v1/sources")
    assert answer.headers["Server-Timing"] == f"total;dur={'9' * 400}"
    assert answer.json() == {"sources": [], "status": "ok"}


def test_a_title_that_was_cut_in_the_middle_of_an_emoji(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.tenant("/").add_source("acme-dev", "inbox", title="cut \ud83d")
    assert '"title":"cut \\ud83d"' in api("GET", INBOX).text


def test_retry_after_as_a_date_follows_the_emulators_clock() -> None:
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    with EmulatorServer(clock=lambda: noon) as server:
        server.faults.add("429", retry_after=90, date=True)
        answer = requests.get(server.url + "/api/v1/sources", timeout=5)
    assert answer.headers["Retry-After"] == "Thu, 29 Feb 2024 12:01:30 GMT"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["no-answer", "truncated"])
def test_a_connection_that_breaks(
    comms_mining_emulator: EmulatorServer, api: Caller, caplog: pytest.LogCaptureFixture, kind: str, when: str
) -> None:
    comms_mining_emulator.faults.add(kind, when=when)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        api("PUT", INBOX, EMPTY)
    # On record before the connection goes.
    status = {"no-answer": 0, "truncated": 503 if when == "before" else 200}[kind]
    assert [request.status for request in comms_mining_emulator.requests] == [status]
    assert len(comms_mining_emulator.changes) == (when == "after")
    assert api("GET", "/api/v1/sources").status_code == 200
    assert [each for each in caplog.records if each.levelno >= logging.WARNING and "uvicorn" in each.name] == []


def test_a_truncated_body_is_shorter_than_promised(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    api.create()
    comms_mining_emulator.faults.add("truncated")
    connection = http.client.HTTPConnection(api.base.removeprefix("http://"), timeout=5)
    connection.request("GET", INBOX, headers={"Authorization": "Bearer emulator-admin"})
    with pytest.raises(http.client.IncompleteRead) as caught:
        connection.getresponse().read()
    connection.close()
    assert caught.value.partial.startswith(b'{"source":{')
    assert caught.value.expected


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_does_not_wait_for_a_slow_start(comms_mining_emulator: EmulatorServer, api: Caller, when: str) -> None:
    comms_mining_emulator.faults.add("slow-start", seconds=30, when=when)
    with pytest.raises(requests.ReadTimeout):
        api.session.put(api.base + INBOX, json=EMPTY, timeout=0.2)
    _until(lambda: [request.status for request in comms_mining_emulator.requests] == [0])
    time.sleep(0.05)
    assert len(comms_mining_emulator.changes) == (when == "after")


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_waits_for_a_slow_start_has_the_real_answer(
    comms_mining_emulator: EmulatorServer, api: Caller, when: str
) -> None:
    comms_mining_emulator.faults.add("slow-start", seconds=0.2, when=when)
    answer = api("PUT", INBOX, {"source": {"title": "T"}})
    assert (answer.status_code, answer.json()["source"]["title"]) == (200, "T")
    assert answer.elapsed.total_seconds() >= 0.2
    assert float(answer.headers["Server-Timing"].removeprefix("total;dur=")) < 150
    assert len(comms_mining_emulator.changes) == 1


def test_a_slow_body_drips(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.faults.add("slow-body", seconds=0.02, chunk=40)
    started = time.monotonic()
    with api("PUT", INBOX, EMPTY, stream=True) as answer:
        first = time.monotonic() - started
        body = answer.json()
    assert body["source"]["name"] == "inbox"
    assert time.monotonic() - started - first >= 0.1
    comms_mining_emulator.faults.add("slow-body", seconds=0, when="before")
    answer = api("PUT", "/api/v1/sources/acme-dev/other", EMPTY)
    assert (answer.status_code, answer.json()["status"]) == (503, "error")
    assert len(comms_mining_emulator.changes) == 1


def test_who_leaves_a_slow_body_stops_it(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    before = set(threading.enumerate())
    comms_mining_emulator.faults.add("slow-body", seconds=30)
    with pytest.raises(requests.exceptions.ConnectionError):
        api.session.get(api.base + "/api/v1/sources", timeout=0.2)
    assert api("GET", "/api/v1/sources").status_code == 200
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_endless_body_ends_with_its_reader(comms_mining_emulator: EmulatorServer, api: Caller, when: str) -> None:
    comms_mining_emulator.faults.add("endless", when=when)
    with api("PUT", INBOX, EMPTY, stream=True) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert len(answer.raw.read(5_000_000)) == 5_000_000
    assert len(comms_mining_emulator.changes) == (when == "after")
    assert api("GET", "/api/v1/sources").status_code == 200


def test_a_server_with_endless_answers_stops() -> None:
    with EmulatorServer() as server:
        server.faults.add("endless")
        server.faults.add("slow-start", seconds=60)
        answer = requests.get(server.url, stream=True, timeout=5)
        threading.Thread(target=_ignore_failure, args=(server.url,), daemon=True).start()
        _until(lambda: not server.faults)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    answer.close()


def test_an_expired_token_is_a_minted_one(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.faults.add("expired-token", "GET")
    # A developer token doesn't expire, so these pass and the fault waits.
    assert api("GET", "/api/v1/sources").status_code == 200
    assert Caller(api.base, None)("GET", "/api/v1/sources").status_code == 401
    assert len(comms_mining_emulator.faults.remaining()) == 1
    old = Caller(api.base, _mint(api.base))
    for _ in range(2):
        answer = old("GET", "/api/v1/sources")
        assert (answer.status_code, answer.json()["message"]) == (401, "The token has expired")
    assert Caller(api.base, _mint(api.base))("GET", "/api/v1/sources").status_code == 200
    assert [request.fault is not None for request in comms_mining_emulator.requests].count(True) == 1


def test_a_revoked_token_stays_refused(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.faults.add("revoked-token", when="after")
    assert Caller(api.base, "unknown")("PUT", INBOX, EMPTY).json()["message"] == "The token is not valid"
    assert comms_mining_emulator.changes == []
    assert api("PUT", INBOX, EMPTY).status_code == 401
    assert len(comms_mining_emulator.changes) == 1
    assert api("GET", INBOX).status_code == 401
    assert Caller(api.base, "emulator-viewer")("GET", INBOX).status_code == 200


def _mint(url: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": "emulator-app", "client_secret": "emulator-secret"}
    token: str = requests.post(url + "/identity_/connect/token", data=form, timeout=5).json()["access_token"]
    return token


def test_the_token_endpoint_can_fail_too(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.faults.add("html", path="*/connect/token")
    assert api("GET", "/api/v1/sources").status_code == 200
    answer = requests.post(api.base + "/identity_/connect/token", timeout=5)
    assert (answer.status_code, "<html>" in answer.text) == (200, True)


# Which requests

CALLS = [
    ("GET", "/api/v1/sources"),
    ("PUT", INBOX),
    ("GET", "//api/v1/sources/acme-dev%2Finbox"),
    ("GET", "/acme/dev/reinfer_" + INBOX),
    ("GET", "/acme/prod/reinfer_/api/v1/sources"),
]


@pytest.mark.parametrize(
    ("options", "hit"),
    [
        ({"times": 9}, [0, 1, 2, 3, 4]),
        ({"times": 2}, [0, 1]),
        ({}, [0]),
        ({"skip": 2}, [2]),
        ({"skip": 3, "times": 9}, [3, 4]),
        ({"method": "put"}, [1]),
        ({"method": "DELETE"}, []),
        ({"path": "*/sources/acme-dev/*", "times": 9}, [1, 2, 3]),
        ({"path": "/api/*", "times": 9}, [0, 1, 2]),
        ({"path": INBOX, "times": 9}, [1, 2]),
        ({"path": INBOX.upper(), "times": 9}, []),
        ({"path": "*.*"}, []),
        ({"path": "*[a-z]"}, []),
        ({"path": "*/sources", "times": 9}, [0, 4]),
        ({"tenant": "/", "times": 9}, [0, 1, 2]),
        ({"tenant": "/acme/dev/reinfer_", "times": 9}, [3]),
        ({"probability": 1}, [0, 1, 2, 3, 4]),
        ({"probability": 1, "times": 3, "seed": 1}, [0, 1, 2]),
        ({"probability": 1e-12}, []),
    ],
)
def test_which_requests_are_hit(
    comms_mining_emulator: EmulatorServer, api: Caller, options: dict[str, Any], hit: list[int]
) -> None:
    comms_mining_emulator.faults.add("418", **options)
    hits = [number for number, (method, path) in enumerate(CALLS) if api(method, path, EMPTY).status_code == 418]
    assert hits == hit
    assert [number for number, each in enumerate(comms_mining_emulator.requests) if each.fault] == hit


def test_chance_is_repeatable(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    def statuses(seed: int | None) -> list[int]:
        comms_mining_emulator.reset()
        comms_mining_emulator.faults.add("503", probability=0.3, seed=seed)
        return [api("GET", "/api/v1/sources").status_code for _ in range(40)]

    assert statuses(7) == statuses(7) != statuses(8)
    assert 3 <= statuses(7).count(503) <= 21
    first = statuses(None)
    # A seed that was not given is made up, and can be read off for another run.
    seed = comms_mining_emulator.faults.remaining()[0].seed
    assert statuses(seed) == first


def test_the_oldest_fault_comes_first(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    faults = comms_mining_emulator.faults
    faults.add("500", times=2)
    faults.add("502", skip=1)
    assert [api("GET", "/x").status_code for _ in range(5)] == [500, 500, 404, 502, 404]
    assert not faults


def test_remaining_and_clear(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    faults = comms_mining_emulator.faults
    faults.add("500", "GET", times=3)
    faults.add("truncated", "DELETE", skip=1)
    api("GET", "/x")
    assert [(each.kind, each.times, each.skip) for each in faults.remaining()] == [("500", 2, 0), ("truncated", 1, 1)]
    faults.clear()
    assert (faults.remaining(), bool(faults), api("GET", "/x").status_code) == ([], False, 404)
    faults.add("500")
    comms_mining_emulator.reset()
    assert not faults


# How it is said

GOOD = [
    "* * 503 times=1",
    "PUT */sources/* 503 times=2",
    "GET /api/v1/sources/id:* 429 times=1 retry_after=0 date=true",
    "* * 502 times=1 when=after html=true",
    "* * 429 probability=0.25 seed=7 retry_after=1.5",
    "* * 500 skip=2 times=5 probability=0.5 seed=0",
    "POST * slow-start times=1 seconds=0.5",
    "* * slow-body times=1 when=after seconds=0.1 chunk=10",
    "* * redirect times=1 status=307 to=http://127.0.0.1/a?b=c",
    "* '/a b/*' truncated tenant=/acme/dev/reinfer_ times=1 when=after",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_fault_is_written_as_it_is_read(text: str) -> None:
    fault = Fault.parse(text)
    assert Fault.parse(str(fault)) == fault == Fault.make(**fault.shown())
    assert set(text.split()) <= set(str(fault).split())


def test_every_kind_has_defaults() -> None:
    for kind, (_, when, _) in KINDS.items():
        options = {"to": "/"} if kind == "redirect" else {}
        fault = Fault.make(kind=kind, **options)
        assert (fault.when, fault.times, fault.probability) == (when, 1, None)
        assert Fault.parse(str(fault)) == fault


BAD = {
    "": "should be '[METHOD PATH] KIND [option=value ...]'",
    "PUT 503": "should be '[METHOD PATH] KIND [option=value ...]'",
    "503 504": "should be '[METHOD PATH] KIND [option=value ...]'",
    "503 times=1 x": "should be '[METHOD PATH] KIND [option=value ...]'",
    "503 'x": "should be '[METHOD PATH] KIND [option=value ...]': No closing quotation",
    "503 kind=504": "should be '[METHOD PATH] KIND [option=value ...]'",
    "200": "kind: should be a status from 400 to 599 or one of slow-start, slow-body,",
    "boom": "kind: should be a status from 400 to 599 or one of",
    "503 color=red": "color: there is no such field",
    "503 times=0": "times: Input should be greater than or equal to 1",
    "503 times=x": "times: Input should be a valid integer",
    "503 seed=1": "seed goes with probability",
    "503 probability=0": "probability: Input should be greater than 0",
    "503 when=during": "when: Input should be 'before' or 'after'",
    "503 seconds=1": "503 has no option seconds",
    "quota status=1 to=/": "quota has no option status, to",
    "redirect": "redirect needs the option to=URL",
    "PUT sources/* 503": "path: String should match pattern",
    "P!T * 503": "method: String should match pattern",
    "503 retry_after=-1": "retry_after: Input should be greater than or equal to 0",
    "503 retry_after=nan": "retry_after: Input should be",
    "503 tenant=/absent": "There is no tenant at '/absent'; there are: /, /acme/dev/reinfer_",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_fault_is_one_line_and_exit_code_2(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--port", "0", "--fault", text]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), BAD[text] in err) == ("", 1, True), err


def test_the_admin_endpoint_sets_lists_and_clears(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    admin = Caller(api.base + "/_emulator", None)
    fault_json = {"kind": "503", "method": "PUT", "path": "*/sources/*", "times": 2, "when": "before"}
    made = admin("POST", "/faults", {"kind": 503, "method": "PUT", "path": "*/sources/*", "times": 2})
    assert made.json() == {"fault": fault_json, "status": "ok"}
    assert admin("GET", "/faults").json()["faults"] == [fault_json]
    assert api("PUT", INBOX, EMPTY).status_code == 503
    assert admin("GET", "/faults").json()["faults"] == [{**fault_json, "times": 1}]
    assert admin("GET", "/requests").json()["requests"][0]["fault"] == "PUT */sources/* 503 times=2 when=before"
    assert admin("DELETE", "/faults").json() == {"status": "ok"}
    assert api("PUT", INBOX, EMPTY).status_code == 200
    last = admin("GET", "/requests").json()["requests"][1]
    assert (last["fault"], last["number"]) == (None, 2)
    assert admin("GET", "/changes").json()["changes"][0]["request"] == 2


@pytest.mark.parametrize("body", [{}, {"kind": "boom"}, {"kind": "503", "color": 1}, {"kind": "503", "tenant": "/x"}])
def test_the_admin_endpoint_explains_a_bad_fault(
    comms_mining_emulator: EmulatorServer, api: Caller, body: dict[str, Any]
) -> None:
    answer = api("POST", "/_emulator/faults", body)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert not comms_mining_emulator.faults


def test_the_admin_endpoint_never_fails(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.faults.add("503")
    assert api("GET", "/_emulator").status_code == 200
    assert api("GET", "/x").status_code == 503


def test_many_threads_meet_exactly_as_many_faults(comms_mining_emulator: EmulatorServer) -> None:
    comms_mining_emulator.faults.add("503", "PUT", times=20)

    def work(number: int) -> None:
        with (api := Caller(comms_mining_emulator.url)).session:
            for index in range(10):
                api("PUT", f"/api/v1/sources/acme-dev/s-{number}-{index}", EMPTY)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = {request.number for request in comms_mining_emulator.requests if request.fault is None}
    assert len(done) == 60
    assert {change.request for change in comms_mining_emulator.changes} == done
    assert {request.number for request in comms_mining_emulator.requests} == set(range(1, 81))


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _ignore_failure(url: str) -> None:
    with contextlib.suppress(requests.RequestException):
        requests.get(url, timeout=5)


def test_a_client_that_takes_no_answer_keeps_no_socket_open_beyond_the_end() -> None:
    with EmulatorServer() as server:
        server.faults.add("endless", "GET")
        client = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=10)
        client.sendall(b"GET /api/v1/sources HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer emulator-admin\r\n\r\n")
        assert client.recv(1)
    # It learns of the end, by a reset or not; a socket left open would keep it waiting until its own timeout fails it.
    with client, contextlib.suppress(ConnectionResetError):
        while client.recv(1 << 20):
            pass
