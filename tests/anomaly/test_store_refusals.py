"""The store refuses, forgets, or is another one: "may not" is never taken for "is not there"."""

import itertools
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
from safelight_vault.errors import (
    AccessDeniedError,
    ConfigurationError,
    ObjectMissingError,
    RefusedError,
)
from safelight_vault.format.names import Kind
from safelight_vault.store import LockMode


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    return with_a_change(new_site(tmp_path))


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


@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=kind_name)
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
    assert result.exit_code == ConfigurationError.exit_code
    assert not list(empty.list_versions(""))
    before.hold(result)
    before.next_run()
