"""The command line, in this process: what each command prints, where, and how it ends."""

from __future__ import annotations

import io
import json
import logging
import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.providers.common.compat.sdk import AirflowException
from cryptography.fernet import InvalidToken

from airflow_provider_cm.cli import actions as cli_actions
from airflow_provider_cm.cli import check as cli_check
from airflow_provider_cm.cli.commands import get_comms_mining_cli_commands, variable
from airflow_provider_cm.rollout import Manifest, Plan
from tests.features import needs
from tests.unit.api.server import Answer, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect, Sent

pytestmark = needs("command line")

COMMANDS = ("check", "list", "validate", "plan", "apply", "export", "load")
MANIFEST = """
project: ${project}
owns: ["old-*"]
sources:
  - {name: inbox, title: Inbox}
  - {name: new, title: New}
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    def steps(self) -> dict[str, str]:
        """Give the marks of a check."""
        return {line.split()[1]: line.split()[0] for line in self.out.splitlines()}

    def line(self, step: str) -> str:
        (line,) = (line for line in self.out.splitlines() if line[6:].startswith(f"{step} "))
        return line


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run_it(*words: object) -> Ended:
        capfd.readouterr()
        code: Any = 0
        try:
            args = get_parser().parse_args(["comms-mining", *map(str, words)])
            assert args.func(args) is None
        except SystemExit as ended:
            code = ended.code
        return Ended(code, *capfd.readouterr())

    return run_it


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "sources.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def dev(connect: Connect) -> TenantHandle:
    tenant = connect()
    tenant.add_source("acme-dev", "inbox", title="Post")
    return tenant


def at_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(typed))


# --- what Airflow is told


def test_what_every_airflow_command_imports_is_nothing() -> None:
    code = (
        "import sys; import airflow.cli.cli_config; before = set(sys.modules); "
        "import airflow_provider_cm.cli.commands as c; "
        "c.get_comms_mining_cli_commands(); print('NEW', sorted(set(sys.modules) - before))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith("NEW "))
    assert (
        line.replace("'airflow_provider_cm', ", "")
        == "NEW ['airflow_provider_cm.cli', 'airflow_provider_cm.cli.commands']"
    )


def test_airflow_finds_the_commands() -> None:
    (group,) = get_comms_mining_cli_commands()
    assert tuple(each.name for each in group.subcommands) == COMMANDS  # type: ignore[union-attr]
    for name in COMMANDS:
        assert callable(getattr(cli_actions, name))


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_has_a_description_and_an_example(run: Callable[..., Ended], command: tuple[str, ...]) -> None:
    ended = run(*command, "--help")
    assert ended.code == 0
    assert "Example:\n  airflow comms-mining" in ended.out
    assert not command or "Exit code: 0" in ended.out


def test_the_help_of_plan_tells_its_exit_codes(run: Callable[..., Ended]) -> None:
    text = run("plan", "--help").out
    assert "Exit code: 0, with and without changes, or 1 for an error" in text
    assert "With --detailed-exitcode, 2 if the project does not match" in text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a=b", ("a", "b")),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
        ("a=true", ("a", "true")),
        ("a:=true", ("a", True)),
        ("a:=false", ("a", False)),
    ],
)
def test_variables(text: str, read: tuple[str, object]) -> None:
    assert variable(text) == read


@pytest.mark.parametrize("text", ["a", "=b", ":=true", "a:=True", "a:=1"])
def test_what_is_no_variable(run: Callable[..., Ended], text: str) -> None:
    ended = run("export", "--project", "acme-dev", "--var", text)
    assert ended.code == 2
    assert "argument --var" in ended.err


# --- check


@pytest.mark.parametrize("auth", ["token", "app"])
def test_check_says_that_all_is_well(connect: Connect, run: Callable[..., Ended], auth: str) -> None:
    tenant = connect(auth=auth, extra={"allow_delete": False, "allowed_projects": "acme-*"})
    tenant.add_source("acme-dev", "inbox")
    tenant.add_source("acme-prod", "inbox")
    ended = run("check", "--conn-id", "comms_mining_default")
    assert (ended.code, ended.err) == (0, "")
    assert ended.steps() == {**dict.fromkeys(cli_check.STEPS, "ok"), "writing": "?"}
    assert list(ended.steps()) == list(cli_check.STEPS)
    assert "2 sources in 2 projects visible: acme-dev, acme-prod" in ended.line("sources")
    assert "read_only false, allow_delete false, allowed_projects acme-*" in ended.line("guards")
    assert ("identity_/connect/token gave a token" in ended.line("identity")) == (auth == "app")
    assert tenant.connection(auth)["password"] not in ended.out  # type: ignore[arg-type]


def test_check_sends_one_request(dev: TenantHandle, run: Callable[..., Ended], sent: Sent) -> None:
    run("check")
    assert sent() == ["GET sources"]


def test_check_without_any_source_says_what_may_be_missing(connect: Connect, run: Callable[..., Ended]) -> None:
    connect(token="emulator-viewer", extra={"read_only": True})
    ended = run("check")
    assert ended.code == 0
    assert ended.line("sources").startswith("?")
    assert "'View sources' is missing" in ended.line("sources")
    assert "`read_only`" in ended.line("writing")


def test_check_says_that_no_visible_project_is_allowed(connect: Connect, run: Callable[..., Ended]) -> None:
    connect(extra={"allowed_projects": "beta-*"}).add_source("acme-dev", "inbox")
    ended = run("check")
    assert ended.line("guards").startswith("?")
    assert "none of the visible projects is allowed" in ended.line("guards")


def failing(ended: Ended) -> str:
    """Give the step that failed; those after it, apart from the guards, are not known."""
    assert ended.code == 1
    (failed,) = (step for step, mark in ended.steps().items() if mark == "FAIL")
    later = list(cli_check.STEPS)[list(cli_check.STEPS).index(failed) + 1 :]
    assert {mark for step, mark in ended.steps().items() if step in later and step != "guards"} <= {"?"}
    assert set(ended.steps()) == set(cli_check.STEPS)
    return failed


def test_check_without_the_connection(run: Callable[..., Ended]) -> None:
    ended = run("check", "--conn-id", "nowhere")
    assert failing(ended) == "connection"
    assert "AIRFLOW_CONN_NOWHERE" in ended.line("connection")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"extra": {"tenannt": "dev"}}, "did you mean `tenant`?"),
        ({"password": None}, "password: it is empty"),
        ({"password": "Bearer abc-secret"}, "begins with 'Bearer '"),
        ({"host": "https://cloud.uipath.com?x=1"}, "host: "),
    ],
)
def test_check_with_a_wrong_setting(
    connect: Connect, run: Callable[..., Ended], fields: dict[str, Any], told: str
) -> None:
    connect(**fields)
    ended = run("check")
    assert failing(ended) == "settings"
    assert told in ended.line("settings")
    assert "abc-secret" not in ended.out + ended.err


def test_check_when_the_identity_server_says_no(connect: Connect, run: Callable[..., Ended]) -> None:
    connect(auth="app", password="not-the-secret-xyz")
    ended = run("check")
    assert failing(ended) == "identity"
    assert "invalid_client" in ended.line("identity")
    assert "not-the-secret-xyz" not in ended.out + ended.err


def test_check_when_the_identity_server_is_not_there(connect: Connect, run: Callable[..., Ended]) -> None:
    connect(auth="app", extra={"identity_url": "http://127.0.0.1:9/identity_/connect/token"})
    assert failing(run("check")) == "identity"


def test_check_when_nothing_listens(connect: Connect, run: Callable[..., Ended]) -> None:
    connect(host="http://127.0.0.1:9/acme/dev/reinfer_")
    ended = run("check")
    assert failing(ended) == "endpoint"
    assert "This was a single attempt" in ended.line("endpoint")
    assert ended.line("guards").startswith("ok")


def test_check_when_something_else_answers(connect: Connect, run: Callable[..., Ended]) -> None:
    with Server(lambda _: Answer(302, b"", {"Location": "https://login.example/"})) as server:
        connect(host=server.url)
        ended = run("check")
    assert failing(ended) == "endpoint"
    assert "login.example" in ended.line("endpoint")


def test_check_when_the_endpoint_is_a_wrong_path(
    comms_mining_emulator: EmulatorServer, connect: Connect, run: Callable[..., Ended]
) -> None:
    connect(host=f"{comms_mining_emulator.url}/acme/nowhere/reinfer_")
    assert failing(run("check")) == "endpoint"


def test_check_when_the_token_is_not_accepted(dev: TenantHandle, connect: Connect, run: Callable[..., Ended]) -> None:
    connect(password="a-replaced-token-12345")
    ended = run("check")
    assert failing(ended) == "token"
    assert "invalidates the previous one" in ended.line("token")
    assert "a-replaced-token-12345" not in ended.out + ended.err


@pytest.mark.parametrize(("status", "token"), [(403, "ok"), (503, "?")])
def test_check_when_listing_fails(
    comms_mining_emulator: EmulatorServer, dev: TenantHandle, run: Callable[..., Ended], status: int, token: str
) -> None:
    comms_mining_emulator.faults.add(str(status), "GET")
    ended = run("check")
    assert failing(ended) == "sources"
    assert ended.steps()["endpoint"] == "ok"
    assert ended.steps()["token"] == token
    assert ("'View sources'" in ended.line("sources")) == (status == 403)


def test_check_says_how_tls_was_checked(connect: Connect, run: Callable[..., Ended], tmp_path: Path) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Server(lambda _: Answer(body=b'{"status": "ok", "sources": []}'), tls=context) as server:
        connect(host=server.url, extra={"verify": str(bundle)})
        assert run("check").line("endpoint") == "ok    endpoint    reached over TLS"
        connect(host=server.url, extra={"verify": False})
        assert "certificate is not checked" in run("check").line("endpoint")
        connect(host=server.url)
        assert failing(run("check")) == "endpoint"


@pytest.mark.parametrize(
    ("error", "told"), [(InvalidToken(), "fernet_key"), (AirflowException("the backend denies it"), "denies it")]
)
def test_a_connection_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., Ended], error: Exception, told: str
) -> None:
    from airflow.models.connection import Connection

    def refuse(conn_id: str) -> Connection:
        raise error

    monkeypatch.setattr(Connection, "get_connection_from_secrets", refuse)
    assert told in run("check").line("connection")
    ended = run("list")
    assert (ended.code, ended.out) == (1, "")
    assert told in ended.err


# --- list


def test_list_as_a_table(dev: TenantHandle, run: Callable[..., Ended]) -> None:
    dev.add_source("acme-prod", "nps", title="\x1b[31mred\u202e [bold]" + "x" * 100)
    ended = run("list")
    assert (ended.code, ended.err) == (0, "")
    head, first, second = ended.out.splitlines()
    assert head.split() == ["PROJECT", "NAME", "ID", "LANGUAGE", "BUCKET", "UPDATED", "TITLE"]
    assert first.startswith("acme-dev   inbox")
    assert "\\x1b[31mred\\u202e [bold]xxx" in second
    assert second.endswith("x...")


def test_list_of_one_project(dev: TenantHandle, run: Callable[..., Ended], sent: Sent) -> None:
    dev.add_source("acme-prod", "nps")
    assert "nps" not in run("list", "--project", "acme-dev").out
    assert sent() == ["GET sources/acme-dev"]


def test_list_as_json(dev: TenantHandle, run: Callable[..., Ended]) -> None:
    dev.add_source("acme-dev", "emoji", title="\U0001f4e8")
    listed = json.loads(run("list", "--json").out)
    assert {each["name"]: each["title"] for each in listed} == {"inbox": "Post", "emoji": "\U0001f4e8"}
    assert listed[0].keys() >= {"id", "owner", "created_at"}


def test_list_of_nothing(connect: Connect, run: Callable[..., Ended]) -> None:
    connect()
    ended = run("list")
    assert (ended.code, ended.out) == (0, "")
    assert "View sources" in ended.err
    assert json.loads(run("list", "--json").out) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list", "--project", "nowhere"), "404"),
        (("list", "--project", "a/b"), "project: "),
        (("list", "--conn-id", "nowhere"), "connection 'nowhere': it was not found"),
        (("export", "--project", "nowhere"), "404"),
        (("plan", "--manifest", "/nonexistent"), "/nonexistent: it cannot be read: No such file"),
        (("apply", "--yes", "--plan", "/nonexistent"), "/nonexistent: it cannot be read: No such file"),
        (("apply", "--yes", "--plan", __file__), "it is not JSON"),
        (("export", "--project", "acme-dev", "--out", "/nonexistent/x"), "--out: /nonexistent/x cannot be written"),
        (("export", "--project", "acme-dev", "--var", "a=b", "--var", "a=c"), "'a' was given twice"),
        (("export", "--project", "acme-dev", "--var", "a=b"), "variables: the value of a"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    dev: TenantHandle, run: Callable[..., Ended], words: tuple[str, ...], told: str
) -> None:
    ended = run(*words)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("Error: ")
    assert told in line


@pytest.mark.parametrize(
    "words",
    [
        ("apply", "--yes"),
        ("apply", "--yes", "--plan", "p", "--manifest", "m"),
        ("apply", "--yes", "--plan", "p", "--var", "a=b"),
        ("apply", "--yes", "--plan", "p", "--prune"),
        ("apply", "--yes", "--plan", "p", "--max-deletes", "0"),
        ("apply", "--yes", "--plan", "p", "--allow-risky"),
        ("apply", "--yes", "--plan", "p", "--max-workers", "0"),
        ("export", "--project", "acme-dev", "--var", "a:=true"),
        ("export",),
        ("plan",),
    ],
)
def test_options_that_make_no_sense_end_with_2(
    dev: TenantHandle, run: Callable[..., Ended], sent: Sent, words: tuple[str, ...]
) -> None:
    ended = run(*words)
    assert ended.code == 2
    assert "rror: " in ended.err
    assert sent() == []


# --- validate


def test_validate_asks_nobody(
    run: Callable[..., Ended], manifest: Path, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    """As in a check of a pull request, where there is no connection."""
    monkeypatch.delenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", raising=False)
    ended = run("validate", "--manifest", manifest, "--var", "project=acme-dev")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{manifest}: no mistakes; it names 2 sources of project acme-dev\n"
    ended = run("validate", "--manifest", manifest)
    assert (ended.code, ended.out) == (1, "")
    assert "there is no variable 'project'" in ended.err
    manifest.write_text("project: acme-dev\nsources:\n  - {name: a, titel: x}\n  - {name: b, title: null}\n")
    ended = run("validate", "--manifest", manifest)
    assert ended.code == 1
    assert f"{manifest}:3" in ended.err
    assert f"{manifest}:4" in ended.err
    assert run("validate", "--manifest", manifest.with_name("nowhere.yaml")).code == 1
    assert run("validate").code == 2
    assert run("validate", "--manifest", manifest, "--conn-id", "x").code == 2
    assert sent() == []


def test_validate_looks_at_what_prune_needs_if_asked_to(run: Callable[..., Ended], manifest: Path) -> None:
    manifest.write_text("{project: p, owns: ['*-*'], sources: [{name: a}]}")
    words = ("validate", "--manifest", manifest)
    assert run(*words).code == 0
    assert "max_deletes: prune needs it" in run(*words, "--prune").err
    assert "'*-*' in `owns` has no fixed letter or digit" in run(*words, "--prune", "--max-deletes", 1).err
    manifest.write_text("{project: p, owns: ['a-*'], sources: [{name: a}]}")
    assert run(*words, "--prune", "--max-deletes", 0).code == 0


# --- plan


def test_plan_with_changes(dev: TenantHandle, run: Callable[..., Ended], manifest: Path, sent: Sent) -> None:
    ended = run("plan", "--manifest", manifest, "--var", "project=acme-dev")
    assert (ended.code, ended.err) == (0, "")
    assert run("plan", "--manifest", manifest, "--var", "project=acme-dev", "--detailed-exitcode").code == 2
    sent()
    run("plan", "--manifest", manifest, "--var", "project=acme-dev")
    assert "~ inbox (update" in ended.out
    assert '"Post" -> "Inbox"' in ended.out
    assert "+ new (create)" in ended.out
    assert "Digest: sha256:" in ended.out
    assert sent() == ["GET sources/acme-dev"]


def test_plan_without_changes(dev: TenantHandle, run: Callable[..., Ended], manifest: Path) -> None:
    manifest.write_text("{project: acme-dev, sources: [{name: inbox, title: Post}]}")
    ended = run("plan", "--manifest", manifest, "--detailed-exitcode")
    assert (ended.code, ended.err) == (0, "")
    assert "1 unchanged" in ended.out


def test_plan_that_is_blocked_is_no_success(dev: TenantHandle, run: Callable[..., Ended], manifest: Path) -> None:
    manifest.write_text("{project: acme-dev, sources: [{name: inbox, language: de}]}")
    ended = run("plan", "--manifest", manifest, "--detailed-exitcode")
    assert ended.code == 2
    assert "blocked" in ended.out


def test_plan_as_json_and_into_a_file(
    dev: TenantHandle, run: Callable[..., Ended], manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plan.json"
    ended = run("plan", "--manifest", manifest, "--var", "project=acme-dev", "--json", "--out", out, "--verbose")
    assert ended.code == 0
    assert "GET sources/acme-dev -> 200" in ended.err
    plan = Plan.from_dict(json.loads(ended.out))
    assert plan == Plan.from_dict(json.loads(out.read_text()))
    assert plan.target == dev.endpoint
    assert plan.counts == {"create": 1, "update": 1}


def test_plan_as_markdown(dev: TenantHandle, run: Callable[..., Ended], manifest: Path) -> None:
    ended = run("plan", "--manifest", manifest, "--var", "project=acme-dev", "--markdown")
    assert ended.code == 0
    assert ended.out.startswith("**Plan** for project `acme-dev`")
    # With --detailed-exitcode, 2 would say that changes are pending.
    ended = run("plan", "--manifest", manifest, "--var", "project=acme-dev", "--markdown", "--json")
    assert (ended.code, ended.out) == (1, "")


def test_plan_to_prune(dev: TenantHandle, run: Callable[..., Ended], manifest: Path) -> None:
    dev.add_source("acme-dev", "old-one")
    dev.add_source("acme-dev", "old-two")
    words = ("plan", "--manifest", manifest, "--var", "project=acme-dev", "--json", "--prune")
    ended = run(*words)
    assert ended.code == 1
    assert "max_deletes" in ended.err
    assert Plan.from_dict(json.loads(run(*words, "--max-deletes", 2).out)).counts["delete"] == 2
    assert Plan.from_dict(json.loads(run(*words, "--max-deletes", 0).out)).counts["blocked"] == 2


def test_plan_with_risk(dev: TenantHandle, run: Callable[..., Ended], manifest: Path) -> None:
    dev.add_source("acme-dev", "s", sensitive_properties=["string:Sender"])
    manifest.write_text("{project: acme-dev, sources: [{name: s, sensitive_properties: []}]}")
    assert "! s (blocked update" in run("plan", "--manifest", manifest).out
    assert "~ s (update" in run("plan", "--manifest", manifest, "--allow-risky").out


def test_plan_with_a_flag_as_variable(dev: TenantHandle, run: Callable[..., Ended], manifest: Path) -> None:
    manifest.write_text("{project: acme-dev, sources: [{name: inbox, should_translate: '${translate}'}]}")
    words = ("plan", "--manifest", manifest, "--detailed-exitcode")
    assert run(*words, "--var", "translate:=false").code == 0
    assert run(*words, "--var", "translate:=true").code == 2


def test_a_manifests_mistakes_are_all_told(
    dev: TenantHandle, run: Callable[..., Ended], manifest: Path, sent: Sent
) -> None:
    manifest.write_text("project: acme-dev\nsources:\n  - {name: a, titel: x}\n  - {name: b, title: null}\n")
    ended = run("plan", "--manifest", manifest, "--json")
    assert (ended.code, ended.out) == (1, "")
    assert "2 mistakes" in ended.err
    assert f"{manifest}:3" in ended.err
    assert f"{manifest}:4" in ended.err
    assert sent() == []


# --- apply


@pytest.fixture
def planned(dev: TenantHandle, run: Callable[..., Ended], manifest: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    assert run("plan", "--manifest", manifest, "--var", "project=acme-dev", "--out", path).code == 0
    return path


def test_apply_a_plan(dev: TenantHandle, run: Callable[..., Ended], planned: Path) -> None:
    ended = run("apply", "--plan", planned, "--yes")
    assert ended.code == 0
    assert "+ new (create)" in ended.out
    assert "  inbox (update): done" in ended.out
    assert ended.out.endswith("acme-dev: 2 done\n")
    assert {each["name"]: each["title"] for each in dev.sources()} == {"inbox": "Inbox", "new": "New"}
    assert "2 unchanged" in run("apply", "--plan", planned, "--yes").out


def test_apply_a_manifest_as_json(dev: TenantHandle, run: Callable[..., Ended], manifest: Path, sent: Sent) -> None:
    words = ("apply", "--manifest", manifest, "--var", "project=acme-dev", "--json", "--yes", "--max-workers", 1)
    ended = run(*words)
    assert ended.code == 0
    assert "+ new (create)" in ended.err
    report = json.loads(ended.out)
    assert report["counts"] == {"done": 2}
    assert sent() == [
        "GET sources/acme-dev",
        "PUT sources/acme-dev/new",
        "POST sources/acme-dev/inbox",
        "GET sources/acme-dev",
    ]


def test_apply_asks_at_a_terminal(
    dev: TenantHandle, run: Callable[..., Ended], planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_terminal(monkeypatch, "yes\n")
    ended = run("apply", "--plan", planned)
    assert ended.code == 0
    assert ended.err.startswith(f"Apply this to {dev.endpoint}?")
    assert "?" not in ended.out


@pytest.mark.parametrize("typed", ["no\n", "\n", "y\n", ""])
def test_apply_takes_nothing_else_for_a_yes(
    dev: TenantHandle,
    run: Callable[..., Ended],
    planned: Path,
    monkeypatch: pytest.MonkeyPatch,
    sent: Sent,
    typed: str,
) -> None:
    at_terminal(monkeypatch, typed)
    sent()
    ended = run("apply", "--plan", planned)
    assert ended.code == 1
    assert "not confirmed; nothing was done" in ended.err
    assert sent() == []


def test_what_moved_while_somebody_read_is_seen(
    dev: TenantHandle, run: Callable[..., Ended], manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move_it(_: Plan) -> None:
        dev.update_source("acme-dev", "inbox", title="Rival")

    at_terminal(monkeypatch, "")
    monkeypatch.setattr(cli_actions, "_confirm", move_it)
    ended = run("apply", "--manifest", manifest, "--var", "project=acme-dev")
    assert ended.code == 1
    assert "inbox (update): stale" in ended.out


def test_apply_without_a_terminal_wants_a_yes(
    dev: TenantHandle, run: Callable[..., Ended], planned: Path, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    sent()
    for stdin in (io.StringIO("yes\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        ended = run("apply", "--plan", planned)
        assert (ended.code, ended.out) == (1, "")
        assert "--yes" in ended.err
    assert sent() == []


def test_nothing_to_do_is_not_asked_about(
    dev: TenantHandle, run: Callable[..., Ended], manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.write_text("{project: acme-dev, sources: [{name: inbox}]}")
    at_terminal(monkeypatch, "")
    ended = run("apply", "--manifest", manifest)
    assert ended.code == 0
    assert "Apply this" not in ended.err


def test_apply_only_what_was_approved(dev: TenantHandle, run: Callable[..., Ended], planned: Path, sent: Sent) -> None:
    digest = json.loads(planned.read_text())["digest"]
    sent()
    ended = run("apply", "--plan", planned, "--yes", "--digest", "sha256:abc")
    assert ended.code == 1
    assert digest in ended.err
    assert sent() == []
    empty = run("apply", "--plan", planned, "--yes", "--digest", "")
    assert (empty.code, empty.out) == (1, "")
    assert "nothing was done" in empty.err
    assert run("apply", "--plan", planned, "--yes", "--digest", digest).code == 0
    assert run("apply", "--plan", planned, "--yes", "--digest", digest.removeprefix("sha256:")).code == 0


def test_apply_refuses_another_tenant(connect: Connect, run: Callable[..., Ended], planned: Path, sent: Sent) -> None:
    prod = connect("/acme/prod/reinfer_", conn_id="prod")
    sent()
    ended = run("apply", "--conn-id", "prod", "--plan", planned, "--yes")
    assert ended.code == 1
    assert f"and this is {prod.endpoint}: nothing was done" in ended.err
    assert sent() == []


def test_apply_that_fails_in_part(
    comms_mining_emulator: EmulatorServer, dev: TenantHandle, run: Callable[..., Ended], planned: Path
) -> None:
    comms_mining_emulator.faults.add("422", "PUT")
    ended = run("apply", "--plan", planned, "--yes")
    assert ended.code == 1
    assert "  new (create): failed: " in ended.out
    assert "  inbox (update): done" in ended.out
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("flag", [False, True])
def test_apply_keeps_what_holds_messages(
    dev: TenantHandle, run: Callable[..., Ended], manifest: Path, flag: bool
) -> None:
    dev.add_source("acme-dev", "old-one", messages=3)
    words = ("--var", "project=acme-dev", "--prune", "--max-deletes", 1, "--yes")
    ended = run("apply", "--manifest", manifest, *words, *(["--delete-nonempty"] if flag else []))
    assert ended.code == (0 if flag else 1)
    assert (dev.source("acme-dev", "old-one") is None) == flag


@pytest.mark.parametrize(
    ("change", "told"), [({"project": "acme-prod"}, "another project"), ({"target": "https://x.example"}, "altered")]
)
def test_apply_refuses_an_altered_plan(
    dev: TenantHandle, run: Callable[..., Ended], planned: Path, change: dict[str, str], told: str
) -> None:
    planned.write_text(json.dumps({**json.loads(planned.read_text()), **change}))
    ended = run("apply", "--plan", planned, "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert told in ended.err


# --- export


def test_export_then_plan_finds_nothing_to_do(dev: TenantHandle, run: Callable[..., Ended], tmp_path: Path) -> None:
    dev.add_source("acme-dev", "odd", title="{{ x }} ${y} \U0001f4e8\nyes")
    path = tmp_path / "exported.yaml"
    ended = run("export", "--project", "acme-dev", "--var", "project=acme-dev", "--out", path)
    assert (ended.code, ended.out) == (0, "")
    assert yaml.safe_load(path.read_text())["project"] == "${project}"
    assert run("plan", "--manifest", path, "--var", "project=acme-dev").code == 0


def test_export_to_stdout(dev: TenantHandle, run: Callable[..., Ended]) -> None:
    ended = run("export", "--project", "acme-dev")
    assert (ended.code, ended.err) == (0, "")
    assert [each.name for each in Manifest.parse(ended.out).sources] == ["inbox"]


# --- interrupted, and read by half


def test_interrupted(monkeypatch: pytest.MonkeyPatch, dev: TenantHandle, run: Callable[..., Ended]) -> None:
    def interrupt(conn_id: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_actions, "sources_of", interrupt)
    ended = run("list")
    assert ended.code == 130
    assert "Interrupted" in ended.err


def test_who_reads_has_seen_enough(
    monkeypatch: pytest.MonkeyPatch, dev: TenantHandle, run: Callable[..., Ended]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run("list")[::2] == (1, "")


def test_characters_that_stdout_cannot_write(
    monkeypatch: pytest.MonkeyPatch, dev: TenantHandle, run: Callable[..., Ended]
) -> None:
    dev.update_source("acme-dev", "inbox", title="\U0001f4e8")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    ended = run("list")
    assert ended.code == 1
    assert ended.err == "Error: stdout cannot encode some characters (latin-1); set PYTHONUTF8=1\n"


def test_logging_is_as_before(dev: TenantHandle, run: Callable[..., Ended]) -> None:
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stdout)
    root.addHandler(handler)
    try:
        run("list", "--conn-id", "nowhere")
        assert handler.stream is sys.stdout
    finally:
        root.removeHandler(handler)
    assert logging.root.manager.disable == 0
    assert "_AIRFLOW_PROCESS_CONTEXT" not in os.environ
