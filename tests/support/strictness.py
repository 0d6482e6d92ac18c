"""What every strict decoder owes: cut, lengthened, changed or foreign bytes give a VaultError.

The checks take a decoder as a function of bytes alone. A decoder that raises anything but a
``VaultError`` fails the test by that exception.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from safelight_vault.errors import DecodeError, VaultError

_Value = TypeVar("_Value")
_FLIPS_MAX = 3000
"""Most positions that are flipped in one object; longer objects are flipped at even distances."""


class _Refused:
    """What a decoder answers when it raises a ``VaultError``."""


REFUSED = _Refused()


def outcome(decode: Callable[[bytes], _Value], data: bytes) -> _Value | _Refused:
    """The value decoded from ``data``, or ``REFUSED``."""
    try:
        return decode(data)
    except VaultError:
        return REFUSED


def flips(data: bytes, *, every: int | None = None) -> Iterator[tuple[int, bytes]]:
    """``data`` with one bit flipped at a time: each byte of it (or each ``every``-th), any bit."""
    step = every or -(-len(data) // _FLIPS_MAX)
    for position in range(0, len(data), step):
        changed = bytearray(data)
        changed[position] ^= 1 << (position * 5 % 8)
        yield position, bytes(changed)


def require_exact_length(
    decode: Callable[[bytes], _Value], data: bytes, *, at: Iterable[int] | None = None
) -> None:
    """Require that ``data`` decodes, and neither its beginnings (at these lengths) nor more do."""
    decode(data)
    step = -(-len(data) // _FLIPS_MAX)
    for length in range(0, len(data), step) if at is None else at:
        assert outcome(decode, data[:length]) is REFUSED, f"accepted when cut at byte {length}"
    for tail in (b"\x00", b"\xff"):
        assert outcome(decode, data + tail) is REFUSED, "accepted with a trailing byte"


def require_tamper_evident(
    decode: Callable[[bytes], _Value], data: bytes, *, every: int | None = None
) -> None:
    """Require that no flipped bit of authenticated ``data`` leads to another value."""
    value = decode(data)
    for position, changed in flips(data, every=every):
        found = outcome(decode, changed)
        assert found is REFUSED or found == value, f"another value after a flip at {position}"


def require_only_vault_errors(decode: Callable[[bytes], _Value], data: bytes) -> None:
    """Require that a decoder of clear bytes answers every flip with a value or a VaultError."""
    for _, changed in flips(data):
        outcome(decode, changed)


def require_canonical(
    decode: Callable[[bytes], _Value], encode: Callable[[_Value], bytes], data: bytes
) -> None:
    """Require that what is accepted is what the encoder would have written, and nothing else."""
    try:
        value = decode(data)
    except DecodeError:
        return
    assert encode(value) == data
