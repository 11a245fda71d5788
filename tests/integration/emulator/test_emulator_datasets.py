"""Datasets: created, changed, found, limited, annotated; and what the vendor's client sends, by table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from pathlib import Path

URL = "/api/v1/datasets/acme-dev/support"
PRIVATE = "/api/_private/datasets/acme-dev/support"


def _create(api: Caller, path: str = URL, **fields: object) -> dict[str, Any]:
    answer = api("PUT", path, {"dataset": fields})
    assert answer.status_code == 200, answer.text
    dataset: dict[str, Any] = answer.json()["dataset"]
    return dataset


def _load(server: EmulatorServer, name: str = "inbox", count: int = 3) -> dict[str, Any]:
    source = server.tenant("/").add_source("acme-dev", name)
    messages = [
        {
            "id": str(number),
            "timestamp": f"2020-01-0{number}T00:00:00Z",
            "messages": [{"body": {"text": f"No {number}"}}],
        }
        for number in range(1, count + 1)
    ]
    server.tenant("/").add_messages("acme-dev", name, messages)
    return source


def test_membership_is_replaced_whole_cleared_or_left(api: Caller) -> None:
    one, two = api.create("one")["id"], api.create("two")["id"]
    assert _create(api, source_ids=[one])["source_ids"] == [one]
    for sent, expected in (({"source_ids": [two]}, [two]), ({"title": "x"}, [two]), ({"source_ids": []}, [])):
        answer = api("POST", URL, {"dataset": sent})
        assert answer.json()["dataset"]["source_ids"] == expected
    assert api("GET", URL).json()["dataset"]["title"] == "x"


def test_a_dataset_is_found_by_name_by_id_and_in_its_project_until_it_is_deleted(api: Caller) -> None:
    dataset = _create(api)
    by_id = f"/api/v1/datasets/id:{dataset['id']}"
    assert api("GET", by_id).json()["dataset"] == api("GET", URL).json()["dataset"] == dataset
    for path in ("/api/v1/datasets", "/api/v1/datasets/acme-dev"):
        assert api("GET", path).json()["datasets"] == [dataset]
    assert api("GET", "/api/v1/datasets/acme-prod").json()["datasets"] == []
    assert api("PUT", URL, {"dataset": {}}).status_code == 409
    assert api("DELETE", by_id).status_code == 200
    assert [api("GET", URL).status_code, api("DELETE", by_id).status_code, api("DELETE", URL).status_code] == [404] * 3


@pytest.mark.parametrize(
    ("method", "fields", "status", "message"),
    [
        ("PUT", {"model_family": "klingon"}, 400, "'klingon' is not one of ["),
        ("POST", {"model_family": "klingon"}, 400, "'klingon' is not one of ["),
        ("POST", {"has_sentiment": True}, 400, "'has_sentiment' was unexpected"),
        ("POST", {"label_defs": []}, 400, "'label_defs' was unexpected"),
        ("POST", {"copy_annotations_from": "0" * 16}, 400, "'copy_annotations_from' was unexpected"),
        ("PUT", {"source_ids": ["0" * 16]}, 422, "Source '0000000000000000' not found"),
        ("PUT", {"copy_annotations_from": "0" * 16}, 404, "Dataset '0000000000000000' not found"),
        ("PUT", {"label_defs": [{"name": "x" * 65}]}, 422, "is too long"),
        ("PUT", {"label_defs": [{"name": "A"}, {"name": "A"}]}, 422, "The label 'A' appears more than once"),
    ],
)
def test_what_is_refused(api: Caller, method: str, fields: dict[str, Any], status: int, message: str) -> None:
    if method == "POST":
        _create(api)
    answer = api(method, URL, {"dataset": fields})
    assert (answer.status_code, message in answer.json()["message"]) == (status, True), answer.text


def test_the_limits_of_membership(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    one, two = api.create("one")["id"], api.create("two")["id"]
    comms_mining_emulator.configure(max_sources_per_dataset=1, max_datasets_per_source=2)
    answer = api("PUT", URL, {"dataset": {"source_ids": [one, two]}})
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        "quotas exceeded: a dataset may hold 1 sources, and these are 2",
    )
    for name in ("a", "b"):
        _create(api, f"/api/v1/datasets/acme-dev/{name}", source_ids=[one])
    # One that holds the source already may be told so again.
    assert api("POST", "/api/v1/datasets/acme-dev/b", {"dataset": {"source_ids": [one]}}).status_code == 200
    assert api("PUT", URL, {"dataset": {"source_ids": [one]}}).status_code == 403


def test_deleting_a_source_takes_it_out_of_datasets(api: Caller) -> None:
    one, two = api.create("one")["id"], api.create("two")["id"]
    _create(api, source_ids=[one, two])
    api("DELETE", f"/api/v1/sources/id:{one}")
    assert api("GET", URL).json()["dataset"]["source_ids"] == [two]


def test_a_project_that_holds_a_dataset_is_deleted_only_by_force(api: Caller) -> None:
    api("PUT", "/api/_private/projects/mine", {"project": {}, "user_ids": ["0" * 16]})
    _create(api, "/api/v1/datasets/mine/support")
    answer = api("DELETE", "/api/_private/projects/mine")
    assert (answer.status_code, '"datasets": 1' in answer.json()["message"]) == (409, True)
    assert api("DELETE", "/api/_private/projects/mine?force=true").status_code == 200
    assert api("GET", "/api/v1/datasets").json()["datasets"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/datasets", None),
        ("GET", URL, None),
        ("PUT", "/api/v1/datasets/acme-dev/new", {"dataset": {}}),
        ("DELETE", URL, None),
        ("POST", f"{URL}/export", {}),
        ("POST", f"{PRIVATE}/labellings/{'0' * 16}.1", {}),
        ("PUT", f"{URL}/streams", {"stream": {"name": "new"}}),
    ],
)
def test_a_viewer_only_looks(comms_mining_emulator: EmulatorServer, method: str, path: str, body: object) -> None:
    comms_mining_emulator.tenant("/").add_dataset("acme-dev", "support")
    viewer = Caller(comms_mining_emulator.url, "emulator-viewer")
    assert viewer(method, path, body).status_code == (200 if method == "GET" else 403)


def test_definitions_come_back_as_the_vendors_client_expects_them(api: Caller) -> None:
    dataset = _create(
        api,
        entity_defs=[{"name": "ent", "title": "A tree", "inherits_from": [], "trainable": False}],
        label_defs=[
            {"name": "bar"},
            {
                "name": "foo",
                "instructions": "Long",
                "external_id": "ext",
                "title": "Title",
                "pretrained": {"id": "0000000000000001", "name": "Autogenerated"},
                "moon_form": [{"name": "luna", "kind": "ent"}],
            },
        ],
    )
    entity = dataset["entity_defs"][0]
    assert (entity["name"], entity["color"], entity["trainable"]) == ("ent", 0, False)
    bar, foo = dataset["label_defs"]
    assert bar == {"name": "bar"}
    assert (foo["trainable"], foo["pretrained"]["id"]) == (True, "0000000000000001")
    assert (foo["moon_form"][0]["kind"], foo["moon_form"][0]["instructions"]) == ("ent", "")
    assert [(group["name"], group["label_defs"]) for group in dataset["label_groups"]] == [("default", [bar, foo])]


# Annotations


def _annotate(api: Caller, uid: str, **body: object) -> dict[str, Any]:
    answer = api("POST", f"{PRIVATE}/labellings/{uid}", body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def test_annotations_left_out_stay_and_empty_ones_go(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load(comms_mining_emulator)
    dataset = _create(api, source_ids=[source["id"]])
    uid = f"{source['id']}.1"
    label, other = {"name": "A > B", "sentiment": "negative"}, {"name": "C", "sentiment": "positive"}
    _annotate(api, uid, labelling=[{"group": "default", "assigned": [label], "dismissed": [other]}])
    span = {"content_part": "body", "message_index": 0, "utf16_byte_start": 0, "utf16_byte_end": 4}
    entity = {"name": "number", "formatted_value": "No", "span": span}
    shown = _annotate(api, uid, entities={"assigned": [entity], "dismissed": []})
    assert shown["labelling"] == [{"group": "default", "assigned": [label], "dismissed": [other]}]
    assert shown["entities"]["assigned"] == [{**entity, "span": {**span, "char_start": 0, "char_end": 2}}]
    assert shown["comment"]["has_annotations"] is True
    assert [each["name"] for each in api("GET", URL).json()["dataset"]["label_defs"]] == ["A > B", "C"]
    copy = api(
        "PUT",
        "/api/v1/datasets/acme-dev/copy",
        {"dataset": {"source_ids": [source["id"]], "copy_annotations_from": dataset["id"]}},
    )
    assert copy.json()["num_copied"] == 1
    api("DELETE", "/api/v1/datasets/acme-dev/copy")
    gone = _annotate(api, uid, labelling=[{"assigned": [], "dismissed": []}], entities={"assigned": []})
    assert (gone["labelling"][0]["assigned"], gone["comment"]["has_annotations"]) == ([], False)


def test_a_message_that_was_deleted_and_came_again_has_no_annotations(
    api: Caller, comms_mining_emulator: EmulatorServer
) -> None:
    source = _load(comms_mining_emulator)
    _create(api, source_ids=[source["id"]])
    _annotate(api, f"{source['id']}.1", labelling=[{"assigned": [{"name": "A"}]}])
    tenant = comms_mining_emulator.tenant("/")
    tenant.delete_messages("acme-dev", "inbox", ["1"])
    tenant.add_messages("acme-dev", "inbox", [{"id": "1", "messages": [{"body": {"text": "Again"}}]}])
    found = api("GET", f"{PRIVATE}/labellings?id={source['id']}.1").json()["results"]
    assert [each["labelling"][0]["assigned"] for each in found] == [[]]


def test_pages_of_annotated_messages_end_with_an_empty_one(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load(comms_mining_emulator)
    _create(api, source_ids=[source["id"]])
    for number in (1, 3):
        _annotate(api, f"{source['id']}.{number}", labelling=[{"assigned": [{"name": "A"}]}])
    seen, after = [], ""
    while True:
        page = api(
            "GET", f"{PRIVATE}/labellings?source_id={source['id']}&return_predictions=false&limit=1{after}"
        ).json()
        if not page["results"]:
            break
        seen += [each["comment"]["id"] for each in page["results"]]
        assert after != f"&after={page['after']}"
        after = f"&after={page['after']}"
    assert (seen, "after" in page) == (["1", "3"], False)


# What the vendor's client sends, as it sends it: one segment for project and name, and filters that say nothing.


@pytest.mark.parametrize(
    "path", ["/api/_private/datasets/acme-dev%2Fsupport", "//api//_private/datasets//acme-dev/support"]
)
def test_the_clients_queries_and_statistics(api: Caller, comms_mining_emulator: EmulatorServer, path: str) -> None:
    source = _load(comms_mining_emulator)
    assert api("PUT", "/api/v1/datasets/acme-dev%2Fsupport", {"dataset": {"source_ids": [source["id"]]}}).ok
    _annotate(api, f"{source['id']}.2", labelling=[{"group": "default", "assigned": [{"name": "A"}]}])
    rules: dict[str, Any] = {"timestamp": {}, "sources": [source["id"]], "messages": {}}
    more = {"label_property_timeseries": False, "label_timeseries": False}
    for reviewed, expected in ((None, 3.0), ("only_reviewed", 1.0), ("only_unreviewed", 2.0)):
        chosen = {**rules, **({"reviewed": reviewed} if reviewed else {})}
        counted = api("POST", f"{path}/statistics", {"comment_filter": chosen, **more}).json()["statistics"]
        assert counted["num_comments"] == expected
    everything = api("POST", f"{path}/statistics", {"comment_filter": {}}).json()["statistics"]
    assert everything["min_timestamp"].startswith("2020-01-01")
    assert everything["max_timestamp"].startswith("2020-01-03")
    wanted = {"filter": rules, "limit": 2, "order": {"kind": "recent"}}
    first = api("POST", f"{path}/query", wanted).json()
    second = api("POST", f"{path}/query", {**wanted, "continuation": first["continuation"]}).json()
    ids = [[each["comment"]["id"] for each in page["results"]] for page in (first, second)]
    assert (ids, "continuation" in second) == ([["3", "2"], ["1"]], False)
    labelled = {"attribute": "labels", "filter": {"kind": "string_any_of", "any_of": ["A"]}}
    found = api("POST", f"{path}/query", {**wanted, "attribute_filters": [labelled], "limit": 9}).json()["results"]
    assert "2" in [each["comment"]["id"] for each in found]
    for order in ({"kind": "sample", "seed": 7}, {"kind": "by_label", "label": "A"}):
        seen, body = [], {"order": order, "limit": 1}
        while True:
            page = api("POST", f"{path}/query", body).json()
            seen += [each["comment"]["id"] for each in page["results"]]
            if "continuation" not in page:
                break
            body["continuation"] = page["continuation"]
        assert sorted(seen) == ["1", "2", "3"]


def test_datasets_survive_in_the_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with EmulatorServer(state_file=path) as server:
        api = Caller(server.url)
        source = _load(server)
        dataset = _create(api, source_ids=[source["id"]])
        _annotate(api, f"{source['id']}.1", labelling=[{"assigned": [{"name": "A"}]}])
        api("PUT", f"{URL}/streams", {"stream": {"name": "new"}})
    with EmulatorServer(state_file=path) as server:
        api = Caller(server.url)
        assert api("GET", URL).json()["dataset"]["id"] == dataset["id"]
        assert [each["name"] for each in api("GET", f"{URL}/streams").json()["streams"]] == ["new"]
        shown = api("GET", f"{PRIVATE}/labellings?id={source['id']}.1").json()["results"][0]
        assert shown["labelling"][0]["assigned"] == [{"name": "A", "sentiment": "positive"}]
