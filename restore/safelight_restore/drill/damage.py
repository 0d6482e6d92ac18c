"""From damage to what it means: which packs are bad, and which files they hold.

A drill reads a sample; a damaged pack usually holds more than the file that brought it to light.
The invariant: a pack is called bad only when the store has it not whole, or its bytes were held
against its name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from safelight_restore.drill.draw import OnDamage, entries_of
from safelight_restore.drill.index import FileIndex, SampledFile
from safelight_vault.blocks import hash_version
from safelight_vault.errors import CorruptError
from safelight_vault.format.manifest import Entry, EntryKind, Hole
from safelight_vault.format.references import Reference
from safelight_vault.reader import OpenSnapshot
from safelight_vault.store import Store

SUSPECT_PACKS_MAX = 64
"""Most packs that are read to find the damaged ones; ``verify`` is the command that reads all."""


def find_damaged_packs(
    store: Store,
    snapshots: Sequence[OpenSnapshot],
    damaged: Iterable[SampledFile],
    *,
    known: Collection[bytes],
) -> set[bytes]:
    """Of the packs that damaged files of the sample need, those of which no version is sound.

    Packs in ``known`` need not be read again.
    """
    suspects: dict[bytes, Reference] = {}
    for file in damaged:
        for pack in _packs_of(file.entry) - suspects.keys():
            reference = snapshots[file.source].references.find(pack)
            if reference is not None and pack not in known:
                suspects[pack] = reference
        if len(suspects) >= SUSPECT_PACKS_MAX:
            break
    return {pack for pack, reference in suspects.items() if not _is_sound(store, reference)}


def _packs_of(entry: Entry) -> set[bytes]:
    return {extent.pack for extent in entry.extents if not isinstance(extent, Hole)}


def _is_sound(store: Store, reference: Reference) -> bool:
    name = str(reference.name)
    for version in store.list_versions(name):
        if version.name != name or version.is_delete_marker:
            continue
        if version.size_bytes != reference.size_bytes:
            continue
        try:
            if hash_version(store, version) == reference.name.digest:
                return True
        except CorruptError:
            continue  # it went while it was looked at, or cannot be read whole
    return False


def note_files_in(
    bad_packs: Mapping[bytes, str],
    source: int,
    snapshot: OpenSnapshot,
    index: FileIndex,
    *,
    on_damage: OnDamage,
) -> None:
    """Mark every file of a snapshot that needs one of these packs, given with what is wrong."""
    for entry in entries_of(snapshot, on_damage):
        if entry.kind is not EntryKind.FILE:
            continue
        bad = sorted(_packs_of(entry) & bad_packs.keys())
        if bad:
            reason = f"pack {bad[0].hex()[:16]} is {bad_packs[bad[0]]}"
            index.note_damage(source, entry.path, entry.size_bytes, reason)
