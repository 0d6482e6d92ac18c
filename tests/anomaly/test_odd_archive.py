"""Archives with files that cannot be read, names that cannot be shown, and content that is a trap.

All that can be stored comes back byte for byte; all else is named as failed, and the exit code and
the snapshot say so.
"""

import errno
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest

import dicom_samples
from agent_runs import PATIENT_NAME, STUDY_UID, Site, Ticking, look_at, new_site, slice_of
from invariants import Invariants
from safelight_agent import reading
from safelight_agent.config import TreeSettings
from safelight_agent.results import RunResult
from safelight_agent.source.content import open_content
from safelight_agent.status import result_totals
from safelight_vault.errors import IncompleteError
from safelight_vault.format.manifest import DicomState
from snapshot_contents import contents_of, restored
from tree_scans import deep_tree

NOTES = b"worklist.bin"
NOBODY = 65534


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A vault with one snapshot of the archive."""
    site = new_site(tmp_path)
    assert site.run().complete
    return site


def require_failed(site: Site, result: RunResult, *paths: bytes) -> None:
    """These files and no others failed: in the result, in the exit code and in the snapshot."""
    assert result.exit_code == IncompleteError.exit_code
    assert not result.complete
    assert {item.path for item in result.failed} == set(paths)
    assert set(contents_of(site, result).failures) == set(paths)


# 7 and 21: files that may not be read


@pytest.fixture
def common_site() -> Iterator[Site]:
    """A site that belongs to a user without rights, on a place that this user can reach."""
    with tempfile.TemporaryDirectory(prefix="site-") as name:
        directory = Path(name)
        site = new_site(directory / "site")
        assert site.run().complete
        if os.geteuid() == 0:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        yield site


@contextmanager
def privileges_regained() -> Iterator[None]:
    user = os.geteuid()
    try:
        yield
    finally:
        os.seteuid(user)


def close(path: Path) -> None:
    """What an administrator's mistake does, and for root too: its rights are laid down."""
    path.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


@pytest.mark.parametrize(
    "path",
    ["worklist.bin", PATIENT_NAME, f"{PATIENT_NAME}/{STUDY_UID}"],
    ids=["file", "directory", "directory-below"],
)
def test_faults_7_21_what_may_no_longer_be_read_is_named(common_site: Site, path: str) -> None:
    closed = common_site.archive / path
    mode = closed.stat().st_mode & 0o777
    before = Invariants(common_site)
    stop = Ticking(1, lambda: close(closed))
    with privileges_regained():
        result = common_site.run(stop=stop)
    assert stop.asked > 1
    require_failed(common_site, result, os.fsencode(path))
    before.hold(result)
    closed.chmod(mode)
    before.next_run()


# 8 and 15: a device that fails, a server that has forgotten


class FailingDevice:
    """``os.pread`` of a device that fails at one byte of one file."""

    def __init__(self, name: bytes, position: int, number: int, times: int | None) -> None:
        self._name = name
        self._position = position
        self._number = number
        self._times = times
        self.failures = 0

    def __call__(self, descriptor: int, length: int, offset: int) -> bytes:
        name = os.readlink(os.fsencode(f"/proc/self/fd/{descriptor}"))
        if not name.endswith(self._name) or not offset <= self._position < offset + length:
            return os.pread(descriptor, length, offset)
        if offset < self._position:
            return os.pread(descriptor, self._position - offset, offset)
        if self._times is None or self.failures < self._times:
            self.failures += 1
            raise OSError(self._number, os.strerror(self._number))
        return os.pread(descriptor, length, offset)


@contextmanager
def device(failing: Callable[[int, int, int], bytes]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "open_content", partial(open_content, pread=failing))
        yield


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE], ids=["8-io-error", "15-stale"])
def test_faults_8_15_a_block_that_cannot_be_read_is_named_by_its_offset(
    site: Site, number: int
) -> None:
    (site.archive / os.fsdecode(NOTES)).touch()
    before = Invariants(site)
    failing = FailingDevice(NOTES, 65_536, number, None)
    with device(failing):
        result = site.run()
    assert failing.failures
    require_failed(site, result, NOTES)
    assert "65536" in contents_of(site, result).failures[NOTES]
    before.hold(result)
    before.next_run()


def test_fault_8_a_block_that_reads_at_the_last_attempt_is_stored(site: Site) -> None:
    (site.archive / os.fsdecode(NOTES)).touch()
    before = Invariants(site)
    failing = FailingDevice(NOTES, 65_536, errno.EIO, 2)
    with device(failing):
        result = site.run()
    assert failing.failures == 2
    assert result.complete
    before.hold(result)


# 9 to 13: entries, sizes, names, paths


def test_fault_9_links_are_stored_as_links(site: Site) -> None:
    (site.archive / "loop").symlink_to("loop")
    (site.archive / "up").symlink_to("..")
    (site.archive / "self").symlink_to(".")
    (site.archive / "dangling").symlink_to("nowhere/at all")
    (site.archive / "out").symlink_to("/etc")
    entries = contents_of(site, Invariants(site).next_run()).entries
    assert {b"loop", b"up", b"self", b"dangling", b"out"} <= entries.keys()
    assert not [path for path in entries if path.startswith((b"up/", b"out/", b"self/", b"loop/"))]


def test_fault_10_special_files_are_counted_and_never_opened(site: Site) -> None:
    os.mkfifo(site.archive / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(site.archive / "socket"))
        result = Invariants(site).next_run()
    assert contents_of(site, result).skipped_files == 2


def test_fault_10_a_pipe_in_the_place_of_a_listed_file_does_not_hang(site: Site) -> None:
    victim = site.archive / "victim"
    victim.write_bytes(b"v" * 1000)
    before = Invariants(site)

    def replace() -> None:
        victim.unlink()
        os.mkfifo(victim)

    stop = Ticking(7, replace)
    result = site.run(stop=stop)
    assert stop.asked >= 7
    contents = contents_of(site, result)
    assert b"victim" not in contents.entries
    site.expected[result.snapshot].pop(b"victim", None)
    before.hold(result)
    victim.unlink()
    before.next_run()


def test_fault_11_links_holes_and_empty_files_come_back(site: Site) -> None:
    first = site.archive / "hard-1"
    first.write_bytes(b"one inode")
    os.link(first, site.archive / "hard-2")
    os.link(first, site.archive / PATIENT_NAME / "hard-3")
    sparse = site.archive / "sparse"
    with sparse.open("wb") as file:
        file.seek(10 << 20)
        file.write(b"an island")
        file.truncate(40 << 20)
    (site.archive / "only-a-hole").touch()
    os.truncate(site.archive / "only-a-hole", 3 << 20)
    result = Invariants(site).next_run()
    assert result.bytes_stored < 1 << 20
    with restored(site, result) as files:
        inodes = {
            (files / name).stat().st_ino for name in ("hard-1", "hard-2", f"{PATIENT_NAME}/hard-3")
        }
        assert len(inodes) == 1


@pytest.mark.full
def test_fault_11_a_file_of_five_gigabytes_comes_back(site: Site) -> None:
    with (site.archive / "huge").open("wb") as file:
        for number in range(5):
            file.seek(number << 30)
            file.write(Random(number).randbytes(1 << 20))
        file.truncate(5_000_000_000)
    Invariants(site).next_run()


ODD_NAMES = [
    b"not-utf8-\xff\xfe",
    b"surrogate-\xed\xa0\x80",
    b"line\nbreak",
    b"..almost",
    b"...",
    b"-rf",
    b" blank ",
    b"back\\slash",
    b"\x1b[2Jescape",
    b"n" * 255,
    "composed-\u00e9".encode(),
    "decomposed-e\u0301".encode(),
    b"CASE",
    b"case",
]


def test_fault_12_any_name_comes_back_byte_for_byte(site: Site) -> None:
    top = os.fsencode(site.archive)
    for name in ODD_NAMES:
        os.mkdir(os.path.join(top, b"directory-" + name[:200]))
        for path in (os.path.join(top, name), os.path.join(top, b"directory-" + name[:200], name)):
            with open(path, "wb") as file:
                file.write(b"content of " + name)
    result = Invariants(site).next_run()
    assert result.files_new == 2 * len(ODD_NAMES)


@pytest.mark.parametrize("name", [b"not-utf8-\xff\xfe", b"line\nbreak", b"\x1b[2Jescape"])
def test_fault_12_a_failed_file_is_named_in_a_safe_form(site: Site, name: bytes) -> None:
    with open(os.path.join(os.fsencode(site.archive), name), "wb") as file:
        file.write(b"bad block")
    before = Invariants(site)
    failing = FailingDevice(name, 0, errno.EIO, None)
    with device(failing):
        result = site.run()
    assert failing.failures
    require_failed(site, result, name)
    text = json.dumps(result_totals([result]))
    assert text.isascii()
    assert text.isprintable()
    before.hold(result)
    before.next_run()


@pytest.mark.parametrize(
    ("depth", "name", "fits"),
    [
        pytest.param(60, b"d" * 90, True, id="beyond-the-system's-paths"),
        pytest.param(2000, b"d", True, id="depth-2000", marks=pytest.mark.full),
        pytest.param(330, b"d" * 200, False, id="beyond-the-format's-paths"),
    ],
)
def test_fault_13_deep_paths_come_back_or_are_named(
    site: Site, depth: int, name: bytes, fits: bool
) -> None:
    with deep_tree(depth, name) as root:
        deep = TreeSettings(name="pacs", path=root, retention=site.vault.retention)
        result = site.run(settings=deep)
    contents = contents_of(site, result)
    assert result.complete is fits
    if not fits:
        assert result.exit_code == IncompleteError.exit_code
        assert contents.failures
        return
    assert not contents.failures
    assert result.files == depth + 1
    with restored(site, result) as files:
        assert steps_down(files, name) == depth


def steps_down(root: Path, name: bytes) -> int:
    """How deep a chain of directories is that has a file beside each step and one in the last."""
    here = os.open(root, os.O_RDONLY)
    steps = 0
    while name in {os.fsencode(found) for found in os.listdir(here)}:
        os.stat(b"zz", dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        steps += 1
    os.stat(b"last", dir_fd=here)
    os.close(here)
    return steps


# 20: content that is a trap for whoever parses it


def _nested(depth: int) -> bytes:
    encoding = dicom_samples.Encoding()
    content = b""
    for _ in range(depth):
        content = encoding.sequence(0x0040_A730, [content], defined=False)
    return dicom_samples.file(content)


def _element(vr: str, value: bytes, length: int) -> bytes:
    encoding = dicom_samples.Encoding()
    head = encoding.elements(dicom_samples.identifiers()[:4])
    return dicom_samples.file(head + encoding.element(0x0009_1001, vr, value, length=length))


def _deflated_bomb(size_bytes: int) -> bytes:
    encoding = dicom_samples.Encoding()
    head = encoding.elements(dicom_samples.identifiers())
    bomb = encoding.element(0x0042_0011, "OB", bytes(size_bytes))
    return dicom_samples.file(head + bomb, syntax=dicom_samples.DEFLATED)


TRAPS: dict[str, Callable[[], bytes]] = {
    "deflated-bomb": lambda: _deflated_bomb(150 << 20),
    "deep-nesting": lambda: _nested(3000),
    "length-of-4-gigabytes": lambda: _element("OB", b"few bytes!", 0xFFFF_FFFE),
    "sequence-of-4-gigabytes": lambda: _element("SQ", b"few bytes!", 0xFFFF_FFFE),
    "garbage-after-the-prefix": lambda: bytes(128) + b"DICM" + Random(20).randbytes(50_000),
    "cut-in-the-pixels": lambda: slice_of(1)[:-500],
    "prefix-alone": lambda: bytes(128) + b"DICM",
    "meta-without-data": lambda: dicom_samples.file(b"")[:-7],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_fault_20_a_trap_for_parsers_is_stored_byte_for_byte(site: Site, trap: str) -> None:
    data = TRAPS[trap]()
    (site.archive / "trap.dcm").write_bytes(data)
    result = Invariants(site).next_run()
    entry = contents_of(site, result).entries[b"trap.dcm"]
    assert entry.size_bytes == len(data)
    assert entry.dicom is not DicomState.PARSED


@pytest.mark.parametrize(
    "data",
    [dicom_samples.without_preamble(dicom_samples.report()), _element("QQ", b"whatever", 8)],
    ids=["no-preamble", "unknown-vr"],
)
def test_fault_20_an_unusual_object_is_stored_byte_for_byte(site: Site, data: bytes) -> None:
    (site.archive / "unusual").write_bytes(data)
    Invariants(site).next_run()
    assert look_at(site.archive)[b"unusual"][3] == len(data)
