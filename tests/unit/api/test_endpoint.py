"""What users paste as an endpoint, what is refused, and that no name leaves its place in the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.api import ConfigurationError, normalise_endpoint
from airflow_provider_cm.api.endpoint import check_url
from tests.unit.api.server import ok
from tests.unit.api.support import PROXY_PASSWORD, fails, session_to

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serve

CLOUD = "https://cloud.uipath.com/acme/prod/reinfer_"
OWN = "https://acme.reinfer.io"


@pytest.mark.parametrize(
    ("given", "one_form"),
    [
        (CLOUD, CLOUD),
        (f"{CLOUD}/", CLOUD),
        (f"{CLOUD}//", CLOUD),
        (f"{CLOUD}/api", CLOUD),
        (f"{CLOUD}/api/", CLOUD),
        (f"{CLOUD}/api/v1", CLOUD),
        (f"{CLOUD}/api/v1/", CLOUD),
        (f"{CLOUD}/api/v1//", CLOUD),
        ("cloud.uipath.com/acme/prod/reinfer_", CLOUD),
        ("HTTPS://Cloud.UiPath.COM/acme/prod/reinfer_", CLOUD),
        ("https://cloud.uipath.com:443/acme/prod/reinfer_/api/v1", CLOUD),
        (f"  {CLOUD}\n", CLOUD),
        ("https://cloud.uipath.com/Acme/Prod_1/reinfer_", "https://cloud.uipath.com/Acme/Prod_1/reinfer_"),
        ("https://staging.uipath.com/a/b/reinfer_", "https://staging.uipath.com/a/b/reinfer_"),
        (OWN, OWN),
        (f"{OWN}/api/v1", OWN),
        ("acme.reinfer.io", OWN),
        ("acme.reinfer.io:8443", f"{OWN}:8443"),
        ("https://cm.bank.example/tools/cm/api/v1/", "https://cm.bank.example/tools/cm"),
        ("https://cm.bank.example/my org/".replace(" ", "%20"), "https://cm.bank.example/my%20org"),
        ("https://myuipath.com", "https://myuipath.com"),
        ("http://localhost:8089/", "http://localhost:8089"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://127.1.2.3:8089/acme/dev/reinfer_", "http://127.1.2.3:8089/acme/dev/reinfer_"),
        ("http://[::1]:8089/api", "http://[::1]:8089"),
        ("http://cm.localhost", "http://cm.localhost"),
    ],
)
def test_an_endpoint_has_one_form_however_it_was_pasted(given: str, one_form: str) -> None:
    assert normalise_endpoint(given) == one_form
    assert normalise_endpoint(one_form) == one_form


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("http://acme.reinfer.io", "plain http"),
        ("http://10.0.0.1", "plain http"),
        ("http://localhost.evil.example", "plain http"),
        ("http://127.0.0.1.evil.example", "plain http"),
        ("http://0.0.0.0:1", "plain http"),
        (f"https://user:{PROXY_PASSWORD}@acme.reinfer.io", "credentials"),
        (f"user:{PROXY_PASSWORD}@acme.reinfer.io", "credentials"),
        (f"https://user:1/{PROXY_PASSWORD}@acme.reinfer.io/x y", "credentials"),
        (f"https://{PROXY_PASSWORD}@acme.reinfer.io?q", "credentials"),
        (f"ftp://user:{PROXY_PASSWORD}@host", "credentials"),
        (f"{OWN}?token={PROXY_PASSWORD}", "query"),
        (f"{OWN}/#{PROXY_PASSWORD}", "fragment"),
        (f"{OWN}?", "query"),
        (f"{OWN}#", "fragment"),
        ("https://acme.rein fer.io", "white space"),
        ("https://acme.reinfer.io/a\nb", "white space"),
        ("https://acme.reinfer.io/\x1b[31m", "white space or characters"),
        ("https:\\\\acme.reinfer.io", "characters"),
        ("https://acme.reinfer.io/a/../b", "'..'"),
        ("https://acme.reinfer.io/./b", "'.'"),
        ("https://acme.reinfer.io//b", "empty"),
        (f"{CLOUD}/projects/acme-dev", "web interface"),
        (f"{CLOUD}/sources", "web interface"),
        ("https://cloud.uipath.com", "does not name the tenant"),
        ("https://cloud.uipath.com/acme", "does not name the tenant"),
        ("https://cloud.uipath.com/acme/prod", "does not name the tenant"),
        ("https://cloud.uipath.com/acme/prod/orchestrator_", "does not name the tenant"),
        ("uipath.com/api", "does not name the tenant"),
        ("ftp://acme.reinfer.io", "not an https URL"),
        ("https://", "not an https URL"),
        ("https:///path", "not an https URL"),
        ("https://host:port", "not a URL"),
        ("https://host:99999", "not a URL"),
        ("https://[::1", "not a URL"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_with_the_reason(given: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        normalise_endpoint(given)
    text = str(caught.value)
    assert text.startswith("endpoint: ")
    assert says in text
    assert text.isprintable()
    assert PROXY_PASSWORD not in text


def test_plain_http_is_accepted_where_the_caller_insists() -> None:
    assert normalise_endpoint("http://cm.bank.example/", allow_http=True) == "http://cm.bank.example"
    with fails(ConfigurationError):
        normalise_endpoint("ftp://cm.bank.example/", allow_http=True)


@pytest.mark.parametrize(
    ("segment", "sent"),
    [
        ("plain-Name_1.x~", "plain-Name_1.x~"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("%2e%2e", "%252e%252e"),
        ("...", "..."),
        ("é", "%C3%A9"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("😀", "%F0%9F%98%80"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("a b", "a%20b"),
        ("a+b&c=d;e", "a%2Bb%26c%3Dd%3Be"),
        ("a\\b", "a%5Cb"),
        ("a\r\nHost: evil", "a%0D%0AHost:%20evil"),
        ("id:18ba5ce699f8da1f", "id:18ba5ce699f8da1f"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("a@b", "a%40b"),
    ],
)
@pytest.mark.parametrize("base", ["", "/acme/prod/reinfer_"])
def test_a_segment_stays_one_segment_whatever_it_holds(serve: Serve, base: str, segment: str, sent: str) -> None:
    server = serve(ok(), ok())
    session = session_to(server.url + base)
    session.request("GET", "sources", segment, "x")
    session.request("GET", segment)
    assert [request.target for request in server.requests] == [
        f"{base}/api/v1/sources/{sent}/x",
        f"{base}/api/v1/{sent}",
    ]


@pytest.mark.parametrize("segment", ["", ".", "..", "a/..", "../a", "a/../b", "a/./b"])
def test_a_segment_that_could_move_within_the_path_is_refused(serve: Serve, segment: str) -> None:
    with fails(ConfigurationError) as caught:
        session_to(serve()).request("GET", "sources", segment)
    assert caught.text.startswith("segments: ")


@pytest.mark.parametrize("version", ["", "v1/x", "..", "v1?", "v 1", "v1\n"])
def test_a_version_is_one_word(serve: Serve, version: str) -> None:
    with fails(ConfigurationError) as caught:
        session_to(serve()).request("GET", "sources", version=version)
    assert caught.text.startswith("version: ")


def test_a_call_without_a_path_is_refused(serve: Serve) -> None:
    with fails(ConfigurationError):
        session_to(serve()).request("GET")


@pytest.mark.parametrize(
    ("url", "quoted"),
    [
        ("https://id.example/token?key=hidden", "'https://id.example/token?...'"),
        ("https://id.example/token#hidden", "'https://id.example/token#...'"),
        ("https://id.example/a b?x=hidden\nhidden", "'https://id.example/a b?...'"),
        ("ftp://id.example/?hidden", "'ftp://id.example/?...'"),
    ],
)
def test_a_query_is_masked_in_the_error(url: str, quoted: str) -> None:
    with fails(ConfigurationError) as caught:
        check_url(url, "identity_url")
    assert quoted in caught.text
    assert "hidden" not in caught.text
