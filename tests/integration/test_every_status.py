"""Whatever a server answers to a poll: one request an interval, and the outcome that docs/waiting.md states."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.unit.api.server import CLOSE, RESET, STALL, Answer, Request, Server, error, html, ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Connect
    from tests.unit.api.server import Step

pytestmark = pytest.mark.integration

INTERVAL = 0.5
BUDGET = 3
STATUSES = [status for status in range(200, 600) if status not in {204, 205, 304}]  # those cannot have a body

OTHER: dict[str, Step] = {
    "closed": CLOSE,
    "reset": RESET,
    "timeout": STALL,
    "cut": Answer(200, b'{"status": "ok", "sources": [', stated_length=200),
    "redirect": Answer(302, b"", {"Location": "https://login.example.com/"}),
    "not a listing": ok(sources="none"),
    "retry now": error(503, "busy", {"Retry-After": "0"}),
    "no body": Answer(204, b""),
    "not modified": Answer(304, b""),
}


def documented() -> dict[str, tuple[str, str]]:
    """Read the table of outcomes: which status, by number or range, does what within the budget and at its end."""
    text = (Path(__file__).parents[2] / "docs" / "waiting.md").read_text()
    table = text[text.index("| answer to a poll |") :].split("\n\n")[0]
    outcomes: dict[str, tuple[str, str]] = {}
    for line in table.splitlines()[2:]:
        answers, within, at_end = (cell.strip() for cell in line.strip("|").split("|"))
        for first, last in re.findall(r"\b(\d{3})(?: to (\d{3}))?\b", answers):
            for status in range(int(first), int(last or first) + 1):
                outcomes.setdefault(str(status), (within, at_end))  # the first line that fits counts
    return outcomes


def poll_all(
    connect: Connect, answers: dict[str, Step], read_timeout: float
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Let one trigger wait for each answer, and give its event's payload and when it was asked."""
    asked: dict[str, list[float]] = defaultdict(list)

    def answer(request: Request) -> Step:
        project = request.target.rsplit("/", 1)[-1]
        asked[project].append(time.monotonic())
        return answers[project]

    async def wait(project: str) -> Any:
        trigger = SourceTrigger(
            comms_mining_conn_id="comms_mining_default",
            project=project,
            source_name="inbox",
            poll_interval=INTERVAL,
            max_consecutive_failures=BUDGET,
            max_failure_seconds=0,
        )
        (event,) = [event async for event in trigger.run()]
        return event.payload

    async def together() -> list[Any]:
        async with asyncio.timeout(60):
            return await asyncio.gather(*(wait(project) for project in answers))

    with Server(answer) as server:
        connect(host=server.url, extra={"read_timeout": read_timeout})
        payloads = asyncio.run(together())
    return dict(zip(answers, payloads, strict=True)), asked


def one_an_interval(asked: dict[str, list[float]]) -> None:
    for project, times in asked.items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(gap > INTERVAL * 0.9 for gap in gaps), f"{project}: {gaps}"


@pytest.mark.parametrize("page", [error, html], ids=["the API's error", "a gateway's page"])
def test_every_status(connect: Connect, page: Callable[..., Answer]) -> None:
    payloads, asked = poll_all(connect, {str(status): page(status) for status in STATUSES}, 30)
    one_an_interval(asked)
    outcomes = documented()
    for status, payload in payloads.items():
        assert payload["status"] == "error"
        # A page instead of the API's answer is a gateway's, whatever its status.
        within, at_end = outcomes[status]
        at_once = within == "ends the wait at once" and page is error
        assert len(asked[status]) == (1 if at_once else BUDGET), status
        if not (page is html and status == "401"):
            assert payload["retryable"] is (at_end == "`CommsMiningRetryable`"), status


@pytest.mark.parametrize("answer", OTHER)
def test_every_other_answer(connect: Connect, answer: str) -> None:
    payloads, asked = poll_all(connect, {"p": OTHER[answer]}, 0.3)
    one_an_interval(asked)
    assert payloads["p"]["status"] == "error"
    assert len(asked["p"]) == BUDGET
