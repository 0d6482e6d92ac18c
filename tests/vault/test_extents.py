"""Extents of a file: inline or spilled into chunks, and the packs that they name."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given

from keys import fixed_bytes
from manifest_samples import EXTENTS, FILE, entries, place
from safelight_vault.errors import DecodeError, ObjectMissingError
from safelight_vault.format.manifest import (
    EXTENTS_INLINE_MAX,
    EXTENTS_MAX,
    EXTENTS_PER_CHUNK,
    XATTR_VALUE_MAX,
    Entry,
    EntryKind,
    Hole,
    decode_entry,
    encode_entry,
    encode_extents,
    entry_key,
    packs_of,
    read_extents,
    replace_packs,
    spill_extents,
)
from safelight_vault.format.place import Place, write_place
from safelight_vault.format.wire import Reader, Writer
from strictness import require_exact_length, require_only_vault_errors


def no_chunks(_: Place) -> bytes:
    pytest.fail("an entry with inline extents needs no chunk")


# --- Extents that are spilled into chunks ----------------------------------------------------


@given(EXTENTS)
def test_extents_are_read_back(extents: tuple[Place | Hole, ...]) -> None:
    reader = Reader(encode_extents(extents), "extents")
    assert read_extents(reader) == extents
    reader.end()


class Chunks:
    """Chunks in memory, under places of their own."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []

    def store(self, chunk: bytes) -> Place:
        self.stored.append(chunk)
        return place(len(self.stored).to_bytes(32, "big"), length=len(chunk))

    def load(self, wanted: Place) -> bytes:
        number = int.from_bytes(wanted.pack, "big")
        if not 1 <= number <= len(self.stored):
            raise ObjectMissingError("no such chunk")
        return self.stored[number - 1]


def long_file(count: int) -> Entry:
    extents = tuple(
        Hole(7) if number % 3 else place(number.to_bytes(32, "big"), length=number + 1)
        for number in range(count)
    )
    return replace(FILE, extents=extents, size_bytes=sum(extent.length for extent in extents))


@pytest.mark.parametrize(
    ("count", "chunk_count"),
    [
        (EXTENTS_INLINE_MAX, 0),
        (EXTENTS_INLINE_MAX + 1, 1),
        (EXTENTS_PER_CHUNK, 1),
        (EXTENTS_PER_CHUNK + 1, 2),
    ],
)
def test_a_long_extent_list_is_spilled_and_read_back(count: int, chunk_count: int) -> None:
    chunks, entry = Chunks(), long_file(count)
    value = spill_extents(encode_entry(entry), chunks.store)
    assert len(chunks.stored) == chunk_count
    assert chunk_count == 0 or len(value) < 1000
    assert decode_entry(b"file", value, chunks.load) == entry
    assert spill_extents(value, chunks.store) == value


@pytest.mark.parametrize("kind", [EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.HARD_LINK])
def test_what_is_not_a_file_is_never_spilled(kind: EntryKind) -> None:
    entry = Entry(
        path=b"file",
        kind=kind,
        mode=0,
        uid=0,
        gid=0,
        mtime_ns=0,
        xattrs=((b"user.long", bytes(XATTR_VALUE_MAX)),),
    )
    value = encode_entry(entry)
    assert spill_extents(value, Chunks().store) == value
    assert packs_of(value) == set()


def spilled_entry() -> tuple[bytes, Chunks]:
    """FILE with its list spilled, as only a longer one would be."""
    chunks = Chunks()
    run = encode_extents(FILE.extents)
    writer = Writer()
    writer.u8(1)
    writer.u32(1)
    write_place(writer, chunks.store(run))
    return encode_entry(FILE)[: -1 - len(run)] + writer.finish(), chunks


def test_a_spilled_entry_has_exactly_one_length_and_form() -> None:
    value, chunks = spilled_entry()

    def decode_spilled(data: bytes) -> Entry:
        return decode_entry(b"file", data, chunks.load)

    assert decode_spilled(value) == FILE
    require_exact_length(decode_spilled, value)
    require_only_vault_errors(decode_spilled, value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda chunk: chunk[:-1],
        lambda chunk: chunk + b"\x00",
        lambda chunk: b"",
        lambda chunk: encode_extents((Hole(1),)),
    ],
    ids=["cut", "longer", "empty", "another list"],
)
def test_a_damaged_spilled_list_is_refused(damage: Callable[[bytes], bytes]) -> None:
    value, chunks = spilled_entry()
    chunks.stored[0] = damage(chunks.stored[0])
    with pytest.raises(DecodeError):
        decode_entry(b"file", value, chunks.load)


def test_an_unknown_extent_list_form_is_refused() -> None:
    value, chunks = spilled_entry()
    at = len(value) - 1 - 4 - 56
    assert value[at] == 1
    with pytest.raises(DecodeError, match="extent list form 2"):
        decode_entry(b"file", value[:at] + b"\x02" + value[at + 1 :], chunks.load)
    with pytest.raises(DecodeError, match="extent form 2"):
        read_extents(Reader(b"\x00\x00\x00\x01\x02", "extents"))


def test_a_spilled_list_of_too_many_chunks_is_refused_before_they_are_read() -> None:
    value, chunks = spilled_entry()
    at = len(value) - 4 - 56
    count = (EXTENTS_MAX // EXTENTS_PER_CHUNK + 1).to_bytes(4, "big")
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode_entry(b"file", value[:at] + count + value[at + 4 :], chunks.load)


# --- Packs named by an entry -----------------------------------------------------------------


def entry_packs(entry: Entry) -> set[bytes]:
    return {extent.pack for extent in entry.extents if isinstance(extent, Place)}


@given(entries())
def test_the_packs_of_an_entry_are_those_of_its_extents(entry: Entry) -> None:
    assert packs_of(encode_entry(entry)) == entry_packs(entry)


@given(entries())
def test_replacing_packs_replaces_nothing_else(entry: Entry) -> None:
    def name_of(pack: bytes) -> bytes:
        return bytes(byte ^ 0x5A for byte in pack)

    expected = replace(
        entry,
        extents=tuple(
            replace(extent, pack=name_of(extent.pack)) if isinstance(extent, Place) else extent
            for extent in entry.extents
        ),
    )
    value = replace_packs(encode_entry(entry), name_of)
    assert decode_entry(entry_key(entry.path), value, no_chunks) == expected
    assert replace_packs(value, name_of) == encode_entry(entry)


def test_a_spilled_entry_names_its_packs_in_its_chunks() -> None:
    value, _ = spilled_entry()
    assert packs_of(value) == set()
    assert replace_packs(value, lambda _: bytes(32)) == value


def test_a_pack_is_replaced_wherever_it_stands() -> None:
    seen: list[bytes] = []

    def name_of(pack: bytes) -> bytes:
        seen.append(pack)
        return bytes(32)

    twice = replace(FILE, extents=(FILE.extents[0], Hole(5), FILE.extents[0], FILE.extents[2]))
    value = replace_packs(encode_entry(twice), name_of)
    assert seen == [fixed_bytes("pack"), fixed_bytes("pack"), fixed_bytes("other pack")]
    assert packs_of(value) == {bytes(32)}
