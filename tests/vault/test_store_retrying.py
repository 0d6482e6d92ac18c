"""Trying again: only what may mend itself, only so often, and without changing what is said."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faulty_store import Effect, FaultyStore, Operation, fault
from memory_store import MemoryStore
from safelight_vault.errors import (
    AccessDeniedError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    StoreUnreachableError,
)
from safelight_vault.store import Store, Version
from safelight_vault.store.backoff import Backoff
from safelight_vault.store.facts import UNKNOWN_FACTS, facts_of
from safelight_vault.store.retrying import RetryingStore

NOW = datetime(2026, 11, 24, tzinfo=UTC)
UNTIL = NOW + timedelta(days=30)
BODY = b"body"


def memory() -> MemoryStore:
    numbers = iter(range(10_000))
    return MemoryStore(now=lambda: NOW, new_version_id=lambda: f"v{next(numbers)}")


def put(store: Store, name: str, body: bytes = BODY) -> str:
    return store.put(name, [body], sha256=hashlib.sha256(body).digest(), retain_until=UNTIL)


class Pauses:
    """Remembers the pauses instead of making them, and draws the longest."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    @staticmethod
    def longest(_low: float, high: float) -> float:
        return high


def retrying(inner: Store, pauses: Pauses, *, attempts: int = 4, **more: int) -> RetryingStore:
    return RetryingStore(
        inner,
        attempts=attempts,
        sleep=pauses.sleep,
        uniform=pauses.longest,
        base_seconds=1.0,
        cap_seconds=3.0,
        **more,
    )


class BreakingListing(FaultyStore):
    """Every listing breaks after so many lines that it did not give before."""

    def __init__(self, inner: Store, *, lines: int) -> None:
        super().__init__(inner)
        self._lines = lines
        self._given = 0

    def list_versions(self, prefix: str) -> Iterator[Version]:
        for number, version in enumerate(super().list_versions(prefix)):
            if number >= self._given + self._lines:
                self._given += self._lines
                raise StoreUnreachableError("the line broke")
            yield version


class ReversedListing(FaultyStore):
    """A listing in an order of its own."""

    def list_versions(self, prefix: str) -> Iterator[Version]:
        yield from reversed(list(super().list_versions(prefix)))


OPERATIONS: dict[Operation, Callable[[Store], object]] = {
    Operation.PUT: lambda store: put(store, "packs/new"),
    Operation.GET: lambda store: store.get("packs/old"),
    Operation.HEAD: lambda store: store.head("packs/old"),
    Operation.LIST: lambda store: list(store.list_versions("")),
    Operation.EXTEND: lambda store: store.extend("packs/old", "v0", UNTIL + timedelta(days=1)),
    Operation.NOW: lambda store: store.now(),
}


@pytest.mark.parametrize("operation", Operation)
def test_an_operation_that_fails_for_a_while_succeeds_in_the_end(operation: Operation) -> None:
    inner = memory()
    put(inner, "packs/old")
    faulty = FaultyStore(inner, [fault(operation, Effect.FAIL_BEFORE, times=3)])
    pauses = Pauses()
    OPERATIONS[operation](retrying(faulty, pauses))
    faulty.verify_all_faults_fired()
    assert faulty.calls[operation] == 4
    assert pauses.seconds == [1.0, 2.0, 3.0], "doubled each time, up to the cap"


@pytest.mark.parametrize("operation", Operation)
def test_an_operation_that_fails_for_ever_is_tried_so_often_and_no_more(
    operation: Operation,
) -> None:
    inner = memory()
    put(inner, "packs/old")
    faulty = FaultyStore(inner, [fault(operation, Effect.FAIL_BEFORE, times=None)])
    with pytest.raises(StoreUnreachableError):
        OPERATIONS[operation](retrying(faulty, Pauses()))
    assert faulty.calls[operation] == 4


@pytest.mark.parametrize(
    "error", [AccessDeniedError, ObjectMissingError, LockRefusedError, NameTakenError, ValueError]
)
@pytest.mark.parametrize("operation", Operation)
def test_what_does_not_mend_itself_is_not_tried_again(
    operation: Operation, error: type[Exception]
) -> None:
    inner = memory()
    put(inner, "packs/old")
    planned = fault(operation, Effect.FAIL_BEFORE, error=lambda: error("planned"))
    faulty = FaultyStore(inner, [planned])
    pauses = Pauses()
    with pytest.raises(error):
        OPERATIONS[operation](retrying(faulty, pauses))
    assert faulty.calls[operation] == 1
    assert pauses.seconds == []


def test_a_put_whose_answer_was_lost_says_that_the_name_is_taken() -> None:
    inner = memory()
    faulty = FaultyStore(inner, [fault(Operation.PUT, Effect.FAIL_AFTER)])
    with pytest.raises(NameTakenError):
        put(retrying(faulty, Pauses()), "packs/new")
    faulty.verify_all_faults_fired()
    assert inner.get("packs/new") == BODY


def test_a_lost_answer_to_an_extension_does_no_harm() -> None:
    inner = memory()
    version_id = put(inner, "packs/old")
    faulty = FaultyStore(inner, [fault(Operation.EXTEND, Effect.FAIL_AFTER)])
    later = UNTIL + timedelta(days=1)
    retrying(faulty, Pauses()).extend("packs/old", version_id, later)
    assert inner.head("packs/old").retain_until == later


def test_a_listing_that_breaks_goes_on_where_it_stopped() -> None:
    inner = memory()
    for number in range(6):
        put(inner, f"packs/{number}")
        inner.attacker_overwrite(f"packs/{number}", b"laid over")
        inner.attacker_delete_marker(f"packs/{number}")
    expected = list(inner.list_versions(""))
    # Each attempt gives one line and breaks: more attempts than are allowed in a row.
    faulty = FaultyStore(BreakingListing(inner, lines=1))
    listed = list(retrying(faulty, Pauses(), attempts=2).list_versions(""))
    assert listed == expected
    assert faulty.calls[Operation.LIST] == len(expected)


def test_a_listing_that_does_not_move_ends_after_so_many_attempts() -> None:
    inner = memory()
    put(inner, "packs/a")
    faulty = FaultyStore(BreakingListing(inner, lines=0))
    with pytest.raises(StoreUnreachableError):
        list(retrying(faulty, Pauses(), attempts=3).list_versions(""))
    assert faulty.calls[Operation.LIST] == 3


def test_a_store_that_repeats_its_own_pages_is_not_asked_to_start_anew() -> None:
    faulty = FaultyStore(memory(), [fault(Operation.LIST, Effect.FAIL_BEFORE)])
    with pytest.raises(StoreUnreachableError):
        list(retrying(faulty, Pauses(), listing_attempts=1).list_versions(""))
    assert faulty.calls[Operation.LIST] == 1


def test_nothing_is_left_out_of_a_listing_without_order_that_does_not_break() -> None:
    inner = memory()
    for name in ("packs/b", "packs/a"):
        put(inner, name)
    listed = list(retrying(ReversedListing(inner), Pauses()).list_versions(""))
    assert [version.name for version in listed] == ["packs/b", "packs/a"]


def test_the_wrapper_speaks_for_the_store_inside() -> None:
    inner = memory()
    outer = retrying(inner, Pauses())
    assert (outer.url, outer.lock_mode) == (inner.url, inner.lock_mode)
    assert facts_of(outer) == UNKNOWN_FACTS


@given(st.integers(1, 200), st.floats(0, 100), st.floats(0, 100))
def test_a_pause_never_exceeds_the_cap(failures: int, base: float, cap: float) -> None:
    pauses = Pauses()
    backoff = Backoff(
        attempts=1000,
        base_seconds=base,
        cap_seconds=cap,
        sleep=pauses.sleep,
        uniform=pauses.longest,
    )
    backoff.pause_or_raise(failures, StoreUnreachableError("planned"))
    (pause,) = pauses.seconds
    assert 0 <= pause <= cap


def test_no_attempt_at_all_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="0 attempts"):
        retrying(memory(), Pauses(), attempts=0)
