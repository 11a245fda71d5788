"""Two tasks that create the same source at once: one source, and two true reports."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.operators.sources import CreateSourceOperator, DeleteSourceOperator

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.conftest import Connect

pytestmark = pytest.mark.integration

ROUNDS = 8


def at_once(*operators: Any) -> list[Any]:
    """Execute operators in threads that start together; give what each returned or raised."""
    ready = threading.Barrier(len(operators))
    results: list[Any] = [None] * len(operators)

    def execute(number: int) -> None:
        ready.wait()
        try:
            results[number] = operators[number].execute({})
        except CommsMiningFailure as error:
            results[number] = error

    threads = [threading.Thread(target=execute, args=(number,)) for number in range(len(operators))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("duplicate_put", ["409", "400", "422", "upsert"])
@pytest.mark.parametrize("if_exists", ["match", "update", "ignore", "fail"])
def test_two_creates_at_once_make_one_source_and_report_truly(
    connect: Connect, comms_mining_emulator: EmulatorServer, duplicate_put: str, if_exists: str
) -> None:
    tenant = connect()
    comms_mining_emulator.configure(duplicate_put=duplicate_put)
    # A little latency, so that both have looked before either has created.
    comms_mining_emulator.configure(latency_ms=3)
    for number in range(ROUNDS):
        name = f"inbox-{number}"
        reports = at_once(
            *(
                CreateSourceOperator(
                    task_id=f"create_{title}", project="acme-dev", source_name=name, title=title, if_exists=if_exists
                )
                for title in ("A", "B" if number % 2 else "A")
            )
        )

        changes = [
            change for change in comms_mining_emulator.changes if change.after is not None and change.after.name == name
        ]
        states = [change.after for change in changes if change.after is not None]
        assert len({state.id for state in states}) == 1, "more than one source was made"
        assert [change.action for change in changes].count("create") == 1
        for report in reports:
            if isinstance(report, dict):
                assert (report["id"], report["title"]) in {(state.id, state.title) for state in states}
            else:
                assert "exists already" in str(report) or "upsert" in str(report), report
        assert any(isinstance(report, dict) for report in reports)
        if if_exists == "fail" and duplicate_put != "upsert":
            assert sum(isinstance(report, dict) for report in reports) == 1
        if if_exists == "match" and number % 2 == 0:
            assert all(isinstance(report, dict) for report in reports), "both asked for the same, and it is there"
        assert tenant.source("acme-dev", name) is not None


def test_two_deletes_at_once_delete_once_and_both_say_so_truly(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    tenant = connect()
    comms_mining_emulator.configure(latency_ms=3)
    for number in range(ROUNDS):
        source_id = tenant.add_source("acme-dev", f"inbox-{number}")["id"]
        reports = at_once(
            *(DeleteSourceOperator(task_id=f"delete_{task}", source_id=source_id) for task in ("one", "two"))
        )
        assert sorted(report["deleted"] for report in reports) == [False, True]
    assert [change.action for change in comms_mining_emulator.changes].count("delete") == ROUNDS
    assert tenant.sources() == []
