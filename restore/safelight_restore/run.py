"""One restore into one target, from its lease to its last directory's time; and the dry run.

The invariant: the target is refused before anything is written, or a plan lies in it that the same
command finds again. A run that was interrupted goes on where it was if it is the same restore
(same snapshots, selection and rule); its finished files are looked at, cheaply, before they are
believed. After a restore without failures nothing of ours is left in the target.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from safelight_restore.assemble import Assembler, BlockReader
from safelight_restore.database import DatabaseDamagedError
from safelight_restore.execute import MEMORY_BYTES, Execution, Progress, RestoreResult
from safelight_restore.existing import Exists
from safelight_restore.place import Placer, is_as_recorded
from safelight_restore.plan import (
    Plan,
    SourceEntries,
    build_plan,
    check_sources,
    check_target,
    compare_existing,
    finish_plan,
)
from safelight_restore.record import Outcome, Record
from safelight_restore.select import Selection
from safelight_restore.spool import FileState, Spool
from safelight_restore.target.filesystem import FileSystem, target_failed
from safelight_restore.target.metadata import Identity, MetadataWriter
from safelight_restore.target.tree import Tree
from safelight_restore.target.workspace import PLAN_PLACE, Workspace, plan_path
from safelight_vault.errors import ConfigurationError, RefusedError
from safelight_vault.format.manifest import EntryKind
from safelight_vault.format.wire import Writer

THREADS: Final = 4

_RESTORE_ID = "restore id"
"""Set last, so that a plan that has it is complete."""

_CHECKED_AT_ONCE: Final = 1000


class RestoreRun:
    """A restore that is planned and may be executed; holds the target's lease until closed."""

    def __init__(
        self,
        *,
        plan: Plan,
        spool: Spool,
        tree: Tree,
        workspace: Workspace,
        exists: Exists,
        pool: ThreadPoolExecutor,
        files: FileSystem,
        threads: int,
    ) -> None:
        self.plan = plan
        self._spool = spool
        self._tree = tree
        self._workspace = workspace
        self._exists = exists
        self._pool = pool
        self._files = files
        self._threads = threads

    def execute(
        self,
        reader: BlockReader,
        *,
        progress: Callable[[Progress], None] | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> RestoreResult:
        """Restore all that is pending.

        Raises ``IncompleteError`` if the target fails (full, read-only, gone) and the store's own
        error if it stops answering; after either, the same command resumes.
        """
        metadata = MetadataWriter(self._files, Identity(uid=os.geteuid(), gid=os.getegid()))
        execution = Execution(
            spool=self._spool,
            workspace=self._workspace,
            assembler=Assembler(reader, self._workspace, self._files, metadata),
            placer=Placer(self._tree, self._workspace, self._files, metadata, self._exists),
            pool=self._pool,
            reads_at_once=2 * self._threads,
            memory_bytes=memory_bytes,
            progress=progress,
        )
        with _target_errors():
            result = execution.run()
        return replace(result, warnings=result.warnings + self._clear_away(result))

    def _clear_away(self, result: RestoreResult) -> tuple[str, ...]:
        """Remove what the next run does not need; a failure to do so spoils nothing."""
        try:
            if result.files_failed:
                self._workspace.clear()
                return (f"{PLAN_PLACE} stays in the target: the same command tries again",)
            self._spool.close()
            self._workspace.remove()
        except OSError as error:
            return (f"{PLAN_PLACE} in the target could not be cleared: {error.strerror}",)
        return ()


@contextmanager
def open_restore(
    *,
    target: Path,
    sources: Sequence[SourceEntries],
    selection: Selection,
    exists: Exists,
    present: Callable[[bytes], bool],
    threads: int = THREADS,
    files: FileSystem | None = None,
) -> Iterator[RestoreRun]:
    """Plan a restore, or take up an interrupted one, and hold the target until the block ends.

    ``present`` says whether the vault still has a pack. Raises ``RefusedError`` if the rule forbids
    to touch the target, and ``LeaseHeldError`` if another restore is at work in it.
    """
    check_sources(sources)
    calls = files or FileSystem()
    with ExitStack() as stack:
        with _target_errors():
            tree = Tree.at(target, calls, create=True)
            if tree is None:
                raise ConfigurationError(f"target {target} vanished while it was opened")
            stack.callback(tree.close)
            workspace = Workspace.open(tree, calls)
            stack.callback(workspace.close)
            pool = stack.enter_context(ThreadPoolExecutor(threads, "restore"))
            restore_id = _restore_id(sources, selection, exists)
            spool = _resumable(workspace.plan_path, restore_id)
            resumed = spool is not None
            if spool is None:
                _require_fit(tree, workspace, sources, exists)
                spool = Spool.create(workspace.plan_path)
            stack.callback(spool.close)
            planner = _Planner(spool, tree, calls, pool)
            if resumed:
                planner.resume()
            else:
                planner.plan(sources, selection, exists, restore_id)
            plan = finish_plan(
                spool, present=present, bytes_free=_bytes_free(tree, calls), resumed=resumed
            )
        yield RestoreRun(
            plan=plan,
            spool=spool,
            tree=tree,
            workspace=workspace,
            exists=exists,
            pool=pool,
            files=calls,
            threads=threads,
        )


def dry_run(
    *,
    target: Path,
    sources: Sequence[SourceEntries],
    selection: Selection,
    exists: Exists,
    present: Callable[[bytes], bool],
    scratch: Path,
    threads: int = THREADS,
    files: FileSystem | None = None,
) -> Plan:
    """The plan that ``open_restore`` would make, spooled into the directory ``scratch`` instead.

    Raises what ``open_restore`` would raise; the target is neither made nor changed.
    """
    check_sources(sources)
    calls = files or FileSystem()
    spool_path = scratch / "plan.sqlite"
    with ExitStack() as stack, _target_errors():
        tree = Tree.at(target, calls, create=False)
        if tree is not None:
            stack.callback(tree.close)
        pool = stack.enter_context(ThreadPoolExecutor(threads, "restore"))
        restore_id = _restore_id(sources, selection, exists)
        interrupted = _resumable(plan_path(target), restore_id)
        if interrupted is not None:
            with closing(interrupted):
                interrupted.database.copy_to(spool_path)
            spool = Spool.open(spool_path)
        else:
            if tree is not None:
                check_target(tree, sources, exists)
            spool = Spool.create(spool_path)
        stack.callback(spool.close)
        planner = _Planner(spool, tree, calls, pool)
        if interrupted is not None:
            planner.resume()
        else:
            planner.plan(sources, selection, exists, restore_id)
        bytes_free = None if tree is None else _bytes_free(tree, calls)
        return finish_plan(
            spool, present=present, bytes_free=bytes_free, resumed=interrupted is not None
        )


class _Planner:
    """Makes the plan in a spool, or brings an interrupted restore's plan up to date."""

    def __init__(
        self, spool: Spool, tree: Tree | None, files: FileSystem, pool: ThreadPoolExecutor
    ) -> None:
        self._spool = spool
        self._tree = tree
        self._files = files
        self._pool = pool

    def plan(
        self,
        sources: Sequence[SourceEntries],
        selection: Selection,
        exists: Exists,
        restore_id: bytes,
    ) -> None:
        build_plan(
            self._spool,
            sources,
            selection=selection,
            exists=exists,
            tree=self._tree,
            files=self._files,
            pool=self._pool,
        )
        self._spool.set_fact(_RESTORE_ID, restore_id)
        self._spool.commit()

    def resume(self) -> None:
        """Look at what an interrupted run finished; the rest becomes pending again."""
        record = Record(self._spool.database)
        tree = self._tree
        finished = record.finished()
        while page := list(islice(finished, _CHECKED_AT_ONCE)):
            record.set(
                Outcome(file=row.id, state=FileState.PENDING)
                for row in page
                if row.kind is not EntryKind.DIRECTORY
                and (tree is None or not is_as_recorded(tree, row))
            )
        record.start_again()
        if tree is not None:
            compare_existing(record, tree, self._files, self._pool)
        self._spool.commit()


def _resumable(path: Path, restore_id: bytes) -> Spool | None:
    """The complete plan of an interrupted run of this same restore, if there is one."""
    if not path.exists():
        return None
    spool: Spool | None = None
    try:
        spool = Spool.open(path)
        if spool.fact(_RESTORE_ID) == restore_id:
            return spool
    except DatabaseDamagedError:
        pass  # as good as none
    if spool is not None:
        spool.close()
    return None


def _require_fit(
    tree: Tree, workspace: Workspace, sources: Sequence[SourceEntries], exists: Exists
) -> None:
    """Check the target; if it is fit, clear an old plan away, else leave it as it was found."""
    interrupted = workspace.plan_path.exists()
    try:
        check_target(tree, sources, exists)
    except RefusedError as error:
        if interrupted:
            raise RefusedError(
                f"{error.message}; what lies there is an interrupted restore of another snapshot, "
                "selection or rule",
                remedy=(
                    "Run that command again to finish it, or say --exists keep or --exists replace."
                ),
            ) from error
        workspace.remove()
        raise
    workspace.remove_plan()


def _restore_id(sources: Sequence[SourceEntries], selection: Selection, exists: Exists) -> bytes:
    """What makes two runs the same restore."""
    writer = Writer()
    writer.text(exists.value, 16)
    writer.fixed(selection.name, 32)
    for source in sources:
        writer.var(source.name, 1 << 16)
        writer.var(source.snapshot, 1 << 16)
    return hashlib.sha256(writer.finish()).digest()


def _bytes_free(tree: Tree, files: FileSystem) -> int:
    found = files.statvfs(tree.root)
    return found.f_bavail * found.f_frsize


@contextmanager
def _target_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise target_failed(error) from error
