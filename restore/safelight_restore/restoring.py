"""A restore as one command does it: open the chosen snapshots, plan, execute, and own up.

What it guards: a damaged snapshot that is newer than the one restored, or any sign of tampering,
makes the exit code 3 even when every file came back right.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from safelight_restore.access import Access, Choice, SnapshotBlocks
from safelight_restore.admission import Unreadable
from safelight_restore.execute import Progress, RestoreResult
from safelight_restore.existing import Exists
from safelight_restore.plan import Plan, SourceEntries
from safelight_restore.run import dry_run, open_restore
from safelight_restore.select import Selection
from safelight_vault.errors import CorruptError
from safelight_vault.format.manifest import Entry
from safelight_vault.reader import Damage, OpenSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore came to; ``result`` is None after a dry run."""

    snapshots: tuple[str, ...]
    sources: tuple[str, ...]
    plan: Plan
    result: RestoreResult | None
    problems: tuple[str, ...]
    """Damage or tampering that was met beside the files: never hidden by a success."""

    @property
    def exit_code(self) -> int:
        """The worst of the files' and the vault's."""
        code = self.result.exit_code if self.result is not None else 0
        if self.plan.packs_missing or self.problems:
            return CorruptError.exit_code
        return code


def restore_snapshots(
    access: Access,
    choice: Choice,
    *,
    target: Path,
    selection: Selection,
    exists: Exists,
    dry_run_scratch: Path | None,
    threads: int,
    on_progress: Callable[[Progress], None],
    on_plan: Callable[[Plan], None],
) -> Restored:
    """Restore the chosen snapshots, or only plan it into ``dry_run_scratch``."""
    with ExitStack() as stack:
        opened = [access.open(head) for head in choice.heads]
        for snapshot in opened:
            stack.callback(snapshot.close)
        sources = [_source_entries(snapshot) for snapshot in opened]
        present = access.is_present(opened)
        if dry_run_scratch is not None:
            plan = dry_run(
                target=target,
                sources=sources,
                selection=selection,
                exists=exists,
                present=present,
                scratch=dry_run_scratch,
            )
            on_plan(plan)
            return _restored(access, choice, opened, plan, None)
        with open_restore(
            target=target,
            sources=sources,
            selection=selection,
            exists=exists,
            present=present,
            threads=threads,
        ) as run:
            on_plan(run.plan)
            result = run.execute(SnapshotBlocks(opened), progress=on_progress)
            return _restored(access, choice, opened, run.plan, result)


def _restored(
    access: Access,
    choice: Choice,
    opened: Sequence[OpenSnapshot],
    plan: Plan,
    result: RestoreResult | None,
) -> Restored:
    damaged = [
        f"snapshot {head.name.snapshot_id} is newer and damaged ({head.reason}): "
        "an older one was taken"
        for head in choice.newer_damaged
    ]
    return Restored(
        snapshots=tuple(snapshot.head.snapshot_id for snapshot in opened),
        sources=tuple(snapshot.root.source_name for snapshot in opened),
        plan=plan,
        result=result,
        problems=(*damaged, *access.tampering),
    )


def _source_entries(snapshot: OpenSnapshot) -> SourceEntries:
    def entries() -> Iterable[Entry | Unreadable]:
        for entry in snapshot.entries_or_damage():
            if isinstance(entry, Damage):
                yield Unreadable(path=entry.path, reason=entry.reason)
            else:
                yield entry

    return SourceEntries(
        name=snapshot.root.source_name.encode(),
        snapshot=snapshot.head.name.digest,
        entries=entries,
    )
