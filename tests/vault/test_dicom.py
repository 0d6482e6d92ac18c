"""What a DICOM file is found to be: facts, layout of its pixels, and damage."""

import struct

import pytest

import dicom_samples as samples
from safelight_vault import dicom
from safelight_vault.dicom_facts import TEXT_TAGS
from safelight_vault.format.manifest import DicomState

PIXEL_DATA = 0x7FE0_0010


def facts_of(data: bytes) -> dicom.DicomFacts:
    state, facts = dicom.parse(data)
    assert state is DicomState.PARSED
    assert facts is not None
    return facts


def layout_of(data: bytes) -> dicom.PixelLayout:
    pixels = facts_of(data).pixels
    assert pixels is not None
    return pixels


def state_of(data: bytes) -> DicomState:
    return dicom.parse(data)[0]


@pytest.mark.parametrize(
    "data",
    [
        samples.ct_slice(),
        samples.ct_slice(syntax=samples.IMPLICIT_LITTLE),
        samples.ct_slice(syntax=samples.EXPLICIT_BIG),
        samples.ct_slice(syntax=samples.DEFLATED),
        samples.encapsulated([b"one", b"two"]),
        samples.report(),
        samples.report(syntax=samples.IMPLICIT_LITTLE),
    ],
    ids=["explicit", "implicit", "big endian", "deflated", "encapsulated", "report", "implicit sr"],
)
def test_ordinary_files_never_reach_pydicom(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "read_partial", None)
    assert facts_of(data).patient_name == "Doe^Jane"


def test_all_encodings_of_a_slice_have_the_same_facts() -> None:
    little = facts_of(samples.ct_slice())
    for syntax in (samples.IMPLICIT_LITTLE, samples.EXPLICIT_BIG, samples.DEFLATED):
        facts = facts_of(samples.ct_slice(syntax=syntax))
        assert facts.transfer_syntax_uid == syntax
        for name in TEXT_TAGS:
            assert getattr(facts, name) == getattr(little, name)


def test_layout_points_at_the_value_of_the_pixels() -> None:
    data = samples.ct_slice(rows=32, columns=48, seed=3)
    pixels = layout_of(data)
    assert data[pixels.offset : pixels.offset + pixels.length] == samples.ct_pixels(32, 48, seed=3)
    assert (pixels.rows, pixels.columns, pixels.frames) == (32, 48, 1)
    assert pixels.signed
    assert not pixels.big_endian
    assert not pixels.encapsulated


def test_layout_of_encapsulated_pixels_reaches_to_the_end_of_their_delimiter() -> None:
    data = samples.encapsulated([b"a" * 10, b"b" * 7])
    pixels = layout_of(data)
    assert pixels.encapsulated
    assert pixels.offset + pixels.length == len(data)
    assert data[pixels.offset :][:4] == b"\xfe\xff\x00\xe0"


def test_fragment_ends_lie_back_to_back_and_the_last_takes_the_delimiter() -> None:
    data = samples.encapsulated([b"a" * 10, b"b" * 8])
    pixels = layout_of(data)
    ends = list(dicom.fragment_ends(lambda at, size: data[at : at + size], len(data), pixels))
    table_end = pixels.offset + 8 + 2 * 4
    assert ends == [table_end, table_end + 18, table_end + 18 + 16 + 8]


def test_fragment_ends_stop_where_the_bytes_changed() -> None:
    data = samples.encapsulated([b"a" * 10, b"b" * 8])
    pixels = layout_of(data)
    shorter = data[:-20]
    read = dicom.fragment_ends(lambda at, size: shorter[at : at + size], len(shorter), pixels)
    assert list(read) == [pixels.offset + 16]


def test_pixels_of_an_icon_are_not_those_of_the_image() -> None:
    encoding = samples.Encoding()
    for icon_is_defined in (True, False):
        icon = encoding.sequence(
            0x0088_0200,
            [
                encoding.elements(
                    [*samples.image_elements(rows=9, columns=9), (PIXEL_DATA, "OW", bytes(162))]
                )
            ],
            defined=icon_is_defined,
        )
        head = encoding.elements(samples.identifiers())
        image = encoding.elements(samples.image_elements(rows=2, columns=2))
        pixels = encoding.element(PIXEL_DATA, "OW", b"pixels!!")
        data = samples.file(head + image + icon + pixels)
        assert layout_of(data).rows == 2
        assert data[layout_of(data).offset :] == b"pixels!!"


def test_encapsulated_icon_inside_a_sequence_of_undefined_length_is_stepped_over() -> None:
    encoding = samples.Encoding()
    fragments = encoding.item(b"") + encoding.item(b"compressed")
    icon = encoding.sequence(
        0x0088_0200, [encoding.undefined(PIXEL_DATA, "OB", fragments)], defined=False
    )
    data = samples.file(encoding.elements(samples.identifiers()) + icon)
    assert facts_of(data).pixels is None


def test_sequence_that_lost_its_vr_is_read_as_implicit() -> None:
    implicit = samples.Encoding(implicit=True)
    item = implicit.item(implicit.element(0x0008_0100, "SH", "T-D1100"), defined=False)
    unknown = samples.Encoding().undefined(0x0040_0008, "UN", item)
    data = samples.file(samples.Encoding().elements(samples.identifiers()) + unknown)
    assert facts_of(data).patient_id == "PID-0001"


def test_data_set_that_contradicts_its_transfer_syntax_is_read_as_it_is() -> None:
    implicit = samples.Encoding(implicit=True).elements(samples.identifiers())
    explicit = samples.Encoding().elements(samples.identifiers())
    assert facts_of(samples.file(implicit, syntax=samples.EXPLICIT_LITTLE)).modality == "CT"
    assert facts_of(samples.file(explicit, syntax=samples.IMPLICIT_LITTLE)).modality == "CT"


def test_unknown_vr_is_left_to_pydicom() -> None:
    encoding = samples.Encoding()
    odd = encoding.element(0x0009_1001, "QQ", "whatever")
    data = samples.file(odd + encoding.elements(samples.identifiers()))
    assert facts_of(data).patient_name == "Doe^Jane"


def test_unusual_file_with_fragments_has_the_layout_of_a_usual_one() -> None:
    usual = samples.encapsulated([b"one!", b"two!"])
    odd = samples.Encoding().element(0x0009_1001, "QQ", "whatever")
    at = usual.index(b"\x08\x00\x05\x00CS")
    pixels, expected = layout_of(usual[:at] + odd + usual[at:]), layout_of(usual)
    assert pixels.offset == expected.offset + len(odd)
    assert pixels.length == expected.length


def test_names_in_many_character_sets_are_decoded() -> None:
    encoding = samples.Encoding()

    def name_in(character_set: str, name: bytes) -> str:
        elements: list[samples.Element] = [
            (0x0008_0005, "CS", character_set),
            (0x0010_0010, "PN", name),
        ]
        return facts_of(samples.file(encoding.elements(elements))).patient_name

    assert name_in("", "Äneas^Rüdiger".encode("latin-1")) == "Äneas^Rüdiger"
    assert name_in("ISO_IR 100", "Äneas".encode("latin-1")) == "Äneas"
    assert name_in("ISO_IR 192", "Wang^小东".encode()) == "Wang^小东"
    assert name_in("ISO_IR 144", "Щёлков".encode("iso-8859-5")) == "Щёлков"
    assert name_in("GB18030", "王^小东".encode("gb18030")) == "王^小东"
    assert name_in(r"\ISO 2022 IR 87", "Yamada=山田".encode("iso2022_jp")) == "Yamada=山田"
    assert name_in("NO SUCH SET", b"\xc4neas") == "Äneas"
    assert name_in("ISO_IR 192", b"\xff\xfe broken") == "\ufffd\ufffd broken"


def test_overlong_text_is_cut() -> None:
    data = samples.ct_slice(patient_name="N" * 50_000)
    assert facts_of(data).patient_name == "N" * 1024


def test_memoryview_is_as_good_as_bytes() -> None:
    data = samples.ct_slice()
    assert dicom.parse(memoryview(data)) == dicom.parse(data)
    assert dicom.parse_fully(memoryview(data)) is DicomState.PARSED


@pytest.mark.parametrize(
    "data",
    [b"", b"DICM", bytes(132), b"%PDF-1.7\n" * 100, b"\x08\0\x05\0" * 1000, b"\x02\0\0\0UL"],
    ids=["empty", "prefix alone", "zeros", "text", "tags", "head alone"],
)
def test_other_files_are_not_dicom(data: bytes) -> None:
    assert dicom.parse(data) == (DicomState.OTHER, None)


@pytest.mark.parametrize(
    "syntax", [samples.EXPLICIT_LITTLE, samples.IMPLICIT_LITTLE, samples.EXPLICIT_BIG]
)
def test_data_set_without_preamble_counts_if_it_identifies_itself(syntax: str) -> None:
    bare = samples.without_preamble(samples.ct_slice(syntax=syntax))
    facts = facts_of(bare)
    assert facts.sop_class_uid == samples.CT_CLASS
    assert facts.transfer_syntax_uid == ""
    assert facts.pixels is not None
    assert facts.pixels.transfer_syntax_uid == syntax
    assert bare[facts.pixels.offset :] == samples.ct_pixels(
        64, 64, big_endian=syntax == samples.EXPLICIT_BIG
    )


def test_file_meta_without_preamble_counts_too() -> None:
    facts = facts_of(samples.ct_slice()[132:])
    assert facts.transfer_syntax_uid == samples.EXPLICIT_LITTLE


@pytest.mark.parametrize("missing", [0x0008_0016, 0x0008_0018])
def test_data_set_without_preamble_and_identity_is_not_dicom(missing: int) -> None:
    elements = [element for element in samples.identifiers() if element[0] != missing]
    assert state_of(samples.Encoding().elements(elements)) is DicomState.OTHER


def test_data_set_without_preamble_that_ends_early_is_not_dicom() -> None:
    bare = samples.without_preamble(samples.ct_slice())
    assert state_of(bare[:-1]) is DicomState.OTHER


def test_prefix_without_data_set_fails() -> None:
    assert state_of(bytes(128) + b"DICM") is DicomState.FAILED
    assert state_of(samples.file(b"")) is DicomState.FAILED


def test_pixels_cut_short_anywhere_fail() -> None:
    data = samples.ct_slice(rows=8, columns=8)
    for end in range(layout_of(data).offset, len(data)):
        assert state_of(data[:end]) is DicomState.FAILED


def test_fragments_cut_short_anywhere_fail() -> None:
    data = samples.encapsulated([b"first fragment", b"second fragment"])
    for end in range(layout_of(data).offset, len(data)):
        assert state_of(data[:end]) is DicomState.FAILED


def test_deflated_data_set_cut_short_fails() -> None:
    data = samples.ct_slice(syntax=samples.DEFLATED)
    for end in range(len(data) - 20, len(data)):
        assert state_of(data[:end]) is DicomState.FAILED


@pytest.mark.parametrize(
    ("given", "frames", "state"),
    [(24, 3, DicomState.PARSED), (26, 3, DicomState.PARSED), (22, 3, DicomState.FAILED)],
)
def test_pixels_must_hold_what_the_header_promises(
    given: int, frames: int, state: DicomState
) -> None:
    data = samples.multi_frame(bytes(given), frames=frames, rows=2, columns=2)
    assert state_of(data) is state


def test_single_bit_frames_need_no_whole_bytes() -> None:
    data = samples.multi_frame(bytes(4), frames=3, rows=3, columns=3, bits=1)
    assert state_of(data) is DicomState.PARSED


def test_number_of_frames_that_is_no_number_counts_as_one() -> None:
    for value in ("", "abc", "0", "-3", "9" * 40):
        encoding = samples.Encoding()
        elements: list[samples.Element] = [
            *samples.identifiers(),
            *samples.image_elements(rows=1, columns=1),
            (0x0028_0008, "IS", value),
            (PIXEL_DATA, "OW", b"ab"),
        ]
        assert layout_of(samples.file(encoding.elements(elements))).frames == 1


def test_padding_after_the_last_element_is_harmless() -> None:
    for data in (samples.ct_slice(), samples.ct_slice(syntax=samples.IMPLICIT_LITTLE)):
        for size in (1, 7, 8, 13, 512):
            assert facts_of(data + bytes(size)) == facts_of(data)


def test_elements_after_the_pixels_must_be_whole() -> None:
    trailer: list[samples.Element] = [(0xFFFC_FFFC, "OB", b"padding!")]
    data = samples.multi_frame(bytes(8), frames=1, rows=2, columns=2, trailer=trailer)
    pixels = layout_of(data)
    assert pixels.offset + pixels.length == len(data) - 12 - 8
    assert state_of(data[:-1]) is DicomState.FAILED


def test_header_of_a_large_file_is_parsed_without_its_pixels() -> None:
    frame_size, frames = 512 * 512 * 2, 10_000
    small = samples.multi_frame(b"", frames=frames, rows=512, columns=512)
    head = small[:-4] + struct.pack("<I", frame_size * frames // 2)
    head = head.replace(b"10000 ", b"5000  ")
    size_bytes = len(head) + frame_size * frames // 2
    read_bytes = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal read_bytes
        read_bytes += length
        return (head[offset : offset + length]).ljust(min(length, size_bytes - offset), b"\7")

    state, facts = dicom.parse_head(read, size_bytes)
    assert size_bytes > 2 * 1024**3
    assert state is DicomState.PARSED
    assert facts is not None
    assert facts.pixels is not None
    assert facts.pixels.offset + facts.pixels.length == size_bytes
    assert read_bytes < 128 * 1024


def test_fragments_of_a_large_file_are_stepped_over_not_read() -> None:
    data = samples.encapsulated([bytes(200_000)] * 100)
    read_bytes = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal read_bytes
        read_bytes += length
        return data[offset : offset + length]

    assert dicom.parse_head(read, len(data)) == dicom.parse(data)
    assert read_bytes < len(data) // 20


@pytest.mark.parametrize("error", [OSError("disk"), EOFError("pipe"), StopIteration()])
@pytest.mark.parametrize("vr", ["OB", "QQ"], ids=["walk", "pydicom"])
def test_errors_of_reading_pass_through(error: Exception, vr: str) -> None:
    encoding = samples.Encoding()
    head = encoding.elements([*samples.identifiers(), (0x0029_1001, "OB", bytes(100_000))])
    data = samples.file(head + encoding.element(0x0031_1001, vr, "odd or not"))
    calls = 0
    fail_at = -1

    def read(offset: int, length: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise error
        return data[offset : offset + length]

    assert dicom.parse_head(read, len(data))[0] is DicomState.PARSED
    for fail_at in range(1, calls + 1):  # noqa: B007 - read looks at it
        calls = 0
        with pytest.raises(type(error)):
            dicom.parse_head(read, len(data))


def test_file_that_shrank_while_it_was_read_fails() -> None:
    data = samples.ct_slice()
    shrunk = data[:600]
    state, facts = dicom.parse_head(lambda at, size: shrunk[at : at + size], len(data))
    assert (state, facts) == (DicomState.FAILED, None)
