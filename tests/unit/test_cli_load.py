"""`airflow comms-mining load`: what it prints, where, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.cli.cli_parser import get_parser

from tests.features import needs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_cm.emulator import TenantHandle
    from tests.conftest import Connect, Sent

pytestmark = needs("command line")

SOMEBODY = "rosa@customer.example"
ROWS = "n,at,text,who\n" + "".join(f"{n},2026-01-05T09:0{n}:00Z,text {n},{SOMEBODY}\n" for n in range(5))
TO = ("--project", "acme-dev", "--source", "tickets")


@pytest.fixture
def load(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    connect()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mapping.yaml").write_text("id: 't-{n}'\ntimestamp: '{at}'\nbody: '{text}'\nsender: '{who}'\n")
    (tmp_path / "rows.csv").write_text(ROWS)

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code: Any = 0
        try:
            args = get_parser().parse_args(["comms-mining", "load", *words])
            args.func(args)
        except SystemExit as ended:
            code = ended.code
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def dev(load: object, connect: Connect) -> TenantHandle:
    tenant = connect()
    tenant.add_source("acme-dev", "tickets")
    return tenant


def test_a_dry_run_sends_nothing_and_says_what_it_could_cost(dev: TenantHandle, load: Any, sent: Sent) -> None:
    sent()
    code, out, err = load("rows.csv", *TO, "--mapping", "mapping.yaml", "--dry-run")
    assert (code, err) == (0, "")
    assert "5 rows, 0 rejected" in out
    assert "at most 5 AI units or 1 Platform units" in out
    assert sent() == []


def test_it_loads_and_prints_the_bill(dev: TenantHandle, load: Any) -> None:
    code, out, err = load("rows.csv", *TO, "--mapping", "mapping.yaml")
    assert (code, err) == (0, "")
    assert "5 new" in out
    assert "Bill: 5 AI units, or 1 Platform units" in out
    assert len(dev.messages("acme-dev", "tickets")) == 5
    code, out, _ = load("rows.csv", *TO, "--mapping", "mapping.yaml", "--json")
    report = json.loads(out)
    assert (code, report["unchanged"], report["billable"]) == (0, 5, 0)


def test_rejected_rows_are_listed_and_end_it_with_1(dev: TenantHandle, load: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"{ROWS}6,{SOMEBODY} wrote,text,{SOMEBODY}\n")
    words = ("rows.csv", *TO, "--mapping", "mapping.yaml", "--rejects", "bad.jsonl")
    code, out, err = load(*words)
    assert code == 1
    assert err.startswith("Error: 1 of 6 rows were rejected")
    assert "Rejected rows are listed in bad.jsonl" in out
    assert SOMEBODY not in out + err + (tmp_path / "bad.jsonl").read_text()
    assert json.loads((tmp_path / "bad.jsonl").read_text())["row_number"] == 6
    for allowed in ("1", "0.5"):
        assert load(*words, "--max-rejected", allowed)[0] == 0


def test_several_files_are_one_load(dev: TenantHandle, load: Any, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text(ROWS)
    code, _, err = load("rows.csv", "more.csv", *TO, "--mapping", "mapping.yaml")
    assert code == 1
    assert "rows 1 and 6 have the same id" in err
    assert load("rows.csv", "more.csv", *TO, "--mapping", "mapping.yaml", "--on-duplicate", "last")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("none.csv", *TO), 1, "none.csv: it cannot be read: No such file"),
        (("rows.csv", *TO, "--mapping", "none.yaml"), 1, "--mapping: none.yaml cannot be read"),
        (("mapping.yaml", *TO), 1, "--format: mapping.yaml does not tell by its name"),
        (("rows.csv", *TO, "--mapping", "bad.yaml"), 1, "mapping.id: it names no column"),
        (("rows.csv", *TO, "--mapping", "mapping.yaml", "--concurrency", "9"), 1, "concurrency: "),
        (("rows.csv", *TO, "--mapping", "mapping.yaml", "--max-billable", "2"), 1, "max_billable: "),
        (("rows.csv", "--project", "acme-dev"), 2, "--source"),
        (("rows.csv", *TO, "--max-rejected", "some"), 2, "neither a number of rows nor a fraction"),
        (("rows.csv", "--project", "acme-dev", "--source", "nope", "--mapping", "mapping.yaml"), 1, "404"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_loaded(
    dev: TenantHandle, load: Any, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "bad.yaml").write_text("id: fixed\ntimestamp: '{at}'\nbody: '{text}'\n")
    ended, out, err = load(*words)
    assert ended == code
    assert message in err
    assert SOMEBODY not in out + err
    assert dev.messages("acme-dev", "tickets") == []
