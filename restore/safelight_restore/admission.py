"""What of a manifest may be restored at all: entries are judged one by one, before any is planned.

The invariant: an ``Entry`` that passes names a place strictly inside its source, comes after its
directory and after every smaller path (so no path comes twice, and nothing lies below a file or a
symlink), and its extents add up to its size. A manifest is signed, so an entry that fails is the
work of a broken or hostile agent; it is refused *by name*, and the others are restored all the
same, because in a disaster they may be all there is. Whoever sees a refusal gets exit code 3.

Sorted order is what makes this possible with memory for one path's ancestors only: component-wise
order is the byte order of paths with ``/`` read as NUL, the one byte that no path contains.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safelight_restore.target.path import require_path
from safelight_vault.errors import DecodeError
from safelight_vault.format.manifest import Entry, EntryKind, Hole, entry_key

SIZE_BYTES_MAX = 2**63 - 1
"""Largest file, largest offset: what the operating system's file offsets can express."""

_OWNER_MAX = 2**32 - 2
"""Largest user or group number; one more means "leave it" to the operating system."""

_MTIME_NS_LIMIT = 2**63
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An entry that is not restored whatever the target looks like, and the reason."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A stretch of the manifest that is damaged: its entries are lost, their number unknown.

    ``path`` is the first that it may have held, as far as the pages around it tell.
    """

    path: bytes
    reason: str


def admit(entries: Iterable[Entry | Unreadable]) -> Iterator[Entry | Refusal | Unreadable]:
    """Pass each entry of one source on, or refuse it."""
    order = _Order()
    for entry in entries:
        if isinstance(entry, Unreadable):
            yield entry
            continue
        try:
            require_path(entry.path)
            order.require_next(entry)
            _require_sound(entry)
        except DecodeError as error:
            yield Refusal(path=entry.path, reason=error.message)
        else:
            order.follow(entry)
            yield entry


class _Order:
    """The path that must be exceeded, and the last entry if it cannot have anything below it."""

    def __init__(self) -> None:
        self._last_key: bytes | None = None
        self._closed: bytes | None = None

    def require_next(self, entry: Entry) -> None:
        key = entry_key(entry.path)
        if self._last_key is not None and key <= self._last_key:
            same = key == self._last_key
            raise DecodeError("path comes twice" if same else "path is out of order")
        if self._closed is not None and key.startswith(self._closed):
            raise DecodeError("path lies below a file or a link")

    def follow(self, entry: Entry) -> None:
        self._last_key = entry_key(entry.path)
        # All that lies below a path follows it directly, so one remembered path is enough.
        if entry.kind is not EntryKind.DIRECTORY:
            self._closed = self._last_key + b"\0"


def _require_sound(entry: Entry) -> None:
    if not entry.path and entry.kind is not EntryKind.DIRECTORY:
        raise DecodeError("the source's root is not a directory")
    if not (0 <= entry.uid <= _OWNER_MAX and 0 <= entry.gid <= _OWNER_MAX):
        raise DecodeError("owner is out of range")
    if not -_MTIME_NS_LIMIT <= entry.mtime_ns < _MTIME_NS_LIMIT:
        raise DecodeError("modification time is out of range")
    if any(not name or b"\0" in name for name, _ in entry.xattrs):
        raise DecodeError("extended attribute has an impossible name")
    if entry.kind is EntryKind.FILE:
        _require_sound_extents(entry)
    elif entry.extents:
        raise DecodeError("something that is not a file has content")
    if entry.kind is EntryKind.SYMLINK:
        if not entry.link_target or b"\0" in entry.link_target:
            raise DecodeError("symlink has an impossible target")
    elif entry.kind is EntryKind.HARD_LINK:
        require_path(entry.link_target)
        if entry_key(entry.link_target) >= entry_key(entry.path):
            raise DecodeError("hard link does not name an earlier file")


def _require_sound_extents(entry: Entry) -> None:
    if not 0 <= entry.size_bytes <= SIZE_BYTES_MAX:
        raise DecodeError("size is out of range")
    if len(entry.sha256) != _SHA256_BYTES:
        raise DecodeError("file has no SHA-256")
    total = 0
    for extent in entry.extents:
        if not 1 <= extent.length <= SIZE_BYTES_MAX:
            raise DecodeError("extent has an impossible length")
        total += extent.length
        if isinstance(extent, Hole):
            continue
        numbers = (extent.block_number, extent.block_offset, extent.block_length, extent.offset)
        if len(extent.pack) != _SHA256_BYTES or not all(0 <= n <= SIZE_BYTES_MAX for n in numbers):
            raise DecodeError("extent names an impossible place")
    if total != entry.size_bytes:
        raise DecodeError(f"extents hold {total} bytes, the file {entry.size_bytes}")
