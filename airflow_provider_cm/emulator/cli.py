"""The emulator's command line."""

from __future__ import annotations

import argparse
import signal
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator import seed
from airflow_provider_cm.emulator.faults import ANY_STATUS, KINDS, Fault
from airflow_provider_cm.emulator.request_log import RequestLog
from airflow_provider_cm.emulator.seed import Seed
from airflow_provider_cm.emulator.server import LOOPBACK, EmulatorServer
from airflow_provider_cm.emulator.settings import EmulatorSettings, describe
from airflow_provider_cm.emulator.state import fill_default

if TYPE_CHECKING:
    from collections.abc import Sequence

_ABOUT = """\
Serve an emulator of the UiPath Communications Mining sources API, for tests and demos. It is unofficial: it
was written from the vendor's public pages and client, and what they leave open is a setting (see below)."""

_GUIDE = """\
try it:
  python -m airflow_provider_cm.emulator --port 8089
  curl http://127.0.0.1:8089/api/v1/sources -H 'Authorization: Bearer emulator-admin'
  curl -X PUT http://127.0.0.1:8089/acme/dev/reinfer_/api/v1/sources/acme-dev/inbox \\
      -H 'Authorization: Bearer emulator-admin' -d '{"source": {"title": "Inbox"}}'

tenants (without --seed), each with the projects acme-dev and acme-prod and no source:
  /                     as on https://<domain>.reinfer.io
  /acme/dev/reinfer_    as on https://cloud.uipath.com/<organization>/<tenant>/reinfer_
  /acme/prod/reinfer_

tokens:
  emulator-admin        developer token, may do everything (Sources admin)
  emulator-viewer       developer token, may only look (View sources)
  emulator-app          external application with the secret emulator-secret; its token endpoints are
                        /identity_/connect/token and /acme/identity_/connect/token, its scopes
                        PM.User PM.User.Read Ixp.ApiAccess
  With --allow-remote, tokens and secret are random, and printed once.

admin endpoint (open on 127.0.0.1, otherwise it needs the admin token):
  GET /_emulator                           tenants, tokens, settings
  GET, DELETE /_emulator/requests          what was sent so far; forget it
  GET /_emulator/changes                   the writes that were carried out
  GET, POST, DELETE /_emulator/faults      {"kind": "503", "method": "PUT", "path": "*/sources/*", "times": 2}
  GET, PATCH /_emulator/settings           {"duplicate_put": "upsert", ...}
  PUT /_emulator/message-count             {"tenant": "/", "project": "acme-dev", "name": "inbox", "count": 5}
  GET, DELETE /_emulator/bills             messages created and texts changed, in AI units; reset them
  POST /_emulator/projects                 {"tenant": "/", "name": "mine"}
  GET /_emulator/tokens                    names, permissions, expiry
  POST /_emulator/tokens                   {"tenant": "/acme/dev/reinfer_", "name": "dev-only", "role": "viewer"}:
                                           a token that other tenants answer with 401
  PUT, DELETE /_emulator/tokens/<name>     {"token": "<new value>"}; revoke it
  POST /_emulator/reset                    back to the start

Each tenant describes its API in <tenant>/openapi.json.

To learn what a real service does, and get it as settings:
  python -m airflow_provider_cm.emulator.probe --help
"""

_FAULTS = """\
faults (--fault '[METHOD PATH] KIND [option=value ...]'; a reset clears them):
  --fault 'PUT */sources/* 503 times=2'               the next two creates are refused
  --fault 'DELETE * no-answer when=after'             the next delete is carried out, and the answer is lost
  --fault '* * 429 probability=0.1 seed=7 retry_after=2'
  METHOD is * for any; in PATH, * stands for any text. Options of every kind:
    times=N                 hit the next N matching requests (default: 1; with probability: any number)
    skip=N                  let N matching requests pass first
    probability=P seed=N    hit each matching request with this chance, repeatably
    when=before|after       answer without carrying the request out, or carry it out and replace the answer;
                            where the real answer is to arrive, a 503 takes its place before
    tenant=PATH             only this tenant's requests
  KIND, its own options, and when it happens unless said otherwise:
"""


def run(arguments: Sequence[str]) -> int:
    """
    Run the command.

    :param arguments: what follows the program's name.
    :return: exit code: 0 after SIGINT or SIGTERM, 2 for anything that keeps it from starting.
    """
    options = _parser().parse_args(arguments)
    # Blocked before any thread starts, so that they wait for sigwait below wherever they arrive.
    stops = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        with _server(options) as server:
            _greet(server, options)
            signal.sigwait(stops)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _greet(server: EmulatorServer, options: argparse.Namespace) -> None:
    if not options.quiet:
        server.state.on_request = RequestLog().start()
    text = _greeting(server, remote=options.host != LOOPBACK)
    if options.quiet and options.host == LOOPBACK:
        text = text.partition("\n")[0] + "\n"
    # In one go: who only waits for the first line and then closes the pipe must not break it.
    sys.stdout.write(text)
    sys.stdout.flush()


def _greeting(server: EmulatorServer, *, remote: bool) -> str:
    """Write where the server is and how to log in; the first line is for programs."""
    state = server.state
    with state.lock:
        tenants = [f"  {server.url}{tenant.prefix}" for tenant in state.tenants.values()]
        tokens = [f"  {_named(grant.name, grant.value)}" for grant in state.tokens.grants.values()]
        apps = [f"  app id {app.client_id}, secret {app.secret}" for app in state.tokens.applications.values()]
    lines = [
        f"listening on {server.url}",
        "tenants (the host of a connection):",
        *tenants,
        "developer tokens:",
        *tokens,
        "external application (token endpoint <url>/identity_/connect/token):",
        *apps,
    ]
    if remote:
        lines += ["admin token (for /_emulator/):", f"  {state.admin_token}", "these are not shown again"]
    return "\n".join(lines) + "\n"


def _named(name: str, value: str) -> str:
    return name if name == value else f"{name}: {value}"


def _server(options: argparse.Namespace) -> EmulatorServer:
    if options.host != LOOPBACK and not options.allow_remote:
        raise ValueError(f"--host {options.host} lets others in, and needs --allow-remote")
    settings = EmulatorSettings().changed(**_settings(options))
    fill = Seed.load(options.seed, settings).fill if options.seed else fill_default
    faults = [Fault.parse(text) for text in options.fault]
    server = EmulatorServer(options.port, settings, host=options.host, fill=fill, state_file=options.state)
    for fault in faults:
        server.faults.put(fault)
    return server


def _settings(options: argparse.Namespace) -> dict[str, object]:
    changes: dict[str, object] = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: should be name=value")
        changes[name.strip()] = value
    for name in ("shapes", "latency_ms", "rate_limit"):
        if (value := getattr(options, name)) is not None:
            changes[name] = value
    return changes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_cm.emulator",
        description=_ABOUT,
        epilog=f"{_GUIDE}\n{_FAULTS}{_kinds_guide()}\n{_seed_guide()}\n{_settings_guide()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=_port, default=8089, help="port to listen on; 0 takes a free one (default: 8089)")
    add("--shapes", choices=("full", "docs"), help="which keys sources have in responses (default: full)")
    add("--seed", type=Path, metavar="FILE", help="start with the tenants, projects and sources of this file")
    add(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep tenants, projects and sources in this file; once it exists, it counts instead of --seed",
    )
    add("--latency-ms", metavar="N", help="wait before each answer")
    add("--rate-limit", metavar="N", help="requests a minute for each token; more get a 429")
    add("--set", action="append", default=[], metavar="name=value", help="change a setting; may be repeated")
    add("--fault", action="append", default=[], metavar="FAULT", help="have requests fail (see below); may be repeated")
    add("--host", default=LOOPBACK, help=f"address to listen on (default: {LOOPBACK})")
    add("--allow-remote", action="store_true", help="allow another --host, with random tokens")
    add("--quiet", action="store_true", help="print where it listens (and random tokens), and nothing more")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number from 0 to 65535")
    return int(text)


def _seed_guide() -> str:
    document = (seed.__doc__ or "").partition("::\n\n")[2]
    example = textwrap.indent(textwrap.dedent(document), "  ")
    return f"seed file (YAML or JSON; takes the place of the default tenants):\n{example}"


def _kinds_guide() -> str:
    lines = []
    for name, (text, when, _) in {"429, 503, ...": ANY_STATUS, **KINDS}.items():
        first = f"  {name:<15} "
        shape = textwrap.TextWrapper(
            110, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
        )
        lines += shape.wrap(f"{text} ({when})")
    return "\n".join(lines) + "\n"


def _settings_guide() -> str:
    lines = ["settings (--set name=value; a guess is what nobody outside the vendor knows):"]
    for name, allowed, default, description in describe():
        lines.append(f"  {name} = {allowed} (default: {default})")
        lines += textwrap.wrap(description, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
