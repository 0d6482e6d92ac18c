"""What stands in the target already: kept, compared or replaced by rule, never followed."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from restore_cases import SOURCE, differences, restore, sample
from safelight_restore.existing import Decision, Exists, decide
from safelight_restore.spool import FileState
from safelight_restore.target.filesystem import FileSystem
from safelight_vault.format.manifest import EntryKind

ARCHIVE = os.fsdecode(SOURCE)


def status(kind: str, tmp_path: Path) -> os.stat_result | None:
    place = tmp_path / "place"
    if kind == "nothing":
        return None
    if kind in ("empty directory", "full directory"):
        place.mkdir()
    elif kind == "symlink":
        place.symlink_to("/etc")
    else:
        place.write_bytes(b"abc" if kind == "same size" else b"abcd")
    return place.lstat()


IN_PLACE = ["nothing", "same size", "other size", "symlink", "empty directory", "full directory"]
P, C, K, F = FileState.PENDING, FileState.COMPARE, FileState.KEPT, FileState.FAILED
TABLE = {
    (Exists.KEEP, EntryKind.FILE): [(P, 0), (K, 0), (K, 0), (K, 0), (F, 0), (F, 0)],
    (Exists.KEEP, EntryKind.SYMLINK): [(P, 0), (K, 0), (K, 0), (K, 0), (F, 0), (F, 0)],
    (Exists.KEEP, EntryKind.DIRECTORY): [(P, 0), (F, 0), (F, 0), (F, 0), (K, 0), (K, 0)],
    (Exists.REPLACE, EntryKind.FILE): [(P, 0), (C, 1), (P, 1), (P, 1), (P, 1), (F, 1)],
    (Exists.REPLACE, EntryKind.SYMLINK): [(P, 0), (P, 1), (P, 1), (P, 1), (P, 1), (F, 1)],
    (Exists.REPLACE, EntryKind.HARD_LINK): [(P, 0), (P, 1), (P, 1), (P, 1), (P, 1), (F, 1)],
    (Exists.REPLACE, EntryKind.DIRECTORY): [(P, 0), (P, 1), (P, 1), (P, 1), (P, 0), (P, 0)],
    (Exists.REFUSE, EntryKind.FILE): [(P, 0), (F, 0), (F, 0), (F, 0), (F, 0), (F, 0)],
}


@pytest.mark.parametrize(("exists", "kind"), TABLE)
@pytest.mark.parametrize("in_place", IN_PLACE)
def test_each_rule_decides_each_case_as_the_table_says(
    tmp_path: Path, exists: Exists, kind: EntryKind, in_place: str
) -> None:
    entry = replace(sample().file_entry(b"notes\n\xff"), kind=kind, size_bytes=3)
    decision = decide(
        exists, entry, status(in_place, tmp_path), lambda: in_place == "empty directory"
    )
    state, replaces = TABLE[exists, kind][IN_PLACE.index(in_place)]
    assert decision == Decision(state=state, replace=bool(replaces), reason=decision.reason)
    assert (decision.reason is not None) is (state is F)


def test_keep_leaves_what_exists_and_restores_the_rest(tmp_path: Path) -> None:
    maker = sample()
    place = tmp_path / ARCHIVE / "2024"
    place.mkdir(parents=True)
    place.chmod(0o711)
    (place / "000.dcm").write_bytes(b"mine")
    (place / "001.dcm").symlink_to("/etc/passwd")
    _, result = restore(maker, tmp_path, exists=Exists.KEEP)
    assert result.kept == 2
    assert (place / "000.dcm").read_bytes() == b"mine"
    assert os.readlink(place / "001.dcm") == "/etc/passwd"
    assert stat.S_IMODE(place.stat().st_mode) == 0o711
    # The file that "twin" shares its inode with was kept, so the link has become the file.
    assert (place / "twin").read_bytes() == maker.contents[b"2024/000.dcm"]
    assert (place / "002.dcm").read_bytes() == maker.contents[b"2024/002.dcm"]
    assert (result.files, result.exit_code) == (16, 0)


def test_replace_keeps_equal_files_and_replaces_others(tmp_path: Path) -> None:
    maker = sample()
    restore(maker, tmp_path)
    place = tmp_path / ARCHIVE / "2024"
    equal = place / "001.dcm"
    inode = equal.stat().st_ino
    equal.chmod(0o777)
    os.utime(equal, ns=(1, 1))
    (place / "002.dcm").write_bytes(b"shorter")
    same_size = bytearray(maker.contents[b"2024/003.dcm"])
    same_size[5] ^= 1
    (place / "003.dcm").write_bytes(same_size)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (place / "004.dcm").unlink()
    (place / "004.dcm").symlink_to(outside)
    (place / "empty").chmod(0o700)
    (place / "empty").rmdir()
    (place / "empty").write_bytes(b"a file in a directory's place")
    (place / "way out").unlink()
    (place / "way out").mkdir()
    (place / "extra").write_bytes(b"not in the backup")
    maker.blocks_read = 0
    plan, result = restore(maker, tmp_path, exists=Exists.REPLACE)
    assert plan.already_present == 13
    assert 0 < maker.blocks_read < 10
    assert differences(maker, tmp_path / ARCHIVE) == ["b'2024/extra': not in the manifest"]
    assert equal.stat().st_ino == inode
    assert outside.read_bytes() == b"precious"
    assert (result.files, result.exit_code) == (18, 0)


def test_a_directory_with_content_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    maker = sample()
    place = tmp_path / ARCHIVE / "2024" / "000.dcm"
    (place / "content").mkdir(parents=True)
    _, result = restore(maker, tmp_path, exists=Exists.REPLACE)
    assert [item.path for item in result.failed] == [b"archive/2024/000.dcm"]
    assert (result.exit_code, (place / "content").is_dir()) == (7, True)
    # Its hard link is restored as a file of its own; and once there is room, so is the file.
    assert (place.parent / "twin").read_bytes() == maker.contents[b"2024/000.dcm"]
    (place / "content").rmdir()
    _, result = restore(maker, tmp_path, exists=Exists.REPLACE)
    assert place.read_bytes() == maker.contents[b"2024/000.dcm"]
    assert result.exit_code == 0


def test_a_symlink_in_a_directorys_place_is_replaced_not_followed(tmp_path: Path) -> None:
    maker = sample()
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "target" / ARCHIVE).mkdir(parents=True)
    (tmp_path / "target" / ARCHIVE / "2024").symlink_to(outside)
    _, result = restore(maker, tmp_path / "target", exists=Exists.KEEP)
    assert list(outside.iterdir()) == []
    assert result.files == 1
    assert result.files_failed == 19
    _, result = restore(maker, tmp_path / "target", exists=Exists.REPLACE)
    assert list(outside.iterdir()) == []
    assert differences(maker, tmp_path / "target" / ARCHIVE) == []


class Intruder(FileSystem):
    """Creates a file at a name of the restore just before that restore's files get theirs."""

    def __init__(self, place: Path, content: bytes) -> None:
        self._place = place
        self._content = content

    def syncfs(self, descriptor: int) -> None:
        if not self._place.exists():
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._place.write_bytes(self._content)
        super().syncfs(descriptor)


@pytest.mark.parametrize("exists", list(Exists))
def test_a_name_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, exists: Exists) -> None:
    maker = sample()
    place = tmp_path / ARCHIVE / "2024" / "003.dcm"
    _, result = restore(maker, tmp_path, exists=exists, files=Intruder(place, b"intruder"))
    assert place.read_bytes() == b"intruder"
    if exists is Exists.KEEP:
        assert (result.kept, result.exit_code) == (1, 0)
    else:
        assert [item.path for item in result.failed] == [b"archive/2024/003.dcm"]
        assert result.exit_code == 7


def test_a_name_that_appears_with_the_right_content_counts_as_restored(tmp_path: Path) -> None:
    maker = sample()
    place = tmp_path / ARCHIVE / "2024" / "003.dcm"
    intruder = Intruder(place, maker.contents[b"2024/003.dcm"])
    _, result = restore(maker, tmp_path, files=intruder)
    assert (result.files, result.exit_code) == (18, 0)
