"""The bytes of a file are those of the file that was found, all of them, or an error says so."""

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from safelight_agent.source import (
    ContentChangedError,
    ContentError,
    Found,
    SourceVanishedError,
    UnreadableError,
    VanishedError,
)
from safelight_agent.source.content import READ_ATTEMPTS, open_content
from safelight_agent.source.metadata import look_again


@pytest.fixture
def root(tmp_path: Path) -> Iterator[bytes]:
    before = set(os.listdir("/proc/self/fd"))
    yield os.fsencode(tmp_path)
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"


def find(root: bytes, path: bytes) -> Found:
    item = look_again(root, path)
    assert isinstance(item, Found)
    return item


def test_a_file_is_read_in_any_pieces(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "image").write_bytes(b"0123456789")
    with open_content(root, find(root, b"a/image")) as content:
        assert content.size_bytes == 10
        assert content.data_ranges() == [(0, 10)]
        assert content.read(0, 10) == b"0123456789"
        assert content.read(4, 3) == b"456"
        assert content.read(10, 0) == b""
        assert not content.changed()


def test_fault_11_an_empty_file_has_no_ranges(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with open_content(root, find(root, b"empty")) as content:
        assert content.size_bytes == 0
        assert content.data_ranges() == []
        assert content.read(0, 0) == b""


def test_fault_11_holes_are_told_from_data(root: bytes, tmp_path: Path) -> None:
    size = 5 << 30
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(1 << 30)
        file.write(b"x" * 4096)
        file.seek(size - 10)
        file.write(b"y" * 10)
    with open_content(root, find(root, b"sparse")) as content:
        ranges = content.data_ranges()
        inside = sum(length for _, length in ranges)
        assert content.read(1 << 30, 4096) == b"x" * 4096
    assert inside < 1 << 20
    assert any(start <= 1 << 30 < start + length for start, length in ranges)
    assert ranges[-1][0] + ranges[-1][1] == size


def test_fault_11_a_file_that_is_one_hole_has_no_ranges(root: bytes, tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 20)
    with open_content(root, find(root, b"hole")) as content:
        assert content.data_ranges() == []
        assert content.read(0, 1 << 20) == bytes(1 << 20)


@pytest.mark.parametrize("change", ["append", "overwrite", "truncate", "replace", "remove"])
def test_fault_1_a_change_during_the_reading_is_seen(
    root: bytes, tmp_path: Path, change: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"0123456789")
    os.utime(image, ns=(0, 0))
    with open_content(root, find(root, b"image")) as content:
        content.read(0, 5)
        if change == "append":
            with image.open("ab") as file:
                file.write(b"more")
        elif change == "overwrite":
            with image.open("r+b") as file:
                file.write(b"X")
        elif change == "truncate":
            os.truncate(image, 3)
        elif change == "replace":
            (tmp_path / "new").write_bytes(b"0123456789")
            (tmp_path / "new").rename(image)
        else:
            image.unlink()
        assert content.changed()


def test_fault_1_the_second_reading_of_a_file_that_settled_is_whole(
    root: bytes, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"first")
    scanned = find(root, b"image")
    image.write_bytes(b"second version")
    with open_content(root, scanned) as content:
        assert content.found == find(root, b"image")
        assert content.found.size_bytes == content.size_bytes == 14
        assert content.read(0, 14) == b"second version"
        assert not content.changed()


def test_attributes_set_since_the_scan_are_those_of_the_opening(
    root: bytes, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"pixels")
    scanned = find(root, b"image")
    try:
        os.setxattr(image, "user.kind", b"CT")
    except OSError as error:
        pytest.skip(f"this file system keeps no user attributes: {error}")
    with open_content(root, scanned) as content:
        assert (b"user.kind", b"CT") in content.found.xattrs


def test_fault_3_a_file_gone_since_the_scan_has_vanished(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    image = tmp_path / "a" / "image"
    image.touch()
    scanned = find(root, b"a/image")
    image.unlink()
    with pytest.raises(VanishedError), open_content(root, scanned):
        pass
    (tmp_path / "a").rmdir()
    (tmp_path / "a").touch()
    with pytest.raises(VanishedError), open_content(root, scanned):
        pass


def test_fault_14_a_root_that_is_gone_is_not_a_vanished_file(root: bytes, tmp_path: Path) -> None:
    below = root + b"/below"
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "image").touch()
    scanned = find(below, b"image")
    (tmp_path / "below").rename(tmp_path / "elsewhere")
    with pytest.raises(SourceVanishedError), open_content(below, scanned):
        pass


def test_fault_4_a_file_that_ends_early_is_never_read_as_whole(root: bytes, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"0123456789")
    with open_content(root, find(root, b"image")) as content:
        os.truncate(image, 4)
        with pytest.raises(ContentChangedError, match="ends at byte 4"):
            content.read(0, 10)


def test_another_file_under_the_name_is_not_taken_for_the_one_found(
    root: bytes, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"one")
    scanned = find(root, b"image")
    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "new").rename(image)
    with pytest.raises(ContentChangedError), open_content(root, scanned):
        pass
    with open_content(root, find(root, b"image")) as content:
        assert content.read(0, 3) == b"two"


def test_fault_9_a_link_under_the_name_is_not_followed(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").touch()
    scanned = find(root, b"image")
    (tmp_path / "image").rename(tmp_path / "moved")
    (tmp_path / "image").symlink_to("moved")
    with pytest.raises(ContentChangedError), open_content(root, scanned):
        pass


def test_fault_9_a_link_in_the_place_of_a_directory_is_not_followed(
    root: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "image").touch()
    scanned = find(root, b"a/image")
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "a").symlink_to("moved")
    with pytest.raises(VanishedError), open_content(root, scanned):
        pass


def test_fault_10_a_pipe_under_the_name_never_hangs(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").touch()
    scanned = find(root, b"image")
    (tmp_path / "image").unlink()
    os.mkfifo(tmp_path / "image")
    outcome: list[type[Exception]] = []

    def read() -> None:
        try:
            with open_content(root, scanned):
                pass
        except ContentError as error:
            outcome.append(type(error))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(10)
    assert outcome == [ContentChangedError]


def test_fault_7_a_closed_file_is_unreadable() -> None:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        image = Path(name) / "image"
        image.touch()
        image.chmod(0o000)
        scanned = find(os.fsencode(name), b"image")
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            with (
                pytest.raises(UnreadableError, match="EACCES"),
                open_content(os.fsencode(name), scanned),
            ):
                pass
        finally:
            if was_root:
                os.seteuid(0)


class FailingDevice:
    """``os.pread`` on a device whose block at one offset cannot be read a number of times."""

    def __init__(self, bad_offset: int, failures: int, code: int = errno.EIO) -> None:
        self.bad_offset = bad_offset
        self.failures_left = failures
        self.code = code
        self.calls = 0

    def __call__(self, descriptor: int, length: int, offset: int) -> bytes:
        self.calls += 1
        if offset < self.bad_offset:
            return os.pread(descriptor, min(length, self.bad_offset - offset), offset)
        if self.failures_left:
            self.failures_left -= 1
            raise OSError(self.code, os.strerror(self.code))
        return os.pread(descriptor, length, offset)


def test_fault_8_a_block_that_reads_at_the_last_attempt_is_read(
    root: bytes, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(b"0123456789")
    device = FailingDevice(4, READ_ATTEMPTS - 1)
    with open_content(root, find(root, b"image"), pread=device) as content:
        assert content.read(0, 10) == b"0123456789"
    assert device.failures_left == 0


def test_fault_8_a_block_that_stays_bad_is_named_by_its_offset(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"0123456789")
    device = FailingDevice(4, READ_ATTEMPTS)
    with (
        open_content(root, find(root, b"image"), pread=device) as content,
        pytest.raises(UnreadableError, match=r"byte 4 \(EIO") as caught,
    ):
        content.read(0, 10)
    assert "image" not in str(caught.value)


def test_fault_15_a_stale_handle_is_not_tried_again(root: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"0123456789")
    device = FailingDevice(0, 100, errno.ESTALE)
    with (
        open_content(root, find(root, b"image"), pread=device) as content,
        pytest.raises(UnreadableError, match="ESTALE"),
    ):
        content.read(0, 10)
    assert device.calls == 1


def test_a_file_beyond_the_longest_path_of_the_system_is_read(root: bytes, tmp_path: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    name = b"d" * 200
    for _ in range(25):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    image = os.open(b"image", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(image, b"deep")
    os.close(image)
    os.close(here)
    path = b"/".join([name] * 25 + [b"image"])
    assert len(path) > 4096
    with open_content(root, find(root, path)) as content:
        assert content.read(0, 4) == b"deep"


def test_reading_leaves_the_time_of_access_alone(root: bytes, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"pixels")
    os.utime(image, ns=(1_000, 2_000_000_000_000_000_000))
    with open_content(root, find(root, b"image")) as content:
        content.read(0, 6)
    assert image.stat().st_atime_ns == 1_000


def in_page_cache(path: Path) -> bool:
    """Whether the first page is in memory, asked without bringing it there."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer = ctypes.create_string_buffer(1)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.byref(start), ctypes.c_size_t(1), answer)
        del start  # or the mapping could not be closed
    assert not failed
    return bool(answer.raw[0] & 1)


def drop_from_page_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("in_use", [True, False])
def test_the_page_cache_is_left_as_it_was_found(root: bytes, tmp_path: Path, in_use: bool) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(100_000))
    drop_from_page_cache(image)
    if in_use:
        image.read_bytes()
    was_cached = in_page_cache(image)  # on a file system in memory it always is
    with open_content(root, find(root, b"image")) as content:
        assert content.read(0, 100_000) == bytes(100_000)
        assert in_page_cache(image)
    assert in_page_cache(image) is was_cached
