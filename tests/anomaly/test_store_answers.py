"""The store's answers are lost, late, repeated, or wrong.

Nothing wrong is believed, nothing is stored twice where the store can tell, and rot is found.
"""

from pathlib import Path

import pytest

from agent_runs import Site, new_memory_store, new_site
from damaged_sites import (
    WRITTEN_KINDS,
    corrupt_objects,
    kind_name,
    remove,
    require_newest_restorable,
    with_a_change,
)
from faulty_store import Effect, FaultyStore, Operation, fault
from invariants import Invariants
from odd_stores import RepeatedRequests, RottingStore
from safelight_vault.errors import (
    CorruptError,
    StoreUnreachableError,
    WrongIdentityError,
)
from safelight_vault.format.names import Kind
from safelight_vault.store import Store
from safelight_vault.store.retrying import RetryingStore
from vaults import Clock

KINDS = (Kind.CONFIG, Kind.AGENT, Kind.PACK, Kind.INDEX, Kind.TABLE, Kind.SNAPSHOT)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    return with_a_change(new_site(tmp_path))


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


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=kind_name)
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_fault_42_a_put_whose_answer_was_lost_is_found_to_be_done(
    tmp_path: Path, kind: Kind, conditional: bool
) -> None:
    site = with_a_change(site_on_store(tmp_path, conditional=conditional))
    before = Invariants(site)
    lost = fault(Operation.PUT, Effect.FAIL_AFTER, name_prefix=f"{kind.value}/")
    faulty = FaultyStore(site.store, [lost])
    result = site.run(store=Retries(faulty).store)
    faulty.verify_all_faults_fired()
    assert result.complete
    before.hold(result)
    before.next_run()
    assert versions_too_many(site) == (0 if conditional else 1)


def site_on_store(directory: Path, *, conditional: bool) -> Site:
    """A site whose store refuses a taken name, or writes one more version of it."""
    clock = Clock()
    store = new_memory_store(clock)
    store._ignores_conditional_writes = not conditional
    return new_site(directory, store=store, clock=clock)


def versions_too_many(site: Site) -> int:
    names = [version.name for version in site.store.list_versions("")]
    return len(names) - len(set(names))


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
def test_fault_43_requests_that_arrive_twice_change_nothing(
    tmp_path: Path, conditional: bool
) -> None:
    site = with_a_change(site_on_store(tmp_path, conditional=conditional))
    before = Invariants(site)
    twice = RepeatedRequests(site.store)
    result = site.run(store=twice)
    assert twice.times
    assert result.complete
    before.hold(result)
    before.next_run()


# 44, 45, 46: bodies that are wrong


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
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


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=kind_name)
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


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=kind_name)
def test_fault_46_rot_of_an_old_object_does_not_stop_the_next_runs(site: Site, kind: Kind) -> None:
    for name in site.vault.names(kind):
        site.memory.damage(name, position=site.store.head(name).size_bytes // 2)
    Invariants(site, vault_is_damaged=True).next_run(stored_twice=None)
    site.lose_state()
    Invariants(site, vault_is_damaged=True).next_run(stored_twice=None)
