"""What a drill came to: the exit code, the recovery time, and locks judged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill_results import failed_drill, passed_drill
from safelight_restore.drill.coverage import (
    LockState,
    ObjectState,
    Presence,
    SnapshotCoverage,
    is_short,
    is_weaker,
    lock_state,
)
from safelight_restore.drill.index import Totals
from safelight_restore.drill.result import (
    FINDINGS_MAX,
    DrillResult,
    Ending,
    FindingKind,
    recovery_time,
)
from safelight_vault.store import LockMode

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
SOON = NOW + timedelta(days=10)
LATER = NOW + timedelta(days=20)
PAST = NOW - timedelta(days=1)


def ending(code: int) -> Ending:
    return Ending(step="restore", message="", next_step="", exit_code=code)


@pytest.mark.parametrize(
    ("kinds", "early", "code"),
    [
        ([], None, 0),
        ([FindingKind.NOTE], None, 0),
        ([FindingKind.INCOMPLETE], None, 7),
        ([FindingKind.INCOMPLETE, FindingKind.UNLOCKED], None, 5),
        ([FindingKind.UNLOCKED, FindingKind.DAMAGE], None, 3),
        ([FindingKind.UNLOCKED], ending(6), 6),
        ([FindingKind.DAMAGE], ending(6), 3),
        ([], ending(4), 4),
    ],
)
def test_the_exit_code_is_that_of_the_worst(
    kinds: list[FindingKind], early: Ending | None, code: int
) -> None:
    result = passed_drill()
    for kind in kinds:
        result.add(kind, kind.value)
    result.ending = early
    assert result.exit_code == code


def test_a_drill_that_proved_no_file_never_passes() -> None:
    result = passed_drill()
    result.proved = Totals(files=0, size_bytes=0, studies=0)
    assert result.exit_code == 7


def test_a_drill_of_which_nothing_is_known_never_passes() -> None:
    assert DrillResult(version="1", vault="", started=NOW, finished=NOW).exit_code == 7


def test_the_worst_finding_counts_however_many_others_there_are() -> None:
    result = passed_drill()
    for number in range(FINDINGS_MAX + 10):
        result.add(FindingKind.NOTE, f"note {number}")
    result.add(FindingKind.DAMAGE, "and this")
    result.add(FindingKind.DAMAGE, "and this")
    assert len(result.findings) == FINDINGS_MAX + 1
    assert result.exit_code == 3


def test_the_recovery_point_is_that_of_the_source_that_would_lose_most() -> None:
    result = failed_drill()
    ages = [line.rpo_seconds for line in result.snapshots if line.restored]
    assert len(ages) == 2
    assert result.rpo_seconds == max(age for age in ages if age is not None)
    result.snapshots[0] = replace(result.snapshots[0], rpo_seconds=None)
    assert result.rpo_seconds is None


@given(
    st.integers(1, 10**6),
    st.integers(0, 10**12),
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**12)),
    st.tuples(st.floats(0, 10**6), st.floats(0, 10**6)),
)
def test_everything_takes_at_least_as_long_as_the_sample(
    files: int, size: int, more: tuple[int, int], seconds: tuple[float, float]
) -> None:
    (more_files, more_bytes), (tables, restore) = more, seconds
    found = recovery_time(
        tables_seconds=tables,
        restore_seconds=restore,
        files=files,
        size_bytes=size,
        files_total=files + more_files,
        bytes_total=size + more_bytes,
    )
    assert found is not None
    assert found.whole_seconds >= found.sample_seconds == tables + restore
    assert found.extrapolated == bool(more_files or more_bytes)
    assert found.factor >= (files + more_files) / files


def test_the_slower_of_files_and_bytes_decides() -> None:
    small = recovery_time(
        tables_seconds=1,
        restore_seconds=10,
        files=10,
        size_bytes=1000,
        files_total=1000,
        bytes_total=2000,
    )
    assert small is not None
    assert (small.basis, small.factor, small.whole_seconds) == ("files", 100, 1001)
    large = recovery_time(
        tables_seconds=1,
        restore_seconds=10,
        files=10,
        size_bytes=1000,
        files_total=20,
        bytes_total=50_000,
    )
    assert large is not None
    assert (large.basis, large.factor, large.whole_seconds) == ("bytes", 50, 501)
    assert (large.bytes_per_second, large.files_per_second) == (100, 1)


def test_without_a_file_there_is_no_recovery_time() -> None:
    assert (
        recovery_time(
            tables_seconds=1,
            restore_seconds=1,
            files=0,
            size_bytes=0,
            files_total=9,
            bytes_total=9,
        )
        is None
    )


# Locks


def state(
    mode: LockMode, until: datetime | None, presence: Presence = Presence.PRESENT
) -> ObjectState:
    return ObjectState(presence=presence, lock_mode=mode, retain_until=until)


@pytest.mark.parametrize(
    ("found", "promised", "mode", "short"),
    [
        (state(LockMode.COMPLIANCE, LATER), SOON, LockMode.COMPLIANCE, False),
        (state(LockMode.COMPLIANCE, SOON), SOON, LockMode.COMPLIANCE, False),
        (state(LockMode.COMPLIANCE, SOON), LATER, LockMode.COMPLIANCE, True),
        (state(LockMode.COMPLIANCE, PAST), PAST, LockMode.COMPLIANCE, False),
        (state(LockMode.NONE, None), SOON, LockMode.COMPLIANCE, True),
        (state(LockMode.NONE, None), PAST, LockMode.COMPLIANCE, False),
        (state(LockMode.GOVERNANCE, LATER), SOON, LockMode.COMPLIANCE, True),
        (state(LockMode.GOVERNANCE, LATER), SOON, LockMode.GOVERNANCE, False),
        (state(LockMode.COMPLIANCE, LATER), SOON, LockMode.GOVERNANCE, False),
        (state(LockMode.EMULATED, LATER), SOON, LockMode.EMULATED, False),
        (state(LockMode.EMULATED, LATER), SOON, LockMode.COMPLIANCE, True),
        (state(LockMode.NONE, None, Presence.MISSING), SOON, LockMode.COMPLIANCE, False),
        (
            state(LockMode.COMPLIANCE, SOON),
            SOON + timedelta(milliseconds=900),
            LockMode.COMPLIANCE,
            False,
        ),
    ],
)
def test_a_lock_is_short_when_it_is_weaker_or_ends_before_a_promise_that_holds(
    found: ObjectState, promised: datetime, mode: LockMode, short: bool
) -> None:
    assert is_short(found, promised, NOW, mode) == short


def test_modes_are_ordered_by_what_stands_behind_them() -> None:
    order = [LockMode.NONE, LockMode.EMULATED, LockMode.GOVERNANCE, LockMode.COMPLIANCE]
    for at, mode in enumerate(order):
        for other_at, other in enumerate(order):
            assert is_weaker(mode, other) == (at < other_at)


def coverage(locked: datetime | None, emulated: datetime | None = None) -> SnapshotCoverage:
    return SnapshotCoverage(objects=3, size_bytes=9, locked_until=locked, emulated_until=emulated)


@pytest.mark.parametrize(
    ("found", "promised", "told"),
    [
        (coverage(LATER), SOON, LockState.COVERED),
        (coverage(SOON), SOON, LockState.COVERED),
        (coverage(SOON), LATER, LockState.SHORT),
        (coverage(None), SOON, LockState.SHORT),
        (coverage(None, LATER), SOON, LockState.EMULATED),
        (coverage(None, SOON), LATER, LockState.SHORT),
        (coverage(None), PAST, LockState.PAST),
        (coverage(LATER), PAST, LockState.PAST),
        (None, SOON, LockState.UNKNOWN),
        (None, PAST, LockState.UNKNOWN),
    ],
)
def test_a_snapshot_is_covered_by_nothing_less_than_the_stores_locks(
    found: SnapshotCoverage | None, promised: datetime, told: LockState
) -> None:
    assert lock_state(found, promised, NOW) is told
