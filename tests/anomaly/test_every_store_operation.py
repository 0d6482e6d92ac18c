"""Each operation of a run on its store fails in turn, once or from then on, before or after it
took effect, and the next run goes on with the agent's state or without it.

The loop ends by itself: at the first n at which the run completes because it has fewer operations.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent_runs import Site, fill_archive, new_site
from faulty_store import ANY_OPERATION, Effect, Fault, FaultyStore
from invariants import Invariants
from safelight_vault.errors import StoreUnreachableError

SAMPLE_STEP = 5
"""Without SAFELIGHT_FULL=1, each way to fail is played at every fifth operation."""
OPERATIONS_MIN, OPERATIONS_MAX = 25, 80


@dataclass(frozen=True, slots=True)
class Way:
    """How operations fail, and what becomes of the local state before the next run."""

    effect: Effect
    for_ever: bool
    keeps_state: bool

    def __str__(self) -> str:
        """The test's id."""
        when = "before" if self.effect is Effect.FAIL_BEFORE else "lost-answer"
        state = "state-kept" if self.keeps_state else "state-lost"
        return f"{when}-{'ever' if self.for_ever else 'once'}-{state}"


WAYS = [
    Way(effect, for_ever, keeps_state)
    for effect in (Effect.FAIL_BEFORE, Effect.FAIL_AFTER)
    for for_ever in (False, True)
    for keeps_state in (True, False)
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    site = new_site(tmp_path_factory.mktemp("origin"))
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    return site


def play(site: Site, way: Way, nth: int) -> bool:
    """One run with the fault and one without; whether the fault was reached at all."""
    before = Invariants(site)
    faulty = FaultyStore(
        site.store,
        [
            Fault(
                operations=ANY_OPERATION,
                effect=way.effect,
                nth=nth,
                times=None if way.for_ever else 1,
            )
        ],
    )
    result = site.run(store=faulty)
    if faulty.total_calls < nth:
        assert result.complete
        return False
    faulty.verify_all_faults_fired()
    assert result.exit_code == StoreUnreachableError.exit_code
    assert not result.snapshot
    before.hold(result)
    if not way.keeps_state:
        site.lose_state()
    before.next_run()
    return True


def loop(origin: Site, place: Path, way: Way, numbers: Iterator[int]) -> int:
    """Play a way to fail at these operations until a run has none left; the last one played."""
    for nth in numbers:
        if not play(origin.fork(place / str(nth)), way, nth):
            return nth
        assert nth < OPERATIONS_MAX
    raise AssertionError("the loop ends with the run's operations")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_faults_22_39_42_a_store_operation_fails(origin: Site, tmp_path: Path, way: Way) -> None:
    first = 1 + WAYS.index(way) % SAMPLE_STEP
    last = loop(origin, tmp_path, way, itertools.count(first, SAMPLE_STEP))
    assert last >= OPERATIONS_MIN


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_faults_22_39_42_every_store_operation_fails(
    origin: Site, tmp_path: Path, way: Way
) -> None:
    assert loop(origin, tmp_path, way, itertools.count(1)) >= OPERATIONS_MIN
