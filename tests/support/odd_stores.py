"""Stores that misbehave in ways a plan of failing operations cannot say: wrappers for tests.

Each counts how often it misbehaved, so that a test can tell that its fault happened.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from memory_store import MemoryStore
from safelight_vault.errors import NameTakenError
from safelight_vault.store import Buffers, Head, LockMode, Store, Version

ListingChange = Callable[[str, list[Version]], Iterable[Version]]
"""What becomes of the listing below a prefix."""


class PassingStore:
    """Hands everything to ``inner``; the base of the stores that change one thing."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.times = 0

    @property
    def url(self) -> str:
        """The inner store's URL."""
        return self.inner.url

    @property
    def lock_mode(self) -> LockMode:
        """The inner store's mode."""
        return self.inner.lock_mode

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """See :class:`Store`."""
        return self.inner.put(name, body, sha256=sha256, retain_until=retain_until)

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """See :class:`Store`."""
        return self.inner.get(name, version_id, offset=offset, length=length)

    def head(self, name: str, version_id: str | None = None) -> Head:
        """See :class:`Store`."""
        return self.inner.head(name, version_id)

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """See :class:`Store`."""
        return self.inner.list_versions(prefix)

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """See :class:`Store`."""
        self.inner.extend(name, version_id, retain_until)

    def now(self) -> datetime:
        """See :class:`Store`."""
        return self.inner.now()


class OddListings(PassingStore):
    """Listings are changed on their way."""

    def __init__(self, inner: Store, change: ListingChange) -> None:
        super().__init__(inner)
        self._change = change

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """A listing that is not what the store holds."""
        true = list(self.inner.list_versions(prefix))
        changed = list(self._change(prefix, true))
        self.times += changed != true
        return iter(changed)


class OddHeads(PassingStore):
    """Answers about locks are changed on their way."""

    def __init__(self, inner: Store, change: Callable[[Head], Head]) -> None:
        super().__init__(inner)
        self._change = change

    def head(self, name: str, version_id: str | None = None) -> Head:
        """A head that is not what the store holds."""
        true = self.inner.head(name, version_id)
        changed = self._change(true)
        self.times += changed != true
        return changed


class RepeatedRequests(PassingStore):
    """A proxy sends every write twice."""

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """The answer is that of the first request."""
        version_id = self.inner.put(name, body, sha256=sha256, retain_until=retain_until)
        with suppress(NameTakenError):
            self.inner.put(name, body, sha256=sha256, retain_until=retain_until)
        self.times += 1
        return version_id

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """Extending twice to one date."""
        super().extend(name, version_id, retain_until)
        super().extend(name, version_id, retain_until)


class DeafExtensions(PassingStore):
    """Says that locks were extended, and extends none."""

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """Nothing."""
        self.times += 1


class RottingStore(PassingStore):
    """A server that checks no digest and stores the first object of a kind with a flipped byte."""

    def __init__(self, inner: MemoryStore, name_prefix: str) -> None:
        super().__init__(inner)
        self._memory = inner
        self._prefix = name_prefix

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """The digest is that of the bytes that were sent."""
        version_id = super().put(name, body, sha256=sha256, retain_until=retain_until)
        if name.startswith(self._prefix) and not self.times:
            self.times += 1
            size_bytes = self.inner.head(name, version_id).size_bytes
            self._memory.damage(name, position=size_bytes // 2, version_id=version_id)
        return version_id
