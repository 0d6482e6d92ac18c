"""Cuts by content depend on the bytes alone, and move with them."""

import pickle
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight_agent.split.content import SEED_MAX, ContentCutter
from safelight_agent.split.cuts import CHUNK_SIZE_MAX, KIB, MIB

SMALL = ContentCutter(seed=7, minimum=64, average=256, maximum=1024)
"""Sizes at which a few kilobytes have many chunks."""


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def windows(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in windows of the given sizes, over and over."""
    position = 0
    while position < len(data):
        for size in sizes:
            yield data[position : position + size]
            position += size


def chunks(cutter: ContentCutter, data: bytes) -> list[bytes]:
    pieces = []
    position = 0
    for length in cutter.cut(data):
        pieces.append(data[position : position + length])
        position += length
    return pieces


@given(
    data=st.one_of(
        st.binary(max_size=5000),
        st.builds(noise, st.integers(0, 20_000), st.integers(0, 9)),
        st.builds(bytes, st.integers(0, 5000)),
    )
)
@settings(deadline=None)
def test_lengths_add_up_and_keep_to_their_limits(data: bytes) -> None:
    lengths = SMALL.cut(data)
    assert sum(lengths) == len(data)
    assert all(SMALL.minimum <= length <= SMALL.maximum for length in lengths[:-1])
    assert all(0 < length <= SMALL.maximum for length in lengths[-1:])


@given(
    size=st.integers(0, 20_000),
    seed=st.integers(0, 9),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
)
@settings(deadline=None)
def test_stream_has_the_chunks_of_the_whole_whatever_the_windows(
    size: int, seed: int, sizes: list[int]
) -> None:
    data = noise(size, seed)
    assert list(SMALL.chunks(windows(data, sizes))) == chunks(SMALL, data)


def test_stream_of_single_bytes_has_the_chunks_of_the_whole() -> None:
    data = noise(10_000)
    assert list(SMALL.chunks(windows(data, [1]))) == chunks(SMALL, data)


def test_stream_without_bytes_has_no_chunks() -> None:
    assert list(SMALL.chunks([])) == []
    assert list(SMALL.chunks([b"", b""])) == []
    assert SMALL.cut(b"") == []


@given(
    seed=st.integers(0, 9),
    at=st.integers(0, 20_000),
    inserted=st.binary(min_size=1, max_size=50),
)
@settings(deadline=None)
def test_insertion_changes_only_chunks_nearby(seed: int, at: int, inserted: bytes) -> None:
    data = noise(20_000, seed)
    before = chunks(SMALL, data)
    after = chunks(SMALL, data[:at] + inserted + data[at:])
    same_in_front = 0
    while same_in_front < len(before) and before[same_in_front] == after[same_in_front]:
        same_in_front += 1
    assert sum(map(len, before[: same_in_front + 1])) >= at - SMALL.maximum
    changed = set(after) - set(before)
    assert sum(map(len, changed)) <= 8 * SMALL.maximum


def test_bytes_up_to_the_minimum_are_one_chunk() -> None:
    cutter = ContentCutter(seed=1)
    assert cutter.cut(bytes(1)) == [1]
    assert cutter.cut(noise(256 * KIB)) == [256 * KIB]


def test_runs_without_variety_are_cut_at_the_maximum() -> None:
    cutter = ContentCutter(seed=1)
    assert cutter.cut(bytes(20 * MIB)) == [CHUNK_SIZE_MAX, CHUNK_SIZE_MAX, 4 * MIB]


def test_chunks_of_varied_bytes_are_about_a_mebibyte() -> None:
    lengths = ContentCutter(seed=1).cut(noise(24 * MIB))
    assert 16 <= len(lengths) <= 32


def test_boundaries_differ_from_seed_to_seed() -> None:
    data = noise(20_000)

    def boundaries(seed: int) -> set[int]:
        cutter = ContentCutter(seed=seed, minimum=64, average=256, maximum=1024)
        ends, position = set(), 0
        for length in cutter.cut(data)[:-1]:
            position += length
            ends.add(position)
        return ends

    all_boundaries = [boundaries(seed) for seed in (0, 1, 2**32, SEED_MAX)]
    for one, other in pairwise(all_boundaries):
        assert len(one & other) < len(one) // 4


@pytest.mark.parametrize("seed", [-1, SEED_MAX + 1])
def test_seed_that_the_cutter_would_not_use_whole_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="63 bits"):
        ContentCutter(seed=seed)


def test_seed_is_not_shown() -> None:
    assert "7" not in repr(SMALL)


def test_cutter_can_be_sent_to_another_process() -> None:
    data = noise(5000)
    copy = pickle.loads(pickle.dumps(SMALL))
    assert copy == SMALL
    assert copy.cut(data) == SMALL.cut(data)


def test_cuts_are_those_of_every_release_before() -> None:
    """A change here re-uploads every file that is cut by content: it needs a new version."""
    assert SMALL.cut(noise(4000, seed=42)) == [
        310,
        302,
        278,
        363,
        433,
        274,
        270,
        289,
        256,
        230,
        350,
        159,
        259,
        227,
    ]
    assert ContentCutter(seed=0x5AFE_1167).cut(noise(6 * MIB, seed=42)) == [
        1240406,
        1061964,
        525403,
        1134784,
        1418982,
        518236,
        391681,
    ]
