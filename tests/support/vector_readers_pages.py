"""Vectors of pages, page trees, places and the entries of tables: the product's decoders."""

from collections.abc import Callable, Mapping
from typing import Any

from safelight_vault.format.catalogue import decode_instance
from safelight_vault.format.manifest import Entry, Hole, decode_entry, read_extents
from safelight_vault.format.pages import (
    KEY_SIZE_MAX,
    VALUE_SIZE_MAX,
    decode_page,
    decode_place,
    encode_place,
    read_root,
    read_tree,
)
from safelight_vault.format.place import Place
from safelight_vault.format.wire import Reader
from vector_context import Value
from vector_index import Vector, read_file


def read_page(vector: Vector) -> Value:
    return {"entries": [[key.hex(), value.hex()] for key, value in decode_page(vector.data())]}


def chunks(given: Mapping[str, Any]) -> Callable[[Place], bytes]:
    """Loads the chunks that a vector lists, by the place at which each of them is said to lie."""
    files = given.get("chunks", {})

    def load(place: Place) -> bytes:
        return read_file(files[encode_place(place).hex()])

    return load


def read_page_tree(vector: Vector) -> Value:
    reader = Reader(vector.data(), "page tree")
    root = read_root(reader)
    reader.end()
    stop = vector.given.get("stop")
    pairs = read_tree(
        root,
        chunks(vector.given),
        start=bytes.fromhex(vector.given.get("start", "")),
        stop=None if stop is None else bytes.fromhex(stop),
    )
    return {"entries": [[key.hex(), value.hex()] for key, value in pairs]}


def place_value(place: Place) -> list[str | int]:
    """A place as its fields in order."""
    return [
        place.pack.hex(),
        place.block_number,
        place.block_offset,
        place.block_length,
        place.offset,
        place.length,
    ]


def read_place(vector: Vector) -> Value:
    return {"place": place_value(decode_place(vector.data()))}


def extents_value(extents: tuple[Place | Hole, ...]) -> list[int | list[str | int]]:
    """Extents: a hole as its length, a place as its fields."""
    return [each.length if isinstance(each, Hole) else place_value(each) for each in extents]


def read_extent_run(vector: Vector) -> Value:
    reader = Reader(vector.data(), "extent run")
    extents = read_extents(reader)
    reader.end()
    return {"extents": extents_value(extents)}


def key_and_value(data: bytes) -> tuple[bytes, bytes]:
    """An entry of a page that stands alone."""
    reader = Reader(data, "entry")
    key, value = reader.var(KEY_SIZE_MAX), reader.var(VALUE_SIZE_MAX)
    reader.end()
    return key, value


def entry_value(entry: Entry) -> Value:
    """A manifest entry without its places, as trees of vaults list it too."""
    value: Value = {
        "path": entry.path.hex(),
        "kind": int(entry.kind),
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime_ns,
        "size": entry.size_bytes,
        "dicom": int(entry.dicom),
        "unstable": entry.unstable,
    }
    if entry.link_target:
        value["link_target"] = entry.link_target.hex()
    if entry.xattrs:
        value["xattrs"] = [[name.hex(), text.hex()] for name, text in entry.xattrs]
    if entry.sha256:
        value["sha256"] = entry.sha256.hex()
    return value


def read_entry(vector: Vector) -> Value:
    entry = decode_entry(*key_and_value(vector.data()), chunks(vector.given))
    return {**entry_value(entry), "extents": extents_value(entry.extents)}


def read_instance(vector: Vector) -> Value:
    found = decode_instance(*key_and_value(vector.data()))
    names = [name for name in type(found).__slots__ if name != "path"]
    return {"path": found.path.hex(), **{name: getattr(found, name) for name in names}}
