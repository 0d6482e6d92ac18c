"""Vectors of snapshots, key files and the rules for cutting tables: the product's decoders."""

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pages import Pair, TreeRoot, page_groups
from safelight_vault.format.references import Reference, segments_of
from safelight_vault.format.run_key import COMMITMENT_SIZE, SealedRunKey
from safelight_vault.format.snapshot import (
    BODY_ID_SIZE,
    NO_PREDECESSOR,
    RetentionClass,
    Root,
    SealedRoot,
    Snapshot,
    decode_root,
    decode_snapshot,
)
from safelight_vault.format.wire import Reader
from safelight_vault.key_files import (
    Trust,
    read_administrator,
    read_agent_keys,
    read_identity,
    read_trust,
)
from vector_context import Value, administrator, identities, vault_of
from vector_index import Vector
from vector_readers_packs import reference_value
from vector_readers_pages import place_value


def tree_value(tree: TreeRoot) -> Value:
    """The root of a page tree."""
    return {
        "levels": tree.levels,
        "entry_count": tree.entry_count,
        "pages": [[key.hex(), place_value(place)] for key, place in tree.pages],
    }


def counts_value(root: Root) -> Value:
    """What a root says but for its trees."""
    return {
        "source_name": root.source_name,
        "source_kind": int(root.source_kind),
        "started": root.started_us,
        "files": root.files,
        "bytes": root.bytes,
        "failed_files": root.failed_files,
        "vanished_files": root.vanished_files,
        "skipped_files": root.skipped_files,
    }


def root_value(snapshot: Snapshot, given: Mapping[str, Any]) -> Value:
    """The root of a snapshot, opened."""
    run_key = snapshot.root.run_key.open(identities(given), vault_of(given))
    root = decode_root(snapshot, run_key)
    return {
        **counts_value(root),
        "manifest": tree_value(root.manifest),
        "catalogue": tree_value(root.catalogue),
        "failures": tree_value(root.failures),
    }


def read_root_alone(vector: Vector) -> Value:
    """The end of an envelope, from the body id on, in the snapshot that is given."""
    reader = Reader(vector.data(), "sealed root")
    sealed = SealedRoot(
        body_id=reader.fixed(BODY_ID_SIZE),
        commitment=reader.fixed(COMMITMENT_SIZE),
        run_key=SealedRunKey.read(reader),
        version=reader.u8(),
        sealed=reader.var(1 << 20),
    )
    reader.end()
    agent_id = bytes.fromhex(vector.given["agent_id"])
    table = ObjectName(kind=Kind.TABLE, owner=agent_id, digest=bytes(32))
    snapshot = Snapshot(
        agent_id=agent_id,
        source_id=bytes.fromhex(vector.given["source_id"]),
        sequence=vector.given["sequence"],
        predecessor=NO_PREDECESSOR,
        created_us=0,
        retention_class=RetentionClass.DAILY,
        retain_until_us=0,
        complete=True,
        suspect=False,
        checkpoint=False,
        table=Reference(table, "1", 0),
        certificate=b"",
        root=sealed,
    )
    return root_value(snapshot, vector.given)


def envelope_value(snapshot: Snapshot) -> Value:
    """What everybody can read of a snapshot."""
    return {
        "agent_id": snapshot.agent_id.hex(),
        "source_id": snapshot.source_id.hex(),
        "sequence": snapshot.sequence,
        "predecessor": snapshot.predecessor.hex(),
        "created": snapshot.created_us,
        "retention_class": int(snapshot.retention_class),
        "retain_until": snapshot.retain_until_us,
        "complete": snapshot.complete,
        "suspect": snapshot.suspect,
        "checkpoint": snapshot.checkpoint,
        "table": reference_value(snapshot.table),
    }


def read_snapshot(vector: Vector) -> Value:
    snapshot, certificate = decode_snapshot(
        vector.data(),
        vault_id=vault_of(vector.given),
        administrator_fingerprint=administrator(vector.given),
    )
    value = {**envelope_value(snapshot), "label": certificate.label}
    if "identities" in vector.given:
        value["root"] = root_value(snapshot, vector.given)
    return value


def _as_key_file(data: bytes, read: Callable[[Path], Value]) -> Value:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "key")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return read(path)


def _trust_value(trust: Trust) -> Value:
    return {
        "vault": trust.vault_id.hex(),
        "administrator": trust.administrator_fingerprint.hex(),
    }


def _identity_file(path: Path) -> Value:
    found = read_identity(path)
    fingerprint = found.identity.recipient.fingerprint.hex()
    return {**_trust_value(found.trust), "recipient": fingerprint}


def _administrator_file(path: Path) -> Value:
    trust, key = read_administrator(path)
    return {**_trust_value(trust), "agent_id": key.verifying_key.fingerprint[:16].hex()}


def _agent_file(path: Path) -> Value:
    keys = read_agent_keys(path)
    return {
        "vault": keys.vault_id.hex(),
        "agent_id": keys.signing_key.verifying_key.fingerprint[:16].hex(),
        "sealing_key": keys.sealing_identity.recipient.fingerprint.hex(),
    }


def _trust_file(path: Path) -> Value:
    trust = read_trust(path)
    recipients = [recipient.fingerprint.hex() for recipient in trust.recipients]
    return {**_trust_value(trust), "recipients": recipients}


_KEY_FILES = {
    "safelight-identity": _identity_file,
    "safelight-administrator": _administrator_file,
    "safelight-agent": _agent_file,
    "safelight-trust": _trust_file,
}


def read_key_file(vector: Vector) -> Value:
    return _as_key_file(vector.data(), _KEY_FILES[vector.given["wanted"]])


def read_page_cuts(vector: Vector) -> Value:
    """The keys at which pages begin, if a level consists of the entries that the file describes."""
    table = tomllib.loads(vector.data().decode())
    value = bytes(table["value_size"])
    entries: list[Pair] = [(b"%06d" % number, value) for number in range(table["count"])]
    begins = [
        [group[0][0].decode() for group in page_groups(entries, level)] for level in table["levels"]
    ]
    return {"pages_begin_at": begins}


def read_segment_cuts(vector: Vector) -> Value:
    """The lengths of the segments of a table of so many packs, named by hashes of numbers."""
    table = tomllib.loads(vector.data().decode())
    owner = bytes.fromhex(table["agent_id"])
    names = [
        ObjectName(kind=Kind.PACK, owner=owner, digest=hashlib.sha256(b"%d" % number).digest())
        for number in range(table["count"])
    ]
    segments = segments_of(Reference(name, "1", 1, bytes(32)) for name in names)
    return {"references_in_segments": [len(segment) for segment in segments]}
