"""Manifest entries of every kind, one whole file, and places, for tests of manifests."""

from dataclasses import replace

from hypothesis import strategies as st

from keys import fixed_bytes
from safelight_vault.format.manifest import (
    COMPONENT_LENGTH_MAX,
    DicomState,
    Entry,
    EntryKind,
    Hole,
)
from safelight_vault.format.place import Place


def place(pack: bytes = bytes(32), *, offset: int = 0, length: int = 1) -> Place:
    """A place within the limits."""
    return Place(pack, 2, 4096, 1000, offset, length)


COMPONENTS = (
    st.binary(min_size=1, max_size=COMPONENT_LENGTH_MAX)
    .map(lambda name: name.replace(b"/", b"\xff").replace(b"\x00", b"\xfe"))
    .filter(lambda name: name not in {b".", b".."})
)
PATHS = st.lists(COMPONENTS, max_size=5).map(b"/".join)
EXTENTS = st.lists(
    st.builds(Hole, st.integers(1, 2**40))
    | st.builds(
        place,
        st.binary(min_size=32, max_size=32),
        offset=st.integers(0, 1000),
        length=st.integers(1, 2**20),
    ),
    max_size=6,
).map(tuple)
XATTRS = st.lists(
    st.tuples(st.binary(max_size=COMPONENT_LENGTH_MAX), st.binary(max_size=60)), max_size=4
).map(tuple)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Entries of every kind, each with the fields that its kind has."""
    kind = draw(st.sampled_from(EntryKind))
    entry = Entry(
        path=draw(PATHS),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 1)),
        gid=draw(st.integers(0, 2**32 - 1)),
        mtime_ns=draw(st.integers(-(2**63), 2**63 - 1)),
        xattrs=draw(XATTRS),
        dicom=draw(st.sampled_from(DicomState)),
        unstable=draw(st.booleans()),
    )
    if kind is EntryKind.FILE:
        extents = draw(EXTENTS)
        size = sum(extent.length for extent in extents)
        sha256 = draw(st.binary(min_size=32, max_size=32))
        return replace(entry, extents=extents, size_bytes=size, sha256=sha256)
    if kind is EntryKind.DIRECTORY:
        return entry
    return replace(entry, link_target=draw(PATHS.filter(bool)))


FILE = Entry(
    path=b"file",
    kind=EntryKind.FILE,
    mode=0o640,
    uid=1000,
    gid=100,
    mtime_ns=1_790_000_000_123_456_789,
    size_bytes=100 + 4096 + 50,
    sha256=fixed_bytes("content"),
    extents=(
        place(fixed_bytes("pack"), offset=10, length=100),
        Hole(4096),
        place(fixed_bytes("other pack"), length=50),
    ),
    xattrs=((b"user.origin", b"modality \x00 7"),),
    dicom=DicomState.PARSED,
    unstable=True,
)
