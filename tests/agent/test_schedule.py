"""When schedules come, by crontab(5), and the scheduler on a real clock."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_agent.config_cron import parse_schedule
from safelight_agent.schedule import ScheduledSource, Scheduler, first_run, next_after

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
A_DAY = MONDAY.replace(tzinfo=None)
MINUTE = timedelta(minutes=1)


def scheduled(
    source: str, text: str, *, grace: timedelta = timedelta(seconds=30)
) -> ScheduledSource:
    """A source on a schedule."""
    return ScheduledSource(source=source, schedule=parse_schedule(text), misfire_grace=grace)


def upcoming(text: str, after: datetime, count: int, zone: str = "UTC") -> list[datetime]:
    """The next times of a schedule."""
    schedule = parse_schedule(text)
    times = [next_after(schedule, zone, after)]
    while len(times) < count:
        times.append(next_after(schedule, zone, times[-1]))
    return times


def weekdays(text: str) -> list[str]:
    """The days of one week, from Monday on, at which a schedule with this weekday field comes."""
    times = upcoming(f"0 12 * * {text}", MONDAY, 8)
    return [when.strftime("%a").lower() for when in times if when < MONDAY + timedelta(days=7)]


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("6", "sat"),
        ("sun", "sun"),
        ("MON", "mon"),
        ("1-5", "mon tue wed thu fri"),
        ("mon-fri", "mon tue wed thu fri"),
        ("5-7", "fri sat sun"),
        ("0-2", "mon tue sun"),
        ("fri-sun", "fri sat sun"),
        ("sun-tue", "mon tue sun"),
        ("6,0", "sat sun"),
        ("*/2", "tue thu sat sun"),
        ("1-7/3", "mon thu sun"),
        ("*", "mon tue wed thu fri sat sun"),
    ],
)
def test_days_of_the_week_count_from_sunday(field: str, days: str) -> None:
    assert weekdays(field) == days.split()


def test_five_fields_begin_with_the_minute_and_six_with_the_second() -> None:
    assert upcoming("30 2 * * *", MONDAY, 2) == [
        MONDAY + timedelta(hours=2, minutes=30),
        MONDAY + timedelta(days=1, hours=2, minutes=30),
    ]
    assert upcoming("15 30 2 * * *", MONDAY, 1) == [
        MONDAY + timedelta(hours=2, minutes=30, seconds=15)
    ]
    assert upcoming("*/20 * * * * *", MONDAY, 3) == [
        MONDAY + timedelta(seconds=seconds) for seconds in (20, 40, 60)
    ]


def test_the_next_time_is_later_than_the_one_asked_about() -> None:
    at = MONDAY + timedelta(hours=2, minutes=30)
    schedule = parse_schedule("30 2 * * *")
    assert next_after(schedule, "UTC", at) == at + timedelta(days=1)
    assert next_after(schedule, "UTC", at - timedelta(microseconds=1)) == at


def test_times_are_in_the_sites_time_zone() -> None:
    assert upcoming("30 2 * * *", MONDAY, 1, "Europe/Berlin") == [
        MONDAY + timedelta(hours=1, minutes=30)
    ]
    assert upcoming("30 2 * * *", MONDAY, 1, "America/New_York") == [
        MONDAY + timedelta(hours=7, minutes=30)
    ]


def test_names_of_months_and_lists_and_steps() -> None:
    days = [when.strftime("%m-%d") for when in upcoming("0 0 1-10/4,20 feb,apr *", MONDAY, 5)]
    assert days == ["04-01", "04-05", "04-09", "04-20", "02-01"]


def test_a_leap_day_comes_in_leap_years() -> None:
    assert [when.year for when in upcoming("0 0 29 2 *", MONDAY, 2)] == [2028, 2032]


def test_no_night_is_lost_when_clocks_go_forward() -> None:
    # 02:30 does not exist on 29 March.
    before = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    local = [when.astimezone(BERLIN) for when in upcoming("30 2 * * *", before, 2, "Europe/Berlin")]
    assert [when.strftime("%d %H:%M") for when in local] == ["29 03:30", "30 02:30"]


def test_the_repeated_hour_runs_twice_when_clocks_go_back() -> None:
    before = datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    assert upcoming("30 2 * * *", before, 3, "Europe/Berlin") == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


def oracle(field: set[int], low: int, high: int) -> str:
    return "*" if field == set(range(low, high + 1)) else ",".join(map(str, sorted(field)))


@given(
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=4),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
    week=st.sets(st.integers(0, 6), min_size=1),
    start=st.datetimes(A_DAY.replace(year=2000), A_DAY.replace(year=2090), timezones=st.just(UTC)),
)
def test_the_next_time_matches_every_field_and_none_before_it_does(
    minutes: set[int], hours: set[int], week: set[int], start: datetime
) -> None:
    text = f"{oracle(minutes, 0, 59)} {oracle(hours, 0, 23)} * * {oracle(week, 0, 6)}"
    found = next_after(parse_schedule(text), "UTC", start)

    def matches(when: datetime) -> bool:
        return when.minute in minutes and when.hour in hours and when.isoweekday() % 7 in week

    expected = start.replace(second=0, microsecond=0) + MINUTE
    while not matches(expected):
        in_hour = expected.hour in hours
        expected += MINUTE if in_hour else timedelta(minutes=60 - expected.minute)
    assert found == expected


NIGHTLY = scheduled("ct", "0 2 * * *", grace=timedelta(hours=1))
TWO_O_CLOCK = MONDAY + timedelta(hours=2)


@pytest.mark.parametrize(
    ("last_started", "now", "expected"),
    [
        # It never ran: wait for the next time.
        (None, TWO_O_CLOCK + MINUTE, TWO_O_CLOCK + timedelta(days=1)),
        # The machine was down at two and came up within the grace: at once.
        (TWO_O_CLOCK - timedelta(days=1), TWO_O_CLOCK + MINUTE, TWO_O_CLOCK),
        # It came up too late: wait for the next time.
        (
            TWO_O_CLOCK - timedelta(days=1),
            TWO_O_CLOCK + timedelta(hours=3),
            TWO_O_CLOCK + timedelta(days=1),
        ),
        # It ran already: wait for the next time.
        (TWO_O_CLOCK, TWO_O_CLOCK + MINUTE, TWO_O_CLOCK + timedelta(days=1)),
        # Its clock was ahead then: wait for the next time, not for that of the wrong clock.
        (TWO_O_CLOCK + timedelta(days=9), TWO_O_CLOCK, TWO_O_CLOCK + timedelta(days=1)),
    ],
    ids=["never-ran", "within-grace", "too-late", "ran-already", "clock-was-ahead"],
)
def test_a_time_passed_over_while_down_is_made_up_for_within_the_grace(
    last_started: datetime | None, now: datetime, expected: datetime
) -> None:
    assert first_run(NIGHTLY, "UTC", now=now, last_started=last_started) == expected


class Runs:
    """A source's runs in a real scheduler, as they happen."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.missed: list[str] = []
        self.at_once = 0
        self.at_once_most = 0
        self.may_end = threading.Event()
        self._mutex = threading.Lock()

    def run(self, source: str) -> None:
        with self._mutex:
            self.started.append(source)
            self.at_once += 1
            self.at_once_most = max(self.at_once, self.at_once_most)
        self.may_end.wait(timeout=20)
        with self._mutex:
            self.at_once -= 1

    def scheduler(self, *items: ScheduledSource, now: datetime | None = None) -> Scheduler:
        """A scheduler that has begun; its runs go on until they may end."""
        scheduler = Scheduler(items, time_zone="UTC", run=self.run, missed=self.missed.append)
        scheduler.start(now=now or datetime.now(UTC), last_started=lambda source: None)
        return scheduler


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_source_still_running_is_skipped_and_counted() -> None:
    runs = Runs()
    scheduler = runs.scheduler(scheduled("ct", "* * * * * *"))
    wait_for(lambda: len(runs.missed) >= 2)
    runs.may_end.set()
    wait_for(lambda: len(runs.started) >= 2)
    scheduler.stop()
    assert runs.at_once_most == 1
    assert set(runs.missed) == {"ct"}


def test_stopping_waits_for_the_run_that_is_going_on() -> None:
    runs = Runs()
    scheduler = runs.scheduler(scheduled("ct", "* * * * * *"))
    wait_for(lambda: bool(runs.started))
    release = threading.Timer(0.3, runs.may_end.set)
    release.start()
    scheduler.stop()
    assert (runs.started, runs.at_once) == (["ct"], 0)


def test_sources_run_beside_each_other() -> None:
    runs = Runs()
    scheduler = runs.scheduler(
        scheduled("ct", "* * * * * *"),
        scheduled("mr", "* * * * * *"),
    )
    wait_for(lambda: {"ct", "mr"} == set(runs.started))
    runs.may_end.set()
    scheduler.stop()
    assert runs.at_once_most == 2


def test_a_time_missed_by_more_than_the_grace_is_counted_and_not_made_up_for() -> None:
    runs = Runs()
    now = datetime.now(UTC)
    earlier = now - timedelta(minutes=90)
    daily = scheduled("ct", f"{earlier.minute} {earlier.hour} * * *")
    # As if the machine had slept for two hours after the start.
    scheduler = runs.scheduler(daily, now=now - timedelta(hours=2))
    wait_for(lambda: bool(runs.missed))
    scheduler.stop()
    assert runs.missed == ["ct"]
    assert runs.started == []


def test_nothing_is_overdue_while_the_clock_is_watched() -> None:
    runs = Runs()
    runs.may_end.set()
    scheduler = runs.scheduler(scheduled("ct", "* * * * * *"))
    wait_for(lambda: len(runs.started) >= 2)
    assert scheduler.overdue(datetime.now(UTC)) < timedelta(seconds=5)
    assert scheduler.overdue(datetime.now(UTC) + timedelta(hours=1)) > timedelta(minutes=59)
    scheduler.stop()
