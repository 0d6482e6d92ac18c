"""What the independent reader says of frozen vectors: names, keys, packs and lists of objects.

The invariant: the product is not asked. Everything comes from the reader that was written from the
format document.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import independent_keys as keys
import independent_packs as packs
import independent_structures as structures
from vector_index import Vector, common

Value = dict[str, Any]
OBJECT_ID = b"\x07" * 32


def vault_id_of(given: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(given["vault"]) if "vault" in given else common().vault


def administrator_of(given: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(given.get("administrator", common().administrator))


def _identity(name: str) -> keys.Identity:
    return keys.Identity(common().identities[name])


def identities_of(given: Mapping[str, Any]) -> dict[bytes, keys.Identity]:
    found = [_identity(name) for name in given.get("identities", [])]
    return {each.fingerprint: each for each in found}


def _verifying_key(given: Mapping[str, Any]) -> bytes:
    return keys.verifying_key_of(common().signers[given.get("signer", "agent")])


def _dedup_keys() -> keys.DedupKeys:
    return keys.derive_dedup_keys(common().dedup_key, common().vault)


def hexadecimal(value: Any) -> Any:
    """Bytes as hexadecimal digits, at any depth of lists."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [hexadecimal(each) for each in value]
    return value


def values(**values: Any) -> Value:
    return {name: hexadecimal(value) for name, value in values.items()}


# ------------------------------------------------------------------------------ names and keys


def name(vector: Vector) -> Value:
    found = structures.parse_name(vector.data().decode("utf-8"))
    parts = {"owner": found.owner, "source": found.source, "sequence": found.sequence}
    present = {part: value for part, value in parts.items() if value}
    return values(kind=found.kind, digest=found.digest, **present)


def identity(vector: Vector) -> Value:
    found = keys.Identity(vector.data())
    return values(recipient=keys.sha256(found.recipient), fingerprint=found.fingerprint)


def signing_key(vector: Vector) -> Value:
    public = keys.verifying_key_of(vector.data())
    fingerprint = keys.verifying_key_fingerprint(public)
    return values(
        verifying_key=keys.sha256(public), fingerprint=fingerprint, agent_id=fingerprint[:16]
    )


def run_key(vector: Vector) -> Value:
    given = vector.given
    key, commitment = keys.object_key(
        vector.data(),
        bytes.fromhex(given["object_id"]),
        given["label"].encode(),
        vault_id_of(given),
    )
    tag = AESGCM(key).encrypt(bytes(12), b"", b"")
    return values(commitment=commitment, tag_of_nothing=tag)


def dedup_key(vector: Vector) -> Value:
    return values(**asdict(keys.derive_dedup_keys(vector.data(), vault_id_of(vector.given))))


def chunk(vector: Vector) -> Value:
    return values(chunk_id=packs.chunk_id(_dedup_keys().chunk_id_key, vector.data()))


def signature(vector: Vector) -> Value:
    message = bytes.fromhex(vector.given["message"])
    keys.verify_signature(_verifying_key(vector.given), message, vector.data(), "signature")
    return {}


def sealed_key(vector: Vector) -> Value:
    opener, info = _identity(vector.given["identity"]), bytes.fromhex(vector.given["info"])
    return values(key=opener.open_key(vector.data(), info))


def any_run_key(sealed: structures.SealedRunKey, given: Mapping[str, Any]) -> bytes:
    opened = list(structures.open_run_key(sealed, vault_id_of(given), identities_of(given)))
    if not opened:
        raise keys.WrongIdentity("not sealed to an identity at hand")
    for each in opened:
        if each is not None:
            return each
    raise keys.Corrupt("no stanza opens")


def _sealed_run_key(sealed: structures.SealedRunKey, given: Mapping[str, Any]) -> Value:
    value = values(run_id=sealed.run_id, recipients=[each[0] for each in sealed.stanzas])
    if "identities" in given:
        opened = any_run_key(sealed, given)
        both = keys.object_key(opened, OBJECT_ID, b"safelight/pack/v1", vault_id_of(given))
        value["commitment"] = both[1].hex()
    return value


def sealed_run_key(vector: Vector) -> Value:
    fields = keys.Fields(vector.data(), "sealed run key")
    sealed = structures.read_sealed_run_key(fields)
    fields.end()
    return _sealed_run_key(sealed, vector.given)


def grant(vector: Vector) -> Value:
    sealed = structures.read_grant(vector.data(), vault_id_of(vector.given))
    return _sealed_run_key(sealed, vector.given)


def configuration(vector: Vector) -> Value:
    given, vault_id = vector.given, vault_id_of(vector.given)
    found = structures.read_configuration(vector.data(), vault_id, administrator_of(given))
    value = values(
        sequence=found.sequence,
        created=found.created,
        epoch=found.epoch,
        splitter_version=found.splitter_version,
        recipients=[keys.recipient_fingerprint(each) for each in found.recipients],
    )
    if "identity" in given:
        opener = _identity(given["identity"])
        opened = found.open_dedup_key(vault_id, {opener.fingerprint: opener})
        value["dedup_key"] = opened.hex()
    return value


def certificate(vector: Vector) -> Value:
    given, vault_id = vector.given, vault_id_of(vector.given)
    found = structures.read_certificate(vector.data(), vault_id, administrator_of(given))
    value = _request(found) | values(enrolled=found.enrolled, epoch=found.epoch)
    if "identity" in given:
        value["dedup_key"] = found.open_dedup_key(vault_id, _identity(given["identity"])).hex()
    return value


def request(vector: Vector) -> Value:
    return _request(structures.read_request(vector.data(), vault_id_of(vector.given)))


def _request(found: structures.Request) -> Value:
    sealing_key = keys.recipient_fingerprint(found.sealing_key)
    return values(label=found.label, agent_id=found.agent_id, sealing_key=sealing_key)


def key_file(vector: Vector) -> Value:
    found = keys.parse_key_file(vector.data(), vector.given["wanted"])
    value: Value = {
        part: found[part].hex() for part in ("vault", "administrator", "recipient") if part in found
    }
    recipients = [found[part] for part in found if part.startswith("recipient_")]
    if recipients:
        value |= values(recipients=[keys.recipient_fingerprint(each) for each in recipients])
    if vector.given["wanted"] == "safelight-administrator":
        public = keys.verifying_key_of(found["secret"])
        value["agent_id"] = keys.verifying_key_fingerprint(public)[:16].hex()
    if vector.given["wanted"] == "safelight-agent":
        public = keys.verifying_key_of(found["signing_secret"])
        value["agent_id"] = keys.verifying_key_fingerprint(public)[:16].hex()
        value["sealing_key"] = keys.Identity(found["sealing_secret"]).fingerprint.hex()
    return value


# ---------------------------------------------------------------------- packs, and lists of them


def block(vector: Vector) -> Value:
    plain = packs.decode_block(vector.data())
    return values(size=len(plain), sha256=keys.sha256(plain))


def _directory(found: packs.Directory) -> Value:
    return values(
        pack_id=found.pack_id,
        source_id=found.source_id,
        stream=found.stream,
        epoch=found.epoch,
        blocks_offset=found.blocks_offset,
        blocks=[[each.sealed_length, each.chunks] for each in found.blocks],
    )


def directory(vector: Vector) -> Value:
    return _directory(packs.read_directory(vector.data()))


def pack_blocks(vector: Vector) -> Value:
    data, vault_id = vector.data(), vault_id_of(vector.given)
    header = packs.read_pack_header(data, vault_id)
    opened = any_run_key(header.sealed_run_key, vector.given)
    key, commitment = keys.object_key(opened, header.pack_id, b"safelight/pack/v1", vault_id)
    keys.require(commitment == header.commitment, "pack: the commitment is of another key")
    plains = [
        packs.open_block(
            key, number, data[start : start + length], pack_id=header.pack_id, vault_id=vault_id
        )
        for number, start, length in vector.given["blocks"]
    ]
    return values(
        vault=vault_id,
        pack_id=header.pack_id,
        agent_id=header.agent_id,
        run_id=header.sealed_run_key.run_id,
        recipients=[each[0] for each in header.sealed_run_key.stanzas],
        header_digest=header.digest,
        blocks=[[len(plain), keys.sha256(plain)] for plain in plains],
    )


def pack_directory(vector: Vector) -> Value:
    return _directory(
        packs.open_directory(
            vector.data(),
            vault_id=vault_id_of(vector.given),
            index_key=_dedup_keys().index_key,
            verifying_key=_verifying_key(vector.given),
        )
    )


def index(vector: Vector) -> Value:
    found = packs.read_index(
        vector.data(),
        vault_id=vault_id_of(vector.given),
        index_key=_dedup_keys().index_key,
        verifying_key=_verifying_key(vector.given),
    )
    return {
        "packs": [
            values(
                digest=each.digest,
                header_digest=each.header_digest,
                version_id=each.version_id,
                size=each.size,
            )
            | {"directory": _directory(each.directory)}
            for each in found
        ]
    }


def reference_value(found: packs.Reference) -> Value:
    digest = {"header_digest": found.header_digest} if found.header_digest else {}
    return values(name=found.name.text, version_id=found.version_id, size=found.size, **digest)


def reference_segment(vector: Vector) -> Value:
    found = packs.read_segment(vector.data(), vault_id_of(vector.given))
    return {"references": [reference_value(each) for each in found]}


def decoded_table(vector: Vector) -> packs.Table:
    return packs.read_table(
        vector.data(),
        vault_id=vault_id_of(vector.given),
        verifying_key=_verifying_key(vector.given),
    )


def table(vector: Vector) -> Value:
    found = decoded_table(vector)
    return values(
        agent_id=found.agent_id,
        source_id=found.source_id,
        sequence=found.sequence,
        object_count=found.object_count,
        size=found.size,
    ) | {"segments": [reference_value(each) for each in found.segments]}
