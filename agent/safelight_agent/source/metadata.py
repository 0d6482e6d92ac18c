"""What the file system says of one name: the only place where a stat becomes a value.

The invariant: a symbolic link is described, never followed, and a path of any length or depth can
be reached, because every step goes through the descriptor of a directory that was proved to be
one. Special files are recognised here and never opened.
"""

import errno
import os
import stat
from pathlib import Path

from safelight_agent.source import (
    SKIPPED_VANISHED,
    Found,
    Scanned,
    Skipped,
    SourceVanishedError,
    Unreadable,
    reason_of,
)
from safelight_vault.errors import ConfigurationError
from safelight_vault.format.manifest import PATH_LENGTH_MAX, XATTRS_MAX, EntryKind

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN_DESCRIPTORS = "/proc/self/fd"
_KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
}
_SPECIAL_KINDS = {
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def require_descriptor_paths() -> None:
    """Refuse to work where /proc is missing: attributes of links and pipes are read through it."""
    if not Path(_OWN_DESCRIPTORS).is_dir():
        raise ConfigurationError(
            f"{_OWN_DESCRIPTORS} is missing: mount /proc, extended attributes are read through it"
        )


def open_parent(root: bytes, path: bytes) -> tuple[int, bytes]:
    """Open the directory that holds ``path``, a step at a time, following no link below the root.

    Returns its descriptor (good for stat and open of names in it) and the last component; of the
    root itself, the root and the name ``.``. Raises ``SourceVanishedError`` where the root is
    missing (that is never one file's trouble), else OSError.
    """
    *parents, name = path.split(b"/")
    try:
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceVanishedError(
            f"{os.fsdecode(root)} cannot be opened any more ({reason_of(error)})"
        ) from error
    try:
        for parent in parents:
            step = os.open(parent, _STEP_FLAGS, dir_fd=directory)
            os.close(directory)
            directory = step
    except OSError:
        os.close(directory)
        raise
    return directory, name or b"."


def describe(
    path: bytes,
    status: os.stat_result,
    *,
    link_target: bytes = b"",
    xattrs: tuple[tuple[bytes, bytes], ...] = (),
) -> Found:
    """The value for a file, directory or symbolic link with this status."""
    mode = status.st_mode
    return Found(
        path=path,
        kind=_KINDS[stat.S_IFMT(mode)],
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size_bytes=status.st_size if stat.S_ISREG(mode) else 0,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
        device=status.st_dev,
        link_count=status.st_nlink,
        link_target=link_target,
        xattrs=xattrs,
    )


def read_xattrs(directory: int, name: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Extended attributes of a name in an open directory, a link's own ones included.

    There is no call that takes a directory's descriptor, hence the way round by its path in /proc.
    """
    return _xattrs(b"%s/%d/%s" % (_OWN_DESCRIPTORS.encode(), directory, name))


def read_open_xattrs(descriptor: int) -> tuple[tuple[bytes, bytes], ...]:
    """Extended attributes of an open file or directory."""
    return _xattrs(descriptor)


def _xattrs(target: int | bytes) -> tuple[tuple[bytes, bytes], ...]:
    follow = isinstance(target, int)
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    if not names:
        return ()
    if len(names) > XATTRS_MAX:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    found = []
    for name in sorted(map(os.fsencode, names)):
        try:
            found.append((name, os.getxattr(target, name, follow_symlinks=follow)))
        except OSError as error:
            if error.errno != errno.ENODATA:  # removed since it was listed: as if never seen
                raise
    return tuple(found)


def look(directory: int, name: bytes, path: bytes) -> Scanned:
    """Describe one name of an open directory without opening it; never raises for the file."""
    if len(path) > PATH_LENGTH_MAX:
        return Unreadable(path, f"the path is longer than {PATH_LENGTH_MAX} bytes")
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        form = stat.S_IFMT(status.st_mode)
        if form not in _KINDS:
            return Skipped(path, _SPECIAL_KINDS.get(form, "special file"))
        target = os.readlink(name, dir_fd=directory) if form == stat.S_IFLNK else b""
        return describe(path, status, link_target=target, xattrs=read_xattrs(directory, name))
    except FileNotFoundError:
        return Skipped(path, SKIPPED_VANISHED)
    except OSError as error:
        return Unreadable(path, reason_of(error))


def look_again(root: bytes, path: bytes) -> Scanned:
    """Describe one path of a tree anew: for a file that changed since it was scanned."""
    try:
        directory, name = open_parent(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return Skipped(path, SKIPPED_VANISHED)
    except OSError as error:
        return Unreadable(path, reason_of(error))
    try:
        return look(directory, name, path)
    finally:
        os.close(directory)
