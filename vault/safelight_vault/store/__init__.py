"""Stores: named, versioned bytes under a retention lock, and nothing else.

The seam between the vault's format and the place where its objects lie. A store knows no format,
and the format knows no store. The invariant that every store keeps: *a version, once written, is
never changed, and before its ``retain_until`` it cannot be removed through this interface*. There
is no method to delete: the type that the agent holds cannot express it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

Buffers = Sequence[bytes | bytearray | memoryview]
"""The body of an object as pieces in order; a store must not keep or change them."""

NAME_LENGTH_MAX = 512
"""Longest object name (S3 allows 1024 bytes with the prefix)."""


class LockMode(Enum):
    """What stands behind an object's ``retain_until``."""

    NONE = "none"
    EMULATED = "emulated"
    """Kept by this program only: guards against mistakes, not against the host (file://)."""
    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One line of a version listing. A delete marker has size 0."""

    name: str
    version_id: str
    size_bytes: int
    is_latest: bool
    is_delete_marker: bool
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the store says of one version, lock included (``retain_until`` None: not locked)."""

    name: str
    version_id: str
    size_bytes: int
    lock_mode: LockMode
    retain_until: datetime | None


class Store(Protocol):
    """Named, versioned bytes with retention. Safe to call from several threads.

    Names are relative to the vault's URL, ASCII, ``/``-separated, and checked on the way in and on
    the way out. Errors are those of ``safelight_vault.errors``: ``ObjectMissingError`` (404 only),
    ``AccessDeniedError`` (403), ``NameTakenError`` (412), ``LockRefusedError``,
    ``StoreUnreachableError`` (time-outs, 5xx, SlowDown: never "corrupt").
    """

    @property
    def url(self) -> str:
        """The vault's URL without secrets, for messages."""
        ...

    @property
    def lock_mode(self) -> LockMode:
        """The mode in which ``put`` locks."""
        ...

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """Write a new object under lock and return its VersionId.

        ``sha256`` is the digest of the body; a store that can verifies it, ``file://`` does so
        itself. Raises ``NameTakenError`` when the name has a current version (a store that ignores
        conditional writes may instead add a second version; readers go by hash and VersionId).
        """
        ...

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Read a range of one version (None: the current one), exactly ``length`` bytes if given.

        A range that reaches past the end raises ``ObjectMissingError``; a short or overlong answer
        is retried and at last raises ``StoreUnreachableError``.
        """
        ...

    def head(self, name: str, version_id: str | None = None) -> Head:
        """Size and lock of one version, as the store itself reports them."""
        ...

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """Every version and delete marker below ``prefix``, by name, newest first within a name."""
        ...

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """Move the lock of one version to a later date; an earlier date is refused."""
        ...

    def now(self) -> datetime:
        """The store's own clock (aware, UTC)."""
        ...
