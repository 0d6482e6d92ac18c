"""The lease of a source: at most one run of it at a time on this machine.

The invariant: the lease belongs to one process and ends with it, however it dies. The kernel keeps
it (flock), so there is nothing to clean up and no time-out to guess.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safelight_agent.state_files import (
    PRIVATE_FILE_MODE,
    make_private_directory,
    source_file_name,
)
from safelight_vault.errors import ConfigurationError, LeaseHeldError

_PROCESS_ID_LENGTH_MAX = 20

_held: set[int] = set()


def _let_go_in_child() -> None:
    # A forked child shares the lease's file: a worker that outlives a killed agent would keep it.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def source_lease(directory: Path, source: str) -> Iterator[None]:
    """Hold the lease of a source; ``LeaseHeldError`` names the process that holds it already.

    ``directory`` is the agent's state directory, which every run of the source must share.
    """
    make_private_directory(directory)
    path = directory / source_file_name(source, "lease")
    try:
        # The file stays for ever: to remove it would let two runs hold leases of two files.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    except OSError as error:
        raise ConfigurationError(f"lease {path} cannot be opened: {error.strerror}") from error
    _held.add(descriptor)
    try:
        _take(descriptor, path, source)
        yield
    finally:
        if descriptor in _held:  # not so in a child that was forked meanwhile
            _held.discard(descriptor)
            os.close(descriptor)


def _take(descriptor: int, path: Path, source: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            holder = os.pread(descriptor, _PROCESS_ID_LENGTH_MAX, 0)
            number = holder.decode("ascii") if holder.isdigit() else "of unknown number"
            raise LeaseHeldError(
                f"another run of source {source!r} is at work (process {number})"
            ) from error
        raise ConfigurationError(f"lease {path} cannot be taken: {error.strerror}") from error
