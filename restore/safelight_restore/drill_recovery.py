"""The snapshots that a drill rehearses, and the recovery point each of them stands for.

Pure. The invariant: a recovery point is a snapshot that is complete, finished and not suspect;
what is newer and less than that makes no source look better protected than it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from safelight_restore.drill_result import RehearsedSnapshot
from safelight_vault.reader import Head, OpenSnapshot


def rehearsed(head: Head, snapshot: OpenSnapshot | None) -> RehearsedSnapshot:
    """The line of a snapshot, opened if it could be; its recovery point is not known yet."""
    envelope = head.snapshot
    return RehearsedSnapshot(
        snapshot_id=head.snapshot_id,
        source=snapshot.root.source_name if snapshot else "",
        agent=head.certificate.label,
        retention_class=envelope.retention_class.name.lower(),
        created=moment(envelope.created_us),
        retain_until=moment(envelope.retain_until_us),
        complete=envelope.complete,
        files=snapshot.root.files if snapshot else 0,
        size_bytes=snapshot.root.bytes if snapshot else 0,
        newest_complete=None,
        rpo_seconds=None,
    )


def moment(microseconds: int) -> datetime:
    """A time of a snapshot, aware and in UTC."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def with_recovery_points(
    lines: Sequence[RehearsedSnapshot],
    chosen: Sequence[Head],
    good: Iterable[Head],
    store_time: datetime,
) -> list[RehearsedSnapshot]:
    """The lines with the age of the newest complete snapshot of each one's source. Pure.

    An agent that was set up anew goes on with a chain of its own: chains that are rehearsed under
    one source's name count together.
    """
    names = {_chain(head): line.source for head, line in zip(chosen, lines, strict=True)}
    newest: dict[object, datetime] = {}
    for head in good:
        envelope = head.snapshot
        if envelope.complete and not envelope.suspect and not envelope.checkpoint:
            key = names.get(_chain(head)) or _chain(head)
            created = moment(envelope.created_us)
            newest[key] = max(created, newest.get(key, created))
    found = []
    for head, line in zip(chosen, lines, strict=True):
        created_last = newest.get(line.source or _chain(head))
        age = None if created_last is None else (store_time - created_last).total_seconds()
        found.append(replace(line, newest_complete=created_last, rpo_seconds=age))
    return found


def _chain(head: Head) -> tuple[bytes, bytes]:
    return head.snapshot.agent_id, head.snapshot.source_id
