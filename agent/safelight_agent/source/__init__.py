"""Sources: what the agent reads, as values, and the errors of reading it.

A source is a directory tree (``tree``, its files read through ``content``) or the output of a
command (``command``). The invariant that every source keeps: *what could not be read is said, and
never looks like something that was deleted*. Hence three kinds of answer for a path (found,
unreadable, skipped), and one error that aborts the run when the source itself is gone.

All errors here belong to the family "incomplete" (exit code 7): the operator mends the source and
runs again, and the newest snapshot stays the last good one. None of their messages holds a path or
output of the source; the root's path, which stands in the configuration, is the one exception.

    IncompleteError [7]
    ├── SourceVanishedError     the tree is not there as it was: nothing of this run is recorded
    ├── CommandFailedError      the command did not end well: nothing of this run is recorded
    └── ContentError            one file; the run goes on
        ├── VanishedError       gone since it was listed: counted, not a failure
        ├── ContentChangedError written to while it was read: read it again
        └── UnreadableError     listed as failed; the snapshot is marked incomplete

A vanished mount is not a "refused" (5), although a rule refuses it: that code tells the operator to
change a lock, a right or the bucket, and here it is the storage that wants looking after.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from safelight_vault.errors import IncompleteError
from safelight_vault.format.manifest import EntryKind

SKIPPED_VANISHED = "vanished"
"""Reason of a :class:`Skipped` that was listed by its directory and gone a moment later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file, directory or symbolic link, as the file system describes it.

    ``path`` is relative to the source's root, components joined by ``/``, any bytes but NUL; the
    root is the empty path. ``kind`` is never HARD_LINK: whoever records the entry joins files of
    one (``device``, ``inode``) whose ``link_count`` is above 1. ``mode`` holds the permission bits
    only. ``size_bytes`` is 0 for all but files. Times are in nanoseconds since 1970 UTC and may be
    negative. ``xattrs`` are sorted by name.
    """

    path: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    link_count: int
    link_target: bytes = b""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that exists and could not be read; of a directory, nothing below it was seen."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that is left out on purpose: a pipe, socket or device, or one that vanished."""

    path: bytes
    reason: str


Scanned: TypeAlias = Found | Unreadable | Skipped
"""What a scan says of one path; each path comes once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFacts:
    """What tells a source's root from the empty directory that a vanished mount leaves behind.

    ``path`` is the root with links resolved, ``mount_point`` the mount point that it lies on (or
    is). Both survive a restart of the machine; ``device`` and ``inode`` may not, and are compared
    only within a run.
    """

    path: bytes
    mount_point: bytes
    device: int
    inode: int
    empty: bool


class Source(Protocol):
    """A tree of files, listed in the order in which a manifest is written."""

    def check_root(self, expected: RootFacts | None = None) -> RootFacts:
        """Prove that the source is there, and there as it was (``SourceVanishedError``)."""
        ...

    def scan(self, facts: RootFacts | None = None) -> Iterator[Scanned]:
        """Everything in the source, the root first, sorted by path component by component."""
        ...

    def require_unmoved(self, facts: RootFacts) -> None:
        """Prove, after the last read, that the source is still the one that the run began with."""
        ...


class SourceVanishedError(IncompleteError):
    """The root of a source is missing, empty, hung, or no longer on the mount that it was on."""

    remedy = (
        "Check that the archive's storage is mounted and answers, then run again. Nothing was "
        "recorded: the last snapshot stands."
    )


class CommandFailedError(IncompleteError):
    """A command did not start, failed, was killed, ran out of time, or printed too little.

    ``stderr_tail`` is the end of what it said: it may hold patient data, so it is no part of the
    message and may be shown only by a log at level debug.
    """

    remedy = (
        "Run the command by hand as the agent's user and mend it. Nothing was recorded: the last "
        "snapshot stands."
    )

    def __init__(self, message: str, *, stderr_tail: bytes = b"") -> None:
        super().__init__(message)
        self.stderr_tail = stderr_tail


class ContentError(IncompleteError):
    """One file could not be read as it was found; the run goes on with the others."""


class VanishedError(ContentError):
    """The file was removed between the scan and its opening."""


class ContentChangedError(ContentError):
    """The file was replaced, shortened or turned into something else while it was being read."""


class UnreadableError(ContentError):
    """The file exists, and the system does not let it be read."""


def reason_of(error: OSError) -> str:
    """The system's error without the file name that Python puts into it."""
    if error.errno is None:
        return type(error).__name__
    return f"{errno.errorcode.get(error.errno, error.errno)}: {os.strerror(error.errno)}"
