"""When a source is backed up: cron expressions in the site's time zone, and the clock behind them.

The only module that imports apscheduler. The invariant: a source never runs twice at once, and a
scheduled time at which a running program could not begin it is counted, never silently lost.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from safelight_vault.errors import ConfigurationError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS_OF_MONTH_MAX = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FieldRule:
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> frozenset[int]:
        """The values that the text of this field stands for; ``ValueError`` if it is malformed."""
        values: set[int] = set()
        for item in text.lower().split(","):
            match = _ITEM.fullmatch(item)
            if match is None:
                raise ValueError(f"{self.name} {text!r} is not understood")
            first, last, step = match["first"], match["last"], match["step"]
            if first is None:
                span = range(self.lowest, self.highest + 1)
            elif last is None:
                if step is not None:
                    raise ValueError(f"{self.name} {text!r}: a step needs a range or * before it")
                span = range(self._value(first), self._value(first) + 1)
            else:
                span = range(self._value(first), self._value(last, ends_range=True) + 1)
            if not span:
                raise ValueError(f"{self.name} {text!r}: a range goes upwards")
            if step is not None and int(step) == 0:
                raise ValueError(f"{self.name} {text!r}: a step is at least 1")
            values.update(span[:: int(step or 1)])
        return frozenset(values)

    def _value(self, text: str, *, ends_range: bool = False) -> int:
        if text in self.names:
            # "fri-sun" means what it says, although Sunday is day 0.
            if ends_range and text == "sun":
                return 7
            return self.names.index(text) + self.lowest
        if not text.isdecimal() or not self.lowest <= int(text) <= self.highest:
            raise ValueError(
                f"{self.name} {text!r} is not one of {self.lowest} to {self.highest}"
                + (f" or {self.names[0]} to {self.names[-1]}" if self.names else "")
            )
        return int(text)


_SECOND = _FieldRule(name="second", lowest=0, highest=59)
_MINUTE = _FieldRule(name="minute", lowest=0, highest=59)
_HOUR = _FieldRule(name="hour", lowest=0, highest=23)
_DAY = _FieldRule(name="day of month", lowest=1, highest=31)
_MONTH = _FieldRule(name="month", lowest=1, highest=12, names=_MONTHS)
_WEEKDAY = _FieldRule(name="day of week", lowest=0, highest=7, names=_WEEKDAYS)
_FIELDS = (_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSchedule:
    """A cron expression in a time zone, with the meaning of crontab(5); made by ``parse``.

    Days of the week count from Sunday (0 and 7), and where both the day of month and the day of
    week are restricted (do not begin with ``*``), either is enough. When clocks go forward, a time
    in the hour that is skipped comes an hour later by the clock; when they go back, a time in the
    hour that is repeated comes twice: a second run is cheap, a missing one is not.
    """

    text: str
    time_zone: str
    _trigger: Any = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, time_zone: str) -> "CronSchedule":
        """Read five fields (minute hour day month weekday), or six with the second before them.

        ``time_zone`` is an IANA name such as ``Europe/Berlin``. ``ConfigurationError`` says which
        field is wrong, and refuses expressions that never come (31 February).
        """
        try:
            zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(f"time zone {time_zone!r} is not known here") from error
        try:
            return cls(text=text, time_zone=time_zone, _trigger=_trigger(text, zone))
        except ValueError as error:
            raise ConfigurationError(f"schedule {text!r}: {error}") from error

    def next_after(self, when: datetime) -> datetime:
        """The first scheduled time later than ``when``, in UTC."""
        begin = when.astimezone(UTC) + timedelta(microseconds=1)
        found: datetime | None = self._trigger.get_next_fire_time(None, begin)
        if found is None:
            raise ConfigurationError(f"schedule {self.text!r} does not come again")
        return found.astimezone(UTC)


def _trigger(text: str, zone: ZoneInfo) -> Any:
    parts = text.split()
    if len(parts) == len(_FIELDS) - 1:
        parts = ["0", *parts]
    if len(parts) != len(_FIELDS):
        raise ValueError("it has five fields, or six with the seconds first")
    second, minute, hour, days, months, weekdays = (
        rule.parse(part) for rule, part in zip(_FIELDS, parts, strict=True)
    )
    of_month, of_week = not parts[3].startswith("*"), not parts[5].startswith("*")
    comes = any(day <= _DAYS_OF_MONTH_MAX[month - 1] for day in days for month in months)
    if not comes and not (of_month and of_week):
        raise ValueError("none of its months has such a day")

    def at(**days_chosen: str) -> CronTrigger:
        return CronTrigger(
            month=_listed(months),
            hour=_listed(hour),
            minute=_listed(minute),
            second=_listed(second),
            timezone=zone,
            **days_chosen,
        )

    # APScheduler counts weekdays from Monday; names mean the same to both.
    names = ",".join(sorted({_WEEKDAYS[number % 7] for number in weekdays}))
    if of_month and of_week:
        return OrTrigger([at(day=_listed(days)), at(day_of_week=names)])
    return at(day=_listed(days), day_of_week=names)


def _listed(values: frozenset[int]) -> str:
    return ",".join(str(value) for value in sorted(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSource:
    """A source, when it runs, and when its last run began (None: it never ran)."""

    source: str
    schedule: CronSchedule
    last_started: datetime | None = None


class Scheduler:
    """Calls ``run`` with the name of a source whenever its time comes, each in its own thread.

    A source whose last run is still going on is skipped, and ``missed`` is called with its name; so
    it is when its time passed more than ``misfire_grace`` ago (the machine slept). A time that
    passed within the grace while this program was not running is made up for at once. Several
    times that passed together count as one. ``run`` must not raise.
    """

    def __init__(
        self,
        sources: Sequence[ScheduledSource],
        *,
        run: Callable[[str], None],
        missed: Callable[[str], None],
        misfire_grace: timedelta,
    ) -> None:
        # Its warnings say what ``missed`` is told; its errors stay.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._sources = tuple(sources)
        self._run = run
        self._missed = missed
        self._misfire_grace = misfire_grace
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max_workers=max(1, len(sources)))},
        )
        self._scheduler.add_listener(
            lambda event: self._missed(event.job_id), EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED
        )

    def start(self, now: datetime) -> None:
        """Begin to watch the clock; returns at once."""
        for item in self._sources:
            self._scheduler.add_job(
                self._run,
                item.schedule._trigger,
                args=[item.source],
                id=item.source,
                next_run_time=first_run(item, now=now, misfire_grace=self._misfire_grace),
                misfire_grace_time=max(1, int(self._misfire_grace.total_seconds())),
                coalesce=True,
                max_instances=1,
            )
        self._scheduler.start()

    def overdue(self, now: datetime) -> timedelta:
        """How long the oldest due time has not been taken up: more than a minute is a fault.

        Looks at the clock anew, too: a machine that slept, or whose clock was set, wakes late
        otherwise.
        """
        self._scheduler.wakeup()
        late = [now - job.next_run_time for job in self._scheduler.get_jobs()]
        return max(late, default=timedelta(0))

    def stop(self) -> None:
        """Begin no more runs, and wait until those that are going on have ended."""
        self._scheduler.shutdown(wait=True)


def first_run(item: ScheduledSource, *, now: datetime, misfire_grace: timedelta) -> datetime:
    """The time to begin with: one that was passed over within the grace, or the next to come."""
    if item.last_started is None:
        return item.schedule.next_after(now)
    last_started = min(item.last_started, now)  # a clock that was ahead must not hold runs back
    return item.schedule.next_after(max(last_started, now - misfire_grace))
