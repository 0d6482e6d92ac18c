"""Retention classes and lock dates: pure decisions."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_agent.retention import (
    PastSnapshot,
    RetentionPolicy,
    choose_class,
    requirement_of,
)
from safelight_vault.format.snapshot import RetentionClass

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 2, tzinfo=UTC)
POLICY = RetentionPolicy(daily_days=35, monthly_days=396, yearly_days=3653, slack_days=14)


def past(
    when: datetime,
    kind: RetentionClass = RetentionClass.YEARLY,
    *,
    complete: bool = True,
    suspect: bool = False,
) -> PastSnapshot:
    return PastSnapshot(when, kind, complete, suspect)


def test_the_first_snapshot_of_a_year_is_yearly() -> None:
    assert choose_class([], NOW, UTC) is RetentionClass.YEARLY
    last_year = past(datetime(2025, 12, 31, 2, tzinfo=UTC))
    assert choose_class([last_year], NOW, UTC) is RetentionClass.YEARLY


def test_the_first_of_a_later_month_is_monthly_and_the_next_is_daily() -> None:
    january = past(datetime(2026, 1, 1, 2, tzinfo=UTC))
    assert choose_class([january], NOW, UTC) is RetentionClass.MONTHLY
    november = past(datetime(2026, 11, 1, 2, tzinfo=UTC), RetentionClass.MONTHLY)
    assert choose_class([january, november], NOW, UTC) is RetentionClass.DAILY


def test_a_yearly_snapshot_fills_its_month_too() -> None:
    assert choose_class([past(NOW - timedelta(days=3))], NOW, UTC) is RetentionClass.DAILY


@pytest.mark.parametrize(("complete", "suspect"), [(False, False), (True, True)])
def test_incomplete_and_suspect_snapshots_fill_no_period(complete: bool, suspect: bool) -> None:
    flawed = past(NOW - timedelta(days=1), complete=complete, suspect=suspect)
    assert choose_class([flawed], NOW, UTC) is RetentionClass.YEARLY


def test_periods_are_those_of_the_sites_time_zone() -> None:
    # 23:30 UTC on New Year's Eve is the new year in Berlin.
    eve = past(datetime(2025, 12, 31, 23, 30, tzinfo=UTC))
    assert choose_class([eve], NOW, UTC) is RetentionClass.YEARLY
    assert choose_class([eve], NOW, BERLIN) is RetentionClass.MONTHLY


@given(st.sampled_from(RetentionClass), st.integers(0, 30_000))
def test_locks_last_the_class_and_the_slack(kind: RetentionClass, days: int) -> None:
    now = NOW + timedelta(days=days)
    requirement = requirement_of(kind, POLICY, now)
    assert requirement.required_until - now == timedelta(days=POLICY.days(kind))
    assert requirement.target_until - requirement.required_until == timedelta(days=14)
