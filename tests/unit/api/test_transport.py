"""One exchange: its limits in time and memory, its certificates, and what the environment may not change."""

from __future__ import annotations

import resource
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from airflow_provider_cm.api import (
    CommsMiningError,
    OutcomeUnknownError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from airflow_provider_cm.api import transport as transport_module
from airflow_provider_cm.api.auth import NoAuth
from airflow_provider_cm.api.redaction import redact
from airflow_provider_cm.api.transport import Transport
from tests.unit.api.server import RESET, STALL, Answer, Step, closed_port, error, ok
from tests.unit.api.support import PROXY_PASSWORD, TOKEN, Clock, assert_no_secret, fails, session_to, source, sources_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.api.conftest import Serve

# --- time, real here: budgets of a fraction of a second

# A busy machine may add to a budget; what does not keep it lasts longer, some for ever.
SOON = 3


@pytest.mark.parametrize(
    "step",
    [
        STALL,
        Answer(drip="headers"),
        Answer(body=b'{"status": "ok", "sources": []}' + b" " * 500, drip="body"),
        Answer(body=b" " * 10, endless=True),
        Answer(302, body=b" " * 10, headers={"Location": "/x"}, endless=True),
        Answer(body=b"{", stated_length=10_000_000, then_stall=True),
    ],
    ids=["stall", "dripping headers", "dripping body", "endless body", "endless redirect", "body that never comes"],
)
@pytest.mark.parametrize("write", [False, True])
def test_no_server_holds_a_call_beyond_its_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, step: Step, write: bool
) -> None:
    monkeypatch.setattr(transport_module, "MAX_RESPONSE_BYTES", 1 << 40)
    server = serve(handler=lambda _: step)
    api = sources_of(server, retry=RetryPolicy(max_seconds=0.15, base=0.01))
    began = time.monotonic()
    with pytest.raises(CommsMiningError) as caught:
        api.create("acme", "example") if write else api.list()
    assert time.monotonic() - began < SOON
    if not isinstance(step, Answer) or step.status != 302:
        assert type(caught.value) is (OutcomeUnknownError if write else TransportError)
        assert caught.value.transient is True
        assert "in time" in str(caught.value) or "connection broke" in str(caught.value)


def test_a_body_that_drips_and_then_stops_gets_only_what_is_left_of_the_time(serve: Serve) -> None:
    server = serve(Answer(body=b" " * 7, stated_length=99, drip="body", then_stall=True))
    began = time.monotonic()
    with fails(TransportError):
        session_to(server, retry=RetryPolicy(max_seconds=0.4)).request("GET", "sources")
    assert time.monotonic() - began < SOON


def test_a_slow_answer_within_the_time_is_read(serve: Serve) -> None:
    server = serve(Answer(body=b'{"status":"ok"}', drip="body", drip_every=0.03))
    assert session_to(server, timeout=(1, 0.2)).request("GET", "x") == {"status": "ok"}


def test_the_read_timeout_counts_from_the_last_byte(serve: Serve) -> None:
    server = serve(STALL, ok())
    began = time.monotonic()
    assert session_to(server, timeout=(1, 0.1)).request("GET", "x") == {"status": "ok"}
    assert 0.1 <= time.monotonic() - began < SOON


@pytest.mark.parametrize("status", [200, 302, 500])
def test_an_endless_body_is_not_read_into_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(transport_module, "MAX_RESPONSE_BYTES", 8 * 1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server = serve(Answer(status, b"x" * 65536, {"Location": "/x"} if status == 302 else {}, endless=True))
    with fails(TransportError) as caught:
        session_to(server).request("GET", "sources")
    assert "larger than 8 MiB" in caught.text
    assert caught.error.transient is False
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_a_compressed_bomb_is_limited_after_decompression(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(transport_module, "MAX_RESPONSE_BYTES", 1024 * 1024)
    bomb = gzip.compress(b" " * 30_000_000)
    with fails(TransportError) as caught:
        session_to(serve(Answer(200, bomb, {"Content-Encoding": "gzip"}))).request("GET", "sources")
    assert "larger than 1 MiB" in caught.text


def test_compressed_answers_are_read(serve: Serve) -> None:
    import gzip

    body = gzip.compress(b'{"status": "ok", "sources": []}')
    server = serve(Answer(200, body, {"Content-Encoding": "gzip"}))
    assert sources_of(server).list() == []
    assert "gzip" in server.requests[0].headers["Accept-Encoding"]


def test_a_write_with_too_large_an_answer_is_looked_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_RESPONSE_BYTES", 10_000)
    server = serve(Answer(200, b"x" * 99_999), ok(source=source(title="T")))
    assert sources_of(server).update("acme", "example", title="T").confirmed is True


# --- certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def _tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
    return context


def test_a_certificate_that_is_not_trusted_is_final_and_the_error_names_the_setting(
    serve: Serve, authority: trustme.CA
) -> None:
    server = serve(tls=_tls(authority))
    clock = Clock()
    for method in ("GET", "PUT"):
        with fails(TransportError) as caught:
            session_to(server, retry=clock.policy()).request(method, "sources", "acme", "example")
        assert "certificate" in caught.text
        assert "`verify`" in caught.text
        assert (caught.error.transient, caught.error.attempts) == (False, 1)
    assert clock.slept == []
    assert server.requests == []


def test_a_certificate_for_another_host_is_not_trusted(serve: Serve, authority: trustme.CA, bundle: str) -> None:
    server = serve(tls=_tls(authority, "other.example"))
    with fails(TransportError) as caught:
        session_to(server, verify=bundle).request("GET", "sources")
    assert "certificate" in caught.text


@pytest.mark.parametrize("verify", ["bundle", False])
def test_verify_trusts_a_private_authority_or_everything(
    serve: Serve, authority: trustme.CA, bundle: str, verify: str | bool
) -> None:
    server = serve(*[ok(sources=[])] * 3, tls=_tls(authority))
    api = sources_of(server, verify=bundle if verify else False)
    if verify:
        for _ in range(3):
            assert api.list() == []
        assert server.connections == 1
    else:
        with pytest.warns(Warning, match="Unverified HTTPS"):
            assert api.list() == []


def test_a_bundle_that_is_not_there_is_final(serve: Serve, authority: trustme.CA, tmp_path: Path) -> None:
    server = serve(tls=_tls(authority))
    missing = str(tmp_path / "none.pem")
    with fails(TransportError) as caught:
        session_to(server, verify=missing).request("PUT", "sources", "a")
    assert missing in caught.text
    assert (caught.error.transient, server.connections) == (False, 0)


def test_a_client_certificate_is_shown(serve: Serve, authority: trustme.CA, bundle: str, tmp_path: Path) -> None:
    context = _tls(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    mine = tmp_path / "me.pem"
    authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.write_to_path(str(mine))
    assert session_to(serve(ok(), tls=context), verify=bundle, cert=str(mine)).request("GET", "x") == {"status": "ok"}


@pytest.mark.parametrize("step", [STALL, Answer(drip="headers"), Answer(body=b"x" * 1000, drip="body")])
def test_the_time_is_kept_under_tls_too(serve: Serve, authority: trustme.CA, bundle: str, step: Step) -> None:
    server = serve(handler=lambda _: step, tls=_tls(authority))
    began = time.monotonic()
    with fails(TransportError):
        session_to(server, verify=bundle, retry=RetryPolicy(max_seconds=0.15)).request("GET", "sources")
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("more", [b"x", b"x" * 20_000, b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'])
def test_what_comes_after_a_response_is_not_the_next_one_under_tls_either(
    serve: Serve, authority: trustme.CA, bundle: str, more: bytes
) -> None:
    answer = ok(source=source())
    # As long as the buffer of a reader, so that the rest stays with TLS.
    server = serve(replace(answer, body=answer.body.ljust(8192), after=more), ok(source=source()), tls=_tls(authority))
    api = sources_of(server, verify=bundle)
    for _ in range(2):
        assert api.get("acme", "example").name == "example"
    assert server.connections == 2


def test_a_server_that_never_begins_tls_is_given_up(serve: Serve) -> None:
    server = serve(handler=lambda _: STALL)
    began = time.monotonic()
    with fails(TransportError):
        session_to(server.url.replace("http:", "https:"), retry=RetryPolicy(max_seconds=0.15)).request("GET", "sources")
    assert time.monotonic() - began < SOON


# --- the environment


def _netrc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("default login thief password stolen\nmachine 127.0.0.1 login thief password stolen\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


def test_a_netrc_file_does_not_replace_the_token(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _netrc(tmp_path / "netrc", monkeypatch)
    server = serve(ok(), ok(source=source()))
    session_to(server).request("GET", "sources")
    sources_of(server).create("acme", "example")
    assert [request.headers["Authorization"] for request in server.requests] == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_never_sees_what_goes_to_this_machine(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy, server = serve(), serve(ok())
    monkeypatch.setenv(variable, proxy.url)
    session_to(server).request("GET", "sources")
    assert proxy.connections == 0


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used_where_none_is_set(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy = serve(ok())
    monkeypatch.setenv(variable, proxy.url)
    session_to("http://example.invalid", allow_http=True).request("GET", "sources")
    (request,) = proxy.requests
    assert request.target == "http://example.invalid/api/v1/sources"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


def test_no_proxy_of_the_environment_is_obeyed_for_its_own_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "example.invalid")
    with fails(TransportError):
        session_to("http://example.invalid", allow_http=True, retry=Clock().policy(max_attempts=1)).request("GET", "x")
    assert proxy.connections == 0


def test_an_explicit_proxy_is_used_whatever_the_environment_says(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, thief, server = serve(ok(), ok()), serve(), serve()
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, thief.url)
    monkeypatch.setenv("NO_PROXY", "*")
    session_to("http://example.invalid", allow_http=True, proxies={"http": proxy.url}).request("GET", "x")
    session_to(server, proxies={"http": proxy.url}).request("GET", "x")
    assert [request.target for request in proxy.requests] == [
        "http://example.invalid/api/v1/x",
        f"{server.url}/api/v1/x",
    ]
    assert thief.connections == server.connections == 0


def test_an_empty_mapping_means_no_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    thief = serve()
    monkeypatch.setenv("ALL_PROXY", thief.url)
    with fails(TransportError):
        session_to("http://example.invalid", allow_http=True, proxies={}, retry=Clock().policy(max_attempts=1)).request(
            "GET", "x"
        )
    assert thief.connections == 0


def test_a_proxy_password_goes_to_the_proxy_and_nowhere_else(serve: Serve) -> None:
    proxy = serve(error(500))
    url = proxy.url.replace("//", f"//user:{PROXY_PASSWORD}@")
    session = session_to(
        "http://example.invalid", allow_http=True, proxies={"http": url}, retry=Clock().policy(max_attempts=1)
    )
    del url
    assert_no_secret(session, session._transport)
    with fails(ServerError):
        session.request("GET", "sources")
    assert proxy.requests[0].headers["Proxy-Authorization"].startswith("Basic ")
    assert proxy.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


PROXIES = {
    "nobody listens": f"http://user:{PROXY_PASSWORD}@127.0.0.1:{{port}}",
    "not found": f"http://user:{PROXY_PASSWORD}@nowhere.invalid:3128",
    "wrong port": f"http://user:{PROXY_PASSWORD}@127.0.0.1:99999",
    "no port": f"http://user:{PROXY_PASSWORD}@127.0.0.1:x",
    "no host": f"http://user:{PROXY_PASSWORD}@",
    "unknown scheme": f"gopher://user:{PROXY_PASSWORD}@127.0.0.1:1",
    "brackets": f"http://user:{PROXY_PASSWORD}@[::1",
    "slash in the password": f"http://user:1/{PROXY_PASSWORD}@h:1",
    "no scheme": f"user:{PROXY_PASSWORD}@127.0.0.1:x",
}


@pytest.mark.parametrize("form", PROXIES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_work_is_an_error_without_its_password(form: str, scheme: str) -> None:
    session = session_to(
        f"{scheme}://example.invalid",
        allow_http=True,
        proxies={scheme: PROXIES[form].format(port=closed_port())},
        retry=Clock().policy(max_attempts=1),
    )
    with fails(TransportError):
        session.request("PUT", "sources", "acme", "example", json={})


def test_https_goes_through_a_tunnel_that_does_not_see_the_token(serve: Serve) -> None:
    proxy = serve(error(407), error(407))
    with fails(TransportError) as caught:
        sources_of(
            "https://example.invalid", proxies={"https": proxy.url}, retry=Clock().policy(max_attempts=2)
        ).create("acme", "example")
    assert [str(request) for request in proxy.requests] == ["CONNECT example.invalid:443"] * 2
    assert "407" in caught.text
    assert "proxy" in caught.text
    assert all("Authorization" not in request.headers for request in proxy.requests)


@pytest.mark.parametrize("step", [RESET, Answer(raw=b"")])
def test_a_write_that_is_lost_behind_a_proxy_is_in_doubt_like_any_other(serve: Serve, step: Step) -> None:
    proxy = serve(step, ok(source=source(title="T", created_at="2999-01-01T00:00:00Z")))
    api = sources_of("http://example.invalid", allow_http=True, proxies={"http": proxy.url})
    assert api.create("acme", "example", title="T").confirmed is True
    assert proxy.methods == ["PUT", "GET"]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_of_the_environment_counts_only_where_none_is_set(
    serve: Serve, authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, bundle)
    assert session_to(serve(ok(), tls=_tls(authority))).request("GET", "x") == {"status": "ok"}
    with fails(TransportError):
        session_to(serve(tls=_tls(authority)), verify=True).request("GET", "x")
    monkeypatch.setenv(variable, "/nonexistent.pem")
    assert session_to(serve(ok(), tls=_tls(authority)), verify=bundle).request("GET", "x") == {"status": "ok"}


def test_a_server_that_sets_cookies_gets_no_other_hosts_cookies(serve: Serve) -> None:
    one, other = serve(ok({"Set-Cookie": "lb=1; Path=/"})), serve(ok())
    session_to(one).request("GET", "x")
    session_to(other).request("GET", "x")
    assert "Cookie" not in other.requests[0].headers


def test_the_passwords_of_proxies_are_known_after_a_request_longest_first(serve: Serve) -> None:
    long, short = "pa55%2Fword", "pa55"
    proxy = serve(ok())
    host = proxy.url.removeprefix("http://")
    transport = Transport(proxies={"http": f"http://u:{short}@{host}", "https": f"http://u:{long}@{host}", "ftp": host})
    assert transport.secrets() == []
    transport.send("GET", "http://example.com/", auth=NoAuth(), seconds=5)
    assert transport.secrets() == ["pa55/word", "pa55"]


def test_a_secret_that_is_no_unicode_is_masked_too() -> None:
    assert redact("a\ud800bcd and more", ["a\ud800bcd"]) == "*** and more"
