"""What there is to restore: snapshots as rows, and patients, studies and series found in them.

Reads only snapshot roots and catalogue pages, never a pack of images.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from safelight_restore.access import Access, Heads
from safelight_vault.errors import VaultError
from safelight_vault.format.catalogue import Instance
from safelight_vault.format.snapshot import Root, Snapshot
from safelight_vault.reader import Head, OpenSnapshot


def snapshot_rows(access: Access, heads: Heads) -> list[dict[str, object]]:
    """One object a snapshot, newest first; what only an identity can read is empty without one."""
    ordered = sorted(heads.good, key=lambda head: head.snapshot.created_us, reverse=True)
    return [_snapshot_row(head, _root(access, head)) for head in ordered]


def _root(access: Access, head: Head) -> Root | VaultError:
    try:
        snapshot = access.open(head)
    except VaultError as error:
        return error
    snapshot.close()
    return snapshot.root


def _snapshot_row(head: Head, root: Root | VaultError) -> dict[str, object]:
    snapshot = head.snapshot
    known = None if isinstance(root, VaultError) else root
    return {
        "snapshot": head.snapshot_id,
        "source": known.source_name if known else "",
        "agent": head.certificate.label,
        "sequence": snapshot.sequence,
        "created": _time(snapshot.created_us),
        "class": snapshot.retention_class.name.lower(),
        "files": known.files if known else None,
        "bytes": known.bytes if known else None,
        "files_failed": known.failed_files if known else None,
        "complete": snapshot.complete,
        "suspect": snapshot.suspect,
        "checkpoint": snapshot.checkpoint,
        "state": root.message if isinstance(root, VaultError) else _state(snapshot),
        "retain_until": _time(snapshot.retain_until_us),
    }


def _state(snapshot: Snapshot) -> str:
    if snapshot.suspect:
        return "suspect"
    if snapshot.checkpoint:
        return "checkpoint of an unfinished run"
    return "complete" if snapshot.complete else "incomplete"


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="seconds")


@dataclass(slots=True)
class _Series:
    modality: str
    description: str
    files: int = 0
    paths: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Study:
    first: Instance
    source: str
    series: dict[str, _Series] = field(default_factory=dict)


def find_instances(
    snapshots: Sequence[OpenSnapshot],
    *,
    patient: str | None,
    study: str | None,
    series: str | None,
    modality: str | None,
    since: str | None,
    until: str | None,
) -> Iterator[tuple[str, Instance]]:
    """Source and catalogue row of every instance that meets all conditions given."""
    for snapshot in snapshots:
        for instance in _of_patient(snapshot, patient):
            if (
                (study is None or study in (instance.study_instance_uid, instance.accession_number))
                and (series is None or series == instance.series_instance_uid)
                and (modality is None or modality.upper() == instance.modality.upper())
                and (since is None or instance.study_date >= since)
                and (until is None or (instance.study_date and instance.study_date <= until))
            ):
                yield snapshot.root.source_name, instance


def _of_patient(snapshot: OpenSnapshot, patient: str | None) -> Iterator[Instance]:
    """Rows of a patient id; if there are none, rows whose patient's name contains the text."""
    if patient is None:
        yield from snapshot.instances()
        return
    found = False
    for instance in snapshot.instances(patient):
        found = True
        yield instance
    if not found:
        wanted = patient.casefold()
        for instance in snapshot.instances():
            if wanted in instance.patient_name.casefold():
                yield instance


def summarise(
    found: Iterable[tuple[str, Instance]], *, with_paths: bool
) -> list[dict[str, object]]:
    """Studies with their series, newest study first."""
    studies: dict[tuple[str, str], _Study] = {}
    for source, instance in found:
        key = (source, instance.study_instance_uid)
        study = studies.setdefault(key, _Study(instance, source))
        series = study.series.setdefault(
            instance.series_instance_uid, _Series(instance.modality, instance.series_description)
        )
        series.files += 1
        if with_paths:
            series.paths.append(f"{source}/" + instance.path.decode("utf-8", "surrogateescape"))
    ordered = sorted(studies.values(), key=lambda study: study.first.study_date, reverse=True)
    return [_study_object(study, with_paths) for study in ordered]


def _study_object(study: _Study, with_paths: bool) -> dict[str, object]:
    first = study.first
    series = []
    for uid, one in study.series.items():
        item: dict[str, object] = {
            "series": uid,
            "modality": one.modality,
            "description": one.description,
            "files": one.files,
        }
        if with_paths:
            item["paths"] = one.paths
        series.append(item)
    return {
        "source": study.source,
        "patient_id": first.patient_id,
        "patient_name": first.patient_name,
        "study": first.study_instance_uid,
        "study_date": first.study_date,
        "description": first.study_description,
        "accession_number": first.accession_number,
        "modalities": sorted({one.modality for one in study.series.values()}),
        "files": sum(one.files for one in study.series.values()),
        "series": series,
    }


def catalogue_rows(studies: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
    """The same for a table."""
    rows: list[tuple[object, ...]] = []
    for study in studies:
        series, modalities = study["series"], study["modalities"]
        rows.append(
            (
                study["patient_id"],
                study["patient_name"],
                study["study_date"],
                ", ".join(modalities) if isinstance(modalities, list) else "",
                study["study"],
                study["accession_number"],
                len(series) if isinstance(series, list) else 0,
                study["files"],
            )
        )
    return rows
