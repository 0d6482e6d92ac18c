"""What every store must do about locks: set by the put, read back, extended, never shortened."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from safelight_vault.errors import (
    AccessDeniedError,
    LockRefusedError,
)
from safelight_vault.store import LockMode
from safelight_vault.store.retrying import RetryingStore
from store_cases import HOUR, StoreCase, system_now

BODY = b"0123456789" * 10


def test_a_lock_is_set_by_the_put_itself_and_reads_back(case: StoreCase) -> None:
    name = case.fresh() + "locked"
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    head = case.store.head(name, case.put(name, BODY, retain_until=until))
    assert head.retain_until == until
    assert head.lock_mode is case.store.lock_mode
    assert head.name == name


def test_a_date_with_a_fraction_is_never_shortened(case: StoreCase) -> None:
    name = case.fresh() + "fraction"
    until = datetime.now(UTC).replace(microsecond=250_000) + timedelta(days=2)
    case.put(name, BODY, retain_until=until)
    kept = case.store.head(name).retain_until
    assert kept is not None
    assert until <= kept < until + timedelta(seconds=1)


def test_a_date_in_another_time_zone_is_the_same_moment(case: StoreCase) -> None:
    name = case.fresh() + "zone"
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    from_zone = until.astimezone(datetime.now().astimezone().tzinfo)
    case.put(name, BODY, retain_until=from_zone)
    assert case.store.head(name).retain_until == until


def test_a_lock_in_the_past_is_refused_and_leaves_no_object(case: StoreCase) -> None:
    name = case.fresh() + "past"
    with pytest.raises(LockRefusedError):
        case.put(name, BODY, retain_until=system_now() - timedelta(days=1))
    assert list(case.store.list_versions(name)) == []


def test_a_date_without_a_time_zone_is_a_programming_error(case: StoreCase) -> None:
    naive = (system_now() + HOUR).replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        case.put(case.fresh() + "naive", BODY, retain_until=naive)


def test_a_lock_can_be_extended_again_and_again(case: StoreCase) -> None:
    name = case.fresh() + "extended"
    start = datetime.now(UTC).replace(microsecond=0)
    version_id = case.put(name, BODY, retain_until=start + HOUR)
    for days in (1, 2, 2, 30):
        case.store.extend(name, version_id, start + timedelta(days=days))
        head = case.store.head(name, version_id)
        assert head.retain_until == start + timedelta(days=days)
        assert head.lock_mode is case.store.lock_mode
    assert case.store.get(name, version_id) == BODY


def test_a_lock_cannot_be_shortened(case: StoreCase) -> None:
    name = case.fresh() + "not-shortened"
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    version_id = case.put(name, BODY, retain_until=until)
    for earlier in (until - timedelta(days=1), until - timedelta(seconds=1), system_now() - HOUR):
        with pytest.raises(LockRefusedError):
            case.store.extend(name, version_id, earlier)
    assert case.store.head(name, version_id).retain_until == until


def test_of_many_extensions_at_once_the_latest_stands(case: StoreCase) -> None:
    name = case.fresh() + "extended-at-once"
    start = datetime.now(UTC).replace(microsecond=0)
    version_id = case.put(name, BODY, retain_until=start + HOUR)
    # A server may tell one of two writers at once to come back (radosgw: 500).
    patient = RetryingStore(
        case.store,
        attempts=20,
        sleep=time.sleep,
        uniform=random.uniform,
        base_seconds=0.01,
        cap_seconds=0.1,
    )

    def attempt(days: int) -> None:
        try:
            patient.extend(name, version_id, start + timedelta(days=days))
        except LockRefusedError:
            assert days < 8, "the latest date can never be an earlier one"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, (5, 8, 2, 7, 3, 6, 4, 1)))
    until = case.store.head(name, version_id).retain_until
    assert until is not None
    if case.loses_racing_extensions:
        assert start + timedelta(days=1) <= until <= start + timedelta(days=8)
    else:
        assert until == start + timedelta(days=8)


def test_a_locked_version_cannot_be_deleted_even_by_the_owner(case: StoreCase) -> None:
    if case.delete_version is None:
        # A directory's host can remove anything: its locks must say so of themselves.
        assert case.store.lock_mode is LockMode.EMULATED
        return
    name = case.fresh() + "undeletable"
    version_id = case.put(name, BODY)
    with pytest.raises(AccessDeniedError):
        case.delete_version(name, version_id)
    assert case.store.get(name, version_id) == BODY


def test_an_unlocked_version_can_be_put_under_lock_later(case: StoreCase) -> None:
    name = case.fresh() + "locked-later"
    case.put(name, BODY)
    version_id = case.overwrite(name, b"without a lock")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    case.store.extend(name, version_id, until)
    assert case.store.head(name, version_id).retain_until == until
