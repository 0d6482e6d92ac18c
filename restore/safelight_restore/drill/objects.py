"""The drill's first step: is every object that the snapshots need there, whole and locked?

Asks the store about each object by its VersionId, several at a time; reads no pack, except one that
is found under another VersionId than recorded. The invariant: an object counts as present only
after the store spoke of the very version that was recorded, or its bytes were held against its
name; a listing proves nothing.

Memory stays flat: objects, and what is found out about them, lie in a temporary table on disk.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from safelight_restore.access import REQUESTS_AT_ONCE, Access
from safelight_restore.drill.coverage import (
    ObjectState,
    Presence,
    SnapshotCoverage,
    is_short,
    is_weaker,
)
from safelight_vault.blocks import hash_version
from safelight_vault.errors import CorruptError, ObjectMissingError
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.format.references import Reference
from safelight_vault.reader import Head, iterate_references, load_table
from safelight_vault.store import LockMode, Store

LISTED_MAX = 10_000
BAD_PACKS_MAX = 100_000
MOVED_READ_BYTES_MAX = 4 << 30
"""Most bytes of packs under other VersionIds that one drill reads to prove them; a vault that was
copied to another bucket has nothing but such packs, and ``verify`` is the command that reads all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadObject:
    """An object that is not there whole."""

    name: str
    presence: Presence
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockedObject:
    """An object whose lock is weaker or shorter than promised (``retain_until`` None: no lock)."""

    name: str
    promised_until: datetime
    retain_until: datetime | None
    lock_mode: LockMode


@dataclass(slots=True, kw_only=True)
class ObjectsResult:
    """The store's answers, counted; lists hold the first ``LISTED_MAX``."""

    checked: int = 0
    size_bytes: int = 0
    presence: dict[Presence, int] = field(default_factory=lambda: dict.fromkeys(Presence, 0))
    lock_modes: dict[LockMode, int] = field(default_factory=lambda: dict.fromkeys(LockMode, 0))
    bad: list[BadObject] = field(default_factory=list)
    bad_packs: set[bytes] = field(default_factory=set)
    unlocked: list[UnlockedObject] = field(default_factory=list)
    unlocked_count: int = 0
    moved_unread: int = 0
    coverage: dict[str, SnapshotCoverage] = field(default_factory=dict)
    """By snapshot id; a snapshot whose reference table cannot be read has none."""
    tables_damaged: list[str] = field(default_factory=list)

    @property
    def missing_count(self) -> int:
        """Objects that are not there whole."""
        return self.presence[Presence.MISSING] + self.presence[Presence.WRONG_SIZE]

    @property
    def emulated_count(self) -> int:
        """Objects whose lock is kept by this program only."""
        return self.lock_modes[LockMode.EMULATED]

    @property
    def coverage_until(self) -> datetime | None:
        """Until when the store's own locks protect everything that was asked about."""
        dates = [one.locked_until for one in self.coverage.values()]
        known = [date for date in dates if date is not None]
        if self.tables_damaged or not known or len(known) != len(dates):
            return None
        return min(known)


def check_objects(
    access: Access,
    heads: Iterable[Head],
    *,
    now: datetime,
    on_progress: Callable[[int, int, str], None],
) -> ObjectsResult:
    """Ask the store about every object that these snapshots need."""
    result = ObjectsResult()
    needed = _Needed()
    try:
        for head in heads:
            try:
                needed.add(head, _references(access, head))
            except CorruptError as error:
                result.tables_damaged.append(f"snapshot {head.snapshot_id}: {error.message}")
                needed.forget(head)
        _ask(access.store, needed, now, result, on_progress)
        result.coverage = needed.coverage()
    finally:
        needed.close()
    return result


def _references(access: Access, head: Head) -> Iterator[Reference]:
    vault_id = access.trust.vault_id
    table, own = load_table(access.store, vault_id, head, on_tamper=access.on_tamper)
    yield from own
    yield from table.segments
    yield from iterate_references(access.store, vault_id, table, on_tamper=access.on_tamper)


def _ask(
    store: Store,
    needed: "_Needed",
    now: datetime,
    result: ObjectsResult,
    on_progress: Callable[[int, int, str], None],
) -> None:
    total = needed.size_bytes()
    moved = _MovedObjects(store)
    waiting: deque[tuple[_Row, Future[ObjectState]]] = deque()
    with ThreadPoolExecutor(REQUESTS_AT_ONCE, "objects") as pool:

        def settle() -> None:
            row, future = waiting.popleft()
            state = future.result()
            if state.presence is Presence.MOVED:
                state = moved.prove(row, state)
            _count(row, state, now, store.lock_mode, result)
            needed.note(row, state, store.lock_mode)
            on_progress(result.size_bytes, total, f"{result.checked} objects")

        try:
            for row in needed.rows():
                waiting.append((row, pool.submit(_state_of, store, row)))
                if len(waiting) >= 4 * REQUESTS_AT_ONCE:
                    settle()
            while waiting:
                settle()
        finally:
            for _, future in waiting:
                future.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    number: int
    name: str
    version_id: str
    size_bytes: int
    promised_until: datetime


def _count(
    row: _Row, state: ObjectState, now: datetime, mode: LockMode, result: ObjectsResult
) -> None:
    result.checked += 1
    result.size_bytes += row.size_bytes
    result.presence[state.presence] += 1
    result.moved_unread += state.unread
    if state.presence in {Presence.MISSING, Presence.WRONG_SIZE}:
        if len(result.bad) < LISTED_MAX:
            bad = BadObject(name=row.name, presence=state.presence, reason=state.reason)
            result.bad.append(bad)
        name = parse_name(row.name)
        if name.kind is Kind.PACK and len(result.bad_packs) < BAD_PACKS_MAX:
            result.bad_packs.add(name.digest)
        return
    result.lock_modes[state.lock_mode] += 1
    if is_short(state, row.promised_until, now, mode):
        result.unlocked_count += 1
        if len(result.unlocked) < LISTED_MAX:
            result.unlocked.append(
                UnlockedObject(
                    name=row.name,
                    promised_until=row.promised_until,
                    retain_until=state.retain_until,
                    lock_mode=state.lock_mode,
                )
            )


def _state_of(store: Store, row: _Row) -> ObjectState:
    """What the recorded version is, or the one that stands in for it."""
    presence = Presence.PRESENT
    version_id = row.version_id
    try:
        head = store.head(row.name, version_id)
    except ObjectMissingError:
        found = _other_version(store, row)
        if found is None:
            return ObjectState(presence=Presence.MISSING, reason="it is not in the vault")
        presence, version_id = Presence.MOVED, found
        head = store.head(row.name, version_id)
    if head.size_bytes != row.size_bytes:
        reason = f"it has {head.size_bytes} bytes instead of {row.size_bytes}"
        return ObjectState(presence=Presence.WRONG_SIZE, reason=reason)
    return ObjectState(
        presence=presence,
        lock_mode=head.lock_mode,
        retain_until=head.retain_until,
    )


def _other_version(store: Store, row: _Row) -> str | None:
    """Another version of the right size; one of a wrong size if there is no better."""
    versions = [
        version
        for version in store.list_versions(row.name)
        if version.name == row.name and not version.is_delete_marker
    ]
    versions.sort(key=lambda version: version.size_bytes != row.size_bytes)
    return versions[0].version_id if versions else None


class _MovedObjects:
    """Proves objects under other VersionIds by their bytes, as far as that is no full verify."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read_bytes = 0

    def prove(self, row: _Row, state: ObjectState) -> ObjectState:
        """The same state, or that the object is missing: no version holds its bytes."""
        if self._read_bytes + row.size_bytes > MOVED_READ_BYTES_MAX:
            return ObjectState(
                presence=Presence.MOVED,
                lock_mode=state.lock_mode,
                retain_until=state.retain_until,
                unread=True,
            )
        digest = parse_name(row.name).digest
        for version in self._store.list_versions(row.name):
            if version.name != row.name or version.size_bytes != row.size_bytes:
                continue
            if version.is_delete_marker:
                continue
            self._read_bytes += version.size_bytes
            try:
                sound = hash_version(self._store, version) == digest
                head = self._store.head(version.name, version.version_id)
            except CorruptError:
                continue  # it went while it was looked at, or cannot be read whole
            if sound:
                return ObjectState(
                    presence=Presence.MOVED,
                    lock_mode=head.lock_mode,
                    retain_until=head.retain_until,
                )
        return ObjectState(
            presence=Presence.MISSING,
            reason="the recorded version is gone and no other one holds its bytes",
        )


class _Needed:
    """The objects that snapshots need, and the answers, in a private temporary database."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.executescript(
            "create table objects (number integer primary key, name text, version text,"
            " size integer, promised_us integer, until_us integer, emulated_us integer,"
            " unique (name, version));"
            "create table needs (snapshot text, number integer, primary key (snapshot, number))"
            " without rowid;"
        )

    def add(self, head: Head, references: Iterable[Reference]) -> None:
        """Note what a snapshot needs; an object is promised as long as its longest snapshot."""
        promised_us = head.snapshot.retain_until_us
        for reference in references:
            number = self._database.execute(
                "insert into objects (name, version, size, promised_us) values (?, ?, ?, ?)"
                " on conflict do update set promised_us = max(promised_us, excluded.promised_us)"
                " returning number",
                (str(reference.name), reference.version_id, reference.size_bytes, promised_us),
            ).fetchone()[0]
            self._database.execute(
                "insert or ignore into needs values (?, ?)", (head.snapshot_id, number)
            )

    def forget(self, head: Head) -> None:
        """Give no coverage for a snapshot whose needs are not wholly known."""
        self._database.execute("delete from needs where snapshot = ?", (head.snapshot_id,))

    def size_bytes(self) -> int:
        """Bytes of all objects."""
        row = self._database.execute("select coalesce(sum(size), 0) from objects").fetchone()
        return int(row[0])

    def rows(self) -> Iterator[_Row]:
        """All objects in the order in which they were uploaded."""
        last = 0
        while True:
            rows = self._database.execute(
                "select number, name, version, size, promised_us from objects where number > ?"
                " order by number limit 1000",
                (last,),
            ).fetchall()
            if not rows:
                return
            for number, name, version, size, promised_us in rows:
                yield _Row(
                    number=number,
                    name=name,
                    version_id=version,
                    size_bytes=size,
                    promised_until=datetime.fromtimestamp(promised_us / 1_000_000, UTC),
                )
                last = number

    def note(self, row: _Row, state: ObjectState, mode: LockMode) -> None:
        """Keep the lock's date where a lock of this mode, or an emulated one, stands behind it."""
        until = state.retain_until
        until_us = None if until is None else round(until.timestamp() * 1_000_000)
        emulated = state.lock_mode is LockMode.EMULATED
        locked = not emulated and not is_weaker(state.lock_mode, mode)
        self._database.execute(
            "update objects set until_us = ?, emulated_us = ? where number = ?",
            (until_us if locked else None, until_us if emulated else None, row.number),
        )

    def coverage(self) -> dict[str, SnapshotCoverage]:
        """The lock coverage of each snapshot."""
        rows = self._database.execute(
            "select snapshot, count(*), sum(size), count(until_us), min(until_us),"
            " count(coalesce(until_us, emulated_us)), min(coalesce(until_us, emulated_us)),"
            " count(emulated_us) from needs join objects using (number) group by snapshot"
        )
        return {
            snapshot: SnapshotCoverage(
                objects=objects,
                size_bytes=size,
                locked_until=_moment(until_us) if locked == objects else None,
                emulated_until=_moment(any_us) if emulated and any_locked == objects else None,
            )
            for snapshot, objects, size, locked, until_us, any_locked, any_us, emulated in rows
        }

    def close(self) -> None:
        """Drop the tables."""
        self._database.close()


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else datetime.fromtimestamp(microseconds / 1_000_000, UTC)
