"""A body in many buffers read as one stream."""

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import CorruptError
from safelight_vault.store.s3_body import ReplayableBody

PIECES = st.lists(st.binary(max_size=20), max_size=8)


@given(PIECES, st.lists(st.integers(1, 30), max_size=20))
def test_reads_of_any_size_give_the_joined_bytes(pieces: list[bytes], sizes: list[int]) -> None:
    body, expected = ReplayableBody(pieces), io.BytesIO(b"".join(pieces))
    for size in sizes:
        assert body.read(size) == expected.read(size)
        assert body.tell() == expected.tell()
    assert body.read() == expected.read()
    assert body.read(5) == b""


@given(PIECES, st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=10))
def test_it_can_be_read_again_from_anywhere(
    pieces: list[bytes], moves: list[tuple[int, int]]
) -> None:
    body, joined = ReplayableBody(pieces), b"".join(pieces)
    assert body.seek(0, io.SEEK_END) == body.size_bytes == len(joined)
    for offset, size in moves:
        start = body.seek(offset)
        assert start == min(offset, len(joined))
        assert body.read(size) == joined[start : start + size]
        assert body.seek(0, io.SEEK_CUR) == body.tell()
    body.seek(0)
    assert body.read() == joined


def test_every_kind_of_buffer_is_read_as_its_bytes() -> None:
    wide = memoryview(bytes(range(8))).cast("H")
    body = ReplayableBody([b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], wide])
    assert body.readable()
    assert body.seekable()
    assert body.read() == b"abcdef" + bytes(range(8))


@given(PIECES)
def test_the_md5_comes_with_the_proof_of_the_sha256(pieces: list[bytes]) -> None:
    joined = b"".join(pieces)
    body = ReplayableBody(pieces)
    digest = hashlib.sha256(joined).digest()
    assert body.md5_of(sha256=digest, name="a") == hashlib.md5(joined).digest()
    assert body.read() == joined
    with pytest.raises(CorruptError):
        body.md5_of(sha256=bytes(32), name="a")
