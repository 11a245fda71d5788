"""Tokens: refused before they do harm, fetched once, renewed in time, shown to nobody."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from airflow_provider_cm.api import (
    AuthenticationError,
    ClientCredentials,
    CommsMiningError,
    ConfigurationError,
    DeveloperToken,
    OutcomeUnknownError,
    PermissionDeniedError,
    RetryPolicy,
    TokenError,
    TransportError,
)
from airflow_provider_cm.api import client_credentials as auth_module
from airflow_provider_cm.api.auth import Bearer, longest_first
from tests.unit.api.server import RESET, STALL, Answer, Request, Server, Step, closed_port, error, html, ok
from tests.unit.api.support import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    NEW_TOKEN,
    SECOND_ACCESS_TOKEN,
    TOKEN,
    Clock,
    assert_no_secret,
    fails,
    session_to,
    sources_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.conftest import Serve

# --- developer tokens


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("{}\n", "line break"),
        ("\n{}", "line break"),
        ("{}\r\nX-Evil: 1", "line break"),
        (" {}", "white space"),
        ("a b{}", "white space"),
        ("Bearer {}", "begins with 'Bearer '"),
        ("bearer {}", "begins with 'Bearer '"),
        ("é{}", "characters that no token has"),
        ("\x00{}", "characters that no token has"),
        ("\u200b{}", "characters that no token has"),
    ],
)
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(form: str, says: str) -> None:
    with fails(ConfigurationError) as caught:
        DeveloperToken(form.format(TOKEN))
    assert caught.text.startswith("developer token: ")
    assert says in caught.text


def test_an_empty_token_is_refused_with_where_to_find_one() -> None:
    with fails(ConfigurationError) as caught:
        DeveloperToken("")
    assert "empty" in caught.text
    assert "My Account" in caught.text


def test_nothing_that_holds_a_secret_shows_it() -> None:
    credentials = ClientCredentials("https://id.example/token", "app", CLIENT_SECRET)
    assert_no_secret(DeveloperToken(TOKEN), Bearer(TOKEN), credentials)
    assert_no_secret(session_to("https://x.reinfer.io", auth=credentials))


def _accepts(*tokens: str) -> Any:
    def answer(request: Request) -> Step:
        good = request.headers.get("Authorization") in {f"Bearer {token}" for token in tokens}
        return ok(sources=[]) if good else error(401, "Invalid token")

    return answer


def test_a_rotated_token_is_reloaded_once_and_the_call_is_replayed(serve: Serve) -> None:
    server = serve(handler=_accepts(NEW_TOKEN))
    asked: list[int] = []

    def reload() -> str:
        asked.append(1)
        return NEW_TOKEN

    session = session_to(server, auth=DeveloperToken(TOKEN, reload))
    session.request("GET", "sources")
    session.request("PUT", "sources", "acme", "example", json={"source": {}})
    assert [request.headers["Authorization"] for request in server.requests] == [
        f"Bearer {TOKEN}",
        f"Bearer {NEW_TOKEN}",
        f"Bearer {NEW_TOKEN}",
    ]
    assert len(asked) == 1


def test_a_write_is_replayed_with_its_body_after_a_reload(serve: Serve) -> None:
    server = serve(handler=_accepts(NEW_TOKEN))
    session = session_to(server, auth=DeveloperToken(TOKEN, lambda: NEW_TOKEN))
    session.request("PUT", "sources", "acme", "example", json={"source": {"title": "T"}})
    assert [request.json() for request in server.requests] == [{"source": {"title": "T"}}] * 2


RELOADED = {"same": TOKEN, "empty": "", "broken": NEW_TOKEN + "\n"}


@pytest.mark.parametrize("reloaded", RELOADED)
def test_a_reload_that_gives_nothing_new_ends_with_the_401(serve: Serve, reloaded: str) -> None:
    server = serve(error(401, "Invalid token"))
    told: list[bool] = []
    with fails(AuthenticationError) as caught:
        session_to(server, auth=DeveloperToken(TOKEN, lambda: RELOADED[reloaded], told.append)).request(
            "GET", "sources"
        )
    assert caught.error.attempts == 1
    assert caught.error.api_message == "Invalid token"
    assert told == [False]


def test_a_reload_that_breaks_is_a_transient_error_that_shows_nothing_of_it(serve: Serve) -> None:
    def reload() -> str:
        raise LookupError(f"the secrets backend is away, it had {NEW_TOKEN}")

    reported: list[bool] = []
    with fails(TokenError) as caught:
        session_to(serve(error(401)), auth=DeveloperToken(TOKEN, reload, reported.append)).request("GET", "sources")
    assert caught.text.startswith("GET sources: 401 Unauthorized")
    assert "(LookupError)" in caught.text
    assert "backend is away" not in caught.text
    assert (caught.error.transient, caught.error.status) == (True, 401)
    assert caught.error.__context__ is None
    assert reported == [False]


def test_a_write_whose_outcome_is_to_be_read_survives_a_secrets_backend_that_is_away(serve: Serve) -> None:
    """The write may have arrived: whoever looks at it later has to be told so, and nothing else."""

    def reload() -> str:
        raise RuntimeError("away")

    server = serve(handler=lambda request: RESET if request.method == "PUT" else error(401))
    with fails(OutcomeUnknownError) as caught:
        sources_of(server, auth=DeveloperToken(TOKEN, reload)).create("acme", "example")
    assert caught.error.transient


@pytest.mark.parametrize("found", [None, 7, b"token", "", "a b", "x\ud800"])
def test_a_reload_that_gives_no_token_leaves_the_401(serve: Serve, found: Any) -> None:
    with fails(AuthenticationError):
        session_to(serve(error(401)), auth=DeveloperToken(TOKEN, lambda: found)).request("GET", "sources")


def _break(_: object) -> None:
    raise RuntimeError(f"no {TOKEN}, no {ACCESS_TOKEN}")


def test_a_call_does_not_fail_for_an_on_renewal_that_does(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(handler=_accepts(NEW_TOKEN))
    developer = DeveloperToken(TOKEN, lambda: NEW_TOKEN, _break)
    assert session_to(server, auth=developer).request("GET", "sources")["status"] == "ok"
    application = credentials(serve(grant()), on_renewal=_break)
    assert session_to(serve(ok()), auth=application).request("GET", "sources")["status"] == "ok"
    assert caplog.text.count("on_renewal failed with RuntimeError") == 2
    assert_no_secret(caplog.text)


def test_a_token_that_cannot_be_masked_is_not_used(serve: Serve) -> None:
    api = serve(ok())
    with fails(TokenError) as caught:
        session_to(api, auth=credentials(serve(grant(), grant()), on_token=_break)).request("GET", "sources")
    assert "on_token failed with RuntimeError" in caught.text
    assert caught.error.transient
    assert api.connections == 0


@pytest.mark.parametrize("application", [False, True])
def test_waiting_for_another_calls_renewal_ends_with_the_own_time(serve: Serve, application: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stall() -> str:
        begun.set()
        go_on.wait(20)
        return NEW_TOKEN

    def hang(_: Request) -> Step:
        return grant(stall())

    auth = credentials(serve(handler=hang)) if application else DeveloperToken(TOKEN, stall)
    server = serve(handler=_accepts(NEW_TOKEN))
    first = threading.Thread(target=lambda: session_to(server, auth=auth).request("GET", "sources"))
    first.start()
    assert begun.wait(10)
    started = time.monotonic()
    try:
        with fails(TokenError) as caught:
            session_to(server, auth=auth, retry=RetryPolicy(max_seconds=0.3)).request("GET", "sources")
        assert time.monotonic() - started < 2
    finally:
        go_on.set()
        first.join()
    assert "no token in time" in caught.text
    assert caught.error.transient
    # Without end, too: a lock's own limit is below what a policy may say.
    assert session_to(server, auth=auth, retry=RetryPolicy(max_seconds=1e300)).request("GET", "sources")


def test_a_reloaded_token_that_is_refused_too_is_not_reloaded_again(serve: Serve) -> None:
    server = serve(error(401), error(401))
    asked: list[int] = []

    def reload() -> str:
        asked.append(1)
        return NEW_TOKEN

    with fails(AuthenticationError) as caught:
        session_to(server, auth=DeveloperToken(TOKEN, reload)).request("GET", "sources")
    assert (len(asked), caught.error.attempts) == (1, 2)


@pytest.mark.parametrize("application", [False, True])
def test_the_token_before_the_present_one_is_kept_out_of_errors_too(serve: Serve, application: bool) -> None:
    """A call of another thread may still be under way with it, and an application's is valid until it expires."""
    before, after = (ACCESS_TOKEN, SECOND_ACCESS_TOKEN) if application else (TOKEN, NEW_TOKEN)
    server = serve(error(401), error(403, f"{before} is not {after}"))
    auth = credentials(serve(grant(), grant(SECOND_ACCESS_TOKEN))) if application else None
    del before, after
    with fails(PermissionDeniedError) as caught:
        session_to(server, auth=auth or DeveloperToken(TOKEN, lambda: NEW_TOKEN)).request("GET", "sources")
    assert "*** is not ***" in caught.text


def test_without_a_reload_a_401_is_final(serve: Serve) -> None:
    server = serve(error(401))
    with fails(AuthenticationError):
        session_to(server).request("GET", "sources")


def _refuses_together(threads: int, good: str) -> Any:
    """Hold each refusal back until all threads have asked, so that all of them come to renew."""
    together = threading.Barrier(threads)
    judge = _accepts(good)

    def answer(request: Request) -> Step:
        if request.headers["Authorization"] != f"Bearer {good}":
            together.wait(5)
        step: Step = judge(request)
        return step

    return answer


def test_threads_that_were_refused_together_reload_once(serve: Serve) -> None:
    server = serve(handler=_refuses_together(16, NEW_TOKEN))
    asked: list[int] = []

    def reload() -> str:
        asked.append(1)
        return NEW_TOKEN

    told: list[bool] = []
    session = session_to(server, auth=DeveloperToken(TOKEN, reload, told.append))
    _in_threads(16, lambda: session.request("GET", "sources"))
    assert len(asked) == 1
    assert told == [True]


def _in_threads(count: int, work: Any) -> list[Any]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except CommsMiningError as problem:
            results.append(problem)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- client credentials


def grant(token: str = ACCESS_TOKEN, **fields: Any) -> Answer:
    answer = {"access_token": token, "expires_in": 3600, "token_type": "Bearer", "scope": "x", **fields}
    return Answer(200, json.dumps({k: v for k, v in answer.items() if v is not None}).encode())


def credentials(server: Server | str, **settings: Any) -> ClientCredentials:
    base = server if isinstance(server, str) else server.url
    return ClientCredentials(f"{base}/acme/identity_/connect/token", "app-id", CLIENT_SECRET, **settings)


def test_the_token_is_asked_for_as_the_vendors_page_says(serve: Serve) -> None:
    identity, api = serve(grant()), serve(ok(sources=[]), ok(sources=[]))
    session = session_to(api, auth=credentials(identity))
    session.request("GET", "sources")
    session.request("GET", "sources")
    (asked,) = identity.requests
    assert (asked.method, asked.target) == ("POST", "/acme/identity_/connect/token")
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in asked.headers
    assert dict(parse_qsl(asked.body.decode(), strict_parsing=True)) == {
        "grant_type": "client_credentials",
        "client_id": "app-id",
        "client_secret": CLIENT_SECRET,
        "scope": "PM.User PM.User.Read Ixp.ApiAccess",
    }
    assert [request.headers["Authorization"] for request in api.requests] == [f"Bearer {ACCESS_TOKEN}"] * 2


def test_thirty_two_threads_and_two_sessions_fetch_one_token(serve: Serve) -> None:
    identity, api = serve(grant()), serve(handler=_accepts(ACCESS_TOKEN))
    sessions = [session_to(api, auth=credentials(identity)) for _ in range(2)]
    turns = iter(sessions * 16)
    results = _in_threads(32, lambda: next(turns).request("GET", "sources"))
    assert results == [{"status": "ok", "sources": []}] * 32
    assert len(identity.requests) == 1


def test_other_credentials_have_a_token_of_their_own(serve: Serve) -> None:
    identity, api = serve(grant(), grant(SECOND_ACCESS_TOKEN), grant()), serve(*[ok()] * 3)
    url = f"{identity.url}/connect/token"
    for auth in (
        ClientCredentials(url, "app-id", CLIENT_SECRET),
        ClientCredentials(url, "app-id", "another secret"),
        ClientCredentials(url, "app-id", CLIENT_SECRET, scope="fewer"),
    ):
        session_to(api, auth=auth).request("GET", "sources")
    assert len(identity.requests) == 3
    assert api.requests[1].headers["Authorization"] == f"Bearer {SECOND_ACCESS_TOKEN}"


class _Time:
    """Stands in for the module ``time`` in auth.py."""

    def __init__(self) -> None:
        self.now = 5000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> _Time:
    fake = _Time()
    monkeypatch.setattr(auth_module, "time", fake)
    return fake


@pytest.mark.parametrize(
    ("expires_in", "still_good", "renewed_by"),
    [
        (3600, 3500, 3545),
        ("3600", 3500, 3545),
        (3600.0, 3500, 3545),
        (60, 25, 35),  # a short life is renewed at its half
        (None, 230, 245),  # RFC 6749 lets it be left out
        ("soon", 230, 245),
        ("nan", 230, 245),
        ("-Infinity", 230, 245),
        (10**400, 230, 245),
        ("1" * 400, 230, 245),
        (True, 230, 245),
        ([3600], 230, 245),
        (1e300, 86_000, 86_345),  # a day at most
        (10**300, 86_000, 86_345),
    ],
)
def test_a_token_is_renewed_ahead_of_its_expiry(
    serve: Serve, now: _Time, expires_in: object, still_good: float, renewed_by: float
) -> None:
    identity = serve(grant(expires_in=expires_in), grant(SECOND_ACCESS_TOKEN))
    api = serve(*[ok()] * 3)
    session = session_to(api, auth=credentials(identity))
    session.request("GET", "sources")
    now.now += still_good
    session.request("GET", "sources")
    assert len(identity.requests) == 1
    now.now += renewed_by - still_good
    session.request("GET", "sources")
    assert len(identity.requests) == 2
    assert api.requests[2].headers["Authorization"] == f"Bearer {SECOND_ACCESS_TOKEN}"


@pytest.mark.parametrize("expires_in", [0, -5, "-5", -1e300])
def test_a_token_without_life_is_fetched_for_each_call_and_no_more(serve: Serve, expires_in: object) -> None:
    identity, api = serve(grant(expires_in=expires_in), grant(expires_in=expires_in)), serve(ok(), ok())
    session = session_to(api, auth=credentials(identity))
    session.request("GET", "sources")
    session.request("GET", "sources")
    assert len(identity.requests) == 2


def test_an_identity_server_that_is_down_while_the_token_still_lives_does_no_harm(serve: Serve, now: _Time) -> None:
    answers = iter([grant()])
    identity = serve(handler=lambda _: next(answers, error(503)))
    session = session_to(serve(ok(), ok()), auth=credentials(identity))
    session.request("GET", "sources")
    now.now += 3550
    session.request("GET", "sources")
    now.now += 100
    with fails(TokenError) as caught:
        session.request("GET", "sources")
    assert caught.error.transient is True
    assert caught.error.status == 503


# How an identity server fails that is asked while the present token is still valid.
FAILURES: dict[str, Callable[[], Step]] = {
    "a page": lambda: html(200, "<p>maintenance</p>"),
    "a refusal": lambda: Answer(401, b'{"error": "invalid_client"}'),
    "no token": lambda: Answer(200, b"{}"),
    "busy": lambda: error(503, headers={"Retry-After": "3600"}),
    "a reset": lambda: RESET,
    "nothing": lambda: STALL,
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_token_that_is_valid_for_ten_seconds_more_is_used_when_its_renewal_fails(
    serve: Serve, now: _Time, failure: str
) -> None:
    answers = iter([grant()])
    identity = serve(handler=lambda _: next(answers, None) or FAILURES[failure]())
    auth = credentials(identity)
    session_to(serve(ok()), auth=auth).request("GET", "sources")
    now.now += 3590
    started = time.monotonic()
    api = serve(ok(), ok())
    session = session_to(api, auth=auth, retry=RetryPolicy(max_seconds=4))
    session.request("GET", "sources")
    session.request("GET", "sources")
    # A quarter of the call's time, for the first call alone: the second one does not ask again.
    assert time.monotonic() - started < 2
    assert len(identity.requests) == 2
    assert [request.headers["Authorization"] for request in api.requests] == [f"Bearer {ACCESS_TOKEN}"] * 2


def test_a_failed_renewal_is_tried_again_after_a_pause_and_at_the_end_of_the_token(serve: Serve, now: _Time) -> None:
    answers = iter([grant(), html(502), html(502), grant(SECOND_ACCESS_TOKEN)])
    identity, api = serve(handler=lambda _: next(answers)), serve(*[ok()] * 5)
    session = session_to(api, auth=credentials(identity))
    session.request("GET", "sources")
    asked = []
    for seconds in (3580, 9, 2, 9.5):
        now.now += seconds
        session.request("GET", "sources")
        asked.append(len(identity.requests))
    assert asked == [2, 2, 3, 4]
    assert api.requests[-1].headers["Authorization"] == f"Bearer {SECOND_ACCESS_TOKEN}"


def test_one_thread_renews_early_while_the_others_use_the_present_token(serve: Serve, now: _Time) -> None:
    go_on = threading.Event()
    answers = iter([grant()])

    def identify(_: Request) -> Step:
        first = next(answers, None)
        if first is None:
            go_on.wait(2)
        return first or grant(SECOND_ACCESS_TOKEN)

    identity, api = serve(handler=identify), serve(handler=_accepts(ACCESS_TOKEN, SECOND_ACCESS_TOKEN))
    session = session_to(api, auth=credentials(identity), retry=RetryPolicy())
    session.request("GET", "sources")
    now.now += 3550
    renewing = threading.Thread(target=lambda: session.request("GET", "sources"))
    renewing.start()
    while len(identity.requests) < 2:
        time.sleep(0.01)
    started = time.monotonic()
    _in_threads(8, lambda: session.request("GET", "sources"))
    assert time.monotonic() - started < 1.5
    go_on.set()
    renewing.join()
    assert len(identity.requests) == 2
    tokens = [request.headers["Authorization"] for request in api.requests]
    assert tokens == [f"Bearer {ACCESS_TOKEN}"] * 9 + [f"Bearer {SECOND_ACCESS_TOKEN}"]


def test_a_token_that_the_api_refuses_is_renewed_and_the_call_replayed_once(serve: Serve) -> None:
    identity, api = serve(grant(), grant(SECOND_ACCESS_TOKEN)), serve(handler=_accepts(SECOND_ACCESS_TOKEN))
    seen: list[str] = []
    session = session_to(api, auth=credentials(identity, on_token=seen.append))
    session.request("DELETE", "sources", "id:18ba")
    assert [request.method for request in api.requests] == ["DELETE", "DELETE"]
    assert seen == [ACCESS_TOKEN, SECOND_ACCESS_TOKEN]


@pytest.mark.parametrize("same_again", [True, False])
def test_a_401_with_fresh_tokens_too_is_final(serve: Serve, same_again: bool) -> None:
    identity = serve(grant(), grant(ACCESS_TOKEN if same_again else SECOND_ACCESS_TOKEN))
    api = serve(*[error(401, "no")] * (1 if same_again else 2))
    with fails(AuthenticationError) as caught:
        session_to(api, auth=credentials(identity)).request("GET", "sources")
    assert len(api.requests) == caught.error.attempts


def test_threads_that_were_refused_together_renew_once(serve: Serve) -> None:
    identity = serve(grant(), grant(SECOND_ACCESS_TOKEN))
    told: list[bool] = []
    auth = credentials(identity, on_renewal=told.append)
    session = session_to(serve(handler=_refuses_together(16, SECOND_ACCESS_TOKEN)), auth=auth)
    results = _in_threads(16, lambda: session.request("GET", "sources"))
    assert results == [{"status": "ok", "sources": []}] * 16
    assert len(identity.requests) == 2
    assert told == [True, True]


@pytest.mark.parametrize(
    ("answer", "says", "code"),
    [
        (html(200, f"<p>Sign in {CLIENT_SECRET}</p>"), "not the token endpoint", None),
        (html(404), "404 Not Found, but not a token response", None),
        (Answer(200, b""), "not a token response", None),
        (Answer(200, b"[]"), "not a token response", None),
        (Answer(200, b"[" * 100_000), "not a token response", None),
        (Answer(302, b"", {"Location": "https://elsewhere.example"}), "302", None),
        (Answer(200, b"{}"), "no usable `access_token`", None),
        (grant(access_token=None), "no usable `access_token`", None),
        (grant(access_token=7), "no usable `access_token`", None),
        (grant(access_token=""), "no usable `access_token`", None),
        (grant(access_token="x\r\nX-Evil: 1"), "no usable `access_token`", None),
        (grant(token_type="mac"), "not for a bearer token", None),
        (grant(token_type=["Bearer"]), "not for a bearer token", None),
        (Answer(400, b'{"error": "invalid_client"}'), "App ID (login) and the App Secret", "invalid_client"),
        (Answer(200, b'{"error": "invalid_client"}'), "App ID (login) and the App Secret", "invalid_client"),
        (Answer(400, b'{"error": "invalid_scope"}'), "Ixp.ApiAccess", "invalid_scope"),
        (Answer(401, b'{"error": "unauthorized_client"}'), "confidential", "unauthorized_client"),
        (Answer(400, b'{"error": "x\\u001b[31m\\n", "error_description": "d\\r\\n"}'), "\\x1b[31m", "x\\x1b[31m\\n"),
        (Answer(400, b'{"message": "?"}'), "no error code", "no error code"),
    ],
)
def test_what_is_no_token_response_is_an_error_that_says_so(
    serve: Serve, answer: Answer, says: str, code: str | None
) -> None:
    identity, api = serve(answer), serve()
    with fails(TokenError) as caught:
        sources_of(api, auth=credentials(identity)).list()
    assert says in caught.text
    assert caught.text.isprintable()
    assert (caught.error.error, caught.error.status, caught.error.transient) == (code, answer.status, False)
    assert api.connections == 0


def test_an_identity_server_that_echoes_the_form_does_not_put_the_secret_into_the_error(serve: Serve) -> None:
    def echo(request: Request) -> Step:
        words = {"error": request.body.decode(), "error_description": f"bad: {CLIENT_SECRET}"}
        return Answer(400, json.dumps(words).encode())

    with fails(TokenError) as caught:
        session_to(serve(), auth=credentials(serve(handler=echo))).request("GET", "sources")
    assert "bad: ***" in caught.text


@pytest.mark.parametrize("token_type", ["bearer", "BEARER", None])
def test_the_token_type_is_read_without_regard_to_case(serve: Serve, token_type: str | None) -> None:
    session = session_to(serve(ok()), auth=credentials(serve(grant(token_type=token_type))))
    assert session.request("GET", "sources") == {"status": "ok"}


@pytest.mark.parametrize("step", [error(429), error(500), html(502), error(503), RESET])
def test_an_identity_server_in_trouble_is_asked_again(serve: Serve, step: Step) -> None:
    identity = serve(step, step, grant())
    session = session_to(serve(ok()), auth=credentials(identity))
    assert session.request("PUT", "sources", "acme", "example", json={}) == {"status": "ok"}
    assert len(identity.requests) == 3


def test_an_identity_server_that_stays_in_trouble_ends_the_call_within_its_attempts(serve: Serve) -> None:
    clock = Clock()
    identity, api = serve(*[error(429, headers={"Retry-After": "2"})] * 3), serve()
    with fails(TokenError) as caught:
        session_to(api, auth=credentials(identity), retry=clock.policy(max_attempts=3)).request("GET", "sources")
    assert clock.slept == [2, 2]
    assert (caught.error.status, caught.error.transient) == (429, True)
    assert api.connections == 0


def test_an_identity_server_that_is_not_there_is_a_transport_error(serve: Serve) -> None:
    api = serve()
    base = f"http://127.0.0.1:{closed_port()}"
    with fails(TransportError) as caught:
        session_to(api, auth=credentials(base)).request("GET", "sources")
    assert (caught.error.method, caught.error.path) == ("POST", f"{base}/acme/identity_/connect/token")
    assert "identity server" in caught.text
    assert "refused" in caught.text.lower()
    assert api.connections == 0


@pytest.mark.parametrize("secret", ["", None, "x\ud800"])
def test_an_app_secret_that_cannot_be_sent_is_refused(secret: Any) -> None:
    with fails(ConfigurationError) as caught:
        ClientCredentials("https://id.example/token", "app", secret)
    assert caught.text.startswith("App Secret: ")


def test_an_oauth_error_that_is_no_text_is_left_out(serve: Serve) -> None:
    deep = b'{"error": ' + b"[" * 60 + b"]" * 60 + b"}"
    with fails(TokenError) as caught:
        session_to(serve(), auth=credentials(serve(Answer(400, deep)))).request("GET", "sources")
    assert "400 Bad Request: no error code" in caught.text


@pytest.mark.parametrize(
    "url", ["", "http://id.example/token", "https://u:p@id.example/token", "https://id.example/token?a=b", "id.example"]
)
def test_a_token_endpoint_that_would_leak_the_secret_is_refused(url: str) -> None:
    with fails(ConfigurationError) as caught:
        ClientCredentials(url, "app", CLIENT_SECRET)
    assert caught.text.startswith("identity_url: ")


def test_a_forked_process_does_not_wait_for_a_lock_of_its_parent(serve: Serve) -> None:
    import os

    identity, api = serve(grant(), grant(SECOND_ACCESS_TOKEN)), serve(ok(), ok())
    session = session_to(api, auth=credentials(identity))
    session.request("GET", "sources")
    with auth_module._cells_lock, next(iter(auth_module._cells.values())).lock:
        child = os.fork()
        if child == 0:
            try:
                session_to(api, auth=credentials(identity)).request("GET", "sources")
            finally:
                os._exit(0)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and os.waitpid(child, os.WNOHANG)[0] == 0:
            time.sleep(0.01)
    assert len(api.requests) == 2


def test_longer_secrets_come_first() -> None:
    """A secret that contains another one is masked as a whole."""
    assert longest_first(Bearer("ab"), None, Bearer("abcd"), Bearer("abc")) == ["abcd", "abc", "ab"]
