"""The verification ledger: when each pack was last verified, and with what result.

The invariant: the ledger decides only the *order* of work, never whether something is sound. Losing
it costs time (everything counts as never verified), so a damaged one is set aside and begun anew
with a warning, and a verification never fails for its sake.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from safelight_restore.database import Database, DatabaseDamagedError
from safelight_vault.errors import IncompleteError

_APPLICATION: Final = 0x534C564C
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE packs (
    pack BLOB PRIMARY KEY, verified_us INTEGER NOT NULL, result TEXT NOT NULL
) WITHOUT ROWID;
"""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = -1

_Result = TypeVar("_Result")


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
        """Open the ledger, or begin one; the directory must exist.

        ``LeaseHeldError`` if another verification uses it.
        """
        self._path = path
        self.warnings: list[str] = []
        self._database = self._open()

    def close(self) -> None:
        """Keep what was recorded and close the file."""
        self.commit()
        self._database.close()

    def commit(self) -> None:
        """Make everything recorded so far last."""
        self._guarded(self._commit)

    def record(self, pack: bytes, result: VerifyResult, *, now: datetime) -> None:
        """Remember that ``pack`` was verified at ``now`` (aware)."""
        row = (pack, _microseconds(now), result.value)
        self._guarded(
            lambda: self._database.execute("INSERT OR REPLACE INTO packs VALUES (?, ?, ?)", row)
        )

    def last(self, pack: bytes) -> Verification | None:
        """The last verification of a pack."""
        return self._guarded(lambda: self._last(pack))

    def order(self, packs: Iterable[bytes], *, now: datetime) -> list[bytes]:
        """The packs in the order of need: never verified first, then the longest ago.

        A verification dated after ``now`` (a clock was wrong) counts as none. Equal ones come in
        the order of their names, so that the order is the same from run to run.
        """
        wanted = sorted(set(packs))
        return self._guarded(lambda: sorted(wanted, key=lambda pack: self._age_key(pack, now)))

    def _commit(self) -> None:
        self._database.commit()

    def _age_key(self, pack: bytes, now: datetime) -> int:
        verified_us = self._database.value(
            "SELECT verified_us FROM packs WHERE pack = ? AND verified_us <= ?",
            (pack, _microseconds(now)),
        )
        return _NEVER if verified_us is None else int(verified_us)

    def _last(self, pack: bytes) -> Verification | None:
        for verified_us, result in self._database.rows(
            "SELECT verified_us, result FROM packs WHERE pack = ?", (pack,)
        ):
            try:
                verified_at = _EPOCH + timedelta(microseconds=verified_us)
                return Verification(verified_at=verified_at, result=VerifyResult(result))
            except (ValueError, TypeError, OverflowError) as error:
                raise DatabaseDamagedError(f"{self._path}: {error}") from error
        return None

    def _guarded(self, action: Callable[[], _Result]) -> _Result:
        """Do it; if the ledger turns out to be damaged, begin it anew and do it then."""
        try:
            return action()
        except DatabaseDamagedError as error:
            self._database.close()
            self._set_aside(error)
            self._database = self._begin()
            return action()

    def _open(self) -> Database:
        if not self._path.exists():
            return self._begin()
        try:
            return self._open_sound()
        except DatabaseDamagedError as error:
            self._set_aside(error)
            return self._begin()

    def _open_sound(self) -> Database:
        database = Database.open(self._path, application=_APPLICATION, version=_VERSION)
        try:
            problem = database.value("PRAGMA quick_check(1)")
            if problem != "ok":
                raise DatabaseDamagedError(f"{self._path}: {problem}")
        except BaseException:
            database.close()
            raise
        return database

    def _begin(self) -> Database:
        return Database.create(self._path, _SCHEMA, application=_APPLICATION, version=_VERSION)

    def _set_aside(self, error: DatabaseDamagedError) -> None:
        aside = self._path.with_name(self._path.name + ".damaged")
        try:
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + suffix).unlink()
            self._path.rename(aside)
        except OSError as failure:
            raise IncompleteError(
                f"the damaged verification ledger cannot be set aside: {failure.strerror}",
                remedy=f"Remove {self._path} and run the command again.",
            ) from failure
        self.warnings.append(
            f"the verification ledger was damaged and is begun anew, every pack counts as never "
            f"verified; the old one is {aside} ({error.message})"
        )


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
