"""What a drill says of the objects in the vault, and of their locks."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from drills import (
    ALL_FILES,
    DAMAGE,
    DAY,
    STUDIES,
    damaged_uids,
    make_archive,
    new_vault,
    order,
    pack_of_pixels,
    rehearse,
    texts,
)
from faulty_store import FaultyStore, Operation
from memory_store import MemoryStore
from s3_server import S3Server
from safelight_restore.access import Access
from safelight_restore.drill.coverage import LockState, Presence
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.result import FindingKind
from safelight_vault.errors import (
    RefusedError,
)
from safelight_vault.format.names import Kind
from safelight_vault.store import Head, LockMode, Store
from store_cases import s3_case
from vaults import Clock, RandomBytes, VaultFixture, cut, flip


@pytest.fixture(name="shared", scope="module")
def shared_vault(tmp_path_factory: pytest.TempPathFactory) -> VaultFixture:
    """A vault that tests only read."""
    return new_vault(tmp_path_factory.mktemp("shared"))


@pytest.fixture(name="vault")
def own_vault(tmp_path: Path) -> VaultFixture:
    """A vault that a test may damage."""
    return new_vault(tmp_path)


@pytest.fixture(name="everything")
def drill_of_everything(tmp_path: Path) -> DrillOrder:
    return order(tmp_path / "scratch")


# Objects


def test_every_object_is_asked_for_by_its_version(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    store = FaultyStore(shared.store)
    result = rehearse(shared, everything, access=shared.access(store))
    assert result.objects is not None
    names = {version.name for version in shared.store.list_versions("")}
    indexes = set(shared.names(Kind.INDEX))  # which only the agent needs
    assert result.objects.checked == len(names - indexes)
    assert result.objects.presence[Presence.PRESENT] == result.objects.checked
    assert store.calls[Operation.HEAD] >= result.objects.checked


@pytest.mark.parametrize("kind", [Kind.PACK, Kind.CONFIG, Kind.AGENT])
def test_an_object_that_is_gone_is_told_whatever_the_sample_reads(
    vault: VaultFixture, everything: DrillOrder, kind: Kind
) -> None:
    gone = pack_of_pixels(vault) if kind is Kind.PACK else vault.names(kind)[0]
    vault.remove(gone)
    result = rehearse(vault, replace(everything, sample_files=1, sample_percent=0))
    assert result.exit_code == DAMAGE
    assert result.objects is not None
    assert [bad.name for bad in result.objects.bad] == [gone]
    assert result.objects.presence[Presence.MISSING] == 1
    assert result.objects.coverage_until is None


def test_all_studies_of_a_missing_pack_are_named_not_only_those_of_the_sample(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    vault.remove(pack_of_pixels(vault))
    result = rehearse(vault, replace(everything, sample_files=1, sample_percent=0))
    assert result.sample.files < ALL_FILES
    assert damaged_uids(result) == {study.uid for study in STUDIES}
    assert result.damaged.studies == len(STUDIES)
    by_uid = {study.uid: study for study in result.damaged_studies}
    for study in STUDIES:
        named = by_uid[study.uid]
        assert (named.date, named.modalities, named.damaged) == (study.date, "CT", study.files)
        assert "missing" in named.reason


def test_a_pack_that_was_cut_short_is_not_there_whole(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    vault.damage(pack_of_pixels(vault), cut(5_000))
    result = rehearse(vault, everything)
    assert result.exit_code == DAMAGE
    assert result.objects is not None
    assert result.objects.presence[Presence.WRONG_SIZE] == 1
    assert "5000 bytes instead of" in result.objects.bad[0].reason
    assert damaged_uids(result) == {study.uid for study in STUDIES}


def test_a_flipped_byte_fails_the_files_that_need_it_and_names_all_studies_of_its_pack(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    pack = pack_of_pixels(vault)
    vault.damage(pack, flip(vault.store.head(pack).size_bytes // 3))
    result = rehearse(vault, everything)
    assert result.exit_code == DAMAGE
    assert result.objects is not None
    assert result.objects.missing_count == 0  # its size is right: only reading tells
    assert result.lost.files > 0
    assert result.proved.files + result.lost.files == ALL_FILES
    assert damaged_uids(result) == {study.uid for study in STUDIES}


def test_a_vault_copied_to_other_versions_is_sound(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    give_new_versions(vault)
    result = rehearse(vault, everything)
    assert result.objects is not None
    assert result.objects.presence[Presence.MOVED] > 3
    assert result.objects.missing_count == result.objects.moved_unread == 0
    assert result.proved.files == ALL_FILES
    assert result.damaged.files == 0


def test_other_bytes_under_another_version_are_not_the_object(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    name = vault.names(Kind.AGENT)[0]
    vault.damage(name, flip(-1))
    give_new_versions(vault)
    result = rehearse(vault, everything)
    assert result.exit_code == DAMAGE
    assert result.objects is not None
    assert [bad.name for bad in result.objects.bad] == [name]
    assert "no other one holds its bytes" in result.objects.bad[0].reason


def give_new_versions(vault: VaultFixture) -> None:
    """Put every object anew, as it is: what copying a vault to another bucket does."""
    for version in list(vault.store.list_versions("")):
        data = vault.store.get(version.name, version.version_id)
        until = vault.store.head(version.name, version.version_id).retain_until
        assert until is not None
        vault.remove(version.name)
        digest = hashlib.sha256(data).digest()
        vault.store.put(version.name, [data], sha256=digest, retain_until=until)


# Locks


def test_emulated_locks_are_told_and_are_no_coverage(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    result = rehearse(shared, everything)
    assert result.objects is not None
    assert result.objects.emulated_count == result.objects.checked
    assert result.objects.coverage_until is None
    (line,) = result.snapshots
    assert line.lock is LockState.EMULATED
    assert line.coverage is not None
    assert line.coverage.locked_until is None
    assert line.coverage.emulated_until is not None
    assert line.coverage.emulated_until >= line.promised_until
    assert any("emulated" in text for text in texts(result, FindingKind.NOTE))


def locked_vault(directory: Path, mode: LockMode = LockMode.COMPLIANCE) -> VaultFixture:
    """A vault in memory, whose store locks as S3 does."""
    clock, random_bytes = Clock(), RandomBytes("memory")
    store = MemoryStore(now=clock.now, new_version_id=lambda: random_bytes(16).hex(), mode=mode)
    vault = VaultFixture.create(directory, store=store, clock=clock)
    vault.back_up("pacs", make_archive(directory / "archive"))
    return vault


def test_locks_of_the_store_cover_the_snapshot(tmp_path: Path, everything: DrillOrder) -> None:
    vault = locked_vault(tmp_path)
    result = rehearse(vault, everything)
    assert result.exit_code == 0
    (line,) = result.snapshots
    assert line.lock is LockState.COVERED
    assert result.objects is not None
    assert result.objects.coverage_until is not None
    assert result.objects.coverage_until >= line.promised_until.replace(microsecond=0)
    assert result.objects.lock_modes[LockMode.COMPLIANCE] == result.objects.checked


def test_an_object_without_its_lock_is_exit_5(vault: VaultFixture, everything: DrillOrder) -> None:
    name = pack_of_pixels(vault)
    vault.unlock(name)
    result = rehearse(vault, everything)
    assert result.exit_code == RefusedError.exit_code
    assert result.objects is not None
    (unlocked,) = result.objects.unlocked
    assert (unlocked.name, unlocked.retain_until) == (name, None)
    assert result.snapshots[0].lock is LockState.SHORT
    assert result.proved.files == ALL_FILES


def test_locks_of_a_real_server_are_read_from_it(
    seaweed: S3Server, tmp_path: Path, everything: DrillOrder
) -> None:
    store = s3_case(seaweed, tls=True).store
    vault = VaultFixture.create(tmp_path, store=store, clock=Clock(datetime.now(UTC)))
    vault.back_up("pacs", make_archive(tmp_path / "archive"))
    result = rehearse(vault, everything)
    assert result.exit_code == 0, result.findings
    assert result.objects is not None
    assert result.objects.lock_modes[LockMode.COMPLIANCE] == result.objects.checked
    assert result.snapshots[0].lock is LockState.COVERED
    assert result.proved.files == ALL_FILES


class Claiming:
    """A store of which something else is said than is so: its mode, or how long its locks last."""

    def __init__(
        self, inner: Store, *, mode: LockMode | None = None, shorter: timedelta = timedelta()
    ) -> None:
        self._inner = inner
        self._shorter = shorter
        self.lock_mode = mode or inner.lock_mode

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def head(self, name: str, version_id: str | None = None) -> Head:
        found = self._inner.head(name, version_id)
        if found.retain_until is None or not name.startswith("packs/"):
            return found
        return replace(found, retain_until=found.retain_until - self._shorter)


def claimed(vault: VaultFixture, claiming: Claiming) -> Access:
    return vault.access(cast("Store", claiming))


def test_a_lock_that_ends_too_early_is_exit_5(tmp_path: Path, everything: DrillOrder) -> None:
    vault = locked_vault(tmp_path)
    # Locks are set with two weeks of slack.
    shorter = Claiming(vault.store, shorter=15 * DAY)
    result = rehearse(vault, everything, access=claimed(vault, shorter))
    assert result.exit_code == RefusedError.exit_code
    assert result.objects is not None
    assert {one.name for one in result.objects.unlocked} == set(vault.names(Kind.PACK))
    (line,) = result.snapshots
    assert line.lock is LockState.SHORT
    assert line.coverage is not None
    assert line.coverage.locked_until is not None
    assert line.coverage.locked_until < line.promised_until


def test_a_lock_that_uses_up_its_slack_is_no_finding(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = locked_vault(tmp_path)
    shorter = Claiming(vault.store, shorter=14 * DAY)
    result = rehearse(vault, everything, access=claimed(vault, shorter))
    assert result.exit_code == 0
    assert result.snapshots[0].lock is LockState.COVERED


def test_a_weaker_mode_than_the_vaults_is_no_coverage(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = locked_vault(tmp_path, LockMode.GOVERNANCE)
    assert rehearse(vault, everything).exit_code == 0
    stricter = Claiming(vault.store, mode=LockMode.COMPLIANCE)
    result = rehearse(
        vault,
        replace(everything, scratch=tmp_path / "again"),
        access=claimed(vault, stricter),
    )
    assert result.exit_code == RefusedError.exit_code
    assert result.objects is not None
    assert result.objects.unlocked_count == result.objects.checked
    assert {one.lock_mode for one in result.objects.unlocked} == {LockMode.GOVERNANCE}
    assert result.objects.coverage_until is None


def test_a_promise_that_ran_out_asks_for_no_lock(tmp_path: Path, everything: DrillOrder) -> None:
    vault = locked_vault(tmp_path)
    vault.clock.advance(timedelta(days=20 * 365))
    result = rehearse(vault, everything)
    assert result.exit_code == 0
    assert result.snapshots[0].lock is LockState.PAST


def test_damage_weighs_more_than_locks(vault: VaultFixture, everything: DrillOrder) -> None:
    vault.unlock(vault.names(Kind.AGENT)[0])
    vault.remove(pack_of_pixels(vault))
    assert rehearse(vault, everything).exit_code == DAMAGE


def test_all_snapshots_can_be_asked_about(vault: VaultFixture, everything: DrillOrder) -> None:
    first = rehearse(vault, everything).snapshots[0].snapshot_id
    vault.clock.advance(DAY)
    (vault.directory / "archive" / "more.txt").write_bytes(b"more")
    vault.back_up("pacs", vault.directory / "archive")
    alone = rehearse(vault, replace(everything, scratch=vault.directory / "a"))
    assert [line.restored for line in alone.snapshots] == [True]
    both = rehearse(vault, replace(everything, all_snapshots=True, scratch=vault.directory / "b"))
    assert [(line.restored, line.source) for line in both.snapshots] == [
        (True, "pacs"),
        (False, "pacs"),
    ]
    assert both.snapshots[1].snapshot_id == first
    assert alone.objects is not None
    assert both.objects is not None
    assert both.objects.checked > alone.objects.checked
    table = vault.names(Kind.TABLE)
    vault.unlock(table[0])
    vault.unlock(table[1])
    again = rehearse(vault, replace(everything, all_snapshots=True, scratch=vault.directory / "c"))
    assert [line.lock for line in again.snapshots] == [LockState.SHORT, LockState.SHORT]
