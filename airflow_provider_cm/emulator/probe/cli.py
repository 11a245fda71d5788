"""The probe's command line."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_cm.emulator.probe.client import ProbeClient
from airflow_provider_cm.emulator.probe.credentials import ApplicationCredentials, Credentials, TokenCredentials
from airflow_provider_cm.emulator.probe.message_questions import MOST_AI_UNITS
from airflow_provider_cm.emulator.probe.run import ProbeRun
from airflow_provider_cm.emulator.probe.scratch import ScratchProject
from airflow_provider_cm.emulator.settings import EmulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ABOUT = """\
Find out what a Communications Mining service does where its documentation leaves things open, and print the answers
as settings of the emulator. It works on sources of its own in a scratch project: they have a random prefix, and are
deleted again, also when it is interrupted."""

_GUIDE = """\
what it does:
  It sends about 60 requests, one after the other, and up to 80 more if limits or times are not what was expected.
  A few sources exist at a time, and no other source is touched. It also sends one create and one listing for a project
  that does not exist, one request with a wrong token, and, with --app-id, one token request with a wrong secret.
  It obeys Retry-After and follows no redirects. Ctrl-C and SIGTERM stop it between two requests, and it cleans up.

examples:
  python -m airflow_provider_cm.emulator.probe --endpoint https://cloud.uipath.com/acme/dev/reinfer_ \\
      --project scratch --token-env CM_TOKEN
  python -m airflow_provider_cm.emulator.probe --endpoint http://127.0.0.1:8089 --project acme-dev \\
      --token-env CM_TOKEN --yes --json

exit codes:
  0  every question was asked, and what was created is deleted; open questions are listed
  1  it ended early (interrupted, token refused, project not readable), or something could not be deleted
  2  nothing was done: the command line is wrong, a variable is not set, or there was no confirmation
"""


def run(arguments: Sequence[str], *, backoff: float = 1.0) -> int:
    """
    Run the command.

    :param arguments: what follows the program's name.
    :param backoff: seconds to wait first after trouble.
    :return: exit code, as its help explains.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        client = ProbeClient(_endpoint(options), _credentials(options), pause=options.pause, backoff=backoff)
        scratch = ScratchProject(client, options.project)
        scratch.viewer_token = _secret(options.viewer_token_env) if options.viewer_token_env else None
        scratch.languages = tuple(part.strip() for part in options.languages.split(",") if part.strip())
        scratch.may_load = options.load_messages
        _confirm(scratch, yes=options.yes)
    except _RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with _stopping(client):
        report = ProbeRun(client, scratch, _tell).go()
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.render(), end="\n" if options.json else "")
    return report.exit_code


_COST = f"""
It loads about ten messages into one of the sources, and changes some. The service BILLS that: at most
{MOST_AI_UNITS} AI units ({MOST_AI_UNITS / 5:g} Platform units). They are deleted with the source.
It also creates about ten datasets, one at a time, with streams, named like the sources, and deletes them again; and
it sends batches of up to 65,000 times the same message, and bodies of up to 20 MB, none of which is billed."""


class _RefusedError(Exception):
    """Nothing is done, for this reason."""


def _tell(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _confirm(scratch: ScratchProject, *, yes: bool) -> None:
    print(
        f"This will create about 15 sources, a few at a time, in the project '{scratch.project}' at\n"
        f"{scratch.client.endpoint}, named {scratch.prefix}-..., and delete them again.\n"
        f"It sends about 60 requests, among them a create in the project '{scratch.absent_project}', which is not\n"
        f"there, and one request with a wrong token.{_COST if scratch.may_load else ''}",
        file=sys.stderr,
        flush=True,
    )
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise _RefusedError("there is no terminal to ask for confirmation; --yes goes without")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise _RefusedError("not confirmed, nothing was done")


@contextmanager
def _stopping(client: ProbeClient) -> Iterator[None]:
    """Make signals stop it between two requests, so that no create is left in flight."""

    def stop(_number: int, _frame: object) -> None:
        if not client.stop.is_set():
            client.stop.set()
            os.write(2, b"stopping after this request, and cleaning up\n")

    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _endpoint(options: argparse.Namespace) -> str:
    text: str = options.endpoint
    url = text.rstrip("/").removesuffix("/v1").removesuffix("/api").rstrip("/")
    _check_url("--endpoint", url, allow_http=options.allow_http)
    return url


def _check_url(name: str, url: str, *, allow_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise _RefusedError(f"{name} should be a URL such as https://cloud.uipath.com/<organization>/<tenant>/reinfer_")
    if parts.scheme == "http" and not allow_http and not _loopback(parts.hostname):
        raise _RefusedError(f"{name}: the token would travel in clear text; use https, or insist with --allow-http")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(options: argparse.Namespace) -> Credentials:
    application = [options.app_id, options.app_secret_env, options.identity_url]
    if options.token_env and any(application):
        raise _RefusedError("either --token-env or --app-id, --app-secret-env and --identity-url, not both")
    if options.token_env:
        return TokenCredentials(_secret(options.token_env))
    if not all(application):
        raise _RefusedError("needs --token-env, or --app-id, --app-secret-env and --identity-url")
    _check_url("--identity-url", options.identity_url, allow_http=options.allow_http)
    return ApplicationCredentials(options.identity_url, options.app_id, _secret(options.app_secret_env))


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise _RefusedError(f"the environment variable {variable} is not set")
    if not all("!" <= char <= "~" for char in value):
        raise _RefusedError(f"the environment variable {variable} holds spaces or characters that no token has")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_cm.emulator.probe",
        description=_ABOUT,
        epilog=_GUIDE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--endpoint", required=True, metavar="URL", help="the API endpoint, without /api")
    add("--project", required=True, metavar="NAME", help="a scratch project to create sources in")
    add("--token-env", metavar="NAME", help="environment variable that holds a developer token (Sources admin)")
    add("--app-id", metavar="ID", help="App ID of an external application, in place of a developer token")
    add("--app-secret-env", metavar="NAME", help="environment variable that holds the App Secret")
    add("--identity-url", metavar="URL", help="token endpoint of the external application")
    add("--viewer-token-env", metavar="NAME", help="environment variable that holds a token that may only look")
    add(
        "--languages",
        default=",".join(EmulatorSettings().languages),
        metavar="A,B",
        help="languages to try if the service does not name them itself (default: %(default)s)",
    )
    add(
        "--load-messages",
        action="store_true",
        help="also ask about messages, datasets and streams; this loads about ten messages, which is billed: at most "
        f"{MOST_AI_UNITS} AI units",
    )
    add("--pause", type=_seconds, default=0.0, metavar="SECONDS", help="wait between two requests (default: 0)")
    add("--json", action="store_true", help="print the report as JSON")
    add("--yes", action="store_true", help="go ahead without asking")
    add("--allow-http", action="store_true", help="send tokens in clear text to another machine")
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of seconds from 0 to 3600")
    return value
