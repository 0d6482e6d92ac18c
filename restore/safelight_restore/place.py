"""Final names: proven files, links and directories take their places in the target.

The invariant: a final name appears in one step and never on unproven content; a name that exists
is replaced only if the plan said so, and is otherwise compared: what equals the backup counts as
restored (an interrupted run may have put it there), anything else stays. For one thread.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from safelight_restore.assemble import Proven, failed_outcome
from safelight_restore.existing import Exists
from safelight_restore.record import Outcome
from safelight_restore.spool import FileRow, FileState
from safelight_restore.target.filesystem import STOPPING, FileSystem
from safelight_restore.target.metadata import MetadataWriter, Shortfall
from safelight_restore.target.tree import Published, Tree
from safelight_restore.target.workspace import Workspace
from safelight_vault.errors import IncompleteError, VaultError
from safelight_vault.format.manifest import EntryKind

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of one entry, and what of its metadata the target could not take."""

    row: FileRow
    outcome: Outcome
    shortfalls: tuple[Shortfall, ...] = ()


class Placer:
    """Gives entries their final names below one target."""

    __slots__ = ("_exists", "_files", "_metadata", "_tree", "_workspace")

    def __init__(
        self,
        tree: Tree,
        workspace: Workspace,
        files: FileSystem,
        metadata: MetadataWriter,
        exists: Exists,
    ) -> None:
        self._tree = tree
        self._workspace = workspace
        self._files = files
        self._metadata = metadata
        self._exists = exists

    def make_way(self, row: FileRow) -> Placed:
        """Put a directory where something else stood (``replace``), before anything is put in."""

        def action() -> tuple[Outcome, Sequence[Shortfall]]:
            self._tree.replace_with_directory(row.parts)
            return Outcome(file=row.id, state=FileState.PENDING), ()

        return self._attempt(row, action)

    def renew(self, row: FileRow) -> Placed:
        """Apply the metadata of a file that stands in its place with equal content."""

        def action() -> tuple[Outcome, Sequence[Shortfall]]:
            descriptor = self._tree.open_file(row.parts)
            try:
                shortfalls = self._metadata.apply(descriptor, row.metadata)
                seen = self._files.fstat(descriptor).st_mtime_ns
            finally:
                self._files.close(descriptor)
            return _finished(row, seen), shortfalls

        return self._attempt(row, action)

    def settle(self, proven: Sequence[Proven]) -> list[Placed]:
        """Make a group of files durable with one call, then give each its name.

        Durable first: after a power cut a name may be missing, but none stands on lost content.
        """
        self._files.syncfs(self._tree.root)
        return [self._place_file(item) for item in proven]

    def _place_file(self, item: Proven) -> Placed:
        row = item.row

        def action() -> tuple[Outcome, Sequence[Shortfall]]:
            if self._publish(row) is Published.DONE:
                return _finished(row, item.seen_mtime_ns), item.shortfalls
            same = self._tree.holds(row.parts, row.size_bytes, row.sha256)
            return self._taken(row, same=same), ()

        return self._attempt(row, action)

    def place_symlink(self, row: FileRow) -> Placed:
        """Make a symlink with its metadata, then give it its name."""

        def action() -> tuple[Outcome, Sequence[Shortfall]]:
            name = row.partial_name
            self._files.symlink(row.link_target, name, dir_fd=self._workspace.partial)
            shortfalls = self._metadata.apply_to_symlink(
                self._workspace.partial, name, row.metadata
            )
            if self._publish(row) is Published.DONE:
                return _finished(row, None), shortfalls
            same = self._tree.read_link(row.parts) == row.link_target
            return self._taken(row, same=same), ()

        return self._attempt(row, action)

    def place_hard_link(self, row: FileRow, file: FileRow | None) -> Placed:
        """Make another name of a restored file."""

        def action() -> tuple[Outcome, Sequence[Shortfall]]:
            if file is None or file.state is not FileState.FINISHED:
                raise IncompleteError("the file that it is a hard link to could not be restored")
            self._files.link(
                file.parts[-1],
                row.partial_name,
                src_dir_fd=self._tree.directory(file.parts[:-1]),
                dst_dir_fd=self._workspace.partial,
                follow_symlinks=False,
            )
            if self._publish(row) is Published.DONE:
                return _finished(row, file.seen_mtime_ns), ()
            if self._same_inode(row, file):
                return _finished(row, file.seen_mtime_ns), ()
            if self._tree.holds(row.parts, file.size_bytes, file.sha256):
                found = self._tree.lookup(row.parts)
                seen = None if found is None else found.st_mtime_ns
                return _finished(row, seen), (Shortfall("hard link", "a copy stands in its place"),)
            return self._taken(row, same=False), ()

        return self._attempt(row, action)

    def finish_directory(self, row: FileRow) -> Placed:
        """Make a directory if nothing did so yet, and apply its metadata."""

        def action() -> tuple[Outcome, Sequence[Shortfall]]:
            self._tree.directory(row.parts, create=True)
            parent = self._tree.directory(row.parts[:-1])
            descriptor = self._files.open(row.parts[-1], _DIRECTORY, dir_fd=parent)
            try:
                shortfalls = self._metadata.apply(descriptor, row.metadata)
            finally:
                self._files.close(descriptor)
            return _finished(row, None), shortfalls

        return self._attempt(row, action)

    def _publish(self, row: FileRow) -> Published:
        published = self._tree.publish(
            self._workspace.partial, row.partial_name, row.parts, replace=row.replace
        )
        if published is Published.TAKEN:
            self._workspace.drop_partial(row.partial_name)
        return published

    def _taken(self, row: FileRow, *, same: bool) -> Outcome:
        """The outcome for a name that exists although the plan found none."""
        if same:
            found = self._tree.lookup(row.parts)
            return _finished(row, None if found is None else found.st_mtime_ns)
        if self._exists is Exists.KEEP:
            return Outcome(file=row.id, state=FileState.KEPT)
        raise IncompleteError("something else appeared in its place; it was not touched")

    def _same_inode(self, row: FileRow, file: FileRow) -> bool:
        here, there = self._tree.lookup(row.parts), self._tree.lookup(file.parts)
        return here is not None and there is not None and os.path.samestat(here, there)

    def _attempt(
        self, row: FileRow, action: Callable[[], tuple[Outcome, Sequence[Shortfall]]]
    ) -> Placed:
        shortfalls: Sequence[Shortfall] = ()
        try:
            outcome, shortfalls = action()
        except VaultError as error:
            outcome = failed_outcome(row.id, error)
        except OSError as error:
            if error.errno == errno.EXDEV:
                error = OSError(errno.EXDEV, "its directory is on another file system")
            outcome = failed_outcome(row.id, error)
        if outcome.state is FileState.FAILED:
            self._workspace.drop_partial(row.partial_name)
        return Placed(row=row, outcome=outcome, shortfalls=tuple(shortfalls))


def _finished(row: FileRow, seen_mtime_ns: int | None) -> Outcome:
    return Outcome(file=row.id, state=FileState.FINISHED, seen_mtime_ns=seen_mtime_ns)


def is_as_recorded(tree: Tree, row: FileRow) -> bool:
    """The cheap look at a finished entry when a restore resumes: its kind, size and time.

    Other content of the same size and the same nanosecond is not noticed; ``verify`` reads it all.
    """
    try:
        found = tree.lookup(row.parts)
    except VaultError:
        return False
    except OSError as error:
        if error.errno in STOPPING:
            raise
        return False
    if found is None:
        return False
    if stat.S_ISLNK(found.st_mode):
        return row.kind is EntryKind.SYMLINK and tree.read_link(row.parts) == row.link_target
    # A hard link's size is that of its file, which is looked at itself.
    same_size = row.kind is EntryKind.HARD_LINK or found.st_size == row.size_bytes
    return stat.S_ISREG(found.st_mode) and found.st_mtime_ns == row.seen_mtime_ns and same_size
