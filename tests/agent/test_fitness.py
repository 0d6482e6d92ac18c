"""Fitness of a store: what it lacks is said before anything is put."""

from pathlib import Path

import pytest

from safelight_agent.fitness import UnfitStoreError, findings, require_fit
from safelight_vault.store import LockMode
from safelight_vault.store.facts import UNKNOWN_FACTS, BucketFacts
from vaults import VaultFixture


def facts(*, object_lock: bool | None = True, versioning: bool | None = True) -> BucketFacts:
    return BucketFacts(
        object_lock=object_lock, versioning=versioning, default_mode=None, default_days=None
    )


def test_a_bucket_that_locks_is_fit() -> None:
    assert findings(facts(), LockMode.COMPLIANCE, accept_emulated=False) == []


def test_what_could_not_be_read_is_no_finding() -> None:
    assert findings(UNKNOWN_FACTS, LockMode.COMPLIANCE, accept_emulated=False) == []


def test_a_bucket_without_lock_or_versioning_is_unfit() -> None:
    found = findings(
        facts(object_lock=False, versioning=False), LockMode.COMPLIANCE, accept_emulated=True
    )
    assert len(found) == 2


def test_emulated_locks_must_be_accepted_by_name(tmp_path: Path) -> None:
    vault = VaultFixture.create(tmp_path)
    require_fit(vault.store, accept_emulated=True)
    with pytest.raises(UnfitStoreError, match="only emulated") as caught:
        require_fit(vault.store, accept_emulated=False)
    assert caught.value.exit_code == 5
    assert "accept_emulated_locks" in caught.value.next_step
