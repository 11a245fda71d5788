"""The verdict on a response that could not be judged, and on an exchange without one."""

from __future__ import annotations

import pytest

from airflow_provider_cm.api.calls import Call, Verdict
from airflow_provider_cm.api.errors import ProtocolError, TransportError
from airflow_provider_cm.api.transport import ExchangeFailure, Reply, Stage
from airflow_provider_cm.api.verdicts import judge, unreadable


def call(*, safe: bool) -> Call:
    return Call("PUT", "https://x/api/v1/sources", "sources", "sources", None, safe, None)


@pytest.mark.parametrize(("safe", "verdict"), [(True, Verdict.REFUSED), (False, Verdict.UNKNOWN)])
def test_an_unexpected_exception_keeps_the_status_and_leaves_a_write_unknown(safe: bool, verdict: Verdict) -> None:
    outcome = unreadable(call(safe=safe), Reply(401, {}, b""), KeyError("secret"))
    assert (outcome.verdict, outcome.status) == (verdict, 401)
    error = outcome.error
    assert type(error) is ProtocolError
    assert (error.method, error.path, error.status) == ("PUT", "sources", 401)
    assert str(error) == "PUT sources: the response could not be read (KeyError)"
    assert unreadable(call(safe=safe), ExchangeFailure(Stage.SENT, "x"), KeyError()).status is None


@pytest.mark.parametrize(
    ("stage", "safe", "verdict", "transient"),
    [
        (Stage.REFUSED_LOCALLY, False, Verdict.REFUSED, False),
        (Stage.NOT_SENT, False, Verdict.NOT_DONE, True),
        (Stage.SENT, False, Verdict.UNKNOWN, True),
        (Stage.SENT, True, Verdict.UNKNOWN, True),
        (Stage.UNREADABLE, False, Verdict.UNKNOWN, False),
        (Stage.UNREADABLE, True, Verdict.REFUSED, False),
    ],
)
def test_the_stage_decides_without_a_response(stage: Stage, safe: bool, verdict: Verdict, transient: bool) -> None:
    outcome = judge(call(safe=safe), ExchangeFailure(stage, "because s3cret\n" + "x" * 500), ["s3cret"])
    error = outcome.error
    assert outcome.verdict is verdict
    assert type(error) is TransportError
    assert (error.transient, error.method, error.path) == (transient, "PUT", "sources")
    assert str(error).startswith("PUT sources: no response: because ***\\nxxx")
    assert "... (512 characters)" in str(error)
