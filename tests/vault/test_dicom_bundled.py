"""What the files that ship with pydicom are found to be, held against pydicom on each of them."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file

from safelight_vault import dicom
from safelight_vault.dicom_facts import TEXT_TAGS
from safelight_vault.dicom_walk import UnusualError
from safelight_vault.format.manifest import DicomState

PIXEL_DATA = 0x7FE0_0010


def bundled_files() -> Iterator[Path]:
    """Every DICOM file inside the pydicom package; nothing is downloaded."""
    known = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(known, str)
    for path in sorted(Path(known).parent.rglob("*")):
        if path.is_file() and path.suffix not in {".txt", ".json", ".dump", ".gz", ".py", ".icc"}:
            yield path
    yield from map(Path, sorted(get_charset_files("*.dcm")))


BUNDLED = list(bundled_files())
TRUNCATED = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
WITHOUT_PREFIX = {
    "rtstruct.dcm",
    "rtplan.dcm",
    "no_meta.dcm",
    "ExplVR_BigEndNoMeta.dcm",
    "ExplVR_LitEndNoMeta.dcm",
}


def as_text(dataset: pydicom.Dataset, tag: int) -> str:
    """pydicom's own idea of a text value, several values joined again."""
    value = dataset[tag].value if tag in dataset else None
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\\".join(map(str, value))
    return str(value)


def test_pydicom_ships_the_files_that_these_tests_rest_on() -> None:
    assert len(BUNDLED) > 150
    assert {path.name for path in BUNDLED} >= TRUNCATED | {"rtstruct.dcm", "image_dfl.dcm"}


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "/".join(path.parts[-2:]))
def test_facts_of_a_bundled_file_are_those_of_pydicom(path: Path) -> None:
    data = path.read_bytes()
    state, facts = dicom.parse(data)
    if path.name in TRUNCATED:
        assert state is DicomState.FAILED
        return
    if facts is None:
        assert state is DicomState.OTHER
        assert path.name in WITHOUT_PREFIX or path.name.startswith("README")
        return
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    for name, tag in TEXT_TAGS.items():
        assert getattr(facts, name) == as_text(dataset, tag), name
    assert facts.transfer_syntax_uid == dataset.file_meta.get("TransferSyntaxUID", "")
    element = dataset.get_item(PIXEL_DATA) if PIXEL_DATA in dataset else None
    if element is None or facts.transfer_syntax_uid == dicom.DEFLATED:
        assert facts.pixels is None
        return
    pixels = facts.pixels
    assert pixels is not None
    assert isinstance(element, pydicom.dataelem.RawDataElement)
    assert pixels.offset == element.value_tell
    assert pixels.encapsulated == (element.length == 0xFFFFFFFF)
    if not pixels.encapsulated:
        assert pixels.length == element.length
    assert pixels.rows == dataset.get("Rows", 0)
    assert pixels.columns == dataset.get("Columns", 0)
    assert pixels.bits_allocated == dataset.get("BitsAllocated", 0)
    assert pixels.bits_stored == dataset.get("BitsStored", 0)
    assert pixels.samples_per_pixel == dataset.get("SamplesPerPixel", 0)
    assert pixels.signed == (dataset.get("PixelRepresentation", 0) == 1)
    assert pixels.planar == (dataset.get("PlanarConfiguration", 0) == 1)
    if path.name == "badVR.dcm":  # its number of frames is "1A"
        assert pixels.frames == 1
    else:
        assert pixels.frames == int(dataset.get("NumberOfFrames") or 1)
    assert pixels.big_endian == (not dataset.original_encoding[1])


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_walk_and_the_door_to_pydicom_agree(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = path.read_bytes()
    walked = dicom.parse(data)

    def unusual(file: object) -> dicom.DicomFacts:
        raise UnusualError("for the test")

    monkeypatch.setattr(dicom, "_walk_facts", unusual)
    if walked[1] is not None and walked[1].transfer_syntax_uid == dicom.DEFLATED:
        assert dicom.parse(data)[0] is DicomState.FAILED  # pydicom would inflate without a limit
    else:
        assert dicom.parse(data) == walked


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "/".join(path.parts[-2:]))
def test_parsing_by_ranges_gives_the_same_answer(path: Path) -> None:
    data = path.read_bytes()
    by_ranges = dicom.parse_head(lambda offset, length: data[offset : offset + length], len(data))
    assert by_ranges == dicom.parse(data)


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_parses_also_parses_fully(path: Path) -> None:
    data = path.read_bytes()
    assert dicom.parse_fully(data) is dicom.parse(data)[0]
