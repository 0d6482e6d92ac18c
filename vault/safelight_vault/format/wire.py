"""Bounded binary reader and writer: the alphabet in which all of docs/format.md is written.

Integers are big-endian and unsigned unless said otherwise. Every variable length is written before
its bytes and has a maximum, so that no decoder ever allocates more than its caller allowed; what
follows the last field is an error (format.md section 2).
"""

import struct
from enum import IntEnum
from typing import TypeVar

from safelight_vault.errors import DecodeError

_U8 = struct.Struct(">B")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")

TIME_US_MAX = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

_Choice = TypeVar("_Choice", bound=IntEnum)


class Writer:
    """Appends fields in the order of the format; the mirror of :class:`Reader`."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = bytearray()

    def u8(self, value: int) -> None:
        """One byte."""
        self._parts += _U8.pack(value)

    def u16(self, value: int) -> None:
        """Two bytes."""
        self._parts += _U16.pack(value)

    def u32(self, value: int) -> None:
        """Four bytes."""
        self._parts += _U32.pack(value)

    def u64(self, value: int) -> None:
        """Eight bytes."""
        self._parts += _U64.pack(value)

    def i64(self, value: int) -> None:
        """Eight bytes, two's complement."""
        self._parts += _I64.pack(value)

    def fixed(self, value: bytes, size: int) -> None:
        """Exactly ``size`` bytes, no length before them."""
        if len(value) != size:
            raise ValueError(f"field of {size} bytes got {len(value)}")
        self._parts += value

    def var(self, value: bytes, maximum: int) -> None:
        """A u32 length and that many bytes, at most ``maximum``."""
        if len(value) > maximum:
            raise ValueError(f"field of at most {maximum} bytes got {len(value)}")
        self._parts += _U32.pack(len(value))
        self._parts += value

    def text(self, value: str, maximum: int) -> None:
        """UTF-8 text as a ``var`` field."""
        self.var(value.encode("utf-8"), maximum)

    def __len__(self) -> int:
        return len(self._parts)

    def finish(self) -> bytes:
        """All that was written."""
        return bytes(self._parts)


class Reader:
    """Reads fields in the order of the format, or raises ``DecodeError`` naming the structure."""

    __slots__ = ("_data", "_name", "_offset")

    def __init__(self, data: bytes | bytearray | memoryview, name: str) -> None:
        self._data = memoryview(data)
        self._name = name
        self._offset = 0

    def fail(self, reason: str) -> DecodeError:
        """The error for the field at hand; raise it."""
        return DecodeError(f"{self._name}: {reason} (at byte {self._offset})")

    def _take(self, size: int) -> memoryview:
        end = self._offset + size
        if end > len(self._data):
            raise self.fail(f"ends early, {size} bytes wanted")
        piece = self._data[self._offset : end]
        self._offset = end
        return piece

    def u8(self) -> int:
        """One byte."""
        return self._take(1)[0]

    def u16(self) -> int:
        """Two bytes."""
        return int(_U16.unpack(self._take(2))[0])

    def u32(self) -> int:
        """Four bytes."""
        return int(_U32.unpack(self._take(4))[0])

    def u64(self) -> int:
        """Eight bytes."""
        return int(_U64.unpack(self._take(8))[0])

    def i64(self) -> int:
        """Eight bytes, two's complement."""
        return int(_I64.unpack(self._take(8))[0])

    def time_us(self) -> int:
        """Eight bytes: microseconds since 1970 UTC, within the years 1970 to 9999."""
        value = self.i64()
        if not 0 <= value <= TIME_US_MAX:
            raise self.fail("a time outside the years 1970 to 9999")
        return value

    def label(self, maximum: int) -> str:
        """Printable text as a ``var`` field, at least one character."""
        text = self.text(maximum)
        if not text or not text.isprintable():
            raise self.fail("a label that cannot be shown")
        return text

    def fixed(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        return bytes(self._take(size))

    def var(self, maximum: int) -> bytes:
        """A u32 length and that many bytes; longer than ``maximum`` is an error."""
        size = self.u32()
        if size > maximum:
            raise self.fail(f"length {size} exceeds the limit of {maximum}")
        return bytes(self._take(size))

    def text(self, maximum: int) -> str:
        """UTF-8 text as a ``var`` field."""
        try:
            return self.var(maximum).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail("text is not UTF-8") from error

    def count(self, maximum: int) -> int:
        """A u32 count of items that follow."""
        count = self.u32()
        if count > maximum:
            raise self.fail(f"count {count} exceeds the limit of {maximum}")
        return count

    def choice(self, of: type[_Choice]) -> _Choice:
        """A u8 that must be a member of the enumeration ``of``."""
        value = self.u8()
        try:
            return of(value)
        except ValueError as error:
            raise self.fail(f"{value} is not a known value") from error

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    def end(self) -> None:
        """Require that nothing follows."""
        if self._offset != len(self._data):
            raise self.fail(f"{len(self._data) - self._offset} bytes follow the end")
