"""What Prometheus is told of a drill: a file for the node exporter's textfile collector.

Written by hand, a few gauges without labels: a bare restore machine has no Prometheus library. The
invariant: the time of the last success is that of a drill that passed; a drill that failed keeps
what the previous file says, and what cannot be read there is never told as success. A number that
is not known is left out rather than told as zero.
"""

import re
from datetime import datetime
from pathlib import Path

from safelight_restore.atomic_file import replace_file
from safelight_restore.drill.coverage import Presence
from safelight_restore.drill.result import DrillResult

TEXTFILE_MODE = 0o644
"""The node exporter reads the file as another user; nothing in it is secret."""

TEXTFILE_SIZE_MAX = 1 << 20

LAST_SUCCESS = "safelight_drill_last_success_timestamp_seconds"
_LAST_SUCCESS_LINE = re.compile(
    rf"^{LAST_SUCCESS} ([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?)$", re.MULTILINE
)

_HELP = {
    "safelight_drill_last_run_timestamp_seconds": "When the last restore drill began.",
    "safelight_drill_last_run_exit_code": "0 passed, 2 configuration, 3 damage, 4 wrong identity, "
    "5 locks short, 6 store unreachable, 7 incomplete.",
    LAST_SUCCESS: "When the last restore drill that passed began.",
    "safelight_drill_success": "1 when the last restore drill passed.",
    "safelight_drill_duration_seconds": "How long the last restore drill took.",
    "safelight_drill_rto_seconds": "How long a restore of everything takes, extrapolated from the "
    "sample.",
    "safelight_drill_rto_sample_seconds": "How long the restore of the sample took, measured.",
    "safelight_drill_rpo_seconds": "Age of the newest complete snapshot, of the source where it is "
    "oldest.",
    "safelight_drill_objects": "Objects that the snapshots need.",
    "safelight_drill_objects_missing": "Objects that are absent or not of the recorded size.",
    "safelight_drill_objects_unlocked": "Objects locked less, or less long, than was promised.",
    "safelight_drill_objects_emulated": "Objects whose lock the store only emulates.",
    "safelight_drill_lock_coverage_timestamp_seconds": "Until when the store's locks protect every "
    "object; absent when they do not.",
    "safelight_drill_files_sampled": "Files that were to be restored.",
    "safelight_drill_files_verified": "Files that came back and were proved on disk.",
    "safelight_drill_files_failed": "Files of the sample that did not come back right.",
    "safelight_drill_files_damaged": "Files that are damaged, of the sample or not.",
    "safelight_drill_bytes_verified": "Bytes of the files that were proved.",
    "safelight_drill_studies_damaged": "Studies with damaged files.",
}


def write_metrics(path: Path, result: DrillResult) -> None:
    """Replace the textfile; ``ConfigurationError`` when it cannot be written."""
    content = metrics_text(result, last_success=_previous_success(path))
    replace_file(path, content.encode("ascii"), mode=TEXTFILE_MODE)


def metrics_text(result: DrillResult, *, last_success: float | None) -> str:
    """The file's text; ``last_success`` is that of the drills before this one. Pure."""
    values = _values(result)
    values[LAST_SUCCESS] = result.started.timestamp() if result.exit_code == 0 else last_success
    lines = []
    for name, text in _HELP.items():
        value = values.get(name)
        if value is not None:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {_number(value)}"]
    return "\n".join([*lines, ""])


def previous_success(text: str) -> float | None:
    """The time of the last success in a textfile of ours; None if it tells none. Pure."""
    found = _LAST_SUCCESS_LINE.findall(text)
    return float(found[0]) if len(found) == 1 else None


def _previous_success(path: Path) -> float | None:
    try:
        with path.open("rb") as file:
            return previous_success(file.read(TEXTFILE_SIZE_MAX).decode("ascii"))
    except (OSError, UnicodeDecodeError):
        return None


def _values(result: DrillResult) -> dict[str, float | None]:
    objects, recovery = result.objects, result.recovery
    name = "safelight_drill_"
    values: dict[str, float | None] = {
        "last_run_timestamp_seconds": result.started.timestamp(),
        "last_run_exit_code": result.exit_code,
        "success": int(result.exit_code == 0),
        "duration_seconds": result.duration_seconds,
        "rpo_seconds": result.rpo_seconds,
        "files_verified": result.proved.files,
        "bytes_verified": result.proved.size_bytes,
        "files_failed": result.files_failed,
        "files_damaged": result.damaged.files,
        "studies_damaged": result.damaged.studies,
    }
    if result.drawn is not None:
        values["files_sampled"] = result.sample.files
    if recovery is not None:
        values["rto_seconds"] = recovery.whole_seconds
        values["rto_sample_seconds"] = recovery.sample_seconds
    if objects is not None:
        values["objects"] = objects.checked
        values["objects_missing"] = (
            objects.presence[Presence.MISSING] + objects.presence[Presence.WRONG_SIZE]
        )
        values["objects_unlocked"] = objects.unlocked_count
        values["objects_emulated"] = objects.emulated_count
        values["lock_coverage_timestamp_seconds"] = _timestamp(objects.coverage_until)
    return {name + key: value for key, value in values.items()}


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
