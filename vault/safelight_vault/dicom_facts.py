"""The facts of a DICOM file, built from the raw values that a reader found.

Pure, and without pydicom: the walk and pydicom's reader both come here with bytes, so that a file
has the same facts whoever read it. The invariant: a ``PixelLayout`` never promises more bytes than
the pixel data has; a header that does is damage (DICOM PS3.3 C.7.6.3, PS3.5 section 8).
"""

from collections.abc import Callable
from dataclasses import dataclass

from safelight_vault.dicom_walk import DamagedError, PixelElement

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

TEXT_LENGTH_MAX = 1024
"""Longest text in ``DicomFacts`` in characters; the standard ends at 64 (names: 3 x 64)."""

TEXT_TAGS = {
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

CHARACTER_SET = 0x0008_0005
_SAMPLES_PER_PIXEL = 0x0028_0002
_PHOTOMETRIC_INTERPRETATION = 0x0028_0004
_PLANAR_CONFIGURATION = 0x0028_0006
_NUMBER_OF_FRAMES = 0x0028_0008
_ROWS = 0x0028_0010
_COLUMNS = 0x0028_0011
_BITS_ALLOCATED = 0x0028_0100
_BITS_STORED = 0x0028_0101
_PIXEL_REPRESENTATION = 0x0028_0103

WANTED_TAGS = frozenset(TEXT_TAGS.values()) | {
    CHARACTER_SET,
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
"""The elements whose raw values ``facts_from`` looks at."""

_SIMPLE_CHARACTER_SETS = {
    "": "latin-1",
    "ISO_IR 6": "latin-1",
    "ISO_IR 100": "latin-1",
    "ISO_IR 192": "utf-8",
}
"""No set at all is ASCII by the standard and latin-1 in practice (and to pydicom)."""

_SUBSAMPLED = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
"""The part of the nominal size that uncompressed chroma-subsampled pixels take."""

Decode = Callable[[bytes, str], str]
"""Decodes a value by a Specific Character Set that is not one of the simple ones; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """Where the value of Pixel Data (7FE0,0010) lies in the file, and how it is built.

    ``offset`` and ``length`` are in bytes of the file; of encapsulated pixels the value runs from
    the Basic Offset Table to the end of the sequence delimiter. What the file does not say is 0
    (``frames``: 1). ``transfer_syntax_uid`` is inferred where the file names none. A defined length
    is at least what rows, columns, samples, bits and frames promise (less where chroma is
    subsampled), and may be more.
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


def facts_from(
    values: dict[int, bytes],
    element: PixelElement | None,
    *,
    stated_syntax: str,
    actual_syntax: str,
    decode: Decode,
) -> DicomFacts:
    """The facts that raw values amount to; raises ``DamagedError`` if the pixels are too few."""
    charset = plain_text(values.get(CHARACTER_SET, b""))
    texts = {name: _text(values.get(tag, b""), charset, decode) for name, tag in TEXT_TAGS.items()}
    # empty component groups at a name's end say nothing (PS3.5 6.2.1.2)
    texts["patient_name"] = texts["patient_name"].rstrip("=")
    pixels = None
    if element is not None:
        pixels = _layout(values, element, actual_syntax)
        _check_promise(pixels, plain_text(values.get(_PHOTOMETRIC_INTERPRETATION, b"")))
    return DicomFacts(
        **texts,
        transfer_syntax_uid=stated_syntax,
        pixels=None if stated_syntax == DEFLATED else pixels,
    )


def plain_text(raw: bytes) -> str:
    """A value of a VR that knows no character sets (UI, CS), without its padding."""
    return raw.decode("latin-1").strip("\0 ")


def _text(raw: bytes, charset: str, decode: Decode) -> str:
    raw = raw.rstrip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")  # the same in every character set of DICOM
    elif charset in _SIMPLE_CHARACTER_SETS:
        text = raw.decode(_SIMPLE_CHARACTER_SETS[charset], errors="replace")
    else:
        text = decode(raw, charset)
    return text[:TEXT_LENGTH_MAX]


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
    """Number of Frames, an integer string of at most 12 characters; none or zero means one."""
    digits = raw.split(b"\\")[0].strip(b"\0 +")
    return int(digits) or 1 if digits.isdigit() and len(digits) <= 12 else 1


def _check_promise(pixels: PixelLayout, photometric: str) -> None:
    if pixels.encapsulated:
        return
    part, whole = _SUBSAMPLED.get(photometric, (1, 1))
    samples = pixels.rows * pixels.columns * pixels.samples_per_pixel * pixels.frames
    if pixels.length * 8 < samples * pixels.bits_allocated * part // whole:
        raise DamagedError("pixel data is shorter than rows, columns and frames promise")
