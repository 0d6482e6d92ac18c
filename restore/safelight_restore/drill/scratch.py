"""The scratch directory of a drill: patients' data that must not stay behind.

The invariant: whatever ends the drill, an error or a signal, the directory is removed with all that
is in it; where that fails, the operator is told.
"""

import os
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType

from safelight_vault.errors import ConfigurationError, IncompleteError

_PREFIX = "safelight-drill-"


@contextmanager
def scratch_directory(parent: Path | None, *, keep: bool) -> Iterator[Path]:
    """A new directory below ``parent`` (None: the system's temporary one), for its owner only.

    It is removed at the end unless it is to be kept. Use it in the main thread.
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise ConfigurationError(
            f"no scratch directory can be made in {parent or tempfile.gettempdir()}: "
            f"{error.strerror}"
        ) from error
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield directory
    finally:
        if not keep:
            _remove(directory)
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _: FrameType | None) -> None:
    """Leave by way of every ``finally``, as an interrupt from the keyboard does."""
    sys.exit(128 + number)


def _remove(directory: Path) -> None:
    try:
        remove_tree(os.fsencode(directory))
    except OSError as error:
        raise IncompleteError(
            f"{directory} could not be removed ({error.strerror})",
            remedy="Remove it: it holds restored files of patients.",
        ) from error


def remove_tree(top: bytes) -> None:
    """Remove a directory with everything in it, whatever its depth and modes.

    Each directory that is found is moved up to the top first, under a number: so no path grows
    long, and no call goes deep.
    """
    names = (b"%s/%d" % (top, number) for number in count())
    _empty(top, names)
    while waiting := os.listdir(top):
        for name in waiting:
            directory = top + b"/" + name
            _empty(directory, names)
            os.rmdir(directory)
    os.rmdir(top)


def _empty(directory: bytes, names: Iterator[bytes]) -> None:
    """Unlink what is no directory, and move the directories to the next free names."""
    os.chmod(directory, stat.S_IRWXU)
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
            continue
        # A directory that is moved must be writable itself: its ".." changes.
        os.chmod(entry.path, stat.S_IRWXU)
        target = next(name for name in names if not os.path.lexists(name))
        os.rename(entry.path, target)
