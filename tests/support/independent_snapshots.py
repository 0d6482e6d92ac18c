"""An independent reader, fifth part: what a snapshot says, openly and sealed (format.md, 9.3).

The invariant: an envelope comes out only if the pinned administrator vouches for the key that
signed it, and a root only out of the snapshot that it was made for.
"""

import re
from dataclasses import dataclass

from independent_keys import Fields, Unsupported, open_seal, require
from independent_packs import Reference, read_reference
from independent_structures import (
    BODY_SIZE_MAX,
    Certificate,
    SealedRunKey,
    Structure,
    read_certificate,
    read_sealed_run_key,
    read_sequence,
    read_signed,
)
from independent_tables import TreeRoot, read_tree_root

SOURCE_NAME = re.compile("[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRoot:
    """The end of an envelope: what opens with a run key."""

    body_id: bytes
    commitment: bytes
    sealed_run_key: SealedRunKey
    version: int
    sealed: bytes


def read_sealed_root(fields: Fields) -> SealedRoot:
    return SealedRoot(
        body_id=fields.fixed(32),
        commitment=fields.fixed(32),
        sealed_run_key=read_sealed_run_key(fields),
        version=fields.choice(range(1, 256)),
        sealed=fields.var(BODY_SIZE_MAX),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a snapshot says in the clear; signature and certificate are verified."""

    agent_id: bytes
    source_id: bytes
    sequence: int
    predecessor: bytes
    created: int
    retention_class: int
    retain_until: int
    flags: int
    table: Reference
    certificate: Certificate
    sealed_root: SealedRoot


def read_envelope(data: bytes, vault_id: bytes, administrator: bytes) -> Envelope:
    signed = read_signed(data, Structure.SNAPSHOT, vault_id)
    fields = Fields(signed.body, "SNAPSHOT")
    envelope = Envelope(
        agent_id=fields.fixed(16),
        source_id=fields.fixed(16),
        sequence=read_sequence(fields),
        predecessor=fields.fixed(32),
        created=fields.time(),
        retention_class=fields.choice((1, 2, 3)),
        retain_until=fields.time(),
        flags=fields.choice((0, 1, 2, 3, 4, 6)),
        table=read_reference(fields),
        certificate=read_certificate(fields.var(65_536), vault_id, administrator),
        sealed_root=read_sealed_root(fields),
    )
    fields.end()
    signed.verify(envelope.certificate.verifying_key)
    is_own = envelope.agent_id == envelope.certificate.agent_id
    require(is_own, "SNAPSHOT: of another agent than its certificate")
    is_first = envelope.predecessor == bytes(32)
    require(is_first == (envelope.sequence == 1), "SNAPSHOT: predecessor and sequence do not fit")
    table = envelope.table.name
    is_own = (table.kind, table.owner) == ("tables", envelope.agent_id)
    require(is_own, "SNAPSHOT: names something else than its agent's table")
    return envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What a snapshot says under its seal."""

    source_name: str
    source_kind: int
    started: int
    files: int
    size: int
    failed_files: int
    vanished_files: int
    skipped_files: int
    manifest: TreeRoot
    catalogue: TreeRoot
    failures: TreeRoot


def open_root(
    sealed: SealedRoot,
    key: bytes,
    *,
    vault_id: bytes,
    agent_id: bytes,
    source_id: bytes,
    sequence: int,
) -> Root:
    """Open the root with its key, as that of the snapshot with these ids and number."""
    if sealed.version > 1:
        raise Unsupported(f"root of a snapshot: version {sealed.version}")
    aad = b"safelight/snapshot-root/v1\0" + vault_id + agent_id + source_id
    aad += sequence.to_bytes(8, "big") + bytes([sealed.version])
    fields = Fields(open_seal(key, 0, sealed.sealed, aad, "root of a snapshot"), "root")
    root = Root(
        source_name=fields.text(63),
        source_kind=fields.choice((1, 2)),
        started=fields.time(),
        files=fields.unsigned(8),
        size=fields.unsigned(8),
        failed_files=fields.unsigned(8),
        vanished_files=fields.unsigned(8),
        skipped_files=fields.unsigned(8),
        manifest=read_tree_root(fields),
        catalogue=read_tree_root(fields),
        failures=read_tree_root(fields),
    )
    fields.end()
    require(bool(SOURCE_NAME.fullmatch(root.source_name)), "root: bad source name")
    return root
