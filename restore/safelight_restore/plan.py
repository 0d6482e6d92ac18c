"""The plan of a restore: what will be written, read and left alone, decided before anything is.

The invariant: making a plan changes nothing but the plan's own file, so a dry run is a plan and no
more; and its memory does not depend on how many files there are (``spool.py``).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from typing import Final

from safelight_restore.admission import Unreadable, admit
from safelight_restore.existing import BLOCKED_REASON, Decision, Exists, decide
from safelight_restore.record import Outcome, Record
from safelight_restore.schedule import Schedule
from safelight_restore.select import Selection
from safelight_restore.spool import FileRow, FileState, Spool
from safelight_restore.target.filesystem import STOPPING, FileSystem
from safelight_restore.target.path import source_parts, split_path
from safelight_restore.target.tree import InTheWayError, Tree, has_content
from safelight_vault.errors import (
    ConfigurationError,
    CorruptError,
    DecodeError,
    IncompleteError,
    ObjectMissingError,
    RefusedError,
)
from safelight_vault.format.manifest import Entry, EntryKind

_COMMIT_ENTRIES: Final = 50_000
_COMPARED_AT_ONCE: Final = 8
_LISTED_PACKS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntries:
    """One source's manifest. It lands at ``TARGET/name``.

    ``entries`` starts a fresh pass over the sorted entries each time it is called: a second pass is
    needed if a hard link is selected and the file that it shares its inode with is not.
    """

    name: bytes
    snapshot: bytes
    entries: Callable[[], Iterable[Entry | Unreadable]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a restore will do, in numbers. Bytes are of content, but for ``bytes_to_fetch``.

    ``files`` counts everything selected but directories; ``bytes_to_write`` leaves out holes and
    what stands in the target already; ``bytes_to_fetch`` are sealed bytes read from the store in
    about ``requests`` ranges of ``packs`` packs. ``already_present`` counts files that need no
    fetching (finished by an interrupted run, or equal under ``replace``), ``refused`` entries that
    no restore may make, ``unstable`` files that were changing while they were backed up.
    """

    files: int
    directories: int
    bytes: int
    files_to_write: int
    bytes_to_write: int
    packs: int
    requests: int
    bytes_to_fetch: int
    packs_missing: int
    missing: tuple[str, ...]
    """The SHA-256 of missing packs in hexadecimal, the first 100 of them."""
    files_failed: int
    """Entries that cannot be restored as things stand: ``refused``, missing packs, conflicts."""
    refused: int
    already_present: int
    kept: int
    unstable: int
    bytes_free: int | None
    """Free bytes of the target's file system; ``None`` while the target does not exist."""
    resumed: bool

    def as_dict(self) -> dict[str, object]:
        """The plan for ``--dry-run --json``."""
        return asdict(self) | {"missing": list(self.missing)}


def check_sources(sources: Sequence[SourceEntries]) -> None:
    """Require that every source has a name of its own that may stand below the target."""
    for source in sources:
        source_parts(source.name)
    if len({source.name for source in sources}) != len(sources):
        raise ConfigurationError("two snapshots of one source cannot land in the same directory")


def check_target(tree: Tree, sources: Sequence[SourceEntries], exists: Exists) -> None:
    """Refuse a target that the operator's rule, or another mount in it, forbids to write to."""
    device = tree.root_status().st_dev
    for source in sources:
        parts = source_parts(source.name)
        where = f"{tree.path}/{source.name.decode(errors='replace')}"
        if exists is Exists.REFUSE and not tree.is_vacant(parts):
            raise RefusedError(
                f"{where} exists and is not empty",
                remedy="Choose another target, or say --exists keep or --exists replace.",
            )
        found = tree.lookup(parts)
        if found is not None and found.st_dev != device:
            raise RefusedError(
                f"{where} is on another file system than {tree.path}",
                remedy="Choose a target on that file system: files are moved into place within it.",
            )


def build_plan(
    spool: Spool,
    sources: Sequence[SourceEntries],
    *,
    selection: Selection,
    exists: Exists,
    tree: Tree | None,
    files: FileSystem,
    pool: Executor,
) -> None:
    """Fill an empty spool from the manifests. ``tree`` is ``None`` while the target is absent."""
    for number, source in enumerate(sources):
        spool.add_source(number, source.name)
        planner = _SourcePlanner(
            spool=spool,
            number=number,
            source=source,
            selection=selection,
            exists=exists,
            tree=tree,
        )
        planner.run()
    spool.commit()
    _complete_links(spool, sources)
    if tree is not None:
        compare_existing(Record(spool.database), tree, files, pool)
    spool.commit()


def finish_plan(
    spool: Spool,
    *,
    present: Callable[[bytes], bool],
    bytes_free: int | None,
    resumed: bool,
) -> Plan:
    """Give up what needs a missing pack, schedule the reads of all else, and count."""
    record = Record(spool.database)
    schedule = Schedule(spool.database)
    missing: list[str] = []
    packs_missing = 0
    for number, name in schedule.packs_needed():
        if record.is_needed(number) and not present(name):
            reason = f"pack {name.hex()} is missing"
            record.fail_pack(number, reason, ObjectMissingError.exit_code)
            packs_missing += 1
            if len(missing) < _LISTED_PACKS_MAX:
                missing.append(name.hex())
    totals = schedule.make()
    spool.commit()
    counts = record.counts()
    contents = [c for c in counts if c.kind is not EntryKind.DIRECTORY]
    to_write = [c for c in contents if c.state is FileState.PENDING]
    return Plan(
        files=sum(c.entries for c in contents),
        directories=sum(c.entries for c in counts) - sum(c.entries for c in contents),
        bytes=sum(c.bytes for c in contents),
        files_to_write=sum(c.entries for c in to_write),
        bytes_to_write=sum(c.bytes_stored for c in to_write),
        packs=totals.packs,
        requests=totals.requests,
        bytes_to_fetch=totals.bytes_to_fetch,
        packs_missing=packs_missing,
        missing=tuple(missing),
        files_failed=sum(
            c.entries for c in counts if c.state in (FileState.FAILED, FileState.REFUSED)
        ),
        refused=sum(c.entries for c in counts if c.state is FileState.REFUSED),
        already_present=sum(
            c.entries for c in contents if c.state in (FileState.FINISHED, FileState.EQUAL)
        ),
        kept=sum(c.entries for c in contents if c.state is FileState.KEPT),
        unstable=sum(c.unstable for c in contents),
        bytes_free=bytes_free,
        resumed=resumed,
    )


@dataclass(slots=True)
class _Ancestor:
    """A directory on the way to the entry at hand."""

    entry: Entry
    planned: bool
    absent: bool
    """Nothing stands in the target below it, so nothing needs to be looked for."""


class _SourcePlanner:
    """Goes through one source's entries once, with the ancestors of one path in memory."""

    def __init__(
        self,
        *,
        spool: Spool,
        number: int,
        source: SourceEntries,
        selection: Selection,
        exists: Exists,
        tree: Tree | None,
    ) -> None:
        self._spool = spool
        self._number = number
        self._source = source
        self._selection = selection
        self._exists = exists
        self._parts = source_parts(source.name)
        # An empty place needs no looking: a restore to a bare machine asks for nothing.
        self._tree = None if tree is None or tree.is_vacant(self._parts) else tree
        self._ancestors: list[_Ancestor] = []

    def run(self) -> None:
        """Plan every selected entry and its parents."""
        for count, item in enumerate(admit(self._source.entries()), start=1):
            if isinstance(item, Entry):
                self._consider(item)
            elif isinstance(item, Unreadable) or self._selection.matches(
                self._source.name, item.path
            ):
                code = CorruptError.exit_code
                self._spool.add_refused(self._number, item.path, item.reason, code)
            if count % _COMMIT_ENTRIES == 0:
                self._spool.commit()

    def _consider(self, entry: Entry) -> None:
        while self._ancestors and not _is_below(entry.path, self._ancestors[-1].entry.path):
            self._ancestors.pop()
        selected = self._selection.matches(self._source.name, entry.path)
        if selected:
            for depth, ancestor in enumerate(self._ancestors):
                if not ancestor.planned:
                    ancestor.absent = self._plan(ancestor.entry, self._ancestors[:depth])
                    ancestor.planned = True
        absent = self._plan(entry, self._ancestors) if selected else False
        if entry.kind is EntryKind.DIRECTORY:
            self._ancestors.append(_Ancestor(entry=entry, planned=selected, absent=absent))

    def _plan(self, entry: Entry, ancestors: Sequence[_Ancestor]) -> bool:
        """Add one entry; whether nothing that stands in the target is below it."""
        if self._tree is None or (ancestors and ancestors[-1].absent):
            self._spool.add(self._number, entry, FileState.PENDING)
            return True
        decision, found = self._decide(self._tree, entry)
        self._spool.add(
            self._number,
            entry,
            decision.state,
            replace=decision.replace,
            reason=decision.reason,
            exit_code=None if decision.reason is None else IncompleteError.exit_code,
        )
        return not found or decision.replace

    def _decide(self, tree: Tree, entry: Entry) -> tuple[Decision, bool]:
        parts = self._parts + split_path(entry.path)
        try:
            found = tree.lookup(parts)
            decision = decide(self._exists, entry, found, lambda: tree.is_vacant(parts))
        except InTheWayError:
            return Decision(state=FileState.FAILED, reason=BLOCKED_REASON), True
        except OSError as error:
            if error.errno in STOPPING:
                raise
            reason = error.strerror or str(error)
            return Decision(state=FileState.FAILED, reason=reason), True
        return decision, found is not None


def _is_below(path: bytes, directory: bytes) -> bool:
    return not directory or path.startswith(directory + b"/")


def _complete_links(spool: Spool, sources: Sequence[SourceEntries]) -> None:
    """Make sure that every hard link has a file to link to, or is that file itself.

    A hard link carries no content. Where its file is not restored (not selected, or something in
    its place is kept), the first such link becomes the file, and the others are linked to it.
    """
    if spool.resolve_links() == 0:
        return
    for number, source in enumerate(sources):
        for item in admit(source.entries()):
            if not isinstance(item, Entry) or item.kind is not EntryKind.FILE:
                continue
            links = spool.open_links(number, item.path)
            if links:
                spool.become_file(links[0], item)
                spool.link(links[1:], links[0])
    spool.fail_open_links(
        "the file that it is a hard link to is not in the manifest", DecodeError.exit_code
    )


def compare_existing(record: Record, tree: Tree, files: FileSystem, pool: Executor) -> None:
    """Hash what stands in the target in place of a file of the same size, a few at a time."""
    waiting: deque[tuple[FileRow, int, Future[bool]]] = deque()

    def settle() -> None:
        row, descriptor, future = waiting.popleft()
        try:
            equal = future.result()
        finally:
            files.close(descriptor)
        record.set([_compared(row, equal=equal)])

    try:
        for row in record.files_equal(FileState.COMPARE):
            try:
                descriptor = tree.open_file(row.parts)
            except OSError as error:
                if error.errno in STOPPING:
                    raise
                record.set([_compared(row, equal=False)])
                continue
            future = pool.submit(has_content, files, descriptor, row.size_bytes, row.sha256)
            waiting.append((row, descriptor, future))
            if len(waiting) >= _COMPARED_AT_ONCE:
                settle()
        while waiting:
            settle()
    finally:
        for _, descriptor, future in waiting:
            future.exception()
            files.close(descriptor)


def _compared(row: FileRow, *, equal: bool) -> Outcome:
    return Outcome(file=row.id, state=FileState.EQUAL if equal else FileState.PENDING)
