"""A store in memory that behaves as S3 with Object Lock does, and what an attacker can do to it.

The invariant is S3's own: a version under lock cannot be removed by anybody before its date, while
delete markers and newer versions can always be laid over it. The clock is injected, so that a test
can let years pass.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from safelight_vault.errors import (
    AccessDeniedError,
    CorruptError,
    NameTakenError,
    ObjectMissingError,
)
from safelight_vault.store import Buffers, Head, LockMode, Version
from safelight_vault.store.names import validate_name, validate_prefix
from safelight_vault.store.ranges import resolve_range
from safelight_vault.store.retention import lock_date, require_future, require_later


@dataclass(slots=True, kw_only=True)
class _Stored:
    """One version; ``data`` None is a delete marker."""

    version_id: str
    data: bytes | None
    modified: datetime
    lock_mode: LockMode = LockMode.NONE
    retain_until: datetime | None = None


class MemoryStore:
    """A store whose methods beyond the protocol are for tests only.

    ``ignores_conditional_writes`` makes it write a second version of a taken name (as radosgw
    does), ``ignores_locks`` makes it accept a put and drop its lock (as some servers do).
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        new_version_id: Callable[[], str],
        mode: LockMode = LockMode.COMPLIANCE,
        url: str = "memory://vault",
        ignores_conditional_writes: bool = False,
        ignores_locks: bool = False,
    ) -> None:
        self._clock = now
        self._new_version_id = new_version_id
        self._mode = mode
        self._url = url
        self._ignores_conditional_writes = ignores_conditional_writes
        self._ignores_locks = ignores_locks
        self._objects: dict[str, list[_Stored]] = {}
        self._guard = threading.RLock()

    @property
    def url(self) -> str:
        """A name for messages."""
        return self._url

    @property
    def lock_mode(self) -> LockMode:
        """The mode given at the start."""
        return self._mode

    def now(self) -> datetime:
        """The injected clock."""
        return self._clock().astimezone(UTC)

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """Write a new version under lock."""
        validate_name(name)
        date = lock_date(retain_until)
        require_future(date, now=self.now(), name=name)
        data = b"".join(body)
        if hashlib.sha256(data).digest() != sha256:
            raise CorruptError(f"{name}: the body has another digest than was said")
        with self._guard:
            if not self._ignores_conditional_writes and self._current(name) is not None:
                raise NameTakenError(f"{name} is in the store already")
            locked = not self._ignores_locks
            return self._add(
                name,
                data,
                lock_mode=self._mode if locked else LockMode.NONE,
                retain_until=date if locked else None,
            )

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Read a range."""
        data = self._find(name, version_id).data
        if data is None:
            raise ObjectMissingError(f"{name}: a delete marker")
        wanted = resolve_range(name, size_bytes=len(data), offset=offset, length=length)
        return data[offset : offset + wanted]

    def head(self, name: str, version_id: str | None = None) -> Head:
        """Size and lock."""
        stored = self._find(name, version_id)
        if stored.data is None:
            raise ObjectMissingError(f"{name}: a delete marker")
        return Head(
            name=name,
            version_id=stored.version_id,
            size_bytes=len(stored.data),
            lock_mode=stored.lock_mode,
            retain_until=stored.retain_until,
        )

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """Everything below a prefix, as it was when the listing began."""
        validate_prefix(prefix)
        with self._guard:
            listing = [
                Version(
                    name=name,
                    version_id=stored.version_id,
                    size_bytes=len(stored.data or b""),
                    is_latest=stored is versions[-1],
                    is_delete_marker=stored.data is None,
                    modified=stored.modified,
                )
                for name, versions in sorted(self._objects.items())
                if name.startswith(prefix)
                for stored in reversed(versions)
            ]
        yield from listing

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """Move a lock to a later date."""
        date = lock_date(retain_until)
        require_future(date, now=self.now(), name=name)
        with self._guard:
            stored = self._find(name, version_id)
            if stored.data is None:
                raise ObjectMissingError(f"{name}: a delete marker")
            require_later(date, current=stored.retain_until, name=name)
            stored.lock_mode, stored.retain_until = self._mode, date

    # For tests: what somebody with the owner's credentials, or the disk underneath, can do.

    def attacker_overwrite(self, name: str, data: bytes) -> str:
        """Lay an unlocked newer version over an object, and return its id."""
        with self._guard:
            return self._add(validate_name(name), data)

    def attacker_delete_marker(self, name: str) -> str:
        """Lay a delete marker over an object, and return its id."""
        with self._guard:
            return self._add(validate_name(name), None)

    def attacker_exchange(self, name: str, data: bytes, version_id: str | None = None) -> None:
        """Put other bytes behind a version, lock or not: the host of the store can."""
        with self._guard:
            self._find(name, version_id).data = data

    def delete_version(
        self, name: str, version_id: str, *, bypass_governance: bool = False
    ) -> None:
        """Remove one version, which is denied while it is under lock."""
        with self._guard:
            stored = self._find(name, version_id)
            is_held = stored.retain_until is not None and stored.retain_until > self.now()
            if is_held and not (bypass_governance and stored.lock_mode is LockMode.GOVERNANCE):
                raise AccessDeniedError(f"{name}: under lock until {stored.retain_until}")
            self._objects[name].remove(stored)
            if not self._objects[name]:
                del self._objects[name]

    def delete_expired(self) -> list[tuple[str, str]]:
        """Remove every version whose lock has ended, and say which: what a lifecycle rule does."""
        with self._guard:
            expired = [
                (version.name, version.version_id)
                for version in self.list_versions("")
                if not self._is_held(version)
            ]
            for name, version_id in expired:
                self.delete_version(name, version_id)
            return expired

    def damage(self, name: str, *, position: int, version_id: str | None = None) -> None:
        """Flip the bits of one stored byte, lock or not: a disk rots."""
        with self._guard:
            stored = self._find(name, version_id)
            changed = bytearray(stored.data or b"")
            changed[position] ^= 0xFF
            stored.data = bytes(changed)

    def _is_held(self, version: Version) -> bool:
        until = self._find(version.name, version.version_id).retain_until
        return until is not None and until > self.now()

    def _add(
        self,
        name: str,
        data: bytes | None,
        *,
        lock_mode: LockMode = LockMode.NONE,
        retain_until: datetime | None = None,
    ) -> str:
        stored = _Stored(
            version_id=self._new_version_id(),
            data=data,
            modified=self.now(),
            lock_mode=lock_mode,
            retain_until=retain_until,
        )
        self._objects.setdefault(name, []).append(stored)
        return stored.version_id

    def _current(self, name: str) -> _Stored | None:
        versions = self._objects.get(name)
        return versions[-1] if versions and versions[-1].data is not None else None

    def _find(self, name: str, version_id: str | None) -> _Stored:
        validate_name(name)
        with self._guard:
            for stored in reversed(self._objects.get(name, [])):
                if version_id in {None, stored.version_id}:
                    return stored
        raise ObjectMissingError(f"{name} is not in the store")
