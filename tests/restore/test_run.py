"""Interrupted restores: whatever call fails or kills, the same command completes what is left."""

import errno
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

import restore_cases
from restore_cases import FaultyFiles, Maker, differences, found_in, restore, sample
from safelight_restore.existing import Exists
from safelight_restore.run import dry_run, open_restore
from safelight_restore.select import Selection
from safelight_restore.target.filesystem import FileSystem
from safelight_restore.target.workspace import plan_path
from safelight_vault.errors import (
    CorruptError,
    IncompleteError,
    LeaseHeldError,
    RefusedError,
    VaultError,
)

ARCHIVE = os.fsdecode(restore_cases.SOURCE)


def killed_at(call: int, target: Path) -> subprocess.CompletedProcess[str]:
    """Restore the sample in another process that is killed at the n-th call (0: never)."""
    return subprocess.run(
        [sys.executable, restore_cases.__file__, str(target), str(call)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
        text=True,
    )


def assert_whole_files_only(maker: Maker, place: Path) -> None:
    """Whatever has a final name has its whole content."""
    wrong = differences(maker, place, metadata=False)
    assert [line for line in wrong if not line.endswith(("missing", "same inode"))] == [
        line for line in wrong if "not the same inode" in line
    ]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_after_a_failure_of_any_call_the_same_command_completes(
    tmp_path: Path, number: int
) -> None:
    """Fail the n-th call, for every n: nothing half done has a name, and a second run ends it."""
    fired: set[str] = set()
    for at in count(1):
        maker = sample(files=2)
        target = tmp_path / str(at)
        files = FaultyFiles(at, number)
        warned = complete = False
        try:
            _, result = restore(maker, target, files=files, threads=1)
            warned = bool(result.warnings)
            complete = result.exit_code == 0
            assert complete or result.failed
        except VaultError as error:
            assert error.exit_code in (2, 7)  # noqa: PT017 (not raising is right, too)
        if files.fired is None:
            break
        fired.add(files.fired)
        if target.exists():
            assert_whole_files_only(maker, target / ARCHIVE)
        if complete:
            assert differences(maker, target / ARCHIVE, metadata=not warned) == []
            continue
        _, result = restore(maker, target)
        assert result.exit_code == 0
        assert differences(maker, target / ARCHIVE, metadata=not warned) == []
        assert os.listdir(target) == [ARCHIVE]
    assert at > 120
    assert fired >= {"open", "pwrite", "preadv", "ftruncate", "link", "unlink", "syncfs", "mkdir"}
    assert fired >= {"symlink", "chmod", "utime", "close", "fstat", "scandir"}


def test_after_sigkill_anywhere_no_partial_file_has_a_name_and_the_rerun_completes(
    tmp_path: Path,
) -> None:
    whole = killed_at(0, tmp_path / "whole")
    total = int(whole.stdout)
    resumed = 0
    for tenth in (1, 3, 5, 7, 8, 9):
        maker = sample()
        target = tmp_path / f"killed {tenth}"
        done = killed_at(total * tenth // 10, target)
        assert done.returncode == -signal.SIGKILL, done.stderr
        if (target / ARCHIVE).exists():
            assert_whole_files_only(maker, target / ARCHIVE)
        plan, result = restore(maker, target)
        assert plan.resumed
        assert result.exit_code == 0
        assert differences(maker, target / ARCHIVE) == []
        assert os.listdir(target) == [ARCHIVE]
        assert result.files_resumed >= resumed
        resumed = result.files_resumed
    assert resumed > 10


def interrupt(maker: Maker, target: Path, *, exists: Exists = Exists.REFUSE) -> None:
    """Leave a restore behind that did everything but one file."""
    maker.spoil(b"2024/005.dcm", CorruptError("damaged"))
    restore(maker, target, exists=exists)
    maker.errors.clear()
    maker.blocks_read = 0


def test_a_resumed_run_looks_at_what_was_finished_and_restores_what_is_gone(
    tmp_path: Path,
) -> None:
    maker = sample()
    interrupt(maker, tmp_path)
    place = tmp_path / ARCHIVE / "2024"
    (place / "011.dcm").unlink()
    (place / "way out").unlink()
    (place / "twin").unlink()
    plan, result = restore(maker, tmp_path)
    assert plan.resumed
    assert result.exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE) == []


def test_a_hard_link_follows_its_file_when_that_is_restored_again(tmp_path: Path) -> None:
    maker = sample()
    interrupt(maker, tmp_path)
    for name in ("000.dcm", "twin"):
        (tmp_path / ARCHIVE / "2024" / name).unlink()
    _, result = restore(maker, tmp_path)
    assert result.exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE) == []


def test_a_hard_link_whose_file_was_taken_away_stays_as_a_copy_and_says_so(
    tmp_path: Path,
) -> None:
    maker = sample()
    interrupt(maker, tmp_path)
    (tmp_path / ARCHIVE / "2024" / "000.dcm").unlink()
    _, result = restore(maker, tmp_path)
    assert result.exit_code == 0
    assert "hard link not restored for 1 entries" in result.warnings[0]
    wrong = differences(maker, tmp_path / ARCHIVE)
    assert wrong == ["b'2024/twin': not the same inode as b'2024/000.dcm'"]


def test_a_finished_file_that_was_changed_since_is_not_overwritten(tmp_path: Path) -> None:
    maker = sample()
    interrupt(maker, tmp_path)
    changed = tmp_path / ARCHIVE / "2024" / "011.dcm"
    changed.write_bytes(b"changed by someone")
    _, result = restore(maker, tmp_path)
    assert [item.path for item in result.failed] == [b"archive/2024/011.dcm"]
    assert changed.read_bytes() == b"changed by someone"
    assert result.exit_code == 7


def test_files_found_equal_are_compared_again_when_a_run_resumes(tmp_path: Path) -> None:
    maker = sample()
    restore(maker, tmp_path)
    equal = tmp_path / ARCHIVE / "2024" / "001.dcm"
    with open_restore(
        target=tmp_path,
        sources=[maker.source()],
        selection=Selection([]),
        exists=Exists.REPLACE,
        present=lambda _: True,
    ) as run:
        assert run.plan.already_present == 16
    equal.write_bytes(bytes(len(maker.contents[b"2024/001.dcm"])))
    plan, result = restore(maker, tmp_path, exists=Exists.REPLACE)
    assert plan.resumed
    assert plan.already_present == 15
    assert differences(maker, tmp_path / ARCHIVE) == []
    assert result.exit_code == 0


@pytest.mark.parametrize("change", ["snapshot", "selection"])
def test_another_restore_does_not_take_up_an_interrupted_one(tmp_path: Path, change: str) -> None:
    maker = sample()
    interrupt(maker, tmp_path)
    snapshot = b"snapshot 2" if change == "snapshot" else b"snapshot 1"
    patterns = [b"2024"] if change == "selection" else []
    with pytest.raises(RefusedError, match="interrupted restore"):
        restore(maker, tmp_path, snapshot=snapshot, patterns=patterns)
    # It is still there to be finished; and "keep" is the way past it.
    plan, result = restore(
        maker, tmp_path, snapshot=snapshot, patterns=patterns, exists=Exists.KEEP
    )
    assert not plan.resumed
    assert result.exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE, metadata=False) == []


def test_a_refused_restore_leaves_nothing_in_the_target(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).mkdir()
    (tmp_path / ARCHIVE / "mine").write_bytes(b"")
    with pytest.raises(RefusedError):
        restore(sample(), tmp_path)
    assert found_in(tmp_path).keys() == {b"", b"archive", b"archive/mine"}


def test_a_damaged_plan_is_made_anew_or_refused_but_never_believed(tmp_path: Path) -> None:
    maker = sample()
    interrupt(maker, tmp_path)
    path = plan_path(tmp_path)
    data = bytearray(path.read_bytes())
    data[:4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(RefusedError):
        restore(maker, tmp_path)
    _, result = restore(maker, tmp_path, exists=Exists.KEEP)
    assert result.kept > 10
    assert (result.kept + result.files, result.exit_code) == (18, 0)
    assert differences(maker, tmp_path / ARCHIVE, metadata=False) == []


def test_a_plan_that_was_cut_off_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    maker = sample()

    class Broken(Maker):
        def in_order(self) -> list[object]:  # type: ignore[override]
            raise CorruptError("the manifest breaks off")

    with pytest.raises(CorruptError):
        restore(Broken(), tmp_path)
    plan, result = restore(maker, tmp_path)
    assert not plan.resumed
    assert result.exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE) == []


def test_a_dry_run_shows_what_an_interrupted_restore_still_has_to_do(tmp_path: Path) -> None:
    maker = sample()
    target, scratch = tmp_path / "target", tmp_path / "scratch"
    scratch.mkdir()
    interrupt(maker, target)
    plan = dry_run(
        target=target,
        sources=[maker.source()],
        selection=Selection([]),
        exists=Exists.REFUSE,
        present=lambda _: True,
        scratch=scratch,
    )
    assert plan.resumed
    assert plan.already_present + plan.files_to_write == 18
    assert plan.files_to_write < 10
    assert restore(maker, target)[0].files_to_write == plan.files_to_write


def test_a_second_restore_into_the_same_target_waits_its_turn(tmp_path: Path) -> None:
    maker = sample()
    with open_restore(
        target=tmp_path,
        sources=[maker.source()],
        selection=Selection([]),
        exists=Exists.REFUSE,
        present=lambda _: True,
    ) as run:
        with pytest.raises(LeaseHeldError):
            restore(maker, tmp_path)
        assert run.execute(maker).exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE) == []


class SmallDisk(FileSystem):
    """Refuses to write more than some bytes, as a full disk does, until there is room."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:  # type: ignore[override]
        if len(data) > self.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room_bytes -= len(data)
        return os.pwrite(descriptor, data, offset)


def fill(maker: Maker) -> Maker:
    for number in range(60):
        maker.file(b"%02d" % number, bytes([number]) * 100_000)
    return maker


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(tmp_path: Path) -> None:
    """On a real small file system where this process may mount one, else on one that plays it."""
    maker = fill(Maker(block_bytes=1000))
    target = tmp_path / "small"
    target.mkdir()
    mounted = os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(target))
    try:
        files = FileSystem() if mounted else SmallDisk(3_000_000)
        with pytest.raises(IncompleteError, match="cannot be written") as caught:
            restore(maker, target, files=files)
        assert "resumes" in caught.value.next_step
        assert_whole_files_only(maker, target / ARCHIVE)
        if mounted:
            assert mount("-o", "remount,size=64m", str(target))
        _, result = restore(maker, target)
        assert result.exit_code == 0
        assert differences(maker, target / ARCHIVE) == []
    finally:
        if mounted:
            subprocess.run(["umount", str(target)], check=True)


def mount(*arguments: str) -> bool:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True)
    return done.returncode == 0
