"""The files and studies of the snapshots that a drill rehearses, in a private temporary database.

It answers which files make up the sample, and afterwards which studies are damaged. The invariant:
a file's outcome is written once it is known and never guessed: what has none was not looked at. The
database has no name in the file system, since it holds patients' names; memory stays flat.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safelight_restore.drill_sample import SamplePolicy, rotation_of
from safelight_vault.errors import CorruptError
from safelight_vault.format.catalogue import decode_instance
from safelight_vault.format.manifest import DicomState, EntryKind
from safelight_vault.format.pages import read_tree
from safelight_vault.reader import Damage, OpenSnapshot

STUDIES_LISTED_MAX = 1000
FILES_LISTED_MAX = 10_000
_PAGE = 1000

_SCHEMA = """
create table files (id integer primary key, source integer, path blob, size integer, sha256 blob,
    dicom integer, mtime_ns integer, study integer, modality text, sampled integer default 0,
    proved integer default 0, error text, unique (source, path));
create table studies (id integer primary key, uid text unique, date text, patient_id text,
    patient_name text, files integer default 0, bytes integer default 0);
create index sampled on files (id) where sampled = 1;
create index failed on files (id) where error is not null;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFile:
    """A file of the sample, with what the manifest says of it."""

    number: int
    source: int
    path: bytes
    size_bytes: int
    sha256: bytes
    dicom: DicomState
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """A study as a report names it: ``files`` in the snapshots, and how many of them are meant."""

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
class FailedFile:
    """A file that is damaged; ``study_uid`` is empty for what belongs to no study."""

    source: int
    path: bytes
    study_uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Files, their bytes, and studies."""

    files: int
    size_bytes: int
    studies: int


class FileIndex:
    """Files by source and path; sources are numbered as they are added."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.executescript(_SCHEMA)

    def add(self, source: int, snapshot: OpenSnapshot) -> Iterator[str]:
        """Read manifest and catalogue of a snapshot; gives what of them cannot be read."""
        for entry in snapshot.entries_or_damage():
            if isinstance(entry, Damage):
                yield f"a part of the manifest cannot be read: {entry.reason}"
            elif entry.kind is EntryKind.FILE:
                self._database.execute(
                    "insert into files (source, path, size, sha256, dicom, mtime_ns)"
                    " values (?, ?, ?, ?, ?, ?)",
                    (
                        source,
                        entry.path,
                        entry.size_bytes,
                        entry.sha256,
                        int(entry.dicom),
                        entry.mtime_ns,
                    ),
                )
        yield from self._add_catalogue(source, snapshot)

    def _add_catalogue(self, source: int, snapshot: OpenSnapshot) -> Iterator[str]:
        damage: list[str] = []

        def note(_: bytes, error: CorruptError) -> None:
            damage.append(f"a part of the catalogue cannot be read: {error.message}")

        load = snapshot.blocks.load_chunk
        for key, value in read_tree(snapshot.root.catalogue, load, on_damage=note):
            instance = decode_instance(key, value)
            self._database.execute(
                "insert into studies (uid, date, patient_id, patient_name) values (?, ?, ?, ?)"
                " on conflict do nothing",
                (
                    instance.study_instance_uid,
                    instance.study_date,
                    instance.patient_id,
                    instance.patient_name,
                ),
            )
            self._database.execute(
                "update files set study = (select id from studies where uid = ?), modality = ?"
                " where source = ? and path = ?",
                (instance.study_instance_uid, instance.modality, source, instance.path),
            )
        yield from damage

    # The sample

    def choose_sample(self, policy: SamplePolicy) -> None:
        """Mark the files that are to be restored; call it once, when all sources are added."""
        self._database.executescript(
            "create index by_study on files (study) where study is not null;"
            "update studies set (files, bytes) = (select count(*), coalesce(sum(size), 0)"
            " from files where study = studies.id);"
        )
        total = self.totals().files
        wanted = policy.wanted_files(total)
        if wanted == total and policy.size_bytes is None:
            self._database.execute("update files set sampled = 1")
            return
        half = -(-wanted // 2) if wanted < total else total
        used_bytes = self._newest_studies(half, policy.size_bytes)
        self._rotation(total, half, policy, used_bytes)

    def _newest_studies(self, files_max: int, bytes_max: int | None) -> int:
        """Whole studies, newest first, the first one whatever its size; gives their bytes."""
        files = size_bytes = 0
        studies = self._database.execute(
            "select id, files, bytes from studies where files > 0 order by date desc, uid"
        )
        for number, study_files, study_bytes in studies:
            too_many = files + study_files > files_max
            too_big = bytes_max is not None and size_bytes + study_bytes > bytes_max // 2
            if files and (too_many or too_big):
                break
            self._database.execute("update files set sampled = 1 where study = ?", (number,))
            files += study_files
            size_bytes += study_bytes
        return size_bytes

    def _rotation(self, total: int, wanted: int, policy: SamplePolicy, used_bytes: int) -> None:
        window = rotation_of(total, wanted, policy.rotation)
        found = 0
        rows = self._database.execute("select id, size, sampled from files order by id")
        for ordinal, (number, size, sampled) in enumerate(rows):
            if sampled or not window.includes(ordinal):
                continue
            used_bytes += size
            if policy.size_bytes is not None and found and used_bytes > policy.size_bytes:
                return
            self._database.execute("update files set sampled = 1 where id = ?", (number,))
            found += 1

    def sampled(self) -> Iterator[SampledFile]:
        """The files of the sample, in the order of the manifests."""
        last = 0
        while True:
            rows = self._database.execute(
                "select id, source, path, size, sha256, dicom, mtime_ns from files"
                " where sampled = 1 and id > ? order by id limit ?",
                (last, _PAGE),
            ).fetchall()
            if not rows:
                return
            for row in rows:
                yield SampledFile(
                    number=row[0],
                    source=row[1],
                    path=row[2],
                    size_bytes=row[3],
                    sha256=row[4],
                    dicom=DicomState(row[5]),
                    mtime_ns=row[6],
                )
                last = row[0]

    def sampled_paths(self, source: int) -> Iterator[bytes]:
        """The paths of one source's files in the sample."""
        return (file.path for file in self.sampled() if file.source == source)

    # Outcomes

    def note_proved(self, numbers: Iterable[int]) -> None:
        """These files came back and were proved."""
        self._database.executemany(
            "update files set proved = 1 where id = ?", ((number,) for number in numbers)
        )

    def note_error(self, source: int, path: bytes, reason: str) -> None:
        """A file is damaged; the first reason stays."""
        self._database.execute(
            "update files set error = coalesce(error, ?) where source = ? and path = ?",
            (reason, source, path),
        )

    def has_error(self, number: int) -> bool:
        """Whether something is known to be wrong with a file."""
        row = self._database.execute(
            "select error is not null from files where id = ?", (number,)
        ).fetchone()
        return bool(row[0])

    def is_whole(self) -> bool:
        """Whether the sample is everything there is."""
        return self.totals().files == self.totals(sampled=True).files

    def totals(self, *, sampled: bool = False) -> Totals:
        """Counts of all, or of the sample."""
        where = "where sampled = 1" if sampled else ""
        row = self._database.execute(
            f"select count(*), coalesce(sum(size), 0), count(distinct study) from files {where}"  # noqa: S608 - one of two texts
        ).fetchone()
        return Totals(files=row[0], size_bytes=row[1], studies=row[2])

    def damaged_totals(self) -> Totals:
        """Damaged files, of the sample or not, and their studies."""
        row = self._database.execute(
            "select count(*), coalesce(sum(size), 0), count(distinct study) from files"
            " where error is not null"
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
        return self._studies("having sum(sampled) > 0")

    def damaged_studies(self) -> list[StudyLine]:
        """Studies with a damaged file, newest first."""
        return self._studies("having count(error) > 0")

    def _studies(self, having: str) -> list[StudyLine]:
        rows = self._database.execute(
            "select uid, date, group_concat(distinct nullif(modality, '')), patient_id,"  # noqa: S608 - one of two texts
            " patient_name, max(studies.files), sum(sampled), sum(proved), count(error), max(error)"
            " from files join studies on study = studies.id"
            f" group by studies.id {having} order by date desc, uid limit ?",
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

    def failed_files(self) -> list[FailedFile]:
        """Damaged files, the first of them."""
        rows = self._database.execute(
            "select source, path, coalesce(uid, ''), error from files"
            " left join studies on study = studies.id where error is not null"
            " order by files.id limit ?",
            (FILES_LISTED_MAX,),
        )
        return [
            FailedFile(source=row[0], path=row[1], study_uid=row[2], reason=row[3]) for row in rows
        ]

    def close(self) -> None:
        """Drop the tables."""
        self._database.close()
