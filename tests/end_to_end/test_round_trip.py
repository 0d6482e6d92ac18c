"""The main job: back up, lose everything but the vault and the identity, get all of it back."""

import os
import shutil
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from installed import InstalledVault, new_vault
from odd_tree import ODD_NAMES, make_odd_tree, set_attributes
from s3_locks import all_versions, badly_locked
from s3_server import S3Server
from trees import differences

YEARLY_DAYS = 3653
SLACK_DAYS = 14


def sparse_size_bytes(*, full: bool) -> int:
    return (5 << 30) if full else (256 << 20)


def names_of_files(root: Path) -> int:
    """Of regular files and symbolic links: what a restore counts, hard links one by one."""
    names = 0
    for directory, directories, files in os.walk(os.fsencode(root)):
        statuses = [os.lstat(os.path.join(directory, name)) for name in [*directories, *files]]
        names += sum(
            stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) for status in statuses
        )
    return names


def back_up_lose_everything_and_restore(vault: InstalledVault, archive: Path) -> None:
    agent = vault.agent({"pacs": archive})
    first = agent.back_up()
    assert (first["complete"], first["files_failed"]) == (True, 0)
    assert first["files_new"] == first["files"] > len(ODD_NAMES)

    agent.lose_everything()
    identity_only = vault.directory / "custodian"
    identity_only.mkdir()
    shutil.copy(vault.identity, identity_only / "identity.key")
    shutil.rmtree(vault.identity.parent)
    vault.identity.parent.mkdir()
    shutil.copy(identity_only / "identity.key", vault.identity)

    target = vault.directory / "restored"
    restored = vault.restore(target).require().result
    assert restored["warnings"] == []
    assert (restored["files_failed"], restored["failed"], restored["problems"]) == (0, [], [])
    assert restored["files"] == names_of_files(archive)
    assert differences(archive, target / "pacs") == []
    assert [path.name for path in target.iterdir() if not path.name.startswith(".")] == ["pacs"]

    verified = vault.verify().require().result
    assert (verified["files"], verified["dicom_failed"]) == (first["files"], 0)
    assert verified["dicom_parsed"] > 10


def test_an_odd_tree_comes_back_from_a_directory(tmp_path: Path, full: bool) -> None:
    archive = tmp_path / "archive"
    make_odd_tree(archive, sparse_size_bytes=sparse_size_bytes(full=full))
    vault = new_vault(tmp_path / "site")
    back_up_lose_everything_and_restore(vault, archive)


def test_an_odd_tree_comes_back_from_s3_and_every_version_is_locked(
    tmp_path: Path, seaweed: S3Server, full: bool
) -> None:
    archive = tmp_path / "archive"
    make_odd_tree(archive, sparse_size_bytes=sparse_size_bytes(full=full))
    bucket = seaweed.new_bucket()
    vault = new_vault(
        tmp_path / "site",
        url=f"s3://{bucket}/radiology",
        environment=seaweed.environment(tls=True),
    )
    began = datetime.now(UTC).replace(microsecond=0)
    back_up_lose_everything_and_restore(vault, archive)
    kinds = {key.split("/")[1] for key, _ in all_versions(seaweed, bucket)}
    assert kinds == {"config", "agents", "packs", "index", "references", "tables", "snapshots"}
    # The first snapshot of a year is kept as a yearly one, and so is all that it needs.
    until = began + timedelta(days=YEARLY_DAYS + SLACK_DAYS)
    assert badly_locked(seaweed, bucket, until=until) == []
    # The check is not blind: a day more than was asked for is found to be missing everywhere.
    unlocked = badly_locked(seaweed, bucket, until=until + timedelta(days=1))
    assert len(unlocked) == len(all_versions(seaweed, bucket))


def test_attributes_come_back(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    set_attributes(archive, pytest.skip)
    vault = new_vault(tmp_path / "site")
    vault.agent({"pacs": archive}).back_up()
    vault.restore(tmp_path / "restored").require()
    assert differences(archive, tmp_path / "restored" / "pacs") == []


def test_the_second_night_reads_nothing_and_stores_no_data_again(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    make_odd_tree(archive, sparse_size_bytes=1 << 20)
    vault = new_vault(tmp_path / "site")
    agent = vault.agent({"pacs": archive})
    # A time in the future could hide a later write, and so could one of this very second: such
    # files are read again.
    os.utime(archive / "metadata" / "after 2038", ns=(0, 0))
    time.sleep(1.1)
    first = agent.back_up()
    second = agent.back_up()
    assert second["files_unchanged"] == first["files"] == second["files"]
    assert (second["files_new"], second["files_changed"], second["bytes_read"]) == (0, 0, 0)
    assert (second["chunks_new"], second["complete"]) == (0, True)
    assert second["bytes_stored"] < 64 << 10
    vault.restore(tmp_path / "restored").require()
    assert differences(archive, tmp_path / "restored" / "pacs") == []
