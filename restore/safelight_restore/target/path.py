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


def require_path(path: bytes) -> None:
    """Raise ``DecodeError`` unless an entry's path leads to a place below its source.

    Looks at the bytes as a whole: a hostile path may have thirty thousand components.
    """
    if not path:
        return
    if len(path) > PATH_LENGTH_MAX:
        raise DecodeError(f"path is {len(path)} bytes long, more than {PATH_LENGTH_MAX}")
    enclosed = b"/" + path + b"/"
    if b"//" in enclosed:
        raise DecodeError("path is absolute or has an empty component")
    if b"/./" in enclosed or b"/../" in enclosed:
        raise DecodeError("path has a '.' or '..' component")
    if b"\0" in path:
        raise DecodeError("path contains a NUL byte")


def split_path(path: bytes) -> Parts:
    """The components of an entry's path (the empty path: none), or ``DecodeError``."""
    require_path(path)
    return tuple(path.split(b"/")) if path else ()


def source_parts(name: bytes) -> Parts:
    """A source's name as the one component that it must be, or ``DecodeError``."""
    if not name or b"/" in name:
        raise DecodeError("source's name is empty or contains a slash")
    require_path(name)
    if name == WORK_NAME:
        raise DecodeError("source's name is the one that the restore itself works under")
    return (name,)
