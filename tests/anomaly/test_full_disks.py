"""A disk is full, over its quota, read-only or failing: of the agent's state, vault, logs, metrics.

The run fails by name or does without; nothing half written is left where somebody would read it.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runs import Site, fill_archive, new_site
from installed_agent import (
    agent_command,
    directory_site,
    run_command,
    write_config,
)
from invariants import Invariants
from safelight_agent.cli import TEXTFILE_NAME
from safelight_vault.errors import (
    ConfigurationError,
    IncompleteError,
    StoreUnreachableError,
)
from safelight_vault.store.directory_layout import INCOMING
from small_disk import SmallDisk, small_disk

STATE_DISK_BYTES = 4 << 20
STATE_LEFT_BYTES = (0, 4096, 16_384, 40_960, 81_920)
VAULT_LEFT_BYTES = (0, 16_384, 65_536, 98_304, 131_072)
"""What is left: nothing at all, room for a part of the run, nearly enough."""
FAILURES = {ConfigurationError.exit_code, IncompleteError.exit_code}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    site = new_site(tmp_path)
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    return site


@pytest.fixture
def state_disk(site: Site) -> Iterator[SmallDisk]:
    """The agent's state directory on a disk of its own."""
    with small_disk(site.state_directory, size_bytes=STATE_DISK_BYTES) as disk:
        yield disk


@pytest.mark.parametrize("left_bytes", STATE_LEFT_BYTES)
def test_fault_25_a_full_disk_of_the_state(
    site: Site, state_disk: SmallDisk, left_bytes: int
) -> None:
    before = Invariants(site)
    state_disk.leave(left_bytes)
    result = site.run()
    state_disk.empty()
    assert result.exit_code in FAILURES, result.error
    before.hold(result)
    before.next_run()


def test_fault_25_a_read_only_disk_of_the_state(site: Site, state_disk: SmallDisk) -> None:
    before = Invariants(site)
    state_disk.make_read_only()
    result = site.run()
    state_disk.make_read_only(False)
    assert result.exit_code in FAILURES
    assert not site.is_recorded
    before.hold(result)
    before.next_run()


@pytest.mark.parametrize("left_bytes", VAULT_LEFT_BYTES)
def test_fault_25_a_full_disk_of_the_vault(tmp_path: Path, left_bytes: int) -> None:
    place = tmp_path / "vault"
    place.mkdir()
    with small_disk(place, size_bytes=4 << 20) as disk:
        site = directory_site(tmp_path)
        assert site.run().complete
        fill_archive(site.archive, slices=3, seed=1)
        before = Invariants(site)
        disk.leave(left_bytes)
        result = site.run()
        disk.empty()
        assert result.exit_code == StoreUnreachableError.exit_code, result.error
        before.hold(result)
        before.next_run()
        assert not [path for path in place.rglob("*") if path.parent.name == INCOMING]


def test_fault_25_a_read_only_disk_of_the_vault(tmp_path: Path) -> None:
    place = tmp_path / "vault"
    place.mkdir()
    with small_disk(place, size_bytes=4 << 20) as disk:
        site = directory_site(tmp_path)
        assert site.run().complete
        fill_archive(site.archive, slices=3, seed=1)
        before = Invariants(site)
        disk.make_read_only()
        result = site.run()
        disk.make_read_only(False)
        assert result.exit_code == StoreUnreachableError.exit_code
        before.hold(result)
        before.next_run()


def test_fault_25_a_full_disk_leaves_the_old_metrics_whole(tmp_path: Path) -> None:
    place = tmp_path / "textfiles"
    place.mkdir()
    with small_disk(place, size_bytes=1 << 20) as disk:
        site = directory_site(tmp_path)
        config = write_config(site, metrics=f'textfile_directory = "{place}"')
        command = agent_command(config, "backup", "--json")
        assert run_command(command).returncode == 0
        old = (place / TEXTFILE_NAME).read_bytes()
        disk.leave(0)
        ended = run_command(command)
        assert ended.returncode == 0
        assert "metrics_not_written" in ended.stderr
        assert (place / TEXTFILE_NAME).read_bytes() == old
        disk.empty()
        assert sorted(path.name for path in place.iterdir()) == [TEXTFILE_NAME]
        assert run_command(command).returncode == 0
        assert (place / TEXTFILE_NAME).read_bytes() != old


def test_fault_25_a_result_that_cannot_be_kept_stops_no_other_source(tmp_path: Path) -> None:
    site = directory_site(tmp_path)
    results = site.state_directory / "results"
    assert site.run().complete
    shutil.rmtree(results)
    results.mkdir(mode=0o700)
    (results / "last-run.pacs.json").mkdir()  # a directory cannot be replaced by a file
    sources = "".join(
        f'[[source]]\nname = "{name}"\nkind = "tree"\npath = "{site.archive}"\n'
        for name in ("pacs", "worklists")
    )
    ended = run_command(agent_command(write_config(site, sources=sources), "backup", "--json"))
    assert ended.returncode == ConfigurationError.exit_code
    assert "result_not_recorded" in ended.stderr
    assert [run["complete"] for run in json.loads(ended.stdout)["snapshots"]] == [True, True]


def test_fault_26_what_could_not_be_synced_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = directory_site(tmp_path)
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    before = Invariants(site)
    synced: list[str] = []

    def failing_sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_sync(descriptor)

    real_sync = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_sync)
        result = site.run()
    assert synced.count(synced[0]) == 1, "a file is never synced again that could not be synced"
    assert result.exit_code == StoreUnreachableError.exit_code
    before.hold(result)
    before.next_run()
