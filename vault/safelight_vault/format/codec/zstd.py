"""Zstandard (RFC 8878) for blocks, bounded: the only module that imports ``zstandard``."""

import zstandard

from safelight_vault.errors import DecodeError


def encode(plain: bytes | bytearray, level: int) -> bytes:
    """One zstd frame with its content size."""
    return zstandard.ZstdCompressor(level=level).compress(plain)


def decode(payload: memoryview, parameters: bytes, plain_size: int) -> bytes:
    """The content of exactly one frame of exactly ``plain_size`` bytes.

    The frame must declare that size itself, so a decompression bomb is refused unopened.
    """
    if parameters:
        raise DecodeError("zstd block: takes no parameters")
    if not payload or plain_size == 0:
        # Of an empty frame, zstandard would not look at what follows it.
        raise DecodeError("zstd block: empty")
    try:
        declared = zstandard.get_frame_parameters(payload).content_size
        if declared != plain_size:
            raise DecodeError(f"zstd block: frame declares {declared} bytes, not {plain_size}")
        return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DecodeError("zstd block: does not decompress") from error
