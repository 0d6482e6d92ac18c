"""The restore's own directory in the target: the plan, the unfinished files, and a lease.

The invariant: while a ``Workspace`` is open, no other restore works in the same target, and what
lies in ``partial`` belongs to nobody but this run. What a killed run left there is deleted at the
start of the next: only finished files count as progress, whole files being cheap to fetch again.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from safelight_restore.target.filesystem import FileSystem
from safelight_restore.target.path import WORK_NAME
from safelight_restore.target.tree import Tree
from safelight_vault.errors import LeaseHeldError, RefusedError

PLAN_NAME: Final = "plan.sqlite"
PLAN_PLACE: Final = os.fsdecode(WORK_NAME)
_PARTIAL: Final = b"partial"
_LEASE: Final = b"lease"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTIAL_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Workspace:
    """``TARGET/.safelight-restore``, held by this process alone."""

    __slots__ = ("_directory", "_files", "_lease", "_tree", "partial", "plan_path")

    def __init__(
        self, tree: Tree, files: FileSystem, directory: int, lease: int, partial: int
    ) -> None:
        self._tree = tree
        self._files = files
        self._directory = directory
        self._lease = lease
        self.partial = partial
        self.plan_path = plan_path(tree.path)

    @classmethod
    def open(cls, tree: Tree, files: FileSystem) -> "Workspace":
        """Make the directory or find it, take the lease, and clear away unfinished files.

        Raises ``LeaseHeldError`` if another restore works here, and ``RefusedError`` if the
        directory is somebody else's: the plan in it is believed.
        """
        opened: list[int] = []
        try:
            directory = _own_directory(tree.root, WORK_NAME, files)
            opened.append(directory)
            lease = files.open(
                _LEASE,
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=directory,
            )
            opened.append(lease)
            _take(lease)
            partial = _own_directory(directory, _PARTIAL, files)
            opened.append(partial)
            _clear(partial, files)
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return cls(tree, files, directory, lease, partial)

    def close(self) -> None:
        """Give the lease back; the plan stays for the next run."""
        for descriptor in (self.partial, self._directory, self._lease):
            os.close(descriptor)

    def open_partial(self, name: bytes) -> int:
        """Open an unfinished file for reading and writing, for its owner only; made if absent."""
        return self._files.open(name, _PARTIAL_FILE, 0o600, dir_fd=self.partial)

    def drop_partial(self, name: bytes) -> None:
        """Remove an unfinished file, if it is there."""
        with suppress(FileNotFoundError):
            self._files.unlink(name, dir_fd=self.partial)

    def clear(self) -> None:
        """Remove all unfinished files."""
        _clear(self.partial, self._files)

    def remove_plan(self) -> None:
        """Remove the plan, so that the next run makes a new one."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                self._files.unlink(PLAN_NAME + suffix, dir_fd=self._directory)

    def remove(self) -> None:
        """Remove the whole directory: the restore is complete and nothing is left to resume."""
        self.clear()
        self._files.rmdir(_PARTIAL, dir_fd=self._directory)
        self._files.unlink(_LEASE, dir_fd=self._directory)
        # Late: as long as the plan is there, the same command finds that all is finished.
        self.remove_plan()
        self._files.rmdir(WORK_NAME, dir_fd=self._tree.root)


def plan_path(target: Path) -> Path:
    """Where the plan of an interrupted restore into ``target`` lies."""
    return target / PLAN_PLACE / PLAN_NAME


def _own_directory(parent: int, name: bytes, files: FileSystem) -> int:
    made = False
    with suppress(FileExistsError):
        files.mkdir(name, 0o700, dir_fd=parent)
        made = True
    try:
        descriptor = files.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise RefusedError(f"{os.fsdecode(name)} in the target is not a directory") from error
        raise
    found = files.fstat(descriptor)
    # What was made just now is empty, whatever owner a file system without owners shows.
    if not made and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022):
        os.close(descriptor)
        raise RefusedError(
            f"{os.fsdecode(name)} in the target belongs to, or can be changed by, another user",
            remedy="Remove that directory, or choose another target.",
        )
    return descriptor


def _take(lease: int) -> None:
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lease, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise LeaseHeldError(
            f"another restore is at work in this target (process {holder})"
        ) from error
    os.ftruncate(lease, 0)
    os.pwrite(lease, f"{os.getpid()}\n".encode(), 0)


def _clear(partial: int, files: FileSystem) -> None:
    with files.scandir(partial) as content:
        names = [entry.name for entry in content]
    for name in names:
        files.unlink(name, dir_fd=partial)
