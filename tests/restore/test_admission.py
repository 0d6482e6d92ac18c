"""Hostile manifests: each entry that must not be restored is refused by name, the others pass."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_restore.admission import Refusal, Unreadable, admit
from safelight_vault.format.manifest import Entry, EntryKind, Hole, entry_key
from safelight_vault.format.place import Place

PACK = hashlib.sha256(b"pack").digest()
PLACE = Place(PACK, 0, 1000, 500, 0, 3)


def file(path: bytes, **changes: object) -> Entry:
    sound = Entry(
        path=path,
        kind=EntryKind.FILE,
        mode=0o644,
        uid=0,
        gid=0,
        mtime_ns=0,
        size_bytes=3,
        sha256=hashlib.sha256(b"abc").digest(),
        extents=(PLACE,),
    )
    return replace(sound, **changes)  # type: ignore[arg-type]


def other(path: bytes, kind: EntryKind, target: bytes = b"") -> Entry:
    return Entry(path=path, kind=kind, mode=0, uid=0, gid=0, mtime_ns=0, link_target=target)


HOSTILE = {
    "absolute": file(b"/etc/passwd"),
    "parent": file(b"../x"),
    "parent inside": file(b"x/../../y"),
    "dot": file(b"x/./y"),
    "empty component": file(b"x//y"),
    "trailing slash": file(b"x/"),
    "NUL": file(b"x\0y"),
    "too long": file(b"x" * 65_537),
    "root is a file": file(b""),
    "size too small": file(b"x", size_bytes=2),
    "size too large": file(b"x", size_bytes=4),
    "negative size": file(b"x", size_bytes=-3),
    "size beyond 63 bits": file(b"x", size_bytes=2**63, extents=(Hole(2**63),)),
    "negative hole": file(b"x", extents=(PLACE, Hole(-1), Hole(1))),
    "empty hole": file(b"x", extents=(PLACE, Hole(0))),
    "empty place": file(b"x", extents=(PLACE, replace(PLACE, length=0))),
    "negative offset": file(b"x", extents=(replace(PLACE, offset=-1),)),
    "negative block": file(b"x", extents=(replace(PLACE, block_offset=-1),)),
    "short pack name": file(b"x", extents=(replace(PLACE, pack=b"pack"),)),
    "no hash": file(b"x", sha256=b""),
    "negative owner": file(b"x", uid=-1),
    "owner that means none": file(b"x", gid=2**32 - 1),
    "time out of range": file(b"x", mtime_ns=2**63),
    "attribute without name": file(b"x", xattrs=((b"", b"value"),)),
    "directory with content": replace(other(b"x", EntryKind.DIRECTORY), extents=(PLACE,)),
    "symlink to nothing": other(b"x", EntryKind.SYMLINK),
    "symlink with NUL": other(b"x", EntryKind.SYMLINK, b"a\0b"),
    "hard link outside": other(b"x", EntryKind.HARD_LINK, b"../../etc/shadow"),
    "hard link absolute": other(b"x", EntryKind.HARD_LINK, b"/etc/shadow"),
    "hard link to itself": other(b"x", EntryKind.HARD_LINK, b"x"),
    "hard link to later": other(b"x", EntryKind.HARD_LINK, b"z"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_is_refused_by_name_and_its_neighbours_pass(name: str) -> None:
    hostile = HOSTILE[name]
    before, after = file(b"\x01before"), file(b"\xffafter")
    passed = list(admit([before, hostile, after]))
    assert [passed[0], passed[2]] == [before, after]
    assert isinstance(passed[1], Refusal)
    assert passed[1].path == hostile.path
    assert passed[1].reason


def refused_paths(*entries: Entry) -> list[bytes]:
    return [item.path for item in admit(entries) if isinstance(item, Refusal)]


def test_a_path_that_comes_twice_is_refused_the_second_time() -> None:
    assert refused_paths(file(b"a"), file(b"a"), file(b"b")) == [b"a"]


def test_a_path_out_of_order_is_refused() -> None:
    assert refused_paths(file(b"b"), file(b"a"), file(b"c")) == [b"a"]


@pytest.mark.parametrize("kind", [EntryKind.SYMLINK, EntryKind.FILE])
def test_what_lies_below_a_file_or_symlink_is_refused(kind: EntryKind) -> None:
    top = file(b"a") if kind is EntryKind.FILE else other(b"a", kind, b"/etc")
    below = [file(b"a/passwd"), other(b"a/d", EntryKind.DIRECTORY), file(b"a/d/x")]
    assert refused_paths(top, *below, file(b"a!"), file(b"b")) == [b"a/passwd", b"a/d", b"a/d/x"]


def test_a_file_in_place_of_a_directory_that_came_before_is_refused() -> None:
    assert refused_paths(file(b"a/b"), file(b"a")) == [b"a"]


def test_an_unreadable_stretch_passes_through() -> None:
    lost = Unreadable(path=b"m", reason="page is damaged")
    assert list(admit([file(b"a"), lost, file(b"z")])) == [file(b"a"), lost, file(b"z")]


NAMES = st.binary(min_size=1, max_size=6).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(st.sets(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join), max_size=30))
def test_any_sound_tree_passes_whole(paths: set[bytes]) -> None:
    directories = {b"/".join(p.split(b"/")[:n]) for p in paths for n in range(p.count(b"/") + 1)}
    entries = [other(path, EntryKind.DIRECTORY) for path in directories]
    entries += [file(path) for path in paths - directories]
    entries.sort(key=lambda entry: entry_key(entry.path))
    assert list(admit(entries)) == entries
