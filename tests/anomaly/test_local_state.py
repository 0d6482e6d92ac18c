"""The agent's local state is lost, damaged, old, foreign or full: it is a cache, and nothing more.

In each case the next run completes, references nothing that is not in the vault, and stores nothing
a second time.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from agent_runs import Site, fill_archive, new_site
from invariants import Invariants
from safelight_agent.state import open_state
from safelight_agent.state_database import SCHEMA_VERSION

PAGE_SIZE = 4096


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with two snapshots, the agent's state of the first kept aside."""
    site = new_site(tmp_path)
    assert site.run().complete
    shutil.copytree(site.state_directory, tmp_path / "first-state")
    fill_archive(site.archive, slices=3, seed=1)
    assert site.run().complete
    return site


def older_copy(site: Site) -> None:
    site.lose_state()
    first = site.vault.directory / "first-state" / site.state_file.name
    shutil.copy(first, site.state_file)


def of_another_vault(site: Site) -> None:
    site.lose_state()
    state, _ = open_state(site.state_file, vault_id=bytes(16), agent_id=bytes(16))
    state.close()


def of_a_future_version(site: Site) -> None:
    with sqlite3.connect(site.state_file) as database:
        database.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
    database.close()


def truncated(site: Site) -> None:
    size = site.state_file.stat().st_size
    os.truncate(site.state_file, size // 2 // PAGE_SIZE * PAGE_SIZE)


def cut_within_a_page(site: Site) -> None:
    os.truncate(site.state_file, site.state_file.stat().st_size - 1000)


def emptied(site: Site) -> None:
    os.truncate(site.state_file, 0)


def garbage(site: Site) -> None:
    site.state_file.write_bytes(Random(27).randbytes(20_000))


def torn_page(site: Site) -> None:
    """The last page that was written of half a sector's old content and half zeros."""
    data = bytearray(site.state_file.read_bytes())
    last = len(data) - PAGE_SIZE
    data[last + 512 : last + PAGE_SIZE] = bytes(PAGE_SIZE - 512)
    site.state_file.write_bytes(bytes(data))


def foreign_write_ahead_log(site: Site) -> None:
    """What a power cut can leave beside the file: a log of something else."""
    Path(f"{site.state_file}-wal").write_bytes(Random(24).randbytes(8 * PAGE_SIZE))


def a_directory(site: Site) -> None:
    site.lose_state()
    site.state_file.mkdir()


ACCIDENTS: dict[str, Callable[[Site], None]] = {
    "27-deleted": Site.lose_state,
    "27-older-copy": older_copy,
    "27-of-another-vault": of_another_vault,
    "27-of-a-future-version": of_a_future_version,
    "27-truncated": truncated,
    "27-cut-within-a-page": cut_within_a_page,
    "27-emptied": emptied,
    "27-garbage": garbage,
    "24-torn-page": torn_page,
    "24-foreign-write-ahead-log": foreign_write_ahead_log,
}


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("changed", [False, True], ids=["archive-unchanged", "archive-changed"])
def test_faults_24_27_an_accident_to_the_state(site: Site, accident: str, changed: bool) -> None:
    before = site.state_file.read_bytes()
    guard = Invariants(site)
    ACCIDENTS[accident](site)
    log = Path(f"{site.state_file}-wal")
    assert log.exists() or not site.state_file.exists() or site.state_file.read_bytes() != before
    if changed:
        fill_archive(site.archive, slices=4, seed=1)
    result = guard.next_run()
    assert result.exit_code == 0
    if not changed:
        assert result.chunks_new == 0, "nothing of the archive is stored again"
    guard.next_run()


def pages_of(path: Path) -> list[int]:
    return list(range(path.stat().st_size // PAGE_SIZE))


def flip_bit(path: Path, position: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(bytes(data))


def flips(path: Path, count: int) -> Iterator[tuple[int, int]]:
    """Positions and bits, of bytes in use, in every page in turn."""
    random = Random(27)
    pages = pages_of(path)
    data = path.read_bytes()
    for number in range(count):
        page = pages[number % len(pages)]
        used = [at for at in range(PAGE_SIZE) if data[page * PAGE_SIZE + at]]
        if used:
            yield page * PAGE_SIZE + random.choice(used), random.randrange(8)


def survive_flips(site: Site, place: Path, count: int) -> None:
    for number, (position, bit) in enumerate(flips(site.state_file, count)):
        copy = site.fork(place / str(number))
        flip_bit(copy.state_file, position, bit)
        Invariants(copy).next_run(stored_twice=None)


def test_fault_27_flipped_bits_in_the_state(site: Site, tmp_path: Path) -> None:
    survive_flips(site, tmp_path / "flips", 30)


@pytest.mark.full
def test_fault_27_many_flipped_bits_in_the_state(site: Site, tmp_path: Path) -> None:
    survive_flips(site, tmp_path / "flips", 300)
