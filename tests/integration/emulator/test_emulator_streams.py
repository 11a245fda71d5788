"""Streams: where they begin, what they give until they are advanced, and what the settings change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer

STREAMS = "/api/v1/datasets/acme-dev/support/streams"
URL = f"{STREAMS}/new"


def _add(server: EmulatorServer, *ids: str, region: str = "EU") -> None:
    for each in ids:
        text = {"body": {"text": f"Parcel {each}"}}
        message = {"id": each, "messages": [text], "user_properties": {"string:Region": region}}
        server.tenant("/").add_messages("acme-dev", "one", [message])


@pytest.fixture
def api(comms_mining_emulator: EmulatorServer) -> Caller:
    """Return an admin of a tenant with a dataset, a message older than the stream, and a stream."""
    tenant = comms_mining_emulator.tenant("/")
    tenant.add_source("acme-dev", "one")
    tenant.add_dataset("acme-dev", "support", sources=["one"])
    _add(comms_mining_emulator, "0")
    caller = Caller(comms_mining_emulator.url)
    assert caller("PUT", STREAMS, {"stream": {"name": "new"}}).ok
    return caller


def _results(api: Caller, query: str = "") -> dict[str, Any]:
    answer = api("GET", f"{URL}/results{query}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    page["ids"] = [each["comment"]["id"] for each in page["results"]]
    return page


def _advance(api: Caller, continuation: str) -> None:
    answer = api("POST", f"{URL}/advance", {"sequence_id": continuation})
    assert answer.status_code == 200, answer.text


def test_results_repeat_until_the_stream_is_advanced(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    _add(comms_mining_emulator, "1", "2", "3")
    first = _results(api, "?max_results=2")
    assert (first["ids"], first["more_results"], first["num_filtered"]) == (["1", "2"], True, 0)
    assert _results(api, "?max_results=2")["ids"] == ["1", "2"]
    # Past one result, or past the whole page.
    _advance(api, first["results"][0]["continuation"])
    assert _results(api)["ids"] == ["2", "3"]
    _advance(api, first["continuation"])
    rest = _results(api)
    assert (rest["ids"], rest["more_results"]) == (["3"], False)
    _advance(api, rest["continuation"])
    assert _results(api)["ids"] == []
    # An edited message does not come back; a new message comes, whatever its timestamp.
    _add(comms_mining_emulator, "3", region="US")
    _add(comms_mining_emulator, "4")
    assert _results(api)["ids"] == ["4"]


def test_a_page_can_be_empty_with_more_behind_it(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    rules = {"user_properties": {"string:Region": {"one_of": ["US"]}}}
    assert api("POST", URL, {"stream": {"comment_filter": rules}}).json()["stream"]["comment_filter"] == rules
    _add(comms_mining_emulator, "1", "2")
    _add(comms_mining_emulator, "3", region="US")
    page = _results(api, "?max_filtered=2")
    assert (page["ids"], page["num_filtered"], page["more_results"]) == ([], 2, True)
    assert _results(api, "?max_filtered=2")["ids"] == []
    _advance(api, page["continuation"])
    assert _results(api, "?max_filtered=2")["ids"] == ["3"]


@pytest.mark.parametrize(("start", "expected"), [("creation", ["1"]), ("beginning", ["0", "1"])])
def test_where_a_new_stream_begins(
    api: Caller, comms_mining_emulator: EmulatorServer, start: str, expected: list[str]
) -> None:
    comms_mining_emulator.configure(stream_start=start)
    api("DELETE", URL)
    api("PUT", STREAMS, {"stream": {"name": "new"}})
    _add(comms_mining_emulator, "1")
    assert _results(api)["ids"] == expected


@pytest.mark.parametrize(
    ("setting", "status", "expected"),
    [("rewind", 200, ["2"]), ("ignore", 200, []), (400, 400, []), (409, 409, []), (422, 422, [])],
)
def test_an_old_continuation(
    api: Caller, comms_mining_emulator: EmulatorServer, setting: object, status: int, expected: list[str]
) -> None:
    comms_mining_emulator.configure(old_continuation=setting)
    _add(comms_mining_emulator, "1", "2")
    page = _results(api)
    _advance(api, page["continuation"])
    answer = api("POST", f"{URL}/advance", {"sequence_id": page["results"][0]["continuation"]})
    assert (answer.status_code, _results(api)["ids"]) == (status, expected)


def test_a_reset_delivers_again_from_a_time_on(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    _add(comms_mining_emulator, "1", "2")
    page = _results(api)
    _advance(api, page["continuation"])
    created = page["results"][1]["comment"]["created_at"]
    answer = api("POST", f"{URL}/reset", {"to_comment_created_at": created})
    assert answer.json()["stream"]["name"] == "new"
    assert _results(api)["ids"] == ["2"]
    api("POST", f"{URL}/reset", {"to_comment_created_at": "2000-01-01T00:00:00Z"})
    assert _results(api)["ids"] == ["0", "1", "2"]
    assert api("POST", f"{URL}/reset", {"to_comment_created_at": "yesterday"}).status_code == 422


def test_predictions_come_with_a_model_only(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    _add(comms_mining_emulator, "1")
    page = _results(api)
    assert (page["results"][0]["prediction"], "model" in page) == (None, False)
    tenant = comms_mining_emulator.tenant("/")
    tenant.set_predictions("acme-dev", "support", page["results"][0]["comment"]["uid"], {"A > B": 0.9, "C": 0.1})
    model = {
        "version": 1,
        "label_thresholds": [{"name": ["A", "B"], "threshold": 0.7}, {"name": ["C"], "threshold": 0.7}],
    }
    assert api("POST", URL, {"stream": {"model": model}}).json()["stream"]["model"] == model
    taxonomy = _results(api)["results"][0]["prediction"]["taxonomies"][0]
    confidences = {each["name"]: each["occurrence_confidence"]["thresholds"] for each in taxonomy["labels"]}
    assert (taxonomy["name"], confidences["A > B"][-1], confidences["C"]) == ("default", "stream", [])
    fetched = api("POST", f"{URL}/fetch", {"size": 8}).json()
    assert [each["labels"] for each in fetched["results"]] == [[{"name": ["A", "B"], "probability": 0.9}]]
    assert (fetched["filtered"], fetched["is_end_sequence"]) == (0, True)
    _advance(api, fetched["sequence_id"])
    assert _results(api)["ids"] == []


def test_exceptions_are_stored_and_removed(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    tags = [{"uid": uid, "metadata": {"type": "No match"}} for uid in ("a.1", "a.2")]
    assert api("PUT", f"{URL}/exceptions", {"exceptions": tags}).json() == {"status": "ok"}
    tenant = comms_mining_emulator.tenant("/")
    assert tenant.stream_exceptions("acme-dev", "support", "new") == {"a.1": "No match", "a.2": "No match"}
    assert api("DELETE", f"{URL}/exceptions?uid=a.1").ok
    assert list(tenant.stream_exceptions("acme-dev", "support", "new")) == ["a.2"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", STREAMS, {"stream": {"name": "new"}}, 409),
        ("PUT", STREAMS, {"stream": {}}, 422),
        ("GET", f"{STREAMS}/missing/results", None, 404),
        ("DELETE", f"{STREAMS}/missing", None, 404),
        ("GET", f"{URL}/results?max_results=0", None, 400),
        ("GET", f"{URL}/results?max_results=1025", None, 400),
        ("GET", f"{URL}/results?max_filtered=x", None, 400),
        ("POST", f"{URL}/fetch", {"size": 1025}, 400),
        ("POST", f"{URL}/advance", {"sequence_id": "x"}, 422),
    ],
)
def test_what_is_refused(api: Caller, method: str, path: str, body: object, status: int) -> None:
    assert api(method, path, body).status_code == status


def test_a_renamed_stream_stays_where_it_is(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    _add(comms_mining_emulator, "1")
    _advance(api, _results(api)["continuation"])
    assert api("POST", URL, {"stream": {"name": "other"}}).ok
    assert api("GET", URL).status_code == 404
    assert api("GET", f"{STREAMS}/other/results").json()["results"] == []


# As the vendor's client sends them: one segment for project and dataset.


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("GET", "", None),
        ("GET", "/new", None),
        ("POST", "/new/fetch", {"size": 8}),
        ("POST", "/new/reset", {"to_comment_created_at": "2020-01-01T00:00:00Z"}),
        ("PUT", "/new/exceptions", {"exceptions": [{"metadata": {"type": "x"}, "uid": "a.1"}]}),
        ("PUT", "", {"stream": {"name": "b", "comment_filter": {}, "model": {"version": 1, "label_thresholds": []}}}),
    ],
)
def test_the_clients_requests(api: Caller, method: str, rest: str, body: object) -> None:
    answer = api(method, f"/api/v1/datasets/acme-dev%2Fsupport/streams{rest}", body)
    assert answer.status_code == 200, answer.text
