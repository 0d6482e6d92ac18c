"""DICOM is cut at its pixels and frames, and the cuts always make up the file."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_samples as samples
from safelight_agent.split.cuts import CHUNK_SIZE_MAX, KIB, MIB, Cut, Stream
from safelight_agent.split.dicom import GROUP_SIZE_MIN, PIECE_SIZE, cut_dicom
from safelight_vault import dicom


def layout(
    *,
    offset: int = 1000,
    length: int,
    rows: int = 1,
    columns: int = 1,
    samples_per_pixel: int = 1,
    bits: int = 16,
    frames: int = 1,
    planar: bool = False,
    encapsulated: bool = False,
) -> dicom.PixelLayout:
    return dicom.PixelLayout(
        offset=offset,
        length=length,
        rows=rows,
        columns=columns,
        samples_per_pixel=samples_per_pixel,
        bits_allocated=bits,
        bits_stored=bits,
        signed=False,
        planar=planar,
        frames=frames,
        big_endian=False,
        encapsulated=encapsulated,
        transfer_syntax_uid=samples.EXPLICIT_LITTLE,
    )


def facts(
    pixels: dicom.PixelLayout | None, syntax: str = samples.EXPLICIT_LITTLE
) -> dicom.DicomFacts:
    return dicom.DicomFacts(
        patient_id="",
        patient_name="",
        study_instance_uid="",
        series_instance_uid="",
        sop_instance_uid="",
        sop_class_uid="",
        modality="",
        study_date="",
        study_time="",
        accession_number="",
        study_description="",
        series_description="",
        transfer_syntax_uid=syntax,
        pixels=pixels,
    )


def cut_pixels(
    pixels: dicom.PixelLayout, *, trailer: int = 0, fragment_ends: Sequence[int] = ()
) -> list[int]:
    """The lengths of the pixel cuts, after the whole was found in order."""
    size_bytes = pixels.offset + pixels.length + trailer
    cuts = cut_dicom(facts(pixels), size_bytes, fragment_ends)
    check_tiling(cuts, size_bytes)
    assert cuts[0] == Cut(0, pixels.offset, Stream.HEADERS)
    if trailer:
        assert cuts[-1] == Cut(size_bytes - trailer, trailer, Stream.HEADERS)
    return [cut.length for cut in cuts if cut.stream is Stream.PIXELS]


def check_tiling(cuts: list[Cut], size_bytes: int) -> None:
    position = 0
    for cut in cuts:
        assert cut.offset == position
        assert cut.length > 0
        assert cut.length <= CHUNK_SIZE_MAX or cut.stream is Stream.DATA
        position += cut.length
    assert position == size_bytes


LAYOUTS = st.builds(
    layout,
    offset=st.integers(0, 20 * MIB),
    length=st.integers(0, 100 * MIB),
    rows=st.integers(0, 65_535),
    columns=st.integers(0, 65_535),
    samples_per_pixel=st.sampled_from([0, 1, 3]),
    bits=st.sampled_from([0, 1, 8, 12, 16, 32]),
    frames=st.one_of(st.integers(1, 1000), st.integers(1, 10**12)),
    planar=st.booleans(),
    encapsulated=st.booleans(),
)


@given(
    pixels=st.one_of(st.none(), LAYOUTS),
    size_bytes=st.integers(0, 130 * MIB),
    fragment_ends=st.lists(st.integers(0, 130 * MIB), max_size=20),
    in_order=st.booleans(),
)
@settings(deadline=None)
def test_cuts_make_up_the_file_whatever_the_facts(
    pixels: dicom.PixelLayout | None,
    size_bytes: int,
    fragment_ends: list[int],
    *,
    in_order: bool,
) -> None:
    if in_order:
        fragment_ends = sorted(fragment_ends)
    check_tiling(cut_dicom(facts(pixels), size_bytes, fragment_ends), size_bytes)


@given(pixels=LAYOUTS, trailer=st.integers(0, 9 * MIB))
@settings(deadline=None)
def test_cuts_of_pixels_do_not_depend_on_what_stands_before_them(
    pixels: dicom.PixelLayout, trailer: int
) -> None:
    size_bytes = pixels.offset + pixels.length + trailer
    moved = dicom.PixelLayout(
        **{name: getattr(pixels, name) for name in dicom.PixelLayout.__dataclass_fields__}
        | {"offset": pixels.offset + 12}
    )
    here = cut_dicom(facts(pixels), size_bytes)
    there = cut_dicom(facts(moved), size_bytes + 12)
    assert [cut.length for cut in here if cut.stream is Stream.PIXELS] == [
        cut.length for cut in there if cut.stream is Stream.PIXELS
    ]


@given(
    frame_size=st.integers(1, 12 * MIB),
    frames=st.integers(1, 400),
    padding=st.integers(0, 1),
)
@settings(deadline=None)
def test_no_cut_crosses_a_frame_unless_it_begins_at_one(
    frame_size: int, frames: int, padding: int
) -> None:
    pixels = layout(length=frame_size * frames + padding, columns=frame_size, bits=8, frames=frames)
    pixels_end = 1000 + pixels.length
    for cut in cut_dicom(facts(pixels), pixels_end)[1:]:
        begin, end = cut.offset - 1000, cut.offset - 1000 + cut.length
        at_frame = begin % frame_size == 0
        if at_frame and end < pixels.length:
            assert end % frame_size == 0 or frame_size > CHUNK_SIZE_MAX
        if not at_frame:
            assert begin // frame_size == (end - 1 - padding) // frame_size


def test_an_image_is_header_pixels_and_what_follows() -> None:
    assert cut_pixels(layout(length=512 * 1024, rows=512, columns=512), trailer=20) == [512 * 1024]


def test_small_frames_are_grouped() -> None:
    frame_size = 100 * KIB
    pixels = layout(length=10 * frame_size, columns=frame_size // 2, frames=10)
    assert cut_pixels(pixels) == [3 * frame_size] * 3 + [frame_size]


def test_frames_of_a_useful_size_are_cut_one_by_one() -> None:
    pixels = layout(length=3 * 512 * KIB, rows=512, columns=512, frames=3)
    assert cut_pixels(pixels) == [512 * KIB] * 3


def test_large_frames_are_cut_into_pieces_of_whole_rows() -> None:
    row_size = 3000 * 2
    pixels = layout(length=2 * 2000 * row_size, rows=2000, columns=3000, frames=2)
    piece = PIECE_SIZE // row_size * row_size
    rest = 2000 * row_size - 2 * piece
    assert rest > 0
    assert cut_pixels(pixels) == [piece, piece, rest] * 2


def test_rows_of_planes_and_of_interleaved_colours_differ() -> None:
    size = 3000 * 4000 * 3
    for planar, row_size in [(False, 9000), (True, 3000)]:
        pixels = layout(
            length=size, rows=4000, columns=3000, samples_per_pixel=3, bits=8, planar=planar
        )
        lengths = cut_pixels(pixels)
        assert len(lengths) == size // PIECE_SIZE + 1
        assert all(length % row_size == 0 for length in lengths)


def test_padding_byte_stays_with_the_last_frame() -> None:
    frame_size = 300 * KIB + 1
    pixels = layout(length=3 * frame_size + 1, columns=frame_size, bits=8, frames=3)
    assert cut_pixels(pixels) == [frame_size, frame_size, frame_size + 1]


def test_bytes_beyond_the_promised_frames_are_cut_apart() -> None:
    frame_size = 512 * KIB
    pixels = layout(length=2 * frame_size + 1000, rows=512, columns=512, frames=2)
    assert cut_pixels(pixels) == [frame_size, frame_size, 1000]


def test_subsampled_frames_are_found_by_their_number() -> None:
    frame_size = 480 * 640 * 2
    pixels = layout(
        length=3 * frame_size, rows=480, columns=640, samples_per_pixel=3, bits=8, frames=3
    )
    assert cut_pixels(pixels) == [frame_size] * 3


def test_frames_that_share_bytes_are_cut_into_fixed_pieces() -> None:
    bits = 3333 * 3333
    pixels = layout(length=(bits * 7 + 7) // 8, rows=3333, columns=3333, bits=1, frames=7)
    assert cut_pixels(pixels) == [PIECE_SIZE, PIECE_SIZE, pixels.length - 2 * PIECE_SIZE]


def test_frames_of_one_byte_by_the_billion_are_cut_at_once() -> None:
    pixels = layout(length=2**32, bits=8, frames=2**32)
    assert cut_pixels(pixels) == [GROUP_SIZE_MIN] * (2**32 // GROUP_SIZE_MIN)


def test_fragments_are_grouped_and_divided_like_frames() -> None:
    pixels = layout(length=30 * MIB, encapsulated=True)
    ends = [1000 + 8, 1000 + 200 * KIB, 1000 + 400 * KIB, 1000 + 10 * MIB, 1000 + 30 * MIB]
    assert cut_pixels(pixels, fragment_ends=ends) == [
        400 * KIB,
        4 * MIB,
        4 * MIB,
        10 * MIB - 400 * KIB - 8 * MIB,
        *[4 * MIB] * 5,
    ]


def test_small_fragment_before_a_large_one_is_cut_alone() -> None:
    pixels = layout(length=9 * MIB, encapsulated=True)
    assert cut_pixels(pixels, fragment_ends=[1000 + 100 * KIB]) == [
        100 * KIB,
        4 * MIB,
        4 * MIB,
        9 * MIB - 100 * KIB - 8 * MIB,
    ]


def test_encapsulated_pixels_without_fragments_are_cut_into_fixed_pieces() -> None:
    assert cut_pixels(layout(length=3 * MIB, encapsulated=True)) == [3 * MIB]
    assert cut_pixels(layout(length=9 * MIB, encapsulated=True)) == [4 * MIB, 4 * MIB, 1 * MIB]


@pytest.mark.parametrize(
    ("pixels", "size_bytes"),
    [(None, 9 * MIB), (layout(offset=9 * MIB, length=100), 9 * MIB + 100)],
    ids=["no pixels", "before pixels"],
)
def test_header_beyond_the_limit_is_data(pixels: dicom.PixelLayout | None, size_bytes: int) -> None:
    assert cut_dicom(facts(pixels), size_bytes)[0] == Cut(0, 9 * MIB, Stream.DATA)


def test_object_without_pixels_is_a_header() -> None:
    assert cut_dicom(facts(None), 5 * MIB) == [Cut(0, 5 * MIB, Stream.HEADERS)]


def test_deflated_object_is_data() -> None:
    assert cut_dicom(facts(None, samples.DEFLATED), 5000) == [Cut(0, 5000, Stream.DATA)]


def test_facts_of_other_bytes_make_the_file_data() -> None:
    assert cut_dicom(facts(layout(length=500)), 1200) == [Cut(0, 1200, Stream.DATA)]
