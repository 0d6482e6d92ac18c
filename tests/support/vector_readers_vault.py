"""Vectors of whole vaults, laid into a store in memory and read back the way a restore does."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from memory_store import MemoryStore
from safelight_vault.errors import CorruptError
from safelight_vault.format.manifest import Entry, EntryKind, Hole
from safelight_vault.key_files import Trust
from safelight_vault.reader import (
    Head,
    OpenSnapshot,
    iterate_references,
    list_heads,
    load_configuration,
    load_head,
    open_snapshot,
)
from vector_context import Value, administrator, identities, vault_of
from vector_index import Vector, read_file, read_table
from vector_readers_packs import decoded_table, reference_value
from vector_readers_pages import entry_value
from vector_readers_snapshots import counts_value, envelope_value

MOMENT = datetime(2026, 11, 1, tzinfo=UTC)


class _VersionIds:
    """Gives the ids that the objects had where the vault was made."""

    def __init__(self) -> None:
        self.next = ""

    def __call__(self) -> str:
        return self.next


def _fill(objects: list[dict[str, Any]], damage: dict[str, int]) -> MemoryStore:
    ids = _VersionIds()
    store = MemoryStore(now=lambda: MOMENT, new_version_id=ids)
    for item in objects:
        ids.next = item["version_id"]
        data = read_file(item["file"])
        store.put(
            item["name"],
            [data],
            sha256=hashlib.sha256(data).digest(),
            retain_until=MOMENT + timedelta(days=1),
        )
    for name, position in damage.items():
        store.damage(name, position=position)
    return store


def vault_objects(vector: Vector) -> list[dict[str, Any]]:
    """The objects of a vault as the vector wants them: some left out, some added."""
    without = set(vector.given.get("without", []))
    objects = read_table(vector.file)["object"] + vector.given.get("add", [])
    chosen = [item for item in objects if item["name"] not in without]
    if vector.given.get("copied"):
        # In another bucket, every object has another VersionId.
        return [{**item, "version_id": f"copy-{at}"} for at, item in enumerate(chosen)]
    return chosen


def _content(snapshot: OpenSnapshot, entry: Entry) -> Iterator[bytes]:
    for extent in entry.extents:
        if isinstance(extent, Hole):
            yield bytes(extent.length)
        else:
            yield snapshot.blocks.load_chunk(extent)


def _entries(snapshot: OpenSnapshot) -> Iterator[Value]:
    for entry in snapshot.entries():
        if entry.kind is EntryKind.FILE:
            digest = hashlib.sha256(b"".join(_content(snapshot, entry))).digest()
            if digest != entry.sha256:
                raise CorruptError("a file is not what was backed up")
        yield entry_value(entry)


def _instances(snapshot: OpenSnapshot) -> Iterator[Value]:
    for found in snapshot.instances():
        names = [name for name in type(found).__slots__ if name != "path"]
        yield {"path": found.path.hex(), **{name: getattr(found, name) for name in names}}


def _snapshot(snapshot: OpenSnapshot, head: Head) -> Value:
    return {
        "name": str(head.name),
        **envelope_value(head.snapshot),
        **counts_value(snapshot.root),
        "entry": list(_entries(snapshot)),
        "instance": list(_instances(snapshot)),
        "failure": [{"path": path.hex(), "reason": reason} for path, reason in snapshot.failures()],
    }


def read_vault(vector: Vector) -> Value:
    """Every byte of every file of every snapshot, in the order of the chain."""
    store = _fill(vault_objects(vector), vector.given.get("flip", {}))
    trust = Trust(
        vault_id=vault_of(vector.given), administrator_fingerprint=administrator(vector.given)
    )
    load_configuration(store, trust)
    snapshots = []
    for name in list_heads(store):
        head = load_head(store, name, trust)
        with closing(open_snapshot(store, head, trust, identities(vector.given))) as snapshot:
            snapshots.append(_snapshot(snapshot, head))
    return {"snapshot": snapshots}


def read_table_with_segments(vector: Vector) -> Value:
    """A table and its segments: count and size are the true sums."""
    store = _fill(vector.given["objects"], {})
    found = iterate_references(store, vault_of(vector.given), decoded_table(vector))
    return {"references": [reference_value(reference) for reference in found]}
