"""No bytes make the DICOM parse raise, hang or eat the memory, whatever they claim."""

import struct
import tracemalloc
import zlib
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_samples as samples
from safelight_vault import dicom, dicom_walk
from safelight_vault.format.manifest import DicomState

PREFIX = bytes(128) + b"DICM"
ENCODING = samples.Encoding()
ODD = ENCODING.element(0x0009_1001, "QQ", "whatever")
"""An element that the walk leaves to pydicom."""

ORDINARY = [
    samples.ct_slice(rows=8, columns=8),
    samples.ct_slice(rows=8, columns=8, syntax=samples.IMPLICIT_LITTLE),
    samples.ct_slice(rows=8, columns=8, syntax=samples.EXPLICIT_BIG),
    samples.ct_slice(rows=8, columns=8, syntax=samples.DEFLATED),
    samples.without_preamble(samples.ct_slice(rows=8, columns=8)),
    samples.encapsulated([b"one", b"fragment", b"more"]),
    samples.report(texts=["first", "second"]),
    samples.report(texts=["first", "second"], defined=True),
    samples.file(ODD + ENCODING.elements(samples.identifiers())),
]


def state_of(data: bytes) -> DicomState:
    return dicom.parse(data)[0]


def check_all_answers(data: bytes) -> None:
    """None raises, parsing by ranges agrees, and the stricter parse never sees more."""
    state, facts = dicom.parse(data)
    by_ranges = dicom.parse_head(lambda at, size: data[at : at + size], len(data))
    assert by_ranges == (state, facts)
    assert (facts is None) == (state is not DicomState.PARSED)
    assert state is not DicomState.FAILED or data[128:132] == b"DICM"
    if facts is not None and facts.pixels is not None:
        assert 0 < facts.pixels.offset <= facts.pixels.offset + facts.pixels.length <= len(data)
    fully = dicom.parse_fully(data)
    assert fully is state or (state, fully) == (DicomState.PARSED, DicomState.FAILED)


@given(data=st.binary(max_size=400), prefixed=st.booleans())
@settings(deadline=None)
def test_random_bytes_never_raise(data: bytes, *, prefixed: bool) -> None:
    check_all_answers(PREFIX + data if prefixed else data)


@given(data=st.binary(max_size=200), syntax=st.sampled_from([samples.EXPLICIT_LITTLE, "1.2.840"]))
@settings(deadline=None)
def test_random_data_sets_never_raise(data: bytes, syntax: str) -> None:
    check_all_answers(samples.file(data, syntax=syntax))


@given(
    original=st.sampled_from(ORDINARY),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), min_size=1, max_size=4
    ),
)
@settings(max_examples=300, deadline=None)
def test_changed_files_never_raise(original: bytes, changes: list[tuple[float, bytes]]) -> None:
    data = bytearray(original)
    for where, change in changes:
        at = int(where * len(data))
        data[at : at + len(change)] = change
    check_all_answers(bytes(data))


@given(original=st.sampled_from(ORDINARY), part=st.floats(0, 1), tail=st.binary(max_size=16))
@settings(deadline=None)
def test_files_cut_anywhere_never_raise(original: bytes, part: float, tail: bytes) -> None:
    check_all_answers(original[: int(part * len(original))] + tail)


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0x7FFFFFFF, 100_000])
@pytest.mark.parametrize("vr", ["OB", "UT", "SQ", "QQ"])
def test_lengths_beyond_the_file_fail_without_memory(length: int, vr: str) -> None:
    if vr == "QQ":
        length &= 0xFFFF
    element = ENCODING.element(0x0009_1001, vr, b"few bytes!", length=length)
    data = samples.file(ENCODING.elements(samples.identifiers()[:4]) + element)
    tracemalloc.start()
    assert state_of(data) is DicomState.FAILED
    assert dicom.parse_fully(data) is DicomState.FAILED
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024


def test_deflated_bomb_fails_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1024 * 1024
    monkeypatch.setattr(dicom_walk, "INFLATED_MAX", limit)
    head = ENCODING.elements(samples.identifiers())
    fits = head + ENCODING.element(0x0042_0011, "OB", bytes(limit - len(head) - 12))
    bomb = head + ENCODING.element(0x0042_0011, "OB", bytes(64 * limit))
    assert state_of(samples.file(fits, syntax=samples.DEFLATED)) is DicomState.PARSED
    data = samples.file(bomb, syntax=samples.DEFLATED)
    assert len(data) < limit // 10
    tracemalloc.start()
    assert state_of(data) is DicomState.FAILED
    assert dicom.parse_fully(data) is DicomState.FAILED
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * limit


def test_deflated_bomb_in_a_file_for_pydicom_is_not_inflated() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(32 * 1024 * 1024)) + deflater.flush()
    meta = ENCODING.element(0x0002_0010, "UI", samples.DEFLATED)
    odd = ENCODING.element(0x0002_0102, "QQ", "whatever")
    tracemalloc.start()
    assert state_of(PREFIX + meta + odd + bomb) is DicomState.FAILED
    assert state_of(meta + bomb) is DicomState.OTHER
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024


def nested(depth: int, *, defined: bool) -> bytes:
    """Sequences inside one another, written from the inside out."""
    if not defined:
        head = ENCODING.element(0x0040_A730, "SQ", b"", length=0xFFFFFFFF)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        return (head + item) * depth + end * depth
    content = b""
    for _ in range(depth):
        content = ENCODING.sequence(0x0040_A730, [content])
    return content


def test_sequences_nested_deeper_than_any_report_fail() -> None:
    head = ENCODING.elements(samples.identifiers())
    for depth, state in [(10, DicomState.PARSED), (65, DicomState.FAILED)]:
        data = samples.file(head + nested(depth, defined=False))
        assert state_of(data) is state
        assert dicom.parse_fully(data) is state


@pytest.mark.parametrize("unusual", [False, True], ids=["walk", "pydicom"])
def test_nesting_of_a_hundred_thousand_levels_does_not_recurse(*, unusual: bool) -> None:
    head = (ODD if unusual else b"") + ENCODING.elements(samples.identifiers())
    data = samples.file(head + nested(100_000, defined=False))
    begin = perf_counter()
    assert state_of(data) is DicomState.FAILED
    assert dicom.parse_fully(data) is DicomState.FAILED
    assert perf_counter() - begin < 10


def test_sequences_of_defined_length_are_stepped_over_and_opened_only_by_the_full_parse() -> None:
    head = ENCODING.elements(samples.identifiers())
    for depth, state in [(10, DicomState.PARSED), (500, DicomState.FAILED)]:
        data = samples.file(head + nested(depth, defined=True))
        assert state_of(data) is DicomState.PARSED
        assert dicom.parse_fully(data) is state


def test_more_elements_than_the_limit_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_walk, "HEADERS_MAX", 100)
    few = [ENCODING.element(0x0009_1000 + number, "LO", "") for number in range(50)]
    many = [ENCODING.element(0x0009_1000 + number, "LO", "") for number in range(150)]
    item = ENCODING.item(b"".join(few), defined=False)
    assert state_of(samples.file(b"".join(few))) is DicomState.PARSED
    assert state_of(samples.file(b"".join(many))) is DicomState.FAILED
    for items, state in [(1, DicomState.PARSED), (3, DicomState.FAILED)]:
        data = samples.file(ENCODING.undefined(0x0040_A730, "SQ", item * items))
        assert state_of(data) is state
    for fragments, state in [(50, DicomState.PARSED), (150, DicomState.FAILED)]:
        assert state_of(samples.encapsulated([b""] * fragments)) is state


def test_pydicom_gets_only_so_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    elements = b"".join(ENCODING.element(0x0011_0000 + n, "LO", "abcd") for n in range(1000))
    data = samples.file(ODD + elements)
    assert state_of(data) is DicomState.PARSED
    monkeypatch.setattr(dicom, "_FOREIGN_CALLS_MAX", 2000)
    assert state_of(data) is DicomState.FAILED


def test_pydicom_gets_only_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    fragments = ENCODING.item(bytes(100_000)) * 5
    data = samples.file(ODD + ENCODING.undefined(0x0011_1001, "OB", fragments))
    assert state_of(data) is DicomState.PARSED
    monkeypatch.setattr(dicom, "_FOREIGN_BYTES_MAX", 300_000)
    assert state_of(data) is DicomState.FAILED


def test_elements_that_make_pydicom_read_the_rest_again_and_again_are_bounded() -> None:
    head = ENCODING.element(0x0011_1001, "OB", b"", length=0xFFFFFFFF)
    step = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 8 + len(head), 0xFFFE, 0xE0DD, 0) + head
    data = samples.file(ODD + head + step * 30_000)
    begin = perf_counter()
    assert state_of(data) is DicomState.FAILED
    assert perf_counter() - begin < 10


def test_chain_of_items_must_be_one() -> None:
    good = ENCODING.item(b"") + ENCODING.item(b"fragment")
    undefined_item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + b"whatever"
    stray = ENCODING.element(0x0011_0011, "LO", "stray")
    for items, state in [
        (good, DicomState.PARSED),
        (good + undefined_item, DicomState.FAILED),
        (good + stray, DicomState.FAILED),
    ]:
        assert state_of(samples.file(ENCODING.undefined(0x7FE0_0010, "OB", items))) is state


def test_values_of_the_wrong_size_count_as_absent_or_cut() -> None:
    elements: list[samples.Element] = [
        *samples.identifiers(),
        (0x0028_0010, "US", b""),
        (0x0028_0011, "US", b"\x05"),
        (0x0028_0100, "US", bytes(100)),
        (0x7FE0_0010, "OW", b"ab"),
    ]
    facts = dicom.parse(samples.file(ENCODING.elements(elements)))[1]
    assert facts is not None
    assert facts.pixels is not None
    assert (facts.pixels.rows, facts.pixels.bits_allocated) == (0, 0)


def test_nothing_of_a_patient_reaches_logs_or_warnings(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    elements: list[samples.Element] = [
        (0x0008_0005, "CS", "NO SUCH SET"),
        (0x0008_0018, "UI", "Secret^Patient"),
        (0x0010_0010, "PN", "Secret^Pätient".encode()),
        (0x0010_0030, "DA", "Secret^Patient"),
        (0x0028_0008, "IS", "Secret^Patient"),
    ]
    data = samples.file(ODD + ENCODING.elements(elements))
    with caplog.at_level("DEBUG"):
        assert state_of(data) is DicomState.PARSED
        dicom.parse_fully(data)
    assert "Secret" not in caplog.text
    assert "Secret" not in "".join(capsys.readouterr())
