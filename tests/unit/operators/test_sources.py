"""The operators for sources: what each option does, what it sends, and what is said when it cannot be done."""

from __future__ import annotations

import copy
import inspect
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    literal,
)

from airflow_provider_cm.api import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    TokenError,
    TransportError,
)
from airflow_provider_cm.api.arguments import NOT_GIVEN
from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable
from airflow_provider_cm.operators import sources as module
from airflow_provider_cm.operators.sources import (
    CreateSourceOperator,
    DeleteSourceOperator,
    GetSourceOperator,
    ListSourcesOperator,
    UpdateSourceOperator,
)
from tests.unit.api.server import Answer, Request, Server, closed_port, error, html, ok
from tests.unit.operators.rival import Rival

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import TenantHandle
    from tests.conftest import Connect, Sent

OPERATORS: list[Any] = [
    CreateSourceOperator,
    UpdateSourceOperator,
    GetSourceOperator,
    ListSourcesOperator,
    DeleteSourceOperator,
]
BY_NAME: dict[str, Any] = {"project": "acme-dev", "source_name": "inbox"}
VALID: dict[Any, dict[str, Any]] = {
    CreateSourceOperator: BY_NAME,
    UpdateSourceOperator: {**BY_NAME, "title": "x"},
    GetSourceOperator: BY_NAME,
    ListSourcesOperator: {},
    DeleteSourceOperator: BY_NAME,
}
PATH = "sources/acme-dev/inbox"
NO_ID = "18ba5ce699f8da1f"


def run(operator: Any, **arguments: Any) -> Any:
    """Run a task as a worker does, less the rendering; the result goes the way of an XCom."""
    result = operator(task_id="t", **arguments).execute({})
    assert type(result) in {dict, list}
    assert json.loads(json.dumps(result)) == result
    return result


def fails(operator: Any, cause: type[CommsMiningError] = ConfigurationError, **arguments: Any) -> str:
    """Expect that the task fails at once, and give the message."""
    with pytest.raises(CommsMiningFailure) as info:
        run(operator, **arguments)
    assert isinstance(info.value, AirflowFailException)
    assert type(info.value.__cause__) is cause
    assert str(info.value) == str(info.value.__cause__)
    return str(info.value)


def retries(operator: Any, cause: type[CommsMiningError], **arguments: Any) -> str:
    """Expect an error that leaves the task to its retries, and give the message."""
    with pytest.raises(CommsMiningRetryable) as info:
        run(operator, **arguments)
    assert isinstance(info.value, AirflowException)
    assert not isinstance(info.value, AirflowFailException)
    assert type(info.value.__cause__) is cause
    return str(info.value)


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


# Create


def test_create_looks_then_creates(tenant: TenantHandle, sent: Sent) -> None:
    result = run(CreateSourceOperator, **BY_NAME)
    assert sent() == [f"GET {PATH}", f"PUT {PATH}"]
    assert result == tenant.source("acme-dev", "inbox")


def test_create_sends_only_what_was_given(tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    run(CreateSourceOperator, **BY_NAME)
    assert comms_mining_emulator.requests[-1].json == {"source": {}}


@pytest.mark.parametrize(
    ("field", "given", "key", "held"),
    [
        ("title", "A title", "title", "A title"),
        ("title", "", "title", ""),
        ("description", "Long\ntext", "description", "Long\ntext"),
        ("language", "Multilingual", "language", "Multilingual"),
        ("should_translate", True, "should_translate", True),
        ("should_translate", "True", "should_translate", True),
        ("should_translate", "False", "should_translate", False),
        ("sensitive_properties", ["string:A", "string:B"], "sensitive_properties", ["string:A", "string:B"]),
        ("sensitive_properties", (), "sensitive_properties", []),
        ("kind", "call", "_kind", "call"),
        ("email_transform_tag", "generic.0.CONVKER5", "email_transform_tag", "generic.0.CONVKER5"),
    ],
)
def test_each_field_of_a_create_arrives(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, field: str, given: Any, key: str, held: Any
) -> None:
    result = run(CreateSourceOperator, **BY_NAME, **{field: given})
    assert comms_mining_emulator.requests[-1].json == {"source": {key: held}}
    assert result[key] == held
    # A task that is cleared and runs again asks for the same, whatever was asked for.
    assert run(CreateSourceOperator, **BY_NAME, **{field: given}) == result


def test_a_bucket_is_attached(tenant: TenantHandle) -> None:
    bucket = tenant.add_bucket("acme-dev", "mails")
    result = run(CreateSourceOperator, **BY_NAME, bucket_id=f" {bucket['id']} ")
    assert result["bucket_id"] == bucket["id"]


@pytest.mark.parametrize("shapes", ["full", "docs"])
def test_a_create_that_runs_again_changes_nothing(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent, shapes: str
) -> None:
    comms_mining_emulator.configure(shapes=shapes)
    arguments: dict[str, Any] = {
        **BY_NAME,
        "title": "Inbox",
        "language": "en",
        "sensitive_properties": ["string:b", "string:a"],
    }
    first = run(CreateSourceOperator, **arguments)
    sent()
    again = run(CreateSourceOperator, **{**arguments, "sensitive_properties": ["string:a", "string:b"]})
    assert again == first
    # The vendor's page shows no language for a read by name, so that it is looked for by the id.
    by_id = [f"GET sources/id:{first['id']}"] if shapes == "docs" else []
    assert sent() == [f"GET {PATH}", *by_id]


def test_match_names_every_difference(tenant: TenantHandle, sent: Sent) -> None:
    before = tenant.add_source("acme-dev", "inbox", title="Theirs", description="x")
    told = fails(
        CreateSourceOperator,
        ConflictError,
        **BY_NAME,
        title="Mine",
        description="x",
        should_translate=True,
        language="Multilingual",
    )
    assert f"source acme-dev/inbox (id {before['id']}) exists already" in told
    assert "title is 'Theirs', not 'Mine'" in told
    assert "should_translate is False, not True" in told
    assert "language is 'en', not 'Multilingual'" in told
    assert "description" not in told
    assert "set if_exists to update" in told
    assert sent() == [f"GET {PATH}"]
    assert tenant.source("acme-dev", "inbox") == before


def test_match_names_differences_that_only_a_read_by_id_shows(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    comms_mining_emulator.configure(shapes="docs")
    tenant.add_source("acme-dev", "inbox", title="Theirs")
    told = fails(CreateSourceOperator, ConflictError, **BY_NAME, title="Mine", language="Multilingual")
    assert "title is 'Theirs', not 'Mine'; language is 'en', not 'Multilingual'" in told


def test_match_says_what_the_server_does_not_show(tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    comms_mining_emulator.configure(shapes="docs")
    tenant.add_source("acme-dev", "inbox", _kind="call")
    told = fails(CreateSourceOperator, ConflictError, **BY_NAME, kind="call")
    assert "exists already, and the server does not show its kind to compare" in told


def test_update_changes_what_differs_and_no_more(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    tenant.add_source("acme-dev", "inbox", title="Theirs", description="x")
    result = run(CreateSourceOperator, **BY_NAME, title="Mine", description="x", if_exists="update")
    assert comms_mining_emulator.requests[-1].json == {"source": {"title": "Mine"}}
    assert sent() == [f"GET {PATH}", f"POST {PATH}"]
    assert result == tenant.source("acme-dev", "inbox")
    assert result["title"] == "Mine"


def test_update_sends_nothing_where_nothing_differs(tenant: TenantHandle, sent: Sent) -> None:
    before = tenant.add_source("acme-dev", "inbox", title="Mine")
    assert run(CreateSourceOperator, **BY_NAME, title="Mine", if_exists="update") == before
    assert sent() == [f"GET {PATH}"]


def test_update_does_not_take_a_language_it_was_not_shown_for_another(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    comms_mining_emulator.configure(shapes="docs")
    tenant.add_source("acme-dev", "inbox", title="Theirs", language="de")
    result = run(CreateSourceOperator, **BY_NAME, title="Mine", language="de", if_exists="update")
    assert result["title"] == "Mine"
    assert comms_mining_emulator.requests[-1].json == {"source": {"title": "Mine"}}


@pytest.mark.parametrize(
    ("field", "key", "held", "wanted"), [("language", "language", "de", "en"), ("kind", "_kind", "call", "chat")]
)
def test_update_refuses_what_an_update_cannot_change(
    tenant: TenantHandle, sent: Sent, field: str, key: str, held: str, wanted: str
) -> None:
    theirs: dict[str, Any] = {key: held}
    before = tenant.add_source("acme-dev", "inbox", title="a", **theirs)
    told = fails(CreateSourceOperator, ConflictError, **BY_NAME, title="b", **{field: wanted}, if_exists="update")
    assert f"its {field} is '{held}', not '{wanted}', which an update does not send; choose another name" in told
    assert sent() == [f"GET {PATH}"]
    assert tenant.source("acme-dev", "inbox") == before


def test_update_refuses_a_kind_that_the_server_does_not_show(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    comms_mining_emulator.configure(shapes="docs")
    tenant.add_source("acme-dev", "inbox", _kind="call")
    told = fails(CreateSourceOperator, ConflictError, **BY_NAME, title="b", kind="call", if_exists="update")
    assert "the server does not show its kind" in told
    assert "leave kind out" in told


def test_ignore_gives_the_source_as_it_is(tenant: TenantHandle, sent: Sent) -> None:
    before = tenant.add_source("acme-dev", "inbox", title="Theirs")
    assert run(CreateSourceOperator, **BY_NAME, title="Mine", if_exists="ignore") == before
    assert sent() == [f"GET {PATH}"]


def test_skip_skips_the_task(tenant: TenantHandle, sent: Sent) -> None:
    tenant.add_source("acme-dev", "inbox")
    with pytest.raises(AirflowSkipException, match=r"source acme-dev/inbox \(id [0-9a-f]{16}\) exists already"):
        run(CreateSourceOperator, **BY_NAME, if_exists="skip")
    assert sent() == [f"GET {PATH}"]


def test_fail_fails_even_where_nothing_differs(tenant: TenantHandle, sent: Sent) -> None:
    tenant.add_source("acme-dev", "inbox", title="Inbox")
    told = fails(CreateSourceOperator, ConflictError, **BY_NAME, title="Inbox", if_exists="fail")
    assert "exists already; to accept it, set if_exists to match, update or ignore" in told
    assert sent() == [f"GET {PATH}"]


@pytest.mark.parametrize("if_exists", ["match", "update", "ignore", "skip", "fail"])
def test_every_if_exists_creates_what_is_not_there(tenant: TenantHandle, sent: Sent, if_exists: str) -> None:
    assert run(CreateSourceOperator, **BY_NAME, if_exists=if_exists)["name"] == "inbox"
    assert sent() == [f"GET {PATH}", f"PUT {PATH}"]


@pytest.fixture(scope="module")
def rivalled_server() -> Iterator[tuple[EmulatorServer, Rival]]:
    rival = Rival()
    server = EmulatorServer(middleware=[rival.wrap])
    rival.server = server
    with server:
        yield server, rival


@pytest.mark.parametrize("status", [409, 400, 422])
class TestSomebodyElseCreatesItBetweenLookAndCreate:
    """Whatever status the server has for that."""

    @pytest.fixture
    def rival(self, rivalled_server: tuple[EmulatorServer, Rival], connect: Connect, status: int) -> Rival:
        server, rival = rivalled_server
        server.reset()
        server.configure(duplicate_put=status)
        connect(host=f"{server.url}/acme/dev/reinfer_")
        rival.fields = {}
        return rival

    def test_match_accepts_the_same(self, rival: Rival, rivalled_server: Any, status: int) -> None:
        rival.fields = {"title": "Inbox"}
        result = run(CreateSourceOperator, **BY_NAME, title="Inbox")
        server = rivalled_server[0]
        assert result == server.tenant("/acme/dev/reinfer_").source("acme-dev", "inbox")
        requests = [(each.method, each.status) for each in server.requests]
        assert requests == [("GET", 404), ("PUT", status), ("GET", 200)]

    def test_match_refuses_another(self, rival: Rival) -> None:
        rival.fields = {"title": "Theirs"}
        told = fails(CreateSourceOperator, ConflictError, **BY_NAME, title="Mine")
        assert "title is 'Theirs', not 'Mine'" in told

    def test_update_changes_it(self, rival: Rival) -> None:
        rival.fields = {"title": "Theirs"}
        assert run(CreateSourceOperator, **BY_NAME, title="Mine", if_exists="update")["title"] == "Mine"

    def test_ignore_takes_it(self, rival: Rival) -> None:
        rival.fields = {"title": "Theirs"}
        assert run(CreateSourceOperator, **BY_NAME, title="Mine", if_exists="ignore")["title"] == "Theirs"

    def test_skip_skips(self, rival: Rival) -> None:
        with pytest.raises(AirflowSkipException):
            run(CreateSourceOperator, **BY_NAME, if_exists="skip")

    def test_fail_fails(self, rival: Rival) -> None:
        told = fails(CreateSourceOperator, ConflictError, **BY_NAME, if_exists="fail")
        assert "exists already" in told


def test_a_language_that_the_server_refuses_is_told_in_its_words(tenant: TenantHandle) -> None:
    told = fails(CreateSourceOperator, BadRequestError, **BY_NAME, language="Klingon")
    assert "PUT sources/acme-dev/inbox: 400 Bad Request: 'Klingon' is not one of ['en', 'de'," in told
    assert tenant.sources() == []


def test_a_full_quota_is_told(tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    comms_mining_emulator.configure(source_quota=0)
    told = fails(CreateSourceOperator, PermissionDeniedError, **BY_NAME)
    assert "quotas exceeded" in told
    assert "'Sources admin'" in told


def test_a_missing_project_is_told(tenant: TenantHandle) -> None:
    told = fails(CreateSourceOperator, NotFoundError, project="nowhere", source_name="inbox")
    assert "Project 'nowhere' not found" in told


# Update


@pytest.mark.parametrize(
    ("field", "given", "key", "held"),
    [
        ("title", "A title", "title", "A title"),
        ("description", "", "description", ""),
        ("should_translate", "true", "should_translate", True),
        ("should_translate", False, "should_translate", False),
        ("sensitive_properties", [], "sensitive_properties", []),
        ("sensitive_properties", ["string:c"], "sensitive_properties", ["string:c"]),
        ("email_transform_tag", "generic.0.CONVKER5", "email_transform_tag", "generic.0.CONVKER5"),
    ],
)
def test_update_sends_one_request_with_what_was_given(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, field: str, given: Any, key: str, held: Any
) -> None:
    before = tenant.add_source("acme-dev", "inbox", title="t", description="d", sensitive_properties=["string:a"])
    result = run(UpdateSourceOperator, **BY_NAME, **{field: given})
    (request,) = comms_mining_emulator.requests
    assert (request.method, request.json) == ("POST", {"source": {key: held}})
    assert result == tenant.source("acme-dev", "inbox")
    moved = {"updated_at", "last_modified"}
    assert {key: value for key, value in result.items() if key not in moved} == {
        **{key: value for key, value in before.items() if key not in moved},
        key: held,
    }


@pytest.mark.parametrize("detach", [True, "True"])
def test_a_bucket_is_attached_and_detached_by_updates(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, detach: object
) -> None:
    bucket = tenant.add_bucket("acme-dev", "mails")["id"]
    tenant.add_source("acme-dev", "inbox")
    assert run(UpdateSourceOperator, **BY_NAME, bucket_id=bucket)["bucket_id"] == bucket
    assert "bucket_id" not in run(UpdateSourceOperator, **BY_NAME, title="x", detach_bucket=detach)
    assert [request.json for request in comms_mining_emulator.requests] == [
        {"source": {"bucket_id": bucket}},
        {"source": {"title": "x", "bucket_id": None}},
    ]


def test_an_update_of_what_is_not_there_fails(tenant: TenantHandle, sent: Sent) -> None:
    assert "'acme-dev/inbox' not found" in fails(UpdateSourceOperator, NotFoundError, **BY_NAME, title="x")
    assert sent() == [f"POST {PATH}"]


# Get and list


def test_get_reads_by_name_and_by_id(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox", title="Inbox")
    assert run(GetSourceOperator, **BY_NAME) == held
    assert run(GetSourceOperator, source_id=f"{held['id']}") == held
    assert sent() == [f"GET {PATH}", f"GET sources/id:{held['id']}"]


def test_get_of_what_is_not_there_fails(tenant: TenantHandle) -> None:
    fails(GetSourceOperator, NotFoundError, **BY_NAME)
    fails(GetSourceOperator, NotFoundError, source_id=NO_ID)


@pytest.mark.parametrize("shapes", ["full", "docs"])
def test_list_gives_what_can_be_mapped_over(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, sent: Sent, shapes: str
) -> None:
    for project, name in (("acme-dev", "support-a"), ("acme-dev", "nps"), ("acme-prod", "support-b")):
        tenant.add_source(project, name)
    comms_mining_emulator.configure(shapes=shapes)

    def names(**arguments: Any) -> list[str]:
        return [source["name"] for source in run(ListSourcesOperator, **arguments)]

    assert names() == ["support-a", "nps", "support-b"]
    assert names(project="acme-dev") == ["support-a", "nps"]
    assert names(name_pattern="support-?") == ["support-a", "support-b"]
    assert names(project="acme-dev", name_pattern="support-*") == ["support-a"]
    assert names(name_pattern="SUPPORT-*") == []
    assert sent() == ["GET sources", "GET sources/acme-dev", "GET sources", "GET sources/acme-dev", "GET sources"]
    if shapes == "full":
        assert run(ListSourcesOperator) == tenant.sources()


def test_list_of_a_missing_project_fails(tenant: TenantHandle) -> None:
    fails(ListSourcesOperator, NotFoundError, project="nowhere")


# Delete


def test_delete_by_id_is_one_request(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox", messages=5)
    assert run(DeleteSourceOperator, source_id=held["id"]) == {"source_id": held["id"], "deleted": True}
    assert sent() == [f"DELETE sources/id:{held['id']}"]
    assert tenant.sources() == []


def test_delete_by_name_resolves_the_id_first(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox")
    other = tenant.add_source("acme-dev", "other")
    assert run(DeleteSourceOperator, **BY_NAME) == {"source_id": held["id"], "deleted": True}
    assert sent() == [f"GET {PATH}", f"DELETE sources/id:{held['id']}"]
    assert tenant.sources() == [other]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("address", [{"source_id": NO_ID}, BY_NAME])
def test_what_is_missing_is_ignored_skipped_or_an_error(
    tenant: TenantHandle, sent: Sent, capsys: pytest.CaptureFixture[str], address: dict[str, Any]
) -> None:
    known = address.get("source_id")
    missing = {"source_id": known, "deleted": False}
    requests = [f"DELETE sources/id:{known}", f"GET sources/id:{known}", "GET sources"]
    if known is None:
        requests = [f"GET {PATH}", "GET sources/acme-dev"]
    assert run(DeleteSourceOperator, **address) == missing
    assert re.search("warning.*is not there, so there is nothing to delete", capsys.readouterr().out)
    assert run(DeleteSourceOperator, **address, if_missing="ignore") == missing
    with pytest.raises(AirflowSkipException, match="is not there"):
        run(DeleteSourceOperator, **address, if_missing="skip")
    assert "404 Not Found" in fails(DeleteSourceOperator, NotFoundError, **address, if_missing="fail")
    assert sent() == requests * 4


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("only_if_empty", [True, False])
@pytest.mark.parametrize("address", [{"source_id": NO_ID}, BY_NAME])
def test_what_a_list_shows_is_not_taken_for_missing(
    connect: Connect, address: dict[str, Any], only_if_empty: bool
) -> None:
    """A server that hides a refusal behind 404, or a replica that lags behind."""
    listed = {"id": NO_ID, "owner": "acme-dev", "name": "inbox"}

    def answer(request: Request) -> Answer:
        path = request.target.partition("/api/v1/")[2]
        if path.endswith("statistics"):
            return ok(statistics={"num_comments": 0})
        return ok(sources=[listed]) if path in {"sources", "sources/acme-dev"} else error(404, "no such source")

    with Server(answer) as server:
        connect(host=server.url, extra={"max_retry_seconds": 30})
        message = fails(DeleteSourceOperator, PermissionDeniedError, **address, only_if_empty=only_if_empty)
    assert "is still there" in message
    assert "Sources admin" in message


def test_only_if_empty_deletes_what_is_empty(tenant: TenantHandle, sent: Sent) -> None:
    first, second = tenant.add_source("acme-dev", "inbox"), tenant.add_source("acme-dev", "other")
    assert run(DeleteSourceOperator, **BY_NAME, only_if_empty=True)["deleted"] is True
    assert sent() == [f"GET {PATH}", f"POST {PATH}/statistics", f"DELETE sources/id:{first['id']}"]
    assert run(DeleteSourceOperator, source_id=second["id"], only_if_empty="True")["deleted"] is True
    assert sent() == [
        f"GET sources/id:{second['id']}",
        "POST sources/acme-dev/other/statistics",
        f"DELETE sources/id:{second['id']}",
    ]


def test_only_if_empty_keeps_what_holds_messages(tenant: TenantHandle, sent: Sent) -> None:
    held = tenant.add_source("acme-dev", "inbox", messages=2)
    told = fails(DeleteSourceOperator, ConflictError, **BY_NAME, only_if_empty=True)
    assert f"source acme-dev/inbox (id {held['id']}) was not deleted: it holds 2 messages" in told
    assert sent() == [f"GET {PATH}", f"POST {PATH}/statistics"]
    assert tenant.sources() == [held]


@pytest.mark.parametrize("if_missing", ["ignore", "skip", "fail"])
def test_only_if_empty_keeps_what_the_server_has_no_statistics_of(connect: Connect, if_missing: str) -> None:
    source = {"id": NO_ID, "owner": "acme-dev", "name": "inbox"}
    with Server([ok(source=source), error(404, "404 Not Found"), ok(source=source)]) as server:
        connect(host=server.url)
        told = fails(DeleteSourceOperator, ConflictError, **BY_NAME, only_if_empty=True, if_missing=if_missing)
    assert "was not deleted: whether it is empty could not be read" in told
    assert server.methods == ["GET", "POST", "GET"]


@pytest.mark.parametrize(
    ("answer", "failure", "cause"),
    [
        (ok(statistics={}), CommsMiningFailure, ProtocolError),
        (error(403, "no"), CommsMiningFailure, PermissionDeniedError),
        (error(401, "no"), CommsMiningRetryable, AuthenticationError),
        (html(503), CommsMiningRetryable, ProtocolError),
    ],
)
def test_only_if_empty_keeps_what_cannot_be_read(
    connect: Connect, answer: Any, failure: type[Exception], cause: type[Exception]
) -> None:
    with Server([ok(source={"id": NO_ID, "owner": "acme-dev", "name": "inbox"}), answer]) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        with pytest.raises(failure) as info:
            run(DeleteSourceOperator, **BY_NAME, only_if_empty=True)
    assert type(info.value.__cause__) is cause
    assert "DELETE" not in server.methods


@pytest.mark.usefixtures("impatient")
def test_only_if_empty_takes_what_vanished_meanwhile_for_missing(connect: Connect) -> None:
    gone = error(404, "not found")
    with Server([ok(source={"id": NO_ID, "owner": "acme-dev", "name": "inbox"}), gone, gone]) as server:
        connect(host=server.url)
        assert run(DeleteSourceOperator, **BY_NAME, only_if_empty=True) == {"source_id": NO_ID, "deleted": False}


# Bad input: told by name, and no request sent

LONG = "x" * 300
NAMED: list[Any] = [
    CreateSourceOperator,
    UpdateSourceOperator,
    GetSourceOperator,
    DeleteSourceOperator,
]


@pytest.mark.parametrize("operator", NAMED)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"source_name": "a/b"}, "source_name: 'a/b' is not allowed; use letters, digits, '-' and '_'"),
        ({"source_name": "a b"}, "source_name: 'a b' is not allowed"),
        ({"source_name": ".."}, "source_name: '..' is not allowed"),
        ({"source_name": ""}, "source_name: it is empty; check the template"),
        ({"source_name": LONG}, "(300 characters) is not allowed; use letters, digits, '-' and '_', 1 to 256"),
        ({"source_name": 7}, "source_name: 7 is not text"),
        ({"project": "a/b"}, "project: 'a/b' is not allowed; use letters, digits, '-', '_' and '.'"),
        ({"project": ".."}, "project: '..' is not a project name"),
        ({"project": "a b"}, "project: 'a b' is not allowed"),
        ({"project": "\x1b[2J"}, r"project: '\\x1b[2J' is not allowed"),
    ],
)
def test_a_bad_name_is_refused(
    tenant: TenantHandle, sent: Sent, operator: Any, arguments: dict[str, Any], told: str
) -> None:
    more = {"title": "x"} if operator is UpdateSourceOperator else {}
    assert told in fails(operator, **{**BY_NAME, **more, **arguments})
    assert sent() == []


@pytest.mark.parametrize("operator", [GetSourceOperator, DeleteSourceOperator])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "source_id, or project and source_name: give one of the two"),
        ({"project": "acme-dev"}, "source_id, or project and source_name: give one of the two"),
        ({"source_name": "inbox"}, "source_id, or project and source_name: give one of the two"),
        ({**BY_NAME, "source_id": NO_ID}, "source_id: it was given together with project or source_name"),
        ({"source_id": NO_ID, "project": "acme-dev"}, "source_id: it was given together with"),
        ({"source_id": ""}, "source_id: '' is not an id; check the template"),
        ({"source_id": "None"}, "source_id: 'None' is not an id; check the template"),
        ({"source_id": f"id:{NO_ID}"}, "hexadecimal digits such as 18ba5ce699f8da1f, without 'id:'"),
        ({"source_id": "../x"}, "source_id: '../x' is not allowed"),
    ],
)
def test_a_bad_address_is_refused(
    tenant: TenantHandle, sent: Sent, operator: Any, arguments: dict[str, Any], told: str
) -> None:
    assert told in fails(operator, **arguments)
    assert sent() == []


@pytest.mark.parametrize(
    ("operator", "arguments", "told"),
    [
        (CreateSourceOperator, {"should_translate": "maybe"}, "should_translate: 'maybe' is neither true nor false"),
        (CreateSourceOperator, {"should_translate": 1}, "should_translate: 1 is neither true nor false"),
        (CreateSourceOperator, {"should_translate": "None"}, "should_translate: 'None' is neither true nor false"),
        (CreateSourceOperator, {"sensitive_properties": "abc"}, "sensitive_properties: 'abc' is not a list of texts"),
        (CreateSourceOperator, {"sensitive_properties": [1]}, "sensitive_properties: [1] is not a list of texts"),
        (CreateSourceOperator, {"bucket_id": ""}, "bucket_id: '' is not an id; check the template"),
        (CreateSourceOperator, {"bucket_id": "None"}, "bucket_id: 'None' is not an id; check the template"),
        (CreateSourceOperator, {"title": 7}, "title: 7 is not text"),
        (CreateSourceOperator, {"language": ["en"]}, "language: ['en'] is not text"),
        (CreateSourceOperator, {"if_exists": "skipp"}, "if_exists: 'skipp' is not one of match, update, ignore, skip"),
        (CreateSourceOperator, {"if_exists": None}, "if_exists: it was given, but there is no value (None)"),
        (UpdateSourceOperator, {}, "nothing to change: give at least one of title, description, should_translate"),
        (UpdateSourceOperator, {"should_translate": "maybe"}, "should_translate: 'maybe' is neither true nor false"),
        (UpdateSourceOperator, {"detach_bucket": "maybe"}, "detach_bucket: 'maybe' is neither true nor false"),
        (UpdateSourceOperator, {"bucket_id": ""}, "bucket_id: '' is not an id"),
        (UpdateSourceOperator, {"bucket_id": "None"}, "bucket_id: 'None' is not an id"),
        (
            UpdateSourceOperator,
            {"bucket_id": NO_ID, "detach_bucket": True},
            "detach_bucket: it contradicts `bucket_id`; give one of them",
        ),
        (DeleteSourceOperator, {"if_missing": "update"}, "if_missing: 'update' is not one of ignore, skip, fail"),
        (DeleteSourceOperator, {"only_if_empty": "maybe"}, "only_if_empty: 'maybe' is neither true nor false"),
        (DeleteSourceOperator, {"only_if_empty": ""}, "only_if_empty: '' is neither true nor false"),
    ],
)
def test_a_bad_option_is_refused(
    tenant: TenantHandle, sent: Sent, operator: Any, arguments: dict[str, Any], told: str
) -> None:
    assert told in fails(operator, **BY_NAME, **arguments)
    assert sent() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"project": ""}, "project: it is empty; check the template"),
        ({"project": "a/b"}, "project: 'a/b' is not allowed"),
        ({"name_pattern": 5}, "name_pattern: 5 is not text"),
        ({"name_pattern": ""}, "name_pattern: it is empty; check the template"),
    ],
)
def test_a_bad_listing_is_refused(tenant: TenantHandle, sent: Sent, arguments: dict[str, Any], told: str) -> None:
    assert told in fails(ListSourcesOperator, **arguments)
    assert sent() == []


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (CreateSourceOperator, {}),
        (UpdateSourceOperator, {"title": "x"}),
        (DeleteSourceOperator, {}),
    ],
)
def test_a_write_that_the_connection_refuses_is_not_sent(
    connect: Connect, sent: Sent, operator: Any, arguments: dict[str, Any]
) -> None:
    tenant = connect(extra={"read_only": True})
    if operator is not CreateSourceOperator:
        tenant.add_source("acme-dev", "inbox")
    assert "was not sent: the connection is `read_only`" in fails(operator, **BY_NAME, **arguments)
    connect(extra={"allowed_projects": "acme-test"})
    told = fails(operator, **BY_NAME, **arguments)
    assert "project 'acme-dev' is not among the connection's `allowed_projects` (acme-test)" in told
    assert {request.split()[0] for request in sent()} <= {"GET"}


def test_a_delete_by_id_through_a_read_only_connection_sends_nothing(connect: Connect, sent: Sent) -> None:
    connect(extra={"read_only": True})
    assert "`read_only`" in fails(DeleteSourceOperator, source_id=NO_ID)
    assert sent() == []


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_bad_connection_is_told_by_every_operator(connect: Connect, sent: Sent, operator: Any) -> None:
    connect(extra={"readonly": True})
    arguments = VALID[operator]
    assert "did you mean `read_only`?" in fails(operator, **arguments)
    assert sent() == []


# What Airflow is told: try again, or not


@pytest.mark.parametrize(
    ("answer", "failure", "cause"),
    [
        (error(400, "no"), CommsMiningFailure, BadRequestError),
        (error(401, "no"), CommsMiningRetryable, AuthenticationError),
        (error(403, "no"), CommsMiningFailure, PermissionDeniedError),
        (error(404, "no"), CommsMiningFailure, NotFoundError),
        (error(409, "no"), CommsMiningFailure, ConflictError),
        (error(418, "no"), CommsMiningFailure, ApiError),
        (error(422, "no"), CommsMiningFailure, BadRequestError),
        (error(429, "no"), CommsMiningRetryable, RateLimitedError),
        (error(500, "no"), CommsMiningRetryable, ServerError),
        (html(502), CommsMiningRetryable, ProtocolError),
        (html(200), CommsMiningFailure, ProtocolError),
    ],
)
def test_an_error_is_permanent_or_leaves_the_task_to_its_retries(
    connect: Connect, answer: Any, failure: type[Exception], cause: type[Exception]
) -> None:
    with Server([answer]) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        with pytest.raises(failure) as info:
            run(GetSourceOperator, **BY_NAME)
    assert type(info.value) is failure
    assert type(info.value.__cause__) is cause


def test_a_server_that_is_not_there_leaves_the_task_to_its_retries(connect: Connect) -> None:
    connect(host=f"http://127.0.0.1:{closed_port()}", extra={"max_attempts": 1})
    retries(GetSourceOperator, TransportError, **BY_NAME)


def test_an_unknown_outcome_leaves_the_task_to_its_retries(connect: Connect) -> None:
    with Server([error(500, "no"), error(500, "no")]) as server:
        connect(host=server.url, extra={"max_attempts": 1})
        told = retries(UpdateSourceOperator, OutcomeUnknownError, **BY_NAME, title="x")
    assert "it is not known whether this was carried out" in told


def test_a_refused_app_secret_leaves_the_task_to_its_retries(connect: Connect) -> None:
    connect(auth="app", password="replaced-a-moment-ago")
    told = retries(GetSourceOperator, TokenError, **BY_NAME)
    assert "replaced-a-moment-ago" not in told


def test_a_refused_scope_fails_at_once(connect: Connect) -> None:
    connect(auth="app", extra={"scope": "No.Such"})
    assert "invalid_scope" in fails(GetSourceOperator, TokenError, **BY_NAME)


def test_a_viewer_is_told_which_permission_a_write_needs(connect: Connect) -> None:
    connect(token="emulator-viewer")
    assert "permission 'Sources admin' on the project" in fails(CreateSourceOperator, PermissionDeniedError, **BY_NAME)


@pytest.mark.parametrize(("timeout", "extra"), [("0.1", {"read_timeout": 60}), (NOT_GIVEN, {"read_timeout": 0.1})])
def test_a_task_may_override_how_long_a_request_waits_and_how_often_it_tries(
    connect: Connect, timeout: Any, extra: dict[str, Any]
) -> None:
    with Server([Answer(stated_length=99, then_stall=True)] * 2) as server:
        connect(host=server.url, extra={"max_retry_seconds": 10, **extra})
        started = time.monotonic()
        message = retries(ListSourcesOperator, TransportError, request_timeout=timeout, max_attempts="2")
        assert "in time (2 attempts)" in message
        assert time.monotonic() - started < 5
        assert len(server.requests) == 2


def test_a_task_with_one_attempt_sends_one_request(connect: Connect, comms_mining_emulator: EmulatorServer) -> None:
    connect()
    comms_mining_emulator.faults.add(503, "GET")
    retries(ListSourcesOperator, ServerError, max_attempts=1)
    assert len(comms_mining_emulator.requests) == 1


@pytest.mark.parametrize(("name", "wrong"), [("max_attempts", 0), ("request_timeout", 0), ("request_timeout", "soon")])
def test_an_override_that_can_never_be_right_fails_the_import_of_the_dag(name: str, wrong: Any) -> None:
    with pytest.raises(CommsMiningFailure, match=f"^{name}: "):
        ListSourcesOperator(task_id="t", **{name: wrong})


def test_the_connection_may_be_another(connect: Connect) -> None:
    tenant = connect("/acme/prod/reinfer_", conn_id="prod")
    run(CreateSourceOperator, comms_mining_conn_id="prod", project="acme-prod", source_name="inbox")
    assert [source["name"] for source in tenant.sources()] == ["inbox"]


# What DAG authors rely on


def own_arguments(operator: Any) -> set[str]:
    """List the arguments that the package's classes add to those of Airflow's operators."""
    return {
        name
        for each in operator.__mro__
        if each.__module__.startswith("airflow_provider_cm.") and "__init__" in vars(each)
        for name, parameter in inspect.signature(each.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_argument_is_a_template_field_and_kept_as_it_is(operator: Any) -> None:
    assert set(operator.template_fields) == own_arguments(operator)
    values = {name: f"{{{{ params.{name} }}}}" for name in operator.template_fields}
    task = operator(task_id="t", **values)
    assert {name: getattr(task, name) for name in operator.template_fields} == values


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_literal_that_can_never_be_right_fails_the_import_of_the_dag(operator: Any) -> None:
    for name in operator.template_fields:
        never: tuple[Any, ...] = ({} if name == "sensitive_properties" else [], None)
        for wrong in never:
            others = {other: "{{ x }}" for other in operator.template_fields if other != name}
            with pytest.raises(CommsMiningFailure, match=f"^{name}: "):
                operator(task_id="t", **{**others, name: wrong})


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (GetSourceOperator, {}),
        (GetSourceOperator, {"project": "acme-dev"}),
        (DeleteSourceOperator, {**BY_NAME, "source_id": NO_ID}),
        (UpdateSourceOperator, BY_NAME),
        (UpdateSourceOperator, {**BY_NAME, "bucket_id": NO_ID, "detach_bucket": True}),
    ],
)
def test_literals_that_contradict_each_other_fail_the_import_of_the_dag(operator: Any, arguments: Any) -> None:
    with pytest.raises(CommsMiningFailure):
        operator(task_id="t", **arguments)


def test_a_template_anywhere_in_a_value_waits_until_the_task_runs() -> None:
    for properties in (["string:ok", "{{ x }}"], "{% if x %}['string:y']{% endif %}"):
        CreateSourceOperator(task_id="t", **BY_NAME, sensitive_properties=properties)


def rendered(operator: Any, context: dict[str, Any], native: bool = False, **arguments: Any) -> Any:
    """Render a task's templates as a worker does, and run it."""
    with DAG("d", render_template_as_native_obj=native):
        task = operator(task_id="t", **arguments)
    task.render_template_fields(context)
    return task.execute({})


# A value of each argument that a template can render to nothing; the text is what plain rendering makes of None.
OPTIONAL = ("title", "description", "language", "should_translate", "sensitive_properties", "bucket_id", "kind")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", [*OPTIONAL, "email_transform_tag", "if_exists", "source_name", "project"])
def test_what_was_given_and_rendered_to_nothing_is_an_error(
    tenant: TenantHandle, sent: Sent, name: str, native: bool
) -> None:
    with pytest.raises(CommsMiningFailure, match=f"^{name}: "):
        rendered(CreateSourceOperator, {"x": None}, native, **{**BY_NAME, name: "{{ x }}"})
    assert sent() == []
    assert tenant.sources() == []


@pytest.mark.parametrize("word", ["None", "NOTSET"])
@pytest.mark.parametrize("name", ["source_name", "project", "title", "description", "language", "kind"])
def test_the_rendering_of_nothing_is_no_value(tenant: TenantHandle, sent: Sent, name: str, word: str) -> None:
    with pytest.raises(CommsMiningFailure, match=f"^{name}: '{word}' is what a template renders"):
        rendered(CreateSourceOperator, {"x": word}, **{**BY_NAME, name: "{{ x }}"})
    assert sent() == []


def test_the_word_none_can_be_meant(tenant: TenantHandle) -> None:
    meant = rendered(CreateSourceOperator, {}, **BY_NAME, title=literal("None"), description="None of these")
    assert (meant["title"], meant["description"]) == ("None", "None of these")


def test_a_mapped_argument_without_a_value_is_an_error(tenant: TenantHandle) -> None:
    with DAG("d"):
        mapped = UpdateSourceOperator.partial(task_id="t", **BY_NAME).expand_kwargs([{"title": None}])
    with pytest.raises(CommsMiningFailure, match=r"^title: it was given, but there is no value"):
        mapped.unmap({"title": None})


def test_an_id_of_digits_may_have_become_a_number(connect: Connect) -> None:
    source = {"id": "1234567890123456", "owner": "acme-dev", "name": "inbox"}
    with Server([ok(source=source)]) as server:
        connect(host=server.url)
        assert rendered(GetSourceOperator, {"x": source["id"]}, True, source_id="{{ x }}") == source
    assert server.log == ["GET /api/v1/sources/id:1234567890123456"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("source_id", "12e4567890123456", "is a number and no longer the id"),
        ("source_id", "1234567890123e12", "is a number and no longer the id"),
        ("source_name", "2026_11", "source_name: 202611 is not text but a number"),
        ("project", "2026", "project: 2026 is not text but a number"),
    ],
)
def test_a_text_that_native_rendering_made_a_number_is_explained(
    tenant: TenantHandle, sent: Sent, name: str, text: str, message: str
) -> None:
    arguments = {"source_id": "{{ x }}"} if name == "source_id" else {**BY_NAME, name: "{{ x }}"}
    with pytest.raises(CommsMiningFailure, match=message):
        rendered(GetSourceOperator, {"x": text}, True, **arguments)
    assert sent() == []


def test_a_property_without_a_type_is_refused(tenant: TenantHandle, sent: Sent) -> None:
    for wrong in ("Sender", "string:", "text:Sender", "string: x", "string:" + "x" * 65, "string:x ", "string:a>b"):
        message = fails(CreateSourceOperator, **BY_NAME, sensitive_properties=["string:fine", wrong])
        assert message.startswith("sensitive_properties: ")
        assert "string:<name>" in message
    assert sent() == []


def test_the_hook_is_made_once_for_a_task_and_survives_a_copy_of_it(tenant: TenantHandle) -> None:
    task = ListSourcesOperator(task_id="t")
    assert task.hook is task.hook
    assert copy.deepcopy(task).task_id == "t"


@pytest.mark.parametrize("operator", OPERATORS)
def test_arguments_may_come_from_other_tasks(operator: Any) -> None:
    with DAG("d"):
        first = ListSourcesOperator(task_id="first", comms_mining_conn_id="there_is_no_such_connection")
        task = operator(task_id="second", **dict.fromkeys(operator.template_fields, first.output))
    assert task.upstream_task_ids == {"first"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_it_can_be_mapped(operator: Any) -> None:
    name = next(iter(operator.template_fields))
    others = {other: "{{ x }}" for other in operator.template_fields if other != name}
    with DAG("d"):
        mapped = operator.partial(task_id="t", **others).expand(**{name: ["abc", "18ba5ce699f8da1f"]})
    task = mapped.unmap({name: "18ba5ce699f8da1f"})
    assert type(task) is operator
    assert {field: getattr(task, field) for field in operator.template_fields} == {**others, name: "18ba5ce699f8da1f"}


def test_templates_are_rendered_into_every_field(connect: Connect) -> None:
    tenant = connect(conn_id="mine")
    fields: dict[str, Any] = {
        "project": "acme-{{ stage }}",
        "source_name": "inbox_{{ ds_nodash }}",
        "title": "Inbox of {{ stage }}",
        "should_translate": "{{ 1 == 1 }}",
        "sensitive_properties": ["string:{{ stage }}"],
        "if_exists": "{{ 'match' }}",
        "comms_mining_conn_id": "{{ 'mine' }}",
    }
    with DAG("d"):
        task: Any = CreateSourceOperator(task_id="t", **fields)
    task.render_template_fields({"stage": "dev", "ds_nodash": "20261122"})
    task.execute({})
    (held,) = tenant.sources()
    assert (held["owner"], held["name"], held["title"]) == ("acme-dev", "inbox_20261122", "Inbox of dev")
    assert (held["should_translate"], held["sensitive_properties"]) == (True, ["string:dev"])


def test_all_operators_are_tested_here() -> None:
    public = {
        each
        for name, each in vars(module).items()
        if inspect.isclass(each)
        and issubclass(each, BaseOperator)
        and each.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert public == set(OPERATORS)
