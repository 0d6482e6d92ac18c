"""Owner, mode, extended attributes and times of what was restored.

The invariant: a right that the backup did not see is never granted. The set-user-ID and
set-group-ID bits come back only when root restores and the recorded owner was really set, because
the same bits on a file of another owner would lend that owner's rights. Whatever the target's file
system cannot hold is reported as a shortfall; the content is right all the same.
"""

import errno
import os
import stat
from dataclasses import dataclass

from safelight_restore.target.filesystem import STOPPING, FileSystem

_SET_ID = stat.S_ISUID | stat.S_ISGID

# Beside ENOSPC and EDQUOT, which for an attribute mean "too large for this file system".
_STOPPING_ATTRIBUTE = STOPPING - {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a manifest records of an entry beside its content; ``mtime_ns`` since 1970 UTC."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Something of an entry's metadata that could not be restored, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user and group that the restore runs as; only root may give files away."""

    uid: int
    gid: int


class MetadataWriter:
    """Applies metadata to open files, and to symlinks by name. Safe to use from several threads."""

    __slots__ = ("_files", "_identity")

    def __init__(self, files: FileSystem, identity: Identity) -> None:
        self._files = files
        self._identity = identity

    def apply(self, descriptor: int, metadata: Metadata) -> list[Shortfall]:
        """Apply all of it to an open file or directory.

        The order matters: a change of owner drops set-ID bits and capabilities, a mode without
        write permission would forbid attributes, and everything before moves no mtime after it.
        """
        shortfalls = self._owner(descriptor, metadata)
        owned = self._identity.uid == 0 and not shortfalls
        shortfalls += self._attributes(descriptor, metadata, follow=True)
        mode = stat.S_IMODE(metadata.mode)
        if mode & _SET_ID and not owned:
            mode &= ~_SET_ID
            shortfalls.append(Shortfall("set-user-ID or set-group-ID bit", "owner not restored"))
        try:
            self._files.chmod(descriptor, mode)
        except OSError as error:
            shortfalls.append(_shortfall("mode", error))
        try:
            self._files.utime(descriptor, ns=(metadata.mtime_ns, metadata.mtime_ns))
        except OSError as error:
            shortfalls.append(_shortfall("modification time", error))
        return shortfalls

    def apply_to_symlink(self, directory: int, name: bytes, metadata: Metadata) -> list[Shortfall]:
        """Apply owner, attributes and time to the symlink ``name`` itself (it has no mode)."""
        shortfalls: list[Shortfall] = []
        if self._identity.uid == 0:
            try:
                self._files.chown(
                    name, metadata.uid, metadata.gid, dir_fd=directory, follow_symlinks=False
                )
            except OSError as error:
                shortfalls.append(_shortfall("owner", error))
        elif (metadata.uid, metadata.gid) != (self._identity.uid, self._identity.gid):
            shortfalls.append(Shortfall("owner", "not running as root"))
        if metadata.xattrs:
            # There is no call that takes a directory and a name; /proc leads to the directory.
            path = os.fsencode(f"/proc/self/fd/{directory}/") + name
            shortfalls += self._attributes(path, metadata, follow=False)
        times = (metadata.mtime_ns, metadata.mtime_ns)
        try:
            self._files.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            shortfalls.append(_shortfall("modification time", error))
        return shortfalls

    def _owner(self, descriptor: int, metadata: Metadata) -> list[Shortfall]:
        if self._identity.uid != 0:
            if (metadata.uid, metadata.gid) == (self._identity.uid, self._identity.gid):
                return []
            return [Shortfall("owner", "not running as root")]
        try:
            self._files.chown(descriptor, metadata.uid, metadata.gid)
        except OSError as error:
            return [_shortfall("owner", error)]
        return []

    def _attributes(
        self, place: int | bytes, metadata: Metadata, *, follow: bool
    ) -> list[Shortfall]:
        shortfalls: list[Shortfall] = []
        for name, value in metadata.xattrs:
            try:
                if follow:
                    self._files.setxattr(place, name, value)
                else:
                    self._files.setxattr(place, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno in _STOPPING_ATTRIBUTE:
                    raise
                what = "extended attribute " + os.fsdecode(name).encode(errors="replace").decode()
                shortfalls.append(Shortfall(what, error.strerror or str(error)))
        return shortfalls


def _shortfall(what: str, error: OSError) -> Shortfall:
    """A shortfall of this one entry, unless the target as a whole has failed."""
    if error.errno in STOPPING:
        raise error
    return Shortfall(what, error.strerror or str(error))
