"""A drill as one JSON object; nothing is decided here. The keys are an interface:

    success, exit_code      true and 0, or false and the code of the worst that was found
    version, vault, vault_id, snapshot (ids, joined by commas), started, finished, store_time
    duration_seconds, steps {step: seconds}
    snapshots[]             snapshot, source, agent, class, created, complete, restored, files,
                            bytes, objects, object_bytes, promised_until, locked_until,
                            emulated_until, lock (covered, emulated, short, past, unknown),
                            newest_complete, rpo_seconds
    objects                 checked, bytes, present, moved, moved_unread, missing, wrong_size,
                            unlocked, lock_modes {mode: objects}; null if not reached
    lock_coverage_until     until when the store's locks protect all of it; null: they do not
    missing[]               object, reason (absent, or not of the recorded size)
    unlocked[]              object, promised_until, locked_until, mode
    sample                  files, bytes, studies, studies_whole, newest_files, files_total,
                            bytes_total, share_of_files, share_of_bytes, rotation {number, parts,
                            first, taken, drills_for_all}; null if not reached
    files_verified, bytes_verified, files_failed, dicom_parsed, dicom_failed
    compared                {source: {equal, changed_since, gone_since, unreadable, differs}}
    rto                     sample: seconds, tables_seconds, restore_seconds, files, bytes,
                            bytes_per_second, files_per_second, extrapolated (false);
                            whole: seconds, files, bytes, factor, basis, extrapolated; or null
    rpo_seconds             of the source that would lose most; null: one was never complete
    studies[]               studies of the sample: study (a pseudonym), date, modalities, files,
                            sampled, verified, damaged
    damaged                 files, bytes, studies
    damaged_studies[]       the same keys and study_instance_uid, reason: damage is always named
    damaged_files[]         source, file and study (pseudonyms), reason
    left_out[]              the same, for files that were not restored for other reasons
    findings[]              kind (damage, unlocked, incomplete, note), text
    error                   step, message, next_step, exit_code: what ended it early; or null

Times are ISO 8601 in UTC, sizes in bytes. With ``--show-studies`` studies also have
study_instance_uid, patient_id and patient_name, and files path and path_base64. A pseudonym is the
beginning of an HMAC-SHA-256 keyed with the vault's id: whoever knows that id and guesses a UID can
confirm the guess, nobody can read one out of it. Long lists are cut; the counts are whole.
"""

import hashlib
import hmac
from datetime import datetime

from safelight_restore.drill.coverage import Presence
from safelight_restore.drill.index import FileLine, StudyLine
from safelight_restore.drill.proof import Comparison
from safelight_restore.drill.result import DrillResult, RecoveryTime, SnapshotLine
from safelight_restore.report import item

PSEUDONYM_DIGITS = 12


def pseudonym(vault_id: bytes, text: bytes) -> str:
    """A short name for something that must not be named; the same in all drills of a vault."""
    return hmac.new(vault_id, text, hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]


def study_pseudonym(vault_id: bytes, uid: str) -> str:
    """The pseudonym of a study; empty for no study."""
    return pseudonym(vault_id, b"study\0" + uid.encode()) if uid else ""


def drill_object(result: DrillResult, *, show_studies: bool) -> dict[str, object]:
    """What ``drill --json`` prints."""
    restored = [line for line in result.snapshots if line.restored]
    return {
        "success": result.exit_code == 0,
        "exit_code": result.exit_code,
        "version": result.version,
        "vault": result.vault,
        "vault_id": result.vault_id.hex(),
        "snapshot": ",".join(line.snapshot_id for line in restored),
        "started": _time(result.started),
        "finished": _time(result.finished),
        "store_time": _time(result.store_time),
        "duration_seconds": round(result.duration_seconds, 3),
        "steps": {step: round(seconds, 3) for step, seconds in result.step_seconds.items()},
        "snapshots": [_snapshot(line) for line in result.snapshots],
        **_objects(result),
        "sample": _sample(result),
        "files_verified": result.proved.files,
        "bytes_verified": result.proved.size_bytes,
        "files_failed": result.files_failed,
        "dicom_parsed": result.dicom_parsed,
        "dicom_failed": result.dicom_failed,
        "compared": {
            source: {outcome.value: found[outcome] for outcome in Comparison}
            for source, found in result.compared.items()
        },
        "rto": _recovery(result, result.recovery),
        "rpo_seconds": None if result.rpo_seconds is None else round(result.rpo_seconds),
        "studies": [_study(result, line, show=show_studies) for line in result.studies],
        "damaged": {
            "files": result.damaged.files,
            "bytes": result.damaged.size_bytes,
            "studies": result.damaged.studies,
        },
        "damaged_studies": [
            {
                **_study(result, line, show=show_studies),
                "study_instance_uid": line.uid,
                "reason": line.reason,
            }
            for line in result.damaged_studies
        ],
        "damaged_files": [_file(result, line, show=show_studies) for line in result.damaged_files],
        "left_out": [_file(result, line, show=show_studies) for line in result.files_left_out],
        "findings": [{"kind": one.kind.value, "text": one.text} for one in result.findings],
        "error": None
        if result.ending is None
        else {
            "step": result.ending.step,
            "message": result.ending.message,
            "next_step": result.ending.next_step,
            "exit_code": result.ending.exit_code,
        },
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _snapshot(line: SnapshotLine) -> dict[str, object]:
    coverage = line.coverage
    return {
        "snapshot": line.snapshot_id,
        "source": line.source,
        "agent": line.agent,
        "class": line.retention_class,
        "created": _time(line.created),
        "complete": line.complete,
        "restored": line.restored,
        "files": line.files,
        "bytes": line.size_bytes,
        "objects": coverage.objects if coverage else None,
        "object_bytes": coverage.size_bytes if coverage else None,
        "promised_until": _time(line.promised_until),
        "locked_until": _time(coverage.locked_until) if coverage else None,
        "emulated_until": _time(coverage.emulated_until) if coverage else None,
        "lock": line.lock.value,
        "newest_complete": _time(line.newest_complete),
        "rpo_seconds": None if line.rpo_seconds is None else round(line.rpo_seconds),
    }


def _objects(result: DrillResult) -> dict[str, object]:
    found = result.objects
    if found is None:
        return {"objects": None, "lock_coverage_until": None, "missing": [], "unlocked": []}
    return {
        "objects": {
            "checked": found.checked,
            "bytes": found.size_bytes,
            "present": found.presence[Presence.PRESENT],
            "moved": found.presence[Presence.MOVED],
            "moved_unread": found.moved_unread,
            "missing": found.presence[Presence.MISSING],
            "wrong_size": found.presence[Presence.WRONG_SIZE],
            "unlocked": found.unlocked_count,
            "lock_modes": {mode.value: count for mode, count in found.lock_modes.items()},
        },
        "lock_coverage_until": _time(found.coverage_until),
        "missing": [{"object": bad.name, "reason": bad.reason} for bad in found.bad],
        "unlocked": [
            {
                "object": one.name,
                "promised_until": _time(one.promised_until),
                "locked_until": _time(one.retain_until),
                "mode": one.lock_mode.value,
            }
            for one in found.unlocked
        ],
    }


def _sample(result: DrillResult) -> dict[str, object] | None:
    drawn = result.drawn
    if drawn is None:
        return None
    return {
        "files": result.sample.files,
        "bytes": result.sample.size_bytes,
        "studies": result.sample.studies,
        "studies_whole": result.whole_studies,
        "newest_files": drawn.newest_files,
        "files_total": drawn.files_total,
        "bytes_total": drawn.bytes_total,
        "share_of_files": _share(result.sample.files, drawn.files_total),
        "share_of_bytes": _share(result.sample.size_bytes, drawn.bytes_total),
        "rotation": {
            "number": drawn.rotation.number,
            "parts": drawn.rotation.parts,
            "first": drawn.rotation.first,
            "taken": drawn.rotation.taken,
            "drills_for_all": drawn.rotation.drills_for_all,
        },
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _recovery(result: DrillResult, found: RecoveryTime | None) -> dict[str, object] | None:
    if found is None or result.drawn is None:
        return None
    return {
        "sample": {
            "seconds": round(found.sample_seconds, 3),
            "tables_seconds": round(found.tables_seconds, 3),
            "restore_seconds": round(found.restore_seconds, 3),
            "files": found.files,
            "bytes": found.size_bytes,
            "bytes_per_second": _rounded(found.bytes_per_second),
            "files_per_second": _rounded(found.files_per_second),
            "extrapolated": False,
        },
        "whole": {
            "seconds": round(found.whole_seconds, 3),
            "files": result.drawn.files_total,
            "bytes": result.drawn.bytes_total,
            "factor": round(found.factor, 6),
            "basis": found.basis,
            "extrapolated": found.extrapolated,
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _study(result: DrillResult, line: StudyLine, *, show: bool) -> dict[str, object]:
    described: dict[str, object] = {
        "study": study_pseudonym(result.vault_id, line.uid),
        "date": line.date,
        "modalities": line.modalities.split(",") if line.modalities else [],
        "files": line.files,
        "sampled": line.sampled,
        "verified": line.proved,
        "damaged": line.damaged,
    }
    if show:
        described["study_instance_uid"] = line.uid
        described["patient_id"] = line.patient_id
        described["patient_name"] = line.patient_name
    return described


def _file(result: DrillResult, line: FileLine, *, show: bool) -> dict[str, object]:
    source = result.sources[line.source]
    described: dict[str, object] = {
        "source": source,
        "file": pseudonym(result.vault_id, b"file\0" + source.encode() + b"\0" + line.path),
        "study": study_pseudonym(result.vault_id, line.study_uid),
        "reason": line.reason,
    }
    if show:
        described |= item(source.encode() + b"/" + line.path, line.reason)
    return described
