"""The pipeline of one run: found → read and split (workers) → packed → a row in the file table.

Order is kept from end to end, and what is in flight is bounded by bytes, so memory depends on the
work under way and never on the size of the archive.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from safelight_agent.file_table import FileTable
from safelight_agent.packing import Packer, Slot
from safelight_agent.reading import (
    SMALL_FILE_MAX,
    FileProblem,
    FileRead,
    LargeReading,
    Piece,
    ReadOptions,
    Segment,
    parse_large,
    read_batch,
    settle,
)
from safelight_agent.source import Found
from safelight_agent.source.content import Content
from safelight_agent.throttle import RateLimit
from safelight_vault.dicom import DicomFacts
from safelight_vault.format.catalogue import Instance, encode_instance
from safelight_vault.format.manifest import (
    PATH_LENGTH_MAX,
    DicomState,
    Entry,
    EntryKind,
    Hole,
    encode_entry,
    entry_key,
    objection,
)
from safelight_vault.format.place import Place

BATCH_FILES_MAX = 64
BATCH_BYTES_MAX = 8 << 20


@dataclass(slots=True)
class Counts:
    """What a run counted so far. ``bytes_read`` are logical bytes of files that were read."""

    files: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    files_failed: int = 0
    files_vanished: int = 0
    files_skipped: int = 0
    files_unstable: int = 0
    bytes: int = 0
    bytes_read: int = 0


@dataclass(slots=True)
class _Batch:
    found: list[Found] = field(default_factory=list)
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file whose pieces are on their way; its row is written when all have a place."""

    read: FileRead
    extents: tuple[Place | Slot | Hole, ...]


class Pipeline:
    """Takes what the scan found and leaves rows in the file table."""

    def __init__(
        self,
        *,
        options: ReadOptions,
        files: FileTable,
        packer: Packer,
        executor: Executor,
        limit: RateLimit,
        now_us: Callable[[], int],
        in_flight_bytes: int,
        tasks_at_once: int,
        on_failure: Callable[[bytes, str], None],
    ) -> None:
        self._options = options
        self._files = files
        self._packer = packer
        self._executor = executor
        self._limit = limit
        self._now_us = now_us
        self._budget_bytes = in_flight_bytes
        self._tasks_at_once = tasks_at_once
        self._on_failure = on_failure
        self._batch = _Batch()
        self._reading: deque[tuple[_Batch, Future[list[FileRead | FileProblem]]]] = deque()
        self._reading_bytes = 0
        self._waiting: deque[_Waiting] = deque()
        self.counts = Counts()

    def add_file(self, found: Found) -> None:
        """Read a regular file, soon."""
        if found.size_bytes > SMALL_FILE_MAX:
            self._submit_batch()
            self._collect(everything=True)
            self._read_large(found)
            return
        self._batch.found.append(found)
        self._batch.size_bytes += found.size_bytes
        if self._batch.size_bytes >= BATCH_BYTES_MAX or len(self._batch.found) >= BATCH_FILES_MAX:
            self._submit_batch()

    def add_other(self, found: Found, link_target: bytes | None = None) -> None:
        """Record a directory or link; with ``link_target``, a further name of a file."""
        hard_link = link_target is not None
        entry = Entry(
            path=found.path,
            kind=EntryKind.HARD_LINK if hard_link else found.kind,
            mode=found.mode,
            uid=found.uid,
            gid=found.gid,
            mtime_ns=found.mtime_ns,
            link_target=link_target if link_target is not None else found.link_target,
            xattrs=found.xattrs,
        )
        self._record(found, entry, None, read_us=self._now_us())

    def _record(
        self, found: Found, entry: Entry, facts: DicomFacts | None, *, read_us: int
    ) -> None:
        limit = objection(entry)
        if limit is not None:
            self.fail(found.path, limit)
            return
        key = entry_key(found.path)
        self._files.put(key, found, encode_entry(entry), read_us=read_us)
        self._files.put_instance(key, _instance_row(found.path, facts))

    def fail(self, path: bytes, reason: str) -> None:
        """A path that could not be read: listed, and the snapshot is incomplete."""
        self.counts.files_failed += 1
        self._files.put_failure(entry_key(path[:PATH_LENGTH_MAX].rstrip(b"/")), reason)
        self._on_failure(path, reason)

    def add_stream(self, found: Found, read: Callable[[int], bytes]) -> None:
        """Store a stream to its end as one file; ``found`` describes it, but for its size."""
        reading = LargeReading(self._options)
        extents = list(self._pack(reading.of_stream(read)))
        file = FileRead(
            found=found,
            sha256=reading.sha256,
            segments=(),
            dicom=DicomState.OTHER,
            facts=None,
            unstable=False,
        )
        self._wait_for(file, tuple(extents), reading.size_bytes)

    def _submit_batch(self) -> None:
        batch, self._batch = self._batch, _Batch()
        if not batch.found:
            return
        self._limit.take(batch.size_bytes)
        self._reading_bytes += batch.size_bytes
        self._reading.append((batch, self._executor.submit(read_batch, self._options, batch.found)))
        self._collect(everything=False)

    def _collect(self, *, everything: bool) -> None:
        while self._reading and (
            everything
            or self._reading[0][1].done()
            or self._reading_bytes > self._budget_bytes
            or len(self._reading) > self._tasks_at_once
        ):
            batch, future = self._reading.popleft()
            for read in future.result():
                self._take(read)
            self._reading_bytes -= batch.size_bytes
        self._write_rows()

    def _take(self, read: FileRead | FileProblem) -> None:
        if isinstance(read, FileProblem):
            self._take_problem(read)
            return
        extents = tuple(self._pack(iter(read.segments)))
        self._wait_for(read, extents, sum(_length(segment) for segment in read.segments))

    def _take_problem(self, problem: FileProblem) -> None:
        if problem.vanished:
            self.counts.files_vanished += 1
        else:
            self.fail(problem.found.path, problem.reason)

    def _pack(self, segments: Iterator[Segment]) -> Iterator[Place | Slot | Hole]:
        for segment in segments:
            if isinstance(segment, Piece):
                yield self._packer.add(segment.chunk_id, segment.data, segment.stream)
            else:
                yield segment

    def _read_large(self, found: Found) -> None:
        extents: list[Place | Slot | Hole] = []
        sizes: list[int] = []

        def read(options: ReadOptions, content: Content) -> FileRead:
            extents.clear()
            reading = LargeReading(options)
            dicom, facts = parse_large(content)
            extents.extend(self._pack(self._limited(reading.of_content(content, facts))))
            sizes[:] = [reading.size_bytes]
            return FileRead(
                found=content.found,
                sha256=reading.sha256,
                segments=(),
                dicom=dicom,
                facts=facts,
                unstable=False,
            )

        outcome = settle(self._options, found, read)
        if isinstance(outcome, FileProblem):
            self._take_problem(outcome)
        else:
            self._wait_for(outcome, tuple(extents), sizes[0])

    def _limited(self, segments: Iterator[Segment]) -> Iterator[Segment]:
        for segment in segments:
            if isinstance(segment, Piece):
                self._limit.take(len(segment.data))
            yield segment

    def _wait_for(
        self, read: FileRead, extents: tuple[Place | Slot | Hole, ...], size_bytes: int
    ) -> None:
        self.counts.files += 1
        self.counts.bytes += size_bytes
        self.counts.bytes_read += size_bytes
        if read.unstable:
            self.counts.files_unstable += 1
        lean = FileRead(
            found=read.found,
            sha256=read.sha256,
            segments=(),
            dicom=read.dicom,
            facts=read.facts,
            unstable=read.unstable,
        )
        self._waiting.append(_Waiting(lean, extents))
        self._write_rows()

    def _write_rows(self) -> None:
        while self._waiting:
            extents = _settled(self._waiting[0].extents)
            if extents is None:
                return
            self._write_row(self._waiting.popleft().read, extents)

    def _write_row(self, read: FileRead, extents: tuple[Place | Hole, ...]) -> None:
        found = read.found
        key = entry_key(found.path)
        if self._files.find(key) is None:
            self.counts.files_new += 1
        else:
            self.counts.files_changed += 1
        entry = Entry(
            path=found.path,
            kind=EntryKind.FILE,
            mode=found.mode,
            uid=found.uid,
            gid=found.gid,
            mtime_ns=found.mtime_ns,
            size_bytes=sum(extent.length for extent in extents),
            sha256=read.sha256,
            extents=extents,
            xattrs=found.xattrs,
            dicom=read.dicom,
            unstable=read.unstable,
        )
        # An unstable file is never "unchanged": it is read again by the next run.
        read_us = 0 if read.unstable else self._now_us()
        self._record(found, entry, read.facts, read_us=read_us)

    def finish(self) -> None:
        """Read, pack and record everything that was added; packs may still be open."""
        self._submit_batch()
        self._collect(everything=True)
        self._packer.seal_blocks()
        self._write_rows()


def _length(segment: Segment) -> int:
    return len(segment.data) if isinstance(segment, Piece) else segment.length


def _settled(extents: tuple[Place | Slot | Hole, ...]) -> tuple[Place | Hole, ...] | None:
    settled: list[Place | Hole] = []
    for extent in extents:
        if isinstance(extent, Slot):
            if extent.place is None:
                return None
            settled.append(extent.place)
        else:
            settled.append(extent)
    return tuple(settled)


def _instance_row(path: bytes, facts: DicomFacts | None) -> tuple[bytes, bytes] | None:
    if facts is None:
        return None
    return encode_instance(
        Instance(
            path=path,
            patient_id=facts.patient_id,
            study_instance_uid=facts.study_instance_uid,
            series_instance_uid=facts.series_instance_uid,
            sop_instance_uid=facts.sop_instance_uid,
            patient_name=facts.patient_name,
            study_date=facts.study_date,
            study_description=facts.study_description,
            series_description=facts.series_description,
            modality=facts.modality,
            accession_number=facts.accession_number,
        )
    )
