"""Makes run results for tests: a good night, from which each test departs by what it is about."""

from dataclasses import replace
from datetime import UTC, datetime

from safelight_agent.results import RunResult

GOOD_NIGHT = RunResult(
    snapshot="9f2c",
    source="ct",
    files=14,
    files_new=1,
    files_changed=2,
    files_unchanged=11,
    files_failed=0,
    bytes_read=3_000,
    bytes_stored=1_000,
    chunks_new=4,
    complete=True,
    suspect=False,
    duration_seconds=12.5,
    started=datetime(2026, 3, 1, 2, 30, tzinfo=UTC),
    exit_code=0,
    error="",
    lock_coverage_until=datetime(2026, 4, 10, 2, 30, tzinfo=UTC),
    failed=(),
)


def good_night(source: str = "ct", *, started: datetime = GOOD_NIGHT.started) -> RunResult:
    """A complete run without any trouble."""
    return replace(GOOD_NIGHT, source=source, started=started)


def broken_night(source: str = "ct", *, started: datetime = GOOD_NIGHT.started) -> RunResult:
    """A run that published nothing because the store did not answer."""
    return replace(
        GOOD_NIGHT,
        source=source,
        started=started,
        snapshot="",
        complete=False,
        exit_code=6,
        error="the store did not answer",
        lock_coverage_until=None,
    )
