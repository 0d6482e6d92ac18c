"""The doubles themselves: what the memory store lets an attacker do, and that faults do fire."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from faulty_store import (
    ANY_OPERATION,
    Effect,
    Fault,
    FaultyStore,
    KilledError,
    Operation,
    fault,
)
from memory_store import MemoryStore
from safelight_vault.errors import (
    AccessDeniedError,
    ObjectMissingError,
    StoreUnreachableError,
)
from safelight_vault.store import LockMode, Store

START = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)
BODY = b"0123456789"


class Clock:
    """A clock that a test moves."""

    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> MemoryStore:
    numbers = iter(range(1000))
    return MemoryStore(now=clock, new_version_id=lambda: f"v{next(numbers)}")


def put(store: Store, name: str = "packs/a", *, days: int = 10) -> str:
    digest = hashlib.sha256(BODY).digest()
    return store.put(name, [BODY], sha256=digest, retain_until=START + days * DAY)


def test_a_lock_holds_until_its_date_and_not_a_moment_longer(
    memory: MemoryStore, clock: Clock
) -> None:
    version_id = put(memory)
    clock.now = START + 10 * DAY - timedelta(seconds=1)
    with pytest.raises(AccessDeniedError):
        memory.delete_version("packs/a", version_id, bypass_governance=True)
    assert memory.delete_expired() == []
    clock.now = START + 10 * DAY
    memory.delete_version("packs/a", version_id)
    assert list(memory.list_versions("")) == []


def test_governance_yields_to_the_right_to_bypass_it(clock: Clock) -> None:
    memory = MemoryStore(now=clock, new_version_id=lambda: "v1", mode=LockMode.GOVERNANCE)
    version_id = put(memory)
    with pytest.raises(AccessDeniedError):
        memory.delete_version("packs/a", version_id)
    memory.delete_version("packs/a", version_id, bypass_governance=True)


def test_what_has_expired_can_be_swept_away_and_nothing_else(
    memory: MemoryStore, clock: Clock
) -> None:
    short, long = put(memory, "packs/short", days=1), put(memory, "packs/long", days=9)
    extended = put(memory, "packs/extended", days=1)
    memory.extend("packs/extended", extended, START + 9 * DAY)
    marker = memory.attacker_delete_marker("packs/long")
    clock.now = START + 2 * DAY
    assert memory.delete_expired() == [("packs/long", marker), ("packs/short", short)]
    assert memory.get("packs/long") == memory.get("packs/long", long) == BODY


def test_a_delete_marker_frees_the_name_as_on_s3(memory: MemoryStore) -> None:
    first = put(memory)
    memory.attacker_delete_marker("packs/a")
    second = put(memory)
    assert first != second
    assert memory.get("packs/a", first) == memory.get("packs/a", second) == BODY


def test_a_server_that_drops_locks_says_so_when_asked(clock: Clock) -> None:
    memory = MemoryStore(now=clock, new_version_id=lambda: "v1", ignores_locks=True)
    head = memory.head("packs/a", put(memory))
    assert (head.lock_mode, head.retain_until) == (LockMode.NONE, None)


def test_damage_is_one_byte(memory: MemoryStore) -> None:
    put(memory)
    memory.damage("packs/a", position=3)
    damaged = memory.get("packs/a")
    assert [number for number in range(10) if damaged[number] != BODY[number]] == [3]


def test_a_fault_fires_at_its_place_and_only_there(memory: MemoryStore) -> None:
    planned = fault(Operation.GET, Effect.FAIL_BEFORE, nth=2, times=2)
    store = FaultyStore(memory, [planned])
    put(store)
    assert store.get("packs/a") == BODY
    for _ in range(2):
        with pytest.raises(StoreUnreachableError):
            store.get("packs/a")
    assert store.get("packs/a") == BODY
    store.verify_all_faults_fired()
    assert store.calls == {Operation.PUT: 1, Operation.GET: 4}
    assert store.total_calls == 5


@pytest.mark.parametrize(
    "planned",
    [
        fault(Operation.GET, Effect.FAIL_BEFORE, nth=3),
        fault(Operation.GET, Effect.FAIL_BEFORE, nth=2, times=2),
        fault(Operation.PUT, Effect.FAIL_AFTER, name_prefix="packs/z"),
        fault(Operation.NOW, Effect.FAIL_BEFORE, times=None),
    ],
    ids=["too late", "too often", "another name", "never asked"],
)
def test_a_fault_that_did_not_fire_as_planned_fails_the_test(
    memory: MemoryStore, planned: Fault
) -> None:
    store = FaultyStore(memory, [planned])
    put(store)
    for _ in range(2):
        try:
            store.get("packs/a")
        except StoreUnreachableError:
            continue
    with pytest.raises(AssertionError, match="did not fire"):
        store.verify_all_faults_fired()


def test_a_lost_answer_comes_after_the_effect(memory: MemoryStore) -> None:
    store = FaultyStore(
        memory,
        [fault(Operation.PUT, Effect.FAIL_AFTER), fault(Operation.EXTEND, Effect.FAIL_AFTER)],
    )
    with pytest.raises(StoreUnreachableError):
        put(store)
    (version,) = memory.list_versions("")
    with pytest.raises(StoreUnreachableError):
        store.extend("packs/a", version.version_id, START + 20 * DAY)
    assert memory.head("packs/a").retain_until == START + 20 * DAY
    store.verify_all_faults_fired()


def test_a_body_is_corrupt_or_short_once_or_for_ever(memory: MemoryStore) -> None:
    put(memory)
    once = FaultyStore(memory, [fault(Operation.GET, Effect.CORRUPT_BODY)])
    damaged = once.get("packs/a")
    assert len(damaged) == len(BODY)
    assert damaged != BODY
    assert once.get("packs/a") == BODY
    always = FaultyStore(memory, [fault(Operation.GET, Effect.SHORT_BODY, times=None)])
    assert always.get("packs/a") == always.get("packs/a") == BODY[:-1]


def test_a_stale_listing_does_not_know_the_last_put(memory: MemoryStore) -> None:
    store = FaultyStore(memory, [fault(Operation.LIST, Effect.STALE_LIST)])
    put(store, "packs/a")
    put(store, "packs/b")
    assert [version.name for version in store.list_versions("")] == ["packs/a"]
    assert [version.name for version in store.list_versions("")] == ["packs/a", "packs/b"]


def test_a_listing_can_break_off_after_its_first_line(memory: MemoryStore) -> None:
    store = FaultyStore(memory, [fault(Operation.LIST, Effect.FAIL_AFTER)])
    put(store, "packs/a")
    put(store, "packs/b")
    listing = store.list_versions("")
    assert next(listing).name == "packs/a"
    with pytest.raises(StoreUnreachableError):
        next(listing)


def test_a_lock_can_be_denied_or_told_short(memory: MemoryStore) -> None:
    put(memory)
    store = FaultyStore(
        memory,
        [
            fault(Operation.HEAD, Effect.UNLOCKED),
            fault(Operation.HEAD, Effect.SHORT_LOCK, nth=2),
        ],
    )
    assert store.head("packs/a").lock_mode is LockMode.NONE
    assert store.head("packs/a").retain_until == START + 9 * DAY
    assert store.head("packs/a").retain_until == START + 10 * DAY


def test_after_a_kill_nothing_is_done_any_more(memory: MemoryStore) -> None:
    killed = Fault(operations=ANY_OPERATION, effect=Effect.FAIL_AFTER, nth=2, error=KilledError)
    store = FaultyStore(memory, [killed])
    put(store, "packs/a")
    with pytest.raises(KilledError):
        put(store, "packs/b")
    for operation in (lambda: put(store, "packs/c"), store.now, lambda: store.get("packs/a")):
        with pytest.raises(KilledError):
            operation()
    assert [version.name for version in memory.list_versions("")] == ["packs/a", "packs/b"]
    with pytest.raises(ObjectMissingError):
        memory.get("packs/c")
