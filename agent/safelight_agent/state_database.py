"""The state's file: its tables, how it is opened, and what SQLite's errors mean.

The invariant: trouble of the machine (a full or failing disk) ends the run and leaves the file
alone, damage of the file is told as such, so that it can be set aside and rebuilt, and no row is
believed whose checksum does not hold.
"""

import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safelight_vault.errors import ConfigurationError, IncompleteError

SCHEMA_VERSION = 1
_CHECK_SIZE = 8

_SCHEMA = """
create table about (name blob primary key, value blob not null, checksum blob not null)
    without rowid;
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
    indexed integer not null default 0,
    checksum blob
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
    checksum blob not null,
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
    run integer not null,
    checksum blob not null
) without rowid;
"""

_MACHINE_CODES = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""What SQLite says when the machine is in trouble and the file may well be whole."""


class StateDamagedError(ConfigurationError):
    """The state file is damaged or not ours; it is set aside and rebuilt from the vault."""

    remedy = "Run again. If it comes back, look at the disk that the state directory is on."


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn SQLite's errors into this project's."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.NotSupportedError):
        raise
    except sqlite3.DatabaseError as error:
        # The low byte is the kind of error. Values that cannot be decoded come without a code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _MACHINE_CODES:
            raise IncompleteError(
                f"the state file cannot be used: {error}",
                remedy="Free space in the state directory (or mend its disk or its permissions), "
                "then run again.",
            ) from error
        # What SQLite says of damage may quote rows: only the name of the error is told.
        name = getattr(error, "sqlite_errorname", "undecodable text")
        raise StateDamagedError(f"the state file is damaged ({name})") from error


def connect(path: Path, fingerprint: bytes) -> sqlite3.Connection:
    """Open or create the file of the vault and agent with this fingerprint.

    ``StateDamagedError`` when it is damaged, of another version or somebody else's.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
    except OSError as error:
        raise IncompleteError(f"the state file cannot be opened: {error.strerror}") from error
    with database_errors():
        database = sqlite3.connect(path, isolation_level=None)
        try:
            _prepare(database, fingerprint)
        except UnicodeDecodeError as error:
            # A damaged schema is quoted byte for byte in an error message that is no text.
            database.close()
            raise StateDamagedError("the state file is damaged (schema)") from error
        except BaseException:
            database.close()
            raise
        return database


def _prepare(database: sqlite3.Connection, fingerprint: bytes) -> None:
    database.execute("pragma journal_mode = wal")
    # A lost transaction costs re-reading, so the log is not synced at every commit.
    database.execute("pragma synchronous = normal")
    database.execute("pragma cache_size = -16384")
    version = database.execute("pragma user_version").fetchone()[0]
    if version == 0 and not database.execute("select 1 from sqlite_master").fetchone():
        database.executescript("begin;" + _SCHEMA + f"pragma user_version = {SCHEMA_VERSION};")
        write_note(database, b"vault", fingerprint)
        database.execute("commit")
    elif version != SCHEMA_VERSION:
        raise StateDamagedError(f"the state file has version {version}, not {SCHEMA_VERSION}")
    if read_note(database, b"vault") != fingerprint:
        raise StateDamagedError("the state file is of another vault or agent")


def set_aside(path: Path) -> None:
    """Put the file out of the way, for whoever wants to look at it; an earlier one is replaced."""
    for suffix in ("", "-wal", "-shm"):
        try:
            os.replace(f"{path}{suffix}", f"{path}.set-aside{suffix}")
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                os.unlink(f"{path}.set-aside{suffix}")
        except OSError as error:
            raise IncompleteError(
                f"the damaged state file cannot be set aside: {error.strerror}"
            ) from error


def read_note(database: sqlite3.Connection, name: bytes) -> bytes | None:
    """A remembered value."""
    row = database.execute("select value, checksum from about where name = ?", (name,)).fetchone()
    if row is None:
        return None
    require_check(row[1], name, row[0])
    return bytes(row[0])


def write_note(database: sqlite3.Connection, name: bytes, value: bytes) -> None:
    """Remember a value."""
    database.execute(
        "insert or replace into about values (?, ?, ?)", (name, value, checksum(name, value))
    )


def checksum(*fields: object) -> bytes:
    """The checksum of a row's fields: bytes, text or integers, of up to 64 bits with their sign."""
    digest = hashlib.blake2b(digest_size=_CHECK_SIZE)
    try:
        for field in fields:
            if isinstance(field, int):
                digest.update(struct.pack(">Bq", 1, field))
            else:
                data = field.encode() if isinstance(field, str) else memoryview(field)  # type: ignore[arg-type]
                digest.update(struct.pack(">BI", 0, len(data)))
                digest.update(data)
    except TypeError as error:
        # A flipped bit can turn a number into a fraction, or anything into nothing.
        raise StateDamagedError("a row of the state file holds a value of another kind") from error
    return digest.digest()


def require_check(found: object, *fields: object) -> None:
    """Raise ``StateDamagedError`` unless ``found`` is the checksum of the fields."""
    if found != checksum(*fields):
        raise StateDamagedError("a row of the state file is damaged")


def signed(value: int) -> int:
    """A number of 64 bits as SQLite keeps it: some file systems have inodes beyond 2**63."""
    return value - (1 << 64) if value >= 1 << 63 else value
