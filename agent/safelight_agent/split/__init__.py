"""Splitting: from the bytes of a file to the chunks that are stored, deduplicated and restored.

DICOM is cut at its pixels and frames, everything else by content. The invariant: the cuts of a file
lie back to back from its first byte to its last, and equal stretches of bytes are mostly cut alike,
in whatever file and at whatever offset they stand.
"""

from collections.abc import Iterator

from safelight_agent.split.content import ContentCutter
from safelight_agent.split.cuts import CHUNK_SIZE_MAX, MIB, Cut, Stream
from safelight_agent.split.dicom import cut_dicom
from safelight_vault.dicom import DicomFacts, Read, fragment_ends

__all__ = [
    "CHUNK_SIZE_MAX",
    "ContentCutter",
    "Cut",
    "Stream",
    "cut_dicom",
    "split_file",
    "split_large_file",
]

_WINDOW_SIZE = 4 * MIB


def split_file(
    data: bytes | memoryview, facts: DicomFacts | None, cutter: ContentCutter
) -> list[Cut]:
    """The cuts of a file that is wholly in memory; ``facts`` if it parsed as DICOM."""
    view = memoryview(data)

    def read(offset: int, length: int) -> bytes:
        return bytes(view[offset : offset + length])

    cuts: list[Cut] = []
    for cut in _plan(read, len(view), facts):
        if cut.stream is not Stream.DATA:
            cuts.append(cut)
            continue
        offset = cut.offset
        for length in cutter.cut(view[offset : offset + cut.length]):
            cuts.append(Cut(offset, length, Stream.DATA))
            offset += length
    return cuts


def split_large_file(
    read: Read, size_bytes: int, facts: DicomFacts | None, cutter: ContentCutter
) -> Iterator[tuple[Cut, bytes]]:
    """The cuts of a file too large for memory, each with its bytes; every byte is read once.

    The same cuts as ``split_file`` gives. If the file turns out shorter than ``size_bytes``, the
    cuts end where its bytes end: the caller compares what it got with what it expected.
    """
    for cut in _plan(read, size_bytes, facts):
        if cut.stream is not Stream.DATA:
            piece = read(cut.offset, cut.length)
            if piece:
                yield Cut(cut.offset, len(piece), cut.stream), piece
            if len(piece) < cut.length:
                return
            continue
        offset = cut.offset
        for chunk in cutter.chunks(_windows(read, cut)):
            yield Cut(offset, len(chunk), Stream.DATA), chunk
            offset += len(chunk)
        if offset < cut.offset + cut.length:
            return


def _plan(read: Read, size_bytes: int, facts: DicomFacts | None) -> list[Cut]:
    """Cuts by structure; those of stream DATA are still to be divided by content."""
    if facts is None:
        return [Cut(0, size_bytes, Stream.DATA)] if size_bytes else []
    if facts.pixels is None or not facts.pixels.encapsulated:
        return cut_dicom(facts, size_bytes)
    return cut_dicom(facts, size_bytes, fragment_ends(read, size_bytes, facts.pixels))


def _windows(read: Read, cut: Cut) -> Iterator[bytes]:
    """The bytes of one cut, in windows; ends early where the file does."""
    end = cut.offset + cut.length
    offset = cut.offset
    while offset < end:
        window = read(offset, min(_WINDOW_SIZE, end - offset))
        if not window:
            return
        yield window
        offset += len(window)
