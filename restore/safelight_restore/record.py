"""What has become of each entry of a plan: the part of the plan's file that changes as it is done.

The invariant: an entry is FINISHED here only when its content was proven, made durable and given
its final name; every other state leads to another attempt in the next run, or is final and named
to the operator. Nothing ends as silently left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from safelight_restore.database import Database
from safelight_restore.spool import FileRow, FileState, file_row
from safelight_vault.format.manifest import EntryKind

_PAGE_ROWS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one entry."""

    file: int
    state: FileState
    reason: str | None = None
    exit_code: int | None = None
    seen_mtime_ns: int | None = None
    """The modification time as the target's file system holds it, to recognise the file later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedItem:
    """An entry that was not restored: ``source/path`` and why. ``exit_code`` 3: damage."""

    path: bytes
    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCount:
    """How many entries of a kind are in a state; sizes are of files' contents."""

    state: FileState
    kind: EntryKind
    entries: int
    bytes: int
    bytes_stored: int
    unstable: int


class Record:
    """Reads and changes the states of entries."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, outcomes: Iterable[Outcome]) -> None:
        """Record what became of entries."""
        self._database.execute_many(
            "UPDATE files SET state = ?, reason = ?, exit_code = ?, seen_mtime_ns = ? WHERE id = ?",
            ((int(o.state), o.reason, o.exit_code, o.seen_mtime_ns, o.file) for o in outcomes),
        )

    def note_written(self, written: Mapping[int, int]) -> list[int]:
        """Subtract bytes written from what is pending; the files that have now got all bytes."""
        self._database.execute_many(
            "UPDATE files SET bytes_pending = bytes_pending - ? WHERE id = ?",
            ((count, number) for number, count in written.items()),
        )
        complete = self._database.rows(
            "SELECT id FROM files WHERE id IN (SELECT value FROM json_each(?)) "
            "AND bytes_pending = 0 AND state = 0 ORDER BY id",
            (json.dumps(list(written)),),
        )
        return [number for (number,) in complete]

    def rows(self, numbers: Sequence[int]) -> list[FileRow]:
        """The entries of these numbers."""
        found = self._database.rows(
            "SELECT * FROM entries WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (json.dumps(list(numbers)),),
        )
        return [file_row(row) for row in found]

    def pending_files_without_bytes(self) -> Iterator[FileRow]:
        """Pending files that need nothing from the vault: empty ones, and such as are all hole."""
        return self._pages(
            "SELECT * FROM entries WHERE kind = 1 AND bytes_stored = 0 AND state = ? AND id > ? "
            "ORDER BY id LIMIT ?",
            FileState.PENDING,
        )

    def files_equal(self, state: FileState) -> Iterator[FileRow]:
        """Files of state EQUAL or COMPARE, in order."""
        return self._pages(
            "SELECT * FROM entries WHERE state IN (1, 4) AND state = ? AND id > ? "
            "ORDER BY id LIMIT ?",
            state,
        )

    def finished(self) -> Iterator[FileRow]:
        """All finished entries, in order."""
        return self._pages(
            "SELECT * FROM entries WHERE state = ? AND id > ? ORDER BY id LIMIT ?",
            FileState.FINISHED,
        )

    def pending_links(self, kind: EntryKind) -> Iterator[FileRow]:
        """Pending symlinks or hard links, in order."""
        return self._pages(
            "SELECT * FROM entries WHERE kind = ? AND kind != 1 AND state = 0 AND id > ? "
            "ORDER BY id LIMIT ?",
            kind,
        )

    def pending_directories(self, *, replacing: bool = False) -> Iterator[FileRow]:
        """Pending directories, each after everything below it; or only those that replace
        something that is no directory, each before what lies below it."""
        if replacing:
            yield from self._pages(
                "SELECT * FROM entries WHERE kind = ? AND kind != 1 AND replace = 1 "
                "AND state = 0 AND id > ? ORDER BY id LIMIT ?",
                EntryKind.DIRECTORY,
            )
            return
        before = 2**63 - 1
        while True:
            page = [
                file_row(row)
                for row in self._database.rows(
                    "SELECT * FROM entries WHERE kind = ? AND kind != 1 AND state = 0 AND id < ? "
                    "ORDER BY id DESC LIMIT ?",
                    (int(EntryKind.DIRECTORY), before, _PAGE_ROWS),
                )
            ]
            if not page:
                return
            before = page[-1].id
            yield from page

    def _pages(self, query: str, parameter: int) -> Iterator[FileRow]:
        """Page by number, because states change, and the log is cut back, between two pages."""
        after = 0
        while True:
            page = [
                file_row(row)
                for row in self._database.rows(query, (int(parameter), after, _PAGE_ROWS))
            ]
            if not page:
                return
            after = page[-1].id
            yield from page

    def fail_pack(self, pack: int, reason: str, exit_code: int) -> int:
        """Fail all pending files that need a pack; how many those are."""
        return self._database.execute(
            "UPDATE files SET state = 5, reason = ?, exit_code = ? WHERE state = 0 AND id IN "
            "(SELECT file FROM writes WHERE pack = ?)",
            (reason, exit_code, pack),
        )

    def is_needed(self, pack: int) -> bool:
        """Whether a pending file needs the pack."""
        query = "SELECT EXISTS (SELECT 1 FROM pending_writes WHERE pack = ?)"
        return bool(self._database.value(query, (pack,)))

    def start_again(self) -> None:
        """Make everything pending that an earlier run did not finish.

        Directories too: their times are set last, after whatever this run puts into them. A hard
        link follows its file, which will be another inode if it is restored again.
        """
        self._database.execute(
            "UPDATE files SET state = 0, reason = NULL, exit_code = NULL "
            "WHERE state = 5 OR (kind = 2 AND state = 2)"
        )
        self._database.execute(
            "UPDATE files SET state = 0 WHERE kind = 4 AND kind != 1 AND state = 2 AND linked_file "
            "IN (SELECT id FROM files WHERE state = 0)"
        )
        self._database.execute("UPDATE files SET bytes_pending = bytes_stored WHERE state = 0")
        # Found equal then, but not yet touched: it may have been changed since.
        self._database.execute("UPDATE files SET state = 4 WHERE state = 1")

    def fail_pending(self, reason: str, exit_code: int) -> int:
        """Fail whatever is pending still; how many entries that were (none, if all went right)."""
        return self._database.execute(
            "UPDATE files SET state = 5, reason = ?, exit_code = ? WHERE state IN (0, 1, 4)",
            (reason, exit_code),
        )

    def counts(self) -> list[StateCount]:
        """How many entries of which kind are in which state."""
        return [
            StateCount(
                state=FileState(state),
                kind=EntryKind(kind),
                entries=entries,
                bytes=size,
                bytes_stored=stored,
                unstable=unstable,
            )
            for state, kind, entries, size, stored, unstable in self._database.rows(
                "SELECT state, kind, count(*), sum(size_bytes), sum(bytes_stored), sum(unstable) "
                "FROM files GROUP BY state, kind"
            )
        ]

    def failed(self, limit: int) -> list[FailedItem]:
        """The first ``limit`` entries that failed or were refused, in order."""
        return [
            FailedItem(path=source + b"/" + path if path else source, reason=reason, exit_code=code)
            for source, path, reason, code in self._database.rows(
                "SELECT s.name, f.path, f.reason, f.exit_code FROM files f "
                "CROSS JOIN sources s ON s.id = f.source WHERE f.state >= 5 ORDER BY f.id LIMIT ?",
                (limit,),
            )
        ]

    def worst_exit_code(self) -> int:
        """3 if damage made any entry fail, else 7 if any failed at all, else 0."""
        damaged = self._database.value("SELECT max(exit_code = 3) FROM files WHERE state >= 5")
        if damaged is None:
            return 0
        return 3 if damaged else 7
