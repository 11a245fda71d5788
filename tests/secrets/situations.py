"""Where the subjects are run: servers, proxies and connections that are in order, and those that are not."""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import json
import signal
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus, unquote

import trustme

from airflow_provider_cm.api.client_credentials import forget_tokens
from airflow_provider_cm.emulator.faults import KINDS
from airflow_provider_cm.emulator.permissions import ROLES
from tests.unit.api.server import STALL, Answer, Request, Server, Step, closed_port
from tests.unit.api.server import html as page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.faults.proxy import FaultProxy

# With every kind of character that some notation writes in another way, and that the place allows.
TOKEN = r"""dV9"k\w/Q+z=3&%41<Xb>'mLw0~TbYc7{Kp2}Hs9;Nd#5u"""
APP_ID = "5f1c9a7e-app"
APP_SECRET = """aS4'p(é)/\\+R=t&%7E<!k>"Mz 0q:Lp9@xJ{w}6;Vn#3$"""
PROXY_PASSWORD = """pX7@r/o\\x+Y:=8&%2F<P>"a's 5w~Or?d1#Zt6"""
SECRETS = {"developer token": TOKEN, "App Secret": APP_SECRET, "proxy password": PROXY_PASSWORD}
# Of a message: they are in what is loaded and deleted, and no more to be seen anywhere than a password.
MESSAGE_TEXT = """Dear team, my son's "order" 77/Kq+5 came <broken> & I want 30% back; IBAN is {DE44-9x}"""
MESSAGE_ADDRESS = "rosa.o'neil+refund7Kq%41@customer.example"
MESSAGE_ID = "mail-Zk9'Vw3+Tq%41&Lp5=xN{7}"
PERSONAL = {"text of a message": MESSAGE_TEXT, "address in a message": MESSAGE_ADDRESS, "id of a message": MESSAGE_ID}
# What a server of ours can mint, apart from the emulator's own: a long one, as JSON web tokens are.
MINTED = "eyJhbGciOi" + "JSUzI1NiIsImtpZCI6" * 60 + "Wq4.Xc8Vb2Nm6-Ty5_Uj1"

QUICK = {"max_attempts": 1, "max_retry_seconds": 5, "read_timeout": 5, "connect_timeout": 2}
HURRIED = {"max_attempts": 1, "max_retry_seconds": 0.1, "read_timeout": 0.08, "connect_timeout": 2}
MUCH_THE_SAME = ("403", "404", "409", "422", "429", "503")  # errors that are told as the others are
SLOW = {"slow-start", "slow-body", "endless"}
SOURCE = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox"}
BOMB = "\x1b[31mRED\x1b[0m\r\n[2026-11-22] {forged.py:1} ERROR - forged\n\u202eevil\x00\x9b2J"
FORGED = "\n[2026-11-22] {forged.py:1} ERROR"
IDENTITY = "/acme/identity_/connect/token"


class TaskTimeout(BaseException):
    """As Airflow's own, which a signal raises wherever the task is."""


@dataclass(frozen=True)
class Situation:
    """A connection, and what the world behind it does.

    :param name: to tell it from others.
    :param connection: fields of the Airflow connection; the whole text of the variable if it is a text.
    :param around: entered for each run.
    :param brief: one run of each thing is enough, since each takes its time.
    :param threads: whether it may be met in other threads than the main one, where no signal arrives.
    """

    name: str
    connection: dict[str, Any]
    around: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    brief: bool = False
    threads: bool = True


def proxied(connection: dict[str, Any], port: int, scheme: str = "http") -> dict[str, Any]:
    """Give a connection that goes through a proxy, with its password."""
    proxy = f"{scheme}://proxy-user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{port}"
    return {**connection, "extra": {**connection["extra"], "proxy": proxy}}


def with_token(host: str, **extra: Any) -> dict[str, Any]:
    return {"conn_type": "comms_mining", "host": host, "password": TOKEN, "extra": {**QUICK, **extra}}


def with_app(host: str, **extra: Any) -> dict[str, Any]:
    return {**with_token(host, **extra), "login": APP_ID, "password": APP_SECRET}


# --- the emulator, and each of its faults


def prepare(emulator: EmulatorServer) -> None:
    """Give the emulator our credentials, and a source to work on."""
    minted = {value: grant for value, grant in emulator.state.tokens.grants.items() if grant.name.startswith(APP_ID)}
    emulator.reset()
    emulator.state.tokens.grants.update(minted)  # or each run would have to fetch a token of its own
    emulator.replace_token("emulator-admin", TOKEN)
    emulator.state.tokens.add_application(APP_ID, APP_SECRET, ROLES["admin"])
    tenant = emulator.tenant("/acme/dev/reinfer_")
    tenant.add_source("acme-dev", "inbox", title="Inbox", messages=3)


def faults() -> list[tuple[str, dict[str, Any]]]:
    """Give every fault that the emulator knows, with its variants."""
    found: list[tuple[str, dict[str, Any]]] = [("200", {})]  # none at all
    found += [(str(status), {}) for status in (400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 502, 503, 504)]
    found += [("503", {"when": "after"}), ("502", {"html": True}), ("404", {"html": True})]
    found += [("429", {"retry_after": 0}), ("429", {"retry_after": 86400}), ("429", {"retry_after": 9, "date": True})]
    options: dict[str, list[dict[str, Any]]] = {
        "slow-start": [{"seconds": 0.3}],
        "slow-body": [{"seconds": 0.1, "chunk": 100}],
        "wrong-envelope": [{"status": 200}, {"status": 404}],
        "empty": [{"status": 200}, {"status": 500}],
        "no-answer": [{}, {"when": "after"}],
        "redirect": [{"to": "https://elsewhere.example/x"}],
    }
    for kind in KINDS:
        found += [(kind, each) for each in options.get(kind, [{}])]
    return found


def faulty(emulator: EmulatorServer, forward: FaultProxy) -> Iterator[Situation]:
    """Give the emulator with each of its faults; with an App, everything goes through a proxy with a password."""
    host = emulator.tenant("/acme/dev/reinfer_").endpoint
    for auth, connection in (("token", with_token(host)), ("app", proxied(with_app(host), forward.port))):
        for kind, options in faults():
            slow = kind in SLOW or (kind == "truncated" and auth == "app")  # the proxy holds on to it
            fields = {**connection, "extra": {**connection["extra"], **HURRIED}} if slow else connection
            around = _with_fault(emulator, kind, "*/api/*", options)
            yield Situation(f"{auth}, fault {kind} {options}", fields, around, brief=slow or auth == "app")
    for kind, options in faults()[1:]:
        if kind not in SLOW | {"revoked-token", "expired-token"}:
            around = _with_fault(emulator, kind, "*/connect/token", options)
            yield Situation(f"app, identity server's fault {kind} {options}", with_app(host), around, brief=True)
    # A second attempt within the call.
    more = {**with_token(host), "extra": {**QUICK, "max_attempts": 3, "max_retry_seconds": 5}}
    for kind in ("503", "truncated", "no-answer"):
        yield Situation(f"token, fault {kind}, then well", more, _with_fault(emulator, kind, "*/api/*", {"times": 1}))
    yield Situation("a viewer's token", {**with_token(host), "password": "emulator-viewer"}, _plain(emulator))
    yield Situation("a token nobody knows", {**with_token(host), "password": TOKEN[::-1]}, _plain(emulator))
    yield Situation("a wrong App Secret", {**with_app(host), "password": APP_SECRET[::-1]}, _plain(emulator))
    yield Situation("a wrong scope", with_app(host, scope="Everything"), _plain(emulator))
    for guards in ({"read_only": True}, {"allow_delete": False}, {"allowed_projects": "other-*"}):
        yield Situation(f"guards {guards}", proxied(with_token(host, **guards), forward.port), _plain(emulator))


def _plain(emulator: EmulatorServer) -> Callable[[], contextlib.AbstractContextManager[None]]:
    return _with_fault(emulator, "200", "*", {})


def _with_fault(
    emulator: EmulatorServer, kind: str, path: str, options: dict[str, Any]
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def around() -> Iterator[None]:
        prepare(emulator)
        if path.endswith("/token"):
            forget_tokens()  # so that one has to be fetched
        if kind != "200":
            emulator.faults.add(kind, "*", path, **{"times": 20, **options})
        yield

    return around


# --- servers and proxies that say what they were told


def echoed(text: str) -> list[str]:
    """Give a text in the notations in which a server may say it."""
    raw = text.encode()
    return [
        text,
        quote(text, safe=""),
        quote_plus(text),
        html.escape(text),
        json.dumps(text)[1:-1],
        json.dumps(text)[1:-1].replace("/", "\\/"),
        repr(text),
        *(base64.b64encode(b"." * shift + raw).decode() for shift in range(3)),
        *(base64.urlsafe_b64encode(b"." * shift + raw).decode() for shift in range(3)),
    ]


def what_it_was_told(request: Request) -> list[str]:
    """Collect what of a request is secret, or holds it."""
    told = [request.headers[name] for name in ("Authorization", "Proxy-Authorization") if name in request.headers]
    for each in list(told):
        if each.startswith("Basic "):
            told.append(base64.b64decode(each.removeprefix("Basic ")).decode())
            told.append(told[-1].partition(":")[2])
    told += [each.partition(" ")[2] for each in told if each.startswith("Bearer ")]
    told += parse_qs(request.body.decode()).get("client_secret", [])
    sent = unquote(request.target) + request.body.decode()
    return told + [each for each in PERSONAL.values() if each in sent or json.dumps(each)[1:-1] in sent]


def echo(request: Request) -> str:
    return " | ".join(each for told in what_it_was_told(request) for each in echoed(told))


def _envelope(status: int, body: object, **headers: str) -> Answer:
    return Answer(status, json.dumps(body).encode(), headers)


def _echo_source(request: Request) -> dict[str, Any]:
    said = echo(request)
    words: dict[str, Any] = dict.fromkeys(("title", "description", "language", "_kind", "bucket_id", "more"), said)
    return {**SOURCE, **words, "sensitive_properties": [said], said: {"deep": [said]}, "updated_at": f"{BOMB}{said}"}


def _echo_message(status: int, request: Request) -> Answer:
    return _envelope(status, {"status": "error", "message": echo(request)})


def hostile_answers() -> dict[str, Callable[[Request], Step]]:
    """Give servers that put all they were told where it might be shown."""
    answers: dict[str, Callable[[Request], Step]] = {
        f"message of a {status}": functools.partial(_echo_message, status)
        for status in (400, 401, 403, 404, 409, 422, 429, 500, 503)
    }
    answers |= {
        "page": lambda request: page(500, f"<html><body><p>{echo(request)}</p></body></html>"),
        "success page": lambda request: page(200, f"<pre>{echo(request)}</pre>"),
        "redirect": lambda request: _envelope(302, {}, Location=f"https://evil.example/?{echo(request)}"),
        "redirect and cookie": lambda request: _envelope(
            307, {}, Location="//" + quote(echo(request)), **{"Set-Cookie": quote(echo(request))}
        ),
        "headers": lambda request: _envelope(
            503, {}, **{"Retry-After": echo(request), "Server-Timing": echo(request), "Date": echo(request)}
        ),
        "reason phrase": lambda request: Answer(raw=f"HTTP/1.1 500 {echo(request)}\r\n\r\n".encode()),
        "status line": lambda request: Answer(raw=f"{echo(request)}\r\n\r\n".encode()),
        "status code": lambda request: Answer(raw=f"HTTP/1.1 {echo(request)} OK\r\n\r\n".encode()),
        "length": lambda request: Answer(raw=f"HTTP/1.1 200 OK\r\nContent-Length: {echo(request)}\r\n\r\n".encode()),
        "chunk": lambda request: Answer(
            raw=f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{echo(request)}\r\n".encode()
        ),
        "encoding": lambda request: Answer(
            200, echo(request).encode(), {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        ),
        "contradiction": lambda request: _envelope(200, {"status": "error", "message": echo(request)}),
        "another contradiction": lambda request: _envelope(500, {"status": "ok", "message": echo(request)}),
        "message that is a list": lambda request: _envelope(
            400, {"status": "error", "message": what_it_was_told(request)}
        ),
        "message that is an object": lambda request: _envelope(
            400, {"status": "error", "message": dict.fromkeys(what_it_was_told(request), 1)}
        ),
        "status": lambda request: _envelope(200, {"status": echo(request)}),
        "broken JSON": lambda request: Answer(500, f'{{"status": "error", "message": "{echo(request)}'.encode()),
        "no object": lambda request: _envelope(200, [echo(request)]),
        "source": lambda request: _envelope(
            200,
            {"status": "ok", "source": _echo_source(request), "sources": [_echo_source(request)], "statistics": {}},
        ),
        "names": lambda request: _envelope(
            200,
            {
                "status": "ok",
                "source": dict.fromkeys(SOURCE, f"{BOMB}{echo(request)}"),
                "sources": [dict.fromkeys(SOURCE, f"{BOMB}{echo(request)}")],
                "statistics": {"num_comments": echo(request)},
            },
        ),
        "no source": lambda request: _envelope(200, {"status": "ok", "source": echo(request), "sources": [1]}),
        "many times over": lambda request: page(500, echo(request) * 40),
        "megabyte": lambda request: _envelope(
            400, {"status": "error", "message": f"{BOMB}{echo(request)}" + "x" * 1_000_000 + echo(request)}
        ),
        "escapes": lambda request: _envelope(400, {"status": "error", "message": f"{BOMB} {echo(request)}"}),
        "page of escapes": lambda request: page(502, f"{BOMB} {echo(request)}"),
        "OAuth error": lambda request: _envelope(
            400, {"error": echo(request), "error_description": f"{BOMB}{echo(request)}", "error_uri": echo(request)}
        ),
        "token": lambda request: _envelope(200, {"access_token": echo(request), "expires_in": echo(request)}),
        "token type": lambda request: _envelope(200, {"access_token": "abc", "token_type": echo(request)}),
    }
    return answers


def _identity_or(answer: Callable[[Request], Step]) -> Callable[[Request], Step]:
    """Mint tokens properly, and say something else to everything else."""

    def handle(request: Request) -> Step:
        if request.target.endswith("/connect/token"):
            return _envelope(200, {"access_token": MINTED, "expires_in": 3600, "token_type": "Bearer"})
        return answer(request)

    return handle


def hostile(stack: contextlib.ExitStack) -> Iterator[Situation]:
    """Give servers and proxies that show what they were told."""
    for name, answer in hostile_answers().items():
        api = stack.enter_context(Server(_identity_or(answer)))
        identity = stack.enter_context(Server(answer))
        tenant = f"{api.url}/acme/dev/reinfer_"
        token_url = f"{identity.url}{IDENTITY}"
        yield Situation(f"hostile {name}, to a token", with_token(tenant))
        if name.endswith(MUCH_THE_SAME):
            continue
        yield Situation(f"hostile {name}, to a minted token", with_app(tenant), brief=True)
        yield Situation(f"hostile {name}, to an App Secret", with_app(tenant, identity_url=token_url), brief=True)
        # Plain http, so that the proxy answers in the API's place: it knows its own password and the token.
        yield Situation(f"hostile proxy {name}, to a token", proxied(with_token(tenant), api.port), brief=True)
        proxied_app = proxied(with_app(tenant, identity_url=token_url), identity.port)
        yield Situation(f"hostile proxy {name}, to an App Secret", proxied_app, brief=True)


def refusing(request: Request) -> Step:
    said = echo(request)
    return Answer(raw=f"HTTP/1.1 407 No {said}\r\nContent-Length: 0\r\nX-Told: {said}\r\n\r\n".encode())


def proxies(stack: contextlib.ExitStack) -> Iterator[Situation]:
    """Give proxies that do not let anything through."""
    refuses = stack.enter_context(Server(refusing))
    stalls = stack.enter_context(Server(lambda _: STALL))
    for auth, make in (("token", with_token), ("app", with_app)):
        for scheme in ("http", "https"):
            host = f"{scheme}://cm.example/acme/dev/reinfer_"
            connection = make(host, allow_http=True, identity_url=f"{scheme}://cm.example{IDENTITY}")
            if make is with_token:
                del connection["extra"]["identity_url"]
            yield Situation(f"{auth}, {scheme}, proxy that refuses", proxied(connection, refuses.port))
            yield Situation(f"{auth}, {scheme}, no proxy there", proxied(connection, closed_port()))
            hurried = {**connection, "extra": {**connection["extra"], **HURRIED}}
            plain = proxied(hurried, refuses.port, "https")
            yield Situation(f"{auth}, {scheme}, TLS to a plain proxy", plain, brief=True)
        silent = proxied(make("http://cm.example/a/b/reinfer_", allow_http=True, **HURRIED), stalls.port)
        yield Situation(f"{auth}, silent proxy", silent, brief=True)
        yield Situation(f"{auth}, server that is not there", make(f"http://127.0.0.1:{closed_port()}/a/b/reinfer_"))


def not_found() -> Iterator[Situation]:
    """Give names that nobody knows, each of which may take seconds to be told."""
    yield Situation("app, name that is not found", with_app("https://nowhere.invalid/a/b/reinfer_"), brief=True)
    nowhere = proxied(with_token("https://cm.example/a/b/reinfer_"), 1)
    nowhere["extra"]["proxy"] = nowhere["extra"]["proxy"].replace("127.0.0.1:1", "nowhere.invalid:3128")
    yield Situation("token, proxy whose name is not found", nowhere, brief=True)


def tls(stack: contextlib.ExitStack) -> Iterator[Situation]:
    """Give servers whose certificate is not trusted, is another's, or that do not speak TLS."""
    authority = trustme.CA()
    for name in ("127.0.0.1", "elsewhere.example"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        server = stack.enter_context(Server(_identity_or(lambda _: _envelope(200, {})), tls=context))
        for auth, make in (("token", with_token), ("app", with_app)):
            yield Situation(f"{auth}, TLS of an unknown authority for {name}", make(f"{server.url}/a/b/reinfer_"))
            yield Situation(f"{auth}, TLS unchecked", make(f"{server.url}/a/b/reinfer_", verify=False), brief=True)
    plain = stack.enter_context(Server(_identity_or(lambda _: _envelope(200, {}))))
    for auth, make in (("token", with_token), ("app", with_app)):
        url = plain.url.replace("http", "https")
        yield Situation(f"{auth}, server without TLS", make(f"{url}/a/b/reinfer_", **HURRIED), brief=True)
        yield Situation(f"{auth}, client certificate", make(f"{url}/a/b/reinfer_", client_cert=__file__))


def settings() -> Iterator[Situation]:
    """Give connections with a mistake in each field; secrets stand where people put them by mistake."""
    host = "http://127.0.0.1:9/acme/dev/reinfer_"
    quoted = {"token": quote(TOKEN, safe=""), "secret": quote(APP_SECRET, safe="")}
    proxy_password = quote(PROXY_PASSWORD, safe="")
    proxy = f"http://proxy-user:{proxy_password}@127.0.0.1:9"
    extras: list[dict[str, Any]] = [
        {"organization": "acme"},
        {"organization": "acme", "tenant": "prod"},
        {"identity_url": f"http://user:{quoted['secret']}@127.0.0.1:9/token"},
        {"identity_url": f"ftp://127.0.0.1/{IDENTITY}"},
        {"identity_url": f"https://id.example/connect/token?client_secret={quoted['secret']}"},
        {"scope": 1},
        {"connect_timeout": 0},
        {"read_timeout": "soon"},
        {"max_attempts": 0},
        {"max_retry_seconds": -1},
        {"verify": "/nonexistent.pem"},
        {"client_cert": "/nonexistent.pem"},
        {"proxy": proxy.replace("http", "gopher")},
        {"proxy": f"proxy-user:{PROXY_PASSWORD}@127.0.0.1:9"},
        {"proxy": f"http://proxy-user:{PROXY_PASSWORD}@[::1"},
        {"proxy": f"http://proxy-user:{proxy_password}@127.0.0.1:99999"},
        {"proxy": {"http": proxy}},
        {"proxy": f"{proxy}\n"},
        {"allow_http": "maybe"},
        {"ui_url": f"https://user:{quoted['token']}@ui.example"},
        {"read_only": 2},
        {"allow_delete": "no"},
        {"allowed_projects": []},
        {"passwort": PROXY_PASSWORD},
    ]
    for auth, make in (("token", with_token), ("app", with_app)):
        for extra in extras:
            mistaken = make(host, **{"proxy": proxy, **extra})
            yield Situation(f"{auth}, extra {sorted(extra)}", mistaken, brief=True)
        whole = make(host, proxy=proxy)
        secret = quoted["token" if make is with_token else "secret"]
        fields: list[dict[str, Any]] = [
            {"host": None},
            {"host": f"https://user:{secret}@cloud.uipath.com/acme/dev/reinfer_"},
            {"host": f"https://cm.example/acme/dev/reinfer_?token={secret}"},
            {"host": f"https://cm.example/acme/dev/reinfer_#{secret}"},
            {"host": "http://cm.example/acme/dev/reinfer_"},
            {"host": "https://cloud.uipath.com/acme"},
            {"port": 8443},
            {"schema": "https"},
            {"password": None},
            {"password": f"{whole['password']}\n"},
            {"password": f"Bearer {whole['password']}"},
            {"password": f"{whole['password']}ü"},
        ]
        for field in fields:
            present = {name: value for name, value in {**whole, **field}.items() if value is not None}
            yield Situation(f"{auth}, {sorted(field)} is {present.get(next(iter(field)))!r:.20}", present, brief=True)
        broken = json.dumps(whole["extra"])[:-1]
        yield Situation(f"{auth}, extra that is no JSON", {**whole, "extra": broken}, brief=True)
        listed = json.dumps([whole["extra"]])
        yield Situation(f"{auth}, extra that is no object", {**whole, "extra": listed}, brief=True)


# --- a task that is ended from outside, in the middle of a request


def interrupted(stack: contextlib.ExitStack) -> Iterator[Situation]:
    """Give servers that say nothing, and a task whose time is over while it waits for them."""
    api = stack.enter_context(Server(_identity_or(_end_the_task)))
    identity = stack.enter_context(Server(_end_the_task))
    tenant = f"{api.url}/acme/dev/reinfer_"
    elsewhere = with_app(tenant, identity_url=f"{identity.url}{IDENTITY}")
    tunnel = with_app("https://cm.example/a/b/reinfer_")
    for name, connection in (
        ("token", proxied(with_token(tenant), api.port)),
        ("minted token", with_app(tenant)),
        ("App Secret", proxied(elsewhere, identity.port)),
        ("in front of a proxy", proxied(tunnel, identity.port)),
    ):
        yield Situation(f"interrupted, {name}", connection, _can_be_ended, brief=True, threads=False)


def _end_the_task(_: Request) -> Step:
    """Raise in the main thread, as Airflow's ``execution_timeout`` does, when it waits for the answer."""
    threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGALRM)).start()
    return STALL


@contextlib.contextmanager
def _can_be_ended() -> Iterator[None]:
    def over(*_: object) -> None:
        raise TaskTimeout("the task's execution_timeout")

    former = signal.signal(signal.SIGALRM, over)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, former)
