"""When a source is backed up: the clock behind the schedules of the configuration.

The only module that imports apscheduler. The invariant: a source never runs twice at once, and a
scheduled time at which a running program could not begin it is counted, never silently lost.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from safelight_agent.config_cron import CronSchedule
from safelight_vault.errors import ConfigurationError


def next_after(schedule: CronSchedule, time_zone: str, when: datetime) -> datetime:
    """The first scheduled time later than ``when``, in UTC.

    When clocks go forward, a time in the hour that is skipped comes an hour later by the clock;
    when they go back, a time in the hour that is repeated comes twice: a second run is cheap, a
    missing one is not.
    """
    begin = when.astimezone(UTC) + timedelta(microseconds=1)
    found: datetime | None = _trigger(schedule, time_zone).get_next_fire_time(None, begin)
    if found is None:
        raise ConfigurationError(f"schedule {schedule.text!r} does not come again")
    return found.astimezone(UTC)


def _trigger(schedule: CronSchedule, time_zone: str) -> CronTrigger:
    return CronTrigger(
        month=_listed(schedule.months),
        day=_listed(schedule.days),
        # Numbers here count from Monday, in the schedule as in APScheduler.
        day_of_week=_listed(schedule.weekdays),
        hour=_listed(schedule.hours),
        minute=_listed(schedule.minutes),
        second=_listed(schedule.seconds),
        timezone=ZoneInfo(time_zone),
    )


def _listed(values: Sequence[int]) -> str:
    return ",".join(str(value) for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSource:
    """A source, and when it runs.

    A time that passed up to ``misfire_grace`` ago is made up for, an older one is missed.
    """

    source: str
    schedule: CronSchedule
    misfire_grace: timedelta


def first_run(
    item: ScheduledSource, time_zone: str, *, now: datetime, last_started: datetime | None
) -> datetime:
    """The time to begin with: one that was passed over within the grace, or the next to come.

    ``last_started`` is when the last run of the source began; None if it never ran.
    """
    if last_started is None:
        return next_after(item.schedule, time_zone, now)
    last_started = min(last_started, now)  # a clock that was ahead must not hold runs back
    return next_after(item.schedule, time_zone, max(last_started, now - item.misfire_grace))


class Scheduler:
    """Calls ``run`` with the name of a source whenever its time comes, each in its own thread.

    A source whose last run is still going on is skipped, and ``missed`` is called with its name; so
    it is when its time passed longer ago than its grace (the machine slept). A time that passed
    within the grace, even while this program was not running, is made up for at once. Several times
    that passed together count as one. ``run`` must not raise.
    """

    def __init__(
        self,
        sources: Sequence[ScheduledSource],
        *,
        time_zone: str,
        run: Callable[[str], None],
        missed: Callable[[str], None],
    ) -> None:
        # Its warnings say what ``missed`` is told; its errors stay.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._sources = tuple(sources)
        self._time_zone = time_zone
        self._run = run
        self._missed = missed
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max_workers=max(1, len(sources)))},
        )
        self._scheduler.add_listener(
            lambda event: self._missed(event.job_id), EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED
        )

    def start(self, *, now: datetime, last_started: Callable[[str], datetime | None]) -> None:
        """Begin to watch the clock; returns at once."""
        for item in self._sources:
            self._scheduler.add_job(
                self._run,
                _trigger(item.schedule, self._time_zone),
                args=[item.source],
                id=item.source,
                next_run_time=first_run(
                    item, self._time_zone, now=now, last_started=last_started(item.source)
                ),
                misfire_grace_time=max(1, int(item.misfire_grace.total_seconds())),
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
