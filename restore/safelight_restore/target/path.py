"""Names that may be created below a restore's target; everything else is refused here.

The invariant: a ``Parts`` value that came out of ``split_path`` or ``source_parts`` cannot name
anything outside the target, whatever the manifest said.
"""

from safelight_vault.errors import DecodeError
from safelight_vault.format.manifest import PATH_LENGTH_MAX

Parts = tuple[bytes, ...]
"""A path below the target as checked components; the first one is the source's name."""

WORK_NAME = b".safelight-restore"
"""The directory in the target that holds the plan and the unfinished files of a restore."""


def split_path(path: bytes) -> Parts:
    """The components of an entry's path (the empty path: none), or ``DecodeError``."""
    if not path:
        return ()
    if len(path) > PATH_LENGTH_MAX:
        raise DecodeError(f"path is {len(path)} bytes long, more than {PATH_LENGTH_MAX}")
    parts = tuple(path.split(b"/"))
    for part in parts:
        _require_plain(part)
    return parts


def source_parts(name: bytes) -> Parts:
    """A source's name as the one component that it must be, or ``DecodeError``."""
    if b"/" in name:
        raise DecodeError("source's name contains a slash")
    _require_plain(name)
    if name == WORK_NAME:
        raise DecodeError("source's name is the one that the restore itself works under")
    return (name,)


def _require_plain(part: bytes) -> None:
    if part == b"":
        raise DecodeError("path is absolute or has an empty component")
    if part in (b".", b".."):
        raise DecodeError("path has a '.' or '..' component")
    if b"\0" in part:
        raise DecodeError("path contains a NUL byte")
