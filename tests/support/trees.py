"""Directory trees held against each other, strictly: everything that a restore must bring back.

The invariant: whatever two trees differ in, content, holes, times, modes, owners, attributes, links
or the mere presence of a name, is told; only special files of the expected tree are passed over,
which no backup takes.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_READ_SIZE = 1 << 20
_COMPARABLE = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which one path is not as it was."""

    path: bytes
    what: str


def differences(expected: Path, actual: Path) -> list[Difference]:
    """Every difference below two directories, and of the directories themselves."""
    before, after = _walk(os.fsencode(expected)), _walk(os.fsencode(actual))
    taken = {path for path, status in before.items() if _kind(status) is not None}
    found = [Difference(path, "missing") for path in sorted(taken - after.keys())]
    found += [Difference(path, "not there before") for path in sorted(after.keys() - taken)]
    for path in sorted(taken & after.keys()):
        was, now = (os.path.join(os.fsencode(root), path) for root in (expected, actual))
        whats = _compare(was, now, before[path], after[path])
        found += [Difference(path, what) for what in whats]
    links_before = _link_groups({path: before[path] for path in taken})
    links_after = _link_groups(after)
    found += [
        Difference(path, "hard links")
        for path in sorted(taken & after.keys())
        if links_before.get(path) != links_after.get(path)
    ]
    return found


def _walk(root: bytes) -> dict[bytes, os.stat_result]:
    seen = {b"": os.lstat(root)}
    pending = [b""]
    while pending:
        directory = pending.pop()
        # Not by the whole path, which may be longer than the system takes in one go.
        for name in os.listdir(os.path.join(root, directory)):
            path = os.path.join(directory, name)
            seen[path] = os.lstat(os.path.join(root, path))
            if stat.S_ISDIR(seen[path].st_mode):
                pending.append(path)
    return seen


def _kind(status: os.stat_result) -> str | None:
    return _COMPARABLE.get(stat.S_IFMT(status.st_mode))


def _link_groups(tree: dict[bytes, os.stat_result]) -> dict[bytes, frozenset[bytes]]:
    """Of each file with several names: all of its names in the tree."""
    by_inode: dict[tuple[int, int], set[bytes]] = {}
    for path, status in tree.items():
        if not stat.S_ISDIR(status.st_mode):
            by_inode.setdefault((status.st_dev, status.st_ino), set()).add(path)
    return {
        path: frozenset(names) for names in by_inode.values() if len(names) > 1 for path in names
    }


def _compare(
    expected: bytes, actual: bytes, before: os.stat_result, after: os.stat_result
) -> Iterator[str]:
    if _kind(before) != _kind(after):
        yield f"kind: {_kind(after)}, was {_kind(before)}"
        return
    for what, was, now in (
        ("mode", oct(before.st_mode), oct(after.st_mode)),
        ("owner", (before.st_uid, before.st_gid), (after.st_uid, after.st_gid)),
        ("mtime_ns", before.st_mtime_ns, after.st_mtime_ns),
        ("attributes", _attributes(expected), _attributes(actual)),
    ):
        if was != now:
            yield f"{what}: {now}, was {was}"
    if stat.S_ISLNK(before.st_mode) and os.readlink(expected) != os.readlink(actual):
        yield "target"
    if stat.S_ISREG(before.st_mode):
        if before.st_size != after.st_size:
            yield f"size: {after.st_size}, was {before.st_size}"
        else:
            yield from _compare_content(expected, actual)


def _attributes(path: bytes) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _compare_content(expected: bytes, actual: bytes) -> Iterator[str]:
    with open(expected, "rb") as before, open(actual, "rb") as after:
        was, now = data_ranges(before.fileno()), data_ranges(after.fileno())
        if was != now:
            yield f"holes: data in {now[:4]}, was in {was[:4]}"
        # What is a hole in both reads as zeros in both.
        for start, end in [*was, *now]:
            for offset in range(start, end, _READ_SIZE):
                length = min(_READ_SIZE, end - offset)
                if os.pread(before.fileno(), length, offset) != os.pread(
                    after.fileno(), length, offset
                ):
                    yield f"content at {offset}"
                    return


def data_ranges(descriptor: int) -> list[tuple[int, int]]:
    """Where an open file has data, as starts and ends; the rest are holes."""
    size = os.fstat(descriptor).st_size
    ranges: list[tuple[int, int]] = []
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left
            break
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        ranges.append((start, end))
    return ranges
