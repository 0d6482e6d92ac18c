"""What the figures of a drill mean: findings in words, each of a kind that decides the exit code.

Pure but for the result that the findings are noted in. The invariant: nothing that was found wrong
stays a mere number.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from safelight_restore.drill.objects import ObjectsResult
from safelight_restore.drill.proof import Comparison
from safelight_restore.drill.result import DrillResult, FindingKind, SnapshotLine

DIFFERS = "the source holds other bytes under the same size and time"


def judge_objects(result: DrillResult, objects: ObjectsResult) -> None:
    """What the store said of the objects."""
    for text in objects.tables_damaged:
        result.add(FindingKind.DAMAGE, text)
    if objects.missing_count:
        text = f"objects not there whole: {objects.missing_count} of {objects.checked}"
        result.add(FindingKind.DAMAGE, text)
    if objects.unlocked_count:
        text = f"objects locked less, or less long, than was promised: {objects.unlocked_count}"
        result.add(FindingKind.UNLOCKED, text)
    if objects.emulated_count:
        text = (
            f"objects with emulated locks: {objects.emulated_count} (they guard against mistakes, "
            "not against whoever holds the storage, and are no lock coverage)"
        )
        result.add(FindingKind.NOTE, text)
    if objects.moved_unread:
        text = (
            f"objects under other VersionIds than recorded, not read: {objects.moved_unread} (is "
            "this a copy of the vault? 'safelight-restore verify' reads them all)"
        )
        result.add(FindingKind.NOTE, text)


def judge_snapshots(result: DrillResult, snapshots: Iterable[SnapshotLine]) -> None:
    """What the snapshots say of themselves."""
    for line in snapshots:
        if not line.restored:
            continue
        if line.newest_complete is None:
            text = f"source {line.source or '(unknown)'} has no complete snapshot"
            result.add(FindingKind.NOTE, text)
        elif not line.complete:
            text = f"snapshot {line.snapshot_id} is incomplete: some files were not backed up"
            result.add(FindingKind.NOTE, text)


def judge_comparison(
    result: DrillResult, source: str, path: Path, found: Mapping[Comparison, int]
) -> None:
    """What the comparison of one source came to."""
    if found[Comparison.DIFFERS]:
        text = f"files of source {source} that differ, under the same size and time, from what "
        text += f"was backed up: {found[Comparison.DIFFERS]}"
        result.add(FindingKind.DAMAGE, text)
    if found[Comparison.UNREADABLE]:
        text = f"files of source {source} that could not be read: {found[Comparison.UNREADABLE]}"
        result.add(FindingKind.INCOMPLETE, text)
    if found[Comparison.GONE_SINCE] and found[Comparison.GONE_SINCE] == sum(found.values()):
        text = f"no file of the sample is in {path}: is source {source} mounted there?"
        result.add(FindingKind.INCOMPLETE, text)


def judge_files(result: DrillResult) -> None:
    """What became of the files."""
    if result.damaged.files:
        text = f"damaged files: {result.damaged.files}, in studies: {result.damaged.studies}"
        result.add(FindingKind.DAMAGE, text)
    if result.left_out.files:
        text = f"files of the sample not restored for other reasons: {result.left_out.files}"
        result.add(FindingKind.INCOMPLETE, text)
    if result.drawn is not None and not result.sample.files:
        result.add(FindingKind.INCOMPLETE, "there is no file to restore: nothing was proved")
