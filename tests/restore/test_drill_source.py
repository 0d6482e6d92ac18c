"""What a drill says of the live source beside the backup."""

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from drills import (
    ALL_FILES,
    DAMAGE,
    NEWEST,
    damaged_uids,
    new_vault,
    order,
    rehearse,
    texts,
)
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.proof import Comparison
from safelight_restore.drill.result import DrillResult, FindingKind
from safelight_restore.target.filesystem import FileSystem
from safelight_vault.errors import (
    ConfigurationError,
    IncompleteError,
)
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


# Comparison with the source


def compared(vault: VaultFixture, asked: DrillOrder) -> tuple[DrillResult, dict[Comparison, int]]:
    result = rehearse(vault, replace(asked, sources={"pacs": vault.directory / "archive"}))
    return result, result.compared["pacs"]


def test_a_source_that_did_not_change_is_equal(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    result, found = compared(shared, everything)
    assert result.exit_code == 0
    assert found[Comparison.EQUAL] == ALL_FILES == sum(found.values())


def test_what_moved_on_since_the_backup_is_no_finding(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    archive = vault.directory / "archive"
    (archive / "notes.txt").write_bytes(b"another text altogether")
    (archive / "study-11" / "0.dcm").unlink()
    os.utime(archive / "study-11" / "1.dcm", ns=(1, 1))
    (archive / "study-11" / "2.dcm").unlink()
    (archive / "study-11" / "2.dcm").symlink_to("1.dcm")
    (archive / "study-12" / "0.dcm").unlink()
    os.mkfifo(archive / "study-12" / "0.dcm")
    (archive / "study-12" / "1.dcm").unlink()
    (archive / "study-12" / "1.dcm").mkdir()
    result, found = compared(vault, everything)
    assert result.exit_code == 0
    assert found == {
        Comparison.EQUAL: ALL_FILES - 6,
        Comparison.CHANGED_SINCE: 5,
        Comparison.GONE_SINCE: 1,
        Comparison.UNREADABLE: 0,
        Comparison.DIFFERS: 0,
    }


def test_other_bytes_under_the_same_size_and_time_are_a_finding_that_names_the_study(
    vault: VaultFixture, everything: DrillOrder
) -> None:
    path = vault.directory / "archive" / f"study-{NEWEST.number}" / "1.dcm"
    before = path.stat()
    path.write_bytes(flip(-1)(path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    result, found = compared(vault, everything)
    assert found[Comparison.DIFFERS] == 1
    assert result.exit_code == DAMAGE
    assert damaged_uids(result) == {NEWEST.uid}
    assert "source" in result.damaged_studies[0].reason
    # What came back is right all the same.
    assert result.proved.files == ALL_FILES
    assert result.files_failed == 0


def test_a_source_that_cannot_be_read_is_no_success(
    vault: VaultFixture, everything: DrillOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [b"notes.txt"]

    def refuse(name: object, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        # Root may read whatever its mode is; and the restored file of this name is read first.
        if name in refused and flags & os.O_ACCMODE == os.O_RDONLY:
            parent = os.readlink(f"/proc/self/fd/{dir_fd}")
            if parent == str(vault.directory / "archive"):
                raise PermissionError(13, "Permission denied")
        return os.open(cast("bytes", name), flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(FileSystem, "open", staticmethod(refuse))
    result, found = compared(vault, everything)
    assert found[Comparison.UNREADABLE] == 1
    assert found[Comparison.EQUAL] == ALL_FILES - 1
    assert result.exit_code == IncompleteError.exit_code
    assert result.proved.files == ALL_FILES


def test_an_empty_mount_point_is_told(vault: VaultFixture, everything: DrillOrder) -> None:
    empty = vault.directory / "empty"
    empty.mkdir()
    result = rehearse(vault, replace(everything, sources={"pacs": empty}))
    assert result.exit_code == IncompleteError.exit_code
    assert any("mounted" in text for text in texts(result, FindingKind.INCOMPLETE))


def test_a_source_that_is_in_no_snapshot_is_a_wrong_option(
    shared: VaultFixture, everything: DrillOrder, tmp_path: Path
) -> None:
    result = rehearse(shared, replace(everything, sources={"pax": tmp_path}))
    assert result.exit_code == ConfigurationError.exit_code
    assert result.ending is not None
    assert "pax" in result.ending.message
