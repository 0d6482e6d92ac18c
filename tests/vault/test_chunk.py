"""Chunk ids: equal for equal bytes within a vault, and for nobody who lacks the dedup key."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from keys import DEDUP_KEY, DEDUP_KEYS, OTHER_VAULT_ID, VAULT_ID, fixed_bytes
from safelight_vault.format.chunk import CHUNK_ID_SIZE, DedupKeys
from safelight_vault.format.crypto import derive


@given(st.binary(max_size=300))
def test_an_id_is_blake3_keyed_by_the_derived_key(chunk: bytes) -> None:
    key = derive(DEDUP_KEY, salt=VAULT_ID, label=b"safelight/chunk-id/v1")
    expected = blake3(chunk, key=key).digest()
    assert len(expected) == CHUNK_ID_SIZE
    assert DEDUP_KEYS.chunk_id(chunk) == expected


@given(st.binary(max_size=300))
def test_the_kind_of_buffer_does_not_matter(chunk: bytes) -> None:
    expected = DEDUP_KEYS.chunk_id(chunk)
    assert DEDUP_KEYS.chunk_id(bytearray(chunk)) == expected
    assert DEDUP_KEYS.chunk_id(memoryview(chunk)) == expected


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_different_chunks_have_different_ids(one: bytes, other: bytes) -> None:
    assert (DEDUP_KEYS.chunk_id(one) == DEDUP_KEYS.chunk_id(other)) == (one == other)


def test_ids_say_nothing_without_the_key() -> None:
    other_key = DedupKeys.derive(fixed_bytes("other dedup key"), VAULT_ID)
    other_vault = DedupKeys.derive(DEDUP_KEY, OTHER_VAULT_ID)
    ids = {keys.chunk_id(b"chunk") for keys in (DEDUP_KEYS, other_key, other_vault)}
    assert len({*ids, blake3(b"chunk").digest()}) == 4


def test_the_derived_keys_are_independent_of_each_other() -> None:
    seed = DEDUP_KEYS.splitter_seed
    assert 0 <= seed < 2**64
    derived = {DEDUP_KEYS.chunk_id_key, DEDUP_KEYS.index_key, DEDUP_KEY}
    assert len(derived) == 3
    assert not any(seed.to_bytes(8, "big") in key for key in derived)


@pytest.mark.parametrize("vault_id", [VAULT_ID, OTHER_VAULT_ID])
def test_derivation_is_deterministic(vault_id: bytes) -> None:
    assert DedupKeys.derive(DEDUP_KEY, vault_id) == DedupKeys.derive(DEDUP_KEY, vault_id)


def test_the_keys_are_not_shown() -> None:
    shown = repr(DEDUP_KEYS)
    assert DEDUP_KEYS.chunk_id_key.hex() not in shown
    assert repr(DEDUP_KEYS.index_key)[2:-1] not in shown
    assert str(DEDUP_KEYS.splitter_seed) not in shown
