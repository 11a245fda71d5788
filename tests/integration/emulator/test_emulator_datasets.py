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
    # A dataset that holds the source already accepts it again.
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
    labelling: dict[str, Any] = answer.json()
    return labelling


def test_annotations_left_out_stay_and_empty_ones_go(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load(comms_mining_emulator)
    dataset = _create(api, source_ids=[source["id"]])
    uid = f"{source['id']}.1"
    label, other = {"name": "A > B", "sentiment": "negative"}, {"name": "C", "sentiment": "positive"}
    _annotate(api, uid, labelling=[{"group": "default", "assigned": [label], "dismissed": [other]}])
    span = {"content_part": "body", "message_index": 0, "utf16_byte_start": 0, "utf16_byte_end": 4}
    entity = {"name": "number", "formatted_value": "No", "span": span}
    labelling = _annotate(api, uid, entities={"assigned": [entity], "dismissed": []})
    assert labelling["labelling"] == [{"group": "default", "assigned": [label], "dismissed": [other]}]
    assert labelling["entities"]["assigned"] == [{**entity, "span": {**span, "char_start": 0, "char_end": 2}}]
    assert labelling["comment"]["has_annotations"] is True
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
    results = api("GET", f"{PRIVATE}/labellings?id={source['id']}.1").json()["results"]
    assert [each["labelling"][0]["assigned"] for each in results] == [[]]


def test_pages_of_annotated_messages_end_with_an_empty_one(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load(comms_mining_emulator)
    _create(api, source_ids=[source["id"]])
    for number in (1, 3):
        _annotate(api, f"{source['id']}.{number}", labelling=[{"assigned": [{"name": "A"}]}])
    ids, after = [], ""
    while True:
        page = api(
            "GET", f"{PRIVATE}/labellings?source_id={source['id']}&return_predictions=false&limit=1{after}"
        ).json()
        if not page["results"]:
            break
        ids += [each["comment"]["id"] for each in page["results"]]
        assert after != f"&after={page['after']}"
        after = f"&after={page['after']}"
    assert (ids, "after" in page) == (["1", "3"], False)


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
    everything = api("POST", f"{path}/statistics", {"comment_filter": {}, **more}).json()["statistics"]
    assert everything["min_timestamp"].startswith("2020-01-01")
    assert everything["max_timestamp"].startswith("2020-01-03")
    wanted = {"filter": rules, "limit": 2, "order": {"kind": "recent"}}
    first = api("POST", f"{path}/query", wanted).json()
    second = api("POST", f"{path}/query", {**wanted, "continuation": first["continuation"]}).json()
    ids = [[each["comment"]["id"] for each in page["results"]] for page in (first, second)]
    assert (ids, "continuation" in second) == ([["3", "2"], ["1"]], False)
    labelled = {"attribute": "labels", "filter": {"kind": "string_any_of", "any_of": ["A"]}}
    results = api("POST", f"{path}/query", {**wanted, "attribute_filters": [labelled], "limit": 9}).json()["results"]
    assert "2" in [each["comment"]["id"] for each in results]
    for order in ({"kind": "sample", "seed": 7}, {"kind": "by_label", "label": "A"}):
        uids_in_order, body = [], {"order": order, "limit": 1}
        while True:
            page = api("POST", f"{path}/query", body).json()
            uids_in_order += [each["comment"]["id"] for each in page["results"]]
            if "continuation" not in page:
                break
            body["continuation"] = page["continuation"]
        assert sorted(uids_in_order) == ["1", "2", "3"]


# What the contract requires of statistics, and the one body without it that the vendor's client sends.

_OF_CLIENT: dict[str, Any] = {"comment_filter": {}, "label_timeseries": False, "label_property_timeseries": False}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"by_label_properties": []}, 200),
        ({}, 400),
        ({"comment_filter": {}}, 400),
        ({"comment_filter": {}, "label_timeseries": False}, 400),
        ({"comment_filter": {}, "label_timeseries": False, "label_property_timeseries": False}, 200),
        (
            {"comment_filter": {}, "label_timeseries": False, "label_property_timeseries": False, "thread_mode": True},
            400,
        ),
        ({"comment_filter": {}, "label_timeseries": "no", "label_property_timeseries": False}, 400),
    ],
)
def test_statistics_need_the_label_properties_but_of_the_client(api: Caller, body: dict[str, Any], status: int) -> None:
    _create(api)
    answer = api("POST", f"{PRIVATE}/statistics", body)
    assert answer.status_code == status, answer.text


def _load_years(api: Caller, server: EmulatorServer) -> dict[str, Any]:
    source = server.tenant("/").add_source("acme-dev", "inbox")
    messages = [
        {"id": f"{number}", "timestamp": moment, "messages": [], "user_properties": properties}
        for number, (moment, properties) in enumerate(
            [
                ("2020-01-05T23:30:00Z", {"string:Region": "EU"}),
                ("2020-01-06T12:00:00Z", {"string:Region": "US", "number:Score": 1}),
                ("2020-02-01T00:00:00Z", {"string:Region": "EU", "number:Score": 2}),
                ("2021-06-01T00:00:00Z", {}),
            ]
        )
    ]
    server.tenant("/").add_messages("acme-dev", "inbox", messages)
    _create(api, source_ids=[source["id"]])
    _annotate(api, f"{source['id']}.2", labelling=[{"group": "default", "assigned": [{"name": "A"}]}])
    return source


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"time_resolution": "day"}, ["2020-01-05", "2020-01-06", "2020-02-01", "2021-06-01"]),
        ({"time_resolution": "week"}, ["2019-12-30", "2020-01-06", "2020-01-27", "2021-05-31"]),
        ({"time_resolution": "month"}, ["2020-01-01", "2020-02-01", "2021-06-01"]),
        ({}, ["2020-01-01", "2020-02-01", "2021-06-01"]),
        ({"time_resolution": "year"}, ["2020-01-01", "2021-01-01"]),
        ({"time_resolution": "day", "timezone": "Europe/Berlin"}, ["2020-01-06", "2020-02-01", "2021-06-01"]),
    ],
)
def test_statistics_by_period(
    api: Caller, comms_mining_emulator: EmulatorServer, more: dict[str, Any], expected: list[str]
) -> None:
    _load_years(api, comms_mining_emulator)
    labels = {"by_labels": {"include": {"include_labels": ["A", "B"]}}}
    body = {"by_label_properties": [], "label_timeseries": True, **labels, **more}
    series = api("POST", f"{PRIVATE}/statistics", body).json()["statistics"]["label_timeseries"]
    assert [each["timestamp_str"] for each in series] == expected
    assert sum(each["expected_count_any"] for each in series) == 4
    counts = api("POST", f"{PRIVATE}/statistics", {**body, "label_timeseries": False}).json()["statistics"]
    by_label = [sum(numbers) for numbers in zip(*(each["label_sentiment_counts"] for each in series), strict=True)]
    assert by_label == [counts["label_counts"][name][sign] for name in "AB" for sign in ("positive", "negative")]
    assert by_label[0] > 0
    assert api("POST", f"{PRIVATE}/statistics", {**body, "timezone": "Mars/Olympus"}).status_code == 422


def test_statistics_by_source_and_user_property(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load_years(api, comms_mining_emulator)
    settings = [{"group_by": "Region"}, {"group_by": "string:Region", "values": ["US", "APAC"]}]
    body = {"by_label_properties": [], "source_counts": {"limit": 1}, "string_user_property_counts": settings}
    counted = api("POST", f"{PRIVATE}/statistics", body).json()["statistics"]
    assert (counted["source_counts"]["values"], counted["source_counts"]["num_comments"]) == ([source["id"]], [4.0])
    counts = [(each["values"], each["num_comments"]) for each in counted["string_user_property_counts"]]
    assert counts == [(["EU", "US"], [2.0, 1.0]), (["US", "APAC"], [1.0, 0.0])]


def test_the_summary_lists_the_user_properties(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    _load_years(api, comms_mining_emulator)
    region = {"full_name": "Region", "values": [{"value": "EU"}, {"value": "US"}]}
    for rules, expected in (
        ({}, {"string": [region], "number": [{"full_name": "Score"}]}),
        ({"timestamp": {"minimum": "2021-01-01T00:00:00Z"}}, {"string": [], "number": []}),
    ):
        summary = api("POST", f"{PRIVATE}/summary", {"filter": rules}).json()["summary"]
        assert summary == {"user_properties": expected}


def test_predictions_on_request_are_those_of_exports(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load(comms_mining_emulator)
    _create(api, source_ids=[source["id"]])
    exported = {
        each["comment"]["uid"]: each["predictions"]["labels"]
        for each in api("POST", f"{URL}/export", {}).json()["comments"]
    }
    path, uids = f"{URL}/labellers/1/predict-comments", sorted(exported, reverse=True)
    predictions = api("POST", path, {"uids": uids}).json()["predictions"]
    assert [(each["uid"], each["labels"]) for each in predictions] == [(uid, exported[uid]) for uid in uids]
    assert any(each["labels"] for each in predictions)
    with_thresholds = api("POST", path, {"uids": uids, "threshold": "auto"}).json()["predictions"]
    assert all("high_recall" in label["auto_thresholds"] for each in with_thresholds for label in each["labels"])
    names = {" > ".join(label["name"]) for labels in exported.values() for label in labels}
    chosen = min(names)
    limited = api("POST", path, {"uids": uids, "labels": [{"name": chosen.split(" > "), "threshold": 0.0}]})
    predicted = {" > ".join(label["name"]) for each in limited.json()["predictions"] for label in each["labels"]}
    assert predicted == {chosen}
    assert api("POST", path, {"uids": [f"{source['id']}.absent"]}).status_code == 404
    assert api("POST", path.replace("/1/", "/2/"), {"uids": []}).status_code == 404
    assert api("POST", f"{PRIVATE}/labellers", {}).json()["labellers"] == [{"version": 1}]


def test_quotas_show_the_limits_that_are_set(api: Caller, comms_mining_emulator: EmulatorServer) -> None:
    source = _load(comms_mining_emulator)
    _create(api, source_ids=[source["id"]])

    def quotas() -> dict[str, tuple[int, int]]:
        quotas_json = api("GET", "/api/_private/quotas").json()["quotas"]
        return {each["quota_kind"]: (each["hard_limit"], each["current_max_usage"]) for each in quotas_json}

    assert quotas() == {"sources_per_dataset": (20, 1), "datasets_per_source": (10, 1)}
    comms_mining_emulator.configure(message_quota=5, source_quota=9)
    assert quotas() == {**quotas(), "comments": (5, 3), "sources": (9, 1)}


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
        labelling = api("GET", f"{PRIVATE}/labellings?id={source['id']}.1").json()["results"][0]
        assert labelling["labelling"][0]["assigned"] == [{"name": "A", "sentiment": "positive"}]
