"""The store slows down, loses answers, lies about locks, refuses, forgets and rots.

Whatever it does, nothing is published that is not stored and locked, trouble has a name and a code,
and the next run completes.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent_runs import Site, fill_archive, new_memory_store, new_site
from faulty_store import Effect, FaultyStore, Operation, fault
from invariants import Invariants, require_restorable
from memory_store import MemoryStore
from odd_stores import DeafExtensions, OddHeads, RepeatedRequests, RottingStore
from safelight_agent.config import RetentionSettings
from safelight_agent.results import RunResult
from safelight_restore.audit import Severity, audit
from safelight_vault.errors import (
    AccessDeniedError,
    CorruptError,
    ObjectMissingError,
    RefusedError,
    StoreUnreachableError,
    WrongIdentityError,
)
from safelight_vault.format.names import Kind
from safelight_vault.store import Head, LockMode, Store
from safelight_vault.store.retrying import RetryingStore
from vaults import Clock

KINDS = (Kind.CONFIG, Kind.AGENT, Kind.PACK, Kind.INDEX, Kind.TABLE, Kind.SNAPSHOT)
WRITTEN_KINDS = (Kind.PACK, Kind.INDEX, Kind.REFERENCES, Kind.TABLE, Kind.SNAPSHOT)
SHORT = RetentionSettings(daily_days=1, monthly_days=1, yearly_days=1, slack_days=2)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    return with_a_change(new_site(tmp_path))


def with_a_change(site: Site) -> Site:
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    return site


def named(kind: Kind) -> str:
    return kind.value


class Retries:
    """A store that is tried again, and the pauses that this took."""

    def __init__(self, inner: Store, *, attempts: int = 5) -> None:
        self.pauses_seconds: list[float] = []
        self.store = RetryingStore(
            inner,
            attempts=attempts,
            sleep=self.pauses_seconds.append,
            uniform=lambda low, high: high,
        )


# 39, 40, 42, 43: answers that do not come


@pytest.mark.parametrize(
    "operation",
    [Operation.PUT, Operation.GET, Operation.HEAD, Operation.LIST, Operation.NOW],
    ids=lambda operation: operation.value,
)
@pytest.mark.parametrize("effect", [Effect.FAIL_BEFORE, Effect.FAIL_AFTER], ids=["39", "40"])
def test_faults_39_40_a_store_that_recovers_costs_only_pauses(
    site: Site, operation: Operation, effect: Effect
) -> None:
    before = Invariants(site)
    faulty = FaultyStore(site.store, [fault(operation, effect, times=3)])
    retries = Retries(faulty)
    result = site.run(store=retries.store)
    faulty.verify_all_faults_fired()
    assert result.complete
    # A put that was done although its answer was lost is found by the second try.
    assert 1 <= len(retries.pauses_seconds) <= 3
    before.hold(result)
    before.next_run()


def test_fault_39_a_store_that_does_not_recover_ends_the_run_after_bounded_tries(
    site: Site,
) -> None:
    before = Invariants(site)
    faulty = FaultyStore(site.store, [fault(Operation.PUT, Effect.FAIL_BEFORE, times=None)])
    retries = Retries(faulty)
    result = site.run(store=retries.store)
    assert result.exit_code == StoreUnreachableError.exit_code
    # One pack after another waits its turn, so each gives up on its own.
    assert 4 <= len(retries.pauses_seconds) <= 4 * faulty.calls[Operation.PUT]
    assert max(retries.pauses_seconds) <= 20
    before.hold(result)
    before.next_run()


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=named)
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_fault_42_a_put_whose_answer_was_lost_is_found_to_be_done(
    tmp_path: Path, kind: Kind, conditional: bool
) -> None:
    site = with_a_change(new_site(tmp_path, **store_of(conditional=conditional)))
    before = Invariants(site)
    lost = fault(Operation.PUT, Effect.FAIL_AFTER, name_prefix=f"{kind.value}/")
    faulty = FaultyStore(site.store, [lost])
    result = site.run(store=Retries(faulty).store)
    faulty.verify_all_faults_fired()
    assert result.complete
    before.hold(result)
    before.next_run()
    assert versions_too_many(site) == (0 if conditional else 1)


def store_of(*, conditional: bool) -> dict[str, MemoryStore | Clock]:
    """Store and clock of a new site; without conditional writes a name can be put twice."""
    clock = Clock()
    store = new_memory_store(clock)
    store._ignores_conditional_writes = not conditional
    return {"store": store, "clock": clock}


def versions_too_many(site: Site) -> int:
    names = [version.name for version in site.store.list_versions("")]
    return len(names) - len(set(names))


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_fault_43_requests_that_arrive_twice_change_nothing(
    tmp_path: Path, conditional: bool
) -> None:
    site = with_a_change(new_site(tmp_path, **store_of(conditional=conditional)))
    before = Invariants(site)
    twice = RepeatedRequests(site.store)
    result = site.run(store=twice)
    assert twice.times
    assert result.complete
    before.hold(result)
    before.next_run()


# 44, 45, 46: bodies that are wrong


@pytest.mark.parametrize("kind", KINDS, ids=named)
@pytest.mark.parametrize("effect", [Effect.SHORT_BODY, Effect.CORRUPT_BODY], ids=["44", "45"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_faults_44_45_a_wrong_body_is_never_believed(
    site: Site, kind: Kind, effect: Effect, times: int | None
) -> None:
    if kind in {Kind.PACK, Kind.INDEX}:
        site.lose_state()  # else a run has no reason to read these
    if kind is Kind.PACK:
        remove(site, Kind.INDEX)
    before = Invariants(site)
    wrong = fault(Operation.GET, effect, name_prefix=f"{kind.value}/", times=times)
    faulty = FaultyStore(site.store, [wrong])
    result = site.run(store=faulty)
    if kind is not Kind.TABLE:  # which a run only writes
        faulty.verify_all_faults_fired()
    if not result.complete:
        # A certificate that cannot be believed leaves the agent without one, but not in silence.
        unknown = kind is Kind.AGENT and any("tampering" in line for line in site.log_lines)
        assert result.exit_code in {CorruptError.exit_code, WrongIdentityError.exit_code}, result
        assert result.exit_code == CorruptError.exit_code or unknown
    before.hold(result)
    before.next_run(stored_twice=None)


def remove(site: Site, kind: Kind) -> None:
    """Take objects out of the store, as only its owner can."""
    for name in site.vault.names(kind):
        del site.memory._objects[name]


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=named)
def test_fault_46_what_rots_in_the_store_is_found_at_once_or_named_by_an_audit(
    site: Site, kind: Kind
) -> None:
    before = Invariants(site, vault_is_damaged=True)
    rotting = RottingStore(site.memory, f"{kind.value}/")
    result = site.run(store=rotting)
    assert rotting.times
    before.hold(result)
    if kind is Kind.PACK:
        assert any(name.startswith(f"{kind.value}/") for name in corrupt_objects(site))
    elif kind in {Kind.TABLE, Kind.SNAPSHOT}:
        assert result.exit_code == CorruptError.exit_code, "small objects are read back at once"
    elif kind is Kind.REFERENCES:
        assert result.complete, "the segment is written again under other names"
        (rotten,) = corrupt_objects(site)
        assert rotten.startswith(f"{kind.value}/")
        require_newest_restorable(site)
    before.next_run(stored_twice=None)


def corrupt_objects(site: Site) -> list[str]:
    report = audit(
        site.access(),
        now=site.store.now(),
        read_everything=True,
        on_progress=lambda done, total: None,
    )
    return [found.object_name for found in report.findings if found.severity is Severity.CORRUPT]


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=named)
def test_fault_46_rot_of_an_old_object_does_not_stop_the_next_runs(site: Site, kind: Kind) -> None:
    for name in site.vault.names(kind):
        site.memory.damage(name, position=site.store.head(name).size_bytes // 2)
    Invariants(site, vault_is_damaged=True).next_run(stored_twice=None)
    site.lose_state()
    Invariants(site, vault_is_damaged=True).next_run(stored_twice=None)


# 28, 49, 50, 57: objects that are not there, or may not be seen


def test_fault_28_packs_that_the_state_knows_and_the_vault_lacks_are_stored_again(
    site: Site,
) -> None:
    assert site.run().complete
    remove(site, Kind.PACK)
    before = Invariants(site, vault_is_damaged=True)
    result = site.run()
    assert result.complete
    assert result.files_unchanged == 1, "the empty file, which needs no pack"
    before.hold(result)
    assert corrupt_objects(site), "the snapshots that were robbed are named"
    require_newest_restorable(site)


def require_newest_restorable(site: Site) -> None:
    access = site.access()
    newest = max(access.heads().good, key=lambda head: head.snapshot.sequence)
    require_restorable(site, access, newest)


DENIED_OPERATIONS = [Operation.PUT, Operation.GET, Operation.HEAD, Operation.LIST, Operation.NOW]


def end_credentials(site: Site, operation: Operation, nth: int) -> bool:
    """One run whose credentials end at its n-th operation of a kind; whether it had so many."""
    before = Invariants(site)
    denied = fault(
        operation,
        Effect.FAIL_BEFORE,
        nth=nth,
        times=None,
        error=lambda: AccessDeniedError("planned: these credentials have ended"),
    )
    faulty = FaultyStore(site.store, [denied])
    result = site.run(store=faulty)
    if faulty.calls[operation] < nth:
        assert result.complete
        return False
    assert result.exit_code == RefusedError.exit_code
    before.hold(result)
    before.next_run()
    return True


def end_credentials_everywhere(site: Site, operation: Operation, place: Path, *, step: int) -> None:
    for nth in itertools.count(1, step):
        if not end_credentials(site.fork(place / str(nth)), operation, nth):
            assert nth > 1
            return


@pytest.mark.parametrize("operation", DENIED_OPERATIONS, ids=lambda operation: operation.value)
@pytest.mark.parametrize("keeps_state", [True, False], ids=["state-kept", "state-lost"])
def test_fault_49_credentials_that_end_in_mid_run_are_no_absence(
    site: Site, tmp_path: Path, operation: Operation, keeps_state: bool
) -> None:
    if not keeps_state:
        site.lose_state()
    end_credentials_everywhere(site, operation, tmp_path / "forks", step=4)


@pytest.mark.full
@pytest.mark.parametrize("operation", DENIED_OPERATIONS, ids=lambda operation: operation.value)
@pytest.mark.parametrize("keeps_state", [True, False], ids=["state-kept", "state-lost"])
def test_fault_49_credentials_that_end_at_every_operation_are_no_absence(
    site: Site, tmp_path: Path, operation: Operation, keeps_state: bool
) -> None:
    if not keeps_state:
        site.lose_state()
    end_credentials_everywhere(site, operation, tmp_path / "forks", step=1)


def test_fault_49_a_lock_that_may_not_be_looked_at_is_no_reason_to_store_again(
    tmp_path: Path,
) -> None:
    site = with_a_change(new_site(tmp_path, mode=LockMode.GOVERNANCE))
    before = Invariants(site)
    denied = fault(
        Operation.HEAD,
        Effect.FAIL_BEFORE,
        name_prefix=f"{Kind.PACK.value}/",
        error=lambda: AccessDeniedError("planned: these credentials may not"),
    )
    faulty = FaultyStore(site.store, [denied])
    result = site.run(store=faulty)
    faulty.verify_all_faults_fired()
    assert result.exit_code == RefusedError.exit_code
    before.hold(result)
    before.next_run()


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=named)
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_fault_50_an_object_that_is_not_seen_after_its_put(
    site: Site, kind: Kind, times: int | None
) -> None:
    before = Invariants(site)
    absent = fault(
        Operation.HEAD,
        Effect.FAIL_BEFORE,
        name_prefix=f"{kind.value}/",
        times=times,
        error=lambda: ObjectMissingError("planned: not seen yet"),
    )
    faulty = FaultyStore(site.store, [absent])
    result = site.run(store=faulty)
    faulty.verify_all_faults_fired()
    assert result.complete is (times == 1)
    before.hold(result)
    before.next_run()


def test_fault_57_a_bucket_that_is_gone_is_no_new_vault(site: Site) -> None:
    before = Invariants(site)
    empty = new_memory_store(site.clock)
    result = site.run(store=empty)
    assert result.exit_code == CorruptError.exit_code
    assert not list(empty.list_versions(""))
    before.hold(result)
    before.next_run()


# 53, 54: locks


def weaker(head: Head) -> Head:
    return replace(head, lock_mode=LockMode.GOVERNANCE)


def unlocked(head: Head) -> Head:
    return replace(head, lock_mode=LockMode.NONE, retain_until=None)


def shorter(head: Head) -> Head:
    until = head.retain_until
    return replace(head, retain_until=None if until is None else until - timedelta(days=1))


LIES = {"governance": weaker, "missing": unlocked, "shorter": shorter}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=named)
def test_fault_53_a_lock_that_is_not_as_asked_fails_the_run(
    site: Site, kind: Kind, lie: str
) -> None:
    change = LIES[lie]
    before = Invariants(site)

    def of_this_kind(head: Head) -> Head:
        return change(head) if head.name.startswith(f"{kind.value}/") else head

    odd = OddHeads(site.store, of_this_kind)
    result = site.run(store=odd)
    assert odd.times
    assert result.exit_code == RefusedError.exit_code
    assert "lock" in result.error
    before.hold(result)
    before.next_run()


def test_fault_53_a_store_that_drops_locks_is_given_no_snapshot(site: Site) -> None:
    before = Invariants(site)
    site.memory._ignores_locks = True
    result = site.run()
    assert result.exit_code == RefusedError.exit_code
    before.hold(result)
    assert site.results[-2].snapshot in {head.snapshot_id for head in site.access().heads().good}
    assert len(site.access().heads().good) == 1
    site.memory._ignores_locks = False
    before.next_run(stored_twice=None)


@pytest.fixture
def short_site(tmp_path: Path) -> Site:
    """A vault whose packs are locked for some days, and from now on for years."""
    site = new_site(tmp_path)
    site.vault.retention = SHORT
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    assert site.run(later=timedelta(hours=1)).complete
    site.vault.retention = RetentionSettings()
    return site


def refused() -> BaseException:
    return AccessDeniedError("planned: the policy's cap is met")


EXTENSIONS: dict[str, Callable[[Store], Store]] = {
    "one-refused": lambda store: FaultyStore(
        store, [fault(Operation.EXTEND, Effect.FAIL_BEFORE, error=refused)]
    ),
    "all-refused": lambda store: FaultyStore(
        store, [fault(Operation.EXTEND, Effect.FAIL_BEFORE, times=None, error=refused)]
    ),
    "all-deaf": DeafExtensions,
}


@pytest.mark.parametrize("way", EXTENSIONS)
def test_fault_54_what_cannot_be_locked_longer_is_stored_again(short_site: Site, way: str) -> None:
    before = Invariants(short_site)
    store = EXTENSIONS[way](short_site.store)
    result = short_site.run(store=store, later=timedelta(hours=1))
    require_fired(store)
    assert result.complete or result.exit_code == RefusedError.exit_code, result
    assert result.complete, result.error
    assert result.chunks_new > 0
    before.hold(result)
    before.next_run(stored_twice=None)


def require_fired(store: Store) -> None:
    if isinstance(store, FaultyStore):
        store.verify_all_faults_fired()
    else:
        assert isinstance(store, DeafExtensions)
        assert store.times


@pytest.mark.parametrize("effect", [Effect.FAIL_BEFORE, Effect.FAIL_AFTER])
def test_fault_54_an_extension_without_an_answer_ends_the_run(
    short_site: Site, effect: Effect
) -> None:
    before = Invariants(short_site)
    faulty = FaultyStore(short_site.store, [fault(Operation.EXTEND, effect)])
    result = short_site.run(store=faulty, later=timedelta(hours=1))
    faulty.verify_all_faults_fired()
    assert result.exit_code == StoreUnreachableError.exit_code
    before.hold(result)
    after: RunResult = before.next_run()
    assert after.chunks_new < 10
