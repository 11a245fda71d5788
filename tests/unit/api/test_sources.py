"""Every request of the seven endpoints, as the vendor's page "Sources" shows it (its curl examples, word for word)."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm import __version__
from airflow_provider_cm.api import (
    ConfigurationError,
    NotFoundError,
    ProtocolError,
    Source,
    SourcesApi,
)
from airflow_provider_cm.api.source_fields import CREATE_ONLY, SETTABLE, SettableFields, UpdatableFields
from tests.unit.api.server import Answer, error, ok
from tests.unit.api.support import TOKEN, fails, source, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.conftest import Serve


@dataclass(frozen=True)
class Row:
    """One curl example, and the call of ours that must send the same."""

    curl: str
    call: Callable[[SourcesApi], object]
    answer: dict[str, Any]


def _call(method: str, *args: Any, **fields: Any) -> Callable[[SourcesApi], object]:
    return lambda api: getattr(api, method)(*args, **fields)


# Copied from the page; <project> is acme, and <my_api_endpoint> is where the test's server is.
VENDOR = {
    "get all sources": Row(
        """curl -X GET 'https://<my_api_endpoint>/api/v1/sources' \
            -H "Authorization: Bearer $REINFER_TOKEN" """,
        _call("list"),
        {"sources": [source()]},
    ),
    "get sources by project": Row(
        """curl -X GET 'https://<my_api_endpoint>/api/v1/sources/acme' \
            -H "Authorization: Bearer $REINFER_TOKEN" """,
        _call("list", "acme"),
        {"sources": [source()]},
    ),
    "get a source by project and name": Row(
        """curl -X GET 'https://<my_api_endpoint>/api/v1/sources/acme/example' \
            -H "Authorization: Bearer $REINFER_TOKEN" """,
        _call("get", "acme", "example"),
        {"source": source()},
    ),
    "get a source by id": Row(
        """curl -X GET 'https://<my_api_endpoint>/api/v1/sources/id:18ba5ce699f8da1f' \
            -H "Authorization: Bearer $REINFER_TOKEN" """,
        _call("get_by_id", "18ba5ce699f8da1f"),
        {"source": source()},
    ),
    "create a source": Row(
        """curl -X PUT 'https://<my_api_endpoint>/api/v1/sources/acme/example' \
            -H "Authorization: Bearer $REINFER_TOKEN" \
            -H "Content-Type: application/json" \
            -d '{
          "source": {
            "description": "An optional long form description.",
            "title": "An Example Source"
          }
        }'""",
        _call(
            "create",
            "acme",
            "example",
            title="An Example Source",
            description="An optional long form description.",
        ),
        {"source": source()},
    ),
    "update a source": Row(
        """curl -X POST 'https://<my_api_endpoint>/api/v1/sources/acme/example' \
            -H "Authorization: Bearer $REINFER_TOKEN" \
            -H "Content-Type: application/json" \
            -d '{
          "source": {
            "description": "An alternative description."
          }
        }'""",
        _call("update", "acme", "example", description="An alternative description."),
        {"source": source(description="An alternative description.")},
    ),
    "delete a source": Row(
        """curl -X DELETE 'https://<my_api_endpoint>/api/v1/sources/id:18ba5ce699f8da1f' \
            -H "Authorization: Bearer $REINFER_TOKEN" """,
        _call("delete", "18ba5ce699f8da1f"),
        {},
    ),
}


def _read_curl(text: str) -> tuple[str, str, dict[str, str], str | None]:
    words = shlex.split(text)
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    return words[words.index("-X") + 1], words[3].removeprefix("https://<my_api_endpoint>"), headers, body


@pytest.mark.parametrize("row", VENDOR.values(), ids=VENDOR)
@pytest.mark.parametrize("tenant", ["", "/acme-org/prod/reinfer_"], ids=["host per tenant", "organization and tenant"])
def test_each_endpoint_is_asked_as_the_vendors_curl_example_does(serve: Serve, tenant: str, row: Row) -> None:
    server = serve(ok(**row.answer))
    row.call(sources_of(server.url + tenant))

    method, path, headers, body = _read_curl(row.curl)
    (request,) = server.requests
    assert (request.method, request.target) == (method, tenant + path)
    for name, value in headers.items():
        assert request.headers[name] == value.replace("$REINFER_TOKEN", TOKEN)
    if body is None:
        assert request.body == b""
        assert "Content-Type" not in request.headers
    else:
        assert request.json() == json.loads(body)
    assert request.headers["User-Agent"] == f"airflow-provider-cm/{__version__}"


def test_results_are_what_the_server_said(serve: Serve) -> None:
    there = source(somethingNew={"deep": [1]}, language="Multilingual")
    server = serve(*(ok(**row.answer) for row in VENDOR.values()), ok(source=there))
    answers = [row.call(sources_of(server)) for row in VENDOR.values()]
    assert [type(answer).__name__ for answer in answers] == [
        "list",
        "list",
        "Source",
        "Source",
        "Source",
        "Source",
        "bool",
    ]
    got = sources_of(server).get("acme", "example")
    assert got.to_dict() == there
    assert got.language == "Multilingual"
    assert got.confirmed is False


# The two parameter tables of the page, and below them what the vendor's command-line client adds.
CREATE_TABLE: dict[str, Any] = {
    "language": "Multilingual",
    "title": "Straße „Ünïcode“ 😀",
    "description": "line one\nline two",
    "should_translate": True,
    "sensitive_properties": ["string:Sender", "number:NPS"],
    "bucket_id": "1f2e3d4c5b6a7980",
}
UPDATE_TABLE: dict[str, Any] = {name: value for name, value in CREATE_TABLE.items() if name != "language"}
CREATE_CLIENT = {"kind": ("_kind", "call"), "email_transform_tag": ("email_transform_tag", "generic.0.CONVKER5")}
UPDATE_CLIENT = {"email_transform_tag": ("email_transform_tag", "generic.0.CONVKER5")}


@pytest.mark.parametrize(
    ("verb", "field", "key", "value"),
    [
        *(("create", name, name, value) for name, value in CREATE_TABLE.items()),
        *(("update", name, name, value) for name, value in UPDATE_TABLE.items()),
        *(("create", name, *pair) for name, pair in CREATE_CLIENT.items()),
        *(("update", name, *pair) for name, pair in UPDATE_CLIENT.items()),
        # values that a test for truth would drop
        ("create", "should_translate", "should_translate", False),
        ("update", "should_translate", "should_translate", False),
        ("create", "sensitive_properties", "sensitive_properties", []),
        ("update", "sensitive_properties", "sensitive_properties", []),
        ("update", "title", "title", ""),
        ("update", "description", "description", ""),
    ],
)
def test_each_row_of_the_parameter_tables_is_sent_alone_and_as_given(
    serve: Serve, verb: str, field: str, key: str, value: object
) -> None:
    server = serve(ok(source=source()))
    getattr(sources_of(server), verb)("acme", "example", **{field: value})
    assert server.requests[0].json() == {"source": {key: value}}


def test_all_rows_together(serve: Serve) -> None:
    server = serve(ok(source=source()), ok(source=source()))
    sources_of(server).create("acme", "example", **CREATE_TABLE)
    sources_of(server).update("acme", "example", **UPDATE_TABLE)
    assert [request.json() for request in server.requests] == [{"source": CREATE_TABLE}, {"source": UPDATE_TABLE}]


@pytest.mark.parametrize(("verb", "fields"), [("create", SettableFields), ("update", UpdatableFields)])
def test_what_is_not_given_is_not_sent_and_null_never_is(serve: Serve, verb: str, fields: Any) -> None:
    server = serve(ok(source=source()))
    getattr(sources_of(server), verb)("acme", "example", **dict.fromkeys(fields.__annotations__))
    assert server.requests[0].body == b'{"source": {}}'


@pytest.mark.parametrize(("verb", "name"), [("create", "titel"), ("update", "titel"), ("update", "language")])
def test_an_unknown_argument_is_refused_without_a_request(serve: Serve, verb: str, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'; the fields are title, "):
        getattr(sources_of(serve()), verb)("acme", "example", **{name: "x"})


def test_the_settable_fields_are_declared_once() -> None:
    assert {*SETTABLE} == {*CREATE_TABLE, *CREATE_CLIENT}
    assert {*SETTABLE} - {*UPDATE_TABLE, *UPDATE_CLIENT} == CREATE_ONLY
    assert {name: key for name, key in SETTABLE.items() if name != key} == {"kind": "_kind"}


def test_detaching_a_bucket_is_the_only_null(serve: Serve) -> None:
    server = serve(ok(source=source()), ok(source=source()))
    sources_of(server).update("acme", "example", detach_bucket=True)
    sources_of(server).update("acme", "example", detach_bucket=True, title="t")
    assert [request.body for request in server.requests] == [
        b'{"source": {"bucket_id": null}}',
        b'{"source": {"title": "t", "bucket_id": null}}',
    ]


def test_detaching_and_attaching_at_once_is_refused_without_a_request(serve: Serve) -> None:
    server = serve()
    with fails(ConfigurationError) as caught:
        sources_of(server).update("acme", "example", bucket_id="1f2e3d4c5b6a7980", detach_bucket=True)
    assert "detach_bucket" in caught.text
    assert "bucket_id" in caught.text
    assert server.requests == []


def test_a_string_for_a_list_is_refused_without_a_request(serve: Serve) -> None:
    server = serve()
    text: Any = "string:Sender"
    with fails(ConfigurationError) as caught:
        sources_of(server).create("acme", "example", sensitive_properties=text)
    assert "sensitive_properties" in caught.text
    assert server.requests == []


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (_call("list", "ac/me"), "project"),
        (_call("get", "acme", "a b"), "source_name"),
        (_call("get", "..", "example"), "project"),
        (_call("get_by_id", "id:18ba5ce699f8da1f"), "source_id"),
        (_call("create", "acme", "x" * 300), "source_name"),
        (_call("update", "acme", "example\n"), "source_name"),
        (_call("delete", ""), "source_id"),
        (_call("delete", "../acme"), "source_id"),
        (_call("statistics", "acme", "é"), "source_name"),
    ],
)
def test_a_wrong_name_is_refused_before_a_request_is_spent(
    serve: Serve, call: Callable[[SourcesApi], object], field: str
) -> None:
    server = serve()
    with fails(ConfigurationError) as caught:
        call(sources_of(server))
    assert caught.text.startswith(f"{field}: ")
    assert "use " in caught.text or "give " in caught.text
    assert server.requests == []


def test_statistics_are_asked_as_the_vendors_client_does(serve: Serve) -> None:
    server = serve(ok(statistics={"num_comments": 12.0, "label_counts": {}}), ok(statistics={"num_comments": 0.0}))
    assert sources_of(server).statistics("acme", "example")["num_comments"] == 12.0
    assert sources_of(server).message_count("acme", "example") == 0
    assert server.log[0] == "POST /api/v1/sources/acme/example/statistics"
    assert server.requests[0].json() == {"comment_filter": {}}


@pytest.mark.parametrize(
    "payload", [{}, {"statistics": None}, {"statistics": {}}, {"statistics": {"num_comments": True}}]
)
def test_a_message_count_that_cannot_be_read_is_not_zero(serve: Serve, payload: dict[str, Any]) -> None:
    with fails(ProtocolError) as caught:
        sources_of(serve(ok(**payload))).message_count("acme", "example")
    assert "statistics" in caught.text


def test_a_lost_statistics_response_is_simply_asked_again(serve: Serve) -> None:
    server = serve(error(503), ok(statistics={"num_comments": 3}))
    assert sources_of(server).message_count("acme", "example") == 3


@pytest.mark.parametrize(
    ("call", "payload", "what"),
    [
        (_call("list"), {}, "sources"),
        (_call("list"), {"sources": {"a": 1}}, "sources"),
        (_call("list"), {"sources": [{"name": "x"}]}, "without `id`"),
        (_call("get", "acme", "example"), {}, "without `id`"),
        (_call("get", "acme", "example"), {"source": []}, "without `id`"),
        (_call("get_by_id", "18ba"), {"source": {"id": 1, "owner": "a", "name": "b"}}, "without `id`"),
    ],
)
def test_an_answer_without_its_sources_is_a_protocol_error(
    serve: Serve, call: Callable[[SourcesApi], object], payload: dict[str, Any], what: str
) -> None:
    with fails(ProtocolError) as caught:
        call(sources_of(serve(ok(**payload))))
    assert what in caught.text


def test_an_empty_list_is_an_empty_list(serve: Serve) -> None:
    assert sources_of(serve(ok(sources=[]))).list("acme") == []


def test_ten_thousand_sources_are_read(serve: Serve) -> None:
    many = [source(name=f"s{n}", id=f"{n:016x}") for n in range(10_000)]
    found = sources_of(serve(ok(sources=many))).list()
    assert len(found) == 10_000
    assert isinstance(found[9_999], Source)
    assert found[9_999].name == "s9999"


def test_a_missing_source_is_named_in_the_error(serve: Serve) -> None:
    with fails(NotFoundError) as caught:
        sources_of(serve(error(404, "No such source"))).get("acme", "example")
    assert "GET sources/acme/example" in caught.text
    assert "No such source" in caught.text


def test_a_response_in_chunks_is_read(serve: Serve) -> None:
    body = b'{"status": "ok", "sources": []}'
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert sources_of(serve(Answer(raw=raw))).list() == []
