"""Objects count as stored once their lock was read back, and as read once their hash matched."""

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faulty_store import Effect, FaultyStore, Operation, fault
from keys import agent_id
from memory_store import MemoryStore
from safelight_vault.errors import (
    AccessDeniedError,
    CorruptError,
    LockRefusedError,
    ObjectMissingError,
    StoreUnreachableError,
)
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.references import Reference
from safelight_vault.objects import (
    check_lock,
    ensure_lock,
    ensure_object,
    named,
    put_object,
    read_object,
)
from safelight_vault.store import LockMode

NOW = datetime(2026, 9, 21, 3, 0, tzinfo=UTC)
SOON = NOW + timedelta(days=35)
LATER = NOW + timedelta(days=400)
DATA = b"the bytes of an object"
NAME = named(Kind.TABLE, DATA, owner=agent_id())


def new_store(
    *,
    mode: LockMode = LockMode.COMPLIANCE,
    ignores_conditional_writes: bool = False,
    ignores_locks: bool = False,
) -> MemoryStore:
    numbers = count(1)
    return MemoryStore(
        now=lambda: NOW,
        new_version_id=lambda: f"v{next(numbers)}",
        mode=mode,
        ignores_conditional_writes=ignores_conditional_writes,
        ignores_locks=ignores_locks,
    )


@pytest.fixture
def store() -> MemoryStore:
    return new_store()


def versions(store: MemoryStore) -> list[str]:
    return [version.version_id for version in store.list_versions(str(NAME))]


class Reports(list[str]):
    """What was reported as tampering."""

    def __call__(self, message: str) -> None:
        self.append(message)


# --- Names -----------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_an_object_is_named_by_its_bytes(data: bytes) -> None:
    name = named(Kind.SNAPSHOT, data, owner=bytes(16), source=bytes(16), sequence=1)
    assert name == ObjectName(
        kind=Kind.SNAPSHOT,
        digest=hashlib.sha256(data).digest(),
        owner=bytes(16),
        source=bytes(16),
        sequence=1,
    )


# --- Putting ---------------------------------------------------------------------------------


def test_an_object_is_put_in_pieces_and_read_back(store: MemoryStore) -> None:
    reference = put_object(store, NAME, [DATA[:5], memoryview(DATA)[5:]], SOON)
    assert reference == Reference(NAME, "v1", len(DATA))
    assert store.head(str(NAME)).retain_until == SOON
    assert read_object(store, NAME) == (DATA, "v1")


def test_a_taken_name_with_the_same_bytes_is_adopted(store: MemoryStore) -> None:
    first = put_object(store, NAME, [DATA], SOON)
    assert put_object(store, NAME, [DATA], SOON) == first
    assert versions(store) == ["v1"]


def test_the_lock_of_what_is_adopted_is_extended(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    put_object(store, NAME, [DATA], LATER)
    assert store.head(str(NAME)).retain_until == LATER


def test_the_lock_of_what_is_adopted_is_never_shortened(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], LATER)
    put_object(store, NAME, [DATA], SOON)
    assert store.head(str(NAME)).retain_until == LATER


def test_a_sound_version_below_a_tampered_one_is_adopted(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    store.attacker_overwrite(str(NAME), DATA[:-1] + b"!")
    store.attacker_overwrite(str(NAME), b"short")
    assert put_object(store, NAME, [DATA], LATER) == Reference(NAME, "v1", len(DATA))
    assert store.head(str(NAME), "v1").retain_until == LATER


def test_a_name_taken_by_other_bytes_only_is_told(store: MemoryStore) -> None:
    store.attacker_overwrite(str(NAME), DATA[:-1] + b"!")
    with pytest.raises(CorruptError, match="other bytes than its name says"):
        put_object(store, NAME, [DATA], SOON)


def test_an_unlocked_version_that_somebody_put_first_is_adopted_and_locked(
    store: MemoryStore,
) -> None:
    store.attacker_overwrite(str(NAME), DATA)
    assert put_object(store, NAME, [DATA], SOON) == Reference(NAME, "v1", len(DATA))
    assert store.head(str(NAME)).retain_until == SOON


def test_a_name_under_a_delete_marker_is_put_again(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    store.attacker_delete_marker(str(NAME))
    assert put_object(store, NAME, [DATA], SOON) == Reference(NAME, "v3", len(DATA))


def test_an_answer_that_was_lost_is_made_good_by_the_next_try(store: MemoryStore) -> None:
    faulty = FaultyStore(store, [fault(Operation.PUT, Effect.FAIL_AFTER)])
    with pytest.raises(StoreUnreachableError):
        put_object(faulty, NAME, [DATA], SOON)
    assert put_object(faulty, NAME, [DATA], SOON) == Reference(NAME, "v1", len(DATA))
    assert versions(store) == ["v1"]
    faulty.verify_all_faults_fired()


# --- Locks -----------------------------------------------------------------------------------


def test_a_store_that_drops_the_lock_is_found_out() -> None:
    with pytest.raises(LockRefusedError, match="the store reports none"):
        put_object(new_store(ignores_locks=True), NAME, [DATA], SOON)


@pytest.mark.parametrize(
    ("effect", "match"),
    [(Effect.UNLOCKED, "reports none"), (Effect.SHORT_LOCK, "the store reports 2026-10-25")],
)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_missing_or_short_lock_is_refused_whenever_it_is_read_back(
    store: MemoryStore, effect: Effect, match: str, nth: int
) -> None:
    """Read back after the put; before and after an extension; and at the end of an adoption."""
    faulty = FaultyStore(store, [fault(Operation.HEAD, effect, nth=nth, times=None)])
    if nth > 1:
        put_object(faulty, NAME, [DATA], SOON)
    with pytest.raises(LockRefusedError, match=match):
        put_object(faulty, NAME, [DATA], SOON)
    faulty.verify_all_faults_fired()


def test_a_weaker_mode_than_the_store_s_own_is_refused() -> None:
    store = new_store(mode=LockMode.GOVERNANCE)
    version_id = store.put(str(NAME), [DATA], sha256=NAME.digest, retain_until=LATER)
    head = store.head(str(NAME), version_id)
    check_lock(store, head, SOON)
    with pytest.raises(LockRefusedError, match="mode governance, not compliance"):
        check_lock(new_store(), head, SOON)
    check_lock(new_store(mode=LockMode.EMULATED), head, SOON)


def test_a_lock_is_extended_only_where_it_ends_too_early(store: MemoryStore) -> None:
    faulty = FaultyStore(store)
    put_object(faulty, NAME, [DATA], SOON)
    assert ensure_lock(faulty, NAME, "v1", SOON).retain_until == SOON
    assert ensure_lock(faulty, NAME, "v1", NOW + timedelta(days=1)).retain_until == SOON
    assert faulty.calls[Operation.EXTEND] == 0
    assert ensure_lock(faulty, NAME, "v1", LATER).retain_until == LATER
    assert faulty.calls[Operation.EXTEND] == 1


def test_a_lock_with_parts_of_a_second_is_asked_for_once(store: MemoryStore) -> None:
    date = SOON + timedelta(microseconds=1)
    faulty = FaultyStore(store)
    put_object(faulty, NAME, [DATA], date)
    for _ in range(3):
        ensure_lock(faulty, NAME, "v1", date)
    assert faulty.calls[Operation.EXTEND] == 0


def test_an_unlocked_version_is_locked(store: MemoryStore) -> None:
    version_id = store.attacker_overwrite(str(NAME), DATA)
    assert ensure_lock(store, NAME, version_id, SOON).retain_until == SOON


def test_an_extension_that_is_refused_or_had_no_effect_is_told(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    denied = fault(Operation.EXTEND, Effect.FAIL_BEFORE, error=lambda: AccessDeniedError("policy"))
    with pytest.raises(AccessDeniedError):
        ensure_lock(FaultyStore(store, [denied]), NAME, "v1", LATER)
    short = fault(Operation.HEAD, Effect.SHORT_LOCK, times=None)
    with pytest.raises(LockRefusedError):
        ensure_lock(FaultyStore(store, [short]), NAME, "v1", LATER)


# --- Reading ---------------------------------------------------------------------------------


def test_the_recorded_version_is_read_without_a_listing(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    faulty, reports = FaultyStore(store), Reports()
    assert read_object(faulty, NAME, "v1", on_tamper=reports) == (DATA, "v1")
    assert faulty.calls[Operation.LIST] == 0
    assert reports == []


def test_a_tampered_newer_version_is_reported_and_not_followed(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    store.attacker_overwrite(str(NAME), b"forged")
    reports = Reports()
    assert read_object(store, NAME, on_tamper=reports) == (DATA, "v1")
    assert reports == [f"{NAME}: version v2 holds other bytes than its name says"]
    assert read_object(store, NAME) == (DATA, "v1")


def test_a_recorded_version_that_is_gone_is_replaced_by_a_matching_one() -> None:
    """As in a vault that was copied to another bucket: all VersionIds are new."""
    store = new_store()
    put_object(store, NAME, [DATA], SOON)
    reports = Reports()
    assert read_object(store, NAME, "of another bucket", on_tamper=reports) == (DATA, "v1")
    assert reports == []


def test_a_damaged_recorded_version_is_replaced_by_a_matching_one() -> None:
    store = new_store(ignores_conditional_writes=True)
    put_object(store, NAME, [DATA], SOON)
    put_object(store, NAME, [DATA], SOON)
    store.damage(str(NAME), position=3, version_id="v2")
    reports = Reports()
    assert read_object(store, NAME, "v2", on_tamper=reports) == (DATA, "v1")
    assert reports == [f"{NAME}: version v2 holds other bytes than its name says"]


def test_an_object_under_a_delete_marker_is_read(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    marker = store.attacker_delete_marker(str(NAME))
    assert read_object(store, NAME) == (DATA, "v1")
    assert read_object(store, NAME, marker) == (DATA, "v1")


def test_damage_and_absence_are_told_apart(store: MemoryStore) -> None:
    with pytest.raises(ObjectMissingError, match="is not in the vault"):
        read_object(store, NAME)
    with pytest.raises(ObjectMissingError, match="is not in the vault"):
        read_object(store, NAME, "v1")
    put_object(store, NAME, [DATA], SOON)
    store.damage(str(NAME), position=0)
    for version_id in (None, "v1", "v9"):
        with pytest.raises(CorruptError, match="no version holds the bytes") as caught:
            read_object(store, NAME, version_id)
        assert not isinstance(caught.value, ObjectMissingError)


def test_every_flip_in_a_stored_object_is_noticed(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    for position in range(len(DATA)):
        store.damage(str(NAME), position=position)
        with pytest.raises(CorruptError):
            read_object(store, NAME, "v1")
        store.damage(str(NAME), position=position)
    assert read_object(store, NAME, "v1") == (DATA, "v1")


@pytest.mark.parametrize("version_id", [None, "v1"])
@pytest.mark.parametrize(
    "error", [StoreUnreachableError("time-out"), AccessDeniedError("credentials")]
)
def test_a_store_that_does_not_answer_says_nothing_about_the_data(
    store: MemoryStore, version_id: str | None, error: Exception
) -> None:
    put_object(store, NAME, [DATA], SOON)
    planned = fault(Operation.GET, Effect.FAIL_BEFORE, error=lambda: error)
    faulty, reports = FaultyStore(store, [planned]), Reports()
    with pytest.raises(type(error)):
        read_object(faulty, NAME, version_id, on_tamper=reports)
    assert reports == []
    faulty.verify_all_faults_fired()


def test_objects_with_a_common_beginning_of_the_name_are_kept_apart(store: MemoryStore) -> None:
    put_object(store, NAME, [DATA], SOON)
    store.attacker_overwrite(str(NAME) + ".copy", DATA)
    store.attacker_overwrite(str(NAME) + "0", b"other")
    reports = Reports()
    assert read_object(store, NAME, on_tamper=reports) == (DATA, "v1")
    assert reports == []


# --- Making sure that an object is there -----------------------------------------------------


@pytest.mark.parametrize("ignores_conditional_writes", [False, True])
def test_an_object_is_ensured_once(ignores_conditional_writes: bool) -> None:
    store = new_store(ignores_conditional_writes=ignores_conditional_writes)
    first = ensure_object(store, NAME, DATA, SOON)
    assert ensure_object(store, NAME, DATA, LATER) == first == Reference(NAME, "v1", len(DATA))
    assert versions(store) == ["v1"]
    assert store.head(str(NAME)).retain_until == LATER


def test_an_object_whose_versions_are_all_tampered_with_is_put_again_where_that_is_possible() -> (
    None
):
    store = new_store(ignores_conditional_writes=True)
    store.attacker_overwrite(str(NAME), DATA[:-1] + b"!")
    assert ensure_object(store, NAME, DATA, SOON) == Reference(NAME, "v2", len(DATA))
    strict = new_store()
    strict.attacker_overwrite(str(NAME), DATA[:-1] + b"!")
    with pytest.raises(CorruptError):
        ensure_object(strict, NAME, DATA, SOON)
