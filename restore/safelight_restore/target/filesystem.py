"""The operating system's calls that a restore makes, as one object that tests can replace.

The invariant: every call that touches the target (but those of SQLite on the plan's own file) goes
through a ``FileSystem``, so that a test can make the n-th of them fail and see what is left.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final

from safelight_vault.errors import IncompleteError

STOPPING: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ENODEV,
        errno.ENXIO,
        errno.ESTALE,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    }
)
"""Failures of the target as a whole: going on would only fail every other file as well."""

_libc = ctypes.CDLL(None, use_errno=True)


class FileSystem:
    """Calls of the ``os`` module under their own names, and ``syncfs``, which it lacks."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pwrite = staticmethod(os.pwrite)
    preadv = staticmethod(os.preadv)
    ftruncate = staticmethod(os.ftruncate)
    fstat = staticmethod(os.fstat)
    stat = staticmethod(os.stat)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    unlink = staticmethod(os.unlink)
    link = staticmethod(os.link)
    symlink = staticmethod(os.symlink)
    readlink = staticmethod(os.readlink)
    rename = staticmethod(os.rename)
    chown = staticmethod(os.chown)
    chmod = staticmethod(os.chmod)
    utime = staticmethod(os.utime)
    setxattr = staticmethod(os.setxattr)
    statvfs = staticmethod(os.statvfs)

    def scandir(self, descriptor: int) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """The content of an open directory."""
        return os.scandir(descriptor)

    def syncfs(self, descriptor: int) -> None:
        """Make everything written to the file system of ``descriptor`` durable, or raise."""
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            if number == errno.ENOSYS:
                os.sync()
                return
            raise OSError(number, os.strerror(number))


def target_failed(error: OSError) -> IncompleteError:
    """The error that ends a run because the target failed; what was finished is kept."""
    return IncompleteError(
        f"the target cannot be written: {error.strerror or error}",
        remedy=(
            "Free space on the target, or mend what is named above, and run the same command "
            "again: it resumes."
        ),
    )
