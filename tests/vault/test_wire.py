"""Fields written by a Writer come back through a Reader, and nothing else is accepted."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import DecodeError
from safelight_vault.format.wire import Reader, Writer
from strictness import REFUSED, outcome

LIMIT = 40


class Colour(IntEnum):
    """An enumeration as the format has them."""

    RED = 1
    BLUE = 7


@dataclass(frozen=True)
class Field:
    """One field: the method's name, the value written, and the arguments both sides need."""

    method: str
    value: Any
    write_extra: tuple[int, ...] = ()
    read_extra: tuple[Any, ...] = ()


def unsigned(bits: int) -> st.SearchStrategy[Field]:
    return st.integers(0, 2**bits - 1).map(lambda value: Field(f"u{bits}", value))


def fixed_field(value: bytes) -> Field:
    return Field("fixed", value, (len(value),), (len(value),))


FIELDS = st.one_of(
    *(unsigned(bits) for bits in (8, 16, 32, 64)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: Field("i64", value)),
    st.binary(max_size=LIMIT).map(fixed_field),
    st.binary(max_size=LIMIT).map(lambda value: Field("var", value, (LIMIT,), (LIMIT,))),
    st.text(max_size=LIMIT // 4).map(lambda value: Field("text", value, (LIMIT,), (LIMIT,))),
)


def write(fields: list[Field]) -> bytes:
    writer = Writer()
    for field in fields:
        getattr(writer, field.method)(field.value, *field.write_extra)
    return writer.finish()


def read(data: bytes, fields: list[Field]) -> list[Any]:
    reader = Reader(data, "fields")
    values = [getattr(reader, field.method)(*field.read_extra) for field in fields]
    reader.end()
    return values


@given(st.lists(FIELDS, max_size=8))
def test_what_was_written_is_read(fields: list[Field]) -> None:
    assert read(write(fields), fields) == [field.value for field in fields]


@given(st.lists(FIELDS, min_size=1, max_size=5))
def test_every_truncation_and_a_trailing_byte_are_refused(fields: list[Field]) -> None:
    data = write(fields)
    for length in range(len(data)):
        assert outcome(lambda cut: read(cut, fields), data[:length]) is REFUSED
    with pytest.raises(DecodeError, match="follow the end"):
        read(data + b"\x00", fields)


@given(st.binary(max_size=64), st.lists(FIELDS, max_size=8))
def test_foreign_bytes_raise_nothing_but_decode_errors(data: bytes, fields: list[Field]) -> None:
    outcome(lambda foreign: read(foreign, fields), data)


@given(st.lists(FIELDS, max_size=8))
def test_offset_counts_the_bytes_read(fields: list[Field]) -> None:
    data = write(fields)
    reader = Reader(data, "fields")
    for field in fields:
        getattr(reader, field.method)(*field.read_extra)
    assert reader.offset == len(data)


def test_integers_are_big_endian() -> None:
    writer = Writer()
    writer.u16(0x0102)
    writer.u32(0x03040506)
    writer.i64(-2)
    assert writer.finish() == bytes.fromhex("0102 03040506 fffffffffffffffe")


def test_a_length_above_the_maximum_is_refused_before_its_bytes_are_wanted() -> None:
    with pytest.raises(DecodeError, match="exceeds the limit of 10"):
        Reader(b"\xff\xff\xff\xff", "field").var(10)
    with pytest.raises(DecodeError, match="exceeds the limit of 10"):
        Reader(b"\x00\x00\x00\x0b" + bytes(11), "field").var(10)
    assert Reader(b"\x00\x00\x00\x0a" + bytes(10), "field").var(10) == bytes(10)


def test_a_count_above_the_maximum_is_refused() -> None:
    assert Reader(b"\x00\x00\x00\x05", "list").count(5) == 5
    with pytest.raises(DecodeError, match="count 6 exceeds the limit of 5"):
        Reader(b"\x00\x00\x00\x06", "list").count(5)


def test_only_members_of_an_enumeration_are_chosen() -> None:
    assert Reader(b"\x07", "colour").choice(Colour) is Colour.BLUE
    with pytest.raises(DecodeError, match="colour: 2 is not a known value"):
        Reader(b"\x02", "colour").choice(Colour)


def test_text_must_be_utf8() -> None:
    with pytest.raises(DecodeError, match="not UTF-8"):
        Reader(b"\x00\x00\x00\x02\xc3\x28", "label").text(10)


def test_text_is_limited_in_bytes_not_in_characters() -> None:
    with pytest.raises(ValueError, match="at most 3 bytes"):
        Writer().text("\u00e9\u00e9", 3)


def test_the_error_names_structure_and_position() -> None:
    reader = Reader(b"\x00\x01\x02", "pack header")
    reader.u16()
    with pytest.raises(DecodeError, match=r"pack header: ends early, 4 bytes wanted \(at byte 2\)"):
        reader.u32()


def test_a_writer_refuses_what_a_reader_would() -> None:
    writer = Writer()
    with pytest.raises(ValueError, match="field of 16 bytes got 15"):
        writer.fixed(bytes(15), 16)
    with pytest.raises(ValueError, match="at most 4 bytes got 5"):
        writer.var(bytes(5), 4)
    for method, value in (("u8", 256), ("u16", -1), ("u32", 2**32), ("u64", 2**64), ("i64", 2**63)):
        with pytest.raises(struct.error):
            getattr(writer, method)(value)
    assert writer.finish() == b""


def test_memory_views_are_read_and_copied() -> None:
    buffer = bytearray(b"\x00\x00\x00\x03abc")
    value = Reader(memoryview(buffer), "field").var(3)
    buffer[4:] = b"xyz"
    assert value == b"abc"
