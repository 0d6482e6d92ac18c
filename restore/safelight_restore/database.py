"""The door to SQLite for the restore's local files: opening, paging, and what its errors mean.

The invariant: whoever uses a ``Database`` sees errors of ``safelight_vault.errors`` only. A file
that is not readable as the expected database is ``DatabaseDamagedError``, which its owner answers
by making it anew: nothing that cannot be made again is kept in one.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safelight_vault.errors import IncompleteError, LeaseHeldError

_PAGE_ROWS: Final = 1000
_CACHE_KIB: Final = 16 * 1024

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NOT_WRITABLE: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}

Row = tuple[Any, ...]
Parameters = tuple[object, ...]


class DatabaseDamagedError(IncompleteError):
    """A local database is damaged, or of another program or release."""

    remedy = "Remove the file named above and run the command again (a restore: --exists keep)."


class Database:
    """One SQLite file, held exclusively, in one transaction at a time. For one thread."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def create(cls, path: Path, schema: str, *, application: int, version: int) -> "Database":
        """Make a new database; the file must not exist or be empty."""
        database = cls._connect(path)
        with database._closed_on_error():
            database._keep_log()
            # In one transaction: a file either has all its tables, or counts as damaged.
            database.execute_script(
                f"BEGIN; {schema} PRAGMA application_id = {application}; "
                f"PRAGMA user_version = {version}; COMMIT; BEGIN;"
            )
        return database

    @classmethod
    def open(cls, path: Path, *, application: int, version: int) -> "Database":
        """Open an existing one, or raise ``DatabaseDamagedError``, also for another version."""
        if not path.is_file():
            raise DatabaseDamagedError(f"{path} is not a file")
        database = cls._connect(path)
        with database._closed_on_error():
            found = (database.value("PRAGMA application_id"), database.value("PRAGMA user_version"))
            if found != (application, version):
                raise DatabaseDamagedError(f"{path} is of another program or release")
            database._keep_log()
            database.execute("BEGIN")
        return database

    @classmethod
    def _connect(cls, path: Path) -> "Database":
        with _translated(path):
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        database = cls(connection, path)
        with database._closed_on_error():
            # No second process, and no shared memory file, which network file systems lack.
            database.value("PRAGMA locking_mode = EXCLUSIVE")
            database.value(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return database

    def _keep_log(self) -> None:
        """The log keeps the file readable after SIGKILL and after a power cut."""
        self.value("PRAGMA journal_mode = WAL")
        self.value("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the file; what was not committed is lost."""
        self._connection.close()

    def commit(self) -> None:
        """Make all changes so far last (they survive SIGKILL at once) and go on."""
        self.execute("COMMIT")
        self.execute("BEGIN")

    def execute(self, statement: str, parameters: Parameters = ()) -> int:
        """Run one statement; the number of rows that it changed."""
        with _translated(self._path):
            return self._connection.execute(statement, parameters).rowcount

    def execute_many(self, statement: str, rows: Iterable[Parameters]) -> None:
        """Run one statement for each row."""
        with _translated(self._path):
            self._connection.executemany(statement, rows)

    def execute_script(self, script: str) -> None:
        """Run several statements outside a transaction of ours."""
        with _translated(self._path):
            self._connection.executescript(script)

    def rows(self, query: str, parameters: Parameters = ()) -> Iterator[Row]:
        """The rows of a query, read in pages; the tables read must not change meanwhile."""
        with _translated(self._path):
            cursor = self._connection.execute(query, parameters)
        while True:
            with _translated(self._path):
                page = cursor.fetchmany(_PAGE_ROWS)
            if not page:
                return
            yield from page

    def value(self, query: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row, ``None`` if there is no row."""
        with _translated(self._path):
            row = self._connection.execute(query, parameters).fetchone()
        return None if row is None else row[0]

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the whole database to a new file."""
        with _translated(self._path):
            self.execute("COMMIT")
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
            finally:
                target.close()
            self.execute("BEGIN")

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._connection.close()
            raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # Only the low byte says what kind it is; misuse and broken constraints are bugs of ours.
        kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if kind in _DAMAGED:
            raise DatabaseDamagedError(f"{path}: {error}") from error
        if kind in _BUSY:
            raise LeaseHeldError(f"{path} is in use by another process") from error
        if kind in _NOT_WRITABLE:
            raise IncompleteError(
                f"{path} cannot be written: {error}",
                remedy="Free space there and run the same command again: it resumes.",
            ) from error
        raise
