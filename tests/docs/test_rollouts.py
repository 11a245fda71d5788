"""docs/rollouts.md, walked through: each command is run, and prints what the page shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.operators.rollout import ApplySourcesOperator, PlanSourcesOperator
from tests.docs.blocks import DOCS, commands, read
from tests.features import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = [pytest.mark.integration, needs("command line")]

PAGE = DOCS / "rollouts.md"
CLOUD = "https://cloud.uipath.com"


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    from airflow.cli.cli_parser import get_parser

    options = get_parser().parse_args(words)
    try:
        options.func(options)
    except SystemExit as ended:
        code = int(ended.code or 0)
    else:
        code = 0
    return code, capsys.readouterr().out


def mask(text: str) -> str:
    text = re.sub(r"http://127\.0\.0\.1:\d+", CLOUD, text)
    return re.sub(r"id [0-9a-f]{16}", "id <id>", re.sub(r"sha256:[0-9a-f]{64}", "sha256:<digest>", text))


class Context(dict[str, object]):
    """What an operator asks Airflow for: somewhere to put its report."""

    def __init__(self) -> None:
        super().__init__(ti=self)

    def xcom_push(self, key: str, value: object) -> None:
        self[key] = value


def test_the_walk(
    comms_mining_emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    dev = comms_mining_emulator.tenant("/acme/dev/reinfer_")
    prod = comms_mining_emulator.tenant("/acme/prod/reinfer_")
    monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEV", json.dumps(dev.connection()))
    monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_PROD", json.dumps(prod.connection()))
    dev.add_source("acme-dev", "support-inbox", title="Support inbox", sensitive_properties=["string:Sender"])
    dev.add_source("acme-dev", "support-legal", title="Legal")
    prod.add_source("acme-prod", "support-legal", title="Legal (old)", language="en")
    blocks = read(PAGE)
    shell = [words[1:] for block in blocks if block.language == "bash" for words in commands(block.text)]
    texts = iter([block.text for block in blocks if block.language == "text"])
    (manifest,) = [block.text for block in blocks if block.language == "yaml"]
    export, plan, apply, plan_again, prune = shell

    assert run(export, capsys) == (0, "")
    exported = Path("acme.yaml").read_text()
    assert "project: ${project}" in exported
    assert "- name: support-legal" in exported

    Path("acme.yaml").write_text(manifest)
    code, out = run(plan, capsys)
    assert (code, mask(out)) == (0, next(texts))

    code, out = run(apply, capsys)
    assert code == 0
    assert out.endswith(next(texts))

    prod.delete_source("acme-prod", "support-legal")
    code, out = run(plan_again, capsys)
    assert (code, mask(out)) == (0, next(texts))
    code, out = run(prune, capsys)
    assert (code, "to delete" in out) == (0, False)

    a_token_is_replaced(comms_mining_emulator, monkeypatch, manifest, texts)
    assert next(texts, None) is None


def a_token_is_replaced(
    server: EmulatorServer, monkeypatch: pytest.MonkeyPatch, manifest: str, texts: Iterator[str]
) -> None:
    from airflow_provider_cm.exceptions import CommsMiningRetryable

    prod = server.tenant("/acme/prod/reinfer_")
    surveys = "".join(f"  - name: survey-{code}\n    title: Survey {code}\n" for code in ("de", "fr", "uk"))
    kept = manifest.partition("  - name: support-legal")[0] + surveys
    context = Context()
    planned = PlanSourcesOperator(
        task_id="plan", manifest=kept, variables={"project": "acme-prod"}, comms_mining_conn_id="comms_mining_prod"
    ).execute(context)
    server.faults.add("revoked-token", "PUT", "*/sources/*", skip=1)

    def apply() -> ApplySourcesOperator:
        """Make the operator anew, as each try of a task does."""
        return ApplySourcesOperator(
            task_id="apply", plan=planned, max_workers=1, comms_mining_conn_id="comms_mining_prod"
        )

    with pytest.raises(CommsMiningRetryable) as raised:
        apply().execute(context)
    shown = [re.escape(line) for line in next(texts).splitlines()]
    pattern = "\n".join(line.replace("…", "[^\n]*") for line in shown)
    assert re.fullmatch(pattern, str(raised.value)), str(raised.value)

    # A revoked token of the emulator is gone for good; any other valid one in the connection will do.
    monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_PROD", json.dumps(prod.connection("app")))
    report = apply().execute(context)
    counts = ", ".join(f"{count} {result}" for result, count in report["counts"].items())
    assert f"acme-prod: {counts}\n" == next(texts)
