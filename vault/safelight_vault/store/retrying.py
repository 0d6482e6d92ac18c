"""A store that tries again: a wrapper around any other store.

The invariant: a caller sees what the inner store would have said, only later. In particular a put
whose answer was lost, and which finds its own object on the second try, says ``NameTakenError``:
whether that object is the one meant is the vault's to find out, by its hash.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from safelight_vault.errors import StoreUnreachableError
from safelight_vault.store import Buffers, Head, LockMode, Store, Version
from safelight_vault.store.backoff import Backoff
from safelight_vault.store.facts import BucketFacts, facts_of


class RetryingStore:
    """Repeats every operation of ``inner`` that ends in ``StoreUnreachableError``.

    All operations of a store may be repeated: a put is conditional or makes one more version of
    the same bytes, and to extend a lock twice to one date changes nothing.
    """

    def __init__(
        self,
        inner: Store,
        *,
        attempts: int,
        sleep: Callable[[float], None],
        uniform: Callable[[float, float], float],
        base_seconds: float = 0.5,
        cap_seconds: float = 20.0,
        listing_attempts: int | None = None,
    ) -> None:
        """``listing_attempts`` (default ``attempts``): 1 for a store that repeats its own pages."""
        self._inner = inner
        self._backoff = Backoff(
            attempts=attempts,
            base_seconds=base_seconds,
            cap_seconds=cap_seconds,
            sleep=sleep,
            uniform=uniform,
        )
        self._listing_backoff = Backoff(
            attempts=attempts if listing_attempts is None else listing_attempts,
            base_seconds=base_seconds,
            cap_seconds=cap_seconds,
            sleep=sleep,
            uniform=uniform,
        )

    @property
    def url(self) -> str:
        """The inner store's URL."""
        return self._inner.url

    @property
    def lock_mode(self) -> LockMode:
        """The inner store's mode."""
        return self._inner.lock_mode

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """See :class:`Store`; after a lost answer the second try may say ``NameTakenError``."""
        return self._backoff.call(
            lambda: self._inner.put(name, body, sha256=sha256, retain_until=retain_until)
        )

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """See :class:`Store`."""
        return self._backoff.call(
            lambda: self._inner.get(name, version_id, offset=offset, length=length)
        )

    def head(self, name: str, version_id: str | None = None) -> Head:
        """See :class:`Store`."""
        return self._backoff.call(lambda: self._inner.head(name, version_id))

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """See :class:`Store`. A listing that breaks is started anew and goes on where it stopped.

        What was handed out already is known by its order: names only grow, and within one name the
        versions seen are remembered. Nothing is left out before something broke, whatever the
        order. Only failures in a row count, so that a long listing over a poor line ends as long
        as it moves at all.
        """
        last_name = ""
        seen_of_last: set[str] = set()
        failures = 0
        resumed = False
        while True:
            try:
                for version in self._inner.list_versions(prefix):
                    if version.name != last_name:
                        if resumed and version.name < last_name:
                            continue
                        last_name = version.name
                        seen_of_last.clear()
                    elif resumed and version.version_id in seen_of_last:
                        continue
                    seen_of_last.add(version.version_id)
                    failures = 0
                    yield version
            except StoreUnreachableError as error:
                failures += 1
                resumed = True
                self._listing_backoff.pause_or_raise(failures, error)
            else:
                return

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """See :class:`Store`."""
        self._backoff.call(lambda: self._inner.extend(name, version_id, retain_until))

    def now(self) -> datetime:
        """See :class:`Store`."""
        return self._backoff.call(self._inner.now)

    def bucket_facts(self) -> BucketFacts:
        """What the inner store knows of its bucket; all unknown if it lies in none."""
        return self._backoff.call(lambda: facts_of(self._inner))
