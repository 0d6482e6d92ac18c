"""Manifest entries rebuild their files, whatever the names, and never name a path outside."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_samples import FILE, PATHS, entries
from safelight_vault.errors import DecodeError
from safelight_vault.format.manifest import (
    COMPONENT_LENGTH_MAX,
    EXTENTS_MAX,
    PATH_LENGTH_MAX,
    XATTR_NAME_MAX,
    XATTR_VALUE_MAX,
    XATTRS_MAX,
    XATTRS_SIZE_MAX,
    DicomState,
    Entry,
    EntryKind,
    Hole,
    decode_entry,
    encode_entry,
    entry_key,
    entry_path,
    objection,
    read_extents,
)
from safelight_vault.format.place import Place
from safelight_vault.format.wire import Reader, Writer
from strictness import outcome, require_exact_length, require_only_vault_errors


def no_chunks(_: Place) -> bytes:
    pytest.fail("an entry with inline extents needs no chunk")


def decode(data: bytes) -> Entry:
    return decode_entry(b"file", data, no_chunks)


# --- Paths -----------------------------------------------------------------------------------


@given(PATHS)
def test_a_path_is_read_back_from_its_key(path: bytes) -> None:
    assert entry_path(entry_key(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"a\nb/c\td",
        b"invalid \xff\xfe utf-8",
        b"...",
        b"..a/.b",
        b"-rf",
        b" ",
        b"C:\\windows\\..\\x",
        b"x" * COMPONENT_LENGTH_MAX,
        b"/".join([b"d"] * 3000),
        b"/".join([b"x" * 255] * 256),
    ],
    ids=lambda path: f"{len(path)} bytes, {path[:8]!r}",
)
def test_odd_names_are_names(path: bytes) -> None:
    assert len(path) <= PATH_LENGTH_MAX
    assert entry_path(entry_key(path)) == path


@pytest.mark.parametrize(
    "key",
    [
        b"..",
        b".",
        b"a\x00..\x00b",
        b"..\x00etc\x00passwd",
        b"a\x00.",
        b"a\x00",
        b"\x00a",
        b"\x00",
        b"a\x00\x00b",
        b"/etc/passwd",
        b"a/b",
        b"x" * (COMPONENT_LENGTH_MAX + 1),
        b"a\x00" * (PATH_LENGTH_MAX // 2) + b"a",
    ],
    ids=lambda key: f"{len(key)} bytes, {key[:16]!r}",
)
def test_a_key_that_could_name_anything_but_a_path_below_is_refused(key: bytes) -> None:
    with pytest.raises(DecodeError, match="manifest"):
        entry_path(key)
    with pytest.raises(DecodeError, match="manifest"):
        decode_entry(key, encode_entry(FILE), no_chunks)


@given(st.binary(max_size=30) | st.lists(st.sampled_from([b"..", b".", b"a", b"/", b""])).map(
    b"\x00".join
))  # fmt: skip
def test_an_accepted_key_never_leads_upwards(key: bytes) -> None:
    found = outcome(entry_path, key)
    if isinstance(found, bytes) and found:
        assert not found.startswith(b"/")
        assert not {b"", b".", b".."} & set(found.split(b"/"))
        assert entry_key(found) == key


@given(st.lists(PATHS, max_size=12, unique=True))
def test_keys_sort_a_directory_directly_before_its_content(paths: list[bytes]) -> None:
    ordered = sorted(paths, key=entry_key)
    for directory in paths:
        below = [path for path in ordered if path.startswith(directory + b"/")]
        at = ordered.index(directory)
        assert not directory or ordered[at + 1 : at + 1 + len(below)] == below


# --- Entries ---------------------------------------------------------------------------------


@given(entries())
def test_an_entry_is_read_back(entry: Entry) -> None:
    assert decode_entry(entry_key(entry.path), encode_entry(entry), no_chunks) == entry


def test_an_entry_has_exactly_one_length_and_form() -> None:
    data = encode_entry(FILE)
    assert decode(data) == FILE
    require_exact_length(decode, data)
    require_only_vault_errors(decode, data)


@given(st.binary(max_size=120), st.sampled_from(EntryKind))
def test_foreign_entries_raise_nothing_but_vault_errors(data: bytes, kind: EntryKind) -> None:
    def load(_: Place) -> bytes:
        return data

    outcome(lambda foreign: decode_entry(b"file", foreign, load), data)
    outcome(lambda foreign: decode_entry(b"file", foreign, load), bytes([kind]) + data)


@pytest.mark.parametrize("size_bytes", [0, FILE.size_bytes - 1, FILE.size_bytes + 1, 2**64 - 1])
def test_extents_that_do_not_add_up_to_the_size_are_refused(size_bytes: int) -> None:
    with pytest.raises(DecodeError, match="do not add up"):
        decode(encode_entry(replace(FILE, size_bytes=size_bytes)))


def test_holes_that_add_up_beyond_any_size_are_refused() -> None:
    huge = replace(FILE, extents=(Hole(2**64 - 1), Hole(FILE.size_bytes + 1)))
    with pytest.raises(DecodeError, match="do not add up"):
        decode(encode_entry(huge))


@pytest.mark.parametrize(
    ("at", "byte", "match"),
    [
        (0, 0, "not a known value"),
        (0, 5, "not a known value"),
        (1, 3, "flags"),
        (1, 0x20, "flags"),
        (1, 0x80, "flags"),
    ],
)
def test_unknown_kinds_and_flags_are_refused(at: int, byte: int, match: str) -> None:
    data = bytearray(encode_entry(FILE))
    data[at] = byte
    with pytest.raises(DecodeError, match=match):
        decode(bytes(data))


@pytest.mark.parametrize(
    "entry",
    [
        replace(FILE, link_target=b"elsewhere"),
        replace(FILE, kind=EntryKind.DIRECTORY),
        replace(FILE, kind=EntryKind.DIRECTORY, size_bytes=0, link_target=b"elsewhere"),
        replace(FILE, kind=EntryKind.SYMLINK, link_target=b"elsewhere"),
        replace(FILE, kind=EntryKind.SYMLINK, size_bytes=0),
        replace(FILE, kind=EntryKind.HARD_LINK, size_bytes=0),
    ],
)
def test_an_entry_with_the_fields_of_another_kind_is_refused(entry: Entry) -> None:
    with pytest.raises(DecodeError, match="fields of another kind"):
        decode(encode_entry(entry))


def test_what_the_format_cannot_hold_is_said_before_it_is_encoded() -> None:
    assert objection(FILE) is None
    for entry, words in (
        (replace(FILE, path=b"/".join([b"x" * 999] * 66)), "path or link target is longer"),
        (replace(FILE, link_target=bytes(PATH_LENGTH_MAX + 1)), "path or link target is longer"),
        (replace(FILE, path=b"a/" + b"x" * (COMPONENT_LENGTH_MAX + 1)), "name is longer"),
        (replace(FILE, xattrs=((b"x" * (XATTR_NAME_MAX + 1), b""),)), "attributes exceed"),
        (replace(FILE, xattrs=((b"x", bytes(XATTR_VALUE_MAX + 1)),)), "attributes exceed"),
        (replace(FILE, xattrs=((b"x", b""),) * (XATTRS_MAX + 1)), "attributes exceed"),
        (replace(FILE, xattrs=((b"x", bytes(XATTR_VALUE_MAX)),) * 16), "attributes exceed"),
    ):
        assert words in (objection(entry) or "")


@given(entries())
def test_what_the_format_can_hold_finds_no_objection(entry: Entry) -> None:
    assert objection(entry) is None


def test_attributes_that_together_exceed_the_limit_are_refused() -> None:
    fits = replace(FILE, xattrs=((b"x", bytes(XATTR_VALUE_MAX)),) * (XATTRS_SIZE_MAX // 65_537))
    assert decode(encode_entry(fits)) == fits
    with pytest.raises(DecodeError, match="attributes exceed the limit"):
        decode(encode_entry(replace(fits, xattrs=(*fits.xattrs, (b"y", bytes(XATTR_VALUE_MAX))))))


def test_an_empty_hole_is_refused() -> None:
    with pytest.raises(DecodeError, match="an empty hole"):
        decode(encode_entry(replace(FILE, extents=(Hole(0), *FILE.extents))))


def test_lists_above_their_limits_are_refused_before_they_are_read() -> None:
    plain = encode_entry(replace(FILE, xattrs=()))
    count_at = 34
    assert plain[count_at : count_at + 4] == bytes(4)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode(plain[:count_at] + (XATTRS_MAX + 1).to_bytes(4, "big"))
    one = (1).to_bytes(4, "big") + bytes(4)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode(plain[:count_at] + one + (XATTR_VALUE_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(DecodeError, match="exceeds the limit"):
        read_extents(Reader((EXTENTS_MAX + 1).to_bytes(4, "big"), "extents"))


def test_a_writer_refuses_what_a_reader_would() -> None:
    for wrong in (
        replace(FILE, xattrs=((b"x" * 256, b""),)),
        replace(FILE, xattrs=((b"x", bytes(XATTR_VALUE_MAX + 1)),)),
        replace(FILE, kind=EntryKind.SYMLINK, link_target=bytes(PATH_LENGTH_MAX + 1)),
        replace(FILE, sha256=b""),
    ):
        with pytest.raises(ValueError, match="field of"):
            encode_entry(wrong)


def test_the_entry_is_laid_out_as_documented() -> None:
    writer = Writer()
    for number, write in (
        (EntryKind.SYMLINK, writer.u8),
        (0x10 | DicomState.FAILED, writer.u8),
        (0o777, writer.u32),
        (1, writer.u32),
        (2, writer.u32),
        (-3, writer.i64),
        (0, writer.u64),
    ):
        write(number)
    writer.var(b"../target", 100)
    writer.u32(0)
    entry = Entry(
        path=b"link",
        kind=EntryKind.SYMLINK,
        mode=0o777,
        uid=1,
        gid=2,
        mtime_ns=-3,
        link_target=b"../target",
        dicom=DicomState.FAILED,
        unstable=True,
    )
    assert encode_entry(entry) == writer.finish()
