"""The retry policy: how long it waits for what, and how it survives serialisation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import DAG, task

from airflow_provider_cm.api.errors import (
    AuthenticationError,
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TokenError,
    TransportError,
)
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable, airflow_error
from airflow_provider_cm.operators.sources import GetSourceOperator
from tests.features import has, needs

if has("retry policies"):
    from airflow.providers.common.compat.sdk import RetryAction

    from airflow_provider_cm.retry_policy import CommsMiningRetryPolicy

    POLICY = CommsMiningRetryPolicy()

pytestmark = needs("retry policies")
HOUR = timedelta(hours=1)


def delay(exception: BaseException, try_number: int = 1, policy: CommsMiningRetryPolicy | None = None) -> timedelta:
    decision = (policy or POLICY).evaluate(exception, try_number, 3)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay is not None
    return decision.retry_delay


@pytest.mark.parametrize("seconds", [0, 1, 90.5, 3600])
def test_it_waits_as_the_server_told(seconds: float) -> None:
    error = RateLimitedError("slow down", retry_after=seconds)
    for exception in (airflow_error(error), CommsMiningRetryable("no", retry_after=seconds), error):
        decision = POLICY.evaluate(exception, 1, 3)
        assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=seconds))
        assert decision.reason == f"waiting {seconds:g} s, as the server asks"


@pytest.mark.parametrize("seconds", [3601, 86400.0, 999_999_999, 1e300])
def test_absurd_waits_are_capped(seconds: float) -> None:
    decision = POLICY.evaluate(CommsMiningRetryable("no", retry_after=seconds), 1, 3)
    assert decision.retry_delay == HOUR
    assert decision.reason is not None
    assert decision.reason.startswith("waiting 3600 s, the longest that the policy allows; the server asks for ")
    shorter = CommsMiningRetryPolicy(longest=timedelta(minutes=2))
    assert delay(CommsMiningRetryable("no", retry_after=seconds), policy=shorter) == timedelta(minutes=2)


@pytest.mark.parametrize("nonsense", [None, -1, float("nan"), float("inf"), True, "60", []])
def test_without_a_usable_time_it_waits_longer_from_try_to_try(nonsense: Any) -> None:
    exception = CommsMiningRetryable("no", retry_after=nonsense)
    for try_number, end in ((0, 60), (1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (8, 3600), (10_000, 3600)):
        drawn = {delay(exception, try_number).total_seconds() for _ in range(50)}
        assert end / 2 <= min(drawn) <= max(drawn) <= end
        assert len(drawn) > 10, "tasks that failed together come back spread out"


@pytest.mark.parametrize(
    "error",
    [
        ServerError("x"),
        TransportError("x"),
        OutcomeUnknownError("x"),
        AuthenticationError("x"),
        TokenError("x", error="invalid_client"),
        TokenError("x", transient=True),
    ],
)
def test_what_may_pass_is_tried_again(error: CommsMiningError) -> None:
    assert timedelta(seconds=30) <= delay(error) <= timedelta(seconds=60)
    assert timedelta(seconds=30) <= delay(airflow_error(error)) <= timedelta(seconds=60)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("x"),
        NotFoundError("x"),
        ConflictError("x"),
        PermissionDeniedError("x"),
        TokenError("x", error="invalid_scope"),
        TransportError("x", transient=False),
    ],
)
def test_what_cannot_pass_fails_at_once(error: CommsMiningError) -> None:
    # Airflow never asks about a CommsMiningFailure; about a client error that a @task lets through it does.
    assert isinstance(airflow_error(error), CommsMiningFailure)
    assert POLICY.evaluate(error, 1, 3).action is RetryAction.FAIL
    assert POLICY.evaluate(airflow_error(error), 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize("exception", [ValueError("x"), AirflowException("x"), TimeoutError(), KeyboardInterrupt()])
def test_strangers_are_left_to_the_task(exception: BaseException) -> None:
    decision = POLICY.evaluate(exception, 1, 3)
    assert (decision.action, decision.retry_delay, decision.reason) == (RetryAction.DEFAULT, None, None)


@pytest.mark.parametrize(
    ("base", "longest"),
    [
        (timedelta(0), HOUR),
        (timedelta(seconds=-1), HOUR),
        (HOUR, timedelta(minutes=1)),
        (timedelta(0), timedelta(0)),
    ],
)
def test_impossible_times_are_refused(base: timedelta, longest: timedelta) -> None:
    with pytest.raises(ValueError, match="base: "):
        CommsMiningRetryPolicy(base, longest)


# --- in a DAG


def test_it_is_serialised_with_its_settings() -> None:
    policy = CommsMiningRetryPolicy(timedelta(seconds=5), timedelta(minutes=2))
    kept = CommsMiningRetryPolicy.deserialize(policy.serialize())
    assert (kept.base, kept.longest) == (policy.base, policy.longest)


def test_a_dag_with_it_can_be_serialised() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("serialised") as dag:
        GetSourceOperator(task_id="one", project="acme", source_name="inbox", retry_policy=POLICY)
        GetSourceOperator.partial(task_id="many", project="acme", retry_policy=POLICY).expand(source_name=["a", "b"])

        @task(retry_policy=POLICY)
        def function() -> None:
            pass

        function()
        GetSourceOperator(task_id="without", project="acme", source_name="inbox")
    kept: Any = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    have = {task_id: kept.get_task(task_id).has_retry_policy for task_id in ("one", "many", "function", "without")}
    assert have == {"one": True, "many": True, "function": True, "without": False}
