"""A task that is ended from outside, anywhere: the variables of its traceback show hardly ever a credential."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api.client_credentials import forget_tokens
from airflow_provider_cm.api.redaction import _needles_of
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from tests.secrets import situations
from tests.secrets.search import Haul, family, variables
from tests.unit.api.server import Answer, Request, Server, Step

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTS = int(os.environ.get("INTERRUPTS", "200"))
# Of so many interrupts one may show a credential: see SECURITY.md, "Not promised".
ONE_IN = 100


def _answer(request: Request) -> Step:
    if request.target.endswith("/connect/token"):
        body: Any = {"access_token": situations.MINTED, "expires_in": 3600, "token_type": "Bearer"}
    else:
        body = {"status": "ok", "sources": [dict(situations.SOURCE, title=f"Title {n} & more") for n in range(50)]}
    return Answer(200, json.dumps(body).encode())


def _refuse(request: Request) -> Step:
    if request.target.endswith("/connect/token"):
        return _answer(request)
    return Answer(401, b'{"status": "error", "message": "no"}')


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # objects that were never finished
def test_a_task_that_is_ended_anywhere_shows_hardly_ever_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(12)  # not for secrets
    secrets = {**situations.SECRETS, "minted token": situations.MINTED}
    shown: Counter[str] = Counter()
    interrupted = 0
    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, _end))
        runs = [
            _run(server, make) for server in _servers(stack) for make in (situations.with_token, situations.with_app)
        ]
        lasting = [_seconds(run, monkeypatch) for run in runs]
        for turn in range(INTERRUPTS):
            at = turn % len(runs)
            error = _interrupted(runs[at], rng.uniform(0, lasting[at]), monkeypatch)
            if error is None:
                continue
            interrupted += 1
            haul = Haul()
            for each in family(error):
                for text in variables(each):
                    haul.add("variables", text)
            for hit in haul.search(secrets)[:1]:
                shown[f"{hit.secret}: {hit.where[-220:]}"] += 1
    assert interrupted > INTERRUPTS / 3
    assert sum(shown.values()) <= interrupted / ONE_IN, f"{sum(shown.values())} of {interrupted}: {dict(shown)}"


def _end(*_: object) -> None:
    raise situations.TaskTimeout("the task's execution_timeout")


def _servers(stack: contextlib.ExitStack) -> list[Server]:
    return [stack.enter_context(Server(each)) for each in (_answer, _refuse)]


def _run(server: Server, make: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return situations.proxied(make(f"{server.url}/acme/dev/reinfer_"), server.port)


def _work() -> None:
    forget_tokens()
    _needles_of.cache_clear()
    with contextlib.suppress(Exception):
        CommsMiningHook().sources.list()


def _put(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", json.dumps(connection))


def _seconds(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> float:
    _put(connection, monkeypatch)
    _work()
    began = time.monotonic()
    for _ in range(3):
        _work()
    return (time.monotonic() - began) / 3


def _interrupted(
    connection: dict[str, Any], after: float, monkeypatch: pytest.MonkeyPatch
) -> situations.TaskTimeout | None:
    _put(connection, monkeypatch)
    try:
        # Once more after 5 s: what was interrupted may have left a lock behind.
        signal.setitimer(signal.ITIMER_REAL, max(after, 1e-6), 5)
        try:
            _work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except situations.TaskTimeout as error:
        return error
    return None
