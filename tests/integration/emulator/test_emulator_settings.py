"""What each setting changes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
from airflow_provider_cm.emulator.settings import describe
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2024, 2, 29, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self._now

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@pytest.fixture
def virtual() -> Iterator[tuple[EmulatorServer, Clock]]:
    clock = Clock()
    with EmulatorServer(clock=clock) as server:
        yield server, clock


@pytest.mark.parametrize("status", [400, 409, 422])
def test_duplicate_put_as_an_error(comms_mining_emulator: EmulatorServer, api: Caller, status: int) -> None:
    comms_mining_emulator.configure(duplicate_put=status)
    before = api.create(title="first")
    answer = api("PUT", "/api/v1/sources/acme-dev/inbox", {"source": {"title": "second"}})
    message = "Source 'acme-dev/inbox' already exists"
    assert (answer.status_code, answer.json()) == (status, {"status": "error", "message": message})
    assert api("GET", "/api/v1/sources").json()["sources"] == [before]


def test_duplicate_put_as_an_upsert(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(duplicate_put="upsert")
    before = api.create(title="first", description="kept")
    after = api.create(title="second", language="de")
    assert (after["id"], after["created_at"], after["description"]) == (before["id"], before["created_at"], "kept")
    assert (after["title"], after["language"]) == ("second", "de")
    assert after["updated_at"] > before["updated_at"]


@pytest.mark.parametrize("status", [400, 403, 404])
def test_missing_project(comms_mining_emulator: EmulatorServer, api: Caller, status: int) -> None:
    comms_mining_emulator.configure(missing_project=status)
    assert api("PUT", "/api/v1/sources/absent/inbox", {"source": {}}).status_code == status


def test_missing_project_list(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(missing_project_list=403)
    assert api("GET", "/api/v1/sources/absent").status_code == 403
    comms_mining_emulator.configure(missing_project_list="empty")
    assert api("GET", "/api/v1/sources/absent").json() == {"sources": [], "status": "ok"}


def test_delete_missing(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(delete_missing=200)
    answer = api("DELETE", "/api/v1/sources/id:0123456789abcdef")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("status", [400, 404, 422])
def test_invalid_name(comms_mining_emulator: EmulatorServer, api: Caller, status: int) -> None:
    comms_mining_emulator.configure(invalid_name=status)
    for path in ("acme-dev/a.b", "id:NOTHEX", "a%20b"):
        assert api("GET", f"/api/v1/sources/{path}").status_code == status, path


def test_null_field(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(null_field="ignore")
    assert api.create(title="kept", language=None)["language"] == "en"
    assert api.update(title=None).json()["source"]["title"] == "kept"


def test_unknown_field(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(unknown_field="ignore")
    assert "tittle" not in api.create(tittle="x")


def test_a_language_that_is_refused_is_no_unknown_field(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(unknown_field="ignore", null_field="ignore", language_on_update="refuse")
    api.create(language="de", tittle="x")
    assert api.update(tittle="x").status_code == 200
    for language in ("en", None):
        answer = api.update(language=language)
        assert (answer.status_code, "('language' was unexpected)" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_unknown_bucket(comms_mining_emulator: EmulatorServer, api: Caller, status: int) -> None:
    comms_mining_emulator.configure(unknown_bucket=status)
    api.create()
    body = {"source": {"bucket_id": "0123456789abcdef"}}
    assert api("PUT", "/api/v1/sources/acme-dev/other", body).status_code == status
    assert api("POST", "/api/v1/sources/acme-dev/inbox", body).status_code == status
    comms_mining_emulator.configure(unknown_bucket="accept")
    assert api.update(**body["source"]).json()["source"]["bucket_id"] == "0123456789abcdef"


def test_languages(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(languages=["fr"])
    assert api.create(language="fr")["language"] == "fr"
    answer = api("PUT", "/api/v1/sources/acme-dev/other", {"source": {"language": "de"}})
    assert "'de' is not one of ['fr']" in answer.json()["message"]


@pytest.mark.parametrize(("choice", "kind"), [("accept", "chat"), ("ignore", "call")])
def test_kind_on_update(comms_mining_emulator: EmulatorServer, api: Caller, choice: str, kind: str) -> None:
    comms_mining_emulator.configure(kind_on_update=choice)
    api.create(_kind="call")
    assert api.update(_kind="chat").json()["source"]["_kind"] == kind


@pytest.mark.parametrize(("name", "field"), [("language_on_update", "language"), ("kind_on_update", "_kind")])
def test_refused_on_update(comms_mining_emulator: EmulatorServer, api: Caller, name: str, field: str) -> None:
    comms_mining_emulator.configure(**{name: "refuse"})
    source = api.create(**{field: "de" if field == "language" else "chat"})
    answer = api.update(**{field: source[field]})
    message = f"Additional properties are not allowed ('{field}' was unexpected) (in source)"
    assert (answer.status_code, answer.json()["message"]) == (400, message)


def test_transform_tags(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(transform_tags="acme.1.ABC,acme.2.ABC")
    assert api.create(email_transform_tag="acme.2.ABC")["email_transform_tag"] == "acme.2.ABC"
    assert api.update(email_transform_tag="generic.0.CONVKER5").status_code == 422


@pytest.mark.parametrize(("choice", "language"), [("accept", "de"), ("ignore", "en")])
def test_language_on_update(comms_mining_emulator: EmulatorServer, api: Caller, choice: str, language: str) -> None:
    comms_mining_emulator.configure(language_on_update=choice)
    api.create()
    assert api.update(language="de").json()["source"]["language"] == language


@pytest.mark.parametrize(
    ("choice", "expected"), [("replace", ["string:b", "string:c"]), ("merge", ["string:a", "string:b", "string:c"])]
)
def test_sensitive_properties_update(
    comms_mining_emulator: EmulatorServer, api: Caller, choice: str, expected: list[str]
) -> None:
    comms_mining_emulator.configure(sensitive_properties_update=choice)
    api.create(sensitive_properties=["string:a", "string:b"])
    assert (
        api.update(sensitive_properties=["string:b", "string:c"]).json()["source"]["sensitive_properties"] == expected
    )


@pytest.mark.parametrize(
    ("choice", "empty", "same", "other"),
    [("always", True, True, True), ("sent", False, True, True), ("changed", False, False, True)],
)
def test_updated_at_moves(
    comms_mining_emulator: EmulatorServer, api: Caller, choice: str, empty: bool, same: bool, other: bool
) -> None:
    comms_mining_emulator.configure(updated_at_moves=choice)
    last = api.create(title="T")["updated_at"]
    for fields, moves in (({}, empty), ({"title": "T"}, same), ({"title": "U"}, other)):
        now = api.update(**fields).json()["source"]["updated_at"]
        assert (now > last) == moves, fields
        last = now


def test_names_case_sensitive(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    first = api.create("Inbox")
    assert api.create("inbox")["id"] != first["id"]
    comms_mining_emulator.reset()
    comms_mining_emulator.configure(names_case_sensitive=False)
    first = api.create("Inbox")
    assert api("PUT", "/api/v1/sources/ACME-dev/inBOX", {"source": {}}).status_code == 409
    assert api("GET", "/api/v1/sources/ACME-DEV/INBOX").json()["source"] == first
    assert [source["owner"] for source in api("GET", "/api/v1/sources/Acme-Dev").json()["sources"]] == ["acme-dev"]


def test_a_lagging_replica_shows_each_write_later(virtual: tuple[EmulatorServer, Clock]) -> None:
    server, clock = virtual
    server.configure(read_lag_s="10")
    api = Caller(server.url)
    source = api.create(title="first")
    by_id = f"/api/v1/sources/id:{source['id']}"
    by_name = "/api/v1/sources/acme-dev/inbox"
    lists = ("/api/v1/sources", "/api/v1/sources/acme-dev")

    def titles() -> list[str | None]:
        """What each kind of read shows."""
        read = [api("GET", path).json().get("source", {}).get("title") for path in (by_id, by_name)]
        listed = [api("GET", path).json()["sources"] for path in lists]
        return [*read, *(each[0]["title"] if each else None for each in listed)]

    assert titles() == [None] * 4
    assert api("POST", f"{by_name}/statistics", {"comment_filter": {}}).status_code == 404
    # Writes see what is there at once.
    assert api("PUT", by_name, {"source": {}}).status_code == 409
    clock.move(5)
    assert api.update(title="second").json()["source"]["title"] == "second"
    clock.move(5)
    assert titles() == ["first"] * 4
    clock.move(5)
    assert titles() == ["second"] * 4
    assert api("DELETE", by_id).status_code == 200
    assert titles() == ["second"] * 4
    assert api("DELETE", by_id).status_code == 404
    assert api.create(title="third")["id"] != source["id"]
    assert titles() == ["second"] * 4
    clock.move(10)
    assert titles() == [None, "third", "third", "third"]
    # Another tenant's changes are not undone here, and a test looks at what is there.
    server.tenant("/acme/dev/reinfer_").add_source("acme-dev", "other")
    assert titles() == [None, "third", "third", "third"]
    assert len(server.tenant("/acme/dev/reinfer_").sources()) == 1


@pytest.mark.parametrize(("offset", "date"), [("3", "12:00:03"), (-90.0, "11:58:30"), (0, "12:00:00")])
def test_the_gateways_clock_differs(virtual: tuple[EmulatorServer, Clock], offset: object, date: str) -> None:
    server, _ = virtual
    server.configure(date_offset_s=offset)
    api = Caller(server.url)
    answer = api("PUT", "/api/v1/sources/acme-dev/inbox", {"source": {}})
    assert answer.headers["Date"] == f"Thu, 29 Feb 2024 {date} GMT"
    assert answer.json()["source"]["created_at"] == "2024-02-29T12:00:00.000000+00:00"
    # A gateway that names a time names it by its own clock.
    server.faults.add("429", retry_after=0, date=True)
    assert api("GET", "/api/v1/sources").headers["Retry-After"] == f"Thu, 29 Feb 2024 {date} GMT"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_no_permission(comms_mining_emulator: EmulatorServer, api: Caller, status: int) -> None:
    comms_mining_emulator.configure(no_permission=status)
    source = api.create()
    viewer = Caller(api.base, "emulator-viewer")
    answer = viewer("DELETE", f"/api/v1/sources/id:{source['id']}")
    assert answer.status_code == status
    # Who hides that it is forbidden does not say so either.
    assert ("permission" in answer.json()["message"]) == (status != 404)
    assert viewer("GET", "/api/v1/sources").json()["sources"] == [source]


def test_default_title(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    assert api.create("one")["title"] == ""
    comms_mining_emulator.configure(default_title="name")
    assert api.create("two")["title"] == "two"


@pytest.mark.parametrize(("digits", "pattern"), [(0, r"\+00:00"), (3, r"\.\d{3}\+00:00"), (6, r"\.\d{6}\+00:00")])
def test_timestamp_digits(comms_mining_emulator: EmulatorServer, api: Caller, digits: int, pattern: str) -> None:
    comms_mining_emulator.configure(timestamp_digits=digits)
    source = api.create()
    for key in ("created_at", "updated_at", "last_modified"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d" + pattern, source[key]), source[key]


def test_limits(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(max_title=3, max_description=4, max_sensitive_properties=1)
    api.create(title="abc", description="abcd", sensitive_properties=["string:a"])
    for fields in ({"title": "abcd"}, {"description": "abcde"}, {"sensitive_properties": ["string:a", "string:b"]}):
        assert api.update(**fields).status_code == 400, fields


def test_source_quota_is_a_tenants(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(source_quota=1)
    first = api.create("one")
    answer = api("PUT", "/api/v1/sources/acme-dev/two", {"source": {}})
    assert (answer.status_code, "quotas exceeded" in answer.json()["message"]) == (403, True)
    comms_mining_emulator.tenant("/acme/dev/reinfer_").add_source("acme-dev", "two")
    api("DELETE", f"/api/v1/sources/id:{first['id']}")
    api.create("two")


def test_latency_is_outside_server_timing(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(latency_ms=120)
    answer = api("GET", "/api/v1/sources")
    assert answer.elapsed.total_seconds() >= 0.12
    assert float(answer.headers["Server-Timing"].removeprefix("total;dur=")) < 100


def test_settings_may_be_text() -> None:
    settings = EmulatorSettings().changed(
        duplicate_put="422",
        names_case_sensitive="false",
        source_quota="none",
        languages="en, fr",
        timestamp_digits="trim",
    )
    assert (settings.duplicate_put, settings.names_case_sensitive, settings.source_quota) == (422, False, None)
    assert (settings.languages, settings.timestamp_digits) == (("en", "fr"), "trim")


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"duplicate_put: .*409.*upsert.*\(got 410\); color: there is no such field"):
        EmulatorSettings().changed(duplicate_put=410, color="red")


def test_a_wrong_setting_changes_nothing(comms_mining_emulator: EmulatorServer) -> None:
    with pytest.raises(ValueError, match="shapes"):
        comms_mining_emulator.configure(duplicate_put="upsert", shapes="round")
    assert comms_mining_emulator.settings == EmulatorSettings()


def test_every_setting_states_its_default_and_evidence() -> None:
    rows = {name: (allowed, default, text) for name, allowed, default, text in describe()}
    assert set(rows) == set(EmulatorSettings.model_fields)
    assert rows["duplicate_put"][:2] == ("400 | 409 | 422 | upsert", "409")
    not_guessed = {"shapes", "max_description", "max_sensitive_properties"}
    assert {name for name, row in rows.items() if "guess" not in row[2].lower()} == not_guessed
