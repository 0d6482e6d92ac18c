"""An independent reader, fourth part: page trees and what their entries say (format.md, 9 and 10).

The invariant: an entry comes out only if its page is the one that its tree lists there, and its
path leads nowhere but below the directory that is restored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from independent_keys import Corrupt, Fields, require
from independent_packs import (
    BLOCK_SIZE_MAX,
    BLOCKS_MAX,
    CHUNK_SIZE_MAX,
    SEALED_BLOCK_SIZE_MAX,
)

KEY_SIZE_MAX = 131_072
VALUE_SIZE_MAX = 4_194_304
PATH_SIZE_MAX = 65_536
PACK_SIZE_MAX = 1 << 32
EXTENTS_MAX = 1 << 24
XATTRS_SIZE_MAX = 1 << 20


# ---------------------------------------------------------------------------------- 9.2 places


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a chunk lies."""

    pack: bytes
    block_number: int
    block_offset: int
    block_length: int
    offset: int
    length: int


Load = Callable[[Place], bytes]
"""Gives the bytes of the chunk at a place."""


def read_place(fields: Fields) -> Place:
    place = Place(
        pack=fields.fixed(32),
        block_number=fields.unsigned(4),
        block_offset=fields.unsigned(8),
        block_length=fields.unsigned(4),
        offset=fields.unsigned(4),
        length=fields.unsigned(4),
    )
    possible = (
        place.block_number < BLOCKS_MAX
        and 17 <= place.block_length <= SEALED_BLOCK_SIZE_MAX
        and place.block_offset + place.block_length <= PACK_SIZE_MAX
        and 1 <= place.length <= CHUNK_SIZE_MAX
        and place.offset + place.length <= BLOCK_SIZE_MAX
    )
    require(possible, f"{fields.what}: an impossible place")
    return place


def decode_place(data: bytes) -> Place:
    fields = Fields(data, "place")
    place = read_place(fields)
    fields.end()
    return place


# ------------------------------------------------------------------------------ 9.1 page trees

Pairs = tuple[tuple[bytes, bytes], ...]


def decode_page(data: bytes) -> Pairs:
    fields = Fields(data, "page")
    pairs = tuple(
        (fields.var(KEY_SIZE_MAX), fields.var(VALUE_SIZE_MAX)) for _ in range(fields.count(65_536))
    )
    fields.end()
    rising = all(left[0] < right[0] for left, right in pairwise(pairs))
    require(rising, "page: keys that do not rise")
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRoot:
    """The root of a page tree; ``pages`` are first keys and places."""

    levels: int
    entry_count: int
    pages: tuple[tuple[bytes, Place], ...]


def read_tree_root(fields: Fields) -> TreeRoot:
    return TreeRoot(
        levels=fields.choice(range(9)),
        entry_count=fields.unsigned(8),
        pages=tuple(
            (fields.var(KEY_SIZE_MAX), read_place(fields)) for _ in range(fields.count(512))
        ),
    )


def read_tree(
    root: TreeRoot, load: Load, *, start: bytes = b"", stop: bytes | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """The entries with start <= key < stop; all pages of other keys stay unread."""

    def below(
        pages: tuple[tuple[bytes, Place], ...], levels: int, end: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        ends = [first for first, _ in pages[1:]] + [end]
        for (first, place), page_end in zip(pages, ends, strict=False):
            is_before = page_end is not None and page_end <= start
            if is_before or (stop is not None and first >= stop):
                continue
            pairs = decode_page(load(place))
            fits = pairs and pairs[0][0] == first and (page_end is None or pairs[-1][0] < page_end)
            require(bool(fits), "page: not the one that its tree lists")
            if levels:
                inner = tuple((key, decode_place(value)) for key, value in pairs)
                yield from below(inner, levels - 1, page_end)
            else:
                yield from pairs

    seen = 0
    for key, value in below(root.pages, root.levels, None):
        seen += 1
        require(seen <= root.entry_count, "page tree: more entries than its root says")
        if key >= start and (stop is None or key < stop):
            yield key, value
    is_whole = not start and stop is None
    require(not is_whole or seen == root.entry_count, "page tree: entries are missing")


# ------------------------------------------------------------------------ 9.2 manifest entries


class Kind(IntEnum):
    """What an entry of a manifest is."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    HARD_LINK = 4


LINKS = (Kind.SYMLINK, Kind.HARD_LINK)
Extent = Place | int
"""A place, or the length of a hole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a manifest; ``sha256`` and ``extents`` are those of a FILE."""

    path: bytes
    kind: Kind
    dicom: int
    unstable: bool
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    link_target: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    sha256: bytes
    extents: tuple[Extent, ...]


def path_of(key: bytes) -> bytes:
    """The path with ``/`` that a key stands for; the root of the source is the empty one."""
    components = key.split(b"\0") if key else []
    possible = len(key) <= PATH_SIZE_MAX and all(
        c not in {b"", b".", b".."} and b"/" not in c and len(c) <= 1024 for c in components
    )
    require(possible, f"{key!r}: not a path")
    return key.replace(b"\0", b"/")


def read_extents(fields: Fields) -> tuple[Extent, ...]:
    """One extent run."""
    extents: list[Extent] = []
    for _ in range(fields.count(EXTENTS_MAX)):
        if fields.choice((0, 1)):
            extents.append(read_place(fields))
        else:
            hole = fields.unsigned(8)
            require(hole > 0, f"{fields.what}: an empty hole")
            extents.append(hole)
    return tuple(extents)


def _extent_list(fields: Fields, load: Load) -> tuple[Extent, ...]:
    if fields.choice((0, 1)) == 0:
        return read_extents(fields)
    extents: tuple[Extent, ...] = ()
    places = [read_place(fields) for _ in range(fields.count(256))]
    for place in places:
        run = Fields(load(place), "spilled extents")
        extents += read_extents(run)
        run.end()
        require(len(extents) <= EXTENTS_MAX, "entry: too many extents")
    return extents


def _xattrs(fields: Fields) -> tuple[tuple[bytes, bytes], ...]:
    xattrs = tuple((fields.var(255), fields.var(65_536)) for _ in range(fields.count(256)))
    total = sum(len(name) + len(value) for name, value in xattrs)
    require(total <= XATTRS_SIZE_MAX, "entry: too many extended attributes")
    return xattrs


def decode_entry(key: bytes, value: bytes, load: Load) -> Entry:
    """An entry from its key and value; ``load`` is called for spilled extents."""
    fields = Fields(value, "entry")
    kind, flags = Kind(fields.choice(list(Kind))), fields.unsigned(1)
    require(flags < 32 and flags & 15 <= 2, "entry: unknown flags")
    is_file = kind is Kind.FILE
    entry = Entry(
        path=path_of(key),
        kind=kind,
        dicom=flags & 15,
        unstable=bool(flags & 16),
        mode=fields.unsigned(4) & 0o7777,
        uid=fields.unsigned(4),
        gid=fields.unsigned(4),
        mtime_ns=fields.signed(),
        size=fields.unsigned(8),
        link_target=fields.var(PATH_SIZE_MAX),
        xattrs=_xattrs(fields),
        sha256=fields.fixed(32) if is_file else b"",
        extents=_extent_list(fields, load) if is_file else (),
    )
    fields.end()
    require(is_file or entry.size == 0, "entry: a size without a file")
    require(bool(entry.link_target) == (kind in LINKS), "entry: link target and kind do not fit")
    total = sum(each if isinstance(each, int) else each.length for each in entry.extents)
    require(total == entry.size, "entry: the extents are not as long as the file")
    return entry


class SafePaths:
    """Refuses, one after another in the order of a manifest, entries that could do harm."""

    def __init__(self) -> None:
        self._above: list[tuple[bytes, Kind]] = []
        """The entries above the last one, the last one included."""

    def require_safe(self, entry: Entry) -> None:
        path = entry.path
        while self._above and not _is_below(path, self._above[-1][0]):
            self._above.pop()
        name = f"{path!r}"
        above = self._above[-1][1] if self._above else Kind.DIRECTORY
        require(above is Kind.DIRECTORY, f"{name}: lies below what is no directory")
        require(bool(path) or entry.kind is Kind.DIRECTORY, f"{name}: the root is no directory")
        self._above.append((path, entry.kind))
        require(2**32 - 1 not in {entry.uid, entry.gid}, f"{name}: no owner")
        require(entry.size < 2**63, f"{name}: too long")
        is_named = all(each and b"\0" not in each for each, _ in entry.xattrs)
        require(is_named, f"{name}: an attribute without a name")
        if entry.kind is Kind.SYMLINK:
            require(b"\0" not in entry.link_target, f"{name}: links to what is no path")
        if entry.kind is Kind.HARD_LINK:
            require(b"\0" not in entry.link_target, f"{name}: links to what is no path")
            target = entry.link_target.replace(b"/", b"\0")
            path_of(target)
            require(target < path.replace(b"/", b"\0"), f"{name}: links to a later entry")


def _is_below(path: bytes, above: bytes) -> bool:
    return not above or path.startswith(above + b"/")


# ------------------------------------------------------------------------------ 10 catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An entry of the catalogue."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    path: bytes
    patient_name: str
    study_date: str
    study_description: str
    series_description: str
    modality: str
    accession_number: str


def _key_fields(key: bytes) -> list[bytes]:
    found, field, position = [], bytearray(), 0
    while position < len(key):
        byte = key[position]
        position += 1
        if byte:
            field.append(byte)
            continue
        escape = key[position : position + 1]
        position += 1
        require(escape in {b"\0", b"\1"}, "catalogue: a zero byte that is not escaped")
        if escape == b"\1":
            field.append(0)
        else:
            found.append(bytes(field))
            field.clear()
    require(len(found) == 5 and not field, "catalogue: a key has not five fields")
    return found


def decode_instance(key: bytes, value: bytes) -> Instance:
    *identifiers, path_key = _key_fields(key)
    require(all(len(each) <= 1024 for each in identifiers), "catalogue: a long identifier")
    try:
        patient_id, study, series, instance = (each.decode("utf-8") for each in identifiers)
    except UnicodeDecodeError as error:
        raise Corrupt("catalogue: an identifier is not UTF-8") from error
    fields = Fields(value, "catalogue")
    found = Instance(
        patient_id=patient_id,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        path=path_of(path_key),
        patient_name=fields.text(1024),
        study_date=fields.text(1024),
        study_description=fields.text(1024),
        series_description=fields.text(1024),
        modality=fields.text(1024),
        accession_number=fields.text(1024),
    )
    fields.end()
    return found
