"""The store's listings are stale, cut short, repeated, out of order, or list strangers' objects.

A run that is shown less than there is costs at most a second reading or a second upload: what it
publishes is sound, and its chain goes on where this agent left it.
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from agent_runs import Site, fill_archive, new_site
from invariants import Invariants
from odd_stores import ListingChange, OddListings
from safelight_agent.results import RunResult
from safelight_vault.format.names import Kind
from safelight_vault.store import Version

PACKS, INDEX, SNAPSHOTS = (f"{kind.value}/" for kind in (Kind.PACK, Kind.INDEX, Kind.SNAPSHOT))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with three snapshots, and an archive that has changed since."""
    site = new_site(tmp_path)
    for seed in range(3):
        fill_archive(site.archive, seed=seed)
        assert site.run().complete
    fill_archive(site.archive, slices=3, seed=3)
    return site


def only_below(top: str, change: ListingChange) -> ListingChange:
    def changed(prefix: str, true: list[Version]) -> Iterable[Version]:
        return change(prefix, true) if prefix.startswith(top) else true

    return changed


def nothing(prefix: str, true: list[Version]) -> Iterable[Version]:
    return []


def cut_short(prefix: str, true: list[Version]) -> Iterable[Version]:
    return true[: len(true) // 2]


def twice(prefix: str, true: list[Version]) -> Iterable[Version]:
    return [version for version in true for _ in range(2)]


def backwards(prefix: str, true: list[Version]) -> Iterable[Version]:
    return reversed(true)


def with_strangers(prefix: str, true: list[Version]) -> Iterable[Version]:
    """Names that are none, and a valid one beyond the prefix."""
    if not true:
        return true
    one = true[0]
    names = ("", "../x", f"{prefix}zz", f"{one.name}.bak", "other/prefix/0", one.name.upper())
    return [*(replace(one, name=name) for name in names), *true]


def stale(prefix: str, true: list[Version]) -> Iterable[Version]:
    """Without the newest object."""
    newest = max(true, key=lambda version: version.modified, default=None)
    return [version for version in true if version is not newest]


def wrong_sizes(prefix: str, true: list[Version]) -> Iterable[Version]:
    return [replace(version, size_bytes=version.size_bytes + 1) for version in true]


def require_one_chain(site: Site) -> None:
    """The snapshots have the numbers 1, 2, 3 ..., each follows the one before."""
    heads = sorted(site.access().heads().good, key=lambda head: head.snapshot.sequence)
    assert [head.snapshot.sequence for head in heads] == list(range(1, len(heads) + 1))
    for before, after in itertools.pairwise(heads):
        assert after.snapshot.predecessor == before.name.digest


def run_with(site: Site, change: ListingChange) -> RunResult:
    odd = OddListings(site.store, change)
    result = site.run(store=odd)
    assert odd.times
    return result


HARMLESS = {"twice": twice, "backwards": backwards, "strangers": with_strangers}
LOSSES = {"nothing": nothing, "cut-short": cut_short, "stale": stale, "wrong-sizes": wrong_sizes}


@pytest.mark.parametrize("oddity", HARMLESS)
@pytest.mark.parametrize("keeps_state", [True, False], ids=["state-kept", "state-lost"])
def test_fault_47_an_odd_listing_changes_nothing(
    site: Site, oddity: str, keeps_state: bool
) -> None:
    if not keeps_state:
        site.lose_state()
    before = Invariants(site)
    result = run_with(site, HARMLESS[oddity])
    assert result.complete
    before.hold(result)
    before.next_run()
    require_one_chain(site)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("top", [PACKS, SNAPSHOTS], ids=["packs", "snapshots"])
def test_fault_47_objects_missing_from_a_listing_are_no_reason_to_forget_a_chain(
    site: Site, loss: str, top: str
) -> None:
    before = Invariants(site)
    result = run_with(site, only_below(top, LOSSES[loss]))
    before.hold(result)
    before.next_run(stored_twice=() if top != PACKS else None)
    require_one_chain(site)


@pytest.mark.parametrize("loss", LOSSES)
def test_fault_47_a_lost_state_and_a_listing_of_the_index_with_losses(
    site: Site, loss: str
) -> None:
    site.lose_state()
    before = Invariants(site)
    result = run_with(site, only_below(INDEX, LOSSES[loss]))
    assert result.complete
    before.hold(result)
    before.next_run()
