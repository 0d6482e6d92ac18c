"""The manifest: a snapshot's table of files, sorted, with the place of every byte in it.

The invariant: an entry alone is enough to rebuild its file from the packs (no index), and to prove
it by its SHA-256 (format.md section 9).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from safelight_vault.errors import DecodeError
from safelight_vault.format.names import DIGEST_SIZE
from safelight_vault.format.place import (
    PACK_REFERENCE_SIZE,
    PLACE_SIZE,
    Place,
    read_place,
    write_place,
)
from safelight_vault.format.wire import Reader, Writer

PATH_LENGTH_MAX = 65_536
"""Longest path in bytes; longer ones are listed as failed by the agent."""
COMPONENT_LENGTH_MAX = 1024
"""Longest file name: 255 characters of some file systems are more bytes than that."""
XATTR_NAME_MAX = 255
XATTRS_MAX = 256
XATTR_VALUE_MAX = 65_536
XATTRS_SIZE_MAX = 1 << 20
"""Most bytes of all extended attributes of one file, names and values."""
EXTENTS_MAX = 16 << 20
"""Most extents of one file: with chunks of 1 MiB on average, 16 TiB."""
EXTENTS_INLINE_MAX = 8192
"""Longer extent lists are spilled into chunks of their own."""
EXTENTS_PER_CHUNK = 65_536


class EntryKind(IntEnum):
    """What an entry describes. Special files (devices, sockets, pipes) are never stored."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    HARD_LINK = 4


class DicomState(IntEnum):
    """What the DICOM parse said of a file when it was backed up."""

    OTHER = 0
    """Not a DICOM file."""
    PARSED = 1
    """Parsed as DICOM; verification must parse it again."""
    FAILED = 2
    """Carries the DICM prefix, but did not parse even then."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A run of zero bytes that is not stored (sparse files)."""

    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, directory or link of a source.

    ``path`` is relative to the source's root, components joined by ``/``, any bytes but NUL;
    the root itself is the empty path. ``mtime_ns`` is in nanoseconds since 1970 UTC. ``sha256`` and
    ``extents`` are of a FILE's whole content, holes read as zeros; their lengths add up to
    ``size_bytes``. ``link_target`` is a SYMLINK's target, or the ``path`` of the FILE that a
    HARD_LINK shares its inode with (always an earlier entry).
    """

    path: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size_bytes: int = 0
    sha256: bytes = b""
    extents: tuple[Place | Hole, ...] = ()
    link_target: bytes = b""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    dicom: DicomState = DicomState.OTHER
    unstable: bool = False
    """The file changed while it was read and did not settle; the bytes are one reading of it."""


def entry_key(path: bytes) -> bytes:
    """The sort key of a path: components joined by NUL, so a directory precedes its content."""
    return path.replace(b"/", b"\x00")


def entry_path(key: bytes) -> bytes:
    """The inverse of :func:`entry_key`; refuses keys that could name anything but a path below."""
    if len(key) > PATH_LENGTH_MAX or b"/" in key:
        raise DecodeError("manifest: a key is not a path")
    if key:
        for component in key.split(b"\x00"):
            if component in (b"", b".", b"..") or len(component) > COMPONENT_LENGTH_MAX:
                raise DecodeError("manifest: a path has a component that no file can have")
    return key.replace(b"\x00", b"/")


def objection(entry: Entry) -> str | None:
    """Why an entry cannot be stored (a limit of the format), or None."""
    if len(entry.path) > PATH_LENGTH_MAX or len(entry.link_target) > PATH_LENGTH_MAX:
        return f"its path or link target is longer than {PATH_LENGTH_MAX} bytes"
    if any(len(part) > COMPONENT_LENGTH_MAX for part in entry.path.split(b"/")):
        return f"its name is longer than {COMPONENT_LENGTH_MAX} bytes"
    sizes = [(len(name), len(value)) for name, value in entry.xattrs]
    if (
        len(sizes) > XATTRS_MAX
        or any(name > XATTR_NAME_MAX or value > XATTR_VALUE_MAX for name, value in sizes)
        or sum(name + value for name, value in sizes) > XATTRS_SIZE_MAX
    ):
        return "its extended attributes exceed the limits of the format"
    return None


_INLINE = 0
_SPILLED = 1
_HOLE = 0
_PLACE = 1


def encode_entry(entry: Entry) -> bytes:
    """The value of an entry, extents inline; the path is its key."""
    writer = Writer()
    writer.u8(entry.kind)
    writer.u8(entry.dicom | (0x10 if entry.unstable else 0))
    writer.u32(entry.mode)
    writer.u32(entry.uid)
    writer.u32(entry.gid)
    writer.i64(entry.mtime_ns)
    writer.u64(entry.size_bytes)
    writer.var(entry.link_target, PATH_LENGTH_MAX)
    writer.u32(len(entry.xattrs))
    for name, value in entry.xattrs:
        writer.var(name, XATTR_NAME_MAX)
        writer.var(value, XATTR_VALUE_MAX)
    if entry.kind is EntryKind.FILE:
        writer.fixed(entry.sha256, DIGEST_SIZE)
        writer.u8(_INLINE)
        return writer.finish() + encode_extents(entry.extents)
    return writer.finish()


def encode_extents(extents: tuple[Place | Hole, ...]) -> bytes:
    """A list of extents: count, then each."""
    writer = Writer()
    writer.u32(len(extents))
    for extent in extents:
        if isinstance(extent, Hole):
            writer.u8(_HOLE)
            writer.u64(extent.length)
        else:
            writer.u8(_PLACE)
            write_place(writer, extent)
    return writer.finish()


def read_extents(reader: Reader) -> tuple[Place | Hole, ...]:
    """The inverse of :func:`encode_extents`."""
    extents: list[Place | Hole] = []
    for _ in range(reader.count(EXTENTS_MAX)):
        form = reader.u8()
        if form == _PLACE:
            extents.append(read_place(reader))
        elif form == _HOLE:
            extents.append(Hole(reader.u64()))
            if extents[-1].length == 0:
                raise reader.fail("an empty hole")
        else:
            raise reader.fail(f"extent form {form}")
    return tuple(extents)


def decode_entry(key: bytes, value: bytes, load_chunk: Callable[[Place], bytes]) -> Entry:
    """The entry of a key and value; ``load_chunk`` fetches spilled extents.

    Checks that the extents of a file add up to its size.
    """
    reader = Reader(value, "manifest entry")
    kind = reader.choice(EntryKind)
    flags = reader.u8()
    if flags & 0x0F > max(DicomState) or flags & 0xE0:
        raise reader.fail(f"flags {flags:#x}")
    fields = {
        "mode": reader.u32(),
        "uid": reader.u32(),
        "gid": reader.u32(),
        "mtime_ns": reader.i64(),
        "size_bytes": reader.u64(),
    }
    link_target = reader.var(PATH_LENGTH_MAX)
    xattrs = tuple(
        (reader.var(XATTR_NAME_MAX), reader.var(XATTR_VALUE_MAX))
        for _ in range(reader.count(XATTRS_MAX))
    )
    if sum(len(name) + len(value) for name, value in xattrs) > XATTRS_SIZE_MAX:
        raise reader.fail("extended attributes exceed the limit")
    is_link = kind in (EntryKind.SYMLINK, EntryKind.HARD_LINK)
    if bool(link_target) != is_link or (kind is not EntryKind.FILE and fields["size_bytes"]):
        raise reader.fail(f"a {kind.name.lower()} with the fields of another kind")
    sha256 = b""
    extents: tuple[Place | Hole, ...] = ()
    if kind is EntryKind.FILE:
        sha256 = reader.fixed(DIGEST_SIZE)
        extents = _read_extent_forms(reader, load_chunk)
        if sum(extent.length for extent in extents) != fields["size_bytes"]:
            raise reader.fail("the extents do not add up to the size")
    reader.end()
    return Entry(
        path=entry_path(key),
        kind=kind,
        **fields,
        sha256=sha256,
        extents=extents,
        link_target=link_target,
        xattrs=xattrs,
        dicom=DicomState(flags & 0x0F),
        unstable=bool(flags & 0x10),
    )


def _read_extent_forms(
    reader: Reader, load_chunk: Callable[[Place], bytes]
) -> tuple[Place | Hole, ...]:
    form = reader.u8()
    if form == _INLINE:
        return read_extents(reader)
    if form != _SPILLED:
        raise reader.fail(f"extent list form {form}")
    extents: list[Place | Hole] = []
    for _ in range(reader.count(EXTENTS_MAX // EXTENTS_PER_CHUNK)):
        chunk = Reader(load_chunk(read_place(reader)), "extent list")
        extents.extend(read_extents(chunk))
        chunk.end()
        if len(extents) > EXTENTS_MAX:
            raise reader.fail(f"more than {EXTENTS_MAX} extents")
    return tuple(extents)


def spill_extents(value: bytes, store_chunk: Callable[[bytes], Place]) -> bytes:
    """An encoded entry made short: a long inline extent list moves into chunks of its own."""
    if len(value) < EXTENTS_INLINE_MAX:
        return value
    prefix, extents = _split_inline(value)
    if len(extents) <= EXTENTS_INLINE_MAX:
        return value
    pieces = range(0, len(extents), EXTENTS_PER_CHUNK)
    places = [store_chunk(encode_extents(extents[at : at + EXTENTS_PER_CHUNK])) for at in pieces]
    writer = Writer()
    writer.u8(_SPILLED)
    writer.u32(len(places))
    for place in places:
        write_place(writer, place)
    return prefix + writer.finish()


def _extents_offset(value: bytes) -> int | None:
    """Where the extent list form of an encoded FILE entry begins (None: not a file)."""
    reader = Reader(value, "manifest entry")
    if reader.choice(EntryKind) is not EntryKind.FILE:
        return None
    reader.fixed(1 + 4 + 4 + 4 + 8 + 8)
    reader.var(PATH_LENGTH_MAX)
    for _ in range(reader.count(XATTRS_MAX)):
        reader.var(XATTR_NAME_MAX)
        reader.var(XATTR_VALUE_MAX)
    reader.fixed(DIGEST_SIZE)
    return reader.offset


def _split_inline(value: bytes) -> tuple[bytes, tuple[Place | Hole, ...]]:
    offset = _extents_offset(value)
    if offset is None or value[offset] != _INLINE:
        return value, ()
    reader = Reader(value[offset + 1 :], "manifest entry")
    return value[:offset], read_extents(reader)


def packs_of(value: bytes) -> set[bytes]:
    """The packs named by an encoded entry with inline extents."""
    return {value[at : at + PACK_REFERENCE_SIZE] for at in _pack_offsets(value)}


def replace_packs(value: bytes, name_of: Callable[[bytes], bytes]) -> bytes:
    """An encoded entry with each pack reference exchanged for ``name_of`` it."""
    changed = bytearray(value)
    for at in _pack_offsets(value):
        changed[at : at + PACK_REFERENCE_SIZE] = name_of(value[at : at + PACK_REFERENCE_SIZE])
    return bytes(changed)


def _pack_offsets(value: bytes) -> list[int]:
    at = _extents_offset(value)
    if at is None or value[at] != _INLINE:
        return []
    count = int.from_bytes(value[at + 1 : at + 5], "big")
    at += 5
    offsets = []
    for _ in range(count):
        if value[at] == _PLACE:
            offsets.append(at + 1)
            at += 1 + PLACE_SIZE
        else:
            at += 1 + 8
    return offsets
