"""Pages in memory, whole trees, and tables like those of manifests, for tests of page trees."""

import hashlib
from collections.abc import Callable

from keys import fixed_bytes
from safelight_vault.errors import ObjectMissingError
from safelight_vault.format.pages import (
    ROOT_ENTRIES_MAX,
    Pair,
    TreeRoot,
    inner_level,
    leaf_level,
)
from safelight_vault.format.place import Place


class PageStore:
    """Pages in memory under places that follow from their bytes; counts what is loaded."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.loaded: list[bytes] = []

    def store(self, page: bytes) -> Place:
        name = hashlib.sha256(page).digest()
        self.pages[name] = page
        return place_of(name)

    def load(self, place: Place) -> bytes:
        self.loaded.append(place.pack)
        if place.pack not in self.pages:
            raise ObjectMissingError("no such page")
        return self.pages[place.pack]


def place_of(name: bytes) -> Place:
    return Place(name, 0, 1, 17, 0, 1)


def build(entries: list[Pair], store_page: Callable[[bytes], Place]) -> TreeRoot:
    """A whole tree, as a writer builds it that knows its places at once."""
    count, pages = leaf_level(entries, store_page)
    levels = 0
    while len(pages) > ROOT_ENTRIES_MAX:
        levels += 1
        pages = inner_level(pages, levels, store_page)
    return TreeRoot(levels, count, tuple(pages))


def table(count: int) -> list[Pair]:
    """A sorted table as manifests look: paths in folders, values of 60 to 300 bytes."""
    return [
        (
            b"study%05d\x00series\x00image%03d.dcm" % divmod(number, 200),
            fixed_bytes(f"value {number}", 60 + number * 7919 % 240),
        )
        for number in range(count)
    ]
