"""Snapshots made by hand in a memory store: every page its own block, so that damage can be aimed.

Where ``vaults`` runs the whole agent, this writes exactly the objects that a test asks for, in the
order of writes, and lets it spoil the statements that they make about each other.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from keys import (
    MOMENT_US,
    SOURCE_ID,
    VAULT_ID,
    CountingRandom,
    administrator_fingerprint,
    agent_id,
    certificate,
    fixed_bytes,
    run_key,
    signing_key,
)
from memory_store import MemoryStore
from pack_samples import SamplePack, build_pack
from safelight_vault.format.manifest import Entry, encode_entry, entry_key
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pages import Pair, TreeRoot, encode_page
from safelight_vault.format.place import Place
from safelight_vault.format.references import Reference, Table, encode_segment, encode_table
from safelight_vault.format.snapshot import (
    NO_PREDECESSOR,
    RetentionClass,
    Root,
    RootContext,
    Snapshot,
    SourceKind,
    encode_root,
    encode_snapshot,
)
from safelight_vault.key_files import Trust
from safelight_vault.objects import named, put_object
from safelight_vault.reader import HeadName

NOW = datetime(2026, 9, 21, tzinfo=UTC)
RETAIN_UNTIL = NOW + timedelta(days=1)
TRUST = Trust(vault_id=VAULT_ID, administrator_fingerprint=administrator_fingerprint())
EMPTY = TreeRoot(0, 0, ())


class CountingStore(MemoryStore):
    """A memory store that counts the range reads and listings it is asked for."""

    def __init__(self) -> None:
        numbers = itertools.count()
        super().__init__(now=lambda: NOW, new_version_id=lambda: f"v{next(numbers)}")
        self.reads = 0

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Read a range."""
        self.reads += 1
        return super().get(name, version_id, offset=offset, length=length)


def put_pack(store: MemoryStore, pack: SamplePack) -> Reference:
    """Put a pack as its agent does; gives the reference that a signed table would hold."""
    name = ObjectName(kind=Kind.PACK, owner=agent_id(), digest=pack.digest)
    placed = put_object(store, name, pack.body, RETAIN_UNTIL)
    return replace(placed, header_digest=pack.header_digest)


def chunk_places(pack: SamplePack) -> list[Place]:
    """The place of each chunk of a pack, in order."""
    return [Place(pack.digest, *where) for _, *where in pack.directory.places()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """What a snapshot made by hand says wrongly of itself; the default is nothing."""

    table_sequence: int = 1
    objects_too_many: int = 0
    without_pack: bool = False


def tree_of(pack: SamplePack, pages: Sequence[list[Pair]]) -> TreeRoot:
    """The root of a tree whose pages are the blocks of a pack, in order."""
    keys = [page[0][0] for page in pages]
    places = chunk_places(pack)
    return TreeRoot(0, sum(map(len, pages)), tuple(zip(keys, places, strict=True)))


def entry_pages(*pages: Sequence[Entry]) -> list[list[Pair]]:
    """The pages of a manifest that holds these entries."""
    return [[(entry_key(entry.path), encode_entry(entry)) for entry in page] for page in pages]


def pages_pack(pages: Sequence[list[Pair]], label: str = "pages") -> SamplePack:
    """A pack that holds each page in a block of its own."""
    return build_pack(CountingRandom(label), blocks=[[encode_page(page)] for page in pages])


def commit(
    store: MemoryStore, manifest: Sequence[list[Pair]], wrong: Wrong | None = None
) -> HeadName:
    """Put a pack of manifest pages, then segment, table and snapshot over it."""
    wrong = wrong or Wrong()
    pack = pages_pack(manifest)
    listed = [] if wrong.without_pack else [put_pack(store, pack)]
    segment = encode_segment(VAULT_ID, listed)
    name = named(Kind.REFERENCES, segment, owner=agent_id())
    segments = (put_object(store, name, [segment], RETAIN_UNTIL),)
    table = Table(
        agent_id=agent_id(),
        source_id=SOURCE_ID,
        sequence=wrong.table_sequence,
        object_count=len(listed) + wrong.objects_too_many,
        size_bytes=sum(each.size_bytes for each in listed),
        segments=segments,
    )
    data = encode_table(VAULT_ID, table, signing_key())
    name = named(Kind.TABLE, data, owner=agent_id())
    snapshot = _snapshot(tree_of(pack, manifest), put_object(store, name, [data], RETAIN_UNTIL))
    data = encode_snapshot(VAULT_ID, snapshot, signing_key())
    name = named(Kind.SNAPSHOT, data, owner=agent_id(), source=SOURCE_ID, sequence=1)
    placed = put_object(store, name, [data], RETAIN_UNTIL)
    return HeadName(name, placed.version_id, placed.size_bytes)


def _snapshot(manifest: TreeRoot, table: Reference) -> Snapshot:
    root = Root(
        source_name="archive",
        source_kind=SourceKind.TREE,
        started_us=MOMENT_US,
        files=0,
        bytes=0,
        failed_files=0,
        vanished_files=0,
        skipped_files=0,
        manifest=manifest,
        catalogue=EMPTY,
        failures=EMPTY,
    )
    context = RootContext(agent_id(), SOURCE_ID, 1)
    return Snapshot(
        agent_id=agent_id(),
        source_id=SOURCE_ID,
        sequence=1,
        predecessor=NO_PREDECESSOR,
        created_us=MOMENT_US,
        retention_class=RetentionClass.DAILY,
        retain_until_us=MOMENT_US + 10**12,
        complete=True,
        suspect=False,
        checkpoint=False,
        table=table,
        certificate=certificate(),
        root=encode_root(root, run_key(), fixed_bytes("body id"), context),
    )
