"""Frozen vectors of pages, page trees, places, extents, manifest entries and catalogue rows."""

from dataclasses import replace
from typing import Any

from keys import agent_id, fixed_bytes
from safelight_vault.format.catalogue import Instance, encode_instance
from safelight_vault.format.manifest import (
    DicomState,
    Entry,
    EntryKind,
    Hole,
    encode_entry,
    encode_extents,
    entry_key,
)
from safelight_vault.format.pages import Pair, TreeRoot, encode_page, encode_place, write_root
from safelight_vault.format.place import Place
from safelight_vault.format.wire import Writer
from vector_collection import Collection

PACK = fixed_bytes("a pack's digest")
PLACE = Place(PACK, 2, 4096, 1000, 10, 100)
LAST = Place(b"\xff" * 32, 1_048_575, (4 << 30) - 16_781_337, 16_781_337, 8 << 20, 8 << 20)


def add_to(collection: Collection) -> None:
    """Add them."""
    _pages(collection)
    _trees(collection)
    _places(collection)
    _extents(collection)
    _entries(collection)
    _hostile_entries(collection)
    _instances(collection)
    _cuts(collection)


def _raw_page(*pairs: Pair, count: int | None = None) -> bytes:
    writer = Writer()
    writer.u32(len(pairs) if count is None else count)
    for key, value in pairs:
        writer.var(key, 1 << 24)
        writer.var(value, 1 << 24)
    return writer.finish()


def _pages(to: Collection) -> None:
    pairs = [(b"", b"root"), (b"a", b""), (b"a\x00b", b"x"), (b"a\xff", b"y"), (b"b", b"z")]
    good = encode_page(pairs)
    to.add("pages/good", "page", good, about="five entries, one key the beginning of another")
    to.add("pages/empty", "page", encode_page([]), about="a page alone may be empty")
    to.damaged("pages/good", {"count": 3})
    for name, data in {
        "keys-fall": _raw_page((b"b", b""), (b"a", b"")),
        "key-twice": _raw_page((b"a", b"1"), (b"a", b"2")),
        "prefix-after": _raw_page((b"a\x00", b""), (b"a", b"")),
        "too-many": _raw_page(count=65_537),
        "fewer-than-announced": _raw_page((b"a", b""), count=2),
    }.items():
        to.add(f"pages/{name}", "page", data, about="not a page", expected="corrupt")
    long = (1).to_bytes(4, "big") + (131_073).to_bytes(4, "big") + bytes(4)
    about = "a key of 131,073 bytes"
    fill = [8, "00", 131_073]
    to.add("pages/key-too-long", "page", long, about=about, expected="corrupt", fill=fill)


class _Tree:
    """A hand-made page tree: its root, and its pages at places of their own."""

    def __init__(self, to: Collection, name: str) -> None:
        self._to = to
        self._name = name
        self.chunks: dict[str, str] = {}

    def page(self, *pairs: Pair) -> tuple[bytes, Place]:
        """A page; gives its first key and its place."""
        number = len(self.chunks)
        data = _raw_page(*pairs)
        place = Place(PACK, number, 4096 + 100 * number, 100, 0, len(data))
        file = self._to.file(f"page-trees/{self._name}-page-{number}.bin", data)
        self.chunks[encode_place(place).hex()] = file
        return (pairs[0][0] if pairs else b""), place

    def inner(self, *pages: tuple[bytes, Place]) -> tuple[bytes, Place]:
        """A page above these pages."""
        return self.page(*((key, encode_place(place)) for key, place in pages))

    def add(
        self,
        levels: int,
        count: int,
        *pages: tuple[bytes, Place],
        about: str,
        expected: str = "success",
        **given: str,
    ) -> None:
        """The vector of the tree with this root."""
        writer = Writer()
        write_root(writer, TreeRoot(levels, count, pages))
        name = f"page-trees/{self._name}"
        with_chunks = {"chunks": self.chunks, **given}
        data = writer.finish()
        self._to.add(name, "page-tree", data, about=about, expected=expected, given=with_chunks)


def _pairs(keys: str) -> list[Pair]:
    return [(key.encode(), b"value of " + key.encode()) for key in keys]


def _trees(to: Collection) -> None:
    _Tree(to, "empty").add(0, 0, about="a table without entries")
    tree = _Tree(to, "leaves")
    pages = [tree.page(*_pairs("abc")), tree.page(*_pairs("de"))]
    tree.add(0, 5, *pages, about="two leaves")
    for name, start, stop in (("range", "62", "65"), ("beginning", "", "61"), ("end", "65", "7a")):
        part = _Tree(to, f"leaves-{name}")
        part.chunks = tree.chunks
        about = "a range of its keys"
        part.add(0, 5, *pages, about=about, start=start, stop=stop)
    part = _Tree(to, "leaves-unread")
    part.chunks = {place: file for place, file in tree.chunks.items() if "page-1" in file}
    part.add(0, 5, *pages, about="pages outside of the range are not read", start="64", stop="66")
    tree = _Tree(to, "two-levels")
    left = tree.inner(tree.page(*_pairs("ab")), tree.page(*_pairs("c")))
    right = tree.inner(tree.page(*_pairs("de")))
    tree.add(1, 5, left, right, about="one inner level")
    _hostile_trees(to)


def _hostile_trees(to: Collection) -> None:
    expected = "corrupt"
    for name, count in (("more-entries", 4), ("fewer-entries", 6)):
        tree = _Tree(to, name)
        pages = [tree.page(*_pairs("abc")), tree.page(*_pairs("de"))]
        about = f"{name.replace('-', ' ')} than the root says"
        tree.add(0, count, *pages, about=about, expected=expected)
    tree = _Tree(to, "empty-page")
    about = "a page without entries"
    tree.add(0, 1, tree.page(), tree.page(*_pairs("b")), about=about, expected=expected)
    tree = _Tree(to, "other-first-key")
    _, place = tree.page(*_pairs("bc"))
    about = "a page listed under another key than its first"
    tree.add(0, 2, (b"a", place), about=about, expected=expected)
    tree = _Tree(to, "overlap")
    about = "a page that reaches into the next one"
    tree.add(
        0, 4, tree.page(*_pairs("ac")), tree.page(*_pairs("bd")), about=about, expected=expected
    )
    tree = _Tree(to, "overlap-below")
    left = tree.inner(tree.page(*_pairs("ab")), tree.page(*_pairs("ce")))
    right = tree.inner(tree.page(*_pairs("d")))
    about = "a leaf that reaches into the next inner page"
    tree.add(1, 5, left, right, about=about, expected=expected)
    tree = _Tree(to, "root-falls")
    pages = [tree.page(*_pairs("c")), tree.page(*_pairs("a"))]
    tree.add(0, 2, *pages, about="the root lists pages in no order", expected=expected)
    tree = _Tree(to, "place-too-short")
    leaf, place = tree.page(*_pairs("a"))
    inner = tree.page((leaf, encode_place(place)[:-1]))
    about = "an inner page with a place of 55 bytes"
    tree.add(1, 1, inner, about=about, expected=expected)
    writer = Writer()
    write_root(writer, TreeRoot(9, 0, ()))
    about = "nine levels"
    to.add("page-trees/too-deep", "page-tree", writer.finish(), about=about, expected=expected)
    data = bytes(9) + (513).to_bytes(4, "big")
    about = "a root that announces 513 pages"
    to.add("page-trees/root-too-long", "page-tree", data, about=about, expected=expected)


def _places(to: Collection) -> None:
    to.add("places/good", "place", encode_place(PLACE), about="a place")
    to.add("places/last", "place", encode_place(LAST), about="every field at its limit")
    to.damaged("places/good", {"block number": 32, "block offset": 36, "length": 52})
    for name, changed in {
        "block-number": replace(LAST, block_number=1_048_576),
        "block-offset": replace(LAST, block_offset=LAST.block_offset + 1),
        "block-length": replace(PLACE, block_length=16_781_338),
        "block-of-16-bytes": replace(PLACE, block_length=16),
        "offset": replace(LAST, offset=LAST.offset + 1),
        "length": replace(PLACE, length=(8 << 20) + 1),
        "empty": replace(PLACE, length=0),
    }.items():
        data = encode_place(changed)
        to.add(f"places/{name}", "place", data, about="beyond a limit", expected="corrupt")


def _extents(to: Collection) -> None:
    run = (PLACE, Hole(1), LAST, Hole(2**63 - 1))
    to.add("extents/good", "extents", encode_extents(run), about="places and holes")
    to.add("extents/empty", "extents", encode_extents(()), about="no extent")
    for name, data in {
        "empty-hole": encode_extents((Hole(0),)),
        "unknown-form": b"\0\0\0\1\2" + bytes(8),
        "too-many": (16_777_217).to_bytes(4, "big"),
        "fewer-than-announced": b"\0\0\0\2" + encode_extents((Hole(1),))[4:],
        "a-byte-more": encode_extents((Hole(1),)) + b"\0",
    }.items():
        to.add(f"extents/{name}", "extents", data, about="not an extent run", expected="corrupt")


def _pair(key: bytes, value: bytes) -> bytes:
    return _raw_page((key, value))[4:]


FILE = Entry(
    path=b"study/ct.dcm",
    kind=EntryKind.FILE,
    mode=0o640,
    uid=1000,
    gid=100,
    mtime_ns=1_790_000_000_123_456_789,
    size_bytes=100 + 4096 + (8 << 20),
    sha256=fixed_bytes("content"),
    extents=(PLACE, Hole(4096), LAST),
    xattrs=((b"user.a", b"modality \x00 7"), (b"user.b", b"")),
    dicom=DicomState.PARSED,
)
OTHER = Entry(path=b"x", kind=EntryKind.DIRECTORY, mode=0o7777, uid=0, gid=0, mtime_ns=-1)


def _entries(to: Collection) -> None:
    empty = replace(FILE, size_bytes=0, extents=(), xattrs=(), dicom=DicomState.OTHER)
    for name, entry in {
        "file": FILE,
        "file-empty": empty,
        "file-unstable": replace(FILE, unstable=True, dicom=DicomState.FAILED),
        "file-all-hole": replace(empty, size_bytes=5 << 30, extents=(Hole(5 << 30),)),
        "root": replace(OTHER, path=b""),
        "directory": OTHER,
        "symlink": replace(OTHER, kind=EntryKind.SYMLINK, link_target=b"../../\xff/etc"),
        "hard-link": replace(OTHER, kind=EntryKind.HARD_LINK, link_target=b"study/ct.dcm"),
        "odd-name": replace(OTHER, path=b"a\nb/\xff\xfe/ /..."),
        "longest-name": replace(OTHER, path=b"n" * 1024),
        "time-limits": replace(OTHER, mtime_ns=-(2**63), uid=2**32 - 1, gid=2**32 - 1),
        "xattr-longest-name": replace(OTHER, xattrs=((b"user." + b"n" * 250, b""),)),
    }.items():
        data = _pair(entry_key(entry.path), encode_entry(entry))
        to.add(f"entries/{name}", "entry", data, about="a manifest entry")
    value = encode_entry(empty)[:-4]
    lists = [(PLACE, Hole(5)), (Hole(7),)]
    places, chunks = [], {}
    for number, extents in enumerate(lists):
        data = encode_extents(extents)
        place = Place(PACK, number, 0, 100, 0, len(data))
        file = to.file(f"entries/spilled-{number}.bin", data)
        chunks[encode_place(place).hex()] = file
        places.append(encode_place(place))
    value = (
        value[:22] + (112).to_bytes(8, "big") + value[30:-1] + b"\x01\0\0\0\2" + b"".join(places)
    )
    about = "a file whose extents lie in two chunks of their own"
    data = _pair(b"spilled", value)
    given = {"chunks": chunks}
    to.add("entries/spilled", "entry", data, about=about, given=given)
    value = value[:22] + (113).to_bytes(8, "big") + value[30:]
    about = "spilled extents that do not add up"
    data = _pair(b"spilled", value)
    to.add("entries/spilled-short", "entry", data, about=about, expected="corrupt", given=given)
    value = value[:-116] + (257).to_bytes(4, "big")
    about = "257 lists of extents announced"
    data = _pair(b"spilled", value)
    to.add("entries/spilled-too-often", "entry", data, about=about, expected="corrupt", given=given)


def _hostile_entries(to: Collection) -> None:
    good = encode_entry(OTHER)
    file = encode_entry(FILE)

    def bad(name: str, value: bytes, key: bytes = b"x") -> None:
        about = f"an entry that must be refused: {name.replace('-', ' ')}"
        to.add(f"entries/{name}", "entry", _pair(key, value), about=about, expected="corrupt")

    for name, key in {
        "path-dot-dot": b"a\x00..\x00b",
        "path-dot-dot-alone": b"..",
        "path-dot": b"a\x00.",
        "path-slash": b"a/b",
        "path-absolute": b"\x00etc",
        "path-trailing": b"a\x00",
        "path-empty-component": b"a\x00\x00b",
        "path-component-of-1025-bytes": b"n" * 1025,
    }.items():
        bad(name, good, key)
    for number in (0, 5):
        bad(f"kind-{number}", bytes([number]) + good[1:])
    for flags in (0x03, 0x0F, 0x20, 0x80):
        bad(f"flags-{flags}", good[:1] + bytes([flags]) + good[2:])
    bad("directory-with-size", good[:22] + (1).to_bytes(8, "big") + good[30:])
    bad("directory-with-target", encode_entry(replace(OTHER, link_target=b"t")))
    bad("directory-with-extents", good + bytes(32) + bytes(5))
    bad("file-with-target", encode_entry(replace(FILE, link_target=b"t")))
    bad("symlink-without-target", encode_entry(replace(OTHER, kind=EntryKind.SYMLINK)))
    bad("hard-link-without-target", encode_entry(replace(OTHER, kind=EntryKind.HARD_LINK)))
    bad("extents-too-short", encode_entry(replace(FILE, size_bytes=FILE.size_bytes + 1)))
    bad("extents-too-long", encode_entry(replace(FILE, size_bytes=FILE.size_bytes - 1)))
    bad("extents-none", encode_entry(replace(FILE, extents=())))
    bad("empty-hole", encode_entry(replace(FILE, extents=(*FILE.extents, Hole(0)))))
    at = len(encode_entry(replace(FILE, extents=()))) - 5
    bad("extent-list-form-2", file[:at] + b"\x02" + file[at + 1 :])
    bad("xattr-name-of-256-bytes", _with_xattrs(good, 1, (b"n" * 256, b"")))
    bad("xattrs-257", _with_xattrs(good, 257, *((b"n%d" % number, b"") for number in range(257))))
    bad("a-byte-more", good + b"\x00")
    bad("a-byte-less", good[:-1])
    bad("file-a-byte-less", file[:-1])
    begin = (65_537).to_bytes(4, "big")
    long = begin + b"n" + _pair(b"", good)[4:]
    about = "a path of 65,537 bytes"
    line: dict[str, Any] = {"about": about, "expected": "corrupt", "fill": [4, "6e00", 32_768]}
    to.add("entries/path-of-65537-bytes", "entry", long, **line)
    value = good[:-4] + (1).to_bytes(4, "big") + b"\0\0\0\1n" + begin
    long = b"\0\0\0\1x" + (len(value) + 65_537).to_bytes(4, "big") + value
    line = {**line, "about": "an attribute of 65,537 bytes", "fill": [len(long), "00", 65_537]}
    to.add("entries/xattr-value-of-65537-bytes", "entry", long, **line)


def _with_xattrs(value: bytes, count: int, *pairs: Pair) -> bytes:
    return value[:-4] + _raw_page(*pairs, count=count)


INSTANCE = Instance(
    path=b"a/b",
    patient_id="P1",
    study_instance_uid="1.2",
    series_instance_uid="1.3",
    sop_instance_uid="1.4",
    patient_name="M\u00fcller^J\u00f6rg",
    study_date="20240229",
    study_description="Head without contrast",
    series_description="",
    modality="CT",
    accession_number="ACC-7",
)


def _instances(to: Collection) -> None:
    for name, instance in {
        "good": INSTANCE,
        "bare": replace(INSTANCE, patient_id="", study_instance_uid="", sop_instance_uid=""),
        "nul": replace(INSTANCE, patient_id="\x00P\x00\x001\x00", series_instance_uid="\x01"),
        "root": replace(INSTANCE, path=b""),
        "longest": replace(INSTANCE, patient_id="\u00e9" * 512, patient_name="n" * 1024),
    }.items():
        data = _pair(*encode_instance(instance))
        to.add(f"catalogue/{name}", "instance", data, about="a row of the catalogue")
    _, value = encode_instance(INSTANCE)
    fields = [b"P1", b"1.2", b"1.3", b"1.4", b"a\x00\x01b"]

    def bad(name: str, fields: list[bytes], value: bytes = value, end: bytes = b"\0\0") -> None:
        data = _pair(b"\0\0".join(fields) + end, value)
        about = f"not a row: {name.replace('-', ' ')}"
        to.add(f"catalogue/{name}", "instance", data, about=about, expected="corrupt")

    bad("four-fields", fields[1:])
    bad("six-fields", [b"P0", *fields])
    bad("end-missing", fields, end=b"")
    bad("end-too-long", fields, end=b"\0\0\0")
    bad("nul-and-2", [b"P\x00\x02", *fields[1:]])
    bad("nul-alone", [*fields[:4], b"a\x00b"])
    bad("nul-at-the-end", [*fields[:3], b"1.4\x00", fields[4]])
    bad("not-utf-8", [b"P\xff", *fields[1:]])
    bad("surrogate", [b"P\xed\xa0\x80", *fields[1:]])
    bad("identifier-of-1025-bytes", [b"P" * 1025, *fields[1:]])
    bad("path-dot-dot", [*fields[:4], b"..\x00\x01b"])
    bad("path-slash", [*fields[:4], b"a/b"])
    bad("value-longer", fields, value + b"\0")
    bad("value-shorter", fields, value[:-1])
    bad("value-not-utf-8", fields, value.replace(b"CT", b"C\xff"))
    long = bytearray((1025).to_bytes(4, "big") + b"n" * 1025) + value[4 + value[3] :]
    bad("value-of-1025-bytes", fields, bytes(long))


def _cuts(to: Collection) -> None:
    about = "a rule for writers: where pages begin"
    for name, count, size in (("short", 20_000, 30), ("long", 4000, 300), ("huge", 12, 300_000)):
        text = f"count = {count}\nvalue_size = {size}\nlevels = [0, 1, 2]\n"
        to.add(f"cuts/pages-{name}", "page-cuts", text.encode(), about=about)
    text = f'count = 12000\nagent_id = "{agent_id().hex()}"\n'
    about = "a rule for writers: how many references a segment has"
    to.add("cuts/segments", "segment-cuts", text.encode(), about=about)
