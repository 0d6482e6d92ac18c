"""Blocks come back exactly as they were framed; hostile frames cost nothing and are refused."""

import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from keys import fixed_bytes
from safelight_vault.errors import DecodeError, UnsupportedFormatError
from safelight_vault.format.codec import (
    BLOCK_SIZE_MAX,
    CODECS,
    PARAMETERS_SIZE_MAX,
    STORED,
    ZSTD,
    decode_block,
    encode_block,
)
from strictness import outcome, require_exact_length

COMPRESSIBLE = b"(0028,0010) US 512 " * 40


def frame(codec: int, plain_size: int, payload: bytes, parameters: bytes = b"") -> bytes:
    """A block frame as format.md lays it out, written without the encoder."""
    header = struct.pack(">BII", codec, plain_size, len(parameters))
    return header + parameters + payload


def zstd_frame(plain: bytes, *, write_content_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=write_content_size).compress(plain)


def declaring(plain: bytes, size: int) -> bytes:
    """A zstd frame of ``plain`` whose header claims another size (RFC 8878 section 3.1.1.1)."""
    packed = zstd_frame(plain)
    assert packed[4] == 0x60, "single segment, two bytes of content size, no checksum"
    return packed[:5] + (size - 256).to_bytes(2, "little") + packed[7:]


@given(st.binary(max_size=2000), st.integers(1, 9))
def test_a_block_is_read_back(plain: bytes, level: int) -> None:
    assert decode_block(encode_block(plain, level=level)) == plain


@given(st.binary(min_size=1, max_size=8), st.integers(1, 2000))
def test_a_repetitive_block_is_read_back(pattern: bytes, times: int) -> None:
    plain = bytearray(pattern * times)
    assert decode_block(encode_block(plain, level=1)) == plain


def test_a_block_that_does_not_shrink_is_stored_as_it_is() -> None:
    noise = fixed_bytes("noise", 1000)
    assert encode_block(noise, level=3) == frame(STORED, 1000, noise)
    assert encode_block(b"", level=3) == frame(STORED, 0, b"")
    assert encode_block(COMPRESSIBLE, level=3)[0] == ZSTD


def test_the_largest_block_is_read_back_and_a_larger_one_refused() -> None:
    plain = bytes(BLOCK_SIZE_MAX)
    assert decode_block(encode_block(plain, level=1)) == plain
    with pytest.raises(ValueError, match="block too long"):
        encode_block(plain + b"\x00", level=1)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode_block(frame(ZSTD, BLOCK_SIZE_MAX + 1, zstd_frame(plain + b"\x00")))


@pytest.mark.parametrize("plain", [b"", b"x", fixed_bytes("noise", 90), COMPRESSIBLE])
def test_a_frame_has_exactly_one_length(plain: bytes) -> None:
    require_exact_length(decode_block, encode_block(plain, level=3))


@given(st.binary(max_size=200), st.sampled_from(sorted(CODECS)), st.integers(0, 2**20))
def test_foreign_bytes_raise_nothing_but_vault_errors(
    payload: bytes, codec: int, plain_size: int
) -> None:
    outcome(decode_block, payload)
    outcome(decode_block, frame(codec, plain_size, payload))
    outcome(decode_block, frame(codec, plain_size, b"\x28\xb5\x2f\xfd" + payload))


@given(st.integers(0, len(COMPRESSIBLE) * 8), st.integers(0, 255))
def test_a_damaged_zstd_frame_never_gives_another_length(at: int, byte: int) -> None:
    data = bytearray(encode_block(COMPRESSIBLE, level=3))
    data[at % len(data)] = byte
    found = outcome(decode_block, bytes(data))
    if isinstance(found, bytes):
        assert len(found) == int.from_bytes(data[1:5], "big")


def test_a_frame_that_declares_more_than_the_plain_length_is_refused_unopened() -> None:
    bomb = zstd_frame(bytes(1 << 30))
    assert len(bomb) < 1 << 17
    with pytest.raises(DecodeError, match="declares 1073741824 bytes, not 1000"):
        decode_block(frame(ZSTD, 1000, bomb))


@pytest.mark.parametrize("claimed", [len(COMPRESSIBLE) - 1, 300, len(COMPRESSIBLE) + 1, 60000])
def test_a_frame_that_yields_more_or_less_than_it_declares_is_refused(claimed: int) -> None:
    assert zstandard.get_frame_parameters(declaring(COMPRESSIBLE, claimed)).content_size == claimed
    with pytest.raises(DecodeError, match="does not decompress"):
        decode_block(frame(ZSTD, claimed, declaring(COMPRESSIBLE, claimed)))


def test_a_frame_without_content_size_is_refused() -> None:
    packed = zstd_frame(COMPRESSIBLE, write_content_size=False)
    with pytest.raises(DecodeError, match="declares"):
        decode_block(frame(ZSTD, len(COMPRESSIBLE), packed))


def test_data_after_the_frame_is_refused() -> None:
    packed = zstd_frame(COMPRESSIBLE)
    for tail in (b"\x00", packed, zstd_frame(b"")):
        with pytest.raises(DecodeError, match="does not decompress"):
            decode_block(frame(ZSTD, len(COMPRESSIBLE), packed + tail))


def test_a_skippable_frame_is_not_content() -> None:
    skippable = struct.pack("<II", 0x184D2A50, 10) + bytes(10)
    for payload in (skippable, skippable + zstd_frame(bytes(10))):
        with pytest.raises(DecodeError):
            decode_block(frame(ZSTD, 10, payload))


@pytest.mark.parametrize(
    "payload",
    [
        zstd_frame(b""),
        zstd_frame(b"") + b"hidden",
        struct.pack("<II", 0x184D2A50, 0) + b"hidden",
    ],
)
def test_an_empty_block_is_never_a_zstd_frame(payload: bytes) -> None:
    """One way to write it: zstandard does not look at what follows an empty frame."""
    with pytest.raises(DecodeError, match="empty"):
        decode_block(frame(ZSTD, 0, payload))


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_stored_block_of_another_length_is_refused(length: int) -> None:
    assert decode_block(frame(STORED, 5, b"abcde")) == b"abcde"
    with pytest.raises(DecodeError, match="not the declared one"):
        decode_block(frame(STORED, length, b"abcde"))


@pytest.mark.parametrize("codec", [STORED, ZSTD])
def test_parameters_that_a_codec_does_not_take_are_refused(codec: int) -> None:
    payload = zstd_frame(b"abcde") if codec == ZSTD else b"abcde"
    assert decode_block(frame(codec, 5, payload)) == b"abcde"
    with pytest.raises(DecodeError):
        decode_block(frame(codec, 5, payload, parameters=b"\x00"))


@pytest.mark.parametrize("codec", [min(set(range(256)) - set(CODECS)), 200, 255])
def test_an_unknown_codec_is_unsupported_not_damage(codec: int) -> None:
    with pytest.raises(UnsupportedFormatError, match=f"block codec {codec} is newer"):
        decode_block(frame(codec, 5, b"abcde", parameters=bytes(PARAMETERS_SIZE_MAX)))


def test_too_many_parameters_are_refused_before_the_codec_is_looked_at() -> None:
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode_block(frame(255, 5, b"abcde", parameters=bytes(PARAMETERS_SIZE_MAX + 1)))
