"""Page trees: sorted key → value tables, cut by their own keys, stored as chunks like any data.

Leaves hold entries; inner pages hold, for each page below, its first key and place. Because a page
ends where its keys say so and nothing but keys and values is in it, an unchanged stretch of a table
gives the same bytes every night and is deduplicated (format.md section 9.1).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from safelight_vault.errors import CorruptError, DecodeError
from safelight_vault.format.place import Place, read_place, write_place
from safelight_vault.format.wire import Reader, Writer

KEY_SIZE_MAX = 131_072
VALUE_SIZE_MAX = 4 << 20
PAGE_ENTRIES_MAX = 1 << 16
LEVELS_MAX = 8
PAGE_SIZE_MIN = 16 << 10
PAGE_SIZE_MAX = 1 << 20
"""A page is closed before it would pass this, unless a single entry is longer."""
ROOT_ENTRIES_MAX = 512
PAGE_SIZE_TARGET = 128 << 10
"""A page ends before an entry with probability (its length / this), decided by its key's SHA-256.

Leaves look at bytes 0 and 1 of the digest, the level above at bytes 2 and 3, and so on: the keys of
an inner page are boundaries of the level below, so the same bytes would be small in all of them.
"""

Pair = tuple[bytes, bytes]
OnDamage = Callable[[bytes, CorruptError], None]
"""Told of a page that cannot be read: the first key it holds, and what is wrong."""


def encode_page(entries: list[Pair]) -> bytes:
    """One page: count, then key and value of each entry in order."""
    writer = Writer()
    writer.u32(len(entries))
    for key, value in entries:
        writer.var(key, KEY_SIZE_MAX)
        writer.var(value, VALUE_SIZE_MAX)
    return writer.finish()


def decode_page(data: bytes) -> list[Pair]:
    """The entries of a page; keys must rise strictly."""
    reader = Reader(data, "page")
    entries = []
    last: bytes | None = None
    for _ in range(reader.count(PAGE_ENTRIES_MAX)):
        key = reader.var(KEY_SIZE_MAX)
        if last is not None and key <= last:
            raise reader.fail("keys out of order")
        last = key
        entries.append((key, reader.var(VALUE_SIZE_MAX)))
    reader.end()
    return entries


def page_groups(entries: Iterable[Pair], level: int) -> Iterator[list[Pair]]:
    """Cut sorted entries of a level (0: leaves) into pages, by key and size only."""
    group: list[Pair] = []
    size = 0
    for key, value in entries:
        length = len(key) + len(value) + 8
        digest = hashlib.sha256(key).digest()[2 * level : 2 * level + 2]
        boundary = int.from_bytes(digest, "big") * PAGE_SIZE_TARGET < length << 16
        full = size + length > PAGE_SIZE_MAX or len(group) == PAGE_ENTRIES_MAX
        if group and ((boundary and size >= PAGE_SIZE_MIN) or full):
            yield group
            group, size = [], 0
        group.append((key, value))
        size += length
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class TreeRoot:
    """The top of a page tree. ``levels`` 0: the root's pages are leaves."""

    levels: int
    entry_count: int
    pages: tuple[tuple[bytes, Place], ...]


Handle = TypeVar("Handle")


def leaf_level(
    entries: Iterable[Pair], store_page: Callable[[bytes], Handle]
) -> tuple[int, list[tuple[bytes, Handle]]]:
    """Store a table's leaf pages; gives the entry count, and first key and handle of each page.

    ``store_page`` stores a page as a chunk. Its place is known only when its pack is finished, so
    it tells a handle, and the caller exchanges handles for places between two levels.
    """
    count = 0
    pages = []
    for group in page_groups(entries, 0):
        count += len(group)
        pages.append((group[0][0], store_page(encode_page(group))))
    return count, pages


def inner_level(
    pages: list[tuple[bytes, Place]], level: int, store_page: Callable[[bytes], Handle]
) -> list[tuple[bytes, Handle]]:
    """Store ``level`` (1: above the leaves) over ``pages``.

    Repeated until at most ``ROOT_ENTRIES_MAX`` pages are left.
    """
    entries = [(key, encode_place(place)) for key, place in pages]
    return [(group[0][0], store_page(encode_page(group))) for group in page_groups(entries, level)]


def encode_place(place: Place) -> bytes:
    """A place alone, as inner pages hold it."""
    writer = Writer()
    write_place(writer, place)
    return writer.finish()


def decode_place(data: bytes) -> Place:
    """The inverse of :func:`encode_place`."""
    reader = Reader(data, "page place")
    place = read_place(reader)
    reader.end()
    return place


def write_root(writer: Writer, root: TreeRoot) -> None:
    """Append a root to a snapshot's body."""
    writer.u8(root.levels)
    writer.u64(root.entry_count)
    writer.u32(len(root.pages))
    for key, place in root.pages:
        writer.var(key, KEY_SIZE_MAX)
        write_place(writer, place)


def read_root(reader: Reader) -> TreeRoot:
    """The inverse of :func:`write_root`."""
    levels = reader.u8()
    if levels > LEVELS_MAX:
        raise reader.fail(f"page tree of {levels} levels")
    entry_count = reader.u64()
    pages = tuple(
        (reader.var(KEY_SIZE_MAX), read_place(reader))
        for _ in range(reader.count(ROOT_ENTRIES_MAX))
    )
    return TreeRoot(levels, entry_count, pages)


def read_tree(
    root: TreeRoot,
    load_page: Callable[[Place], bytes],
    *,
    start: bytes = b"",
    stop: bytes | None = None,
    on_damage: OnDamage | None = None,
) -> Iterator[Pair]:
    """Entries with ``start <= key < stop`` in order, reading only the pages they lie in.

    Every page must begin with the key it is listed under and end before the next one. A damaged
    page raises, or is told to ``on_damage`` with its first key, and the next page follows.
    """
    damaged = False

    def note(key: bytes, error: CorruptError) -> None:
        nonlocal damaged
        damaged = True
        if on_damage is None:
            raise error
        on_damage(key, error)

    count = 0
    for pair in _read_level(
        list(root.pages),
        root.levels,
        None,
        load_page=load_page,
        start=start,
        stop=stop,
        on_damage=note,
    ):
        count += 1
        if count > root.entry_count:
            raise DecodeError("page tree: it holds more entries than its root says")
        yield pair
    whole = not start and stop is None and not damaged
    if whole and count != root.entry_count:
        raise DecodeError("page tree: it holds fewer entries than its root says")


def _read_level(
    pages: list[tuple[bytes, Place]],
    levels: int,
    limit: bytes | None,
    *,
    load_page: Callable[[Place], bytes],
    start: bytes,
    stop: bytes | None,
    on_damage: OnDamage,
) -> Iterator[Pair]:
    for position, (first_key, place) in enumerate(pages):
        next_key = pages[position + 1][0] if position + 1 < len(pages) else limit
        if next_key is not None and next_key <= start:
            continue
        if stop is not None and first_key >= stop:
            return
        try:
            entries = _load_checked(load_page(place), first_key, next_key)
            below = [(key, decode_place(value)) for key, value in entries] if levels else []
        except CorruptError as error:
            on_damage(first_key, error)
            continue
        if levels:
            yield from _read_level(
                below,
                levels - 1,
                next_key,
                load_page=load_page,
                start=start,
                stop=stop,
                on_damage=on_damage,
            )
            continue
        for key, value in entries:
            if key >= start and (stop is None or key < stop):
                yield key, value


def _load_checked(page: bytes, first_key: bytes, next_key: bytes | None) -> list[Pair]:
    entries = decode_page(page)
    if not entries or entries[0][0] != first_key:
        raise DecodeError("page tree: a page does not begin with the key it is listed under")
    if next_key is not None and entries[-1][0] >= next_key:
        raise DecodeError("page tree: a page reaches into the next one")
    return entries
