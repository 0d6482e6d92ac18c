"""What a file is as DICOM: whether it parses, whom it belongs to, and where its pixels lie.

The only door to pydicom. Ordinary files are read by our own bounded walk (``dicom_walk``), many
times faster; whatever the walk does not know is handed to pydicom through a metered file. The
invariants: *no bytes make this module raise* (only an error of ``read`` itself passes through), and
time and memory are bounded whatever a file claims.

Backup and verification use the same function, ``parse``. The hash already proves that a restored
file is the one that was backed up; a parse that fails now and did not then is therefore news about
the reader or about an attack on the hash. A stricter look at verification alone would instead
report what was wrong in the archive all along as a failed restore. ``parse_fully`` is that stricter
look, for statements about the archive itself.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_SET
from typing import BinaryIO, cast

from pydicom import config as pydicom_config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.sequence import Sequence
from pydicom.values import TEXT_VR_DELIMS

from safelight_vault.dicom_walk import (
    DEPTH_MAX,
    PIXEL_DATA,
    PREFIX,
    PREFIX_OFFSET,
    TRANSFER_SYNTAX,
    UNDEFINED_LENGTH,
    VALUE_MAX,
    DamagedError,
    FileBytes,
    PixelElement,
    Read,
    UnusualError,
    Walk,
    inflate,
)
from safelight_vault.format.manifest import DicomState

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

TEXT_LENGTH_MAX = 1024
"""Longest text in ``DicomFacts`` in characters; the standard ends at 64 (names: 3 x 64)."""

_TEXTS = {
    "patient_id": 0x0010_0020,
    "patient_name": 0x0010_0010,
    "study_instance_uid": 0x0020_000D,
    "series_instance_uid": 0x0020_000E,
    "sop_instance_uid": 0x0008_0018,
    "sop_class_uid": 0x0008_0016,
    "modality": 0x0008_0060,
    "study_date": 0x0008_0020,
    "study_time": 0x0008_0030,
    "accession_number": 0x0008_0050,
    "study_description": 0x0008_1030,
    "series_description": 0x0008_103E,
}
"""The fields of ``DicomFacts`` that are one element's text, and that element's tag."""

_CHARACTER_SET = 0x0008_0005
_SAMPLES_PER_PIXEL = 0x0028_0002
_PHOTOMETRIC_INTERPRETATION = 0x0028_0004
_PLANAR_CONFIGURATION = 0x0028_0006
_NUMBER_OF_FRAMES = 0x0028_0008
_ROWS = 0x0028_0010
_COLUMNS = 0x0028_0011
_BITS_ALLOCATED = 0x0028_0100
_BITS_STORED = 0x0028_0101
_PIXEL_REPRESENTATION = 0x0028_0103
_WANTED = frozenset(_TEXTS.values()) | {
    _CHARACTER_SET,
    _SAMPLES_PER_PIXEL,
    _PHOTOMETRIC_INTERPRETATION,
    _PLANAR_CONFIGURATION,
    _NUMBER_OF_FRAMES,
    _ROWS,
    _COLUMNS,
    _BITS_ALLOCATED,
    _BITS_STORED,
    _PIXEL_REPRESENTATION,
}

_SIMPLE_CHARACTER_SETS = {
    b"": "latin-1",
    b"ISO_IR 6": "latin-1",
    b"ISO_IR 100": "latin-1",
    b"ISO_IR 192": "utf-8",
}
"""No set at all is ASCII by the standard and latin-1 in practice (and to pydicom)."""

_SUBSAMPLED = {b"YBR_FULL_422": (2, 3), b"YBR_PARTIAL_422": (2, 3), b"YBR_PARTIAL_420": (1, 2)}
"""The part of the nominal size that uncompressed chroma-subsampled pixels take (PS3.5 8.2)."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_UID_LENGTH_MAX = 64
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-9](\.1)?")
"""MPEG and HEVC: one stream holds all frames, whatever the number of fragments."""

_FOREIGN_CALLS_MAX = 500_000
_FOREIGN_BYTES_MAX = 128 * 1024 * 1024
"""What pydicom may call and read in one file: about a second, and a small part of our memory."""
_CONVERTED_BYTES_MAX = 16 * 1024 * 1024
"""Most bytes of values that ``parse_fully`` has converted; tiny elements take fifty times as much."""


def _quieten_pydicom() -> None:
    """Keep pydicom's remarks out of logs and standard error: they quote values of patients."""
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


_quieten_pydicom()


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """Where the value of Pixel Data (7FE0,0010) lies in the file, and how it is built.

    ``offset`` and ``length`` are in bytes of the file; of encapsulated pixels the value runs from
    the Basic Offset Table to the end of the sequence delimiter. What the file does not say is 0
    (``frames``: 1). ``transfer_syntax_uid`` is inferred where the file names none. A defined length
    is at least what rows, columns, samples, bits and frames promise, and may be more.
    """

    offset: int
    length: int
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    planar: bool
    frames: int
    big_endian: bool
    encapsulated: bool
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomFacts:
    """What the catalogue and the splitter need of a DICOM file.

    Texts are decoded by the file's character set, without padding, possibly empty, cut at
    ``TEXT_LENGTH_MAX`` characters; several values stay joined by a backslash. ``pixels`` is None
    without Pixel Data (Float and Double Pixel Data included) and in a deflated file, whose data set
    has no offsets. ``transfer_syntax_uid`` is what the file says.
    """

    patient_id: str
    patient_name: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    study_date: str
    study_time: str
    accession_number: str
    study_description: str
    series_description: str
    transfer_syntax_uid: str
    pixels: PixelLayout | None


def parse(data: bytes | memoryview) -> tuple[DicomState, DicomFacts | None]:
    """Whether the bytes of a whole file are DICOM, and the facts if they are. Never raises.

    OTHER: no DICOM file. FAILED: the DICM prefix is there, but the elements do not follow one
    another to the end, a value or an item reaches past the end, or the pixels are fewer than the
    header promises. PARSED: everything else with the prefix; without it only a data set that begins
    in group 0002 or 0008 and has valid SOP class and instance UIDs (some PACS store what they
    received). A file beyond the limits of the walk counts as FAILED (or OTHER).
    """
    return _parse(FileBytes.of(data))


def parse_head(read: Read, size_bytes: int) -> tuple[DicomState, DicomFacts | None]:
    """The same answer as ``parse`` for a file too large for memory.

    ``read(offset, length)`` is asked for the header and then for the places where elements, items
    and fragments begin, never for pixels; a deflated data set is read whole. Errors of ``read``
    pass through; an answer that is too short makes the file FAILED (or OTHER).
    """
    return _parse(FileBytes(read, size_bytes))


def parse_fully(data: bytes | memoryview) -> DicomState:
    """A stricter ``parse``: pydicom converts every value down to the last nested sequence.

    Values before the pixels that contradict their VR, damage inside sequences, and encapsulated
    pixels with fewer fragments than frames or a wrong Basic Offset Table make it FAILED; so does a
    header too large to convert within bounds. Never raises.
    """
    state, facts = parse(data)
    if state is not DicomState.PARSED or facts is None:
        return state
    try:
        _convert_all(_read_up_to_pixels(FileBytes.of(data), facts.transfer_syntax_uid))
        if facts.pixels is not None and facts.pixels.encapsulated:
            _check_fragments(FileBytes.of(data), facts.pixels)
    except Exception:  # noqa: BLE001 - whatever pydicom raises, it could not read the file
        return DicomState.FAILED
    return DicomState.PARSED


def fragment_ends(read: Read, size_bytes: int, pixels: PixelLayout) -> Iterator[int]:
    """Where each item of encapsulated pixels ends in the file, the Basic Offset Table first.

    The end of the last item is that of the whole value. Items lie back to back, so each begins
    where the one before ends. For the layout of a PARSED file whose bytes did not change; otherwise
    the list may end early.
    """
    walk = Walk(FileBytes(read, size_bytes), big_endian=pixels.big_endian)
    try:
        yield from walk.item_ends(pixels.offset)
    except DamagedError:
        return


def _parse(file: FileBytes) -> tuple[DicomState, DicomFacts | None]:
    prefixed = False
    try:
        prefixed = file.take(PREFIX_OFFSET, len(PREFIX)) == PREFIX
        if not prefixed and not _may_begin_data_set(file.take(0, 6)):
            return DicomState.OTHER, None
        facts = _read_facts(file, prefixed=prefixed)
    except DamagedError:
        return (DicomState.FAILED if prefixed else DicomState.OTHER), None
    if not prefixed and not (_is_uid(facts.sop_class_uid) and _is_uid(facts.sop_instance_uid)):
        return DicomState.OTHER, None
    return DicomState.PARSED, facts


def _may_begin_data_set(head: bytes) -> bool:
    """Whether a file without prefix begins like file meta or like group 0008, either byte order."""
    return (
        head[:2] in {b"\x02\0", b"\x08\0"}
        and head[3:4] in {b"\0", b"\1"}
        or (head[:2] == b"\0\x08" and head[2:3] == b"\0")
    )


def _is_uid(text: str) -> bool:
    return len(text) <= _UID_LENGTH_MAX and _UID.fullmatch(text) is not None


def _read_facts(file: FileBytes, *, prefixed: bool) -> DicomFacts:
    if prefixed:
        try:
            return _walk_facts(file)
        except UnusualError:
            pass
    return _foreign_facts(file, prefixed=prefixed)


def _walk_facts(file: FileBytes) -> DicomFacts:
    raw_syntax, start = Walk(file).file_meta(PREFIX_OFFSET + len(PREFIX))
    syntax = _plain_text(raw_syntax)
    if syntax == DEFLATED:
        try:
            found = Walk(FileBytes.of(inflate(file, start))).data_set(0, _WANTED)
        except UnusualError as error:
            # pydicom would inflate without a limit
            raise DamagedError("an unusual encoding inside a deflated data set") from error
    else:
        found = Walk(file, big_endian=syntax == EXPLICIT_BIG).data_set(start, _WANTED)
    if not found.element_count:
        raise DamagedError("there is no data set")
    return _facts(
        found.values,
        found.pixels,
        stated_syntax=syntax,
        actual_syntax=syntax,
    )


class _MeteredFile:
    """The file object that pydicom sees: every loop of its reader comes through here.

    Seeking past the end means that a skipped value is not all there. An error of the underlying
    read is kept, because pydicom turns some into its own.
    """

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._position = 0
        self._calls_left = _FOREIGN_CALLS_MAX
        self._bytes_left = _FOREIGN_BYTES_MAX
        self.failure: Exception | None = None

    def _charge(self, size: int) -> None:
        self._calls_left -= 1
        self._bytes_left -= size
        if self._calls_left < 0 or self._bytes_left < 0:
            raise DamagedError("too much to read")

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise DamagedError("reading without a limit is how pydicom inflates")
        size = max(0, min(size, self._file.size_bytes - self._position))
        self._charge(size)
        try:
            data = self._file.take(self._position, size)
        except Exception as error:
            self.failure = error
            raise
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._charge(0)
        self._position = offset + (self._position if whence == SEEK_CUR else 0)
        if self._position > self._file.size_bytes:
            raise DamagedError("a value reaches past the end of the file")
        return self._position

    def tell(self) -> int:
        return self._position


def _foreign_facts(file: FileBytes, *, prefixed: bool) -> DicomFacts:
    """The facts of an unusual file, with pydicom reading up to the pixels."""
    metered = _MeteredFile(file)
    seen: list[tuple[int, int]] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        del vr
        if tag == PIXEL_DATA:
            seen[:] = [(metered.tell(), length)]
        return tag == PIXEL_DATA

    try:
        dataset = read_partial(
            cast(BinaryIO, metered),
            stop_when=at_pixels,
            force=not prefixed,
            specific_tags=list(_WANTED),
        )
        values = {tag: value for tag in _WANTED if (value := _raw(dataset, tag)) is not None}
        stated_syntax = _plain_text(_raw(dataset.file_meta, TRANSFER_SYNTAX) or b"")
        implicit, little = dataset.original_encoding
    except Exception as error:
        if metered.failure is not None and not isinstance(metered.failure, DamagedError):
            raise metered.failure from None
        raise DamagedError("pydicom cannot read it") from error
    if not values and not seen:
        raise DamagedError("there is no data set")
    inferred = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
    pixels = None
    if seen:
        offset, length = seen[0]
        encapsulated = length == UNDEFINED_LENGTH
        if encapsulated:
            *_, end = Walk(file, big_endian=not little).item_ends(offset)
            length = end - offset
        if offset + length > file.size_bytes:
            raise DamagedError("pixel data reaches past the end of the file")
        pixels = PixelElement(offset=offset, length=length, encapsulated=encapsulated)
    return _facts(
        values, pixels, stated_syntax=stated_syntax, actual_syntax=stated_syntax or inferred
    )


def _raw(dataset: Dataset, tag: int) -> bytes | None:
    """The bytes of a value as they stand in the file."""
    element = dataset.get_item(tag) if tag in dataset else None
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    if len(element.value) < element.length != UNDEFINED_LENGTH:
        raise DamagedError("a value reaches past the end of the file")
    return element.value[:VALUE_MAX]


def _facts(
    values: dict[int, bytes],
    element: PixelElement | None,
    *,
    stated_syntax: str,
    actual_syntax: str,
) -> DicomFacts:
    charset = _plain_text(values.get(_CHARACTER_SET, b""))
    texts = {name: _text(values.get(tag, b""), charset) for name, tag in _TEXTS.items()}
    # empty component groups at a name's end say nothing (PS3.5 6.2.1.2)
    texts["patient_name"] = texts["patient_name"].rstrip("=")
    pixels = None
    if element is not None:
        pixels = _layout(values, element, actual_syntax)
        _check_promise(pixels, values.get(_PHOTOMETRIC_INTERPRETATION, b"").strip(b"\0 "))
    return DicomFacts(
        **texts,
        transfer_syntax_uid=stated_syntax,
        pixels=None if stated_syntax == DEFLATED else pixels,
    )


def _layout(values: dict[int, bytes], element: PixelElement, syntax: str) -> PixelLayout:
    big_endian = syntax == EXPLICIT_BIG

    def number(tag: int) -> int:
        return int.from_bytes(values.get(tag, b"")[:2], "big" if big_endian else "little")

    return PixelLayout(
        offset=element.offset,
        length=element.length,
        rows=number(_ROWS),
        columns=number(_COLUMNS),
        samples_per_pixel=number(_SAMPLES_PER_PIXEL),
        bits_allocated=number(_BITS_ALLOCATED),
        bits_stored=number(_BITS_STORED),
        signed=number(_PIXEL_REPRESENTATION) == 1,
        planar=number(_PLANAR_CONFIGURATION) == 1,
        frames=_frames(values.get(_NUMBER_OF_FRAMES, b"")),
        big_endian=big_endian,
        encapsulated=element.encapsulated,
        transfer_syntax_uid=syntax,
    )


def _frames(raw: bytes) -> int:
    """Number of Frames is an integer string of at most 12 characters; none or zero means one."""
    digits = raw.split(b"\\")[0].strip(b"\0 +")
    return int(digits) or 1 if digits.isdigit() and len(digits) <= 12 else 1


def _check_promise(pixels: PixelLayout, photometric: bytes) -> None:
    """Raise ``DamagedError`` if uncompressed pixels are shorter than their header promises."""
    if pixels.encapsulated:
        return
    part, whole = _SUBSAMPLED.get(photometric, (1, 1))
    samples = pixels.rows * pixels.columns * pixels.samples_per_pixel * pixels.frames
    if pixels.length * 8 < samples * pixels.bits_allocated * part // whole:
        raise DamagedError("pixel data is shorter than rows, columns and frames promise")


def _plain_text(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


def _text(raw: bytes, charset: str) -> str:
    """A text value as pydicom would show it, cut at ``TEXT_LENGTH_MAX`` characters."""
    raw = raw.rstrip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        # ASCII is the same in every character set of DICOM
        return raw.decode("ascii")[:TEXT_LENGTH_MAX]
    simple = _SIMPLE_CHARACTER_SETS.get(charset.encode("latin-1"))
    if simple is not None:
        return raw.decode(simple, errors="replace")[:TEXT_LENGTH_MAX]
    try:
        encodings = convert_encodings([term.strip() for term in charset.split("\\")])
        return decode_bytes(raw, encodings, TEXT_VR_DELIMS)[:TEXT_LENGTH_MAX]
    except Exception:  # noqa: BLE001 - a codec gave up on hostile bytes; any text will do
        return raw.decode("latin-1")[:TEXT_LENGTH_MAX]


def _read_up_to_pixels(file: FileBytes, syntax: str) -> Dataset:
    if syntax == DEFLATED:
        _, start = Walk(file).file_meta(PREFIX_OFFSET + len(PREFIX))
        inflated = _MeteredFile(FileBytes.of(inflate(file, start)))
        return read_dataset(cast(BinaryIO, inflated), is_implicit_VR=False, is_little_endian=True)
    return read_partial(
        cast(BinaryIO, _MeteredFile(file)),
        stop_when=lambda tag, vr, length: tag == PIXEL_DATA,  # noqa: ARG005 - pydicom's signature
        force=True,
    )


def _convert_all(dataset: Dataset) -> None:
    """Have pydicom convert every value; a list takes the place of recursion."""
    allowance = _CONVERTED_BYTES_MAX
    pending = [(dataset, 0)]
    while pending:
        current, depth = pending.pop()
        if depth > DEPTH_MAX:
            raise DamagedError("sequences are nested too deep")
        for tag in list(current.keys()):
            raw = current.get_item(tag)
            if isinstance(raw, RawDataElement):
                size = len(raw.value or b"")
                if size < raw.length != UNDEFINED_LENGTH:
                    raise DamagedError("a value is shorter than its length field says")
                allowance -= size
                if allowance < 0:
                    raise DamagedError("too much to convert")
            value = current[tag].value
            if isinstance(value, Sequence):
                pending.extend((item, depth + 1) for item in value)


def _check_fragments(file: FileBytes, pixels: PixelLayout) -> None:
    """Raise ``DamagedError`` unless there is a fragment for each frame and the table fits them."""
    ends = list(Walk(file, big_endian=pixels.big_endian).item_ends(pixels.offset))
    starts = {end - ends[0] for end in ends[:-1]}
    is_video = _VIDEO.fullmatch(pixels.transfer_syntax_uid) is not None
    if len(starts) < (1 if is_video else pixels.frames):
        raise DamagedError("fewer fragments than frames")
    table = file.take(pixels.offset + 8, ends[0] - pixels.offset - 8)
    entries = {int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)}
    if not entries <= starts or (entries and not is_video and len(entries) != pixels.frames):
        raise DamagedError("the Basic Offset Table does not fit the fragments")
