"""Locks are missing, weak or short, or cannot be extended: nothing is published upon them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent_runs import Site, fill_archive, new_site
from damaged_sites import (
    WRITTEN_KINDS,
    kind_name,
    with_a_change,
)
from faulty_store import Effect, FaultyStore, Operation, fault
from invariants import Invariants
from odd_stores import DeafExtensions, OddHeads
from safelight_agent.config import RetentionSettings
from safelight_agent.results import RunResult
from safelight_vault.errors import (
    AccessDeniedError,
    RefusedError,
    StoreUnreachableError,
)
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.format.references import Reference
from safelight_vault.reader import Head as SnapshotHead
from safelight_vault.reader import iterate_references, load_table
from safelight_vault.store import Head, LockMode, Store

SHORT = RetentionSettings(daily_days=1, monthly_days=1, yearly_days=1, slack_days=2)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    return with_a_change(new_site(tmp_path))


def weaker(head: Head) -> Head:
    return replace(head, lock_mode=LockMode.GOVERNANCE)


def unlocked(head: Head) -> Head:
    return replace(head, lock_mode=LockMode.NONE, retain_until=None)


def shorter(head: Head) -> Head:
    until = head.retain_until
    return replace(head, retain_until=None if until is None else until - timedelta(days=1))


LIES = {"governance": weaker, "missing": unlocked, "shorter": shorter}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("kind", WRITTEN_KINDS, ids=kind_name)
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


@pytest.mark.parametrize(
    "keeps_state",
    [
        pytest.param(
            True,
            id="state-kept",
            marks=pytest.mark.xfail(
                strict=True, reason="the state remembers a lock's date and not its mode"
            ),
        ),
        pytest.param(False, id="state-lost"),
    ],
)
def test_fault_53_packs_under_weaker_locks_serve_no_snapshot_that_asks_for_stronger_ones(
    tmp_path: Path, keeps_state: bool
) -> None:
    site = new_site(tmp_path, mode=LockMode.GOVERNANCE)
    assert site.run().complete
    site.memory._mode = LockMode.COMPLIANCE
    strengthen(site, Kind.CONFIG, Kind.AGENT)
    if not keeps_state:
        site.lose_state()
    result = site.run()
    assert result.complete
    head = next(one for one in site.access().heads().good if one.snapshot_id == result.snapshot)
    modes = {
        site.store.head(str(reference.name), reference.version_id).lock_mode
        for reference in packs_of(site, head)
    }
    assert modes == {LockMode.COMPLIANCE}


def strengthen(site: Site, *kinds: Kind) -> None:
    """Lock what the administrator wrote anew, now in the store's stronger mode."""
    for version in list(site.store.list_versions("")):
        if parse_name(version.name).kind in kinds:
            until = site.store.head(version.name, version.version_id).retain_until
            assert until is not None
            site.store.extend(version.name, version.version_id, until + timedelta(days=1))


def packs_of(site: Site, head: SnapshotHead) -> list[Reference]:
    access = site.access()
    table, _ = load_table(site.store, access.trust.vault_id, head)
    references = iterate_references(site.store, access.trust.vault_id, table)
    return [reference for reference in references if reference.name.kind is Kind.PACK]
