"""A bounded walk over the bytes of a DICOM file: where its elements lie, and the few values wanted.

The walk only moves forward, skips what it does not want by its length, keeps nested sequences on a
list instead of recursing, and visits at most ``HEADERS_MAX`` headers. The invariant: *time and
memory depend on the bytes that are there, never on what a length field claims*. Bytes that
contradict themselves raise ``DamagedError``; an encoding that the walk does not know, right or
wrong, raises ``UnusualError`` and is left to pydicom (DICOM PS3.5 section 7, PS3.10 section 7).
"""

import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from struct import Struct

Read = Callable[[int, int], bytes]
"""Reads ``length`` bytes at ``offset`` of a file; fewer only where the file ends."""

PREFIX_OFFSET = 128
PREFIX = b"DICM"
UNDEFINED_LENGTH = 0xFFFFFFFF

TRANSFER_SYNTAX = 0x0002_0010
PIXEL_DATA = 0x7FE0_0010
_ITEM = 0xFFFE_E000
_ITEM_END = 0xFFFE_E00D
_SEQUENCE_END = 0xFFFE_E0DD
_DELIMITERS = 0xFFFE
"""The group of the three tags above; they carry no VR in any encoding."""
_FOREIGN_GROUPS = frozenset({0x0000, _DELIMITERS})
"""Groups that do not stand in a data set: commands of the network, and the delimiters of items."""

HEADERS_MAX = 4_000_000
"""Most headers visited in one file; an enhanced MR object of 200 frames has 30,000."""
DEPTH_MAX = 64
"""Deepest nesting of sequences; structured reports reach about ten."""
VALUE_MAX = 4096
"""Most bytes kept of one wanted value; identifiers and names end at 64 characters."""
INFLATED_MAX = 128 * 1024 * 1024
"""Largest deflated data set, inflated; a larger one counts as damaged."""

_HEADER_SIZE = 12
"""The longest header of an element: tag, VR, two reserved bytes, length."""
_WINDOW_NEAR = 64 * 1024
_WINDOW_FAR = 4 * 1024
"""After a jump (from fragment to fragment of a cine) little more than a header is wanted."""

_VALUE_OFFSET = dict.fromkeys(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(), 8
) | dict.fromkeys(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split(), 12)
"""From an explicit VR to the distance between an element's start and its value (PS3.5 7.1.2)."""


class DamagedError(Exception):
    """The bytes contradict themselves or end early; never leaves the DICOM door."""


class UnusualError(Exception):
    """The walk does not know this encoding, pydicom may; never leaves the DICOM door."""


@dataclass(frozen=True, slots=True)
class _Order:
    """The fixed parts of a header in one byte order."""

    tag: Struct
    tag_length: Struct
    tag_vr_length: Struct
    length: Struct


_LITTLE = _Order(Struct("<HH"), Struct("<HHI"), Struct("<HH2sH"), Struct("<I"))
_BIG = _Order(Struct(">HH"), Struct(">HHI"), Struct(">HH2sH"), Struct(">I"))


class FileBytes:
    """The bytes of one file, read forward in windows; a buffer in memory is a single window."""

    __slots__ = ("_buffer", "_read", "_start", "size_bytes")

    def __init__(self, read: Read, size_bytes: int) -> None:
        self._read = read
        self._buffer: bytes | memoryview = b""
        self._start = 0
        self.size_bytes = size_bytes

    @classmethod
    def of(cls, data: bytes | memoryview) -> "FileBytes":
        """A file that is wholly in memory."""
        file = cls(lambda offset, length: bytes(data[offset : offset + length]), len(data))
        file._buffer = data
        return file

    def take(self, offset: int, length: int) -> bytes:
        """The bytes from ``offset``: ``length`` of them, or fewer at the file's end."""
        length = max(0, min(length, self.size_bytes - offset))
        at = offset - self._start
        if at >= 0 and at + length <= len(self._buffer):
            return bytes(self._buffer[at : at + length])
        data = self._read(offset, length)
        if len(data) != length:
            raise DamagedError("the file is shorter than its size says")
        return data

    def window(self, position: int) -> tuple[bytes | memoryview, int, int]:
        """A buffer around ``position``, the offset of its start, and where its last header may be.

        Close to the file's end the buffer is filled up with zeros, so that a header can be unpacked
        at every position of the file.
        """
        end = self._start + len(self._buffer)
        if not self._start <= position <= end - _HEADER_SIZE:
            if position + _HEADER_SIZE > self.size_bytes:
                tail = self.take(position, _HEADER_SIZE)
                return tail.ljust(_HEADER_SIZE, b"\0"), position, position
            near = end - _HEADER_SIZE <= position < end + _WINDOW_NEAR
            self._buffer = self.take(position, _WINDOW_NEAR if near else _WINDOW_FAR)
            self._start = position
            end = position + len(self._buffer)
        return self._buffer, self._start, end - _HEADER_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the value of (7FE0,0010) lies in the walked bytes, delimiters of fragments included."""

    offset: int
    length: int
    encapsulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a walk over one data set brought home."""

    values: dict[int, bytes]
    pixels: PixelElement | None
    element_count: int


class Walk:
    """One pass over the elements of a file in one byte order."""

    def __init__(self, file: FileBytes, *, big_endian: bool = False) -> None:
        self._file = file
        self._order = _BIG if big_endian else _LITTLE
        self._headers_left = HEADERS_MAX

    def file_meta(self, position: int) -> tuple[bytes, int]:
        """The raw transfer syntax in the file meta group, and where the data set begins."""
        syntax = b""
        while position < self._file.size_bytes:
            buffer, base, _ = self._file.window(position)
            if self._order.tag.unpack_from(buffer, position - base)[0] != 0x0002:
                break
            tag, length, value = self._element(position, implicit=False)
            position = self._within(value + length)
            if tag == TRANSFER_SYNTAX:
                syntax = self._file.take(value, min(length, VALUE_MAX))
        if not syntax:
            raise UnusualError("no transfer syntax")
        return syntax, position

    def data_set(self, position: int, wanted: Collection[int]) -> Findings:
        """Visit every element from ``position`` to the end of the file.

        A null tag after the first element begins padding, and the walk ends there. Of a tag that
        stands twice the last value counts, as with pydicom; of pixel data the first.
        """
        size = self._file.size_bytes
        implicit = self._looks_implicit(position)
        header = (self._order.tag_length if implicit else self._order.tag_vr_length).unpack_from
        long_length = self._order.length.unpack_from
        values: dict[int, bytes] = {}
        pixels = None
        buffer, base, limit = self._file.window(0)
        count = 0
        while position < size:
            if not base <= position <= limit:
                buffer, base, limit = self._file.window(position)
            if implicit:
                group, element, length = header(buffer, position - base)
                step = 8
            else:
                group, element, vr, length = header(buffer, position - base)
                step = _VALUE_OFFSET.get(vr, 0)
                if step == _HEADER_SIZE:
                    length = long_length(buffer, position - base + 8)[0]
            if not step or group in _FOREIGN_GROUPS:
                if count and group == element == 0:
                    break
                raise UnusualError("unknown VR, command set or stray delimiter")
            count += 1
            if count > HEADERS_MAX:
                raise DamagedError("too many elements")
            tag = group << 16 | element
            value = position + step
            if length == UNDEFINED_LENGTH:
                position = self._end_of_undefined(tag, value, implicit=implicit)
            else:
                position = value + length
                if tag in wanted:
                    values[tag] = self._file.take(value, min(length, VALUE_MAX))
            if tag == PIXEL_DATA and pixels is None:
                pixels = PixelElement(
                    offset=value,
                    length=position - value,
                    encapsulated=length == UNDEFINED_LENGTH,
                )
        self._within(position)  # a value that reaches past the end of the file ended the loop
        return Findings(values=values, pixels=pixels, element_count=count)

    def item_ends(self, position: int) -> Iterator[int]:
        """The end of each item of encapsulated pixel data; the delimiter belongs to the last one.

        The first item is the Basic Offset Table. ``position`` is the start of the value; the chain
        must consist of items of defined length and end with its delimiter (PS3.5 A.4).
        """
        pending = None
        while True:
            tag, length = self._item(position)
            if tag == _SEQUENCE_END:
                yield self._within(position + 8 + length)
                return
            if tag != _ITEM or length == UNDEFINED_LENGTH:
                raise DamagedError("encapsulated pixel data is no chain of items")
            if pending is not None:
                yield pending
            pending = position = self._within(position + 8 + length)

    def _end_of_undefined(self, tag: int, position: int, *, implicit: bool) -> int:
        if tag != PIXEL_DATA:
            return self._skip_sequence(position, implicit=implicit)
        *_, end = self.item_ends(position)
        return end

    def _skip_sequence(self, position: int, *, implicit: bool) -> int:
        """The end of a value of undefined length that consists of items (PS3.5 7.5).

        An item inside an explicit data set may itself be implicit (a sequence whose VR was lost to
        UN, PS3.5 6.2.2), hence the look at each item's first element.
        """
        encodings = [implicit]
        inside_item = False
        while True:
            if inside_item:
                tag, length, position = self._element(position, implicit=encodings[-1])
                if tag == _ITEM_END:
                    encodings.pop()
                    inside_item = False
                elif length == UNDEFINED_LENGTH:
                    inside_item = False
                else:
                    position = self._within(position + length)
                continue
            tag, length = self._item(position)
            position += 8
            if tag == _SEQUENCE_END:
                if len(encodings) == 1:
                    return position
                inside_item = True
            elif tag != _ITEM:
                raise UnusualError("a value of undefined length that is no sequence")
            elif length != UNDEFINED_LENGTH:
                position = self._within(position + length)
            elif len(encodings) > DEPTH_MAX:
                raise DamagedError("sequences are nested too deep")
            else:
                encodings.append(encodings[-1] or self._looks_implicit(position))
                inside_item = True

    def _item(self, position: int) -> tuple[int, int]:
        """Tag and length of an item or delimiter."""
        self._count(position)
        buffer, base, _ = self._file.window(position)
        group, element, length = self._order.tag_length.unpack_from(buffer, position - base)
        return group << 16 | element, length

    def _element(self, position: int, *, implicit: bool) -> tuple[int, int, int]:
        """Tag, length and value offset of an element or delimiter."""
        self._count(position)
        buffer, base, _ = self._file.window(position)
        at = position - base
        group, element, vr, length = self._order.tag_vr_length.unpack_from(buffer, at)
        tag = group << 16 | element
        if implicit or group == _DELIMITERS:
            return tag, self._order.length.unpack_from(buffer, at + 4)[0], position + 8
        step = _VALUE_OFFSET.get(vr)
        if step is None:
            raise UnusualError("unknown VR")
        if step == _HEADER_SIZE:
            length = self._order.length.unpack_from(buffer, at + 8)[0]
        return tag, length, position + step

    def _looks_implicit(self, position: int) -> bool:
        """Whether the element here has no VR: two capital letters are no plausible length.

        Writers get the transfer syntax wrong often enough that the bytes are believed instead.
        """
        if position >= self._file.size_bytes:
            return False
        buffer, base, _ = self._file.window(position)
        vr = buffer[position - base + 4 : position - base + 6]
        return not (0x41 <= vr[0] <= 0x5A and 0x41 <= vr[1] <= 0x5A)

    def _count(self, position: int) -> None:
        if position + 8 > self._file.size_bytes:
            raise DamagedError("the file ends inside a header")
        self._headers_left -= 1
        if self._headers_left < 0:
            raise DamagedError("too many elements")

    def _within(self, position: int) -> int:
        if position > self._file.size_bytes:
            raise DamagedError("a value reaches past the end of the file")
        return position


def inflate(file: FileBytes, position: int) -> bytes:
    """The data set of a deflated file (PS3.5 A.5), at most ``INFLATED_MAX`` bytes of it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    while not inflater.eof:
        piece = file.take(position, _WINDOW_NEAR)
        if not piece:
            raise DamagedError("the deflated data set ends early")
        position += len(piece)
        try:
            inflated += inflater.decompress(piece, INFLATED_MAX + 1 - len(inflated))
        except zlib.error as error:
            raise DamagedError("the deflated data set does not inflate") from error
        if len(inflated) > INFLATED_MAX:
            raise DamagedError("the deflated data set is too large")
    return bytes(inflated)
