"""Verification: every object against its name, every chunk against its id, every file against its
SHA-256, every DICOM file against the parser.

Two passes. The first reads whole objects, packs in oldest-verified-first order, so that a flip of
any byte anywhere, padding included, is found. The second rebuilds every file of the snapshots from
its places and hashes it, each distinct file once. The invariant: what was not read and compared is
not counted as verified, and no cache stands between the verdict and the store.
"""

import functools
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from safelight_restore.access import Access, Heads
from safelight_restore.inventory import Inventory, ListedObject
from safelight_restore.ledger import Ledger, VerifyResult
from safelight_restore.pack_check import PackCheck
from safelight_vault.blocks import RunKeyRing, hash_version
from safelight_vault.dicom import parse_head
from safelight_vault.errors import CorruptError, ObjectMissingError, VaultError
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.crypto import VerifyingKey
from safelight_vault.format.enrolment import Certificate, decode_certificate
from safelight_vault.format.manifest import DicomState, Entry, EntryKind, Hole, encode_extents
from safelight_vault.format.names import Kind
from safelight_vault.reader import (
    Damage,
    Head,
    OpenSnapshot,
    iterate_references,
    load_certificate,
    load_configuration,
    load_table,
)

LISTED_MAX = 10_000
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or object that is not as it must be."""

    path: bytes
    reason: str


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What a verification found; ``objects`` were hashed whole, ``files`` rebuilt and hashed."""

    objects: int = 0
    object_bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    dicom_parsed: int = 0
    dicom_failed: int = 0
    packs_left: int = 0
    corrupt: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)
    problems: int = 0

    def add(self, path: bytes, error: VaultError) -> None:
        """Note what is wrong with a file or object."""
        self.problems += 1
        into = self.missing if isinstance(error, ObjectMissingError) else self.corrupt
        if len(into) < LISTED_MAX:
            into.append(Problem(path, error.message))

    @property
    def exit_code(self) -> int:
        """0 or 3."""
        return CorruptError.exit_code if self.problems or self.dicom_failed else 0


OnProgress = Callable[[int, int, str], None]


class Verifier:
    """One verification of a vault."""

    def __init__(
        self,
        access: Access,
        ledger: Ledger | None,
        *,
        now: Callable[[], datetime],
        on_progress: OnProgress,
        deadline: Callable[[], bool],
    ) -> None:
        self._access = access
        self._ledger = ledger
        self._now = now
        self._on_progress = on_progress
        self._deadline = deadline
        self._result = Verdict()
        self._agent_keys: dict[bytes, VerifyingKey] = {}
        self._run_keys = RunKeyRing(access.store, access.trust.vault_id, access.identities)

    def run(self, heads: Heads, chosen: tuple[Head, ...]) -> Verdict:
        """Verify all objects, what every snapshot needs, then the files of those chosen."""
        inventory = Inventory(self._access.store.list_versions(""))
        try:
            self._all_objects(inventory)
            for damaged in heads.damaged:
                name = str(damaged.name.name).encode()
                self._result.add(name, CorruptError(damaged.reason))
            for head in heads.good:
                self._references(head, inventory)
        finally:
            inventory.close()
        self._files(chosen)
        return self._result

    # Objects

    def _all_objects(self, inventory: Inventory) -> None:
        _, total = inventory.count()
        for kind in Kind:
            if kind is not Kind.PACK:
                for listed in inventory.objects(kind):
                    self._object(listed, total)
        self._packs(inventory, total)
        for name in inventory.foreign:
            self._result.add(name.encode(), CorruptError("not an object of a vault"))
        for name in inventory.markers:
            self._result.add(name.encode(), CorruptError("hidden by a delete marker"))

    def _object(self, listed: ListedObject, total: int) -> bytes | None:
        """Hash every version; gives the bytes of a matching one."""
        found: bytes | None = None
        for version in listed.versions:
            try:
                data = self._access.store.get(version.name, version.version_id)
                self._result.object_bytes += len(data)
                if hashlib.sha256(data).digest() != listed.name.digest:
                    raise CorruptError(
                        f"version {version.version_id} holds other bytes than its name says"
                    )
                found = data
            except CorruptError as error:
                self._result.add(version.name.encode(), error)
        self._result.objects += 1
        self._on_progress(self._result.object_bytes, total, f"{self._result.objects} objects")
        return found

    def _packs(self, inventory: Inventory, total: int) -> None:
        try:
            keys = self._dedup_keys()
        except VaultError as error:
            # Without the dedup key chunks cannot be compared with their ids; files still can.
            self._result.add(b"config", error)
            keys = None
        packs = {one.name.digest: one for one in inventory.objects(Kind.PACK)}
        order = list(packs)
        if self._ledger is not None:
            order = self._ledger.order(packs, now=self._now())
        for number, digest in enumerate(order):
            if self._deadline():
                self._result.packs_left = len(order) - number
                return
            before = self._result.problems
            self._pack(packs[digest], total, keys)
            if self._ledger is not None:
                sound = self._result.problems == before
                result = VerifyResult.SOUND if sound else VerifyResult.CORRUPT
                self._ledger.record(digest, result, now=self._now())

    def _dedup_keys(self) -> DedupKeys:
        access = self._access
        configuration, _ = load_configuration(
            access.store, access.trust, on_tamper=access.on_tamper
        )
        error: VaultError | None = None
        for identity in access.identities.values():
            try:
                key = configuration.open_dedup_key(identity, access.trust.vault_id)
                return DedupKeys.derive(key, access.trust.vault_id)
            except VaultError as failure:
                error = failure
        raise error or CorruptError("no identity is at hand")

    def _pack(self, listed: ListedObject, total: int, keys: DedupKeys | None) -> None:
        for version in listed.versions:
            try:
                if keys is None:
                    sound = hash_version(self._access.store, version) == listed.name.digest
                else:
                    check = PackCheck(self._access.store, version, keys, self._run_keys)
                    sound = check.run(self._agent_key) == listed.name.digest
                if not sound:
                    raise CorruptError(
                        f"version {version.version_id} holds other bytes than its name says"
                    )
            except CorruptError as error:
                self._result.add(version.name.encode(), error)
            self._result.object_bytes += version.size_bytes
        self._result.objects += 1
        self._on_progress(self._result.object_bytes, total, f"{self._result.objects} objects")

    def _agent_key(self, agent_id: bytes) -> VerifyingKey:
        if agent_id not in self._agent_keys:
            found = load_certificate(self._access.store, agent_id, self._decode_certificate)
            if found is None:
                raise CorruptError("written by an agent that is not enrolled")
            self._agent_keys[agent_id] = found[1].verifying_key
        return self._agent_keys[agent_id]

    def _decode_certificate(self, data: bytes) -> Certificate:
        return decode_certificate(
            data,
            vault_id=self._access.trust.vault_id,
            administrator_fingerprint=self._access.trust.administrator_fingerprint,
        )

    def _references(self, head: Head, inventory: Inventory) -> None:
        access = self._access
        try:
            table, own = load_table(
                access.store, access.trust.vault_id, head, on_tamper=access.on_tamper
            )
            for reference in [*own, *table.segments]:
                self._require(inventory.holds(reference), str(reference.name))
            for reference in iterate_references(
                access.store, access.trust.vault_id, table, on_tamper=access.on_tamper
            ):
                self._require(inventory.holds(reference), str(reference.name))
        except CorruptError as error:
            self._result.add(str(head.name).encode(), error)

    def _require(self, present: bool, name: str) -> None:
        if not present:
            self._result.add(name.encode(), ObjectMissingError("it is not in the vault"))

    # Files

    def _files(self, heads: tuple[Head, ...]) -> None:
        seen = _Seen()
        try:
            for head in reversed(heads):
                try:
                    with closing(self._access.open(head)) as snapshot:
                        self._snapshot(snapshot, seen)
                except CorruptError as error:
                    self._result.add(str(head.name).encode(), error)
        finally:
            seen.close()

    def _snapshot(self, snapshot: OpenSnapshot, seen: "_Seen") -> None:
        source = snapshot.root.source_name.encode()
        for entry in snapshot.entries_or_damage():
            path = source + b"/" + entry.path
            if isinstance(entry, Damage):
                self._result.add(path, CorruptError(entry.reason))
            elif entry.kind is EntryKind.FILE:
                outcome = seen.outcome(entry, functools.partial(self._file, snapshot))
                self._count(path, entry, outcome)
        try:
            for _ in snapshot.instances():
                pass
            for _ in snapshot.failures():
                pass
        except CorruptError as error:
            self._result.add(source + b"/", error)

    def _count(self, path: bytes, entry: Entry, outcome: "FileOutcome") -> None:
        """Count a file; one whose bytes and places were verified before has their outcome."""
        if outcome.error is not None:
            self._result.add(path, outcome.error)
            return
        self._result.files += 1
        self._result.file_bytes += entry.size_bytes
        if entry.dicom is DicomState.PARSED:
            if outcome.parsed:
                self._result.dicom_parsed += 1
            else:
                self._result.dicom_failed += 1
        self._on_progress(self._result.file_bytes, 0, f"{self._result.files} files")

    def _file(self, snapshot: OpenSnapshot, entry: Entry) -> "FileOutcome":
        """Read a file from its places, hash it, and parse it if it is DICOM."""
        try:
            digest = hashlib.sha256()
            for piece in _pieces(snapshot, entry):
                digest.update(piece)
            if digest.digest() != entry.sha256:
                raise CorruptError("its content does not have the SHA-256 that was recorded")
            parsed = False
            if entry.dicom is DicomState.PARSED:
                state, _ = parse_head(_reader(snapshot, entry), entry.size_bytes)
                parsed = state is DicomState.PARSED
        except CorruptError as error:
            return FileOutcome(error, parsed=False)
        return FileOutcome(None, parsed=parsed)


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one distinct file: an error, or whether it parsed as DICOM."""

    error: CorruptError | None
    parsed: bool


def _pieces(snapshot: OpenSnapshot, entry: Entry) -> Iterator[bytes | memoryview]:
    for extent in entry.extents:
        if isinstance(extent, Hole):
            left = extent.length
            while left:
                yield memoryview(_ZEROS)[: min(left, len(_ZEROS))]
                left -= min(left, len(_ZEROS))
        else:
            yield snapshot.blocks.load_chunk(extent)


def _reader(snapshot: OpenSnapshot, entry: Entry) -> Callable[[int, int], bytes]:
    """Random access to a file's content in the vault, for the DICOM parser."""
    starts = []
    position = 0
    for extent in entry.extents:
        starts.append((position, extent))
        position += extent.length

    def read(offset: int, length: int) -> bytes:
        parts = []
        for start, extent in starts:
            low, high = max(offset, start), min(offset + length, start + extent.length)
            if low < high:
                if isinstance(extent, Hole):
                    parts.append(bytes(high - low))
                else:
                    chunk = snapshot.blocks.load_chunk(extent)
                    parts.append(chunk[low - start : high - start])
        return b"".join(parts)

    return read


class _Seen:
    """The outcomes of distinct files (same bytes at same places), in a temporary table on disk."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute(
            "create table seen (key blob primary key, error text, missing integer, parsed integer)"
            " without rowid"
        )

    def outcome(self, entry: Entry, verify: Callable[[Entry], FileOutcome]) -> FileOutcome:
        """The outcome of the file, verified now or before in this run."""
        key = hashlib.sha256(entry.sha256 + encode_extents(entry.extents)).digest()[:16]
        row = self._database.execute(
            "select error, missing, parsed from seen where key = ?", (key,)
        ).fetchone()
        if row is not None:
            kind = ObjectMissingError if row[1] else CorruptError
            return FileOutcome(None if row[0] is None else kind(row[0]), parsed=bool(row[2]))
        outcome = verify(entry)
        error = outcome.error
        self._database.execute(
            "insert into seen values (?, ?, ?, ?)",
            (
                key,
                None if error is None else error.message,
                isinstance(error, ObjectMissingError),
                outcome.parsed,
            ),
        )
        return outcome

    def close(self) -> None:
        """Drop the table."""
        self._database.close()
