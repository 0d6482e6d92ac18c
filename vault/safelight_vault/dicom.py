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
from io import SEEK_CUR, SEEK_SET
from typing import BinaryIO, cast

from pydicom import config as pydicom_config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.sequence import Sequence
from pydicom.valuerep import TEXT_VR_DELIMS

from safelight_vault.dicom_facts import (
    CHARACTER_SET,
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    WANTED_TAGS,
    DicomFacts,
    PixelLayout,
    facts_from,
    plain_text,
)
from safelight_vault.dicom_walk import (
    DEPTH_MAX,
    PIXEL_DATA,
    PREFIX,
    PREFIX_OFFSET,
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

__all__ = [
    "DEFLATED",
    "EXPLICIT_BIG",
    "EXPLICIT_LITTLE",
    "IMPLICIT_LITTLE",
    "DicomFacts",
    "PixelLayout",
    "Read",
    "fragment_ends",
    "parse",
    "parse_fully",
    "parse_head",
]

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_UID_LENGTH_MAX = 64
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-9](\.1)?")
"""MPEG and HEVC: one stream holds all frames, whatever the number of fragments."""

_FOREIGN_CALLS_MAX = 500_000
_FOREIGN_BYTES_MAX = 128 * 1024 * 1024
"""What pydicom may call and read in one file: about a second, and a small part of our memory."""
_CONVERTED_BYTES_MAX = 16 * 1024 * 1024
"""Most bytes of values that ``parse_fully`` has converted: tiny ones take fifty times as much."""


def _quieten_pydicom() -> None:
    """Keep pydicom's remarks out of logs and standard error: they quote values of patients."""
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


_quieten_pydicom()


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

    Values before the pixels that pydicom cannot convert, damage inside sequences, and encapsulated
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
        if not prefixed and not _may_begin_data_set(file.take(0, 4)):
            return DicomState.OTHER, None
        facts = _read_facts(file, prefixed=prefixed)
    except DamagedError:
        return (DicomState.FAILED if prefixed else DicomState.OTHER), None
    if not prefixed and not (_is_uid(facts.sop_class_uid) and _is_uid(facts.sop_instance_uid)):
        return DicomState.OTHER, None
    return DicomState.PARSED, facts


def _may_begin_data_set(head: bytes) -> bool:
    """Whether a file without prefix begins like file meta or like group 0008, either byte order."""
    group, element = head[:2], head[2:4]
    if group == b"\0\x08":
        return element[:1] == b"\0"
    return group in {b"\x02\0", b"\x08\0"} and element[1:] in {b"\0", b"\1"}


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
    syntax = plain_text(raw_syntax)
    if syntax == DEFLATED:
        try:
            found = Walk(FileBytes.of(inflate(file, start))).data_set(0, WANTED_TAGS)
        except UnusualError as error:
            # pydicom would inflate without a limit
            raise DamagedError("an unusual encoding inside a deflated data set") from error
    else:
        found = Walk(file, big_endian=syntax == EXPLICIT_BIG).data_set(start, WANTED_TAGS)
    if not found.element_count:
        raise DamagedError("there is no data set")
    return facts_from(
        found.values, found.pixels, stated_syntax=syntax, actual_syntax=syntax, decode=_decode
    )


class _MeteredFile:
    """The file object that pydicom sees: every loop of its reader comes through here.

    Seeking past the end means that a skipped value is not all there. An error of the underlying
    read is kept, because pydicom swallows some and turns others into its own.
    """

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._position = 0
        self._calls_left = _FOREIGN_CALLS_MAX
        self._bytes_left = _FOREIGN_BYTES_MAX
        self._failure: Exception | None = None

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
        except RecursionError:
            raise  # pydicom is nested too deep; the read itself did not fail
        except Exception as error:
            self._failure = error
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

    def raise_failure(self) -> None:
        """Raise what the underlying read raised, if it did."""
        if self._failure is not None:
            raise self._failure


def _foreign_facts(file: FileBytes, *, prefixed: bool) -> DicomFacts:
    """The facts of an unusual file, with pydicom reading up to the pixels."""
    metered = _MeteredFile(file)
    elements: list[tuple[int, int, int]] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        del vr
        elements[:] = [(tag, metered.tell(), length)]
        return tag == PIXEL_DATA

    try:
        dataset = read_partial(
            cast("BinaryIO", metered),
            stop_when=at_pixels,
            force=not prefixed,
            specific_tags=list(WANTED_TAGS),
        )
        values = {tag: value for tag in WANTED_TAGS if (value := _raw(dataset, tag)) is not None}
        values[CHARACTER_SET] = _character_set(dataset)
        stated_syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
        implicit, little = dataset.original_encoding
    except Exception as error:
        metered.raise_failure()
        raise DamagedError("pydicom cannot read it") from error
    metered.raise_failure()
    if not elements:
        raise DamagedError("there is no data set")
    inferred = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
    pixels = None
    last_tag, offset, length = elements[0]
    if last_tag == PIXEL_DATA:
        encapsulated = length == UNDEFINED_LENGTH
        if encapsulated:
            *_, end = Walk(file, big_endian=not little).item_ends(offset)
            length = end - offset
        if offset + length > file.size_bytes:
            raise DamagedError("pixel data reaches past the end of the file")
        pixels = PixelElement(offset=offset, length=length, encapsulated=encapsulated)
    return facts_from(
        values,
        pixels,
        stated_syntax=stated_syntax,
        actual_syntax=stated_syntax or inferred,
        decode=_decode,
    )


def _raw(dataset: Dataset, tag: int) -> bytes | None:
    """The bytes of a value as they stand in the file."""
    element = dataset.get_item(tag) if tag in dataset else None
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    if len(element.value) < element.length != UNDEFINED_LENGTH:
        raise DamagedError("a value reaches past the end of the file")
    return element.value[:VALUE_MAX]


def _character_set(dataset: Dataset) -> bytes:
    """The one value that pydicom has converted already, as it stands in the file."""
    value = dataset.get("SpecificCharacterSet") or ""
    return (value if isinstance(value, str) else "\\".join(value)).encode("latin-1")


def _decode(raw: bytes, charset: str) -> str:
    try:
        encodings = convert_encodings([term.strip() for term in charset.split("\\")])
        return decode_bytes(raw, encodings, TEXT_VR_DELIMS)
    except Exception:  # noqa: BLE001 - a codec gave up on hostile bytes; any text will do
        return raw.decode("latin-1")


def _read_up_to_pixels(file: FileBytes, syntax: str) -> Dataset:
    if syntax == DEFLATED:
        _, start = Walk(file).file_meta(PREFIX_OFFSET + len(PREFIX))
        inflated = _MeteredFile(FileBytes.of(inflate(file, start)))
        return read_dataset(cast("BinaryIO", inflated), is_implicit_VR=False, is_little_endian=True)
    return read_partial(
        cast("BinaryIO", _MeteredFile(file)),
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
