"""Schedules: what a crontab expression means, and which are refused."""

import re

import pytest

from safelight_agent.config_cron import parse_schedule
from safelight_vault.errors import ConfigurationError


def test_a_schedule_of_five_fields_begins_at_second_zero() -> None:
    schedule = parse_schedule("30 1 * * *")
    assert (schedule.seconds, schedule.minutes, schedule.hours) == ((0,), (30,), (1,))
    assert schedule.days == tuple(range(1, 32))
    assert schedule.months == tuple(range(1, 13))
    assert schedule.weekdays == tuple(range(7))


def test_a_schedule_of_six_fields_has_seconds_first() -> None:
    schedule = parse_schedule("*/20 5-6 1,3 1-9/4 jan,Jul *")
    assert schedule.seconds == (0, 20, 40)
    assert schedule.minutes == (5, 6)
    assert schedule.hours == (1, 3)
    assert schedule.days == (1, 5, 9)
    assert schedule.months == (1, 7)


@pytest.mark.parametrize(
    ("weekdays", "from_monday"),
    [
        ("0", (6,)), ("7", (6,)), ("sun", (6,)), ("1", (0,)), ("mon-fri", (0, 1, 2, 3, 4)),
        ("sat-sun", (5, 6)), ("6-7", (5, 6)), ("0-1", (0, 6)), ("*", (0, 1, 2, 3, 4, 5, 6)),
        ("sun-sat", (0, 1, 2, 3, 4, 5, 6)), ("*/2", (1, 3, 5, 6)),
    ],
)  # fmt: skip
def test_weekdays_are_counted_as_in_crontab(weekdays: str, from_monday: tuple[int, ...]) -> None:
    assert parse_schedule(f"0 0 * * {weekdays}").weekdays == from_monday


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "5 fields"),
        ("* * * *", "has 4"),
        ("* * * * * * *", "has 7"),
        ("@daily", "5 fields"),
        ("60 * * * *", "minute must be a number from 0 to 59"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("* * * * mond", "day of week"),
        ("-1 * * * *", "minute"),
        ("5-1 * * * *", "ends before it begins"),
        ("* * * * fri-mon", "ends before it begins"),
        ("*/0 * * * *", "step"),
        ("*/ * * * *", "step"),
        ("5/15 * * * *", "a step needs"),
        ("1,,2 * * * *", "minute"),
        ("² * * * *", "minute"),
        ("0 0 L * *", "day of month"),
        ("0 0 1 * mon", "restricts both"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 feb,apr,jun *", "never comes"),
    ],
)
def test_a_schedule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(reason)):
        parse_schedule(text)


def test_a_leap_day_is_a_day() -> None:
    assert parse_schedule("0 0 29 2 *").days == (29,)
