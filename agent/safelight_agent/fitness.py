"""Fitness: whether a store may be trusted with a backup at all, judged before anything is put.

The invariant: nothing is written into a bucket that cannot lock it, and locks that are only
emulated count for nothing unless the configuration accepts them by name.
"""

from safelight_vault.errors import RefusedError
from safelight_vault.store import LockMode, Store
from safelight_vault.store.facts import BucketFacts, facts_of


class UnfitStoreError(RefusedError):
    """The store cannot keep what it is given."""

    remedy = (
        "Use a bucket that was created with Object Lock, and keep versioning enabled on it; for a "
        "directory, set vault.accept_emulated_locks = true once you have read what it promises."
    )


def findings(facts: BucketFacts, lock_mode: LockMode, *, accept_emulated: bool) -> list[str]:
    """What makes the store unfit; what could not be read is no finding here. Pure."""
    found = []
    if lock_mode is LockMode.EMULATED and not accept_emulated:
        found.append("its locks are only emulated: whoever controls the disk can remove everything")
    if facts.object_lock is False:
        found.append("Object Lock is not enabled on the bucket")
    if facts.versioning is False:
        found.append("versioning is not enabled on the bucket")
    return found


def require_fit(store: Store, *, accept_emulated: bool) -> None:
    """Raise ``UnfitStoreError`` with all findings."""
    found = findings(facts_of(store), store.lock_mode, accept_emulated=accept_emulated)
    if found:
        raise UnfitStoreError(f"{store.url} is unfit for backups: " + "; ".join(found))
