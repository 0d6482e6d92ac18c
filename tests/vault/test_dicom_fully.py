"""The stricter parse: every value converts, and fragments fit frames and offset table."""

import struct

import pytest

import dicom_samples as samples
from safelight_vault import dicom
from safelight_vault.format.manifest import DicomState

ENCODING = samples.Encoding()
MPEG4 = "1.2.840.10008.1.2.4.102"


def with_table(table: bytes, *fragments: bytes) -> bytes:
    """An encapsulated object whose Basic Offset Table is given byte by byte."""
    items = ENCODING.item(table) + b"".join(map(ENCODING.item, fragments))
    elements = [
        *samples.identifiers(),
        *samples.image_elements(rows=2, columns=2, frames=len(fragments)),
    ]
    pixels = ENCODING.undefined(0x7FE0_0010, "OB", items)
    return samples.file(ENCODING.elements(elements) + pixels, syntax=samples.JPEG_2000)


@pytest.mark.parametrize(
    "data",
    [
        samples.ct_slice(),
        samples.ct_slice(syntax=samples.IMPLICIT_LITTLE),
        samples.ct_slice(syntax=samples.EXPLICIT_BIG),
        samples.ct_slice(syntax=samples.DEFLATED),
        samples.without_preamble(samples.ct_slice()),
        samples.encapsulated([b"one", b"two"]),
        samples.encapsulated([b"one", b"two"], offset_table=False),
        samples.report(),
        samples.report(defined=True),
    ],
    ids=[
        "explicit",
        "implicit",
        "big endian",
        "deflated",
        "no preamble",
        "encapsulated",
        "no table",
        "report",
        "defined lengths",
    ],
)
def test_sound_files_parse_fully(data: bytes) -> None:
    assert dicom.parse_fully(data) is DicomState.PARSED


def test_other_and_failed_files_stay_what_they_are() -> None:
    assert dicom.parse_fully(b"no DICOM at all") is DicomState.OTHER
    assert dicom.parse_fully(samples.ct_slice()[:-1]) is DicomState.FAILED


def test_value_that_does_not_convert_fails_only_the_full_parse() -> None:
    data = samples.file(ENCODING.elements([(0x0018_1130, "FD", b"half")]))
    assert dicom.parse(data)[0] is DicomState.PARSED
    assert dicom.parse_fully(data) is DicomState.FAILED


def test_damage_inside_a_sequence_of_defined_length_fails_only_the_full_parse() -> None:
    overlong = ENCODING.element(0x0040_A160, "UT", b"text", length=400)
    data = samples.file(ENCODING.sequence(0x0040_A730, [overlong]))
    assert dicom.parse(data)[0] is DicomState.PARSED
    assert dicom.parse_fully(data) is DicomState.FAILED


def test_value_that_does_not_convert_is_seen_in_a_deflated_data_set_too() -> None:
    elements = ENCODING.elements([(0x0018_1130, "FD", b"half")])
    data = samples.file(elements, syntax=samples.DEFLATED)
    assert dicom.parse(data)[0] is DicomState.PARSED
    assert dicom.parse_fully(data) is DicomState.FAILED


@pytest.mark.parametrize(
    ("frames", "syntax", "state"),
    [
        (2, samples.JPEG_2000, DicomState.PARSED),
        (3, samples.JPEG_2000, DicomState.FAILED),
        (3, MPEG4, DicomState.PARSED),
    ],
    ids=["enough", "too few", "video"],
)
def test_every_frame_needs_a_fragment_unless_it_is_video(
    frames: int, syntax: str, state: DicomState
) -> None:
    data = samples.encapsulated([b"one", b"two"], frames=frames, syntax=syntax, offset_table=False)
    assert dicom.parse(data)[0] is DicomState.PARSED
    assert dicom.parse_fully(data) is state


@pytest.mark.parametrize(
    ("offsets", "state"),
    [
        ((0, 12), DicomState.PARSED),
        ((0, 14), DicomState.FAILED),
        ((0,), DicomState.FAILED),
        ((0, 12, 24), DicomState.FAILED),
    ],
)
def test_offset_table_must_point_at_the_fragments(
    offsets: tuple[int, ...], state: DicomState
) -> None:
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    assert dicom.parse_fully(with_table(table, b"four", b"more")) is state


def test_header_too_large_to_convert_fails_only_the_full_parse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = samples.file(ENCODING.elements([(0x0042_0011, "OB", bytes(2000))]))
    assert dicom.parse_fully(data) is DicomState.PARSED
    monkeypatch.setattr(dicom, "_CONVERTED_BYTES_MAX", 1999)
    assert dicom.parse(data)[0] is DicomState.PARSED
    assert dicom.parse_fully(data) is DicomState.FAILED
