"""The bytes of one file of a tree, read in place while the PACS is at work on it.

The invariant: what is read belongs to the file that the scan found (same inode, opened without
following a link), a read gives all the bytes asked for or raises, and whether the file changed
meanwhile can be asked before the bytes are believed. The page cache is left as it was found: pages
that nobody else had in memory are given back, those that the PACS had are kept.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from safelight_agent.source import (
    ContentChangedError,
    Found,
    UnreadableError,
    VanishedError,
    reason_of,
)
from safelight_agent.source.metadata import describe, open_parent, read_open_xattrs

PositionalRead = Callable[[int, int, int], bytes]
"""``os.pread``: descriptor, length, offset."""

READ_ATTEMPTS = 3
"""How often a block that the device fails to read is asked for."""

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Content:
    """An open file of a source; made by :func:`open_content`."""

    def __init__(
        self, descriptor: int, found: Found, opened: os.stat_result, pread: PositionalRead
    ) -> None:
        self._descriptor = descriptor
        self._opened = opened
        self._pread = pread
        self.found = found
        """The file's description at its opening: what belongs beside the bytes that are read."""

    @property
    def size_bytes(self) -> int:
        """Size at the opening."""
        return self._opened.st_size

    def data_ranges(self) -> list[tuple[int, int]]:
        """Offset and length of each run that may hold data; all between them reads as zeros.

        The whole file where the file system cannot tell.
        """
        size = self.size_bytes
        if self._opened.st_blocks * 512 >= size:
            return [(0, size)] if size else []
        ranges = []
        try:
            start = self._seek(0, os.SEEK_DATA)
            while start is not None and start < size:
                hole = self._seek(start, os.SEEK_HOLE)
                end = size if hole is None else min(hole, size)
                if end <= start:  # the file is being written to: changed() will tell
                    break
                ranges.append((start, end - start))
                start = self._seek(end, os.SEEK_DATA)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOTSUP}:
                return [(0, size)]
            raise UnreadableError(f"its extents cannot be listed ({reason_of(error)})") from error
        return ranges

    def _seek(self, offset: int, whence: int) -> int | None:
        try:
            return os.lseek(self._descriptor, offset, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return None
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes.

        Raises ``ContentChangedError`` where the file ends early, and ``UnreadableError`` naming
        the offset where the device fails again and again.
        """
        piece = self._read_some(offset, length)
        if len(piece) == length:
            return piece
        pieces = [piece]
        done = len(piece)
        while done < length:
            if not piece:
                raise ContentChangedError(f"it ends at byte {offset + done}, short of its size")
            piece = self._read_some(offset + done, length - done)
            pieces.append(piece)
            done += len(piece)
        return b"".join(pieces)

    def _read_some(self, offset: int, length: int) -> bytes:
        attempt = 1
        while True:
            try:
                return self._pread(self._descriptor, length, offset)
            except OSError as error:
                if error.errno != errno.EIO or attempt == READ_ATTEMPTS:
                    raise UnreadableError(
                        f"it cannot be read at byte {offset} ({reason_of(error)})"
                    ) from error
                attempt += 1

    def changed(self) -> bool:
        """Whether the file was written to, replaced or removed since it was opened.

        A write that keeps the size and sets the time of change back is not seen by this; reading
        every file again now and then is the guard against it.
        """
        try:
            now = os.fstat(self._descriptor)
        except OSError as error:
            raise UnreadableError(f"it cannot be looked at ({reason_of(error)})") from error
        return _version(now) != _version(self._opened)


def _version(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


@contextmanager
def open_content(
    root: bytes, found: Found, *, pread: PositionalRead = os.pread
) -> Iterator[Content]:
    """Open a FILE that a scan of ``root`` found.

    It is opened as it is now: :attr:`Content.found` has the size and times that belong to the
    bytes. Raises ``VanishedError`` when it is gone, ``ContentChangedError`` when something else
    (another file, a link, a pipe) has its name, ``UnreadableError`` when it may not be read.
    """
    descriptor = _open_file(root, found.path)
    try:
        opened, fresh = _prove(descriptor, found)
        was_cached = _is_cached(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield Content(descriptor, fresh, opened, pread)
        if not was_cached:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _open_file(root: bytes, path: bytes) -> int:
    try:
        directory, name = open_parent(root, path)
        try:
            return _open_untouched(name, directory)
        finally:
            os.close(directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VanishedError("it was removed after it had been listed") from error
    except OSError as error:
        # A link in its place answers ELOOP, a socket or an unused pipe's end ENXIO.
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise ContentChangedError("something else has taken its place") from error
        raise UnreadableError(f"it cannot be opened ({reason_of(error)})") from error


def _open_untouched(name: bytes, directory: int) -> int:
    """Open without a trace in the time of access, which only the owner and root may ask for."""
    try:
        return os.open(name, _OPEN_FLAGS | os.O_NOATIME, dir_fd=directory)
    except PermissionError:
        return os.open(name, _OPEN_FLAGS, dir_fd=directory)


def _prove(descriptor: int, found: Found) -> tuple[os.stat_result, Found]:
    """Status and fresh description of the open file, if it is the regular file that was found."""
    try:
        opened = os.fstat(descriptor)
        same = (opened.st_dev, opened.st_ino) == (found.device, found.inode)
        if not same or not stat.S_ISREG(opened.st_mode):
            raise ContentChangedError("something else has taken its place")
        fresh = describe(found.path, opened, xattrs=found.xattrs)
        if fresh != found:
            fresh = replace(fresh, xattrs=read_open_xattrs(descriptor))
    except OSError as error:
        raise UnreadableError(f"it cannot be looked at ({reason_of(error)})") from error
    return opened, fresh


def _is_cached(descriptor: int) -> bool:
    """Whether the file's first byte is in the page cache, so that somebody may be using it."""
    try:
        return os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except OSError:
        return False
