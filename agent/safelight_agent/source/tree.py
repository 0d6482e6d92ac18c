"""A directory tree as a source: every entry once, sorted, links unfollowed.

The invariant: entries come in the order of their paths compared component by component as bytes
(the order of a manifest), whatever the names and however deep; a walk holds a bounded number of
descriptors and the names of the directories on its current path, nothing else. A directory that is
opened again is proved by device and inode first, so that renaming directories under the walk
cannot lead it to another place.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safelight_agent.source import (
    SKIPPED_VANISHED,
    Found,
    RootFacts,
    Scanned,
    Skipped,
    SourceVanishedError,
    Unreadable,
    reason_of,
)
from safelight_agent.source.metadata import (
    DIRECTORY_FLAGS,
    describe,
    look,
    read_open_xattrs,
    require_descriptor_paths,
)
from safelight_agent.source.patterns import Position, Selection
from safelight_agent.source.root import ask_root, judge_root
from safelight_vault.format.manifest import EntryKind

OPEN_DIRECTORIES_MAX = 64
"""Descriptors that one walk holds at most, beside the root's."""

_DIRECTORY = EntryKind.DIRECTORY
_MOVED = "its directory was moved while it was being listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeOptions:
    """What of a tree is taken, and what must hold of its root (patterns: see ``patterns``)."""

    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    one_file_system: bool = True
    """Directories on another device than the root are listed and not entered."""
    require_mount: bool = False
    """The root must be a mount point."""
    allow_empty: bool = False
    """The root may be empty even though it held files before."""


class TreeSource:
    """The tree below one directory; ``root`` itself may be reached through links."""

    def __init__(self, root: bytes | Path, options: TreeOptions | None = None) -> None:
        self._root = os.fsencode(root)
        self._options = options or TreeOptions()
        self._selection = Selection.of(self._options.include, self._options.exclude)

    def check_root(self, expected: RootFacts | None = None) -> RootFacts:
        """Prove that the root is there as the last good run saw it, or ``SourceVanishedError``.

        The facts returned are for the next run's ``expected`` (once this run has its snapshot)
        and for :meth:`scan`. Waits for a mount's answer for a limited time only.
        """
        now = ask_root(self._root)
        objection = judge_root(
            now,
            expected,
            require_mount=self._options.require_mount,
            allow_empty=self._options.allow_empty,
        )
        if objection is not None:
            raise SourceVanishedError(objection)
        return now

    def scan(self, facts: RootFacts | None = None) -> Iterator[Scanned]:
        """Every entry that the patterns take, the root first (path ``b""``).

        ``facts`` are those that :meth:`check_root` returned in this run. Raises
        ``SourceVanishedError`` when the root is another directory than these say, or at the end
        when another one has taken its place meanwhile: what was listed must then be dropped.
        Whoever takes only the beginning must close the iterator.
        """
        require_descriptor_paths()
        try:
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceVanishedError(
                f"{os.fsdecode(self._root)} cannot be opened ({reason_of(error)})"
            ) from error
        try:
            status = os.fstat(root)
            if facts is not None:
                self._require_same(status, facts)
            device = status.st_dev if self._options.one_file_system else None
            yield from _Walk(root, self._selection, device).entries()
            self._require_same(status, ask_root(self._root))
        finally:
            os.close(root)

    def require_unmoved(self, facts: RootFacts) -> None:
        """Prove that the root is still the directory of this run's :meth:`check_root`.

        To be asked once the last file has been read, before anything is recorded: when a mount
        goes away during the run, its files read as vanished, which is no failure of theirs.
        """
        now = ask_root(self._root)
        if (now.device, now.inode) != (facts.device, facts.inode):
            raise self._swapped()

    def _require_same(self, status: os.stat_result, facts: RootFacts) -> None:
        if (status.st_dev, status.st_ino) != (facts.device, facts.inode):
            raise self._swapped()

    def _swapped(self) -> SourceVanishedError:
        return SourceVanishedError(
            f"{os.fsdecode(self._root)} is no longer the directory that this run began with"
        )


@dataclass(slots=True, kw_only=True)
class _Level:
    """A directory on the walk's current path. ``names`` still to visit, the next one last."""

    name: bytes
    prefix: bytes
    position: Position
    identity: tuple[int, int]
    names: list[bytes]
    descriptor: int | None


class _Walk:
    """One walk, depth first. The level in hand has its descriptor open, or is lost."""

    def __init__(self, root: int, selection: Selection, device: int | None) -> None:
        self._root = root
        self._selection = selection
        self._device = device
        self._levels: list[_Level] = []

    def entries(self) -> Iterator[Scanned]:
        try:
            yield self._begin()
            while self._levels:
                level = self._levels[-1]
                if not level.names:
                    self._leave()
                    continue
                seen = self._visit(level, level.names.pop())
                if seen is not None:
                    yield seen
        finally:
            for level in self._levels:
                _close(level)

    def _begin(self) -> Found:
        descriptor = os.dup(self._root)
        try:
            found = describe(b"", os.fstat(descriptor), xattrs=read_open_xattrs(descriptor))
            names = self._list(descriptor, self._selection.root)
        except OSError as error:
            os.close(descriptor)
            raise SourceVanishedError(f"the root cannot be listed ({reason_of(error)})") from error
        self._push(found, self._selection.root, names, descriptor)
        return found

    def _visit(self, level: _Level, name: bytes) -> Scanned | None:
        path = level.prefix + name
        if level.descriptor is None:
            return Unreadable(path, _MOVED)
        seen = look(level.descriptor, name, path)
        if not isinstance(seen, Found) or seen.kind is not _DIRECTORY:
            return seen
        position = self._selection.after(level.position, name, directory=True)
        if position is None:
            return None
        if self._is_foreign(seen.device):
            return seen
        return self._enter(level.descriptor, name, path, position)

    def _enter(self, parent: int, name: bytes, path: bytes, position: Position) -> Scanned:
        """Open and list a directory before it is yielded, so that each path comes once."""
        try:
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            return Skipped(path, SKIPPED_VANISHED)
        except OSError as error:
            return Unreadable(path, reason_of(error))
        try:
            found = describe(path, os.fstat(descriptor), xattrs=read_open_xattrs(descriptor))
            foreign = self._is_foreign(found.device)
            names = [] if foreign else self._list(descriptor, position)
        except OSError as error:
            os.close(descriptor)
            return Unreadable(path, reason_of(error))
        self._push(found, position, names, descriptor)
        return found

    def _is_foreign(self, device: int) -> bool:
        return self._device is not None and device != self._device

    def _list(self, descriptor: int, position: Position) -> list[bytes]:
        """The names that the patterns take, last first.

        Names are judged by the kind that the directory itself gives, before anything is asked of
        them: so an excluded mount that hangs is never touched.
        """
        if position.unrestricted:
            names = [os.fsencode(name) for name in os.listdir(descriptor)]
        else:
            names = []
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    directory = entry.is_dir(follow_symlinks=False)
                    if self._selection.after(position, name, directory=directory) is not None:
                        names.append(name)
        names.sort(reverse=True)
        return names

    def _push(self, found: Found, position: Position, names: list[bytes], descriptor: int) -> None:
        self._levels.append(
            _Level(
                name=found.path.rsplit(b"/", 1)[-1],
                prefix=found.path + b"/" if found.path else b"",
                position=position,
                identity=(found.device, found.inode),
                names=names,
                descriptor=descriptor,
            )
        )
        if len(self._levels) > OPEN_DIRECTORIES_MAX:
            _close(self._levels[-1 - OPEN_DIRECTORIES_MAX])

    def _leave(self) -> None:
        """Go back up; open the parent again if its descriptor had to be given up."""
        left = self._levels.pop()
        if self._levels and self._levels[-1].descriptor is None:
            self._levels[-1].descriptor = self._reopen(left)
        _close(left)

    def _reopen(self, child: _Level) -> int | None:
        """The descriptor of the level in hand by way of its child, else down from the root.

        The second way costs as many steps as the level is deep, and is taken only for names that
        wait there.
        """
        level = self._levels[-1]
        if child.descriptor is not None:
            parent = _open_if(b"..", child.descriptor, level.identity)
            if parent is not None:
                return parent
        if not level.names:
            return None
        here = os.dup(self._root)
        for level in self._levels[1:]:
            step = _open_if(level.name, here, level.identity)
            os.close(here)
            if step is None:
                return None
            here = step
        return here


def _open_if(name: bytes, directory: int, identity: tuple[int, int]) -> int | None:
    """Open a directory if it still is the one with this identity."""
    try:
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) == identity:
        return descriptor
    os.close(descriptor)
    return None


def _close(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)
        level.descriptor = None
