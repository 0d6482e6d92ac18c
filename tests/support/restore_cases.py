"""Manifests and blocks for tests of the restore's engine, made from real bytes in memory.

A ``Maker`` stands for the whole vault below the engine: what it is given as files becomes sorted
manifest entries, and blocks that it gives out again as the engine's ``BlockReader``.
"""

import hashlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safelight_restore import execute
from safelight_restore.admission import Unreadable
from safelight_restore.execute import RestoreResult
from safelight_restore.existing import Exists
from safelight_restore.plan import Plan, SourceEntries
from safelight_restore.run import open_restore
from safelight_restore.select import Selection
from safelight_restore.target.filesystem import FileSystem
from safelight_vault.errors import VaultError
from safelight_vault.format.manifest import Entry, EntryKind, Hole, entry_key
from safelight_vault.format.place import BlockReference, Place

SOURCE = b"archive"
MTIME_NS = 1_700_000_000_123_456_789
_SEALED = 100_000
"""What every block pretends to take in its pack: an open block's real length is not known yet."""


@dataclass(slots=True)
class _Block:
    pack: bytes
    number: int
    offset: int
    plaintext: bytearray = field(default_factory=bytearray)


class Maker:
    """Collects entries, and keeps their content in blocks of a few packs."""

    def __init__(self, *, block_bytes: int = 200, blocks_per_pack: int = 3) -> None:
        self.entries: list[Entry | Unreadable] = []
        self.contents: dict[bytes, bytes] = {}
        self.errors: dict[tuple[bytes, int], VaultError] = {}
        """What to answer instead of a block, by pack and block number."""
        self.raised: VaultError | None = None
        """What to raise instead of reading at all."""
        self.blocks_read = 0
        self.requests = 0
        self._block_bytes = block_bytes
        self._blocks_per_pack = blocks_per_pack
        self._blocks: dict[tuple[bytes, int], _Block] = {}
        self._open: dict[str, _Block] = {}
        self._packs = 0
        self._mutex = threading.Lock()

    # -- the manifest --------------------------------------------------------------------------

    def file(self, path: bytes, *pieces: bytes | Hole, **changes: object) -> Entry:
        """Add a file; small pieces share blocks, in two streams as in a real vault."""
        content = b"".join(
            bytes(piece.length) if isinstance(piece, Hole) else piece for piece in pieces
        )
        extents: list[Place | Hole] = []
        for number, piece in enumerate(pieces):
            if isinstance(piece, Hole):
                extents.append(piece)
            elif piece:
                extents.append(self.place("headers" if number == 0 else "pixels", piece))
        self.contents[path] = content
        fields: dict[str, object] = {
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).digest(),
            "extents": tuple(extents),
        }
        return self._add(path, EntryKind.FILE, 0o640, **(fields | changes))

    def directory(self, path: bytes, mode: int = 0o750, **changes: object) -> Entry:
        """Add a directory."""
        return self._add(path, EntryKind.DIRECTORY, mode, **changes)

    def symlink(self, path: bytes, target: bytes, **changes: object) -> Entry:
        """Add a symlink."""
        return self._add(path, EntryKind.SYMLINK, 0o777, link_target=target, **changes)

    def hard_link(self, path: bytes, target: bytes, **changes: object) -> Entry:
        """Add another name of the file at ``target``."""
        self.contents[path] = self.contents.get(target, b"")
        return self._add(path, EntryKind.HARD_LINK, 0o640, link_target=target, **changes)

    def _add(self, path: bytes, kind: EntryKind, usual_mode: int, **fields: object) -> Entry:
        values: dict[str, object] = {
            "uid": os.geteuid(),
            "gid": os.getegid(),
            "mode": usual_mode,
            "mtime_ns": MTIME_NS + len(self.entries),
        }
        entry = Entry(path=path, kind=kind, **(values | fields))  # type: ignore[arg-type]
        self.entries.append(entry)
        return entry

    def in_order(self) -> list[Entry | Unreadable]:
        """The entries as a manifest holds them."""
        return sorted(self.entries, key=lambda entry: entry_key(entry.path))

    def source(self, name: bytes = SOURCE, snapshot: bytes = b"snapshot 1") -> SourceEntries:
        """The manifest as the engine is given it."""
        return SourceEntries(name=name, snapshot=snapshot, entries=self.in_order)

    # -- the blocks ----------------------------------------------------------------------------

    def place(self, stream: str, data: bytes) -> Place:
        """Keep some bytes in the open block of a stream."""
        block = self._open.get(stream)
        if block is None or len(block.plaintext) + len(data) > self._block_bytes:
            block = self._next_block(block)
            self._open[stream] = block
        offset = len(block.plaintext)
        block.plaintext += data
        return Place(block.pack, block.number, block.offset, _SEALED, offset, len(data))

    def _next_block(self, last: _Block | None) -> _Block:
        if last is None or last.number + 1 >= self._blocks_per_pack:
            self._packs += 1
            pack = hashlib.sha256(b"pack %d" % self._packs).digest()
            block = _Block(pack=pack, number=0, offset=1000)
        else:
            block = _Block(pack=last.pack, number=last.number + 1, offset=last.offset + _SEALED)
        self._blocks[block.pack, block.number] = block
        return block

    def read_blocks(
        self, pack: bytes, blocks: Sequence[BlockReference]
    ) -> Iterator[tuple[BlockReference, bytes | VaultError]]:
        """The engine's ``BlockReader``."""
        with self._mutex:
            self.requests += 1
            self.blocks_read += len(blocks)
        if self.raised is not None:
            raise self.raised
        if [block.offset for block in blocks] != sorted(block.offset for block in blocks):
            raise AssertionError("blocks were not asked for in the order of offsets")
        for block in blocks:
            error = self.errors.get((pack, block.number))
            if error is not None:
                yield block, error
                continue
            found = self._blocks[pack, block.number]
            if (found.offset, _SEALED) != (block.offset, block.length):
                raise AssertionError("a block was asked for at another place")
            yield block, bytes(found.plaintext)

    def spoil(self, path: bytes, error: VaultError) -> None:
        """Make the first block of a file unreadable."""
        place = next(e for e in self.file_entry(path).extents if isinstance(e, Place))
        self.errors[place.pack, place.block_number] = error

    def file_entry(self, path: bytes) -> Entry:
        """The entry of a path."""
        return next(e for e in self.entries if isinstance(e, Entry) and e.path == path)

    def packs(self) -> set[bytes]:
        """The names of all packs."""
        return {pack for pack, _ in self._blocks}


def restore(
    maker: Maker,
    target: Path,
    *,
    patterns: Sequence[bytes] = (),
    exists: Exists = Exists.REFUSE,
    snapshot: bytes = b"snapshot 1",
    files: FileSystem | None = None,
    threads: int = 2,
    missing: frozenset[bytes] = frozenset(),
) -> tuple[Plan, RestoreResult]:
    """Plan and execute one restore."""
    with ExitStack() as stack:
        run = stack.enter_context(
            open_restore(
                target=target,
                sources=[maker.source(snapshot=snapshot)],
                selection=Selection(patterns),
                exists=exists,
                present=lambda pack: pack not in missing,
                threads=threads,
                files=files,
            )
        )
        return run.plan, run.execute(maker)


def found_in(root: Path) -> dict[bytes, os.stat_result]:
    """Everything below a directory, by its relative path in bytes; the root itself as ``b""``."""
    found = {b"": os.lstat(root)}
    pending = [b""]
    top = os.fsencode(root)
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(top, directory)) as content:
            for item in content:
                path = os.path.join(directory, item.name)
                found[path] = item.stat(follow_symlinks=False)
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
    return found


def differences(maker: Maker, root: Path, *, metadata: bool = True) -> list[str]:
    """What is different below ``root`` from the entries; nothing if the restore was right."""
    found = found_in(root) if root.is_dir() else {}
    wrong: list[str] = []
    entries = {entry.path: entry for entry in maker.entries if isinstance(entry, Entry)}
    wrong += [f"{path!r}: not in the manifest" for path in found.keys() - entries.keys() - {b""}]
    for path, entry in entries.items():
        status = found.get(path)
        if status is None:
            wrong.append(f"{path!r}: missing")
            continue
        place = os.path.join(os.fsencode(root), path)
        wrong += [f"{path!r}: {what}" for what in _content_differences(maker, entry, place, status)]
        if metadata:
            wrong += [f"{path!r}: {what}" for what in _metadata_differences(entry, status)]
        if entry.kind is EntryKind.HARD_LINK and not os.path.samestat(
            status, found.get(entry.link_target, found[b""])
        ):
            wrong.append(f"{path!r}: not the same inode as {entry.link_target!r}")
    return wrong


def _content_differences(
    maker: Maker, entry: Entry, place: bytes, status: os.stat_result
) -> Iterator[str]:
    is_kind = {
        EntryKind.FILE: stat.S_ISREG,
        EntryKind.HARD_LINK: stat.S_ISREG,
        EntryKind.DIRECTORY: stat.S_ISDIR,
        EntryKind.SYMLINK: stat.S_ISLNK,
    }[entry.kind]
    if not is_kind(status.st_mode):
        yield "another kind"
    elif entry.kind is EntryKind.SYMLINK:
        if os.readlink(place) != entry.link_target:
            yield "another target"
    elif entry.kind is not EntryKind.DIRECTORY:
        with open(place, "rb") as file:
            if file.read() != maker.contents[entry.path]:
                yield "other bytes"


def _metadata_differences(entry: Entry, status: os.stat_result) -> Iterator[str]:
    if entry.kind is EntryKind.HARD_LINK:
        return
    if status.st_mtime_ns != entry.mtime_ns:
        yield f"mtime {status.st_mtime_ns}, not {entry.mtime_ns}"
    if entry.kind is not EntryKind.SYMLINK and stat.S_IMODE(status.st_mode) != entry.mode:
        yield f"mode {stat.S_IMODE(status.st_mode):o}, not {entry.mode:o}"
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        yield "another owner"


def sample(*, files: int = 12) -> Maker:
    """A small archive with something of everything."""
    maker = Maker()
    maker.directory(b"")
    maker.directory(b"2024", 0o700)
    maker.directory(b"2024/empty", 0o555)
    for number in range(files):
        header = b"header of %d " % number * 3
        pixels = bytes((number * 7 + i) % 251 for i in range(150))
        maker.file(b"2024/%03d.dcm" % number, header, pixels)
    maker.file(b"2024/empty.dcm")
    maker.file(b"2024/sparse", b"begin", Hole(1 << 20), b"end", Hole(4096))
    maker.file(b"2024/all hole", Hole(70_000))
    maker.hard_link(b"2024/twin", b"2024/000.dcm")
    maker.symlink(b"2024/way out", b"/etc/passwd")
    maker.file(b"notes\n\xff", b"not valid text")
    return maker


class FaultyFiles(FileSystem):
    """A file system whose n-th call fails, or kills the process; ``fired`` is the call's name."""

    def __init__(self, at: int, number: int | None, *, for_ever: bool = False) -> None:
        self.at = at
        self.number = number
        self.for_ever = for_ever
        self.calls = 0
        self.fired: str | None = None
        self.mutex = threading.Lock()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name not in _CALLS:
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            with self.mutex:
                self.calls += 1
                fails = self.calls == self.at or (self.for_ever and self.calls > self.at)
                if fails:
                    self.fired = name
            if not fails:
                return found(*arguments, **options)
            if self.number is None:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "close":
                found(*arguments)  # a failing close closes all the same
            raise OSError(self.number, os.strerror(self.number or 0))

        return call


_CALLS = frozenset(name for name in vars(FileSystem) if not name.startswith("_"))


def main() -> None:
    """Restore the sample and be killed at the n-th call: for tests that need another process.

    The files are settled a few at a time, so that there is something to resume; prints the calls.
    """
    target, at = sys.argv[1:]
    execute._GROUP_FILES = 3  # type: ignore[misc]
    files = FaultyFiles(int(at), None)
    restore(sample(), Path(target), files=files)
    print(files.calls)


if __name__ == "__main__":
    main()
