"""Reading files into pieces: open, read, prove that it held still, parse, split, name.

Pure tasks for workers: a batch of small files at once, a large file window by window. The
invariant: the hash, the pieces and the description of a file belong to one and the same reading of
it; a file that does not settle is taken as it was read last and marked unstable.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from safelight_agent.source import (
    ContentChangedError,
    Found,
    Skipped,
    Unreadable,
    UnreadableError,
    VanishedError,
)
from safelight_agent.source.content import Content, open_content
from safelight_agent.source.metadata import look_again
from safelight_agent.split import ContentCutter, Cut, split_file, split_large_file
from safelight_vault.dicom import DicomFacts, parse, parse_head
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.manifest import DicomState, EntryKind, Hole
from safelight_vault.format.pack import Stream

SMALL_FILE_MAX = 32 << 20
"""Files up to this size are read whole by a worker; longer ones go window by window."""
WINDOW_SIZE = 8 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk's worth of a file's bytes, named."""

    chunk_id: bytes
    data: bytes
    stream: Stream


Segment: TypeAlias = Piece | Hole


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRead:
    """A file as it was read: ``found`` describes the very reading that ``sha256`` hashes."""

    found: Found
    sha256: bytes
    segments: tuple[Segment, ...]
    dicom: DicomState
    facts: DicomFacts | None
    unstable: bool


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that could not be read, or was gone."""

    found: Found
    reason: str
    vanished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a worker needs to know: the tree's root, the keys, and how often to try."""

    root: bytes
    keys: DedupKeys
    cutter: ContentCutter
    attempts: int


def read_batch(options: ReadOptions, batch: Sequence[Found]) -> list[FileRead | FileProblem]:
    """Read small files; one answer for each, in order. A task for a worker."""
    return [settle(options, found, _read_small) for found in batch]


def settle(
    options: ReadOptions,
    found: Found,
    read: Callable[[ReadOptions, Content], FileRead],
) -> FileRead | FileProblem:
    """Read a file until it held still, at most ``attempts`` times."""
    last: FileRead | None = None
    reason = "it changed while it was being read"
    for _ in range(options.attempts):
        try:
            with open_content(options.root, found) as content:
                last = read(options, content)
                if not content.changed():
                    return last
                found = content.found
        except (VanishedError, ContentChangedError) as error:
            reason = error.message
            again = _find_again(options.root, found)
            if isinstance(again, FileProblem):
                return again
            found = again
        except UnreadableError as error:
            return FileProblem(found, error.message, vanished=False)
    if last is not None:
        return replace(last, unstable=True)
    return FileProblem(found, reason, vanished=False)


def _find_again(root: bytes, found: Found) -> Found | FileProblem:
    """The file as it is now: replaced by another, or really gone."""
    again = look_again(root, found.path)
    if isinstance(again, Skipped):
        return FileProblem(found, again.reason, vanished=True)
    if isinstance(again, Unreadable):
        return FileProblem(found, again.reason, vanished=False)
    if again.kind is not EntryKind.FILE:
        return FileProblem(found, "something else has taken its place", vanished=False)
    return again


def _read_small(options: ReadOptions, content: Content) -> FileRead:
    size = content.size_bytes
    if size > SMALL_FILE_MAX:
        raise ContentChangedError("it grew while the run was going on")
    ranges = content.data_ranges()
    whole = ranges == [(0, size)] if size else True
    data = content.read(0, size)
    dicom, facts = parse(data)
    if whole:
        cuts = split_file(data, facts, options.cutter)
        segments: tuple[Segment, ...] = tuple(_piece(options.keys, data, cut) for cut in cuts)
    else:
        segments = tuple(_sparse_segments(options, data, ranges))
    return FileRead(
        found=content.found,
        sha256=hashlib.sha256(data).digest(),
        segments=segments,
        dicom=dicom,
        facts=facts,
        unstable=False,
    )


def _piece(keys: DedupKeys, data: bytes, cut: Cut) -> Piece:
    piece = data[cut.offset : cut.offset + cut.length]
    return Piece(keys.chunk_id(piece), piece, cut.stream)


def _sparse_segments(
    options: ReadOptions, data: bytes, ranges: list[tuple[int, int]]
) -> Iterator[Segment]:
    position = 0
    for offset, length in ranges:
        if offset > position:
            yield Hole(offset - position)
        part = data[offset : offset + length]
        for cut in split_file(part, None, options.cutter):
            yield _piece(options.keys, part, cut)
        position = offset + length
    if position < len(data):
        yield Hole(len(data) - position)


class LargeReading:
    """A file or stream too long for memory, handed out in segments while it is being hashed."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> bytes:
        """Of everything handed out so far, holes as zeros."""
        return self._digest.digest()

    def of_stream(self, read: Callable[[int], bytes]) -> Iterator[Segment]:
        """The segments of a stream that is read to its end."""
        for data in self._options.cutter.chunks(_windows(read)):
            yield self._data(data, Stream.DATA)

    def of_content(self, content: Content, facts: DicomFacts | None) -> Iterator[Segment]:
        """The segments of an open file."""
        size = content.size_bytes
        ranges = content.data_ranges()
        if len(ranges) > 1 or ranges != [(0, size)]:
            facts = None  # a sparse file is cut by content, between its holes
        position = 0
        for offset, length in ranges:
            if offset > position:
                yield self._hole(offset - position)
            read = _range_reader(content, offset)
            for cut, data in split_large_file(read, length, facts, self._options.cutter):
                yield self._data(data, cut.stream)
            position = offset + length
        if position < size:
            yield self._hole(size - position)

    def _data(self, data: bytes, stream: Stream) -> Piece:
        self._digest.update(data)
        self.size_bytes += len(data)
        return Piece(self._options.keys.chunk_id(data), data, stream)

    def _hole(self, length: int) -> Hole:
        zeros = bytes(min(length, WINDOW_SIZE))
        left = length
        while left:
            self._digest.update(memoryview(zeros)[: min(left, WINDOW_SIZE)])
            left -= min(left, WINDOW_SIZE)
        self.size_bytes += length
        return Hole(length)


def parse_large(content: Content) -> tuple[DicomState, DicomFacts | None]:
    """The DICOM facts of a file too long for memory: only what precedes the pixels is read."""

    def read(offset: int, length: int) -> bytes:
        return content.read(offset, min(length, content.size_bytes - offset))

    return parse_head(read, content.size_bytes)


def _windows(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while data := read(WINDOW_SIZE):
        yield data


def _range_reader(content: Content, start: int) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        return content.read(start + offset, length)

    return read
