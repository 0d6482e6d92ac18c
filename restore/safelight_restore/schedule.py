"""The order in which blocks are fetched: runs of pieces of one pack, each a bounded amount of work.

The invariant: every piece of every pending file is in exactly one read, and what one read holds in
memory is bounded, whatever the manifest says (a block that a million files share is split by
files and fetched as often as needed).

Reads are done in the order of the first file that waits for them, not pack after pack: one pack of
headers serves hundreds of thousands of files, whose pixels lie in thousands of other packs, and all
of them would be unfinished files at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from safelight_restore.database import Database
from safelight_restore.spool import WriteKey, WriteRow
from safelight_vault.blocks import GAP_SIZE_MAX

_SEALED_BYTES_MAX: Final = 8 * 1024 * 1024
_PLAIN_BYTES_MAX: Final = 32 * 1024 * 1024
_PIECES_MAX: Final = 4096
_PAGE_ROWS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRow:
    """A run of pieces of one pack that is read in one go, ``first`` to ``last`` inclusive.

    ``memory_bytes`` is what its blocks take, sealed and opened, if all are in memory at once;
    ``requests`` how many ranges of the pack the store is asked for; ``first_file`` the first file
    of the manifest that waits for it.
    """

    pack: int
    first: WriteKey
    last: WriteKey
    first_file: int
    sealed_bytes: int
    memory_bytes: int
    requests: int


def group_reads(writes: Iterable[WriteRow]) -> Iterator[ReadRow]:
    """Cut pieces in pack order into reads."""
    run: _Run | None = None
    for write in writes:
        if run is not None and not run.has_room(write):
            yield run.row()
            run = None
        if run is None:
            run = _Run(write)
        else:
            run.add(write)
    if run is not None:
        yield run.row()


class _Run:
    """The read that is being put together."""

    def __init__(self, write: WriteRow) -> None:
        self._first = self._last = write
        self._first_file = write.file
        self._pieces = 1
        self._sealed_bytes = write.block_length
        # How long a block is when opened is not known; at least as long as what is wanted of it.
        self._plain_bytes_before = 0
        self._plain_bytes_block = write.offset + write.length
        self._requests = 1

    def has_room(self, write: WriteRow) -> bool:
        if write.pack != self._first.pack or self._pieces >= _PIECES_MAX:
            return False
        if write.key[:3] == self._last.key[:3]:
            return True
        plain = self._plain_bytes_before + self._plain_bytes_block + write.offset + write.length
        return (
            self._sealed_bytes + write.block_length <= _SEALED_BYTES_MAX
            and plain <= _PLAIN_BYTES_MAX
        )

    def add(self, write: WriteRow) -> None:
        wanted = write.offset + write.length
        if write.key[:3] == self._last.key[:3]:
            self._plain_bytes_block = max(self._plain_bytes_block, wanted)
        else:
            end = self._last.block_offset + self._last.block_length
            self._requests += write.block_offset - end > GAP_SIZE_MAX
            self._sealed_bytes += write.block_length
            self._plain_bytes_before += self._plain_bytes_block
            self._plain_bytes_block = wanted
        self._last = write
        self._first_file = min(self._first_file, write.file)
        self._pieces += 1

    def row(self) -> ReadRow:
        return ReadRow(
            pack=self._first.pack,
            first=self._first.key,
            last=self._last.key,
            first_file=self._first_file,
            sealed_bytes=self._sealed_bytes,
            memory_bytes=self._sealed_bytes + self._plain_bytes_before + self._plain_bytes_block,
            requests=self._requests,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTotals:
    """What the whole schedule fetches."""

    packs: int
    requests: int
    bytes_to_fetch: int


class Schedule:
    """The reads of a plan, kept in its file."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self) -> ScheduleTotals:
        """Schedule every piece of the files that are pending now, in place of what was there."""
        self._database.execute("DELETE FROM reads")
        packs = requests = sealed_bytes = 0
        last_pack = -1
        for number, read in enumerate(group_reads(self._pending_writes())):
            self._database.execute(
                "INSERT INTO reads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    read.first_file,
                    number,
                    read.pack,
                    read.memory_bytes,
                    read.sealed_bytes,
                    read.requests,
                    *read.first,
                    *read.last,
                ),
            )
            packs += read.pack != last_pack
            last_pack = read.pack
            requests += read.requests
            sealed_bytes += read.sealed_bytes
        return ScheduleTotals(packs=packs, requests=requests, bytes_to_fetch=sealed_bytes)

    def reads(self) -> Iterator[ReadRow]:
        """All reads, in the order in which files are completed soonest.

        Paged by key, because a query left open would keep SQLite's log from being cut back.
        """
        after = (-1, -1)
        while True:
            page = list(
                self._database.rows(
                    "SELECT * FROM reads WHERE (first_file, number) > (?, ?) "
                    "ORDER BY first_file, number LIMIT ?",
                    (*after, _PAGE_ROWS),
                )
            )
            if not page:
                return
            after = (page[-1][0], page[-1][1])
            yield from (
                ReadRow(
                    first_file=row[0],
                    pack=row[2],
                    memory_bytes=row[3],
                    sealed_bytes=row[4],
                    requests=row[5],
                    first=row[6:11],
                    last=row[11:16],
                )
                for row in page
            )

    def writes_of(self, read: ReadRow) -> list[WriteRow]:
        """The pieces of one read whose files are still pending, in pack order."""
        rows = self._database.rows(
            "SELECT * FROM pending_writes WHERE pack = ? "
            "AND (block_offset, block_number, block_length, file, file_offset) "
            ">= (?, ?, ?, ?, ?) "
            "AND (block_offset, block_number, block_length, file, file_offset) "
            "<= (?, ?, ?, ?, ?) "
            "ORDER BY block_offset, block_number, block_length, file, file_offset",
            (read.pack, *read.first, *read.last),
        )
        return [WriteRow(*row) for row in rows]

    def pack_name(self, number: int) -> bytes:
        """The SHA-256 in a pack's name."""
        return bytes(self._database.value("SELECT name FROM packs WHERE id = ?", (number,)))

    def packs_needed(self) -> Iterator[tuple[int, bytes]]:
        """Number and name of each pack that has a piece in the plan."""
        return ((int(n), bytes(name)) for n, name in self._database.rows("SELECT * FROM packs"))

    def _pending_writes(self) -> Iterator[WriteRow]:
        query = (
            "SELECT * FROM pending_writes ORDER BY pack, block_offset, block_number, "
            "block_length, file, file_offset"
        )
        return (WriteRow(*row) for row in self._database.rows(query))
