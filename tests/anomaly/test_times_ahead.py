"""Times that lie ahead, and odd moments of the calendar: what a wrong night leaves behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_runs import Site, Ticking, fill_archive, new_memory_store, new_site
from installed_agent import directory_store
from invariants import Invariants
from safelight_agent.assembly import Machine
from vaults import Clock

TEN_YEARS = timedelta(days=3650)
ODD_MOMENTS = {
    "leap-day": datetime(2028, 2, 29, 12, tzinfo=UTC),
    "summer-begins": datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC),
    "hour-that-comes-twice": datetime(2027, 10, 31, 0, 30, tzinfo=UTC),
    "last-moment-of-a-year": datetime(2027, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS], ids=["forward", "back"])
def test_fault_31_what_was_read_by_a_wrong_clock_is_read_again(
    tmp_path: Path, jump: timedelta
) -> None:
    site = new_site(tmp_path)
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    offset = timedelta()

    def leap() -> None:
        nonlocal offset
        offset = jump

    def leaping(machine: Machine) -> Machine:
        return replace(machine, now=lambda: site.clock.now() + offset)

    before = Invariants(site)
    stop = Ticking(3, leap)
    result = site.run(stop=stop, machine=leaping)
    assert stop.asked >= 3
    assert result.complete
    before.hold(result)
    read = result.files_new + result.files_changed
    assert read
    assert before.next_run().files_changed == read, "a time ahead hides no change for years"
    assert before.next_run().files_changed == 0


@pytest.mark.parametrize("moment", ODD_MOMENTS.values(), ids=ODD_MOMENTS)
def test_fault_31_odd_moments_are_moments_like_any_other(tmp_path: Path, moment: datetime) -> None:
    clock = Clock(moment)
    site = new_site(tmp_path, store=new_memory_store(clock), clock=clock)
    site.vault.agent_settings = replace(site.vault.agent_settings, time_zone="Europe/Berlin")
    before = Invariants(site)
    for hours in (0, 1, 1, 23):
        fill_archive(site.archive, seed=hours)
        assert site.run(later=timedelta(hours=hours)).complete
    before.hold()


@pytest.mark.xfail(
    strict=True,
    reason="a directory store has no clock but the host's: after one night ten years ahead, runs "
    "are refused until then, although the clock is right again",
)
def test_fault_31_a_directory_vault_survives_a_night_ten_years_ahead(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    store = directory_store(tmp_path / "vault", now=clock.now)
    site: Site = new_site(tmp_path, store=store, clock=clock)
    assert site.run().complete
    before = Invariants(site)
    clock.advance(TEN_YEARS)
    site.run()
    clock.advance(-TEN_YEARS)
    before.next_run()
