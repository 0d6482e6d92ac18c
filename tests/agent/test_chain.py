"""The agent's own chain, as it is read from the vault before a run."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from safelight_agent.assembly import STATE_FILE
from safelight_agent.chain import (
    EMPTY,
    Chain,
    ForkedChainError,
    read_chain,
    source_id_of,
    with_memory,
)
from safelight_agent.file_table import ChainRow
from safelight_agent.membership import AGENT_KEY_FILE
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.key_files import read_agent_keys, read_trust
from vaults import Clock, VaultFixture, flip

TOMORROW = Clock().now() + timedelta(days=1)


def chain_of(vault: VaultFixture) -> Chain:
    trust = read_trust(vault.keys.trust)
    keys = read_agent_keys(vault.directory / "state-agent" / AGENT_KEY_FILE)
    agent_id = keys.signing_key.verifying_key.fingerprint[:16]
    return read_chain(vault.store, trust, agent_id, source_id_of(trust.vault_id, agent_id, "pacs"))


@pytest.fixture
def vault(tmp_path: Path) -> VaultFixture:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    vault = VaultFixture.create(tmp_path)
    vault.back_up("pacs", tree)
    return vault


def forget(vault: VaultFixture) -> None:
    """Delete the agent's local state, as the second place has another one."""
    for path in (vault.directory / "state-agent").glob(f"{STATE_FILE}*"):
        path.unlink()


def test_a_source_without_snapshots_has_an_empty_chain(tmp_path: Path) -> None:
    vault = VaultFixture.create(tmp_path)
    vault.agent()
    assert chain_of(vault) == EMPTY


def test_the_newest_snapshot_is_what_the_next_one_follows(vault: VaultFixture) -> None:
    vault.back_up("pacs", vault.directory / "tree")
    chain = chain_of(vault)
    names = [parse_name(name) for name in vault.names(Kind.SNAPSHOT)]
    assert (chain.sequence, chain.digest) == (2, names[-1].digest)
    assert [snapshot.sequence for snapshot in chain.past] == [2, 1]
    assert chain.past[0].predecessor == names[0].digest


def test_objects_that_prove_nothing_do_not_move_the_chain(vault: VaultFixture) -> None:
    before = chain_of(vault)
    real = parse_name(vault.names(Kind.SNAPSHOT)[0])
    junk = b"whoever may put may put this"
    assert real.owner is not None
    assert real.source is not None
    prefix = f"snapshots/{real.owner.hex()}/{real.source.hex()}"
    digest = hashlib.sha256(junk)
    name = f"{prefix}/9999999999-{digest.hexdigest()}"
    vault.store.put(
        name, [junk], sha256=digest.digest(), retain_until=vault.clock.now() + timedelta(days=1)
    )
    assert chain_of(vault) == before
    assert vault.back_up("pacs", vault.directory / "tree").complete


def test_a_damaged_newest_snapshot_is_not_followed(vault: VaultFixture) -> None:
    first = chain_of(vault)
    vault.back_up("pacs", vault.directory / "tree")
    vault.damage(vault.names(Kind.SNAPSHOT)[-1], flip(200))
    assert chain_of(vault) == first


def test_two_snapshots_of_one_number_stop_the_agent(vault: VaultFixture) -> None:
    # The same agent at work in two places: both follow the first snapshot.
    second = vault.back_up("pacs", vault.directory / "tree")
    newest = vault.names(Kind.SNAPSHOT)[-1]
    assert second.snapshot in newest
    kept = vault.store.get(newest)
    vault.remove(newest)
    forget(vault)
    vault.back_up("pacs", vault.directory / "tree")
    parsed = parse_name(newest)
    vault.store.put(
        newest, [kept], sha256=parsed.digest, retain_until=vault.clock.now() + timedelta(days=1)
    )
    with pytest.raises(ForkedChainError, match="2 snapshots number 2"):
        chain_of(vault)


ANY_CHAIN = Chain(sequence=4, digest=bytes(32), past=())


@pytest.mark.parametrize("known", [None, ChainRow(3, b"3" * 32, 0), ChainRow(4, bytes(32), 0)])
def test_a_memory_that_the_vault_goes_beyond_changes_nothing(known: ChainRow | None) -> None:
    assert with_memory(ANY_CHAIN, known) == ANY_CHAIN


def test_a_snapshot_that_the_vault_does_not_show_is_followed_all_the_same() -> None:
    followed = with_memory(ANY_CHAIN, ChainRow(6, b"6" * 32, 0))
    assert (followed.sequence, followed.digest) == (6, b"6" * 32)


def test_another_snapshot_of_the_number_that_is_remembered_stops_the_agent() -> None:
    with pytest.raises(ForkedChainError, match="number 4"):
        with_memory(ANY_CHAIN, ChainRow(4, b"4" * 32, 0))
