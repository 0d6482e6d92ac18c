"""The vault as a reader sees it: heads of the chains, and opened snapshots.

Readers go the other way round than writers: snapshot, reference table, packs. What it guards:
nothing is believed that does not prove itself up to the pinned administrator's fingerprint, and a
snapshot's packs are exactly those its signed table names.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from safelight_vault.blocks import BlockSource, ReferenceMap, RunKeyRing
from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    ForeignVaultError,
    ObjectMissingError,
    UnsupportedFormatError,
    WrongIdentityError,
)
from safelight_vault.format.catalogue import Instance, decode_instance, patient_prefix
from safelight_vault.format.configuration import VaultConfiguration, decode_configuration
from safelight_vault.format.crypto import Identity
from safelight_vault.format.enrolment import Certificate
from safelight_vault.format.manifest import Entry, decode_entry, entry_key, entry_path
from safelight_vault.format.names import Kind, ObjectName, parse_name, prefix_of
from safelight_vault.format.pages import read_tree
from safelight_vault.format.references import (
    Reference,
    Table,
    decode_segment,
    decode_table,
)
from safelight_vault.format.snapshot import Root, Snapshot, decode_root, decode_snapshot
from safelight_vault.key_files import Trust
from safelight_vault.objects import OnTamper, read_object, read_reference
from safelight_vault.store import Store


@dataclass(frozen=True, slots=True)
class HeadName:
    """A snapshot as a listing shows it: not yet read, nothing proved."""

    name: ObjectName
    version_id: str
    size_bytes: int

    @property
    def snapshot_id(self) -> str:
        """What an operator calls the snapshot: the first 16 digits of its digest."""
        return self.name.digest.hex()[:16]


@dataclass(frozen=True, slots=True)
class Head:
    """A snapshot whose signature and certificate were verified."""

    name: ObjectName
    version_id: str
    size_bytes: int
    snapshot: Snapshot
    certificate: Certificate

    @property
    def snapshot_id(self) -> str:
        """What an operator calls the snapshot."""
        return self.name.digest.hex()[:16]


def list_heads(store: Store, *, on_tamper: OnTamper | None = None) -> list[HeadName]:
    """All snapshots by agent, source and sequence; foreign names are reported and passed over."""
    heads: dict[str, HeadName] = {}
    for version in store.list_versions(Kind.SNAPSHOT.value + "/"):
        try:
            name = parse_name(version.name)
        except DecodeError as error:
            if on_tamper is not None:
                on_tamper(f"{error.message}: passed over")
            continue
        if not version.is_delete_marker:
            heads.setdefault(version.name, HeadName(name, version.version_id, version.size_bytes))
    return sorted(
        heads.values(),
        key=lambda head: (head.name.owner, head.name.source, head.name.sequence, head.name.digest),
    )


def load_head(
    store: Store, head: HeadName, trust: Trust, *, on_tamper: OnTamper | None = None
) -> Head:
    """Read and prove one snapshot; ``CorruptError`` when it proves nothing."""
    data, version_id = read_object(store, head.name, head.version_id, on_tamper=on_tamper)
    try:
        snapshot, certificate = decode_snapshot(
            data,
            vault_id=trust.vault_id,
            administrator_fingerprint=trust.administrator_fingerprint,
        )
    except UnsupportedFormatError as error:
        # Envelope and certificate are frozen for ever: nobody signs a newer one, anybody puts one.
        raise CorruptError(f"{head.name}: {error.message}") from error
    claimed = (snapshot.agent_id, snapshot.source_id, snapshot.sequence)
    if claimed != (head.name.owner, head.name.source, head.name.sequence):
        raise CorruptError(f"{head.name}: its content belongs under another name")
    return Head(head.name, version_id, len(data), snapshot, certificate)


def load_table(
    store: Store, vault_id: bytes, head: Head, *, on_tamper: OnTamper | None = None
) -> tuple[Table, list[Reference]]:
    """The verified reference table of a snapshot, and references to itself and the snapshot."""
    snapshot = head.snapshot
    data, version_id = read_reference(store, snapshot.table, on_tamper=on_tamper)
    table = decode_table(data, vault_id=vault_id, key=head.certificate.verifying_key)
    mine = (snapshot.agent_id, snapshot.source_id, snapshot.sequence)
    if (table.agent_id, table.source_id, table.sequence) != mine:
        raise CorruptError(f"{snapshot.table.name}: the table of another snapshot")
    own = [
        Reference(head.name, head.version_id, head.size_bytes),
        Reference(snapshot.table.name, version_id, len(data)),
    ]
    return table, own


def iterate_references(
    store: Store, vault_id: bytes, table: Table, *, on_tamper: OnTamper | None = None
) -> Iterator[Reference]:
    """Every object that a table names, segment by segment, in upload order."""
    count = size_bytes = 0
    for segment in table.segments:
        data, _ = read_reference(store, segment, on_tamper=on_tamper)
        for reference in decode_segment(data, vault_id):
            count += 1
            size_bytes += reference.size_bytes
            yield reference
    if (count, size_bytes) != (table.object_count, table.size_bytes):
        raise CorruptError(
            f"the reference table promises {table.object_count} objects, not {count}"
        )


def load_configuration(
    store: Store, trust: Trust, *, on_tamper: OnTamper | None = None
) -> tuple[VaultConfiguration, Reference]:
    """The newest configuration that the pinned administrator signed.

    Anybody who can put objects can put one that claims a newer format, so that one is passed over
    like any other that proves nothing.
    """
    problem: CorruptError | UnsupportedFormatError | None = None
    names = {
        version.name: version
        for version in store.list_versions(Kind.CONFIG.value + "/")
        if not version.is_delete_marker
    }
    for name in sorted(names, reverse=True):
        try:
            parsed = parse_name(name)
            data, version_id = read_object(
                store, parsed, names[name].version_id, on_tamper=on_tamper
            )
            configuration = decode_configuration(
                data,
                vault_id=trust.vault_id,
                administrator_fingerprint=trust.administrator_fingerprint,
            )
            if configuration.sequence != parsed.sequence:
                raise CorruptError(f"{name}: its content belongs under another name")
            return configuration, Reference(parsed, version_id, len(data))
        except (CorruptError, UnsupportedFormatError) as error:
            problem = error
            if on_tamper is not None:
                on_tamper(error.message)
    if isinstance(problem, ForeignVaultError):
        raise WrongIdentityError(f"the key files at hand are not of this vault: {problem.message}")
    if problem is not None:
        raise problem
    raise ObjectMissingError(
        "the vault has no configuration yet",
        remedy="Run 'safelight-restore enrol' on the first agent's request to create the vault.",
    )


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a manifest that cannot be read: the first path it held, and why."""

    path: bytes
    reason: str


class OpenSnapshot:
    """A snapshot with its root opened by an identity: its tables, and the blocks they name."""

    def __init__(
        self, head: Head, root: Root, references: ReferenceMap, blocks: BlockSource
    ) -> None:
        self.head = head
        self.root = root
        self.references = references
        self.blocks = blocks

    def entries(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[Entry]:
        """The manifest's entries in order, between two keys."""
        load = self.blocks.load_chunk
        for key, value in read_tree(self.root.manifest, load, start=start, stop=stop):
            yield decode_entry(key, value, load)

    def entries_or_damage(self) -> Iterator[Entry | Damage]:
        """All entries in order; what cannot be read is told in its place and passed over."""
        damage: list[Damage] = []

        def note(key: bytes, error: CorruptError) -> None:
            damage.append(Damage(key.replace(b"\x00", b"/"), error.message))

        load = self.blocks.load_chunk
        for key, value in read_tree(self.root.manifest, load, on_damage=note):
            yield from damage
            damage.clear()
            try:
                yield decode_entry(key, value, load)
            except CorruptError as error:
                note(key, error)
        yield from damage

    def entry(self, path: bytes) -> Entry | None:
        """The entry of one path."""
        key = entry_key(path)
        return next(iter(self.entries(key, key + b"\x00\x00")), None)

    def instances(self, patient_id: str | None = None) -> Iterator[Instance]:
        """The catalogue's rows, of all patients or of one."""
        start, stop = b"", None
        if patient_id is not None:
            start = patient_prefix(patient_id)
            stop = start[:-1] + b"\x01"
        load = self.blocks.load_chunk
        for key, value in read_tree(self.root.catalogue, load, start=start, stop=stop):
            yield decode_instance(key, value)

    def failures(self) -> Iterator[tuple[bytes, str]]:
        """Path and reason of each file that could not be read at backup time."""
        for key, value in read_tree(self.root.failures, self.blocks.load_chunk):
            yield entry_path(key), value.decode("utf-8", "replace")

    def close(self) -> None:
        """Release the temporary reference table."""
        self.references.close()


def open_snapshot(
    store: Store,
    head: Head,
    trust: Trust,
    identities: Mapping[bytes, Identity],
    *,
    on_tamper: OnTamper | None = None,
) -> OpenSnapshot:
    """Open a snapshot with an identity; reads its root and its reference table, no pack."""
    run_keys = RunKeyRing(store, trust.vault_id, identities)
    root = run_keys.use(head.snapshot.root.run_key, lambda key: decode_root(head.snapshot, key))
    table, _ = load_table(store, trust.vault_id, head, on_tamper=on_tamper)
    references = ReferenceMap(iterate_references(store, trust.vault_id, table, on_tamper=on_tamper))
    blocks = BlockSource(store, references, run_keys, on_tamper=on_tamper)
    return OpenSnapshot(head, root, references, blocks)


def load_certificate(
    store: Store,
    agent_id: bytes,
    decode: Callable[[bytes], Certificate],
    *,
    on_tamper: OnTamper | None = None,
) -> tuple[bytes, Certificate, Reference] | None:
    """The newest valid certificate object of an agent, its bytes and reference; None if absent."""
    found: tuple[bytes, Certificate, Reference] | None = None
    for version in store.list_versions(prefix_of(Kind.AGENT, agent_id)):
        if version.is_delete_marker:
            continue
        try:
            name = parse_name(version.name)
            data, version_id = read_object(store, name, version.version_id, on_tamper=on_tamper)
            certificate = decode(data)
        except (CorruptError, UnsupportedFormatError) as error:
            if on_tamper is not None:
                on_tamper(error.message)
            continue
        newer = found is None or certificate.enrolled_us > found[1].enrolled_us
        if certificate.agent_id == agent_id and newer:
            found = data, certificate, Reference(name, version_id, len(data))
    return found
