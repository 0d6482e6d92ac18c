"""Retention, decided: a snapshot's class and until when it must be kept. Pure.

A class is fixed when the snapshot is committed. The first complete, unsuspected snapshot of a
calendar year (in the site's time zone) is kept as yearly, the first of a month as monthly, any
other as daily; an incomplete or suspect one never fills a period (design sections 4.10 and 6).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from safelight_agent.coverage import Requirement
from safelight_vault.format.snapshot import RetentionClass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """How long each class is kept, and how much longer new locks are set."""

    daily_days: int
    monthly_days: int
    yearly_days: int
    slack_days: int

    def days(self, retention_class: RetentionClass) -> int:
        """Days that a class is kept."""
        return {
            RetentionClass.DAILY: self.daily_days,
            RetentionClass.MONTHLY: self.monthly_days,
            RetentionClass.YEARLY: self.yearly_days,
        }[retention_class]


@dataclass(frozen=True, slots=True)
class PastSnapshot:
    """What the choice needs to know of a snapshot that exists."""

    created: datetime
    retention_class: RetentionClass
    complete: bool
    suspect: bool


def choose_class(past: Iterable[PastSnapshot], now: datetime, zone: tzinfo) -> RetentionClass:
    """The class of a snapshot that is made now."""
    today = now.astimezone(zone)
    year_filled = month_filled = False
    for snapshot in past:
        if not snapshot.complete or snapshot.suspect:
            continue
        made = snapshot.created.astimezone(zone)
        if made.year != today.year:
            continue
        if snapshot.retention_class is RetentionClass.YEARLY:
            year_filled = True
            month_filled = month_filled or made.month == today.month
        elif snapshot.retention_class is RetentionClass.MONTHLY:
            month_filled = month_filled or made.month == today.month
    if not year_filled:
        return RetentionClass.YEARLY
    return RetentionClass.DAILY if month_filled else RetentionClass.MONTHLY


def requirement_of(
    retention_class: RetentionClass, policy: RetentionPolicy, now: datetime
) -> Requirement:
    """The lock dates of a snapshot of this class that is made now."""
    required = now + timedelta(days=policy.days(retention_class))
    return Requirement(
        required_until=required, target_until=required + timedelta(days=policy.slack_days)
    )
