"""The plan on disk: one SQLite file that holds every entry to restore and every piece to write.

The invariant: memory does not grow with the archive. Whatever is per file or per piece lives here,
is written in batches and read in pages; the rows of ``writes`` are kept in pack order by their
primary key. The file doubles as the record of what is finished, so that a killed restore resumes.

A power cut loses at most the newest transactions (``database.py``): then files are restored again
that were finished already, never the other way round, because a file is marked finished only after
its content was made durable.
"""

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from safelight_restore.database import Database, Row
from safelight_restore.target.metadata import Metadata
from safelight_restore.target.path import Parts, source_parts, split_path
from safelight_vault.format.manifest import Entry, EntryKind
from safelight_vault.format.place import Place
from safelight_vault.format.wire import Reader, Writer

_APPLICATION: Final = 0x534C5231
_VERSION: Final = 1
_BUFFERED_ROWS_MAX: Final = 2000
_KNOWN_PACKS_MAX: Final = 4096
_XATTR_BYTES_MAX: Final = 1 << 24

# The numbers of EntryKind and FileState stand in the text: a partial index serves a query only if
# the query repeats the index's condition literally.
_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (id INTEGER PRIMARY KEY, name BLOB NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, path BLOB NOT NULL, kind INTEGER NOT NULL,
    mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    xattrs BLOB NOT NULL, size_bytes INTEGER NOT NULL, sha256 BLOB NOT NULL,
    link_target BLOB NOT NULL, linked_file INTEGER, replace INTEGER NOT NULL,
    unstable INTEGER NOT NULL, bytes_stored INTEGER NOT NULL, bytes_pending INTEGER NOT NULL,
    state INTEGER NOT NULL, reason TEXT, exit_code INTEGER, seen_mtime_ns INTEGER
);
CREATE INDEX files_beside ON files (kind, id) WHERE kind != 1;
CREATE INDEX files_without_bytes ON files (id) WHERE kind = 1 AND bytes_stored = 0;
CREATE INDEX files_to_look_at ON files (state, id) WHERE state IN (1, 4);
CREATE INDEX files_failed ON files (id) WHERE state >= 5;
CREATE VIEW entries AS
    SELECT f.id, s.name, f.path, f.kind, f.mode, f.uid, f.gid, f.mtime_ns, f.xattrs, f.size_bytes,
        f.sha256, f.link_target, f.linked_file, f.replace, f.bytes_stored, f.bytes_pending,
        f.seen_mtime_ns, f.state
    FROM files f CROSS JOIN sources s ON s.id = f.source;
CREATE TABLE packs (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE writes (
    pack INTEGER NOT NULL, block_offset INTEGER NOT NULL, block_number INTEGER NOT NULL,
    block_length INTEGER NOT NULL, file INTEGER NOT NULL, file_offset INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (pack, block_offset, block_number, block_length, file, file_offset)
) WITHOUT ROWID;
CREATE VIEW pending_writes AS
    SELECT w.pack, w.block_offset, w.block_number, w.block_length, w.file, w.file_offset,
        w.offset, w.length
    FROM writes w CROSS JOIN files f ON f.id = w.file WHERE f.state = 0;
CREATE TABLE reads (
    first_file INTEGER NOT NULL, number INTEGER NOT NULL, pack INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL, sealed_bytes INTEGER NOT NULL, requests INTEGER NOT NULL,
    first_block_offset INTEGER NOT NULL, first_block_number INTEGER NOT NULL,
    first_block_length INTEGER NOT NULL, first_row_file INTEGER NOT NULL,
    first_file_offset INTEGER NOT NULL,
    last_block_offset INTEGER NOT NULL, last_block_number INTEGER NOT NULL,
    last_block_length INTEGER NOT NULL, last_row_file INTEGER NOT NULL,
    last_file_offset INTEGER NOT NULL,
    PRIMARY KEY (first_file, number)
) WITHOUT ROWID;
"""


class FileState(IntEnum):
    """What is known of an entry."""

    PENDING = 0
    EQUAL = 1
    """Stands in the target already with the same content; its metadata is still to be applied."""
    FINISHED = 2
    KEPT = 3
    """Something stands in its place, and the operator asked to keep what exists."""
    COMPARE = 4
    """A file of the same size stands in its place; the content is still to be compared."""
    FAILED = 5
    """Could not be restored; the next run tries it again."""
    REFUSED = 6
    """May not be restored whatever the target looks like (see ``admission.py``)."""


WriteKey = tuple[int, int, int, int, int]
"""Order of the pieces of one pack: block offset, number and length, file, offset in the file."""


@dataclass(frozen=True, slots=True)
class WriteRow:
    """One piece: ``length`` bytes at ``offset`` of a block belong at ``file_offset`` of a file."""

    pack: int
    block_offset: int
    block_number: int
    block_length: int
    file: int
    file_offset: int
    offset: int
    length: int

    @property
    def key(self) -> WriteKey:
        """Its place in the order of its pack."""
        return (
            self.block_offset,
            self.block_number,
            self.block_length,
            self.file,
            self.file_offset,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One entry of the plan, as the executor needs it."""

    id: int
    parts: Parts
    kind: EntryKind
    metadata: Metadata
    size_bytes: int
    sha256: bytes
    link_target: bytes
    linked_file: int | None
    replace: bool
    bytes_stored: int
    bytes_pending: int
    seen_mtime_ns: int | None
    state: FileState

    @property
    def partial_name(self) -> bytes:
        """The name of the unfinished file."""
        return b"%d" % self.id


class Spool:
    """The plan's file. To be used by one thread; ``commit`` makes the changes so far last."""

    __slots__ = ("_database", "_known_packs", "_new_files", "_new_writes", "_next_file")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_packs: dict[bytes, int] = {}
        self._new_files: list[tuple[object, ...]] = []
        self._new_writes: list[tuple[object, ...]] = []
        self._next_file = 1 + int(database.value("SELECT coalesce(max(id), 0) FROM files"))

    @classmethod
    def create(cls, path: Path) -> "Spool":
        """Make an empty plan in a new file."""
        return cls(Database.create(path, _SCHEMA, application=_APPLICATION, version=_VERSION))

    @classmethod
    def open(cls, path: Path) -> "Spool":
        """Open an existing plan, or raise ``DatabaseDamagedError``."""
        return cls(Database.open(path, application=_APPLICATION, version=_VERSION))

    @property
    def database(self) -> Database:
        """The file itself, for queries that no other module needs."""
        return self._database

    def close(self) -> None:
        """Close the file without a further commit."""
        self._database.close()

    def commit(self) -> None:
        """Make everything so far last."""
        self._flush()
        self._database.commit()

    def fact(self, name: str) -> bytes | None:
        """A fact about the plan as a whole."""
        value = self._database.value("SELECT value FROM facts WHERE name = ?", (name,))
        return None if value is None else bytes(value)

    def set_fact(self, name: str, value: bytes) -> None:
        """Remember a fact about the plan as a whole."""
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def add_source(self, number: int, name: bytes) -> None:
        """Name a source; entries refer to it by number."""
        self._database.execute("INSERT INTO sources VALUES (?, ?)", (number, name))

    def add(
        self,
        source: int,
        entry: Entry,
        state: FileState,
        *,
        replace: bool = False,
        reason: str | None = None,
        exit_code: int | None = None,
    ) -> int:
        """Add an admitted entry and, unless it is kept as it stands, its pieces; its number."""
        number = self._next_file
        self._next_file += 1
        stored = 0 if state is FileState.KEPT else self._add_writes(number, entry)
        self._new_files.append(
            (
                number,
                source,
                entry.path,
                int(entry.kind),
                stat.S_IMODE(entry.mode),
                entry.uid,
                entry.gid,
                entry.mtime_ns,
                _encode_xattrs(entry.xattrs),
                # A link's content is its file's, and is counted there.
                entry.size_bytes if entry.kind is EntryKind.FILE else 0,
                entry.sha256,
                entry.link_target,
                replace,
                entry.unstable,
                stored,
                stored,
                int(state),
                reason,
                exit_code,
            )
        )
        if len(self._new_files) >= _BUFFERED_ROWS_MAX:
            self._flush()
        return number

    def add_refused(self, source: int, path: bytes, reason: str, exit_code: int) -> None:
        """Add an entry that was not admitted: nothing of it is believed but its name."""
        nothing = Entry(path=path, kind=EntryKind.FILE, mode=0, uid=0, gid=0, mtime_ns=0)
        self.add(source, nothing, FileState.REFUSED, reason=reason, exit_code=exit_code)

    def become_file(self, number: int, entry: Entry) -> None:
        """Turn a hard link into the file ``entry``, whose own path is not restored."""
        stored = self._add_writes(number, entry)
        self._flush()
        self._database.execute(
            "UPDATE files SET kind = 1, size_bytes = ?, sha256 = ?, bytes_stored = ?, "
            "bytes_pending = ?, link_target = x'' WHERE id = ?",
            (entry.size_bytes, entry.sha256, stored, stored, number),
        )

    def _add_writes(self, number: int, entry: Entry) -> int:
        position = stored = 0
        for extent in entry.extents:
            if isinstance(extent, Place):
                self._new_writes.append(
                    (
                        self._pack_number(extent.pack),
                        extent.block_offset,
                        extent.block_number,
                        extent.block_length,
                        number,
                        position,
                        extent.offset,
                        extent.length,
                    )
                )
                stored += extent.length
                if len(self._new_writes) >= _BUFFERED_ROWS_MAX:
                    self._flush_writes()
            position += extent.length
        return stored

    def _pack_number(self, name: bytes) -> int:
        """The number of a pack, numbered as they come, so that neighbours stay neighbours."""
        number = self._known_packs.get(name)
        if number is None:
            self._database.execute("INSERT OR IGNORE INTO packs (name) VALUES (?)", (name,))
            number = int(self._database.value("SELECT id FROM packs WHERE name = ?", (name,)))
            if len(self._known_packs) >= _KNOWN_PACKS_MAX:
                self._known_packs.clear()
            self._known_packs[name] = number
        return number

    def _flush(self) -> None:
        self._flush_writes()
        self._database.execute_many(
            "INSERT INTO files (id, source, path, kind, mode, uid, gid, mtime_ns, xattrs, "
            "size_bytes, sha256, link_target, replace, unstable, bytes_stored, bytes_pending, "
            "state, reason, exit_code) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._new_files,
        )
        self._new_files.clear()

    def _flush_writes(self) -> None:
        self._database.execute_many(
            "INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._new_writes
        )
        self._new_writes.clear()

    def resolve_links(self) -> int:
        """Point hard links at the files that they share an inode with; how many found none.

        A file that is not restored itself (not selected, kept, or failed) cannot be linked to.
        """
        self._flush()
        if not self._database.value(
            "SELECT EXISTS (SELECT 1 FROM files WHERE kind = 4 AND kind != 1 AND state IN (0, 5))"
        ):
            return 0
        # Only now, because most archives have no hard links and would pay for nothing.
        self._database.execute("CREATE INDEX files_by_path ON files (source, path) WHERE kind = 1")
        self._database.execute(
            "UPDATE files SET linked_file = (SELECT f.id FROM files f WHERE f.kind = 1 "
            "AND f.source = files.source AND f.path = files.link_target AND f.state IN (0, 1, 4)) "
            "WHERE kind = 4 AND kind != 1 AND state IN (0, 5)"
        )
        self._database.execute(
            "CREATE INDEX links_open ON files (source, link_target) "
            "WHERE kind = 4 AND linked_file IS NULL"
        )
        return int(
            self._database.value(
                "SELECT count(*) FROM files "
                "WHERE kind = 4 AND linked_file IS NULL AND state IN (0, 5)"
            )
        )

    def open_links(self, source: int, target: bytes) -> list[int]:
        """The numbers of the hard links to a path that found no file, in order."""
        rows = self._database.rows(
            "SELECT id FROM files WHERE kind = 4 AND linked_file IS NULL AND state IN (0, 5) "
            "AND source = ? AND link_target = ? ORDER BY id",
            (source, target),
        )
        return [number for (number,) in rows]

    def fail_open_links(self, reason: str, exit_code: int) -> None:
        """Fail the hard links that have no file."""
        self._database.execute(
            "UPDATE files SET state = 5, reason = ?, exit_code = ? "
            "WHERE kind = 4 AND linked_file IS NULL AND state IN (0, 5)",
            (reason, exit_code),
        )

    def link(self, numbers: Sequence[int], file: int) -> None:
        """Point hard links at a file."""
        self._database.execute_many(
            "UPDATE files SET linked_file = ? WHERE id = ?", [(file, n) for n in numbers]
        )


def _encode_xattrs(xattrs: tuple[tuple[bytes, bytes], ...]) -> bytes:
    writer = Writer()
    for name, value in xattrs:
        writer.var(name, _XATTR_BYTES_MAX)
        writer.var(value, _XATTR_BYTES_MAX)
    return writer.finish()


def _decode_xattrs(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    reader = Reader(data, "extended attributes of the plan")
    xattrs: list[tuple[bytes, bytes]] = []
    while reader.offset < len(data):
        xattrs.append((reader.var(_XATTR_BYTES_MAX), reader.var(_XATTR_BYTES_MAX)))
    return tuple(xattrs)


def file_row(row: Row) -> FileRow:
    """A row of the view ``entries``, its path checked once more: the file on disk is not trusted
    to be as it was written."""
    number, source, path, kind, mode, uid, gid, mtime_ns, xattrs, size_bytes, sha256 = row[:11]
    link_target, linked_file, replace, stored, pending, seen_mtime_ns, state = row[11:]
    return FileRow(
        id=number,
        parts=source_parts(source) + split_path(path),
        kind=EntryKind(kind),
        metadata=Metadata(
            mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=_decode_xattrs(xattrs)
        ),
        size_bytes=size_bytes,
        sha256=sha256,
        link_target=link_target,
        linked_file=linked_file,
        replace=bool(replace),
        bytes_stored=stored,
        bytes_pending=pending,
        seen_mtime_ns=seen_mtime_ns,
        state=FileState(state),
    )
