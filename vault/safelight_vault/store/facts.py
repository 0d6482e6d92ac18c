"""What a bucket says of its own settings, as far as locks depend on them.

The invariant: what could not be read is ``None`` ("unknown"), and never a pass.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from safelight_vault.store import LockMode, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFacts:
    """Settings of a bucket; ``default_mode`` and ``default_days`` are None without a default."""

    object_lock: bool | None
    versioning: bool | None
    default_mode: LockMode | None
    default_days: int | None


UNKNOWN_FACTS = BucketFacts(object_lock=None, versioning=None, default_mode=None, default_days=None)


@runtime_checkable
class KnowsBucketFacts(Protocol):
    """A store that lies in a bucket."""

    def bucket_facts(self) -> BucketFacts:
        """Read the bucket's settings anew."""
        ...


def facts_of(store: Store) -> BucketFacts:
    """The facts of the store's bucket; all unknown for a store that lies in none."""
    return store.bucket_facts() if isinstance(store, KnowsBucketFacts) else UNKNOWN_FACTS
