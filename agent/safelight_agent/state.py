"""The agent's local state: one SQLite file that knows packs, chunks, files and chains.

It is a cache of what the vault already tells: deleting it costs time, never data and never a second
upload. The invariant: *it never yields a place that it cannot vouch for*. Rows carry a checksum, a
pack that was not seen through to its upload is forgotten with all that it held, and a file that is
not ours (another vault, another version, damaged) is set aside and rebuilt.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safelight_agent.randomness import RepeatedRandomError
from safelight_agent.state_database import (
    StateDamagedError,
    checksum,
    connect,
    database_errors,
    read_note,
    require_check,
    set_aside,
    write_note,
)
from safelight_vault.format.pack import Stream
from safelight_vault.format.place import Place

_PACK_COLUMNS = (
    "select id, pack_id, digest, version_id, size_bytes, header_digest, stream, retain_until_us,"
    " checksum from packs"
)


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


def open_state(path: Path, *, vault_id: bytes, agent_id: bytes) -> tuple["State", str | None]:
    """Open or create the state; says in words when an unusable one was set aside."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fingerprint = vault_id + agent_id
    try:
        return State(connect(path, fingerprint)), None
    except StateDamagedError as damage:
        set_aside(path)
        return State(connect(path, fingerprint)), damage.message


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
            with database_errors():
                self.database.execute("begin immediate")
                yield
                self.database.execute("commit")
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
        return read_note(self.database, name)

    def write_note(self, name: bytes, value: bytes) -> None:
        """Remember a value."""
        write_note(self.database, name, value)

    # Packs

    def begin_pack(self, pack_id: bytes, source_id: bytes, stream: Stream) -> int:
        """A row for a pack that is being filled; its id must be a new one."""
        cursor = self.database.execute(
            "insert or ignore into packs (pack_id, source_id, stream) values (?, ?, ?)",
            (pack_id, source_id, int(stream)),
        )
        if cursor.rowcount != 1:
            raise RepeatedRandomError("the random source repeats itself: a new pack's id is taken")
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
        self._seal_pack(row)

    def lock_known(self, row: int, retain_until_us: int) -> None:
        """A pack's lock was read back."""
        self.database.execute(
            "update packs set retain_until_us = ? where id = ?", (retain_until_us, row)
        )
        self._seal_pack(row)

    def _seal_pack(self, row: int) -> None:
        """Write the checksum of a row that was just changed."""
        columns = self.database.execute(_PACK_COLUMNS + " where id = ?", (row,)).fetchone()
        self.database.execute(
            "update packs set checksum = ? where id = ?", (checksum(*columns[1:-1]), row)
        )

    def pack(self, pack_id: bytes) -> PackRow | None:
        """A pack by its random id."""
        row = self.database.execute(
            _PACK_COLUMNS + " where pack_id = ?",
            (pack_id,),
        ).fetchone()
        return None if row is None else _pack_row(row)

    def uploaded_packs(self, *, after: bytes = b"") -> Iterator[PackRow]:
        """Packs in the vault, by digest."""
        for row in self.database.execute(
            _PACK_COLUMNS + " where digest > ? order by digest",
            (after,),
        ):
            yield _pack_row(row)

    def packs_to_index(self) -> list[PackRow]:
        """Uploaded packs that no index segment of ours lists yet, in upload order."""
        rows = self.database.execute(
            _PACK_COLUMNS + " where digest is not null and indexed = 0 order by id"
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
        self.database.execute(
            "insert or ignore into chunks values (?, ?, ?, ?, ?, ?, ?, ?)",
            (chunk_id, row, *fields, checksum(chunk_id, place.pack, *fields)),
        )

    def find_chunk(self, chunk_id: bytes) -> Place | None:
        """The place of a chunk, its pack given by random id; a damaged row raises."""
        row = self.database.execute(
            "select pack_id, block_number, block_offset, block_length, offset, length,"
            " chunks.checksum"
            " from chunks join packs on packs.id = chunks.pack where chunk_id = ?",
            (chunk_id,),
        ).fetchone()
        if row is None:
            return None
        require_check(row[6], chunk_id, *row[:6])
        return Place(*row[:6])

    def drop_chunk(self, chunk_id: bytes) -> None:
        """Forget a chunk, so that it is stored again."""
        self.database.execute("delete from chunks where chunk_id = ?", (chunk_id,))


def _pack_row(row: tuple[int, bytes, bytes | None, str, int, bytes, int, int, bytes]) -> PackRow:
    number, pack_id, digest, version_id, size_bytes, header_digest, stream, until_us, check = row
    if digest is None:
        # Being filled by this very run: there is nothing to vouch for yet.
        return PackRow(number, pack_id, None, "", 0, b"", Stream(stream), 0)
    require_check(check, *row[1:-1])
    return PackRow(
        number, pack_id, digest, version_id, size_bytes, header_digest, Stream(stream), until_us
    )
