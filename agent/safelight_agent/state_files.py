"""Small files that the agent keeps on disk: how they are named, and how they are replaced.

The invariant: a reader sees the old content or the new, never half of one, whatever is killed or
fills up in between; and a directory of the agent's state can be entered by its owner only.
"""

import os
import tempfile
from pathlib import Path
from urllib.parse import quote

from safelight_vault.errors import ConfigurationError

PRIVATE_FILE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700

_REMEDY = "Make room there, or correct its owner and permissions, and run the command again."


def source_file_name(source: str, kind: str) -> str:
    """The name of the file of this kind for a source; different sources never share one."""
    return f"{kind}.{quote(source, safe='')}"


def make_private_directory(directory: Path) -> None:
    """Create the directory (0700) where it is absent; ``ConfigurationError`` when that fails."""
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"directory {directory} cannot be created: {error.strerror}", remedy=_REMEDY
        ) from error


def write_atomically(path: Path, content: bytes, *, mode: int = PRIVATE_FILE_MODE) -> None:
    """Replace the file's content as one step that survives a power cut.

    Raises ``ConfigurationError`` when the directory cannot be written (full, read-only, not ours);
    the old file is then as it was.
    """
    try:
        _replace(path, content, mode)
    except OSError as error:
        raise ConfigurationError(
            f"file {path} cannot be written: {error.strerror}", remedy=_REMEDY
        ) from error


def _replace(path: Path, content: bytes, mode: int) -> None:
    # Neither prefix nor suffix may look like the file itself: Prometheus' textfile collector reads
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
