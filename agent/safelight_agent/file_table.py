"""The files of one source as the last run found them: what lets an unchanged night cost little.

A row holds the file system's facts, to tell "unchanged" without reading, and the encoded manifest
entry, whose places name packs by their random ids until the manifest is written. The invariant: a
row is believed only if its checksum holds and all its packs are in the vault under a lock that
covers the new snapshot; otherwise the file is read again.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from safelight_agent.source import Found
from safelight_agent.state import State
from safelight_agent.state_database import (
    StateDamagedError,
    checksum,
    require_check,
    signed,
)
from safelight_vault.format.manifest import EntryKind

_SECOND_NS = 1_000_000_000
_DAY_US = 86_400_000_000
_FACTS = struct.Struct(">6q")
_FACT_COLUMNS = "size_bytes, mtime_ns, ctime_ns, inode, device, read_us"


@dataclass(frozen=True, slots=True)
class FileRow:
    """What the state knows of one path. ``run`` is the run that saw it last."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    read_us: int
    value: bytes

    @property
    def is_file(self) -> bool:
        """Whether the row is of a regular file with content of its own."""
        return self.value[0] == EntryKind.FILE

    def unchanged(self, found: Found, *, now_us: int, reread_before_us: int) -> bool:
        """Whether the file can be taken as it was.

        Size, both times and inode must be equal; a time that lies within the second before the
        reading (or after it) may hide a later write, so such a file is read again. So is one whose
        reading lies in the future (by more than clocks may differ): its clock was wrong.
        """
        same = (self.size_bytes, self.mtime_ns, self.ctime_ns, self.inode) == (
            found.size_bytes,
            found.mtime_ns,
            found.ctime_ns,
            signed(found.inode),
        )
        settled = max(found.mtime_ns, found.ctime_ns) + _SECOND_NS < self.read_us * 1000
        return same and settled and reread_before_us <= self.read_us <= now_us + _DAY_US


@dataclass(frozen=True, slots=True)
class ChainRow:
    """The newest snapshot of a source that this agent published."""

    sequence: int
    digest: bytes
    run: int


def _checksum(key: bytes, facts: tuple[int, ...], value: bytes) -> bytes:
    try:
        packed = _FACTS.pack(*facts)
        return hashlib.blake2b(key + b"\x00\x00" + value + packed, digest_size=8).digest()
    except (struct.error, TypeError) as error:
        raise StateDamagedError("a row of the file table is damaged") from error


def _after(last: bytes | None, key: bytes) -> bytes:
    """The key, if it follows the last one: a damaged index gives rows twice or out of order."""
    if last is not None and key <= last:
        raise StateDamagedError("an index of the state file is out of order")
    return key


class FileTable:
    """The rows of one source, for one run."""

    def __init__(self, state: State, source_id: bytes, run: int) -> None:
        self._database = state.database
        self._source_id = source_id
        self.run = run

    def find(self, key: bytes) -> FileRow | None:
        """The row of a path, checked."""
        row = self._database.execute(
            f"select {_FACT_COLUMNS}, value, checksum from files"  # noqa: S608 - a literal above
            " where source_id = ? and key = ?",
            (self._source_id, key),
        ).fetchone()
        if row is None:
            return None
        if _checksum(key, row[:6], row[6]) != row[7]:
            raise StateDamagedError("a row of the file table is damaged")
        return FileRow(*row[:7])

    def keep(self, key: bytes) -> None:
        """The file is unchanged: carry its row into this run."""
        self._database.execute(
            "update files set run = ? where source_id = ? and key = ?",
            (self.run, self._source_id, key),
        )

    def put(self, key: bytes, found: Found, value: bytes, *, read_us: int) -> None:
        """A file, directory or link as it was read in this run."""
        facts = (
            found.size_bytes,
            found.mtime_ns,
            found.ctime_ns,
            signed(found.inode),
            signed(found.device),
            read_us,
        )
        self._database.execute(
            "insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._source_id, key, *facts, self.run, value, _checksum(key, facts, value)),
        )

    def put_instance(self, path_key: bytes, row: tuple[bytes, bytes] | None) -> None:
        """The catalogue's row of a file, or that it has none."""
        if row is None:
            self._database.execute(
                "delete from instances where source_id = ? and path_key = ?",
                (self._source_id, path_key),
            )
        else:
            self._database.execute(
                "insert or replace into instances values (?, ?, ?, ?, ?)",
                (self._source_id, path_key, *row, checksum(path_key, *row)),
            )

    def clear_failures(self) -> None:
        """Forget the failures of the last run."""
        self._database.execute("delete from failures where source_id = ?", (self._source_id,))

    def put_failure(self, key: bytes, reason: str) -> None:
        """A path that could not be read in this run."""
        self._database.execute(
            "insert or replace into failures values (?, ?, ?)", (self._source_id, key, reason)
        )

    def drop_unseen(self) -> int:
        """Forget files that this run, having seen everything, did not meet."""
        self._database.execute(
            "delete from instances where source_id = ?1 and path_key in"
            " (select key from files where source_id = ?1 and run != ?2)",
            (self._source_id, self.run),
        )
        cursor = self._database.execute(
            "delete from files where source_id = ? and run != ?", (self._source_id, self.run)
        )
        return cursor.rowcount

    def values(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and encoded entry of everything seen in this run, in order, checked."""
        last = None
        for key, value, check, *facts in self._database.execute(
            f"select key, value, checksum, {_FACT_COLUMNS} from files"  # noqa: S608 - as above
            " where source_id = ? and run = ? order by key",
            (self._source_id, self.run),
        ):
            if _checksum(key, tuple(facts), value) != check:
                raise StateDamagedError("a row of the file table is damaged")
            last = _after(last, key)
            yield key, value

    def instances(self) -> Iterator[tuple[bytes, bytes]]:
        """The catalogue's rows of what was seen in this run, in order."""
        last = None
        for path_key, key, value, check in self._database.execute(
            "select i.path_key, i.key, i.value, i.checksum from instances i join files f"
            " on f.source_id = i.source_id and f.key = i.path_key"
            " where i.source_id = ? and f.run = ? order by i.key",
            (self._source_id, self.run),
        ):
            require_check(check, path_key, key, value)
            last = _after(last, key)
            yield key, value

    def failures(self) -> Iterator[tuple[bytes, str]]:
        """Path key and reason of this run's failures, in order."""
        yield from self._database.execute(
            "select key, reason from failures where source_id = ? order by key",
            (self._source_id,),
        )

    def count(self) -> int:
        """Files of the last finished run of this source."""
        row = self._database.execute(
            "select count(*) from files where source_id = ?", (self._source_id,)
        ).fetchone()
        return int(row[0])

    def forget_all(self) -> None:
        """Forget every row of the source (its packs changed under it): all files are read again."""
        for table in ("files", "instances", "failures"):
            self._database.execute(
                f"delete from {table} where source_id = ?",  # noqa: S608 - names are literals above
                (self._source_id,),
            )


def known_chain(state: State, source_id: bytes) -> ChainRow | None:
    """The newest published snapshot of a source that the state knows."""
    row = state.database.execute(
        "select sequence, digest, run, checksum from chains where source_id = ?", (source_id,)
    ).fetchone()
    if row is None:
        return None
    require_check(row[3], source_id, *row[:3])
    return ChainRow(*row[:3])


def write_chain(state: State, source_id: bytes, chain: ChainRow) -> None:
    """Record the newest published snapshot."""
    fields = (chain.sequence, chain.digest, chain.run)
    state.database.execute(
        "insert or replace into chains values (?, ?, ?, ?, ?)",
        (source_id, *fields, checksum(source_id, *fields)),
    )
