"""A whole file, in memory or not, is split into chunks that deduplicate."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

import dicom_samples as samples
from safelight_agent.split import CHUNK_SIZE_MAX, ContentCutter, Cut, Stream, split_file
from safelight_agent.split import split_large_file as split_large
from safelight_agent.split.cuts import KIB, MIB
from safelight_vault import dicom

CUTTER = ContentCutter(seed=99)
SMALL_CUTTER = ContentCutter(seed=99, minimum=64, average=256, maximum=1024)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def split(data: bytes, cutter: ContentCutter = CUTTER) -> list[tuple[Stream, bytes]]:
    """The chunks of a file with their streams, after they were found to make it up."""
    cuts = split_file(data, dicom.parse(data)[1], cutter)
    assert b"".join(data[cut.offset : cut.offset + cut.length] for cut in cuts) == data
    assert all(0 < cut.length <= CHUNK_SIZE_MAX for cut in cuts)
    return [(cut.stream, data[cut.offset : cut.offset + cut.length]) for cut in cuts]


def pixels_of(data: bytes) -> list[bytes]:
    return [chunk for stream, chunk in split(data) if stream is Stream.PIXELS]


def large_report() -> bytes:
    """A data set without pixels that is too large for one chunk of headers."""
    elements: list[samples.Element] = [
        *samples.identifiers(),
        (0x0042_0011, "OB", noise(10 * MIB)),
    ]
    return samples.file(samples.Encoding().elements(elements))


FILES = {
    "empty": b"",
    "text": b"a small file",
    "dump": noise(5 * MIB),
    "zeros": bytes(9 * MIB),
    "slice": samples.ct_slice(),
    "multi-frame": samples.multi_frame(noise(900 * KIB), frames=9, rows=100, columns=512),
    "cine": samples.encapsulated([noise(50 * KIB, seed) for seed in range(20)]),
    "report": samples.report(),
    "deflated": samples.ct_slice(syntax=samples.DEFLATED),
    "large report": large_report(),
    "truncated": samples.ct_slice()[:-1],
}


@pytest.mark.parametrize("name", FILES)
def test_large_files_are_split_like_those_in_memory_and_read_once(name: str) -> None:
    data = FILES[name]
    facts = dicom.parse(data)[1]
    read_bytes = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal read_bytes
        read_bytes += length
        return data[offset : offset + length]

    pieces = list(split_large(read, len(data), facts, CUTTER))
    assert [cut for cut, _ in pieces] == split_file(data, facts, CUTTER)
    for cut, piece in pieces:
        assert piece == data[cut.offset : cut.offset + cut.length]
    if name != "cine":  # whose fragments are looked up before they are read
        assert read_bytes == len(data)


@pytest.mark.parametrize("name", [name for name, data in FILES.items() if data])
def test_file_that_shrank_ends_its_cuts_early(name: str) -> None:
    data = FILES[name]
    shorter = data[: len(data) // 2]
    pieces = split_large(
        lambda at, size: shorter[at : at + size], len(data), dicom.parse(data)[1], CUTTER
    )
    assert b"".join(piece for _, piece in pieces) == shorter


@given(data=st.one_of(st.binary(max_size=3000), st.sampled_from(list(FILES.values())[:2])))
@settings(deadline=None)
def test_cuts_make_up_any_file(data: bytes) -> None:
    for stream, _ in split(data, SMALL_CUTTER):
        assert stream is Stream.DATA


def test_empty_file_has_no_cuts() -> None:
    assert split_file(b"", None, CUTTER) == []


def test_small_file_is_one_cut_of_data() -> None:
    assert split_file(b"a small file", None, CUTTER) == [Cut(0, 12, Stream.DATA)]


def test_slice_is_a_header_and_its_pixels() -> None:
    header, pixels = split(samples.ct_slice(seed=5))
    assert header[0] is Stream.HEADERS
    assert pixels == (Stream.PIXELS, samples.ct_pixels(64, 64, seed=5))


def test_damaged_dicom_is_data() -> None:
    assert {stream for stream, _ in split(samples.ct_slice()[:-1])} == {Stream.DATA}


def test_header_beyond_the_limit_is_cut_by_content() -> None:
    chunks = split(large_report())
    assert len(chunks) > 4
    assert {stream for stream, _ in chunks} == {Stream.DATA}


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "examples_overlay.dcm"])
def test_real_images_are_cut_at_their_pixels(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    with open(path, "rb") as stream:
        chunks = split(stream.read())
    assert [stream for stream, _ in chunks][:2] == [Stream.HEADERS, Stream.PIXELS]


@pytest.mark.parametrize("new_name", ["Roe^Richard", "A", "Name^Much^Longer^Than^Before"])
def test_changing_a_name_leaves_every_pixel_chunk_as_it_was(new_name: str) -> None:
    frames = noise(20 * 40 * KIB)
    fragments = [noise(30 * KIB, seed) for seed in range(40)]
    large = np.arange(3000 * 2000, dtype="<u4").tobytes()
    for old, new in [
        (samples.ct_slice(), samples.ct_slice(patient_name=new_name)),
        (
            samples.multi_frame(frames, frames=20, rows=128, columns=160),
            samples.multi_frame(frames, frames=20, rows=128, columns=160, patient_name=new_name),
        ),
        (
            samples.multi_frame(large, frames=1, rows=3000, columns=2000, bits=32),
            samples.multi_frame(
                large, frames=1, rows=3000, columns=2000, bits=32, patient_name=new_name
            ),
        ),
        (
            samples.encapsulated(fragments),
            samples.encapsulated(fragments, patient_name=new_name),
        ),
    ]:
        assert pixels_of(old) == pixels_of(new)
        assert split(old)[0] != split(new)[0]
        new_bytes = sum(len(chunk) for _, chunk in set(split(new)) - set(split(old)))
        assert new_bytes < 2000


def test_frames_are_cut_alike_with_and_without_an_offset_table() -> None:
    fragments = [noise(300 * KIB, seed) for seed in range(5)]
    with_table = pixels_of(samples.encapsulated(fragments))
    without = pixels_of(samples.encapsulated(fragments, offset_table=False))
    assert with_table[1:] == without[1:]


def test_insertion_into_a_dump_stores_little_again() -> None:
    dump = noise(16 * MIB)
    changed = dump[: 8 * MIB] + b"one more row" + dump[8 * MIB :]
    new_bytes = sum(len(chunk) for _, chunk in set(split(changed)) - set(split(dump)))
    assert 0 < new_bytes < 3 * MIB
