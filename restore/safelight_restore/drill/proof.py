"""Proof of restored files where they lie on disk, and their comparison with the source.

The invariant: a restored file counts as proved only after its bytes were read back from the disk,
had the SHA-256 that was recorded at backup time, and parsed as DICOM if they did so then.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final, TypeVar

from safelight_restore.drill.index import SampledFile
from safelight_restore.target.tree import InTheWayError, Tree
from safelight_vault.dicom import parse_head
from safelight_vault.format.manifest import DicomState, Entry

OPEN_AT_ONCE: Final = 64
"""Files of a page; each is held open while it is looked at."""

_READ_SIZE: Final = 1 << 20
_CHANGED: Final = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR}

_Outcome = TypeVar("_Outcome")


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


def prove_all(tree: Tree, pool: Executor, page: Sequence[SampledFile]) -> Iterator[Proof]:
    """Hash and parse restored files; ``tree`` is the directory of their source."""
    return _each(tree, pool, page, prove, _unproved)


def compare_all(
    tree: Tree, pool: Executor, page: Sequence[SampledFile]
) -> Iterator[tuple[SampledFile, Comparison]]:
    """Hold files of the source ``tree`` against what the backup recorded of them."""
    return _each(tree, pool, page, compare, _uncompared)


def prove(file: SampledFile, descriptor: int) -> Proof:
    """Hash and parse one restored file that is open."""
    entry = file.entry
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes != entry.size_bytes:
        reason = f"it came back with {size_bytes} bytes instead of {entry.size_bytes}"
        return Proof(file=file, outcome=Outcome.DAMAGED, reason=reason)
    # What was just written would be read from memory; the disk is to be asked.
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if _hash(descriptor) != entry.sha256:
        reason = "it came back with other bytes than were backed up"
        return Proof(file=file, outcome=Outcome.DAMAGED, reason=reason)
    if not file.is_dicom:
        return Proof(file=file, outcome=Outcome.PROVED)
    state, _ = parse_head(lambda offset, length: os.pread(descriptor, length, offset), size_bytes)
    if state is not DicomState.PARSED:
        reason = "it parsed as DICOM at backup time and does not now"
        return Proof(file=file, outcome=Outcome.NO_DICOM, reason=reason)
    return Proof(file=file, outcome=Outcome.PROVED)


def _unproved(file: SampledFile, error: OSError | InTheWayError) -> Proof:
    if isinstance(error, FileNotFoundError):
        return Proof(file=file, outcome=Outcome.DAMAGED, reason="it did not come back")
    why = error.message if isinstance(error, InTheWayError) else error.strerror
    reason = f"it cannot be read back from the scratch directory: {why}"
    return Proof(file=file, outcome=Outcome.UNREADABLE, reason=reason)


def compare(file: SampledFile, descriptor: int) -> tuple[SampledFile, Comparison]:
    """Compare one file of the source that is open.

    By SHA-256, which the restored file is held against too: equal means equal bytes.
    """
    if _has_moved(file.entry, descriptor):
        return file, Comparison.CHANGED_SINCE
    if _hash(descriptor) == file.entry.sha256:
        return file, Comparison.EQUAL
    # The PACS is at work: it may be writing to the file now, or did while it was backed up.
    moved = file.entry.unstable or _has_moved(file.entry, descriptor)
    return file, Comparison.CHANGED_SINCE if moved else Comparison.DIFFERS


def _uncompared(
    file: SampledFile, error: OSError | InTheWayError
) -> tuple[SampledFile, Comparison]:
    if isinstance(error, FileNotFoundError):
        return file, Comparison.GONE_SINCE
    # A link, a directory or a special file in its place, or on the way to it.
    changed = isinstance(error, InTheWayError) or error.errno in _CHANGED
    return file, Comparison.CHANGED_SINCE if changed else Comparison.UNREADABLE


def _has_moved(entry: Entry, descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return (
        not stat.S_ISREG(status.st_mode)
        or status.st_size != entry.size_bytes
        or status.st_mtime_ns != entry.mtime_ns
    )


def _each(
    tree: Tree,
    pool: Executor,
    page: Sequence[SampledFile],
    look: Callable[[SampledFile, int], _Outcome],
    failed: Callable[[SampledFile, OSError | InTheWayError], _Outcome],
) -> Iterator[_Outcome]:
    """The outcome of each file: opened one by one, since a tree is for one thread, read by many."""
    waiting = []
    for file in page:
        try:
            descriptor = tree.open_file(tuple(file.entry.path.split(b"/")))
        except (OSError, InTheWayError) as error:
            yield failed(file, error)
            continue
        waiting.append(pool.submit(_look_and_close, file, descriptor, look, failed))
    for future in waiting:
        yield future.result()


def _look_and_close(
    file: SampledFile,
    descriptor: int,
    look: Callable[[SampledFile, int], _Outcome],
    failed: Callable[[SampledFile, OSError | InTheWayError], _Outcome],
) -> _Outcome:
    try:
        return look(file, descriptor)
    except OSError as error:
        return failed(file, error)
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
