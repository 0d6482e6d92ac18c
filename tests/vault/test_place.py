"""Places are read back exactly, and none may point outside the limits of packs and blocks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import fixed_bytes
from safelight_vault.errors import DecodeError
from safelight_vault.format.chunk import CHUNK_SIZE_MAX
from safelight_vault.format.codec import BLOCK_SIZE_MAX
from safelight_vault.format.crypto import TAG_SIZE
from safelight_vault.format.pack import BLOCKS_MAX, PACK_SIZE_MAX, SEALED_BLOCK_SIZE_MAX
from safelight_vault.format.place import PLACE_SIZE, Place, read_place, write_place
from safelight_vault.format.wire import Reader, Writer
from strictness import outcome, require_canonical, require_exact_length


@st.composite
def places(draw: st.DrawFn) -> Place:
    block_length = draw(st.integers(TAG_SIZE + 1, SEALED_BLOCK_SIZE_MAX))
    length = draw(st.integers(1, CHUNK_SIZE_MAX))
    return Place(
        pack=draw(st.binary(min_size=32, max_size=32)),
        block_number=draw(st.integers(0, BLOCKS_MAX - 1)),
        block_offset=draw(st.integers(0, PACK_SIZE_MAX - block_length)),
        block_length=block_length,
        offset=draw(st.integers(0, BLOCK_SIZE_MAX - length)),
        length=length,
    )


def encode(place: Place) -> bytes:
    writer = Writer()
    write_place(writer, place)
    return writer.finish()


def decode(data: bytes) -> Place:
    reader = Reader(data, "place")
    place = read_place(reader)
    reader.end()
    return place


GOOD = Place(
    pack=fixed_bytes("pack"),
    block_number=3,
    block_offset=4000,
    block_length=1000,
    offset=50,
    length=70,
)


@given(places())
def test_a_place_is_read_back(place: Place) -> None:
    data = encode(place)
    assert len(data) == PLACE_SIZE
    assert decode(data) == place


def test_a_place_has_exactly_one_length() -> None:
    require_exact_length(decode, encode(GOOD))


@given(st.binary(max_size=PLACE_SIZE + 4) | st.binary(min_size=PLACE_SIZE, max_size=PLACE_SIZE))
def test_foreign_bytes_are_refused_or_read_as_written(data: bytes) -> None:
    outcome(decode, data)
    require_canonical(decode, encode, data)


@pytest.mark.parametrize(
    "place",
    [
        replace(GOOD, block_number=BLOCKS_MAX),
        replace(GOOD, block_length=SEALED_BLOCK_SIZE_MAX + 1),
        replace(GOOD, block_offset=PACK_SIZE_MAX - GOOD.block_length + 1),
        replace(GOOD, block_offset=2**64 - 1),
        replace(GOOD, length=0),
        replace(GOOD, length=CHUNK_SIZE_MAX + 1),
        replace(GOOD, offset=BLOCK_SIZE_MAX - GOOD.length + 1),
        replace(GOOD, offset=2**32 - 1),
        replace(GOOD, block_length=0),
        replace(GOOD, block_length=TAG_SIZE),
    ],
)
def test_a_place_beyond_a_limit_is_refused(place: Place) -> None:
    with pytest.raises(DecodeError, match="outside the limits"):
        decode(encode(place))
