"""Blocks in, proven files out: pieces are written wherever they belong, and whole files are hashed.

The invariant: a file leaves this module as proven only after all of it, holes included, was read
back from the target and matched the SHA-256 that the manifest records; its metadata is on it by
then. Nothing here has a final name. The methods are called from several threads at once, each on
work of its own.

Pieces arrive in any order and are written at their offsets into a file that is only as long as it
needs to be; what is never written stays a hole. No space is reserved beforehand: where a file
system cannot do it, the C library fills the range with zeros itself, which is slow, makes holes
solid, and would run against the pieces that other threads write meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from safelight_restore.record import Outcome
from safelight_restore.spool import FileRow, FileState, WriteRow
from safelight_restore.target.filesystem import STOPPING, FileSystem
from safelight_restore.target.metadata import MetadataWriter, Shortfall
from safelight_restore.target.tree import require_content
from safelight_restore.target.workspace import Workspace
from safelight_vault.errors import CorruptError, IncompleteError, VaultError
from safelight_vault.format.place import BlockReference


class BlockReader(Protocol):
    """Reads blocks of the vault. Safe to call from several threads."""

    def read_blocks(
        self, pack: bytes, blocks: Sequence[BlockReference]
    ) -> Iterator[tuple[BlockReference, bytes | VaultError]]:
        """The authenticated plaintext of each block of one pack, given in the order of offsets.

        A block that cannot be read or proven yields its error instead, and the others go on.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What one read brought: bytes written by file, the files that it failed, and why."""

    written: dict[int, int]
    failed: dict[int, VaultError]
    unreached: VaultError | None
    """Set if no block could be read, for a reason that says nothing about the data (network,
    credentials): a few of these in a row end the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A whole, hashed file with its metadata, waiting for its final name."""

    row: FileRow
    seen_mtime_ns: int
    shortfalls: tuple[Shortfall, ...]


class Assembler:
    """Builds unfinished files in the workspace, and proves them."""

    __slots__ = ("_files", "_metadata", "_reader", "_workspace")

    def __init__(
        self,
        reader: BlockReader,
        workspace: Workspace,
        files: FileSystem,
        metadata: MetadataWriter,
    ) -> None:
        self._reader = reader
        self._workspace = workspace
        self._files = files
        self._metadata = metadata

    def fetch(self, pack: bytes, writes: Sequence[WriteRow]) -> Fetched:
        """Read the blocks that ``writes`` (of one pack, in its order) want, and write the pieces.

        Raises ``OSError`` only if the target as a whole has failed.
        """
        waiting: dict[BlockReference, list[WriteRow]] = {}
        for write in writes:
            block = BlockReference(write.block_number, write.block_offset, write.block_length)
            waiting.setdefault(block, []).append(write)
        written: dict[int, int] = {}
        failed: dict[int, VaultError] = {}
        unreached: VaultError | None = None
        reached = False
        error: VaultError = CorruptError("a block was not delivered")
        try:
            for block, answer in self._reader.read_blocks(pack, tuple(waiting)):
                wanted = waiting.pop(block, [])
                if isinstance(answer, VaultError):
                    failed |= {write.file: answer for write in wanted}
                    if not isinstance(answer, CorruptError):
                        unreached = answer
                else:
                    reached = True
                    self._write(wanted, answer, written, failed)
        except VaultError as raised:
            error = raised
            if not isinstance(raised, CorruptError):
                unreached = raised
        for wanted in waiting.values():
            failed |= {write.file: error for write in wanted}
        return Fetched(written=written, failed=failed, unreached=None if reached else unreached)

    def _write(
        self,
        wanted: Sequence[WriteRow],
        plaintext: bytes,
        written: dict[int, int],
        failed: dict[int, VaultError],
    ) -> None:
        """Write the pieces of one block, file by file."""
        view = memoryview(plaintext)
        for number, pieces in groupby(wanted, key=lambda write: write.file):
            try:
                written[number] = written.get(number, 0) + self._write_file(number, pieces, view)
            except VaultError as error:
                failed[number] = error
            except OSError as error:
                if error.errno in STOPPING:
                    raise
                failed[number] = IncompleteError(error.strerror or str(error))

    def _write_file(self, number: int, pieces: Iterator[WriteRow], view: memoryview) -> int:
        total = 0
        descriptor = self._workspace.open_partial(b"%d" % number)
        try:
            for piece in pieces:
                if piece.offset + piece.length > len(view):
                    raise CorruptError("a block is shorter than the manifest says")
                data = view[piece.offset : piece.offset + piece.length]
                position = piece.file_offset
                while data:
                    count = self._files.pwrite(descriptor, data, position)
                    data = data[count:]
                    position += count
                total += piece.length
        finally:
            self._files.close(descriptor)
        return total

    def prove(self, rows: Sequence[FileRow]) -> list[Proven | Outcome]:
        """Hash files that have all their bytes, and put their metadata on; failures as outcomes."""
        return [self._prove(row) for row in rows]

    def _prove(self, row: FileRow) -> Proven | Outcome:
        try:
            descriptor = self._workspace.open_partial(row.partial_name)
            try:
                # A hole at the end, or a file that is all hole: nothing was written there.
                if self._files.fstat(descriptor).st_size < row.size_bytes:
                    self._files.ftruncate(descriptor, row.size_bytes)
                require_content(self._files, descriptor, row.size_bytes, row.sha256)
                shortfalls = self._metadata.apply(descriptor, row.metadata)
                seen_mtime_ns = self._files.fstat(descriptor).st_mtime_ns
            finally:
                self._files.close(descriptor)
        except VaultError as error:
            return failed_outcome(row.id, error)
        except OSError as error:
            return failed_outcome(row.id, error)
        return Proven(row=row, seen_mtime_ns=seen_mtime_ns, shortfalls=tuple(shortfalls))


def failed_outcome(file: int, error: VaultError | OSError) -> Outcome:
    """The failure of one entry as its outcome; a failure of the whole target is raised again."""
    if isinstance(error, OSError):
        if error.errno in STOPPING:
            raise error
        reason = error.strerror or str(error)
        code = IncompleteError.exit_code
    else:
        reason = error.message
        code = error.exit_code
    return Outcome(file=file, state=FileState.FAILED, reason=reason, exit_code=code)
