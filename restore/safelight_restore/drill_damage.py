"""From damage to what it means: which packs are bad, and which files and studies they hold.

A drill reads a sample; a damaged pack usually holds more than the file that brought it to light.
The invariant: a pack is called bad only when its bytes were compared with its name.
"""

from collections.abc import Collection, Mapping, Sequence

from safelight_restore.drill_index import FileIndex
from safelight_vault.blocks import hash_version
from safelight_vault.errors import CorruptError
from safelight_vault.format.manifest import EntryKind, Hole
from safelight_vault.format.references import Reference
from safelight_vault.reader import Damage, OpenSnapshot
from safelight_vault.store import Store

SUSPECT_FILES_MAX = 200
SUSPECT_PACKS_MAX = 64
"""Most packs that are read to find the damaged ones; ``verify`` is the command that reads all."""


def find_bad_packs(
    store: Store,
    snapshots: Sequence[OpenSnapshot | None],
    index: FileIndex,
    known: Collection[bytes],
) -> set[bytes]:
    """Of the packs that damaged files of the sample need, those of which no version is sound."""
    suspects: dict[bytes, Reference] = {}
    for number, snapshot in enumerate(snapshots):
        if snapshot is None:
            continue
        for path in index.sampled_damage(number, SUSPECT_FILES_MAX):
            for pack in _packs_of(snapshot, path):
                reference = snapshot.references.find(pack)
                if reference is not None and pack not in known:
                    suspects.setdefault(pack, reference)
    checked = list(suspects.items())[:SUSPECT_PACKS_MAX]
    return {pack for pack, reference in checked if not _is_sound(store, reference)}


def _packs_of(snapshot: OpenSnapshot, path: bytes) -> set[bytes]:
    try:
        entry = snapshot.entry(path)
    except CorruptError:
        return set()
    extents = entry.extents if entry is not None else ()
    return {extent.pack for extent in extents if not isinstance(extent, Hole)}


def _is_sound(store: Store, reference: Reference) -> bool:
    for version in store.list_versions(str(reference.name)):
        if version.name != str(reference.name) or version.is_delete_marker:
            continue
        if version.size_bytes != reference.size_bytes:
            continue
        try:
            if hash_version(store, version) == reference.name.digest:
                return True
        except CorruptError:
            continue  # it went, or cannot be read whole: not sound
    return False


def note_files_in(
    bad_packs: Mapping[bytes, str], source: int, snapshot: OpenSnapshot, index: FileIndex
) -> None:
    """Mark every file of a snapshot that needs one of these packs, given with what is wrong."""
    for entry in snapshot.entries_or_damage():
        if isinstance(entry, Damage) or entry.kind is not EntryKind.FILE:
            continue
        for extent in entry.extents:
            if not isinstance(extent, Hole) and extent.pack in bad_packs:
                reason = f"pack {extent.pack.hex()[:16]} is {bad_packs[extent.pack]}"
                index.note_error(source, entry.path, reason)
                break
