"""The agent's local state: one SQLite file that knows packs, chunks, files and chains.

It is a cache of what the vault already tells: deleting it costs time, never data and never a second
upload. The invariant: *it never yields a place that it cannot vouch for*. Rows carry a checksum, a
pack that was not seen through to its upload is forgotten with all that it held, and a file that is
not ours (another vault, another version, damaged) is set aside and rebuilt.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safelight_vault.errors import ConfigurationError, IncompleteError
from safelight_vault.format.pack import Stream
from safelight_vault.format.place import Place

SCHEMA_VERSION = 1
_CHECK_SIZE = 8
_PACK_COLUMNS = (
    "select id, pack_id, digest, version_id, size_bytes, header_digest, stream, retain_until_us"
)

_SCHEMA = """
create table about (name blob primary key, value blob not null) without rowid;
create table packs (
    id integer primary key,
    pack_id blob not null unique,
    digest blob unique,
    version_id text,
    size_bytes integer,
    header_digest blob,
    source_id blob not null,
    stream integer not null,
    retain_until_us integer not null default 0,
    indexed integer not null default 0
);
create table chunks (
    chunk_id blob primary key,
    pack integer not null,
    block_number integer not null,
    block_offset integer not null,
    block_length integer not null,
    offset integer not null,
    length integer not null,
    checksum blob not null
) without rowid;
create table files (
    source_id blob not null,
    key blob not null,
    size_bytes integer not null,
    mtime_ns integer not null,
    ctime_ns integer not null,
    inode integer not null,
    device integer not null,
    read_us integer not null,
    run integer not null,
    value blob not null,
    checksum blob not null,
    primary key (source_id, key)
) without rowid;
create table instances (
    source_id blob not null,
    path_key blob not null,
    key blob not null,
    value blob not null,
    primary key (source_id, path_key)
) without rowid;
create index instances_by_key on instances (source_id, key);
create table failures (
    source_id blob not null,
    key blob not null,
    reason text not null,
    primary key (source_id, key)
) without rowid;
create table chains (
    source_id blob primary key,
    sequence integer not null,
    digest blob not null,
    run integer not null
) without rowid;
"""


@dataclass(frozen=True, slots=True)
class PackRow:
    """A pack that the state knows. ``digest`` is None until its upload was seen through."""

    row: int
    pack_id: bytes
    digest: bytes | None
    version_id: str
    size_bytes: int
    header_digest: bytes
    stream: Stream
    retain_until_us: int


class StateDamagedError(ConfigurationError):
    """The state file is damaged or not ours; it is set aside and rebuilt from the vault."""


def open_state(path: Path, *, vault_id: bytes, agent_id: bytes) -> tuple["State", str | None]:
    """Open or create the state; says in words when an unusable one was set aside."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fingerprint = vault_id + agent_id
    try:
        return State(_connect(path, fingerprint)), None
    except StateDamagedError as damage:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{path}.set-aside{suffix}")
        return State(_connect(path, fingerprint)), damage.message


def _connect(path: Path, fingerprint: bytes) -> sqlite3.Connection:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        database = sqlite3.connect(path, isolation_level=None)
    except (OSError, sqlite3.OperationalError) as error:
        raise IncompleteError(f"the state file cannot be opened: {error}") from error
    try:
        database.execute("pragma journal_mode = wal")
        # A lost transaction costs re-reading, so the log is not synced at every commit.
        database.execute("pragma synchronous = normal")
        database.execute("pragma cache_size = -16384")
        version = database.execute("pragma user_version").fetchone()[0]
        if version == 0 and not database.execute("select 1 from sqlite_master").fetchone():
            database.executescript("begin;" + _SCHEMA + f"pragma user_version = {SCHEMA_VERSION};")
            database.execute("insert into about values (?, ?)", (b"vault", fingerprint))
            database.execute("commit")
        elif version != SCHEMA_VERSION:
            raise StateDamagedError(f"the state file has version {version}, not {SCHEMA_VERSION}")
        known = database.execute("select value from about where name = ?", (b"vault",)).fetchone()
        if known is None or known[0] != fingerprint:
            raise StateDamagedError("the state file is of another vault or agent")
        return database
    except sqlite3.DatabaseError as error:
        database.close()
        raise StateDamagedError("the state file is damaged") from error
    except StateDamagedError:
        database.close()
        raise


def _check(*fields: bytes | int) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECK_SIZE)
    for field in fields:
        data = field if isinstance(field, bytes) else field.to_bytes(8, "big", signed=True)
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()


class State:
    """The tables of packs and chunks; files and chains are in ``file_table``.

    Used by one thread. Methods that change rows run inside :meth:`transaction` or alone.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a full disk or damage becomes an error of this project.

        Within another transaction it is a part of that one.
        """
        if self.database.in_transaction:
            yield
            return
        try:
            self.database.execute("begin immediate")
            yield
            self.database.execute("commit")
        except sqlite3.OperationalError as error:
            raise IncompleteError(
                f"the state file cannot be written: {error}",
                remedy="Free space in the state directory and run again.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise StateDamagedError("the state file is damaged") from error
        finally:
            if self.database.in_transaction:
                with suppress(sqlite3.DatabaseError):
                    self.database.execute("rollback")

    def commit_so_far(self) -> None:
        """Commit what the transaction at hand has done, and go on in a new one."""
        if self.database.in_transaction:
            self.database.execute("commit")
            self.database.execute("begin immediate")

    def note(self, name: bytes) -> bytes | None:
        """A remembered value."""
        row = self.database.execute("select value from about where name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def write_note(self, name: bytes, value: bytes) -> None:
        """Remember a value."""
        self.database.execute("insert or replace into about values (?, ?)", (name, value))

    # Packs

    def begin_pack(self, pack_id: bytes, source_id: bytes, stream: Stream) -> int:
        """A row for a pack that is being filled."""
        cursor = self.database.execute(
            "insert into packs (pack_id, source_id, stream) values (?, ?, ?)",
            (pack_id, source_id, int(stream)),
        )
        return int(cursor.lastrowid or 0)

    def pack_uploaded(
        self,
        row: int,
        *,
        digest: bytes,
        header_digest: bytes,
        version_id: str,
        size_bytes: int,
        retain_until_us: int,
    ) -> None:
        """The pack is in the vault, its lock read back."""
        self.database.execute(
            "update packs set digest = ?, header_digest = ?, version_id = ?, size_bytes = ?,"
            " retain_until_us = ? where id = ?",
            (digest, header_digest, version_id, size_bytes, retain_until_us, row),
        )

    def lock_known(self, row: int, retain_until_us: int) -> None:
        """A pack's lock was read back."""
        self.database.execute(
            "update packs set retain_until_us = ? where id = ?", (retain_until_us, row)
        )

    def pack(self, pack_id: bytes) -> PackRow | None:
        """A pack by its random id."""
        row = self.database.execute(
            _PACK_COLUMNS + " from packs where pack_id = ?",
            (pack_id,),
        ).fetchone()
        return None if row is None else _pack_row(row)

    def uploaded_packs(self, *, after: bytes = b"") -> Iterator[PackRow]:
        """Packs in the vault, by digest."""
        for row in self.database.execute(
            _PACK_COLUMNS + " from packs where digest > ? order by digest",
            (after,),
        ):
            yield _pack_row(row)

    def packs_to_index(self) -> list[PackRow]:
        """Uploaded packs that no index segment of ours lists yet, in upload order."""
        rows = self.database.execute(
            _PACK_COLUMNS + " from packs where digest is not null and indexed = 0 order by id"
        )
        return [_pack_row(row) for row in rows]

    def packs_indexed(self, rows: list[int]) -> None:
        """An index segment lists these packs now."""
        self.database.executemany(
            "update packs set indexed = 1 where id = ?", [(row,) for row in rows]
        )

    def forget_packs(self, rows: list[int]) -> None:
        """Forget packs and every chunk in them; their files are read again."""
        if not rows:
            return
        with self.transaction():
            self.database.execute("create temp table if not exists gone (id integer primary key)")
            self.database.execute("delete from temp.gone")
            self.database.executemany("insert into temp.gone values (?)", [(r,) for r in rows])
            self.database.execute("delete from chunks where pack in (select id from temp.gone)")
            self.database.execute("delete from packs where id in (select id from temp.gone)")

    def forget_unfinished(self) -> int:
        """Forget packs whose upload was never seen through (a run was killed)."""
        rows = self.database.execute("select id from packs where digest is null").fetchall()
        self.forget_packs([row[0] for row in rows])
        return len(rows)

    # Chunks

    def add_chunk(self, chunk_id: bytes, row: int, place: Place) -> None:
        """A chunk's place in a pack; the first one known is kept."""
        fields = (
            place.block_number,
            place.block_offset,
            place.block_length,
            place.offset,
            place.length,
        )
        checksum = _check(chunk_id, place.pack, *fields)
        self.database.execute(
            "insert or ignore into chunks values (?, ?, ?, ?, ?, ?, ?, ?)",
            (chunk_id, row, *fields, checksum),
        )

    def find_chunk(self, chunk_id: bytes) -> Place | None:
        """The place of a chunk, its pack given by random id; a damaged row raises."""
        row = self.database.execute(
            "select pack_id, block_number, block_offset, block_length, offset, length, checksum"
            " from chunks join packs on packs.id = chunks.pack where chunk_id = ?",
            (chunk_id,),
        ).fetchone()
        if row is None:
            return None
        if _check(chunk_id, *row[:6]) != row[6]:
            raise StateDamagedError("a row of the chunk index is damaged")
        return Place(*row[:6])

    def drop_chunk(self, chunk_id: bytes) -> None:
        """Forget a chunk, so that it is stored again."""
        self.database.execute("delete from chunks where chunk_id = ?", (chunk_id,))


_PackColumns = tuple[int, bytes, bytes | None, str | None, int | None, bytes | None, int, int]


def _pack_row(row: _PackColumns) -> PackRow:
    return PackRow(
        row[0], row[1], row[2], row[3] or "", row[4] or 0, row[5] or b"", Stream(row[6]), row[7]
    )
