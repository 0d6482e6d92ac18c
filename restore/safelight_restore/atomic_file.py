"""Files that are replaced as one step: reports, and what the node exporter reads.

The invariant: a reader sees the old content or the new, never half of one, whatever is killed or
fills up in between.
"""

import os
import tempfile
from pathlib import Path

from safelight_vault.errors import ConfigurationError

_REMEDY = "Make room there, or choose another place for the file."


def require_writable_place(path: Path) -> None:
    """Refuse a place where no file can be made, before long work is done for it."""
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory", remedy=_REMEDY)
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path.parent} is not a directory", remedy=_REMEDY)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{path.parent} may not be written to", remedy=_REMEDY)


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Give a file this content and mode; ``ConfigurationError`` when it cannot be written."""
    try:
        _replace(path, content, mode)
    except OSError as error:
        raise ConfigurationError(
            f"file {path} cannot be written: {error.strerror}", remedy=_REMEDY
        ) from error


def _replace(path: Path, content: bytes, mode: int) -> None:
    # Neither beginning nor end of the name may look like the file itself: the node exporter reads
    # every *.prom of its directory.
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
