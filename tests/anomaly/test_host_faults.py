"""The machine is at fault: two agents at once, a full disk, bad memory, bad randomness, few means.

A run on such a machine completes or ends with a name for the trouble; what is visible is sound.
"""

import itertools
import os
import resource
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from agent_runs import Site, fill_archive, new_site
from damaged_sites import with_a_change
from installed_agent import agent_command, directory_site, run_command, write_config
from invariants import Invariants, require_restorable
from odd_stores import PassingStore
from safelight_agent import packing
from safelight_agent.assembly import AGENT_LEASE, Machine
from safelight_agent.lease import source_lease
from safelight_agent.membership import AGENT_KEY_FILE
from safelight_restore.administration import key_paths, make_keys
from safelight_vault.errors import (
    ConfigurationError,
    CorruptError,
    IncompleteError,
    LeaseHeldError,
    RefusedError,
    WrongIdentityError,
)
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.codec import encode_block
from safelight_vault.format.names import Kind
from safelight_vault.format.pack import ChunkRecord
from safelight_vault.store import Buffers, Store
from vaults import RandomBytes


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot, and an archive that has changed since."""
    return with_a_change(new_site(tmp_path))


# 29, 30: more than one run at a time


class Meeting(PassingStore):
    """Lets two agents put their snapshots at the same moment."""

    def __init__(self, inner: Store, barrier: threading.Barrier) -> None:
        super().__init__(inner)
        self._barrier = barrier

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """Wait for the other agent before a snapshot."""
        if name.startswith(f"{Kind.SNAPSHOT.value}/"):
            self._barrier.wait(30)
            self.times += 1
        return super().put(name, body, sha256=sha256, retain_until=retain_until)


def test_fault_29_a_cloned_agent_is_found_and_both_its_lines_come_back(
    site: Site, tmp_path: Path
) -> None:
    before = Invariants(site, vault_is_damaged=True)
    clone = site.fork(tmp_path / "clone")
    clone.vault.store, clone.vault.clock = site.store, site.clock
    barrier = threading.Barrier(2)
    stores = [Meeting(site.store, barrier) for _ in range(2)]
    threads = [
        threading.Thread(target=one.run, kwargs={"store": store})
        for one, store in zip((site, clone), stores, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.times for store in stores] == [1, 1]
    assert site.results[-1].complete
    assert clone.results[-1].complete
    before.hold(site.results[-1])
    access = site.access()
    heads = access.heads().good
    assert sorted(head.snapshot.sequence for head in heads) == [1, 2, 2]
    expected = site.expected | clone.expected
    for head in heads:
        require_restorable(replace(site, expected=expected), access, head)
    for one in (site, clone):
        result = one.run()
        assert result.exit_code == RefusedError.exit_code
        assert "2 snapshots number 2" in result.error
    assert len(site.access().heads().good) == 3


@pytest.mark.parametrize("lease", [AGENT_LEASE, "pacs"])
def test_faults_29_30_a_run_beside_another_one_is_refused(site: Site, lease: str) -> None:
    before = Invariants(site)
    with source_lease(site.state_directory, lease):
        result = site.run()
    assert result.exit_code == LeaseHeldError.exit_code
    assert str(os.getpid()) in result.error
    before.hold(result)
    before.next_run()


# 25, 32: too little of something


def limited(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


@pytest.fixture
def installed_site(tmp_path: Path) -> Site:
    """A site on a directory, with work for several packs."""
    site = directory_site(tmp_path)
    assert site.run().complete
    for number in range(100):
        (site.archive / f"instance-{number}").write_bytes(Random(number).randbytes(40_000))
    return site


@pytest.mark.parametrize("size_bytes", [8_000, 100_000, 1_000_000])
def test_fault_25_files_that_cannot_grow_end_the_run(installed_site: Site, size_bytes: int) -> None:
    before = Invariants(installed_site)
    ended = run_command(
        agent_command(write_config(installed_site), "backup", "--json"),
        limits=limited(resource.RLIMIT_FSIZE, size_bytes),
    )
    installed_site.note_new_snapshots()
    assert ended.returncode == IncompleteError.exit_code, ended
    assert "Traceback" not in ended.stderr
    before.hold()
    before.next_run(stored_twice=None)


def test_fault_25_a_log_that_cannot_be_written_does_not_stop_a_backup(
    installed_site: Site,
) -> None:
    before = Invariants(installed_site)
    command = agent_command(write_config(installed_site), "backup", "--json")
    ended = run_command(["/bin/sh", "-c", 'exec "$@" 2>/dev/full', "sh", *command])
    installed_site.note_new_snapshots()
    assert ended.returncode == 0, ended
    before.hold()
    before.next_run()


def test_faults_25_38_metrics_that_cannot_be_written_do_not_stop_a_backup(
    installed_site: Site,
) -> None:
    before = Invariants(installed_site)
    config = write_config(installed_site, tables='textfile_directory = "/proc"')
    ended = run_command(agent_command(config, "backup", "--json"))
    installed_site.note_new_snapshots()
    assert ended.returncode == 0, ended
    assert "metrics_not_written" in ended.stderr
    before.hold()
    before.next_run()


@pytest.mark.parametrize(
    ("kind", "value"),
    [(resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_DATA, 512 << 20)],
    ids=["64-descriptors", "512-mebibytes"],
)
def test_fault_32_a_run_with_small_means_completes(
    installed_site: Site, kind: int, value: int
) -> None:
    before = Invariants(installed_site)
    ended = run_command(
        agent_command(write_config(installed_site), "backup", "--json"),
        limits=limited(kind, value),
    )
    installed_site.note_new_snapshots()
    assert ended.returncode == 0, ended
    before.hold()
    before.next_run()


def test_fault_32_too_few_descriptors_fail_the_run_cleanly(installed_site: Site) -> None:
    before = Invariants(installed_site)
    ended = run_command(
        agent_command(write_config(installed_site), "backup", "--json"),
        limits=limited(resource.RLIMIT_NOFILE, 8),
    )
    installed_site.note_new_snapshots()
    assert ended.returncode not in {0, -11}, ended
    before.hold()
    before.next_run(stored_twice=None)


# 33, 34: memory and randomness


def test_fault_33_a_bit_that_flips_in_a_compressed_block_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    def flipping(plain: bytes, *, level: int) -> bytes:
        frame = bytearray(encode_block(plain, level=level))
        if next(numbers) == 0:
            frame[len(frame) // 2] ^= 4
        return bytes(frame)

    before = Invariants(site)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "encode_block", flipping)
        result = site.run()
    assert next(numbers)
    assert result.exit_code == CorruptError.exit_code
    before.hold(result)
    before.next_run()


def test_fault_33_a_bit_that_flips_in_a_piece_on_its_way_to_its_block_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress = packing.compress
    numbers = itertools.count()

    def flipping(
        plain: bytes, level: int, keys: DedupKeys, records: Sequence[ChunkRecord]
    ) -> bytes:
        flipped = bytearray(plain)
        if next(numbers) == 0:
            flipped[len(flipped) // 2] ^= 4
        return compress(bytes(flipped), level, keys, records)

    before = Invariants(site)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "compress", flipping)
        result = site.run()
    assert next(numbers)
    assert result.exit_code == CorruptError.exit_code
    before.hold(result)
    before.next_run()


@pytest.mark.parametrize("keeps_state", [True, False], ids=["state-kept", "state-lost"])
def test_fault_34_random_numbers_that_come_again_seal_nothing(
    site: Site, keeps_state: bool
) -> None:
    def again(machine: Machine) -> Machine:
        return replace(machine, random_bytes=RandomBytes("a machine that was copied"))

    assert site.run(machine=again).complete
    fill_archive(site.archive, slices=4, seed=2)
    if not keeps_state:
        site.lose_state()
    before = Invariants(site)
    result = site.run(machine=again)
    assert result.exit_code == RefusedError.exit_code
    assert "random" in result.error
    before.hold(result)
    before.next_run()


def test_fault_34_a_random_source_that_stands_still_seals_nothing_twice(site: Site) -> None:
    before = Invariants(site)
    result = site.run(machine=lambda machine: replace(machine, random_bytes=bytes))
    assert result.exit_code == RefusedError.exit_code
    before.hold(result)
    before.next_run()


# 36: configuration


def test_fault_36_a_key_that_others_may_read_is_refused(site: Site) -> None:
    before = Invariants(site)
    key = site.state_directory / AGENT_KEY_FILE
    key.chmod(0o644)
    result = site.run()
    key.chmod(0o600)
    assert result.exit_code == ConfigurationError.exit_code
    assert AGENT_KEY_FILE in result.error
    before.hold(result)
    before.next_run()


def test_fault_36_the_trust_of_another_vault_is_refused(site: Site, tmp_path: Path) -> None:
    before = Invariants(site)
    (tmp_path / "other").mkdir()
    other = key_paths(tmp_path / "other" / "identity.key")
    make_keys(other, RandomBytes("another vault"))
    right = site.vault.keys
    site.vault.keys = replace(right, trust=other.trust)
    agent = site.vault.agent(site.settings(), name=site.agent)
    with pytest.raises((ConfigurationError, CorruptError, WrongIdentityError)):
        agent.back_up("pacs", lambda _: None)
    site.vault.keys = right
    before.hold()
    before.next_run()
