"""An inventory of a vault: one listing of all its versions, kept on disk and asked in many ways.

The invariant: it says what the store listed and nothing more; what a name promises is proved by
reading. Flat in memory, whatever the size of the vault.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from safelight_vault.errors import DecodeError
from safelight_vault.format.names import CANARY_PREFIX, Kind, ObjectName, parse_name
from safelight_vault.format.references import Reference
from safelight_vault.store import Version


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One name with the versions that the store listed, newest first; delete markers left out."""

    name: ObjectName
    versions: tuple[Version, ...]


class Inventory:
    """The listing of a vault in a private temporary database."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute(
            "create table versions (position integer primary key, name text, version_id text,"
            " size_bytes integer, latest integer, marker integer, modified text)"
        )
        self.foreign: list[str] = []
        self.markers: list[str] = []
        with self._database:
            self._database.executemany(
                "insert into versions (name, version_id, size_bytes, latest, marker, modified)"
                " values (?, ?, ?, ?, ?, ?)",
                self._rows(versions),
            )
            self._database.execute("create index by_name on versions (name)")

    def _rows(self, versions: Iterable[Version]) -> Iterator[tuple[object, ...]]:
        for version in versions:
            if version.name.startswith(CANARY_PREFIX):
                continue
            try:
                parse_name(version.name)
            except DecodeError:
                self.foreign.append(version.name)
                continue
            if version.is_delete_marker:
                self.markers.append(version.name)
            yield (
                version.name,
                version.version_id,
                version.size_bytes,
                version.is_latest,
                version.is_delete_marker,
                version.modified.isoformat(),
            )

    def count(self) -> tuple[int, int]:
        """Objects and their bytes, one version each."""
        row = self._database.execute(
            "select count(*), coalesce(sum(size), 0) from"
            " (select max(size_bytes) as size from versions where marker = 0 group by name)"
        ).fetchone()
        return int(row[0]), int(row[1])

    def objects(self, kind: Kind) -> Iterator[ListedObject]:
        """All objects of a kind, by name."""
        last = ""
        while True:
            names = self._database.execute(
                "select distinct name from versions where marker = 0 and name > ? and name like ?"
                " order by name limit 500",
                (last, kind.value + "/%"),
            ).fetchall()
            if not names:
                return
            for (name,) in names:
                yield ListedObject(parse_name(name), tuple(self.versions(name)))
                last = name

    def versions(self, name: str) -> list[Version]:
        """The versions of one name that are not delete markers, in the order of the listing."""
        rows = self._database.execute(
            "select name, version_id, size_bytes, latest, marker, modified from versions"
            " where name = ? and marker = 0 order by position",
            (name,),
        ).fetchall()
        return [
            Version(
                name=row[0],
                version_id=row[1],
                size_bytes=row[2],
                is_latest=bool(row[3]),
                is_delete_marker=bool(row[4]),
                modified=datetime.fromisoformat(row[5]),
            )
            for row in rows
        ]

    def holds(self, reference: Reference) -> bool:
        """Whether some version of the referenced name has the referenced size."""
        row = self._database.execute(
            "select 1 from versions where name = ? and marker = 0 and size_bytes = ? limit 1",
            (str(reference.name), reference.size_bytes),
        ).fetchone()
        return row is not None

    def close(self) -> None:
        """Drop the listing."""
        self._database.close()
