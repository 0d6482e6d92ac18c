"""Snapshots: the small signed record that commits a run, and the sealed root of its tables.

The envelope is in the clear and frozen for ever: who, which source, the place in the chain, the
retention class, the reference table. The root (source name, counts, page trees) is sealed to the
recipients. format.md section 9.3.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    ForeignVaultError,
    UnsupportedFormatError,
)
from safelight_vault.format.crypto import SigningKey
from safelight_vault.format.enrolment import (
    CERTIFICATE_SIZE_MAX,
    Certificate,
    decode_certificate,
)
from safelight_vault.format.envelope import BODY_SIZE_MAX, Structure, decode_signed, encode_signed
from safelight_vault.format.names import DIGEST_SIZE, ID_SIZE, SEQUENCE_MAX, Kind
from safelight_vault.format.pages import TreeRoot, read_root, write_root
from safelight_vault.format.references import Reference
from safelight_vault.format.run_key import COMMITMENT_SIZE, RunKey, SealedRunKey
from safelight_vault.format.wire import Reader, Writer

BODY_ID_SIZE = 32
ROOT_VERSION = 1
SOURCE_NAME_SIZE_MAX = 63
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
NO_PREDECESSOR = bytes(DIGEST_SIZE)

_LABEL = b"safelight/snapshot-root/v1"


class RetentionClass(IntEnum):
    """How long a snapshot is kept; fixed at commit (design section 6)."""

    DAILY = 1
    MONTHLY = 2
    YEARLY = 3


class SourceKind(IntEnum):
    """What the snapshot was made of."""

    TREE = 1
    COMMAND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRoot:
    """The root as it stands in the envelope: sealed, with the key stanzas beside it."""

    body_id: bytes
    commitment: bytes
    run_key: SealedRunKey
    version: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What only an identity can read: where the files are, and what the run counted.

    ``files`` and ``bytes`` count regular files and their logical sizes. ``failed_files`` could not
    be read and are listed in the tree ``failures``.
    """

    source_name: str
    source_kind: SourceKind
    started_us: int
    files: int
    bytes: int
    failed_files: int
    vanished_files: int
    skipped_files: int
    manifest: TreeRoot
    catalogue: TreeRoot
    failures: TreeRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot's envelope. Times are microseconds since 1970 UTC, as the agent claims them."""

    agent_id: bytes
    source_id: bytes
    sequence: int
    predecessor: bytes
    created_us: int
    retention_class: RetentionClass
    retain_until_us: int
    complete: bool
    suspect: bool
    checkpoint: bool
    """Committed in the middle of a long run: files not yet reached are missing, not deleted."""
    table: Reference
    certificate: bytes
    root: SealedRoot


@dataclass(frozen=True, slots=True)
class RootContext:
    """Which snapshot a root belongs to; its seal opens for no other."""

    agent_id: bytes
    source_id: bytes
    sequence: int

    def bound(self, vault_id: bytes) -> bytes:
        """The associated data of the seal."""
        where = self.agent_id + self.source_id + self.sequence.to_bytes(8, "big")
        return _LABEL + b"\x00" + vault_id + where + bytes([ROOT_VERSION])


def encode_root(root: Root, run_key: RunKey, body_id: bytes, context: RootContext) -> SealedRoot:
    """Seal a root under the run key; ``body_id`` is random and used once."""
    writer = Writer()
    writer.text(root.source_name, SOURCE_NAME_SIZE_MAX)
    writer.u8(root.source_kind)
    writer.i64(root.started_us)
    for count in (
        root.files,
        root.bytes,
        root.failed_files,
        root.vanished_files,
        root.skipped_files,
    ):
        writer.u64(count)
    for tree in (root.manifest, root.catalogue, root.failures):
        write_root(writer, tree)
    key, commitment = run_key.object_key(body_id, _LABEL)
    return SealedRoot(
        body_id=body_id,
        commitment=commitment,
        run_key=run_key.sealed,
        version=ROOT_VERSION,
        sealed=key.seal(0, writer.finish(), context.bound(run_key.vault_id)),
    )


def decode_root(snapshot: Snapshot, run_key: RunKey) -> Root:
    """Open and decode the root of a snapshot with its open run key."""
    sealed = snapshot.root
    context = RootContext(snapshot.agent_id, snapshot.source_id, snapshot.sequence)
    if sealed.version == 0:
        raise DecodeError("snapshot root: version 0")
    if sealed.version > ROOT_VERSION:
        raise UnsupportedFormatError(f"snapshot root version {sealed.version} is too new")
    key = run_key.committed_key(sealed.body_id, _LABEL, sealed.commitment)
    reader = Reader(key.open(0, sealed.sealed, context.bound(run_key.vault_id)), "snapshot root")
    root = Root(
        source_name=reader.text(SOURCE_NAME_SIZE_MAX),
        source_kind=reader.choice(SourceKind),
        started_us=reader.time_us(),
        files=reader.u64(),
        bytes=reader.u64(),
        failed_files=reader.u64(),
        vanished_files=reader.u64(),
        skipped_files=reader.u64(),
        manifest=read_root(reader),
        catalogue=read_root(reader),
        failures=read_root(reader),
    )
    reader.end()
    if not SOURCE_NAME.fullmatch(root.source_name):
        raise reader.fail("the source's name is not one that a source can have")
    return root


def encode_snapshot(vault_id: bytes, snapshot: Snapshot, signer: SigningKey) -> bytes:
    """A whole snapshot object, signed by the agent."""
    writer = Writer()
    writer.fixed(snapshot.agent_id, ID_SIZE)
    writer.fixed(snapshot.source_id, ID_SIZE)
    writer.u64(snapshot.sequence)
    writer.fixed(snapshot.predecessor, DIGEST_SIZE)
    writer.i64(snapshot.created_us)
    writer.u8(snapshot.retention_class)
    writer.i64(snapshot.retain_until_us)
    writer.u8(snapshot.complete | snapshot.suspect << 1 | snapshot.checkpoint << 2)
    snapshot.table.write(writer)
    writer.var(snapshot.certificate, CERTIFICATE_SIZE_MAX)
    root = snapshot.root
    writer.fixed(root.body_id, BODY_ID_SIZE)
    writer.fixed(root.commitment, COMMITMENT_SIZE)
    root.run_key.write(writer)
    writer.u8(root.version)
    writer.var(root.sealed, BODY_SIZE_MAX)
    return encode_signed(Structure.SNAPSHOT, vault_id, writer.finish(), signer)


def decode_snapshot(
    data: bytes, *, vault_id: bytes, administrator_fingerprint: bytes
) -> tuple[Snapshot, Certificate]:
    """A snapshot proved by signature and certificate up to the pinned administrator."""
    framed = decode_signed(data, Structure.SNAPSHOT)
    if framed.vault_id != vault_id:
        raise ForeignVaultError("snapshot: it belongs to another vault")
    snapshot = _read_body(framed.unverified_body)
    certificate = decode_certificate(
        snapshot.certificate,
        vault_id=vault_id,
        administrator_fingerprint=administrator_fingerprint,
    )
    framed.verified_body(certificate.verifying_key)
    if certificate.agent_id != snapshot.agent_id:
        raise CorruptError("snapshot: signed by another agent than it claims")
    return snapshot, certificate


def _read_body(body: bytes) -> Snapshot:
    reader = Reader(body, "snapshot")
    agent_id, source_id = reader.fixed(ID_SIZE), reader.fixed(ID_SIZE)
    sequence = reader.u64()
    if not 1 <= sequence <= SEQUENCE_MAX:
        raise reader.fail(f"sequence number {sequence}")
    predecessor = reader.fixed(DIGEST_SIZE)
    if (sequence == 1) != (predecessor == NO_PREDECESSOR):
        raise reader.fail("only the first snapshot of a chain has no predecessor")
    created_us = reader.time_us()
    retention_class = reader.choice(RetentionClass)
    retain_until_us = reader.time_us()
    flags = reader.u8()
    if flags > 7:
        raise reader.fail(f"flags {flags:#x}")
    snapshot = Snapshot(
        agent_id=agent_id,
        source_id=source_id,
        sequence=sequence,
        predecessor=predecessor,
        created_us=created_us,
        retention_class=retention_class,
        retain_until_us=retain_until_us,
        complete=bool(flags & 1),
        suspect=bool(flags & 2),
        checkpoint=bool(flags & 4),
        table=Reference.read(reader),
        certificate=reader.var(CERTIFICATE_SIZE_MAX),
        root=SealedRoot(
            body_id=reader.fixed(BODY_ID_SIZE),
            commitment=reader.fixed(COMMITMENT_SIZE),
            run_key=SealedRunKey.read(reader),
            version=reader.u8(),
            sealed=reader.var(BODY_SIZE_MAX),
        ),
    )
    reader.end()
    if snapshot.complete and snapshot.checkpoint:
        raise reader.fail("a checkpoint cannot be complete")
    table = snapshot.table.name
    if table.kind is not Kind.TABLE or table.owner != snapshot.agent_id:
        raise reader.fail("its table is not a reference table of its agent")
    return snapshot
