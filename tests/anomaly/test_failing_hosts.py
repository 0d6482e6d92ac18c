"""The host seals wrongly, repeats its random numbers, or loses a worker in mid-pack."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent_runs import Site, fill_archive, new_site
from invariants import Invariants
from safelight_agent import packing
from safelight_agent.assembly import Agent, Machine
from safelight_agent.packing import MiscomputedError
from safelight_agent.randomness import RepeatedRandomError
from safelight_vault.errors import IncompleteError
from safelight_vault.format.crypto import SealKey


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    site = new_site(tmp_path)
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    return site


# 33: bits flip in memory


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


class _Flipping:
    """A function whose n-th result has a flipped bit."""

    def __init__(self, function: Callable[..., bytes], nth: int) -> None:
        self._function = function
        self._nth = nth
        self.calls = 0

    def __call__(self, *arguments: Any, **options: Any) -> bytes:
        self.calls += 1
        result = self._function(*arguments, **options)
        return flip(result) if self.calls == self._nth else result


def flip_in_the_seal(patch: pytest.MonkeyPatch) -> _Flipping:
    """The processor errs while it encrypts."""
    seal = SealKey.seal
    flipping = _Flipping(seal, 2)

    def sealing(self: SealKey, *arguments: Any) -> bytes:
        return flipping(self, *arguments)

    patch.setattr(SealKey, "seal", sealing)
    return flipping


def test_fault_33_a_bit_that_flips_while_a_block_is_sealed_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Invariants(site)
    with monkeypatch.context() as patch:
        flipping = flip_in_the_seal(patch)
        result = site.run()
    assert flipping.calls
    assert result.exit_code == MiscomputedError.exit_code
    assert "memory" in result.error
    before.hold(result)
    before.next_run()


# 34: random numbers repeat


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[bytes, int]]:
    """How often each pair of key and nonce was sealed with, by any part of the program."""
    pairs: Counter[tuple[bytes, int]] = Counter()
    seal, create = SealKey.seal, SealKey.__init__
    keys: dict[int, tuple[SealKey, bytes]] = {}

    def creating(self: SealKey, key: bytes) -> None:
        create(self, key)
        keys[id(self)] = (self, key)

    def sealing(self: SealKey, number: int, plain: bytes, context: bytes) -> bytes:
        pairs[keys[id(self)][1], number] += 1
        return seal(self, number, plain, context)

    monkeypatch.setattr(SealKey, "__init__", creating)
    monkeypatch.setattr(SealKey, "seal", sealing)
    return pairs


def require_no_reuse(pairs: Counter[tuple[bytes, int]]) -> None:
    assert pairs, "nothing was sealed at all"
    assert max(pairs.values()) == 1, "one key and nonce sealed two things"


def with_random(source: Callable[[int], bytes]) -> Callable[[Machine], Machine]:
    return lambda machine: replace(machine, random_bytes=source)


def test_fault_34_a_stuck_generator_is_refused(
    site: Site, sealed: Counter[tuple[bytes, int]]
) -> None:
    before = Invariants(site)
    result = site.run(machine=with_random(lambda size: b"\x17" * size))
    assert result.exit_code == RepeatedRandomError.exit_code
    assert "repeat" in result.error
    assert not sealed or max(sealed.values()) == 1
    before.hold(result)
    before.next_run()
    require_no_reuse(sealed)


@pytest.mark.parametrize("keeps_state", [True, False], ids=["state-kept", "state-lost"])
@pytest.mark.parametrize("changed", [True, False], ids=["archive-changed", "archive-unchanged"])
def test_fault_34_a_generator_that_begins_anew_with_every_run_is_refused(
    site: Site, sealed: Counter[tuple[bytes, int]], keeps_state: bool, changed: bool
) -> None:
    assert site.run(machine=with_random(Random(34).randbytes)).complete
    if not changed:
        # The run that is repeated sealed nothing but its snapshot.
        assert site.run(machine=with_random(Random(35).randbytes)).complete
    else:
        fill_archive(site.archive, slices=4, seed=2)
    before = Invariants(site)
    if not keeps_state:
        site.lose_state()
    result = site.run(machine=with_random(Random(34 if changed else 35).randbytes))
    assert result.exit_code == RepeatedRandomError.exit_code
    require_no_reuse(sealed)
    before.hold(result)
    before.next_run()
    require_no_reuse(sealed)


# 35: a worker dies


class _DyingPool:
    """Real processes as workers; the first one is killed when it has been given a task."""

    def __init__(self) -> None:
        self.killed = 0

    @contextmanager
    def of(self) -> Iterator[Executor]:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            yield _KillAfter(pool, self)


class _KillAfter(Executor):
    def __init__(self, pool: ProcessPoolExecutor, of: _DyingPool) -> None:
        self._pool = pool
        self._of = of
        self._tasks = 0

    def submit(self, task: Any, /, *arguments: Any, **options: Any) -> "Future[Any]":
        future = self._pool.submit(task, *arguments, **options)
        self._tasks += 1
        if self._tasks == 2:
            for process in list(self._pool._processes.values()):
                process.kill()
                self._of.killed += 1
        return future


def test_fault_35_a_worker_process_that_is_killed_ends_the_run_by_name(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Invariants(site)
    pool = _DyingPool()
    with monkeypatch.context() as patch:
        patch.setattr(Agent, "_executor", pool.of)
        result = site.run()
    assert pool.killed == 1
    assert result.exit_code == IncompleteError.exit_code
    before.hold(result)
    before.next_run()


class _DroppingPool(ThreadPoolExecutor):
    """Threads that are shut down under the run, as at the end of the interpreter."""

    def submit(self, task: Any, /, *arguments: Any, **options: Any) -> "Future[Any]":
        if task is packing.compress:
            self.shutdown(wait=True, cancel_futures=True)
        return super().submit(task, *arguments, **options)


def test_fault_35_a_pool_that_is_shut_down_in_mid_pack_leaves_no_snapshot(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Invariants(site)

    @contextmanager
    def dropping(agent: Agent) -> Iterator[Executor]:
        with _DroppingPool(1) as pool:
            yield pool

    with monkeypatch.context() as patch:
        patch.setattr(Agent, "_executor", dropping)
        with pytest.raises(RuntimeError, match="shutdown"):
            site.run()
    before.hold()
    before.next_run()


def test_the_work_of_a_run_can_be_done_by_other_processes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``test_fault_35`` plays would mean nothing if no process could do it at all."""
    before = Invariants(site)

    @contextmanager
    def processes(agent: Agent) -> Iterator[Executor]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool

    with monkeypatch.context() as patch:
        patch.setattr(Agent, "_executor", processes)
        result = site.run()
    assert result.complete
    before.hold(result)
