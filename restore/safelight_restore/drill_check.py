"""Proof of restored files where they lie on disk, and their comparison with the source.

The invariant: a restored file counts as proved only after its bytes were read back from the disk,
had the SHA-256 that was recorded at backup time, and parsed as DICOM if they did so then.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from safelight_restore.drill_index import SampledFile
from safelight_vault.dicom import parse_head
from safelight_vault.format.manifest import DicomState

_READ_SIZE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What became of one restored file (``error`` empty: proved)."""

    file: SampledFile
    error: str = ""
    dicom_parsed: bool = False
    dicom_failed: bool = False
    unreadable: bool = False
    """The file is there and this machine could not read it: no damage of the vault."""


class Comparison(Enum):
    """How a file of the sample compares with the source today; ``value`` is the key in reports."""

    EQUAL = "equal"
    CHANGED_SINCE = "changed_since"
    """Size or time of modification moved since the backup."""
    GONE_SINCE = "gone_since"
    UNREADABLE = "unreadable"
    DIFFERS = "differs"
    """Other bytes under the same size and time: damage in the source, or a hidden change."""


def prove(directory: bytes, file: SampledFile) -> Proof:
    """Hash and parse the restored file below the directory of its source."""
    try:
        with _opened(directory + b"/" + file.path) as descriptor:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes != file.size_bytes:
                reason = f"it came back with {size_bytes} bytes instead of {file.size_bytes}"
                return Proof(file=file, error=reason)
            if _hash(descriptor) != file.sha256:
                return Proof(file=file, error="on disk it does not have the SHA-256 recorded")
            if file.dicom is not DicomState.PARSED:
                return Proof(file=file)
            state, _ = parse_head(
                lambda offset, length: os.pread(descriptor, length, offset), size_bytes
            )
    except FileNotFoundError:
        return Proof(file=file, error="it did not come back")
    except OSError as error:
        reason = f"it cannot be read back from the scratch directory: {error.strerror}"
        return Proof(file=file, error=reason, unreadable=True)
    if state is not DicomState.PARSED:
        reason = "it parsed as DICOM at backup time and does not now"
        return Proof(file=file, error=reason, dicom_failed=True)
    return Proof(file=file, dicom_parsed=True)


def compare(source_root: bytes, file: SampledFile) -> Comparison:
    """Hold the file in the source against what the backup recorded of it."""
    try:
        with _opened(source_root + b"/" + file.path) as descriptor:
            if _has_moved(descriptor, file):
                return Comparison.CHANGED_SINCE
            if _hash(descriptor) == file.sha256:
                return Comparison.EQUAL
            # The PACS is at work: it may have written to the file while it was hashed.
            return Comparison.CHANGED_SINCE if _has_moved(descriptor, file) else Comparison.DIFFERS
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return Comparison.GONE_SINCE
        # A link or a special file in its place.
        changed = error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}
        return Comparison.CHANGED_SINCE if changed else Comparison.UNREADABLE


def _has_moved(descriptor: int, file: SampledFile) -> bool:
    status = os.fstat(descriptor)
    return (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns)


@contextmanager
def _opened(path: bytes) -> Iterator[int]:
    """A regular file, opened without following a link in its place or waiting for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EISDIR, "not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _hash(descriptor: int) -> bytes:
    digest = hashlib.sha256()
    offset = 0
    while piece := os.pread(descriptor, _READ_SIZE, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.digest()


def in_pages(files: Iterator[SampledFile], size: int) -> Iterator[Sequence[SampledFile]]:
    """The files in lists of at most ``size``."""
    page: list[SampledFile] = []
    for file in files:
        page.append(file)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
