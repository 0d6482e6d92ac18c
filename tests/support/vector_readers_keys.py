"""Vectors of names, keys, seals and of what administrators sign: the product's decoders."""

from collections.abc import Mapping
from typing import Any

from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.configuration import decode_configuration
from safelight_vault.format.crypto import Identity, SigningKey
from safelight_vault.format.enrolment import decode_certificate, decode_request
from safelight_vault.format.grant import decode_grant
from safelight_vault.format.names import parse_name
from safelight_vault.format.run_key import RunKey, SealedRunKey
from safelight_vault.format.wire import Reader
from vector_context import (
    Value,
    administrator,
    dedup_keys,
    identities,
    identity,
    sha256_of,
    signer,
    vault_of,
)
from vector_index import Vector

OBJECT_ID = b"\x07" * 32
"""The id whose commitment stands in the index for a run key, which is never shown itself."""
PACK_LABEL = b"safelight/pack/v1"


def read_name(vector: Vector) -> Value:
    name = parse_name(vector.data().decode("utf-8"))
    parts = {
        "kind": name.kind.value,
        "owner": name.owner and name.owner.hex(),
        "source": name.source and name.source.hex(),
        "sequence": name.sequence,
        "digest": name.digest.hex(),
    }
    return {key: value for key, value in parts.items() if value is not None}


def read_identity(vector: Vector) -> Value:
    recipient = Identity(vector.data()).recipient
    return {"recipient": sha256_of(recipient.public), "fingerprint": recipient.fingerprint.hex()}


def read_signing_key(vector: Vector) -> Value:
    key = SigningKey(vector.data()).verifying_key
    return {
        "verifying_key": sha256_of(key.public),
        "fingerprint": key.fingerprint.hex(),
        "agent_id": key.fingerprint[:16].hex(),
    }


def read_run_key(vector: Vector) -> Value:
    run_key = RunKey(SealedRunKey(bytes(16), ()), vault_of(vector.given), vector.data())
    object_id = bytes.fromhex(vector.given["object_id"])
    key, commitment = run_key.object_key(object_id, vector.given["label"].encode())
    return {"commitment": commitment.hex(), "tag_of_nothing": key.seal(0, b"", b"").hex()}


def read_dedup_key(vector: Vector) -> Value:
    keys = DedupKeys.derive(vector.data(), vault_of(vector.given))
    return {
        "chunk_id_key": keys.chunk_id_key.hex(),
        "index_key": keys.index_key.hex(),
        "splitter_seed": keys.splitter_seed,
    }


def read_chunk(vector: Vector) -> Value:
    return {"chunk_id": dedup_keys().chunk_id(vector.data()).hex()}


def read_signature(vector: Vector) -> Value:
    message = bytes.fromhex(vector.given["message"])
    signer(vector.given).verifying_key.verify(message, vector.data())
    return {}


def read_sealed_key(vector: Vector) -> Value:
    info = bytes.fromhex(vector.given["info"])
    return {"key": identity(vector.given["identity"]).open(vector.data(), info).hex()}


def run_key_value(sealed: SealedRunKey, given: Mapping[str, Any]) -> Value:
    """Run id and recipients of a sealed run key and, opened, what it commits to."""
    value: Value = {
        "run_id": sealed.run_id.hex(),
        "recipients": [stanza.recipient.hex() for stanza in sealed.stanzas],
    }
    if "identities" in given:
        run_key = sealed.open(identities(given), vault_of(given))
        value["commitment"] = run_key.object_key(OBJECT_ID, PACK_LABEL)[1].hex()
    return value


def read_sealed_run_key(vector: Vector) -> Value:
    reader = Reader(vector.data(), "sealed run key")
    sealed = SealedRunKey.read(reader)
    reader.end()
    return run_key_value(sealed, vector.given)


def read_configuration(vector: Vector) -> Value:
    found = decode_configuration(
        vector.data(),
        vault_id=vault_of(vector.given),
        administrator_fingerprint=administrator(vector.given),
    )
    value: Value = {
        "sequence": found.sequence,
        "created": found.created_us,
        "epoch": found.epoch,
        "splitter_version": found.splitter_version,
        "recipients": [recipient.fingerprint.hex() for recipient in found.recipients],
    }
    if "identity" in vector.given:
        opener = identity(vector.given["identity"])
        value["dedup_key"] = found.open_dedup_key(opener, vault_of(vector.given)).hex()
    return value


def read_certificate(vector: Vector) -> Value:
    found = decode_certificate(
        vector.data(),
        vault_id=vault_of(vector.given),
        administrator_fingerprint=administrator(vector.given),
    )
    value: Value = {
        "label": found.label,
        "agent_id": found.agent_id.hex(),
        "sealing_key": found.sealing_key.fingerprint.hex(),
        "enrolled": found.enrolled_us,
        "epoch": found.epoch,
    }
    if "identity" in vector.given:
        opener = identity(vector.given["identity"])
        value["dedup_key"] = found.open_dedup_key(opener, vault_of(vector.given)).hex()
    return value


def read_request(vector: Vector) -> Value:
    found = decode_request(vector.data(), vault_id=vault_of(vector.given))
    return {
        "label": found.label,
        "agent_id": found.verifying_key.fingerprint[:16].hex(),
        "sealing_key": found.sealing_key.fingerprint.hex(),
    }


def read_grant(vector: Vector) -> Value:
    return run_key_value(decode_grant(vector.data(), vault_of(vector.given)), vector.given)
