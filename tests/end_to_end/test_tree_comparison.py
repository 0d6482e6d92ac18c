"""The comparison of trees notices every single thing that a restore could get wrong."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trees import differences


def sample(root: Path) -> Path:
    (root / "directory").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    os.link(root / "file", root / "hard")
    (root / "link").symlink_to("file")
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 20)
        os.pwrite(sparse.fileno(), b"x" * 4096, 512 << 10)
    for path in (root / "directory", root / "file", root / "sparse", root):
        os.utime(path, ns=(0, 10**18))
    os.utime(root / "link", ns=(0, 10**18), follow_symlinks=False)
    return root


def rewrite(root: Path, name: str, data: bytes) -> None:
    """Other bytes, all else as it was."""
    (root / name).write_bytes(data)
    os.utime(root / name, ns=(0, 10**18))


def unlink_hard(root: Path) -> None:
    (root / "hard").unlink()
    (root / "hard").write_bytes(b"content")
    for path in (root / "hard", root):
        os.utime(path, ns=(0, 10**18))


def retarget(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("fil")
    os.utime(root / "link", ns=(0, 10**18), follow_symlinks=False)


def make_a_file_of_the_directory(root: Path) -> None:
    (root / "directory").rmdir()
    (root / "directory").touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda root: (root / "directory").rmdir(),
    "not there before": lambda root: (root / "more").touch(),
    "content at 0": lambda root: rewrite(root, "file", b"Content"),
    "size: 8, was 7": lambda root: rewrite(root, "file", b"content\0"),
    "holes": lambda root: rewrite(root, "sparse", (root / "sparse").read_bytes()),
    "mode": lambda root: (root / "file").chmod(0o4644),
    "mtime_ns": lambda root: os.utime(root / "directory", ns=(0, 10**18 + 1)),
    "target": retarget,
    "hard links": unlink_hard,
    "kind": make_a_file_of_the_directory,
}


def test_equal_trees_are_equal(tmp_path: Path) -> None:
    assert differences(sample(tmp_path / "a"), sample(tmp_path / "b")) == []


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_told(tmp_path: Path, what: str) -> None:
    before, after = sample(tmp_path / "a"), sample(tmp_path / "b")
    CHANGES[what](after)
    told = [found.what for found in differences(before, after)]
    assert any(each.startswith(what) for each in told), told


def test_special_files_that_no_backup_takes_are_passed_over_only_on_one_side(
    tmp_path: Path,
) -> None:
    before, after = sample(tmp_path / "a"), sample(tmp_path / "b")
    os.mkfifo(before / "pipe")
    os.utime(before, ns=(0, 10**18))
    assert differences(before, after) == []
    assert [found.path for found in differences(after, before)] == [b"pipe"]
