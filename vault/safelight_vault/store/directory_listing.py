"""What a directory store holds, as read from its disk: versions, their locks, names in order.

The invariant: only what the layout describes is seen. Files of other kinds, things half written
and links are passed over, and none of them can stop a reader.
"""

import errno
import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safelight_vault.store import directory_files as files
from safelight_vault.store import directory_layout as layout
from safelight_vault.store.names import is_valid_name

_SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999: a disk may claim dates that no calendar has."""


_LOOKS_MAX = 10
"""How often a version's locks are looked at anew because one was just replaced by a later one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version's file in its object's directory."""

    version_id: str
    directory: Path
    size_bytes: int
    modified_ns: int
    is_latest: bool

    @property
    def path(self) -> Path:
        """The file with the version's bytes."""
        return self.directory / self.version_id

    @property
    def modified(self) -> datetime:
        """When the file was last written, as far as the disk remembers."""
        seconds = min(max(self.modified_ns / 1e9, 0), _SECONDS_MAX)
        return datetime.fromtimestamp(seconds, UTC)


def versions_in(directory: Path) -> list[StoredVersion]:
    """The versions in an object's directory, newest first; none when there is no directory."""
    found: list[tuple[int, str, int]] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if layout.is_version_id(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.name, status.st_size))
    except FileNotFoundError:
        return []
    found.sort(reverse=True)
    return [
        StoredVersion(
            version_id=version_id,
            directory=directory,
            size_bytes=size_bytes,
            modified_ns=modified_ns,
            is_latest=position == 0,
        )
        for position, (modified_ns, version_id, size_bytes) in enumerate(found)
    ]


def lock_files_of(version: StoredVersion) -> list[tuple[str, datetime]]:
    """The files of a version's locks, with the dates that their names claim."""
    with os.scandir(version.directory) as entries:
        parsed = [(entry.name, layout.parse_lock_file(entry.name)) for entry in entries]
    return [
        (file, lock[1])
        for file, lock in parsed
        if lock is not None and lock[0] == version.version_id
    ]


def lock_of(version: StoredVersion, name: str) -> datetime | None:
    """The latest date among a version's undamaged lock records."""
    dates: list[datetime] = []
    for _ in range(_LOOKS_MAX):
        vanished = False
        dates.clear()
        for file, claimed in lock_files_of(version):
            try:
                data = files.read_record(version.directory / file, layout.LOCK_RECORD_SIZE_MAX)
            except FileNotFoundError:
                vanished = True
                continue
            except OSError as error:
                # A directory or a link in its place. A disk that cannot be read is another matter:
                # that must not look like "not locked".
                if error.errno not in {errno.EISDIR, errno.ELOOP}:
                    raise
                continue
            date = layout.decode_lock_record(data, name=name, version_id=version.version_id)
            if date is not None and date == claimed:
                dates.append(date)
        if not vanished:
            break
    return max(dates, default=None)


def walk(directory: Path, above: str, prefix: str) -> Iterator[tuple[str, Path]]:
    """Names below ``prefix`` in order, with the directories of their objects.

    ``above`` is the name of ``directory`` with its slash. Memory follows the largest directory:
    objects named by digest lie in 256 shards, of which one is read at a time.
    """
    children: list[tuple[str, Path]] = []
    shards: list[tuple[str, Path]] = []
    for entry in _directories(directory):
        digits = layout.shard_digits(entry.name)
        segment = layout.object_segment(entry.name, shard=None)
        if digits is not None:
            if _may_lead_to(above + digits, prefix):
                shards.append((digits, Path(entry.path)))
        elif segment is not None:
            if (above + segment).startswith(prefix):
                children.append((above + segment, Path(entry.path)))
        elif is_valid_name(entry.name) and _may_lead_to(f"{above}{entry.name}/", prefix):
            children.append((f"{above}{entry.name}/", Path(entry.path)))
    merged = heapq.merge(sorted(children), _filed(sorted(shards), above, prefix))
    for name, path in merged:
        if name.endswith("/"):
            yield from walk(path, name, prefix)
        else:
            yield name, path


def _filed(shards: list[tuple[str, Path]], above: str, prefix: str) -> Iterator[tuple[str, Path]]:
    """The objects in shards, which are in order because a shard is how their names begin."""
    for digits, shard in shards:
        found = [
            (above + segment, Path(entry.path))
            for entry in _directories(shard)
            if (segment := layout.object_segment(entry.name, shard=digits)) is not None
        ]
        yield from (pair for pair in sorted(found) if pair[0].startswith(prefix))


def _may_lead_to(path: str, prefix: str) -> bool:
    return path.startswith(prefix) or prefix.startswith(path)


def _directories(directory: Path) -> "list[os.DirEntry[str]]":
    """The directories in a directory; none when it was just created or just removed."""
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
