"""Draws a drill's sample from the opened snapshots, and names the studies of what it found.

One pass over the catalogues finds the newest studies, one over the manifests takes their files and
those of the rotation, and a last one over the catalogues names the studies. Memory is that of the
newest studies, whatever the archive holds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from safelight_restore.drill.index import FileIndex
from safelight_restore.drill.sample import (
    NewestStudies,
    Rotation,
    SamplePolicy,
    WholeStudy,
    believable_date,
    place_of,
    rotation_of,
)
from safelight_vault.errors import CorruptError
from safelight_vault.format.catalogue import Instance, decode_instance
from safelight_vault.format.manifest import Entry, EntryKind
from safelight_vault.format.pages import read_tree
from safelight_vault.reader import Damage, OpenSnapshot

OnDamage = Callable[[str], None]
"""Told in words of a part of a snapshot's tables that cannot be read."""

OnFiles = Callable[[int], None]
"""Told how many files were looked at so far."""

NEWEST_FILES_MAX = 100_000
"""Most files of newest studies, whose paths are held in memory; the rotation makes up for more."""

_TOLD_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn from: counts are of regular files that the manifests list."""

    files_total: int
    bytes_total: int
    files_wanted: int
    newest_files: int
    rotation: Rotation


def draw_sample(
    snapshots: Sequence[OpenSnapshot],
    policy: SamplePolicy,
    index: FileIndex,
    *,
    vault_id: bytes,
    today: date,
    on_damage: OnDamage,
    on_files: OnFiles,
) -> Drawn:
    """Put the sample into the index; sources are numbered as their snapshots come."""
    total_files = sum(snapshot.root.files for snapshot in snapshots)
    total_bytes = sum(snapshot.root.bytes for snapshot in snapshots)
    wanted = policy.wanted_files(total_files, total_bytes)
    newest_wanted = 0 if wanted >= total_files else min(-(-wanted // 2), NEWEST_FILES_MAX)
    rotation = rotation_of(
        policy.rotation, total_files=total_files, wanted_files=max(1, wanted - newest_wanted)
    )
    newest = NewestStudies(newest_wanted)
    if newest_wanted:
        for source, snapshot in enumerate(snapshots):
            for study in _whole_studies(source, snapshot, today, on_damage):
                newest.offer(study)
    draw = _Draw(index, rotation, newest.chosen(), vault_id)
    for source, snapshot in enumerate(snapshots):
        draw.from_source(source, snapshot, on_damage, on_files)
    draw.take_nearest_if_none()
    return Drawn(
        files_total=draw.files,
        bytes_total=draw.size_bytes,
        files_wanted=wanted,
        newest_files=draw.newest_files,
        rotation=rotation,
    )


def entries_of(snapshot: OpenSnapshot, on_damage: OnDamage) -> Iterator[Entry]:
    """All entries of a manifest; what of it cannot be read is told."""

    def lost(reason: str) -> None:
        on_damage(
            f"snapshot {snapshot.head.snapshot_id}: a part of the manifest cannot be read "
            f"({reason}): its files are lost to this snapshot"
        )

    try:
        for entry in snapshot.entries_or_damage():
            if isinstance(entry, Damage):
                lost(entry.reason)
            else:
                yield entry
    except CorruptError as error:
        lost(error.message)


class _Draw:
    """The pass over the manifests."""

    def __init__(
        self,
        index: FileIndex,
        rotation: Rotation,
        newest: Iterable[WholeStudy],
        vault_id: bytes,
    ) -> None:
        self._index = index
        self._rotation = rotation
        self._newest = {(study.source, path) for study in newest for path in study.paths}
        self._vault_id = vault_id
        self._nearest: tuple[int, int, list[Entry]] | None = None
        self._turned = 0
        self.files = self.size_bytes = self.newest_files = 0

    def from_source(
        self, source: int, snapshot: OpenSnapshot, on_damage: OnDamage, on_files: OnFiles
    ) -> None:
        """Go through one manifest."""
        above: list[Entry] = []
        for entry in entries_of(snapshot, on_damage):
            while above and not _is_below(entry.path, above[-1].path):
                above.pop()
            if entry.kind is EntryKind.DIRECTORY:
                above.append(entry)
            elif entry.kind is EntryKind.FILE:
                self._consider(source, snapshot.root.source_name, [*above, entry])
                if self.files % _TOLD_EVERY == 0:
                    on_files(self.files)

    def _consider(self, source: int, source_name: str, entries: list[Entry]) -> None:
        entry = entries[-1]
        self.files += 1
        self.size_bytes += entry.size_bytes
        place = place_of(self._vault_id, source_name, entry.path)
        is_newest = (source, entry.path) in self._newest
        in_turn = self._rotation.includes(place)
        self.newest_files += is_newest
        self._turned += in_turn
        if is_newest or in_turn:
            self._index.add_sampled(source, entries)
        elif not self._turned:
            distance = self._rotation.distance(place)
            if self._nearest is None or distance < self._nearest[0]:
                self._nearest = (distance, source, entries)

    def take_nearest_if_none(self) -> None:
        """A part of the ring may hold no file; then the next one along the ring is taken."""
        if not self._turned and self._nearest is not None:
            _, source, entries = self._nearest
            self._index.add_sampled(source, entries)


def name_studies(
    snapshots: Sequence[OpenSnapshot], index: FileIndex, *, on_damage: OnDamage
) -> None:
    """Name the studies of all files that are in the index."""
    for source, snapshot in enumerate(snapshots):
        for instances in _studies(snapshot, on_damage):
            index.add_study(source, instances)


def _whole_studies(
    source: int, snapshot: OpenSnapshot, today: date, on_damage: OnDamage
) -> Iterator[WholeStudy]:
    for instances in _studies(snapshot, on_damage):
        yield WholeStudy(
            source=source,
            date=believable_date(max(row.study_date for row in instances), today),
            paths=frozenset(row.path for row in instances),
        )


def _studies(snapshot: OpenSnapshot, on_damage: OnDamage) -> Iterator[list[Instance]]:
    """The rows of each study of a catalogue, one study after the other."""
    rows = groupby(
        _instances(snapshot, on_damage), key=lambda row: (row.patient_id, row.study_instance_uid)
    )
    for (_, study_uid), instances in rows:
        # Files that tell no study are DICOM all the same (a DICOMDIR); they make no study together.
        if study_uid:
            yield list(instances)


def _instances(snapshot: OpenSnapshot, on_damage: OnDamage) -> Iterator[Instance]:
    def note(_: bytes, error: CorruptError) -> None:
        on_damage(
            f"snapshot {snapshot.head.snapshot_id}: a part of the catalogue cannot be read "
            f"({error.message}): its studies cannot be named"
        )

    load = snapshot.blocks.load_chunk
    try:
        for key, value in read_tree(snapshot.root.catalogue, load, on_damage=note):
            yield decode_instance(key, value)
    except CorruptError as error:
        note(b"", error)


def _is_below(path: bytes, directory: bytes) -> bool:
    return not directory or path.startswith(directory + b"/")
