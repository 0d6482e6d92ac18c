"""Proof of restored files where they lie on disk, and their comparison with the source.

The invariant: a restored file counts as proved only after its bytes were read back from the disk,
had the SHA-256 that was recorded at backup time, and parsed as DICOM if they did so then.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from safelight_restore.drill_index import SampledFile, is_dicom
from safelight_vault.dicom import parse_head
from safelight_vault.format.manifest import DicomState, Entry

_READ_SIZE: Final = 1 << 20


class Outcome(Enum):
    """What became of one restored file."""

    PROVED = "proved"
    DAMAGED = "damaged"
    """It is not there, or its bytes are not those that were backed up."""
    NO_DICOM = "no_dicom"
    """Its bytes are right, and it does not parse as DICOM as it did at backup time."""
    UNREADABLE = "unreadable"
    """It is there and this machine could not read it: no damage of the vault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An outcome, and why if it is not PROVED."""

    file: SampledFile
    outcome: Outcome
    reason: str = ""


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
    entry = file.entry
    try:
        with _opened(directory + b"/" + entry.path) as descriptor:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes != entry.size_bytes:
                reason = f"it came back with {size_bytes} bytes instead of {entry.size_bytes}"
                return Proof(file=file, outcome=Outcome.DAMAGED, reason=reason)
            # What was just written would be read from memory; the disk is to be asked.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            if _hash(descriptor) != entry.sha256:
                reason = "it came back with other bytes than were backed up"
                return Proof(file=file, outcome=Outcome.DAMAGED, reason=reason)
            if not is_dicom(file):
                return Proof(file=file, outcome=Outcome.PROVED)
            state, _ = parse_head(
                lambda offset, length: os.pread(descriptor, length, offset), size_bytes
            )
    except FileNotFoundError:
        return Proof(file=file, outcome=Outcome.DAMAGED, reason="it did not come back")
    except OSError as error:
        reason = f"it cannot be read back from the scratch directory: {error.strerror}"
        return Proof(file=file, outcome=Outcome.UNREADABLE, reason=reason)
    if state is not DicomState.PARSED:
        reason = "it parsed as DICOM at backup time and does not now"
        return Proof(file=file, outcome=Outcome.NO_DICOM, reason=reason)
    return Proof(file=file, outcome=Outcome.PROVED)


def compare(source_root: bytes, file: SampledFile) -> Comparison:
    """Hold the file in the source against what the backup recorded of it.

    By SHA-256, which ``prove`` holds the restored file against too: equal means equal bytes.
    """
    try:
        with _opened(source_root + b"/" + file.entry.path) as descriptor:
            if _has_moved(descriptor, file.entry):
                return Comparison.CHANGED_SINCE
            if _hash(descriptor) == file.entry.sha256:
                return Comparison.EQUAL
            # The PACS is at work: it may be writing to the file now, or was when it was backed up.
            moved = file.entry.unstable or _has_moved(descriptor, file.entry)
            return Comparison.CHANGED_SINCE if moved else Comparison.DIFFERS
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return Comparison.GONE_SINCE
        # A link or a special file in its place.
        changed = error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}
        return Comparison.CHANGED_SINCE if changed else Comparison.UNREADABLE


def _has_moved(descriptor: int, entry: Entry) -> bool:
    status = os.fstat(descriptor)
    return (status.st_size, status.st_mtime_ns) != (entry.size_bytes, entry.mtime_ns)


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


def in_pages(files: Iterable[SampledFile], size: int) -> Iterator[list[SampledFile]]:
    """The files in lists of at most ``size``."""
    iterator = iter(files)
    while page := list(islice(iterator, size)):
        yield page
