"""``file://``: a store in a directory, for network storage and removable disks.

The invariant: an object appears whole, under lock and under a name that was free, or not at all.
It is prepared in a directory of its own and takes its name by one rename, which the system refuses
when the name is taken (a directory never replaces one that has something in it).

Its locks guard against mistakes of this program. Whoever can write to the disk can remove
everything, so they read ``EMULATED`` and must never be counted as protection.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from safelight_vault.errors import (
    ConfigurationError,
    NameTakenError,
    ObjectMissingError,
    StoreUnreachableError,
    UnsupportedFormatError,
)
from safelight_vault.store import Buffers, Head, LockMode, Version
from safelight_vault.store import directory_files as files
from safelight_vault.store import directory_layout as layout
from safelight_vault.store.directory_listing import (
    StoredVersion,
    lock_files_of,
    lock_of,
    versions_in,
    walk,
)
from safelight_vault.store.names import validate_name, validate_prefix
from safelight_vault.store.ranges import require_range, resolve_range
from safelight_vault.store.retention import lock_date, require_future, require_later

_NOT_DATA = ("lost+found", f"{layout.MARKER}.")
"""How that begins which a fresh disk or a killed ``create`` may hold: still empty to us."""


class DirectoryStore:
    """A store below one directory; safe for several threads, processes and hosts at once.

    ``now`` is the clock that locks are held against, ``new_version_id`` gives ids of 1 to 64
    characters from a-z, 0-9 and ``-`` that never repeat. Without ``create`` the directory must be
    a store already: an empty mount point is an unmounted disk (``StoreUnreachableError``).
    """

    def __init__(
        self,
        root: Path,
        *,
        now: Callable[[], datetime],
        new_version_id: Callable[[], str],
        create: bool = False,
    ) -> None:
        if not root.is_absolute():
            raise ConfigurationError(f"the vault's directory must be an absolute path: {root}")
        self._root = root
        self._clock = now
        self._new_version_id = new_version_id
        self._cleared = False
        self._clearing = threading.Lock()
        with files.translated(str(root)):
            if create:
                _create(root, self._fresh_version_id())
            _check_layout(root)

    @property
    def url(self) -> str:
        """The vault's URL."""
        return self._root.as_uri()

    @property
    def lock_mode(self) -> LockMode:
        """Always EMULATED."""
        return LockMode.EMULATED

    def now(self) -> datetime:
        """The clock that this store was given: a directory has none of its own."""
        return self._clock().astimezone(UTC)

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """Write a new object; ``NameTakenError`` when the name has a version already."""
        validate_name(name)
        date = lock_date(retain_until)
        require_future(date, now=self.now(), name=name)
        with files.translated(name):
            self._require_present()
            if versions_in(self._directory_of(name)):
                raise _taken(name)
            self._clear_leftovers_once()
            with self._staging() as staging:
                version_id = staging.name
                files.write_body(staging / version_id, body, sha256=sha256, name=name)
                files.write_record(
                    staging / layout.lock_file(version_id, date),
                    layout.encode_lock_record(name, version_id, date),
                )
                files.sync_directory(staging)
                self._publish(staging, name)
        return version_id

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Read exactly the range asked for."""
        require_range(offset=offset, length=length)
        with files.translated(name):
            version = self._find(name, version_id)
            try:
                with files.open_file(version.path) as descriptor:
                    size = os.fstat(descriptor).st_size
                    wanted = resolve_range(name, size_bytes=size, offset=offset, length=length)
                    return files.read_range(descriptor, offset=offset, length=wanted, name=name)
            except FileNotFoundError:
                raise self._missing(name, version_id) from None

    def head(self, name: str, version_id: str | None = None) -> Head:
        """Size and lock of a version; a damaged lock record reads as "not locked"."""
        with files.translated(name):
            version = self._find(name, version_id)
            until = lock_of(version, name)
        return Head(
            name=name,
            version_id=version.version_id,
            size_bytes=version.size_bytes,
            lock_mode=LockMode.NONE if until is None else LockMode.EMULATED,
            retain_until=until,
        )

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """Every version below ``prefix``, by name; there are no delete markers here."""
        validate_prefix(prefix)
        with files.translated(f"listing {prefix!r}"):
            self._require_present()
            for name, path in walk(self._root, "", prefix):
                for version in versions_in(path):
                    yield Version(
                        name=name,
                        version_id=version.version_id,
                        size_bytes=version.size_bytes,
                        is_latest=version.is_latest,
                        is_delete_marker=False,
                        modified=version.modified,
                    )
            # A disk that went away while it was read looks like a directory that ends early.
            self._require_present()

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """Move a lock to a later date.

        Every date is a file of its own and the latest counts, so that of two writers at once
        neither can shorten what the other extended, and a killed one changes nothing.
        """
        date = lock_date(retain_until)
        require_future(date, now=self.now(), name=name)
        with files.translated(name):
            version = self._find(name, version_id)
            current = lock_of(version, name)
            require_later(date, current=current, name=name)
            if current == date:
                return
            directory = version.directory
            file = layout.lock_file(version_id, date)
            with self._staging() as staging:
                files.write_record(
                    staging / file, layout.encode_lock_record(name, version_id, date)
                )
                (staging / file).rename(directory / file)
            files.sync_directory(directory)
            for earlier_file, earlier in lock_files_of(version):
                if earlier < date:
                    (directory / earlier_file).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        """A new directory for what is being written, named by a new version id; gone at the end."""
        with files.held_lease(self._root / layout.INCOMING_LEASE, exclusive=False):
            incoming = files.make_directories(self._root, (layout.INCOMING,))
            staging = incoming / self._fresh_version_id()
            staging.mkdir(mode=files.DIRECTORY_MODE)
            try:
                yield staging
            finally:
                files.remove_tree_of_files(staging)

    def _fresh_version_id(self) -> str:
        version_id = self._new_version_id()
        if not layout.is_version_id(version_id):
            raise ValueError(f"not a version id that can be a file's name: {version_id!r}")
        return version_id

    def _directory_of(self, name: str) -> Path:
        return self._root.joinpath(*layout.object_path(name))

    def _publish(self, staging: Path, name: str) -> None:
        *parents, last = layout.object_path(name)
        parent = files.make_directories(self._root, tuple(parents))
        try:
            staging.rename(parent / last)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if versions_in(parent / last):
                raise _taken(name) from error
            raise StoreUnreachableError(
                f"{name}: its directory holds files, but no version",
                remedy=f"Look at {parent / last}; if no version was lost, remove the directory.",
            ) from error
        files.sync_directory(parent)

    def _clear_leftovers_once(self) -> None:
        """Remove what killed writers left, unless a writer is at work anywhere."""
        with self._clearing:
            if self._cleared:
                return
            self._cleared = True
            lease = self._root / layout.INCOMING_LEASE
            with files.held_lease(lease, exclusive=True) as held:
                incoming = self._root / layout.INCOMING
                if held and incoming.is_dir():
                    for left in incoming.iterdir():
                        files.remove_tree_of_files(left)

    def _find(self, name: str, version_id: str | None) -> StoredVersion:
        validate_name(name)
        for version in versions_in(self._directory_of(name)):
            if version_id in {None, version.version_id}:
                return version
        raise self._missing(name, version_id)

    def _missing(self, name: str, version_id: str | None) -> ObjectMissingError:
        """The error for an absent version; raises instead when the whole store is absent."""
        self._require_present()
        which = "" if version_id is None else f" in version {version_id[:64]!r}"
        return ObjectMissingError(f"{name} is not in the store{which}")

    def _require_present(self) -> None:
        if not (self._root / layout.MARKER).exists():
            raise _absent(self._root)


def _create(root: Path, unique: str) -> None:
    """Make ``root`` a store if it is absent or empty, and leave it as it is if it is one."""
    marker = root / layout.MARKER
    if marker.exists():
        return
    files.make_directories(Path(root.anchor), root.parts[1:])
    if not all(entry.name.startswith(_NOT_DATA) for entry in root.iterdir()):
        raise ConfigurationError(
            f"{root} holds something else than a Safelight store",
            remedy="Choose an empty or a new directory for the vault.",
        )
    prepared = root / f"{layout.MARKER}.{unique}"
    files.write_record(prepared, layout.MARKER_TEXT.encode("ascii"))
    prepared.rename(marker)
    files.sync_directory(root)


def _check_layout(root: Path) -> None:
    expected, _, _ = layout.MARKER_TEXT.encode("ascii").partition(b"\n")
    kind, _, _ = expected.rpartition(b" ")
    try:
        found, _, _ = files.read_record(root / layout.MARKER, 4096).partition(b"\n")
    except FileNotFoundError:
        raise _absent(root) from None
    if found == expected:
        return
    if found.startswith(kind):
        raise UnsupportedFormatError(f"{root} is a directory store of a newer layout")
    raise ConfigurationError(f"{root / layout.MARKER} is not the mark of a Safelight store")


def _absent(root: Path) -> StoreUnreachableError:
    return StoreUnreachableError(
        f"there is no Safelight store at {root}",
        remedy="Check that the disk is mounted and the path is right. A new vault is made by "
        "'safelight-agent init'.",
    )


def _taken(name: str) -> NameTakenError:
    return NameTakenError(f"{name} is in the store already")
