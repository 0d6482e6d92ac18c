"""The snapshots of a drill, and the recovery point that each of them stands for. Pure.

The invariant: a recovery point is a snapshot that is complete, finished and not suspect; what is
newer and less than that makes no source look better protected than it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from safelight_restore.drill.coverage import SnapshotCoverage, lock_state
from safelight_restore.drill.result import SnapshotLine
from safelight_vault.format.snapshot import Root
from safelight_vault.reader import Head


def snapshot_line(head: Head, root: Root | None, *, restored: bool) -> SnapshotLine:
    """The line of a snapshot, as far as it alone can tell."""
    envelope = head.snapshot
    return SnapshotLine(
        snapshot_id=head.snapshot_id,
        source=root.source_name if root else "",
        agent=head.certificate.label,
        retention_class=envelope.retention_class.name.lower(),
        created=_moment(envelope.created_us),
        promised_until=_moment(envelope.retain_until_us),
        complete=envelope.complete,
        restored=restored,
        files=root.files if root else 0,
        size_bytes=root.bytes if root else 0,
    )


def with_lock(
    line: SnapshotLine, coverage: SnapshotCoverage | None, store_time: datetime
) -> SnapshotLine:
    """The line with what the store said of its locks."""
    state = lock_state(coverage, line.promised_until, store_time)
    return replace(line, coverage=coverage, lock=state)


def with_recovery_points(
    lines: Sequence[SnapshotLine],
    heads: Sequence[Head],
    good: Iterable[Head],
    store_time: datetime,
) -> list[SnapshotLine]:
    """The lines with the age of the newest complete snapshot of each one's source.

    ``heads`` belong to ``lines`` one by one. An agent that was set up anew goes on with a chain of
    its own: chains under one source's name count together.
    """
    names = {_chain(head): line.source for head, line in zip(heads, lines, strict=True)}
    newest: dict[object, datetime] = {}
    for head in good:
        envelope = head.snapshot
        if envelope.complete and not envelope.suspect and not envelope.checkpoint:
            key = names.get(_chain(head)) or _chain(head)
            created = _moment(envelope.created_us)
            newest[key] = max(created, newest.get(key, created))
    found = []
    for head, line in zip(heads, lines, strict=True):
        last = newest.get(line.source or _chain(head))
        age = None if last is None else max(0.0, (store_time - last).total_seconds())
        found.append(replace(line, newest_complete=last, rpo_seconds=age))
    return found


def other_lines(
    lines: Sequence[SnapshotLine], heads: Sequence[Head], others: Iterable[Head]
) -> list[SnapshotLine]:
    """Lines of snapshots that only had their objects asked about; of known chains, with source."""
    names = {_chain(head): line.source for head, line in zip(heads, lines, strict=True)}
    return [
        replace(snapshot_line(head, None, restored=False), source=names.get(_chain(head), ""))
        for head in others
    ]


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _chain(head: Head) -> tuple[bytes, bytes]:
    return head.snapshot.agent_id, head.snapshot.source_id
