"""What ends a drill early, what does not, and that neither is lost."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from drills import (
    ALL_FILES,
    DAMAGE,
    DAY,
    NEWEST,
    STUDIES,
    damaged_uids,
    make_archive,
    new_vault,
    order,
    rehearse,
    texts,
)
from faulty_store import Effect, FaultyStore, Operation, fault
from keys import identity
from safelight_restore.drill import rehearsal
from safelight_restore.drill.coverage import LockState
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.result import FindingKind
from safelight_restore.target.filesystem import FileSystem
from safelight_vault.errors import (
    IncompleteError,
    StoreUnreachableError,
    WrongIdentityError,
)
from safelight_vault.format.names import Kind
from vaults import VaultFixture, flip


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


# What ends a drill, and what does not


def test_a_store_that_stops_answering_ends_the_drill_with_what_is_known(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    store = FaultyStore(
        shared.store,
        [fault(Operation.GET, Effect.FAIL_BEFORE, name_prefix="packs/", times=None)],
    )
    result = rehearse(shared, everything, access=shared.access(store))
    store.verify_all_faults_fired()
    assert result.exit_code == StoreUnreachableError.exit_code
    assert result.ending is not None
    assert result.ending.step == "tables"
    assert result.objects is not None
    assert result.objects.missing_count == 0
    assert result.recovery is None


def test_a_store_that_stops_answering_in_the_middle_of_the_restore_is_not_damage(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    packs = FaultyStore(shared.store)
    rehearse(shared, everything, access=shared.access(packs))
    needed = packs.calls[Operation.GET]
    scratch = everything.scratch.with_name("again")
    store = FaultyStore(
        shared.store, [fault(Operation.GET, Effect.FAIL_BEFORE, nth=needed - 2, times=None)]
    )
    result = rehearse(shared, replace(everything, scratch=scratch), access=shared.access(store))
    store.verify_all_faults_fired()
    assert result.exit_code in {StoreUnreachableError.exit_code, IncompleteError.exit_code}
    assert result.left_out.files
    assert result.damaged.files == 0
    assert not texts(result, FindingKind.DAMAGE)


def test_an_identity_of_another_vault_ends_it_with_exit_4(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    stranger = identity("stranger")
    access = replace(shared.access(), identities={stranger.recipient.fingerprint: stranger})
    result = rehearse(shared, everything, access=access)
    assert result.exit_code == WrongIdentityError.exit_code
    assert result.objects is not None  # what needs no identity was found out all the same
    assert result.objects.missing_count == 0


def test_what_fails_before_the_vault_is_open_is_reported_too(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    def refuse() -> Iterator[None]:
        raise StoreUnreachableError("no route to the store")

    result = rehearse(shared, everything, open_access=refuse)  # type: ignore[arg-type]
    assert result.exit_code == StoreUnreachableError.exit_code
    assert result.ending is not None
    assert (result.ending.step, result.ending.message) == ("vault", "no route to the store")
    assert result.vault == shared.url


def test_a_damaged_snapshot_fails_the_drill_of_the_sound_one_before_it(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    first = vault.names(Kind.SNAPSHOT)
    vault.clock.advance(DAY)
    vault.back_up("pacs", vault.directory / "archive")
    (newest,) = set(vault.names(Kind.SNAPSHOT)) - set(first)
    vault.damage(newest, flip(-1))
    result = rehearse(vault, everything)
    assert result.exit_code == DAMAGE
    assert result.proved.files == ALL_FILES


def test_a_snapshot_that_cannot_be_opened_does_not_keep_the_others_from_being_drilled(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = VaultFixture.create(tmp_path)
    vault.back_up("ct", make_archive(tmp_path / "ct", STUDIES[:2]))
    tables = set(vault.names(Kind.TABLE))
    vault.back_up("mr", make_archive(tmp_path / "mr", STUDIES[2:]))
    (table,) = set(vault.names(Kind.TABLE)) - tables
    vault.remove(table)
    result = rehearse(vault, everything)
    assert result.exit_code == DAMAGE
    assert result.sources == ["ct"]
    assert result.proved.files == 7
    assert any("cannot be opened" in text for text in texts(result, FindingKind.DAMAGE))
    assert LockState.UNKNOWN in {line.lock for line in result.snapshots}


def pack_of_tables(vault: VaultFixture, which: str) -> str:
    """The pack of the first page of a snapshot's manifest or catalogue."""
    access = vault.access()
    with closing(access.open(access.heads().good[0])) as snapshot:
        tree = snapshot.root.manifest if which == "manifest" else snapshot.root.catalogue
        reference = snapshot.references.find(tree.pages[0][1].pack)
    assert reference is not None
    return str(reference.name)


@pytest.mark.parametrize("which", ["manifest", "catalogue"])
def test_damage_in_the_tables_is_told_and_does_not_end_the_drill(
    vault: VaultFixture, everything: DrillOrder, which: str
) -> None:
    vault.remove(pack_of_tables(vault, which))
    result = rehearse(vault, everything)
    assert result.exit_code == DAMAGE
    assert any(f"{which} cannot be read" in text for text in texts(result, FindingKind.DAMAGE))
    assert result.ending is None


def test_a_scratch_directory_without_room_is_told_before_it_is_filled(
    shared: VaultFixture, everything: DrillOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> os.statvfs_result:
        found = list(os.statvfs(descriptor))
        found[4] = 0  # blocks that are free for us
        return os.statvfs_result(found)

    monkeypatch.setattr(FileSystem, "statvfs", staticmethod(full))
    result = rehearse(shared, everything)
    assert result.exit_code == IncompleteError.exit_code
    assert result.ending is not None
    assert "free" in result.ending.message
    assert result.proved.files == 0


def test_a_file_that_rots_on_the_scratch_disk_is_noticed(
    shared: VaultFixture, everything: DrillOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = rehearsal.Drill._restore

    def restore_and_rot(drill: rehearsal.Drill, access: object) -> tuple[int, int]:
        done = restore(drill, access)  # type: ignore[arg-type]
        study = next(everything.scratch.rglob(f"study-{NEWEST.number}"))
        (study / "0.dcm").write_bytes(flip(1000)((study / "0.dcm").read_bytes()))
        (study / "1.dcm").unlink()
        (study / "2.dcm").write_bytes(b"short")
        return done

    monkeypatch.setattr(rehearsal.Drill, "_restore", restore_and_rot)
    result = rehearse(shared, everything)
    assert result.exit_code == DAMAGE
    assert result.lost.files == 3
    assert result.proved.files == ALL_FILES - 3
    assert damaged_uids(result) == {NEWEST.uid}
