"""The command: what it prints, how it ends, seed and state files."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
from airflow_provider_cm.emulator.cli import run
from airflow_provider_cm.emulator.seed import Seed, SeedError
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "airflow_provider_cm.emulator"]
SEED = """
tenants:
  - path: /umbrella/test/reinfer_
    projects:
      - name: hive
        title: The Hive
        buckets: [{name: mail, id: 0123456789abcdef}]
        sources:
          - {name: inbox, title: Inbox, language: de, bucket_id: 0123456789abcdef, messages: 12}
          - {name: other, id: 18ba5ce699f8da1f, _kind: call}
      - name: empty
"""


class Running:
    """A started command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.first_line = process.stdout.readline()
        self.url = self.first_line.split()[-1]

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        code = self.process.wait(timeout=5)
        # Not communicate(), which would miss what readline() has read ahead.
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        return code, self.process.stdout.read(), self.process.stderr.read()


@contextmanager
def _running(*arguments: str) -> Iterator[Running]:
    command = [*COMMAND, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process, see it refuse to start, and give what it said."""

    def call(*arguments: str) -> str:
        code: object
        try:
            code = run(arguments)
        except SystemExit as end:  # how argparse leaves
            code = end.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        return err

    return call


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_and_stops(number: int) -> None:
    with _running() as running:
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", running.first_line)
        assert Caller(running.url)("GET", "/api/v1/sources").status_code == 200
        code, out, err = running.end(number)
        assert code == 0
        for text in (f"{running.url}/acme/dev/reinfer_", "emulator-viewer", "emulator-secret"):
            assert text in out
        assert re.fullmatch(r"GET /api/v1/sources -> 200 in \d+\.\d ms \(emulator-admin\)\n", err)


def test_quiet_is_one_line() -> None:
    with _running("--quiet") as running:
        Caller(running.url)("GET", "/api/v1/sources")
        assert running.end(signal.SIGTERM) == (0, "", "")


def test_help_explains_itself() -> None:
    result = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert max(len(line) for line in result.stdout.splitlines()) <= 115
    wanted = ["emulator-admin", "emulator-secret", "/acme/dev/reinfer_", "curl ", "/_emulator/requests", "seed file"]
    assert [text for text in (*wanted, *EmulatorSettings.model_fields) if text not in result.stdout] == []
    assert "duplicate_put = 400 | 409 | 422 | upsert (default: 409)" in result.stdout


def test_options_become_settings() -> None:
    options = ["--shapes", "docs", "--latency-ms", "1", "--rate-limit", "99", "--set", "duplicate_put=upsert"]
    with _running(*options, "--set", "languages=fr,it") as running:
        settings = requests.get(f"{running.url}/_emulator/settings", timeout=5).json()["settings"]
    changed = {
        name: value for name, value in settings.items() if value != EmulatorSettings().model_dump(mode="json")[name]
    }
    assert changed == {
        "shapes": "docs",
        "latency_ms": 1.0,
        "rate_limit": 99,
        "duplicate_put": "upsert",
        "languages": ["fr", "it"],
    }


def test_another_host_has_random_tokens() -> None:
    with _running("--host", "0.0.0.0", "--allow-remote", "--quiet") as running:
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        assert Caller(url)("GET", "/api/v1/sources").status_code == 401
        assert requests.get(f"{url}/_emulator", timeout=5).status_code == 401
        _, out, _ = running.end(signal.SIGTERM)
        tokens = dict(re.findall(r"^  (emulator-\w+): (\S{32})$", out, re.MULTILINE))
        assert set(tokens) == {"emulator-admin", "emulator-viewer"}
        assert re.search(r"secret \S{32}$", out, re.MULTILINE)
        assert re.search(r"^admin token .*\n  \S{32}$", out, re.MULTILINE)


def test_random_tokens_open_what_they_should() -> None:
    with EmulatorServer(host="0.0.0.0") as server:
        url = f"http://127.0.0.1:{server.url.rpartition(':')[2]}"
        for role, status in (("admin", 200), ("viewer", 403)):
            token = server.tenant("/").connection(token=f"emulator-{role}")["password"]
            assert Caller(url, token)("PUT", "/api/v1/sources/acme-dev/inbox", {"source": {}}).status_code == status
        assert server.state.admin_token is not None
        for token, status in ((server.state.admin_token, 200), ("wrong", 401), (None, 401)):
            assert Caller(url, token)("GET", "/_emulator/requests").status_code == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "duplicate_put=410"], "error: duplicate_put: Input should be 400, 409, 422 or 'upsert' (got 410)"),
        (["--set", "color=red"], "error: color: there is no such field"),
        (["--set", "shapes"], "error: --set shapes: should be name=value"),
        (["--rate-limit", "0"], "error: rate_limit: Input should be greater than or equal to 1 (got 0)"),
        (["--latency-ms", "x"], "error: latency_ms: "),
        (["--host", "0.0.0.0"], "error: --host 0.0.0.0 lets others in, and needs --allow-remote"),
        (["--seed", "/absent.yaml"], "error: [Errno 2] No such file or directory: '/absent.yaml'"),
        (["--state", "/absent/state.json"], "error: [Errno 2] No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    error = refused("--port", "0", *arguments)
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_a_bad_port_isrefused(refused: Callable[..., str], comms_mining_emulator: EmulatorServer) -> None:
    assert "'70000' should be a number from 0 to 65535" in refused("--port", "70000")
    assert "in use" in refused("--port", comms_mining_emulator.url.rpartition(":")[2])


def test_without_the_extra_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["starlette"] = None
from airflow_provider_cm.emulator.__main__ import main
sys.exit(main())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "pip install 'airflow-provider-cm[emulator]'" in result.stderr


def test_state_survives_a_kill(tmp_path: Path) -> None:
    state, seed = tmp_path / "state.json", tmp_path / "seed.yaml"
    seed.write_text(SEED)
    prefix = "/umbrella/test/reinfer_"
    with _running("--seed", str(seed), "--state", str(state)) as running:
        api = Caller(running.url + prefix)
        made = api.create("mine", "empty", title="ü \0", sensitive_properties=["string:a"])
        api("DELETE", "/api/v1/sources/id:18ba5ce699f8da1f")
        before = api("GET", "/api/v1/sources").json()["sources"]
        api("POST", "/api/v1/sources/empty/mine/sync", {"comments": [{"id": "1"}, {"id": "2"}]})
        assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
    # The seed is for the first start only: the deleted source stays deleted.
    with _running("--seed", str(seed), "--state", str(state)) as running:
        api = Caller(running.url + prefix)
        assert api("GET", "/api/v1/sources").json()["sources"] == before
        assert before[-1] == made
        assert len(api("GET", "/api/_private/sources/empty/mine/comments").json()["comments"]) == 2
        statistics = api("POST", "/api/v1/sources/hive/inbox/statistics", {"comment_filter": {}}).json()
        assert statistics["statistics"]["num_comments"] == 12
    left = [path.name for path in tmp_path.iterdir() if path not in (state, seed)]
    assert [name for name in left if not name.startswith("state.json.messages")] == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2, "tenants": []}', '{"version": 1}'])
def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a state file of the emulator"):
        EmulatorServer(state_file=path)
    assert path.read_text() == text


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_seed_fills_the_tenants(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"seed.{ending}"
    if ending == "json":
        import yaml

        path.write_text(json.dumps(yaml.safe_load(SEED)))
    else:
        path.write_text(SEED)
    with EmulatorServer(fill=Seed.load(path).fill) as server:
        tenant = server.tenant("/umbrella/test/reinfer_")
        inbox, other = tenant.sources()
        assert (inbox["title"], inbox["language"], inbox["bucket_id"]) == ("Inbox", "de", "0123456789abcdef")
        assert (other["id"], other["_kind"], other["owner"]) == ("18ba5ce699f8da1f", "call", "hive")
        assert server.changes == []
        assert Caller(server.url)("GET", "/api/v1/sources").status_code == 404
        tenant.delete_source("hive", "other")
        server.reset()
        assert tenant.source("hive", "other") == {**other, **_times(tenant.source("hive", "other"))}


def _times(source: dict[str, Any] | None) -> dict[str, Any]:
    assert source is not None
    return {key: source[key] for key in ("created_at", "updated_at", "last_modified")}


def test_all_mistakes_in_a_seed_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "seed.yaml"
    path.write_text("""
tenants:
  - path: acme
    projects:
      - name: p
        sources:
          - {name: a, color: red}
          - {name: a, language: klingon}
          - {name: b, bucket_id: 00000000deadbeef}
      - name: p
""")
    with pytest.raises(SeedError) as caught:
        Seed.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    for mistake in (
        "tenants.0.path: 'acme' should be / or such as /acme/dev/reinfer_",
        "tenants.0.projects: 'p' appears 2 times",
        "tenants.0.projects.0.sources: 'a' appears 2 times",
        "tenants.0.projects.0.sources.0: Additional properties are not allowed ('color' was unexpected)",
        "tenants.0.projects.0.sources.1: 'klingon' is not one of",
        "tenants.0.projects.0.sources.2: no bucket of this tenant has the id '00000000deadbeef'",
    ):
        assert mistake in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("tenants: [", "is not YAML: "),
        ("", "value: "),
        ("tenants: []", "tenants: "),
        ("tenants: [{}]", "tenants.0.path: is required"),
        ("tenants: [{path: /, color: red}]", "tenants.0.color: there is no such field"),
        ("tenants: [{path: /, projects: [{name: a b}]}]", "tenants.0.projects.0.name: "),
        ("tenants: [{path: /_emulator/x}]", "tenants.0.path: "),
    ],
)
def test_a_bad_seed_is_explained(tmp_path: Path, text: str, mistake: str) -> None:
    path = tmp_path / "seed.yaml"
    path.write_text(text)
    with pytest.raises(SeedError, match=re.escape(mistake)):
        Seed.load(path)


def test_a_bad_json_seed_is_explained(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "seed.json"
    path.write_text("{")
    assert refused("--port", "0", "--seed", str(path)).startswith(f"error: {path} is not JSON: ")
