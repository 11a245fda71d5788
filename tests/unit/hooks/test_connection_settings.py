"""The fields of a connection: what each means, and what is said of one that is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_cm.api import ConfigurationError, Guards
from airflow_provider_cm.get_provider_info import get_provider_info
from airflow_provider_cm.hooks.connection_settings import EXTRAS, ConnectionSettings, parse_connection, parse_endpoint

if TYPE_CHECKING:
    from pathlib import Path

CLOUD = "https://cloud.uipath.com/acme/dev/reinfer_"
TOKEN = "Zq8XvR3mLw0TbYc7Kp2Hs9Nd"
PLAIN = ConnectionSettings(
    endpoint=CLOUD,
    secret=TOKEN,
    app_id=None,
    identity_url=None,
    scope=None,
    timeout=(10.0, 60.0),
    load_timeout=240.0,
    max_attempts=None,
    max_retry_seconds=None,
    verify=None,
    client_cert=None,
    proxy=None,
    allow_http=False,
    ui_url=None,
    guards=Guards(),
)


def connection(extra: object = None, **fields: Any) -> Connection:
    told = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    defaults = {"conn_type": "comms_mining", "host": CLOUD, "password": TOKEN, "extra": told}
    return Connection(conn_id="cm", **{**defaults, **fields})


def parse(extra: object = None, **fields: Any) -> ConnectionSettings:
    return parse_connection(connection(extra, **fields))


def refused(extra: object = None, **fields: Any) -> str:
    with pytest.raises(ConfigurationError) as info:
        parse(extra, **fields)
    assert info.value.__cause__ is None
    assert info.value.__context__ is None
    told = str(info.value)
    assert told.startswith("connection 'cm': ")
    assert TOKEN not in told
    return told.removeprefix("connection 'cm': ")


# What is accepted


def test_a_host_and_a_token_are_enough() -> None:
    assert parse() == PLAIN


@pytest.mark.parametrize(
    "extra", ["", " \n", "null", "{}", json.dumps(dict.fromkeys(EXTRAS)), json.dumps(dict.fromkeys(EXTRAS, ""))]
)
def test_empty_and_null_count_as_absent(extra: str) -> None:
    assert parse(extra, login="", schema="", port=None) == PLAIN


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("cloud.uipath.com/acme/dev/reinfer_", CLOUD),
        (" https://cloud.uipath.com/acme/dev/reinfer_/api/v1/ ", CLOUD),
        ("https://acme.reinfer.io", "https://acme.reinfer.io"),
        ("acme.reinfer.io/", "https://acme.reinfer.io"),
        ("https://cm.example.com:8443/a/b/reinfer_", "https://cm.example.com:8443/a/b/reinfer_"),
        ("http://127.0.0.1:8089/acme/dev/reinfer_", "http://127.0.0.1:8089/acme/dev/reinfer_"),
        ("http://localhost:8089", "http://localhost:8089"),
    ],
)
def test_both_tenant_styles_are_hosts(host: str, endpoint: str) -> None:
    assert parse(host=host).endpoint == endpoint


@pytest.mark.parametrize(
    "host",
    ["cloud.uipath.com", "https://cloud.uipath.com/", "https://cloud.uipath.com", f"{CLOUD}/", f"{CLOUD}/api/v1"],
)
def test_organization_and_tenant_complete_or_confirm_the_host(host: str) -> None:
    assert parse({"organization": "acme", "tenant": " dev "}, host=host) == PLAIN


def test_organization_and_tenant_never_leave_their_place_in_the_path() -> None:
    endpoint = parse({"organization": "a/b", "tenant": "d?v"}, host="cloud.uipath.com").endpoint
    assert endpoint == "https://cloud.uipath.com/a%2Fb/d%3Fv/reinfer_"


def test_an_external_application_on_the_cloud_has_its_token_endpoint_derived() -> None:
    settings = parse(login=" app ")
    assert settings == replace(
        PLAIN, app_id="app", identity_url="https://cloud.uipath.com/acme/identity_/connect/token"
    )


def test_an_external_application_elsewhere_names_its_token_endpoint() -> None:
    url = "https://cloud.uipath.com/acme/identity_/connect/token"
    settings = parse({"identity_url": url, "scope": "Ixp.ApiAccess"}, host="https://acme.reinfer.io", login="app")
    assert (settings.identity_url, settings.scope, settings.app_id) == (url, "Ixp.ApiAccess", "app")


@pytest.mark.parametrize(
    ("extra", "field", "value"),
    [
        ({"connect_timeout": 2.5}, "timeout", (2.5, 60.0)),
        ({"max_attempts": "3"}, "max_attempts", 3),
        ({"max_attempts": 1}, "max_attempts", 1),
        ({"max_retry_seconds": 12}, "max_retry_seconds", 12.0),
        ({"verify": False}, "verify", False),
        ({"verify": "False"}, "verify", False),
        ({"verify": " true "}, "verify", True),
        ({"proxy": "http://me:pw@proxy:3128"}, "proxy", "http://me:pw@proxy:3128"),
        ({"ui_url": "https://cm.example.com/ui"}, "ui_url", "https://cm.example.com/ui"),
        ({"read_only": True}, "guards", Guards(read_only=True)),
        ({"read_only": "true"}, "guards", Guards(read_only=True)),
        ({"allow_delete": "false"}, "guards", Guards(allow_delete=False)),
        ({"allow_delete": True}, "guards", Guards()),
        ({"allow_load": "False"}, "guards", Guards(allow_load=False)),
        ({"allow_load": True}, "guards", Guards()),
        ({"allowed_projects": "acme-dev, test-*"}, "guards", Guards(allowed_projects=("acme-dev", "test-*"))),
        ({"allowed_projects": ["acme-dev"]}, "guards", Guards(allowed_projects=("acme-dev",))),
    ],
)
def test_a_field_is_parsed_and_changes_nothing_else(extra: dict[str, object], field: str, value: Any) -> None:
    assert parse(extra) == replace(PLAIN, **{field: value})


def test_the_read_timeout_is_that_of_loads_too_if_it_is_given() -> None:
    settings = parse({"read_timeout": "7"})
    assert (settings.timeout, settings.load_timeout) == ((10.0, 7.0), 7.0)
    assert replace(settings, timeout=(10.0, 60.0), load_timeout=240.0) == PLAIN


def test_files_may_be_named_where_they_exist(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.touch()
    assert parse({"verify": str(pem)}).verify == str(pem)
    assert parse({"verify": str(tmp_path)}).verify == str(tmp_path)
    assert parse({"client_cert": str(pem)}).client_cert == str(pem)
    assert parse({"client_cert": [str(pem)]}).client_cert == str(pem)
    assert parse({"client_cert": [str(pem), str(pem)]}).client_cert == (str(pem), str(pem))


def test_plain_http_to_another_machine_needs_to_be_allowed() -> None:
    settings = parse(
        {"allow_http": "True", "identity_url": "http://cm.corp/identity_/connect/token"},
        host="http://cm.corp",
        login="a",
    )
    assert settings.allow_http
    assert settings.endpoint == "http://cm.corp"
    assert settings.identity_url == "http://cm.corp/identity_/connect/token"


def test_every_field_of_the_form_is_read_and_every_field_read_is_on_the_form() -> None:
    form = get_provider_info()["connection-types"][0]["conn-fields"]
    assert list(form) == list(EXTRAS)


def test_settings_show_no_secret() -> None:
    settings = parse({"proxy": "http://me:geheim-9@proxy:3128"}, login="app")
    assert TOKEN not in repr(settings)
    assert "geheim-9" not in repr(settings)


# What is refused

BAD: list[tuple[dict[str, Any], object, list[str]]] = [
    ({"host": None}, None, ["host: it is empty", "https://cloud.uipath.com/<organization>/<tenant>/reinfer_"]),
    ({"host": "  "}, {"organization": "a", "tenant": "b"}, ["host: it is empty"]),
    ({"password": None}, None, ["password: it is empty", "developer API token"]),
    ({"password": "", "login": "app"}, None, ["password: it is empty", "App Secret"]),
    ({"port": 8443}, None, ["port: ", "https://cm.example.com:8443", "leave port empty"]),
    ({"schema": "https"}, None, ["schema: ", "leave schema empty"]),
    ({}, {"organisation": "acme"}, ["extra: there is no field `organisation`", "did you mean `organization`?"]),
    ({}, {"readonly": True}, ["extra: there is no field `readonly`", "did you mean `read_only`?"]),
    ({}, {"\x1b[2J": 1}, ["extra: there is no field `\\x1b[2J`", "The fields are organization, tenant"]),
    ({}, "{broken", ["extra: it is not valid JSON"]),
    ({}, "[]", ["extra: it is not a JSON object"]),
    ({}, '"text"', ["extra: it is not a JSON object"]),
    ({}, {"organization": "acme"}, ["organization and tenant: give both"]),
    ({}, {"tenant": "dev"}, ["organization and tenant: give both"]),
    (
        {},
        {"organization": "acme", "tenant": "prod"},
        ["organization and tenant: they contradict the path in the host", "/acme/dev/reinfer_"],
    ),
    (
        {"host": "https://acme.reinfer.io/x"},
        {"organization": "a", "tenant": "b"},
        ["organization and tenant: they contradict the path in the host"],
    ),
    ({}, {"organization": True, "tenant": "b"}, ["organization: True is not an id"]),
    ({"host": "cloud.uipath.com"}, {"organization": "..", "tenant": "b"}, ["host: ", "'..' part in its path"]),
    ({"host": "https://cloud.uipath.com"}, None, ["host: ", "does not name the tenant", "`organization` and `tenant`"]),
    ({"host": "http://cm.corp/a/b/reinfer_"}, None, ["host: ", "plain http", "use https", "allow_http"]),
    ({"host": f"https://me:{TOKEN}@cm.corp"}, None, ["host: remove the credentials", "login and password"]),
    ({"host": f"{CLOUD}?token=x"}, None, ["host: ", "has a query or a fragment"]),
    ({"host": "ftp://cm.corp"}, None, ["host: ", "is not an https URL"]),
    ({"host": "https://cm.corp:port"}, None, ["host: this is not a URL"]),
    ({"login": "app", "host": "https://acme.reinfer.io"}, None, ["identity_url: give the token endpoint"]),
    ({"login": "app"}, {"identity_url": "http://id.corp/t"}, ["identity_url: ", "plain http", "use https"]),
    ({"login": "app"}, {"identity_url": f"https://me:{TOKEN}@id.corp/t"}, ["identity_url: remove the credentials"]),
    ({}, {"identity_url": "https://id.corp/t"}, ["identity_url: ", "put the App ID into login"]),
    ({}, {"scope": "Ixp.ApiAccess"}, ["scope: ", "put the App ID into login"]),
    ({}, {"connect_timeout": 0}, ["connect_timeout: 0 is not a number of seconds above 0"]),
    ({}, {"read_timeout": "soon"}, ["read_timeout: 'soon' is not a number of seconds"]),
    ({}, {"read_timeout": True}, ["read_timeout: True is not a number of seconds"]),
    ({}, '{"max_retry_seconds": Infinity}', ["max_retry_seconds: inf is not a number of seconds"]),
    ({}, '{"max_retry_seconds": NaN}', ["max_retry_seconds: nan is not a number of seconds"]),
    ({}, {"max_attempts": 0}, ["max_attempts: 0 is not a whole number of 1 or more"]),
    ({}, {"max_attempts": 1.5}, ["max_attempts: 1.5 is not a whole number"]),
    ({}, {"max_attempts": True}, ["max_attempts: True is not a whole number"]),
    ({}, {"verify": "/nowhere/ca.pem"}, ["verify: there is no file '/nowhere/ca.pem'", "CA bundle"]),
    ({}, {"verify": 1}, ["verify: 1 is not text"]),
    ({}, {"client_cert": "/nowhere/me.pem"}, ["client_cert: there is no file '/nowhere/me.pem'"]),
    ({}, {"client_cert": ["a", "b", "c"]}, ["client_cert: give the path of a PEM file"]),
    ({}, {"client_cert": []}, ["client_cert: give the path of a PEM file"]),
    ({}, {"proxy": f"proxy.corp:3128/{TOKEN}"}, ["proxy: it is not a URL such as http://user:password@"]),
    ({}, {"proxy": f"http://me:{TOKEN}@proxy:port"}, ["proxy: it is not a URL"]),
    ({}, {"allow_http": "yes"}, ["allow_http: 'yes' is neither true nor false"]),
    ({}, {"read_only": 1}, ["read_only: 1 is neither true nor false"]),
    ({}, {"allow_load": "no"}, ["allow_load: 'no' is neither true nor false"]),
    ({}, {"allow_delete": "no"}, ["allow_delete: 'no' is neither true nor false"]),
    ({}, {"allowed_projects": 5}, ["allowed_projects: 5 is not a list of texts"]),
    ({}, {"allowed_projects": "a,,b"}, ["allowed_projects: one of its patterns is empty"]),
    ({}, {"allowed_projects": " "}, ["allowed_projects: one of its patterns is empty"]),
    ({}, {"allowed_projects": []}, ["allowed_projects: the list is empty", "read_only"]),
    ({}, {"ui_url": "http://cm.corp"}, ["ui_url: ", "plain http"]),
    ({}, {"ui_url": "javascript:alert(1)"}, ["ui_url: ", "is not an https URL"]),
]


@pytest.mark.parametrize(("fields", "extra", "told"), BAD, ids=[f"{fields}-{extra}" for fields, extra, _ in BAD])
def test_a_wrong_field_is_named_with_its_remedy(fields: dict[str, Any], extra: object, told: list[str]) -> None:
    message = refused(extra, **fields)
    assert message.startswith(told[0])
    for part in told[1:]:
        assert part in message


# The endpoint alone


def test_the_endpoint_is_read_without_judging_what_only_workers_have() -> None:
    of_workers = {"verify": "/only/on/workers.pem", "client_cert": "/only/on/workers.pem"}
    assert parse_endpoint(connection({"organization": "acme", "tenant": "dev"}, host="cloud.uipath.com")) == CLOUD
    assert parse_endpoint(connection(of_workers, host=f"{CLOUD}/api/v1/", password="")) == CLOUD
    assert parse_endpoint(connection({"allow_http": True}, host="http://cm.corp")) == "http://cm.corp"


@pytest.mark.parametrize(
    ("fields", "extra", "told"),
    [
        ({"host": ""}, {}, "host: it is empty"),
        ({"port": 443}, {}, "port: write it into the host"),
        ({"schema": "https"}, {}, "schema: it is not used"),
        ({"host": "http://cm.corp"}, {}, "plain http"),
        ({}, {"organisation": "acme"}, "did you mean `organization`"),
    ],
)
def test_a_wrong_endpoint_is_named_and_no_frame_of_ours_holds_the_password(
    fields: dict[str, Any], extra: object, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as info:
        parse_endpoint(connection(extra, **fields))
    assert str(info.value).startswith("connection 'cm': ")
    assert info.value.__context__ is None
    for entry in info.traceback[1:]:
        assert TOKEN not in repr([getattr(each, "password", each) for each in entry.frame.f_locals.values()])
