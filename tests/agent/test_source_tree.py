"""A directory tree is listed whole, in order, without being led astray."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight_agent.source import Found, Skipped, SourceVanishedError, Unreadable
from safelight_agent.source.tree import OPEN_DIRECTORIES_MAX, TreeOptions, TreeSource
from safelight_vault.format.manifest import PATH_LENGTH_MAX, XATTRS_MAX, EntryKind
from tree_scans import (
    component_order,
    deep_tree,
    found,
    open_descriptors,
    paths,
    scan,
    scanned,
    unprivileged,
)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that another user can reach (pytest's own belong to one user only)."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_files_directories_and_links_are_described(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir(mode=0o750)
    image = tmp_path / "study" / "image.dcm"
    image.write_bytes(b"pixels")
    image.chmod(0o4640)
    os.utime(image, ns=(1, 1_700_000_000_123_456_789))
    (tmp_path / "link").symlink_to("study/image.dcm")
    os.link(image, tmp_path / "twin")

    seen = scanned(tmp_path)
    root, study, file = seen[b""], seen[b"study"], seen[b"study/image.dcm"]
    assert isinstance(root, Found)
    assert isinstance(study, Found)
    assert isinstance(file, Found)
    assert root.kind is study.kind is EntryKind.DIRECTORY
    assert study.mode == 0o750
    assert study.size_bytes == 0
    status = image.stat()
    assert file.kind is EntryKind.FILE
    assert file.size_bytes == 6
    assert file.mode == 0o4640
    assert (file.uid, file.gid) == (status.st_uid, status.st_gid)
    assert file.mtime_ns == 1_700_000_000_123_456_789
    assert file.ctime_ns == status.st_ctime_ns
    assert (file.device, file.inode) == (status.st_dev, status.st_ino)
    assert file.link_count == 2
    link = found(tmp_path, b"link")
    assert (link.kind, link.link_target, link.size_bytes) == (
        EntryKind.SYMLINK,
        b"study/image.dcm",
        0,
    )
    twin = found(tmp_path, b"twin")
    assert (twin.device, twin.inode, twin.link_count) == (file.device, file.inode, 2)


def test_the_root_comes_first_and_an_empty_tree_is_only_its_root(tmp_path: Path) -> None:
    assert paths(tmp_path) == [b""]


def test_entries_come_in_the_order_of_path_components(tmp_path: Path) -> None:
    for name in ("a/x", "a.b/x", "a/y/z", "A", "a-", "b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = paths(tmp_path)
    assert listed == [
        b"", b"A", b"a", b"a/x", b"a/y", b"a/y/z", b"a-", b"a.b", b"a.b/x", b"b",
    ]  # fmt: skip
    assert listed == sorted(listed, key=component_order)


components = st.binary(min_size=1, max_size=5).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.lists(components, min_size=1, max_size=4).map(tuple), max_size=12))
def test_any_tree_is_listed_once_and_in_order(chosen: set[tuple[bytes, ...]]) -> None:
    with TemporaryDirectory() as name:
        for parts in chosen:
            Path(os.fsdecode(b"/".join((os.fsencode(name), *parts)))).mkdir(
                parents=True, exist_ok=True
            )
        listed = paths(Path(name))
    expected = {parts[:length] for parts in chosen for length in range(len(parts) + 1)} | {()}
    assert listed == [b"/".join(parts) for parts in sorted(expected)]


ODD_NAMES = [
    b"two\nlines",
    b"\xff\xfe not utf-8",
    b"n" * 255,
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
    "cafe\N{COMBINING ACUTE ACCENT}".encode(),
    b"Case",
    b"case",
    b"...",
    b"..hidden",
    b" ",
    b"-rf",
    b"back\\slash",
    b"\x01\x7f",
]


def test_fault_12_any_name_is_listed_byte_for_byte(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        (tmp_path / os.fsdecode(name)).touch()
    assert paths(tmp_path) == [b"", *sorted(ODD_NAMES)]


def test_fault_13_depth_2000_is_walked_with_few_descriptors() -> None:
    with deep_tree(2000, b"deep") as root:
        before = open_descriptors()
        most = 0
        count = 0
        for item in TreeSource(root).scan():
            assert isinstance(item, Found)
            count += 1
            if count % 100 == 0:
                most = max(most, open_descriptors())
        after = open_descriptors()
    assert count == 1 + 2000 + 1 + 2000
    assert most - before <= OPEN_DIRECTORIES_MAX + 4
    assert after == before


def test_fault_13_paths_beyond_the_limit_are_listed_as_unreadable() -> None:
    with deep_tree(300, b"d" * 255) as root:
        seen = scan(root)
    unreadable = [item for item in seen if isinstance(item, Unreadable)]
    deepest = 256 * 256 - 1  # bytes of 256 names and the strokes between them
    assert deepest <= PATH_LENGTH_MAX
    assert [len(item.path) for item in unreadable] == [deepest + 256, deepest + 3]
    assert all("longer than" in item.reason for item in unreadable)
    assert max(len(item.path) for item in seen if isinstance(item, Found)) > 4096
    assert [item.path for item in seen] == sorted((item.path for item in seen), key=component_order)


def test_fault_9_links_are_never_followed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (tree / "inner" / "loop").symlink_to("..")
    (tree / "out").symlink_to("../outside")
    (tree / "dangling").symlink_to("/no/such/place")
    (tree / "self").symlink_to("self")
    assert paths(tree) == [b"", b"dangling", b"inner", b"inner/loop", b"out", b"self"]
    assert found(tree, b"dangling").link_target == b"/no/such/place"
    assert found(tree, b"out").kind is EntryKind.SYMLINK


def test_fault_10_special_files_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's name is limited to 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        seen = scanned(tmp_path)
    assert seen[b"pipe"] == Skipped(b"pipe", "pipe")
    assert seen[b"socket"] == Skipped(b"socket", "socket")


def test_fault_10_devices_are_skipped() -> None:
    seen = scanned(Path("/dev"), TreeOptions(include=("/null",)))
    assert seen[b"null"] == Skipped(b"null", "character device")


def test_other_file_systems_are_listed_and_not_entered() -> None:
    outer, inner = Path("/"), Path("/proc")
    assert outer.stat().st_dev != inner.stat().st_dev
    within = TreeOptions(include=("/proc/self",))
    across = TreeOptions(include=("/proc/self",), one_file_system=False)
    assert paths(outer, within) == [b"", b"proc"]
    assert paths(outer, across) == [b"", b"proc", b"proc/self"]


def test_fault_7_a_closed_directory_is_unreadable_and_the_rest_goes_on(open_path: Path) -> None:
    closed = open_path / "closed"
    closed.mkdir()
    (closed / "hidden").touch()
    (open_path / "z").touch()
    closed.chmod(0o000)
    try:
        with unprivileged():
            seen = scan(open_path)
    finally:
        closed.chmod(0o700)
    assert [item.path for item in seen] == [b"", b"closed", b"z"]
    assert isinstance(seen[1], Unreadable)
    assert seen[1].reason == "EACCES: Permission denied"


def test_fault_7_names_that_may_be_listed_and_not_looked_at_are_unreadable(
    open_path: Path,
) -> None:
    listing = open_path / "listing"
    listing.mkdir()
    (listing / "image").touch()
    listing.chmod(0o444)
    try:
        with unprivileged():
            seen = scan(open_path)
    finally:
        listing.chmod(0o700)
    assert isinstance(seen[2], Unreadable)
    assert seen[2].path == b"listing/image"


def test_fault_7_a_closed_root_is_no_source(open_path: Path) -> None:
    root = open_path / "root"
    root.mkdir(mode=0o700)
    root.chmod(0o000)
    with unprivileged(), pytest.raises(SourceVanishedError, match="EACCES"):
        scan(root)


@pytest.mark.parametrize("mtime_ns", [0, -5_000_000_001, 4_000_000_000_000_000_007])
def test_fault_6_times_in_1970_before_it_and_in_the_future_are_kept(
    tmp_path: Path, mtime_ns: int
) -> None:
    (tmp_path / "image").touch()
    os.utime(tmp_path / "image", ns=(0, mtime_ns))
    assert found(tmp_path, b"image").mtime_ns == mtime_ns


def test_extended_attributes_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    try:
        os.setxattr(tmp_path / "file", "user.zone", b"\0\xff")
    except OSError as error:
        pytest.skip(f"this file system keeps no user attributes: {error}")
    os.setxattr(tmp_path / "file", "user.arc", b"")
    os.setxattr(tmp_path / "directory", "user.kind", b"study")

    def users_own(path: bytes) -> list[tuple[bytes, bytes]]:
        return [pair for pair in found(tmp_path, path).xattrs if pair[0].startswith(b"user.")]

    assert users_own(b"file") == [(b"user.arc", b""), (b"user.zone", b"\0\xff")]
    assert users_own(b"directory") == [(b"user.kind", b"study")]
    assert users_own(b"link") == []


def test_more_attributes_than_an_entry_can_hold_make_a_file_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    many = [f"user.{number}" for number in range(XATTRS_MAX + 1)]  # more than ext4 can be given
    listing = os.listxattr
    monkeypatch.setattr(
        os,
        "listxattr",
        lambda at, **more: many if str(at).endswith("file'") else listing(at, **more),
    )
    assert isinstance(scanned(tmp_path)[b"file"], Unreadable)


def test_an_excluded_directory_is_never_opened(open_path: Path) -> None:
    closed = open_path / "closed"
    closed.mkdir()
    closed.chmod(0o000)
    (open_path / "a.tmp").touch()
    (open_path / "a.dcm").touch()
    try:
        with unprivileged():
            listed = paths(open_path, TreeOptions(exclude=("/closed", "*.tmp")))
    finally:
        closed.chmod(0o700)
    assert listed == [b"", b"a.dcm"]


def test_includes_take_their_files_and_the_directories_that_lead_there(tmp_path: Path) -> None:
    for name in ("2023/a.dcm", "2024/a.dcm", "2024/sub/b.dcm", "2024/notes.txt", "top.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert paths(tmp_path, TreeOptions(include=("/2024/**/*.dcm",))) == [
        b"", b"2024", b"2024/a.dcm", b"2024/sub", b"2024/sub/b.dcm",
    ]  # fmt: skip
