"""Makers of small synthetic DICOM files, byte by byte, so that every oddity can be made on purpose.

Nothing here uses pydicom: what the tests feed to it is made independently of it. Every maker is a
pure function of its arguments; equal arguments give equal bytes.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME_CLASS = "1.2.840.10008.5.1.4.1.1.7.2"
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"

UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"})

Value = str | int | bytes
Element = tuple[int, str, Value]
"""Tag, VR and value; an integer is of VR US or UL, text is padded to an even length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How elements are written: with or without VR, and in which byte order."""

    implicit: bool = False
    big_endian: bool = False

    @classmethod
    def of(cls, syntax: str) -> "Encoding":
        """The encoding of a transfer syntax."""
        return cls(implicit=syntax == IMPLICIT_LITTLE, big_endian=syntax == EXPLICIT_BIG)

    def element(self, tag: int, vr: str, value: Value, *, length: int | None = None) -> bytes:
        """One element; ``length`` lies in the length field."""
        order = ">" if self.big_endian else "<"
        if isinstance(value, int):
            value = struct.pack(order + ("I" if vr == "UL" else "H"), value)
        elif isinstance(value, str):
            value = value.encode("latin-1")
        if len(value) % 2:
            value += b"\0" if vr in {"UI", "OB"} else b" "
        length = len(value) if length is None else length
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + struct.pack(order + "I", length) + value
        if vr in _LONG_VRS:
            return head + vr.encode() + b"\0\0" + struct.pack(order + "I", length) + value
        return head + vr.encode() + struct.pack(order + "H", length) + value

    def elements(self, elements: Sequence[Element]) -> bytes:
        """Elements in the order of their tags, as a data set must have them."""
        return b"".join(self.element(*element) for element in sorted(elements))

    def item(self, content: bytes, *, defined: bool = True) -> bytes:
        """One item of a sequence, or one fragment."""
        order = ">" if self.big_endian else "<"
        if defined:
            return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content
        return (
            struct.pack(order + "HHI", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
            + content
            + struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
        )

    def sequence(self, tag: int, items: Sequence[bytes], *, defined: bool = True) -> bytes:
        """A sequence of data sets, with both lengths defined or neither."""
        content = b"".join(self.item(item, defined=defined) for item in items)
        if defined:
            return self.element(tag, "SQ", content)
        return self.undefined(tag, "SQ", content)

    def undefined(self, tag: int, vr: str, items: bytes) -> bytes:
        """An element of undefined length whose value is items, with its delimiter."""
        order = ">" if self.big_endian else "<"
        head = self.element(tag, vr, b"", length=UNDEFINED_LENGTH)
        return head + items + struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)


def file(data_set: bytes, *, syntax: str = EXPLICIT_LITTLE, sop_class: str = CT_CLASS) -> bytes:
    """A whole file around an encoded data set: preamble, prefix, file meta; deflated if asked."""
    meta = Encoding().elements(
        [
            (0x0002_0001, "OB", b"\0\1"),
            (0x0002_0002, "UI", sop_class),
            (0x0002_0003, "UI", "1.2.826.0.1.999.1"),
            (0x0002_0010, "UI", syntax),
            (0x0002_0012, "UI", "1.2.826.0.1.999"),
        ]
    )
    length = Encoding().element(0x0002_0000, "UL", len(meta))
    if syntax == DEFLATED:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        data_set = deflater.compress(data_set) + deflater.flush()
    return bytes(128) + b"DICM" + length + meta + data_set


def without_preamble(data: bytes) -> bytes:
    """The data set of a file alone, as some PACS store it."""
    position = 132
    while data[position : position + 2] == b"\x02\0":
        is_long = data[position + 4 : position + 6].decode() in _LONG_VRS
        size = struct.unpack_from("<I" if is_long else "<H", data, position + (8 if is_long else 6))
        position += (12 if is_long else 8) + int(size[0])
    return data[position:]


def identifiers(
    *,
    patient_id: str = "PID-0001",
    patient_name: str = "Doe^Jane",
    study_uid: str = "1.2.826.0.1.999.10",
    series_uid: str = "1.2.826.0.1.999.10.1",
    instance_uid: str = "1.2.826.0.1.999.10.1.1",
    sop_class: str = CT_CLASS,
    modality: str = "CT",
) -> list[Element]:
    """The elements that say whose and what an object is."""
    return [
        (0x0008_0005, "CS", "ISO_IR 100"),
        (0x0008_0016, "UI", sop_class),
        (0x0008_0018, "UI", instance_uid),
        (0x0008_0020, "DA", "20240229"),
        (0x0008_0030, "TM", "101530.25"),
        (0x0008_0050, "SH", "ACC-7"),
        (0x0008_0060, "CS", modality),
        (0x0008_0070, "LO", "Safelight Phantoms"),
        (0x0008_1030, "LO", "Head without contrast"),
        (0x0008_103E, "LO", "Axial 2.0"),
        (0x0010_0010, "PN", patient_name),
        (0x0010_0020, "LO", patient_id),
        (0x0010_0030, "DA", "19700101"),
        (0x0010_0040, "CS", "F"),
        (0x0020_000D, "UI", study_uid),
        (0x0020_000E, "UI", series_uid),
    ]


def image_elements(
    *, rows: int, columns: int, bits: int = 16, samples: int = 1, frames: int | None = None
) -> list[Element]:
    """The elements that say how pixels are built."""
    elements: list[Element] = [
        (0x0028_0002, "US", samples),
        (0x0028_0004, "CS", "MONOCHROME2" if samples == 1 else "RGB"),
        (0x0028_0010, "US", rows),
        (0x0028_0011, "US", columns),
        (0x0028_0100, "US", bits),
        (0x0028_0101, "US", 12 if bits == 16 else bits),
        (0x0028_0102, "US", 11 if bits == 16 else bits - 1),
        (0x0028_0103, "US", 1 if bits == 16 else 0),
    ]
    if samples > 1:
        elements.append((0x0028_0006, "US", 0))
    if frames is not None:
        elements.append((0x0028_0008, "IS", str(frames)))
    return elements


def ct_slice(
    *,
    patient_id: str = "PID-0001",
    patient_name: str = "Doe^Jane",
    study_uid: str = "1.2.826.0.1.999.10",
    series_uid: str = "1.2.826.0.1.999.10.1",
    instance_uid: str = "1.2.826.0.1.999.10.1.1",
    number: int = 1,
    rows: int = 64,
    columns: int = 64,
    seed: int = 0,
    syntax: str = EXPLICIT_LITTLE,
) -> bytes:
    """A CT image: an ellipse of tissue in air with noise, 12 bits in 16, signed.

    ``number`` is the instance number and moves the slice's position; ``seed`` decides the noise.
    The same seed gives the same pixels whatever the identifiers.
    """
    encoding = Encoding.of(syntax)
    elements: list[Element] = [
        *identifiers(
            patient_id=patient_id,
            patient_name=patient_name,
            study_uid=study_uid,
            series_uid=series_uid,
            instance_uid=instance_uid,
        ),
        *image_elements(rows=rows, columns=columns),
        (0x0008_0008, "CS", r"ORIGINAL\PRIMARY\AXIAL"),
        (0x0018_0050, "DS", "2.0"),
        (0x0018_0060, "DS", "120"),
        (0x0018_1151, "IS", "250"),
        (0x0018_1210, "SH", "H30s"),
        (0x0020_0010, "SH", "1"),
        (0x0020_0011, "IS", "2"),
        (0x0020_0013, "IS", str(number)),
        (0x0020_0032, "DS", rf"-125.0\-125.0\{2 * number}.0"),
        (0x0020_0037, "DS", r"1\0\0\0\1\0"),
        (0x0020_0052, "UI", study_uid + ".99"),
        (0x0028_0030, "DS", r"0.49\0.49"),
        (0x0028_1050, "DS", "40"),
        (0x0028_1051, "DS", "80"),
        (0x0028_1052, "DS", "0"),
        (0x0028_1053, "DS", "1"),
        (0x0029_0010, "LO", "SAFELIGHT PHANTOM"),
        (0x0029_1001, "OB", bytes(range(64))),
        (0x7FE0_0010, "OW", ct_pixels(rows, columns, seed=seed, big_endian=encoding.big_endian)),
    ]
    return file(encoding.elements(elements), syntax=syntax)


def ct_pixels(rows: int, columns: int, *, seed: int = 0, big_endian: bool = False) -> bytes:
    """Pixels of a CT slice: ``rows * columns`` signed 16-bit numbers."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    tissue = np.where(x**2 / 0.6 + y**2 / 0.8 < 1, 40.0 + 60 * y, -1000.0)
    noise = np.random.default_rng(seed).normal(0, 12, (rows, columns))
    values = np.clip(tissue + noise, -1024, 3071).astype(">i2" if big_endian else "<i2")
    return values.tobytes()


def multi_frame(
    pixels: bytes,
    *,
    frames: int,
    rows: int,
    columns: int,
    bits: int = 16,
    samples: int = 1,
    patient_name: str = "Doe^Jane",
    syntax: str = EXPLICIT_LITTLE,
    trailer: Sequence[Element] = (),
) -> bytes:
    """An object of several native frames; ``trailer`` are elements after the pixels."""
    elements: list[Element] = [
        *identifiers(patient_name=patient_name, sop_class=MULTI_FRAME_CLASS, modality="OT"),
        *image_elements(rows=rows, columns=columns, bits=bits, samples=samples, frames=frames),
        (0x7FE0_0010, "OW" if bits > 8 else "OB", pixels),
        *trailer,
    ]
    return file(Encoding.of(syntax).elements(elements), syntax=syntax, sop_class=MULTI_FRAME_CLASS)


def encapsulated(
    fragments: Sequence[bytes],
    *,
    frames: int | None = None,
    rows: int = 64,
    columns: int = 64,
    patient_name: str = "Doe^Jane",
    offset_table: bool = True,
    syntax: str = JPEG_2000,
    trailer: bytes = b"",
) -> bytes:
    """An object of compressed frames, one fragment each (odd ones are padded), in OB items."""
    encoding = Encoding()
    padded = [fragment + b"\0" * (len(fragment) % 2) for fragment in fragments]
    starts, position = [], 0
    for fragment in padded:
        starts.append(position)
        position += 8 + len(fragment)
    table = struct.pack(f"<{len(starts)}I", *starts) if offset_table else b""
    items = encoding.item(table) + b"".join(encoding.item(fragment) for fragment in padded)
    head = encoding.elements(
        [
            *identifiers(patient_name=patient_name, sop_class=MULTI_FRAME_CLASS, modality="US"),
            *image_elements(
                rows=rows,
                columns=columns,
                bits=8,
                frames=len(fragments) if frames is None else frames,
            ),
        ]
    )
    pixels = encoding.undefined(0x7FE0_0010, "OB", items)
    return file(head + pixels + trailer, syntax=syntax, sop_class=MULTI_FRAME_CLASS)


def report(
    *,
    texts: Sequence[str] = ("Normal head",),
    patient_name: str = "Doe^Jane",
    defined: bool = False,
    syntax: str = EXPLICIT_LITTLE,
) -> bytes:
    """A structured report without pixels: one item of a content sequence for each text."""
    encoding = Encoding.of(syntax)
    head = encoding.elements(
        identifiers(patient_name=patient_name, sop_class=REPORT_CLASS, modality="SR")
    )
    concept = encoding.elements([(0x0008_0100, "SH", "121071"), (0x0008_0104, "LO", "Finding")])
    items = [
        encoding.sequence(0x0040_A043, [concept], defined=defined)
        + encoding.element(0x0040_A160, "UT", text)
        for text in texts
    ]
    content = encoding.sequence(0x0040_A730, items, defined=defined)
    return file(head + content, syntax=syntax, sop_class=REPORT_CLASS)
