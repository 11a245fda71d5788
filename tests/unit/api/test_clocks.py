"""Whether a source existed before a call: the limits of what timestamps prove."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_cm.api.calls import CallOutcome, Verdict
from airflow_provider_cm.api.clocks import Clocks, certainly_existed
from airflow_provider_cm.api.models import Source

SENT_AT = 1000.0
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def source(created: datetime | None, updated: datetime | None = None) -> Source:
    return Source("1f", "acme", "inbox", created_at=created, updated_at=updated)


def answered(after: float = 5.0, date: datetime | None = NOW) -> CallOutcome:
    return CallOutcome(Verdict.OK, date=date, answered_at=SENT_AT + after)


@pytest.mark.parametrize(("changed_after", "certain"), [(5.0, False), (6.0, False), (6.1, True), (-1.0, False)])
def test_a_change_longer_after_the_creation_than_the_call_took_is_proof(changed_after: float, certain: bool) -> None:
    there = source(NOW, NOW + timedelta(seconds=changed_after))
    assert certainly_existed(there, answered(5.0), SENT_AT) is certain


@pytest.mark.parametrize("there", [source(None, NOW), source(NOW, None), source(None)])
def test_a_missing_timestamp_proves_nothing(there: Source) -> None:
    assert certainly_existed(there, answered(), SENT_AT) is False


@pytest.mark.parametrize(
    ("created_before", "lead", "perhaps"),
    [(15.0, 0.0, False), (15.1, 0.0, True), (18.0, 3.0, False), (18.1, 3.0, True)],
)
def test_a_date_raises_a_doubt_beyond_the_tolerance_and_the_known_lead(
    created_before: float, lead: float, perhaps: bool
) -> None:
    there = source(NOW - timedelta(seconds=created_before))
    assert Clocks(timedelta(seconds=lead)).perhaps_existed(there, answered(5.0), SENT_AT) is perhaps


def test_without_a_date_or_a_creation_there_is_no_doubt() -> None:
    old = NOW - timedelta(days=9)
    assert Clocks().perhaps_existed(source(old), answered(date=None), SENT_AT) is False
    assert Clocks().perhaps_existed(source(None), answered(), SENT_AT) is False
    assert Clocks().perhaps_existed(source(old), answered(date=datetime.min.replace(tzinfo=UTC)), SENT_AT) is False


def test_the_lead_of_the_gateways_clock_is_learned_from_a_create() -> None:
    clocks = Clocks()
    clocks.learn(source(NOW - timedelta(seconds=3)), answered())
    assert clocks.lead == timedelta(seconds=3)
    clocks.learn(source(None), answered())
    clocks.learn(source(NOW), answered(date=None))
    assert clocks.lead == timedelta(seconds=3)
    clocks.learn(source(NOW + timedelta(seconds=3)), answered())
    assert clocks.lead == timedelta(0)
