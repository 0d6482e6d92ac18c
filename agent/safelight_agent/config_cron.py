"""Schedules: crontab expressions of five fields, or of six with seconds first.

The language: ``[second] minute hour day-of-month month day-of-week``, each field ``*``, a number, a
range ``a-b``, either of ``*`` and a range with a step ``/n``, or a list of these with commas.
Months and weekdays may be named by three letters; weekdays are counted as in crontab (0 and 7 are
Sunday). The invariant: a schedule that is accepted fires on some day, and means the same in every
reading of crontab. Where readings differ it is refused: day of month and day of week cannot both
be restricted, because some programs then take either and others both.
"""

import calendar
from dataclasses import dataclass

from safelight_vault.errors import ConfigurationError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LEAP_YEAR = 2024


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSchedule:
    """The times at which a source is due, in the time zone of the agent.

    Every field holds its numbers in order. ``weekdays`` counts from Monday as 0, as Python and
    APScheduler do, and not as crontab does.
    """

    text: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int:
        if word.lower() in self.names:
            return self.names.index(word.lower()) + self.low
        if not (word.isascii() and word.isdigit() and self.low <= int(word) <= self.high):
            named = f" or one of {', '.join(self.names)}" if self.names else ""
            raise ConfigurationError(
                f"{self.name} must be a number from {self.low} to {self.high}{named}, not {word!r}"
            )
        return int(word)

    def numbers(self, text: str) -> set[int]:
        return {number for item in text.split(",") for number in self._item(item)}

    def _item(self, item: str) -> range:
        span, stroke, step_text = item.partition("/")
        step = 1
        if stroke:
            if not (step_text.isascii() and step_text.isdigit() and int(step_text) > 0):
                raise ConfigurationError(f"{self.name}: the step in {item!r} is not a number")
            step = int(step_text)
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            return range(self.low, self.high + 1, step)
        first = self.number(first_text)
        if not dash:
            if stroke:
                raise ConfigurationError(f"{self.name}: a step needs '*' or a range, not {item!r}")
            return range(first, first + 1)
        last = self.number(last_text)
        if self.names == _WEEKDAYS and last == 0:
            last = 7  # a week may end on Sunday
        if last < first:
            raise ConfigurationError(f"{self.name}: the range {span!r} ends before it begins")
        return range(first, last + 1, step)


_SECOND = _Field(name="second", low=0, high=59)
_MINUTE = _Field(name="minute", low=0, high=59)
_HOUR = _Field(name="hour", low=0, high=23)
_DAY = _Field(name="day of month", low=1, high=31)
_MONTH = _Field(name="month", low=1, high=12, names=_MONTHS)
_WEEKDAY = _Field(name="day of week", low=0, high=7, names=_WEEKDAYS)


def parse_schedule(text: str) -> CronSchedule:
    """Understand a crontab expression, or say in a ``ConfigurationError`` why not."""
    words = text.split()
    if len(words) == 5:
        words.insert(0, "0")
    if len(words) != 6:
        raise ConfigurationError(
            f"must have 5 fields (minute hour day month weekday) or 6 (seconds first), "
            f"{text!r} has {len(words)}"
        )
    seconds, minutes, hours, days, months = (
        tuple(sorted(field.numbers(word)))
        for field, word in zip((_SECOND, _MINUTE, _HOUR, _DAY, _MONTH), words, strict=False)
    )
    weekdays = tuple(sorted({(number - 1) % 7 for number in _WEEKDAY.numbers(words[5])}))
    if len(days) < 31 and len(weekdays) < 7:
        raise ConfigurationError(
            f"{text!r} restricts both day of month and day of week, and programs differ in what "
            "that means: set one of them to '*'"
        )
    if not any(days[0] <= calendar.monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise ConfigurationError(f"{text!r} never comes: no such day in these months")
    return CronSchedule(
        text=text,
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays,
    )
