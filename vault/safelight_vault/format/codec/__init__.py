"""The codec registry: how a block's plaintext was made smaller, by number, with the inverse beside.

A block's frame carries the number and the plain length, so that a reader depends on nothing but
the bytes; which codec to use is the agent's choice (format.md section 5).
"""

from collections.abc import Callable
from dataclasses import dataclass

from safelight_vault.errors import DecodeError, UnsupportedFormatError
from safelight_vault.format.codec import zstd
from safelight_vault.format.wire import Reader, Writer

BLOCK_SIZE_MAX = 16 << 20
"""Most plaintext bytes in one block."""
PARAMETERS_SIZE_MAX = 4096
FRAME_OVERHEAD_MAX = 1 + 4 + 4 + PARAMETERS_SIZE_MAX


@dataclass(frozen=True, slots=True)
class Codec:
    """A reversible coding: ``decode(payload, parameters, plain_size)`` undoes it exactly.

    ``decode`` never yields more than ``plain_size`` bytes and raises ``DecodeError`` otherwise.
    """

    name: str
    decode: Callable[[memoryview, bytes, int], bytes]


def _decode_stored(payload: memoryview, parameters: bytes, plain_size: int) -> bytes:
    if parameters or len(payload) != plain_size:
        raise DecodeError("stored block: its length is not the declared one")
    return bytes(payload)


STORED = 0
ZSTD = 1

CODECS: dict[int, Codec] = {
    STORED: Codec("stored", _decode_stored),
    ZSTD: Codec("zstd", zstd.decode),
}


def encode_block(plain: bytes | bytearray, *, level: int) -> bytes:
    """A framed block: zstd at ``level``, or stored as it is when that is not smaller."""
    if len(plain) > BLOCK_SIZE_MAX:
        raise ValueError("block too long")
    packed = zstd.encode(plain, level)
    if len(packed) < len(plain):
        return _frame(ZSTD, len(plain), packed)
    return _frame(STORED, len(plain), bytes(plain))


def _frame(codec: int, plain_size: int, payload: bytes) -> bytes:
    writer = Writer()
    writer.u8(codec)
    writer.u32(plain_size)
    writer.var(b"", PARAMETERS_SIZE_MAX)
    return writer.finish() + payload


def decode_block(frame: bytes) -> bytes:
    """The plaintext of a framed block, whatever codec it names."""
    reader = Reader(frame, "block frame")
    number = reader.u8()
    plain_size = reader.u32()
    parameters = reader.var(PARAMETERS_SIZE_MAX)
    if plain_size > BLOCK_SIZE_MAX:
        raise reader.fail(f"plain length {plain_size} exceeds the limit of {BLOCK_SIZE_MAX}")
    codec = CODECS.get(number)
    if codec is None:
        raise UnsupportedFormatError(f"block codec {number} is newer than this program")
    plain = codec.decode(memoryview(frame)[reader.offset :], parameters, plain_size)
    if len(plain) != plain_size:
        raise reader.fail(f"{codec.name} gave {len(plain)} bytes, {plain_size} were declared")
    return plain
