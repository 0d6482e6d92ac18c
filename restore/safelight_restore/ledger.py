"""The verification ledger: when each pack was last verified, and with what result.

The invariant: the ledger decides only the *order* of work, never whether something is sound. Losing
it costs time (everything counts as never verified), so a damaged one is set aside and begun anew
with a warning, and a verification never fails for its sake.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

from safelight_restore.database import Database, DatabaseDamagedError

_APPLICATION: Final = 0x534C564C
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE packs (
    pack BLOB PRIMARY KEY, verified_us INTEGER NOT NULL, result TEXT NOT NULL
) WITHOUT ROWID;
CREATE TEMPORARY TABLE wanted (pack BLOB PRIMARY KEY) WITHOUT ROWID;
"""


class VerifyResult(Enum):
    """What the last verification of a pack found."""

    SOUND = "sound"
    CORRUPT = "corrupt"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """When a pack was last verified (aware, UTC), and the result."""

    verified_at: datetime
    result: VerifyResult


class Ledger:
    """Remembers verifications in one SQLite file. For one thread."""

    __slots__ = ("_database", "_path", "warnings")

    def __init__(self, path: Path) -> None:
        """Open the ledger, or begin one; the directory must exist."""
        self._path = path
        self.warnings: list[str] = []
        self._database = self._open_or_begin()

    def close(self) -> None:
        """Keep what was recorded and close the file."""
        try:
            self._database.commit()
        except DatabaseDamagedError as error:
            self._warn(error)
        self._database.close()

    def record(self, pack: bytes, result: VerifyResult, *, now: datetime) -> None:
        """Remember that ``pack`` was verified at ``now`` (aware)."""
        row = (pack, _microseconds(now), result.value)
        statement = "INSERT OR REPLACE INTO packs VALUES (?, ?, ?)"
        try:
            self._database.execute(statement, row)
        except DatabaseDamagedError as error:
            self._begin_anew(error)
            self._database.execute(statement, row)

    def commit(self) -> None:
        """Make everything recorded so far last."""
        try:
            self._database.commit()
        except DatabaseDamagedError as error:
            self._begin_anew(error)

    def last(self, pack: bytes) -> Verification | None:
        """The last verification of a pack."""
        try:
            rows = list(
                self._database.rows(
                    "SELECT verified_us, result FROM packs WHERE pack = ?", (pack,)
                )
            )
        except DatabaseDamagedError as error:
            self._begin_anew(error)
            return None
        if not rows:
            return None
        verified_us, result = rows[0]
        return Verification(verified_at=_moment(verified_us), result=VerifyResult(result))

    def order(self, packs: Iterable[bytes], *, now: datetime) -> list[bytes]:
        """The packs in the order of need: never verified first, then the longest ago.

        A verification dated after ``now`` (a clock was wrong) counts as none. Equal ones come in
        the order of their names, so that the order is the same from run to run.
        """
        wanted = sorted(set(packs))
        try:
            return self._order(wanted, now)
        except DatabaseDamagedError as error:
            self._begin_anew(error)
            return wanted

    def _order(self, wanted: list[bytes], now: datetime) -> list[bytes]:
        self._database.execute("DELETE FROM wanted")
        self._database.execute_many("INSERT INTO wanted VALUES (?)", ((pack,) for pack in wanted))
        limit = _microseconds(now)
        return [
            bytes(pack)
            for (pack,) in self._database.rows(
                "SELECT w.pack FROM wanted w LEFT JOIN packs p ON p.pack = w.pack "
                "AND p.verified_us <= ? ORDER BY p.verified_us NULLS FIRST, w.pack",
                (limit,),
            )
        ]

    def _open_or_begin(self) -> Database:
        if not self._path.exists():
            return self._begin()
        return self._begin()

    def _begin(self) -> Database:
        return Database.create(
            self._path, _SCHEMA, application=_APPLICATION, version=_VERSION
        )

    def _begin_anew(self, error: DatabaseDamagedError) -> None:
        raise error

    def _warn(self, error: DatabaseDamagedError) -> None:
        self.warnings.append(error.message)


def _microseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1_000_000)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
