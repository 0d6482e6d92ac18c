"""The keys and ids that the frozen vectors are read with, made of their seeds in the index."""

import hashlib
from collections.abc import Mapping
from typing import Any

from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.crypto import Identity, SigningKey
from vector_index import common

Value = dict[str, Any]


def vault_of(given: Mapping[str, Any]) -> bytes:
    """The vault that the reader believes to read."""
    return bytes.fromhex(given["vault"]) if "vault" in given else common().vault


def identity(name: str) -> Identity:
    """An identity of the index."""
    return Identity(common().identities[name])


def identities(given: Mapping[str, Any]) -> dict[bytes, Identity]:
    """The identities at hand, by fingerprint."""
    found = [identity(name) for name in given.get("identities", [])]
    return {each.recipient.fingerprint: each for each in found}


def signer(given: Mapping[str, Any]) -> SigningKey:
    """The key whose signature is wanted: the usual agent's, unless another one is given."""
    return SigningKey(common().signers[given.get("signer", "agent")])


def dedup_keys() -> DedupKeys:
    """The keys that follow from the vault's dedup key."""
    return DedupKeys.derive(common().dedup_key, common().vault)


def administrator(given: Mapping[str, Any]) -> bytes:
    """The fingerprint that the reader has pinned."""
    return bytes.fromhex(given.get("administrator", common().administrator))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
