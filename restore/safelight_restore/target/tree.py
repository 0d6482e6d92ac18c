"""The directory tree below a restore's target, reached only through directory file descriptors.

The invariant: each directory on the way to a name is opened from its parent's descriptor with
``O_NOFOLLOW``, so that neither a symlink that stood in the target, nor one that was restored
there, nor one that appears meanwhile leads anywhere else. Paths may be as deep and as long as the
manifest allows, because no call ever sees more than one component.

An unfinished file never has a final name. It is written under a number in the directory
``.safelight-restore/partial`` of the same file system (see ``workspace.py``) and *published* when
its content is proven. One flat directory, rather than hidden names beside the final ones: a killed
run then leaves nothing among the restored files, a leftover is found without walking the target,
no name in a manifest can collide with it, and no deep path has to be opened for each piece.
The price: a target must be one file system (the plan refuses a source that is another mount).
"""

import errno
import hashlib
import os
import stat
from collections import OrderedDict
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from safelight_restore.target.filesystem import STOPPING, FileSystem, target_failed
from safelight_restore.target.path import Parts
from safelight_vault.errors import ConfigurationError, CorruptError, IncompleteError

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe that stands in the target must not wait for its writer.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HASH_BUFFER_BYTES: Final = 256 * 1024
_OPEN_DIRECTORIES_MAX: Final = 24


class InTheWayError(IncompleteError):
    """Something that may not be replaced stands where a restored directory or file belongs."""


class Published(Enum):
    """What became of a finished file that was to get its final name."""

    DONE = "done"
    TAKEN = "taken"
    """The name exists already, and was not to be replaced."""


class Tree:
    """Everything below one directory. To be used by one thread at a time."""

    __slots__ = ("_files", "_open", "_open_max", "_root", "path")

    def __init__(
        self,
        root: int,
        path: Path,
        files: FileSystem,
        *,
        directories_open_max: int = _OPEN_DIRECTORIES_MAX,
    ) -> None:
        self._root = root
        self._files = files
        self._open: OrderedDict[Parts, int] = OrderedDict()
        self._open_max = directories_open_max
        self.path = path

    @classmethod
    def at(cls, path: Path, files: FileSystem, *, create: bool) -> "Tree | None":
        """Open the target, which the operator named (so symlinks in *its* path are followed).

        It is made if ``create``, for its owner only; otherwise an absent target gives ``None``.
        """
        try:
            if create:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            root = files.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in STOPPING:
                raise target_failed(error) from error
            raise ConfigurationError(f"target {path}: {error.strerror}") from error
        return cls(root, path, files)

    @property
    def root(self) -> int:
        """The descriptor of the target itself; it stays this object's."""
        return self._root

    def root_status(self) -> os.stat_result:
        """What the operating system says of the target itself."""
        return self._files.fstat(self._root)

    def close(self) -> None:
        """Close every descriptor, the root's included."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        os.close(self._root)

    def directory(self, parts: Parts, *, create: bool = False) -> int:
        """The descriptor of a directory, good until the next call; made on the way if ``create``.

        Raises ``FileNotFoundError``, or ``InTheWayError`` where something else stands on the way.
        New directories are for their owner only, until their own metadata is applied.
        """
        if not parts:
            return self._root
        depth = len(parts)
        while depth and parts[:depth] not in self._open:
            depth -= 1
        parent = self._root
        if depth:
            self._open.move_to_end(parts[:depth])
            parent = self._open[parts[:depth]]
        for end in range(depth + 1, len(parts) + 1):
            parent = self._step(parent, parts[end - 1], create=create)
            self._open[parts[:end]] = parent
            if len(self._open) > self._open_max:
                self._files.close(self._open.popitem(last=False)[1])
        return parent

    def _step(self, parent: int, name: bytes, *, create: bool) -> int:
        try:
            return self._files.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise InTheWayError("a file or symlink stands where a directory belongs") from error
            raise
        self._files.mkdir(name, 0o700, dir_fd=parent)
        return self._files.open(name, _DIRECTORY, dir_fd=parent)

    def lookup(self, parts: Parts) -> os.stat_result | None:
        """What stands at a path, symlinks not followed; ``None`` if nothing does."""
        try:
            parent = self.directory(parts[:-1])
            return self._files.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_vacant(self, parts: Parts) -> bool:
        """Whether the path is absent, or a directory without content."""
        found = self.lookup(parts)
        if found is None:
            return True
        if not stat.S_ISDIR(found.st_mode):
            return False
        descriptor = self._files.open(parts[-1], _DIRECTORY, dir_fd=self.directory(parts[:-1]))
        try:
            with self._files.scandir(descriptor) as content:
                return next(content, None) is None
        finally:
            self._files.close(descriptor)

    def open_file(self, parts: Parts) -> int:
        """Open an existing regular file for reading; the caller closes it."""
        return self._files.open(parts[-1], _READ, dir_fd=self.directory(parts[:-1]))

    def holds(self, parts: Parts, size_bytes: int, sha256: bytes) -> bool:
        """Whether a regular file of exactly this content stands at the path."""
        try:
            descriptor = self.open_file(parts)
        except OSError as error:
            if error.errno in STOPPING:
                raise
            return False
        try:
            return has_content(self._files, descriptor, size_bytes, sha256)
        finally:
            self._files.close(descriptor)

    def read_link(self, parts: Parts) -> bytes | None:
        """The target of the symlink at the path; ``None`` if there is no symlink."""
        try:
            return os.fsencode(self._files.readlink(parts[-1], dir_fd=self.directory(parts[:-1])))
        except OSError as error:
            if error.errno in STOPPING:
                raise
            return None

    def replace_with_directory(self, parts: Parts) -> None:
        """Put an empty directory where a file or symlink stood (``--exists replace``)."""
        parent = self.directory(parts[:-1], create=True)
        # Nothing to remove, or a directory already: an interrupted run got so far.
        with suppress(FileNotFoundError, IsADirectoryError):
            self._files.unlink(parts[-1], dir_fd=parent)
        self.directory(parts, create=True)

    def publish(self, partial: int, name: bytes, parts: Parts, *, replace: bool) -> Published:
        """Give the finished ``name`` in the directory ``partial`` its final place.

        Without ``replace`` an existing name is never touched (``TAKEN``; the partial stays). With
        it a file or link is replaced atomically, an empty directory is removed first, and
        ``InTheWayError`` is raised for a directory that is not empty.
        """
        parent = self.directory(parts[:-1], create=True)
        if replace:
            self._rename_over(partial, name, parent, parts)
            return Published.DONE
        final = parts[-1]
        try:
            self._files.link(
                name, final, src_dir_fd=partial, dst_dir_fd=parent, follow_symlinks=False
            )
        except FileExistsError:
            return Published.TAKEN
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            # No hard links here (FAT, some network shares): look, then rename. Between the two
            # another program could create the name; nothing closes that gap on such a system.
            if self.lookup(parts) is not None:
                return Published.TAKEN
            self._files.rename(name, final, src_dir_fd=partial, dst_dir_fd=parent)
            return Published.DONE
        self._files.unlink(name, dir_fd=partial)
        return Published.DONE

    def _rename_over(self, partial: int, name: bytes, parent: int, parts: Parts) -> None:
        final = parts[-1]
        try:
            self._files.rename(name, final, src_dir_fd=partial, dst_dir_fd=parent)
        except IsADirectoryError:
            try:
                self._files.rmdir(final, dir_fd=parent)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise InTheWayError("a directory that is not empty stands in its place") from error
            self._forget(parts)
            self._files.rename(name, final, src_dir_fd=partial, dst_dir_fd=parent)
        # A rename onto another name of the same inode does nothing and leaves both names.
        with suppress(FileNotFoundError):
            self._files.unlink(name, dir_fd=partial)

    def _forget(self, parts: Parts) -> None:
        """Close what is open at or below a path that is no directory any more."""
        for known in [known for known in self._open if known[: len(parts)] == parts]:
            self._files.close(self._open.pop(known))


def has_content(files: FileSystem, descriptor: int, size_bytes: int, sha256: bytes) -> bool:
    """Whether an open file is regular and has exactly this content, holes read as zeros."""
    found = files.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
        return False
    digest = hashlib.sha256()
    buffer = bytearray(min(_HASH_BUFFER_BYTES, max(size_bytes, 1)))
    view = memoryview(buffer)
    offset = 0
    while offset < size_bytes:
        count = files.preadv(descriptor, [buffer], offset)
        if count == 0:
            return False
        digest.update(view[:count])
        offset += count
    return digest.digest() == sha256


def require_content(files: FileSystem, descriptor: int, size_bytes: int, sha256: bytes) -> None:
    """Raise ``CorruptError`` unless an open file has exactly this content."""
    if not has_content(files, descriptor, size_bytes, sha256):
        raise CorruptError("its content does not match the SHA-256 that the manifest records")
