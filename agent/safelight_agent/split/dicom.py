"""Cuts of a DICOM file: the header apart from the pixels, and the pixels at their frames.

Editing a patient's name then changes one small chunk and leaves every pixel chunk as it was. Pure:
the cuts follow from the layout alone, so that equal pixels behind different headers are cut alike,
wherever in the file they lie.
"""

from collections.abc import Iterable, Iterator

from safelight_agent.split.cuts import CHUNK_SIZE_MAX, KIB, MIB, Cut, Stream
from safelight_vault.dicom import DEFLATED, DicomFacts, PixelLayout

GROUP_SIZE_MIN = 256 * KIB
"""Small frames are grouped until they have this many bytes: fewer, and places outweigh pixels."""
PIECE_SIZE = 4 * MIB
"""A frame longer than ``CHUNK_SIZE_MAX`` is cut into pieces of at most this many bytes."""


def cut_dicom(facts: DicomFacts, size_bytes: int, fragment_ends: Iterable[int] = ()) -> list[Cut]:
    """The cuts of a file of ``size_bytes``: header, pixels, and what follows them.

    ``fragment_ends`` are the file offsets at which the items of encapsulated pixels end
    (``safelight_vault.dicom.fragment_ends``); without them such pixels are cut into fixed pieces.
    A header or trailer longer than ``CHUNK_SIZE_MAX``, and a deflated file, comes back as one cut
    of stream DATA, to be divided by content; all other cuts respect that limit. Facts that do not
    fit the size (the file changed in between) make the whole file DATA.
    """
    pixels = facts.pixels
    if pixels is None:
        stream = Stream.DATA if facts.transfer_syntax_uid == DEFLATED else Stream.HEADERS
        return list(_header(0, size_bytes, stream))
    end = pixels.offset + pixels.length
    if not 0 <= pixels.offset <= end <= size_bytes:
        return list(_header(0, size_bytes, Stream.DATA))
    if pixels.encapsulated:
        row_size = 1
        unit_ends: Iterable[int] = fragment_ends
    else:
        row_size = _row_size(pixels)
        unit_ends = _frame_ends(pixels)
    return [
        *_header(0, pixels.offset, Stream.HEADERS),
        *_pixels(pixels.offset, end, unit_ends, _piece_size(row_size)),
        *_header(end, size_bytes, Stream.HEADERS),
    ]


def _header(begin: int, end: int, stream: Stream) -> Iterator[Cut]:
    if begin < end:
        yield Cut(begin, end - begin, stream if end - begin <= CHUNK_SIZE_MAX else Stream.DATA)


def _pixels(begin: int, end: int, unit_ends: Iterable[int], piece_size: int) -> Iterator[Cut]:
    """Cut [begin, end) after units (frames, fragments): small ones grouped, large ones divided."""
    unit_begin = begin
    for unit_end in _inside(begin, end, unit_ends):
        if unit_end - begin > CHUNK_SIZE_MAX and begin < unit_begin:
            yield Cut(begin, unit_begin - begin, Stream.PIXELS)
            begin = unit_begin
        if unit_end - begin > CHUNK_SIZE_MAX:
            while unit_end - begin > piece_size:
                yield Cut(begin, piece_size, Stream.PIXELS)
                begin += piece_size
        if unit_end - begin >= GROUP_SIZE_MIN or unit_end == end or unit_begin < begin:
            yield Cut(begin, unit_end - begin, Stream.PIXELS)
            begin = unit_end
        unit_begin = unit_end


def _inside(begin: int, end: int, unit_ends: Iterable[int]) -> Iterator[int]:
    """The unit ends in ascending order that lie inside, closed by the end itself."""
    last = begin
    for unit_end in unit_ends:
        if last < unit_end < end:
            yield unit_end
            last = unit_end
    if last < end:
        yield end


def _frame_ends(pixels: PixelLayout) -> Iterator[int]:
    """Where frames end, small ones by the group; nothing if frames do not begin at whole bytes.

    The byte that pads an odd length is no frame of its own. Chroma-subsampled frames are shorter
    than rows and columns say; there the length itself tells the size of a frame.
    """
    frame_bits = pixels.rows * pixels.columns * pixels.samples_per_pixel * pixels.bits_allocated
    frame_size, odd_bits = divmod(frame_bits, 8)
    if odd_bits or not frame_size or frame_size * pixels.frames > pixels.length:
        frame_size, odd_bytes = divmod(pixels.length, pixels.frames)
        if odd_bytes or not frame_size:
            return
    frames_per_group = -(-GROUP_SIZE_MIN // frame_size)
    for number in range(frames_per_group, pixels.frames, frames_per_group):
        yield pixels.offset + number * frame_size
    frames_size = pixels.frames * frame_size
    if pixels.length - frames_size > 1:
        yield pixels.offset + frames_size


def _row_size(pixels: PixelLayout) -> int:
    """Bytes of one row of a frame, or of one row of a plane; 1 if rows are no whole bytes."""
    samples = 1 if pixels.planar else pixels.samples_per_pixel
    row_size, odd_bits = divmod(pixels.columns * samples * pixels.bits_allocated, 8)
    return row_size if row_size and not odd_bits else 1


def _piece_size(row_size: int) -> int:
    return PIECE_SIZE - PIECE_SIZE % row_size if row_size <= PIECE_SIZE else PIECE_SIZE
