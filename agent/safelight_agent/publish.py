"""Publishing: page trees, reference table, locks proved, and at last the snapshot.

The invariant: the snapshot's put is the only commit point, and it comes after everything that the
snapshot names is in the vault under a lock that lasts as long as the snapshot requires.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from safelight_agent.coverage import Coverage, Requirement, from_microseconds
from safelight_agent.file_table import FileTable
from safelight_agent.packing import Packer
from safelight_agent.state import PackRow, State
from safelight_agent.state_database import StateDamagedError
from safelight_agent.upload import WriterKeys
from safelight_vault.errors import CorruptError, LockRefusedError
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.manifest import replace_packs, spill_extents
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pack import Stream
from safelight_vault.format.pages import (
    ROOT_ENTRIES_MAX,
    Pair,
    TreeRoot,
    inner_level,
    leaf_level,
)
from safelight_vault.format.place import Place
from safelight_vault.format.references import (
    Reference,
    Table,
    encode_segment,
    encode_table,
    segments_of,
)
from safelight_vault.format.snapshot import Snapshot, encode_snapshot
from safelight_vault.objects import ensure_lock, ensure_object, named, put_object
from safelight_vault.store import Store


class NeededPacks:
    """The packs that a snapshot names, as a bitmap over the state's row numbers."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, row: int) -> None:
        """Name a pack."""
        byte, bit = divmod(row, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        self._bits[byte] |= 1 << bit

    def __len__(self) -> int:
        return sum(byte.bit_count() for byte in self._bits)

    def __contains__(self, row: int) -> bool:
        byte, bit = divmod(row, 8)
        return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)


@dataclass(frozen=True, slots=True)
class Trees:
    """The three page trees of a snapshot, and the packs that they and their files lie in."""

    manifest: TreeRoot
    catalogue: TreeRoot
    failures: TreeRoot
    needed: NeededPacks


class TreeBuilder:
    """Writes the page trees of one run; all its pages go through the packer like any chunk."""

    def __init__(self, state: State, packer: Packer, keys: DedupKeys) -> None:
        self._state = state
        self._packer = packer
        self._keys = keys
        self._needed = NeededPacks()
        self._names: dict[bytes, bytes] = {}

    def build(self, files: FileTable) -> Trees:
        """The trees of what ``files`` holds of this run."""
        self._packer.finish()
        self._spill(files.values())
        self._packer.finish()
        levels = [
            leaf_level(self._manifest(files.values()), self._store_page),
            leaf_level(files.instances(), self._store_page),
            leaf_level(
                ((key, reason.encode()) for key, reason in files.failures()), self._store_page
            ),
        ]
        roots = self._grow([pages for _, pages in levels])
        manifest, catalogue, failures = (
            TreeRoot(depth, count, tuple(pages))
            for (count, _), (depth, pages) in zip(levels, roots, strict=True)
        )
        return Trees(manifest, catalogue, failures, self._needed)

    def _grow(
        self, levels: list[list[tuple[bytes, bytes]]]
    ) -> list[tuple[int, list[tuple[bytes, Place]]]]:
        """Settle all trees level by level: places are known once the pages' pack is finished."""
        depth = [0] * len(levels)
        while True:
            self._packer.finish()
            placed = [[(key, self._place(handle)) for key, handle in pages] for pages in levels]
            if all(len(pages) <= ROOT_ENTRIES_MAX for pages in placed):
                return list(zip(depth, placed, strict=True))
            for at, pages in enumerate(placed):
                if len(pages) > ROOT_ENTRIES_MAX:
                    depth[at] += 1
                    levels[at] = inner_level(pages, depth[at], self._store_page)

    def _store_page(self, page: bytes) -> bytes:
        chunk_id = self._keys.chunk_id(page)
        self._packer.add(chunk_id, page, Stream.METADATA)
        return chunk_id

    def _place(self, chunk_id: bytes) -> Place:
        place = self._state.find_chunk(chunk_id)
        if place is None:
            raise StateDamagedError("a page that was just stored has no place")
        return Place(
            self._name(place.pack),
            place.block_number,
            place.block_offset,
            place.block_length,
            place.offset,
            place.length,
        )

    def _name(self, pack_id: bytes) -> bytes:
        digest = self._names.get(pack_id)
        if digest is None:
            pack = self._state.pack(pack_id)
            if pack is None or pack.digest is None:
                raise StateDamagedError("a pack that was just finished has no name")
            digest = pack.digest
            self._needed.add(pack.row)
            self._names[pack_id] = digest
        return digest

    def _spill(self, values: Iterable[Pair]) -> None:
        """Store the extent lists of very long files, which must have places before the entries."""

        def store(chunk: bytes) -> Place:
            self._store_page(chunk)
            return Place(bytes(32), 0, 0, 0, 0, 1)  # not used: only the chunk is wanted here

        for _, value in values:
            spill_extents(replace_packs(value, self._name), store)

    def _manifest(self, values: Iterable[Pair]) -> Iterator[Pair]:
        def stored(chunk: bytes) -> Place:
            return self._place(self._keys.chunk_id(chunk))

        for key, value in values:
            yield key, spill_extents(replace_packs(value, self._name), stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A committed snapshot."""

    name: ObjectName
    bytes_stored: int


class Publisher:
    """Writes references, table and snapshot, in that order."""

    def __init__(
        self,
        *,
        store: Store,
        state: State,
        keys: WriterKeys,
        coverage: Coverage,
        requirement: Requirement,
    ) -> None:
        self._store = store
        self._state = state
        self._keys = keys
        self._coverage = coverage
        self._requirement = requirement
        self._bytes_stored = 0

    def publish(
        self,
        needed: NeededPacks,
        others: list[Reference],
        source_id: bytes,
        sequence: int,
        snapshot_of: Callable[[Reference], Snapshot],
    ) -> Published:
        """Prove the locks, write the table, commit the snapshot."""
        packs = self._needed_packs(needed)
        for reference in others:
            ensure_lock(
                self._store,
                reference.name,
                reference.version_id,
                self._requirement.required_until,
            )
        table = self._put_table([*others, *packs], source_id, sequence)
        data = encode_snapshot(self._keys.vault_id, snapshot_of(table), self._keys.signing_key)
        name = named(
            Kind.SNAPSHOT, data, owner=self._keys.agent_id, source=source_id, sequence=sequence
        )
        reference = put_object(self._store, name, [data], self._requirement.target_until)
        self._read_back(reference, data)
        return Published(name=name, bytes_stored=self._bytes_stored + len(data))

    def lock_coverage(self, needed: NeededPacks) -> datetime:
        """The earliest date at which the lock of a needed pack ends, as last read back."""
        known = (
            from_microseconds(pack.retain_until_us)
            for pack in self._state.uploaded_packs()
            if pack.row in needed
        )
        return min(known, default=self._requirement.target_until)

    def _needed_packs(self, needed: NeededPacks) -> list[Reference]:
        packs: list[PackRow] = sorted(
            (pack for pack in self._state.uploaded_packs() if pack.row in needed),
            key=lambda pack: pack.row,
        )
        if len({pack.row for pack in packs}) != len(needed):
            raise StateDamagedError("an index of the state file lost packs that are needed")
        references = []
        for pack in packs:
            if not self._coverage.covers(pack.pack_id):
                raise LockRefusedError(
                    f"pack {pack.row} is not locked until "
                    f"{self._requirement.required_until:%Y-%m-%d}: the snapshot is not published"
                )
            if pack.digest is not None:
                name = ObjectName(kind=Kind.PACK, owner=self._keys.agent_id, digest=pack.digest)
                references.append(
                    Reference(name, pack.version_id, pack.size_bytes, pack.header_digest)
                )
        return references

    def _put_table(self, references: list[Reference], source_id: bytes, sequence: int) -> Reference:
        segments = []
        for segment in segments_of(references):
            segments.extend(self._put_segment(segment))
        table = Table(
            agent_id=self._keys.agent_id,
            source_id=source_id,
            sequence=sequence,
            object_count=len(references),
            size_bytes=sum(reference.size_bytes for reference in references),
            segments=tuple(segments),
        )
        data = encode_table(self._keys.vault_id, table, self._keys.signing_key)
        return self._ensure(Kind.TABLE, data)

    def _put_segment(self, segment: list[Reference]) -> list[Reference]:
        """Put a part of the table; in two halves where its name is held by damaged bytes.

        The name of a segment is that of its content, so the damage would stand in the way of every
        later run for as long as its lock lasts.
        """
        try:
            return [self._ensure(Kind.REFERENCES, encode_segment(self._keys.vault_id, segment))]
        except CorruptError:
            middle = len(segment) // 2
            if not middle:
                raise
            return [
                self._ensure(Kind.REFERENCES, encode_segment(self._keys.vault_id, half))
                for half in (segment[:middle], segment[middle:])
            ]

    def _ensure(self, kind: Kind, data: bytes) -> Reference:
        name = named(kind, data, owner=self._keys.agent_id)
        self._bytes_stored += len(data)
        reference = ensure_object(self._store, name, data, self._requirement.target_until)
        self._read_back(reference, data)
        return reference

    def _read_back(self, reference: Reference, data: bytes) -> None:
        """Without any of these small objects a snapshot is lost: do not only trust the store."""
        found = self._store.get(str(reference.name), reference.version_id, length=len(data))
        if found != data:
            raise CorruptError(f"{reference.name}: the store holds other bytes than it was given")
