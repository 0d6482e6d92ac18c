"""Clocks that are wrong, or jump: no lock is too short, none is absurdly long, and order holds.

The store's clock is the one that locks are measured by; the agent must agree with it or stop.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent_runs import Site, new_site
from damaged_sites import with_a_change
from invariants import Invariants
from safelight_agent.assembly import Machine
from safelight_vault.errors import ClockSkewError

YEARS = timedelta(days=3650)
LONGEST_LOCK = timedelta(days=3653 + 14 + 1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    return with_a_change(new_site(tmp_path))


def shown(change: Callable[[datetime], datetime]) -> Callable[[Machine], Machine]:
    """A machine whose clock shows something else than the store's."""

    def changed(machine: Machine) -> Machine:
        return replace(machine, now=lambda: change(machine.now()))

    return changed


def require_no_absurd_lock(site: Site) -> None:
    for version in site.store.list_versions(""):
        until = site.store.head(version.name, version.version_id).retain_until
        assert until is not None
        assert until <= site.clock.now() + LONGEST_LOCK


@pytest.mark.parametrize(
    "skew", [YEARS, -YEARS, timedelta(minutes=16), -timedelta(minutes=16)], ids=str
)
def test_fault_31_a_clock_that_is_not_the_stores_locks_nothing(site: Site, skew: timedelta) -> None:
    before = Invariants(site)
    objects = list(site.store.list_versions(""))
    result = site.run(machine=shown(lambda now: now + skew))
    assert result.exit_code == ClockSkewError.exit_code
    assert list(site.store.list_versions("")) == objects
    before.hold(result)
    before.next_run()


@pytest.mark.parametrize("skew", [timedelta(minutes=14), -timedelta(minutes=14)], ids=str)
def test_fault_31_a_clock_that_is_nearly_right_does(site: Site, skew: timedelta) -> None:
    before = Invariants(site)
    result = site.run(machine=shown(lambda now: now + skew))
    assert result.complete
    before.hold(result)
    require_no_absurd_lock(site)
    before.next_run()


@pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["forward", "back"])
@pytest.mark.parametrize("nth", [2, 3, 5])
def test_fault_31_a_clock_that_jumps_in_mid_run_moves_no_lock(
    site: Site, jump: timedelta, nth: int
) -> None:
    before = Invariants(site)
    numbers = itertools.count(1)
    result = site.run(machine=shown(lambda now: now + jump * (next(numbers) > nth)))
    assert next(numbers) > nth + 1
    assert result.complete or result.exit_code == ClockSkewError.exit_code
    before.hold(result)
    require_no_absurd_lock(site)
    before.next_run()


def test_fault_31_clocks_that_went_back_together_are_found_by_the_last_snapshot(
    site: Site,
) -> None:
    before = Invariants(site)
    site.clock.advance(-YEARS)
    result = site.run()
    assert result.exit_code == ClockSkewError.exit_code
    site.clock.advance(YEARS)
    before.hold(result)
    before.next_run()


def test_fault_31_clocks_that_go_on_together_change_the_order_of_nothing(site: Site) -> None:
    before = Invariants(site)
    site.clock.advance(timedelta(days=400))
    result = before.next_run()
    heads = sorted(site.access().heads().good, key=lambda head: head.snapshot.sequence)
    assert heads[-1].snapshot_id == result.snapshot
