"""Results of drills as values, for tests of what is made from them.

The failed one is full of names of patients, paths and markup: none of it may show where it must
not.
"""

from datetime import UTC, datetime, timedelta

from safelight_restore.drill.coverage import LockState, Presence, SnapshotCoverage
from safelight_restore.drill.draw import Drawn
from safelight_restore.drill.index import FileLine, StudyLine, Totals
from safelight_restore.drill.objects import BadObject, ObjectsResult, UnlockedObject
from safelight_restore.drill.proof import Comparison
from safelight_restore.drill.result import (
    DrillResult,
    FindingKind,
    Point,
    RecoveryTime,
    SnapshotLine,
)
from safelight_restore.drill.sample import Rotation
from safelight_vault.store import LockMode

STARTED = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
VAULT_ID = bytes(range(16))
PATIENT_ID = "PID-4711"
PATIENT_NAME = "Grace^Testpatient"
DAMAGED_UID = "1.2.826.0.1.999.66"
SECRET_PATH = b"2026/Testpatient_Grace/<script>alert(1)</script>/image.dcm"

DAY = timedelta(days=1)


def snapshot_line(source: str, *, age: timedelta, restored: bool = True) -> SnapshotLine:
    """A snapshot that is covered for a month."""
    created = STARTED - age
    return SnapshotLine(
        snapshot_id=f"{source:0<16}",
        source=source,
        agent="ward <7>",
        retention_class="daily",
        created=created,
        promised_until=created + 35 * DAY,
        complete=True,
        restored=restored,
        files=100,
        size_bytes=5_000_000,
        newest_complete=created,
        rpo_seconds=age.total_seconds() if restored else None,
        coverage=SnapshotCoverage(
            objects=4, size_bytes=4000, locked_until=created + 49 * DAY, emulated_until=None
        ),
        lock=LockState.COVERED,
    )


def study_line(uid: str, *, damaged: int = 0) -> StudyLine:
    """A study of three files."""
    return StudyLine(
        uid=uid,
        date="20261120",
        modalities="CT,SR",
        patient_id=PATIENT_ID,
        patient_name=PATIENT_NAME,
        files=3,
        sampled=3,
        proved=3 - damaged,
        damaged=damaged,
        reason="pack 0123 is missing" if damaged else "",
    )


def passed_drill(started: datetime = STARTED) -> DrillResult:
    """A drill that restored a tenth of a sound vault."""
    objects = ObjectsResult(checked=4, size_bytes=4000)
    objects.presence[Presence.PRESENT] = 4
    objects.lock_modes[LockMode.COMPLIANCE] = 4
    line = snapshot_line("pacs", age=DAY)
    if line.coverage is not None:
        objects.coverage[line.snapshot_id] = line.coverage
    return DrillResult(
        version="1.2.3",
        vault="s3://hospital/vault",
        started=started,
        finished=started + timedelta(seconds=90),
        store_time=started,
        vault_id=VAULT_ID,
        snapshots=[line],
        sources=["pacs"],
        objects=objects,
        drawn=Drawn(
            files_total=100,
            bytes_total=5_000_000,
            files_wanted=10,
            newest_files=3,
            rotation=Rotation(number=20_781, parts=101, first=4, taken=8),
        ),
        sample=Totals(files=10, size_bytes=500_000, studies=2),
        whole_studies=1,
        recovery=RecoveryTime(
            tables_seconds=2,
            restore_seconds=10,
            files=10,
            size_bytes=500_000,
            factor=10,
            basis="bytes",
            whole_seconds=102,
            extrapolated=True,
        ),
        throughput=[Point(2.0, 200_000), Point(8.0, 500_000)],
        proved=Totals(files=10, size_bytes=500_000, studies=2),
        dicom_parsed=9,
        compared={"pacs": dict.fromkeys(Comparison, 0) | {Comparison.EQUAL: 10}},
        studies=[study_line("1.2.826.0.1.999.65")],
        step_seconds={"vault": 1.0, "objects": 70.5, "restore": 10.0},
    )


def failed_drill(started: datetime = STARTED) -> DrillResult:
    """A drill that found a missing object, a short lock, and a file that did not come back."""
    result = passed_drill(started)
    result.snapshots.append(snapshot_line("ct", age=3 * DAY))
    result.snapshots.append(snapshot_line("", age=400 * DAY, restored=False))
    result.sources.append("ct")
    objects = result.objects
    if objects is not None:
        objects.presence[Presence.PRESENT] = 3
        objects.presence[Presence.MISSING] = 1
        missing = BadObject(name="packs/a/1", presence=Presence.MISSING, reason="it is gone")
        objects.bad.append(missing)
        objects.unlocked_count = 1
        objects.unlocked.append(
            UnlockedObject(
                name="packs/a/2",
                promised_until=STARTED + 30 * DAY,
                retain_until=None,
                lock_mode=LockMode.NONE,
            )
        )
        objects.coverage["unlocked"] = SnapshotCoverage(
            objects=4, size_bytes=4000, locked_until=None, emulated_until=None
        )
    result.proved = Totals(files=8, size_bytes=400_000, studies=2)
    result.lost = Totals(files=1, size_bytes=50_000, studies=1)
    result.left_out = Totals(files=1, size_bytes=50_000, studies=0)
    result.damaged = Totals(files=2, size_bytes=100_000, studies=1)
    result.damaged_studies = [study_line(DAMAGED_UID, damaged=1)]
    result.damaged_files = [
        FileLine(source=0, path=SECRET_PATH, study_uid=DAMAGED_UID, reason="pack 0123 is missing"),
        FileLine(source=0, path=b"dump-Testpatient\xff.sql", study_uid="", reason="<b>cut</b>"),
    ]
    result.files_left_out = [
        FileLine(source=1, path=SECRET_PATH, study_uid="", reason="the disk is full")
    ]
    result.add(FindingKind.DAMAGE, "objects not there whole: 1 of 4")
    result.add(FindingKind.UNLOCKED, "objects locked less: 1 <of> 4")
    result.add(FindingKind.NOTE, "a note")
    return result
