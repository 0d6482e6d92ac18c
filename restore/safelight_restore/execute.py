"""Carries out a plan: reads in parallel, files proven and placed as they become whole.

The invariant: an entry ends as finished, kept, or failed with a reason, and only the failure of the
target or of the store as a whole ends the run early; then everything finished is kept, nothing
unfinished has a final name, and the same command goes on from there.

One thread (the caller's) decides and records; the pool's threads read, write and hash. Data flows
one way: read → pieces written → file whole → hashed → group made durable → final name → recorded.
Memory: the blocks of the reads in flight, which together stay below a budget of bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from safelight_restore.assemble import Assembler, Fetched, Proven, failed_outcome
from safelight_restore.place import Placed, Placer
from safelight_restore.record import FailedItem, Outcome, Record
from safelight_restore.schedule import ReadRow, Schedule
from safelight_restore.spool import FileRow, FileState, Spool
from safelight_restore.target.workspace import Workspace
from safelight_vault.errors import CorruptError
from safelight_vault.format.manifest import EntryKind

MEMORY_BYTES: Final = 32 * 1024 * 1024
"""Default budget for the blocks in flight, sealed and opened."""

_GROUP_FILES: Final = 2000
_GROUP_BYTES: Final = 512 * 1024 * 1024
_PROOFS_PER_TASK: Final = 64
_UNREACHED_READS_MAX: Final = 8
_FAILED_LISTED_MAX: Final = 100_000

_REMEDY_UNREACHED: Final = (
    "Check the network, the store and the credentials, then run the same command again: it resumes."
)

_Result = TypeVar("_Result")
_Argument = TypeVar("_Argument")
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a restore is; bytes are those fetched and written, files those settled."""

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What a restore achieved.

    ``files`` and ``bytes`` are in the target now and proven, by this run or by the interrupted one
    that it resumed (``files_resumed``); directories are not counted. ``failed`` lists up to 100,000
    of the ``files_failed`` entries.
    """

    files: int
    directories: int
    bytes: int
    files_failed: int
    failed: tuple[FailedItem, ...]
    kept: int
    files_resumed: int
    warnings: tuple[str, ...]
    exit_code: int
    """0 done, 3 if damage in the vault made a file fail, 7 if only other things did."""


class Warnings:
    """Counts shortfalls by what they are, so that a million of them are one line."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, bytes]] = {}

    def add(self, placed: Placed) -> None:
        """Count what an entry lacks; the first entry's path is remembered as an example."""
        for shortfall in placed.shortfalls:
            key = (shortfall.what, shortfall.reason)
            count, first = self._counts.get(key, (0, b"/".join(placed.row.parts)))
            self._counts[key] = (count + 1, first)

    def lines(self) -> list[str]:
        """One line for each kind of shortfall."""
        return [
            f"{what} not restored for {count} entries: {reason} "
            f"(first: {first.decode(errors='backslashreplace')})"
            for (what, reason), (count, first) in sorted(self._counts.items())
        ]


class Execution:
    """One pass over a plan."""

    def __init__(
        self,
        *,
        spool: Spool,
        workspace: Workspace,
        assembler: Assembler,
        placer: Placer,
        pool: Executor,
        reads_at_once: int,
        memory_bytes: int = MEMORY_BYTES,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._spool = spool
        self._record = Record(spool.database)
        self._schedule = Schedule(spool.database)
        self._workspace = workspace
        self._assembler = assembler
        self._placer = placer
        self._pool = pool
        self._reads_max = reads_at_once
        self._memory_max = memory_bytes
        self._report = progress
        self._warnings = Warnings()
        self._futures: dict[Future[Any], Callable[[Any], None]] = {}
        self._reads = 0
        self._memory = 0
        self._unreached_reads = 0
        self._proven: list[Proven] = []
        self._proven_bytes = 0
        self._settling = False
        self._bytes_done = self._bytes_total = 0
        self._files_done = self._files_total = self._files_resumed = 0

    def run(self) -> RestoreResult:
        """Restore everything pending; raises only if the target or the store fails as a whole."""
        self._count_work()
        self._place_all(self._record.pending_directories(replacing=True), self._placer.make_way)
        self._place_all(self._record.files_equal(FileState.EQUAL), self._placer.renew)
        try:
            self._restore_files()
        finally:
            # An error leaves work in the pool; nothing may write once the caller closes the tree.
            for future in self._futures:
                future.cancel()
            wait(self._futures)
        links = self._record.pending_links(EntryKind.SYMLINK)
        self._place_all(links, self._placer.place_symlink)
        links = self._record.pending_links(EntryKind.HARD_LINK)
        self._place_all(links, self._place_hard_link)
        self._place_all(self._record.pending_directories(), self._placer.finish_directory)
        self._record.fail_pending("not all of its bytes were read", CorruptError.exit_code)
        self._placer.settle(())
        self._spool.commit()
        return self._result()

    def _restore_files(self) -> None:
        for rows in _chunks(self._record.pending_files_without_bytes(), _PROOFS_PER_TASK):
            self._wait_for_room(0)
            self._submit(self._proved, self._assembler.prove, rows)
        for read in self._schedule.reads():
            self._wait_for_room(read.memory_bytes)
            self._fetch(read)
        while self._futures or self._proven:
            if not self._futures:
                self._settle()
            self._wait()

    def _wait_for_room(self, memory_bytes: int) -> None:
        while self._futures and (
            len(self._futures) >= 4 * self._reads_max
            or self._reads >= self._reads_max
            or self._memory + memory_bytes > self._memory_max
            or len(self._proven) >= 2 * _GROUP_FILES
        ):
            self._wait()

    def _wait(self) -> None:
        """Wait for one piece of work or more, and go on with what it brought."""
        done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
        for future in done:
            self._futures.pop(future)(future.result())

    def _submit(
        self,
        handle: Callable[[_Result], None],
        function: Callable[[_Argument], _Result],
        argument: _Argument,
    ) -> None:
        self._futures[self._pool.submit(function, argument)] = handle

    def _fetch(self, read: ReadRow) -> None:
        writes = self._schedule.writes_of(read)
        if not writes:
            return  # all of its files failed meanwhile
        pack = self._schedule.pack_name(read.pack)
        self._reads += 1
        self._memory += read.memory_bytes

        def handle(fetched: Fetched) -> None:
            self._reads -= 1
            self._memory -= read.memory_bytes
            self._fetched(fetched)

        self._submit(handle, partial(self._assembler.fetch, pack), writes)

    def _fetched(self, fetched: Fetched) -> None:
        self._bytes_done += sum(fetched.written.values())
        self._record.set(failed_outcome(n, error) for n, error in fetched.failed.items())
        for number in fetched.failed:
            self._workspace.drop_partial(b"%d" % number)
        self._files_done += len(fetched.failed)
        complete = self._record.rows(self._record.note_written(fetched.written))
        for rows in _chunks(complete, _PROOFS_PER_TASK):
            self._submit(self._proved, self._assembler.prove, rows)
        self._show_progress()
        self._unreached_reads = self._unreached_reads + 1 if fetched.unreached else 0
        if fetched.unreached is not None and self._unreached_reads >= _UNREACHED_READS_MAX:
            raise type(fetched.unreached)(fetched.unreached.message, remedy=_REMEDY_UNREACHED)

    def _proved(self, items: list[Proven | Outcome]) -> None:
        failures = [item for item in items if isinstance(item, Outcome)]
        self._record.set(failures)
        self._files_done += len(failures)
        for failure in failures:
            self._workspace.drop_partial(b"%d" % failure.file)
        proven = [item for item in items if isinstance(item, Proven)]
        self._proven += proven
        self._proven_bytes += sum(item.row.size_bytes for item in proven)
        self._settle_if_many()

    def _settle_if_many(self) -> None:
        many = len(self._proven) >= _GROUP_FILES or self._proven_bytes >= _GROUP_BYTES
        if many and not self._settling:
            self._settle()

    def _settle(self) -> None:
        """Let the files that are proven so far get their names, one group at a time."""
        group, self._proven = self._proven, []
        self._proven_bytes = 0
        self._settling = True
        self._submit(self._settled, self._placer.settle, group)

    def _settled(self, placed: list[Placed]) -> None:
        self._settling = False
        self._note(placed)
        self._settle_if_many()

    # Everything else is placed by this thread, after or before the files.

    def _place_all(self, rows: Iterable[FileRow], place: Callable[[FileRow], Placed]) -> None:
        for page in _chunks(rows, _GROUP_FILES):
            self._note([place(row) for row in page])

    def _place_hard_link(self, row: FileRow) -> Placed:
        file = None if row.linked_file is None else self._record.rows([row.linked_file])[0]
        return self._placer.place_hard_link(row, file)

    def _note(self, placed: Sequence[Placed]) -> None:
        self._record.set(item.outcome for item in placed)
        for item in placed:
            self._warnings.add(item)
            self._files_done += item.row.kind is not EntryKind.DIRECTORY
        self._spool.commit()
        self._show_progress()

    def _count_work(self) -> None:
        for count in self._record.counts():
            if count.kind is EntryKind.DIRECTORY:
                continue
            self._files_total += count.entries
            if count.state is FileState.PENDING:
                self._bytes_total += count.bytes_stored
            elif count.state is not FileState.EQUAL:
                self._files_done += count.entries
            if count.state is FileState.FINISHED:
                self._files_resumed += count.entries

    def _show_progress(self) -> None:
        if self._report is not None:
            self._report(
                Progress(
                    bytes_done=self._bytes_done,
                    bytes_total=self._bytes_total,
                    # A file that two reads fail is counted twice.
                    files_done=min(self._files_done, self._files_total),
                    files_total=self._files_total,
                )
            )

    def _result(self) -> RestoreResult:
        counts = self._record.counts()
        finished = [c for c in counts if c.state is FileState.FINISHED]
        files_failed = sum(
            c.entries for c in counts if c.state in (FileState.FAILED, FileState.REFUSED)
        )
        failed = self._record.failed(_FAILED_LISTED_MAX)
        warnings = self._warnings.lines()
        if files_failed > len(failed):
            warnings.append(f"{files_failed - len(failed)} more entries failed than are listed")
        return RestoreResult(
            files=sum(c.entries for c in finished if c.kind is not EntryKind.DIRECTORY),
            directories=sum(c.entries for c in finished if c.kind is EntryKind.DIRECTORY),
            bytes=sum(c.bytes for c in finished),
            files_failed=files_failed,
            failed=tuple(failed),
            kept=sum(
                c.entries
                for c in counts
                if c.state is FileState.KEPT and c.kind is not EntryKind.DIRECTORY
            ),
            files_resumed=self._files_resumed,
            warnings=tuple(warnings),
            exit_code=self._record.worst_exit_code(),
        )


def _chunks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
