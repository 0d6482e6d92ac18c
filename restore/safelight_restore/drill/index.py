"""The files that a drill restores, and those that are damaged, in a private temporary database.

It holds nothing of the files that are neither, so that a drill of an archive of any size needs
little room. The invariant: a file's outcome is written once it is known and never guessed; what has
none was not looked at. The database has no name in the file system, since it holds patients' names.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safelight_vault.errors import CorruptError
from safelight_vault.format.catalogue import Instance
from safelight_vault.format.manifest import (
    DicomState,
    Entry,
    EntryKind,
    decode_entry,
    encode_entry,
    entry_key,
)
from safelight_vault.format.place import Place

STUDIES_LISTED_MAX = 1000
FILES_LISTED_MAX = 10_000
_PAGE = 1000

_SCHEMA = """
create table files (source integer, key blob, path blob, entry blob, kind integer,
    size integer default 0, study integer, modality text default '', sampled integer default 0,
    proved integer default 0, damage text, left_out text, primary key (source, key)) without rowid;
create table studies (id integer primary key, uid text, patient_id text, date text,
    patient_name text, files integer, unique (uid, patient_id));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFile:
    """A file of the sample, as the manifest describes it; ``source`` is its source's number."""

    source: int
    entry: Entry

    @property
    def key(self) -> bytes:
        """Its key in the index, together with the source."""
        return entry_key(self.entry.path)

    @property
    def is_dicom(self) -> bool:
        """Whether it parsed as DICOM when it was backed up."""
        return self.entry.dicom is DicomState.PARSED


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """A study as a report names it: ``files`` in the snapshots, and what became of them."""

    uid: str
    date: str
    modalities: str
    patient_id: str
    patient_name: str
    files: int
    sampled: int
    proved: int
    damaged: int
    reason: str
    """What is wrong with one of the damaged files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """A file that is damaged or was left out; ``study_uid`` is empty for what is in no study."""

    source: int
    path: bytes
    study_uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Files, their bytes, and the studies that they belong to."""

    files: int
    size_bytes: int
    studies: int


class FileIndex:
    """The sample and the damage. For one thread."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.executescript(_SCHEMA)

    def add_sampled(self, source: int, entries: Iterable[Entry]) -> None:
        """Take a file into the sample, with the directories above it."""
        for entry in entries:
            self._database.execute(
                "insert into files (source, key, path, entry, kind, size, sampled)"
                " values (?, ?, ?, ?, ?, ?, 1) on conflict do update set sampled = 1,"
                " entry = excluded.entry",
                (
                    source,
                    entry_key(entry.path),
                    entry.path,
                    encode_entry(entry),
                    int(entry.kind),
                    entry.size_bytes,
                ),
            )

    def note_damage(self, source: int, path: bytes, size_bytes: int, reason: str) -> None:
        """A file is damaged, of the sample or not; the first reason stays."""
        self._database.execute(
            "insert into files (source, key, path, kind, size, damage) values (?, ?, ?, ?, ?, ?)"
            " on conflict do update set damage = coalesce(damage, excluded.damage)",
            (source, entry_key(path), path, int(EntryKind.FILE), size_bytes, reason),
        )

    def is_file(self, source: int, path: bytes) -> bool:
        """Whether a path is that of a file of the sample (and not of a directory above one)."""
        found = self._database.execute(
            "select 1 from files where source = ? and key = ? and kind = ?",
            (source, entry_key(path), int(EntryKind.FILE)),
        )
        return found.fetchone() is not None

    def note_left_out(self, source: int, path: bytes, reason: str) -> None:
        """A file of the sample could not be restored, and the vault is not to blame."""
        self._database.execute(
            "update files set left_out = coalesce(left_out, ?) where source = ? and key = ?",
            (reason, source, entry_key(path)),
        )

    def note_proved(self, files: Iterable[SampledFile]) -> None:
        """These files came back and were proved."""
        self._database.executemany(
            "update files set proved = 1 where source = ? and key = ?",
            ((file.source, file.key) for file in files),
        )

    # The sample, in the order of the manifests

    def entries(self, source: int) -> Iterator[Entry]:
        """What of a source is to be restored: files, and the directories above them."""
        return (file.entry for file in self._sampled("source = ?", (source,)))

    def files_to_prove(self, source: int) -> Iterator[SampledFile]:
        """Files of the sample of one source with which nothing is wrong so far."""
        return self._sampled(
            "kind = ? and source = ? and damage is null and left_out is null",
            (int(EntryKind.FILE), source),
        )

    def files_of(self, source: int) -> Iterator[SampledFile]:
        """All files of the sample of one source."""
        return self._sampled("kind = ? and source = ?", (int(EntryKind.FILE), source))

    def damaged_sample(self) -> Iterator[SampledFile]:
        """Damaged files of the sample."""
        return self._sampled("kind = ? and damage is not null", (int(EntryKind.FILE),))

    def _sampled(self, where: str, values: tuple[int, ...]) -> Iterator[SampledFile]:
        # Page by key: outcomes are written between two pages.
        last: tuple[int, bytes] = (-1, b"")
        while True:
            rows = self._database.execute(
                "select source, key, entry from files where sampled = 1"  # noqa: S608 - our texts
                f" and (source, key) > (?, ?) and {where} order by source, key limit ?",
                (*last, *values, _PAGE),
            ).fetchall()
            if not rows:
                return
            for source, key, entry in rows:
                yield SampledFile(source=source, entry=decode_entry(key, entry, _no_spilled_list))
            last = rows[-1][:2]

    # Studies

    def add_study(self, source: int, instances: list[Instance]) -> None:
        """Name the study of files that are in the index; a study with none of them is passed by."""
        found = [
            (instance, entry_key(instance.path))
            for instance in instances
            if self._holds(source, entry_key(instance.path))
        ]
        if not found:
            return
        first = instances[0]
        number = self._database.execute(
            "insert into studies (uid, patient_id, date, patient_name, files)"
            " values (?, ?, ?, ?, ?) on conflict do update set files = files + excluded.files"
            " returning id",
            (
                first.study_instance_uid,
                first.patient_id,
                max(instance.study_date for instance in instances),
                first.patient_name,
                len(instances),
            ),
        ).fetchone()[0]
        self._database.executemany(
            "update files set study = ?, modality = ? where source = ? and key = ?",
            ((number, instance.modality, source, key) for instance, key in found),
        )

    def _holds(self, source: int, key: bytes) -> bool:
        found = self._database.execute(
            "select 1 from files where source = ? and key = ?", (source, key)
        )
        return found.fetchone() is not None

    # Reports

    def sample(self) -> Totals:
        """The files of the sample."""
        return self._totals("sampled = 1")

    def proved(self) -> Totals:
        """Those that were proved."""
        return self._totals("sampled = 1 and proved = 1")

    def damaged(self) -> Totals:
        """Damaged files, of the sample or not."""
        return self._totals("damage is not null")

    def lost(self) -> Totals:
        """Damaged files of the sample, but for those that came back right all the same."""
        return self._totals("damage is not null and sampled = 1 and proved = 0")

    def left_out(self) -> Totals:
        """Files that were not restored for other reasons than damage."""
        return self._totals("left_out is not null and damage is null")

    def _totals(self, where: str) -> Totals:
        row = self._database.execute(
            "select count(*), coalesce(sum(size), 0), count(distinct study) from files"  # noqa: S608 - our texts
            f" where kind = ? and {where}",
            (int(EntryKind.FILE),),
        ).fetchone()
        return Totals(files=row[0], size_bytes=row[1], studies=row[2])

    def whole_studies(self) -> int:
        """Studies of which every file is in the sample."""
        row = self._database.execute(
            "select count(*) from (select studies.id from files join studies on study = studies.id"
            " where sampled = 1 group by studies.id having count(*) = max(studies.files))"
        ).fetchone()
        return int(row[0])

    def sampled_studies(self) -> list[StudyLine]:
        """Studies with a file in the sample, newest first."""
        return self._studies("sum(sampled) > 0")

    def damaged_studies(self) -> list[StudyLine]:
        """Studies with a damaged file, newest first."""
        return self._studies("count(damage) > 0")

    def _studies(self, having: str) -> list[StudyLine]:
        rows = self._database.execute(
            "select uid, date, group_concat(distinct nullif(modality, '')), patient_id,"  # noqa: S608 - our texts
            " patient_name, max(studies.files), sum(sampled), sum(proved), count(damage),"
            " max(damage) from files join studies on study = studies.id"
            f" group by studies.id having {having} order by date desc, uid limit ?",
            (STUDIES_LISTED_MAX,),
        )
        return [
            StudyLine(
                uid=row[0],
                date=row[1],
                modalities=row[2] or "",
                patient_id=row[3],
                patient_name=row[4],
                files=row[5],
                sampled=row[6],
                proved=row[7],
                damaged=row[8],
                reason=row[9] or "",
            )
            for row in rows
        ]

    def damaged_files(self) -> list[FileLine]:
        """Damaged files, the first of them."""
        return self._files("damage")

    def files_left_out(self) -> list[FileLine]:
        """Files that were not restored for other reasons, the first of them."""
        return self._files("left_out")

    def _files(self, column: str) -> list[FileLine]:
        rows = self._database.execute(
            f"select source, path, coalesce(uid, ''), {column} from files"  # noqa: S608 - our texts
            f" left join studies on study = studies.id where {column} is not null"
            " order by source, key limit ?",
            (FILES_LISTED_MAX,),
        )
        return [
            FileLine(source=row[0], path=row[1], study_uid=row[2], reason=row[3]) for row in rows
        ]

    def close(self) -> None:
        """Drop the tables."""
        self._database.close()


def _no_spilled_list(_: Place) -> bytes:
    raise CorruptError("an entry of the index never refers to other chunks")
