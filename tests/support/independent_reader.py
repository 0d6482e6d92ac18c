"""An independent reader, last part: snapshots, and from there every file (format.md, 1, 4.1, 9.3).

    vault = Vault(names=..., read=..., key_file=read_key_file(path, "safelight-identity"))
    for snapshot in vault.snapshots():
        for entry in vault.entries(snapshot):
            content = vault.content(snapshot, entry)      of each FILE

The chain of proof: pinned fingerprint, administrator's key, certificate, agent's key, snapshot, table,
names and header digests, bytes. The invariant: nothing is believed that hangs on no link of it. It is
plain rather than fast, and holds whole packs in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from independent_keys import (
    Corrupt,
    DedupKeys,
    Fields,
    Identity,
    Refused,
    Unsupported,
    WrongIdentity,
    derive_dedup_keys,
    object_key,
    open_seal,
    require,
    sha256,
)
from independent_packs import (
    Directory,
    PackHeader,
    Reference,
    Table,
    chunk_id,
    open_block,
    open_directory,
    read_pack_header,
    read_reference,
    read_segment,
    read_table,
)
from independent_structures import (
    BODY_SIZE_MAX,
    Certificate,
    Configuration,
    Name,
    SealedRunKey,
    Structure,
    parse_name,
    read_certificate,
    read_configuration,
    read_grant,
    read_sealed_run_key,
    read_sequence,
    read_signed,
)
from independent_tables import (
    Entry,
    Instance,
    Kind,
    Place,
    SafePaths,
    TreeRoot,
    decode_entry,
    decode_instance,
    path_of,
    read_tree,
    read_tree_root,
)

SOURCE_NAME_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
SOURCE_NAME_CHARACTERS = SOURCE_NAME_FIRST | {"-"}
PACKS_KEPT = 4
RUN_KEY_LABEL = b"safelight/run-key/v1\0"
DEDUP_KEY_LABEL = b"safelight/dedup-key/v1\0"


# -------------------------------------------------------------------------------- 9.3 snapshots


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
    body_id: bytes
    commitment: bytes
    sealed_run_key: SealedRunKey
    root_version: int
    sealed_root: bytes


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
        body_id=fields.fixed(32),
        commitment=fields.fixed(32),
        sealed_run_key=read_sealed_run_key(fields),
        root_version=fields.choice(range(1, 256)),
        sealed_root=fields.var(BODY_SIZE_MAX),
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


def open_root(envelope: Envelope, key: bytes, vault_id: bytes) -> Root:
    if envelope.root_version > 1:
        raise Unsupported(f"root of a snapshot: version {envelope.root_version}")
    aad = b"safelight/snapshot-root/v1\0" + vault_id + envelope.agent_id + envelope.source_id
    aad += envelope.sequence.to_bytes(8, "big") + bytes([envelope.root_version])
    fields = Fields(open_seal(key, 0, envelope.sealed_root, aad, "root of a snapshot"), "root")
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
    is_name = set(root.source_name[:1]) < SOURCE_NAME_FIRST and bool(root.source_name)
    require(is_name and set(root.source_name) <= SOURCE_NAME_CHARACTERS, "root: bad source name")
    return root


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot that proved itself, with all references of its table."""

    name: Name
    envelope: Envelope
    table: Table
    references: tuple[Reference, ...]
    root: Root


# ------------------------------------------------------------------------------------- a vault


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenPack:
    name: Name
    data: bytes
    header: PackHeader
    key: bytes


class Vault:
    """A vault, opened with an identity file.

    ``names`` gives all names that begin with a text, ``read`` all versions of the object of a name.
    """

    def __init__(
        self,
        *,
        names: Callable[[str], Iterable[str]],
        read: Callable[[str], Iterable[bytes]],
        key_file: Mapping[str, bytes],
    ) -> None:
        self._names = names
        self._read = read
        self.vault_id = key_file["vault"]
        self.administrator = key_file["administrator"]
        self._identity = Identity(key_file["secret"])
        self._run_keys: dict[bytes, bytes] = {}
        self._packs: dict[bytes, _OpenPack] = {}
        self._block: tuple[tuple[bytes, int, int, int], bytes] | None = None
        self.passed_over: list[str] = []
        """Objects that lie in the vault, did not prove themselves, and were not needed."""

    # ------------------------------------------------------------------------- 4.1: objects

    def read(self, name: Name) -> bytes:
        """The object of a name: the first version whose SHA-256 is that in the name."""
        versions = 0
        for data in self._read(name.text):
            versions += 1
            if sha256(data) == name.digest:
                return data
        problem = "no version has the right SHA-256" if versions else "missing"
        raise Corrupt(f"{name.text}: {problem}")

    def _read_reference(self, reference: Reference) -> bytes:
        data = self.read(reference.name)
        require(len(data) == reference.size, f"{reference.name.text}: another size than listed")
        return data

    def _listed(self, prefix: str) -> Iterator[tuple[Name, bytes]]:
        """Objects that no signed object names; what is not what its name says is passed over."""
        for text in sorted(self._names(prefix)):
            try:
                name = parse_name(text)
                yield name, self.read(name)
            except Refused as error:
                self.passed_over.append(str(error))

    # ------------------------------------------------- 4.3 and 4.4: what the administrator signed

    def configuration(self) -> Configuration:
        """The configuration in force."""
        found = []
        for name, data in self._listed("config/"):
            try:
                configuration = read_configuration(data, self.vault_id, self.administrator)
                require(configuration.sequence == name.sequence, f"{name.text}: another sequence")
                found.append(configuration)
            except Refused as error:
                self.passed_over.append(f"{name.text}: {error}")
        require(bool(found), "no configuration that the administrator signed")
        return max(found, key=lambda configuration: configuration.sequence)

    def dedup_keys(self) -> DedupKeys:
        info = DEDUP_KEY_LABEL + self.vault_id
        for recipient, sealed in self.configuration().stanzas:
            if recipient == self._identity.fingerprint:
                return derive_dedup_keys(self._identity.open_key(sealed, info), self.vault_id)
        raise WrongIdentity("the dedup key is not sealed to this identity")

    def _certificate(self, agent_id: bytes) -> Certificate:
        found = []
        for name, data in self._listed(f"agents/{agent_id.hex()}/"):
            try:
                certificate = read_certificate(data, self.vault_id, self.administrator)
                require(certificate.agent_id == agent_id, f"{name.text}: of another agent")
                found.append(certificate)
            except Refused as error:
                self.passed_over.append(f"{name.text}: {error}")
        require(bool(found), f"agent {agent_id.hex()}: no certificate")
        return max(found, key=lambda certificate: certificate.enrolled)

    # -------------------------------------------------------- 3.3: the key of a pack or a root

    def _object_key(
        self, sealed: SealedRunKey, object_id: bytes, commitment: bytes, label: bytes
    ) -> bytes:
        is_for_identity = False
        for candidate in self._run_key_candidates(sealed):
            is_for_identity = True
            if candidate is not None:
                key, its_commitment = object_key(candidate, object_id, label, self.vault_id)
                if its_commitment == commitment:
                    self._run_keys[sealed.run_id] = candidate
                    return key
        if is_for_identity:
            raise Corrupt(f"run {sealed.run_id.hex()}: no key has the commitment")
        raise WrongIdentity(f"run {sealed.run_id.hex()}: not sealed to this identity")

    def _run_key_candidates(self, sealed: SealedRunKey) -> Iterator[bytes | None]:
        """Keys that may be meant; None for a stanza that is for this identity and does not open."""
        if sealed.run_id in self._run_keys:
            yield self._run_keys[sealed.run_id]
        yield from self._opened(sealed)
        for name, data in self._listed(f"keys/{sealed.run_id.hex()}/"):
            try:
                grant = read_grant(data, self.vault_id)
                require(grant.run_id == sealed.run_id, "a grant of another run")
            except Refused as error:
                self.passed_over.append(f"{name.text}: {error}")
            else:
                yield from self._opened(grant)

    def _opened(self, sealed: SealedRunKey) -> Iterator[bytes | None]:
        for recipient, sealed_key in sealed.stanzas:
            if recipient == self._identity.fingerprint:
                try:
                    info = RUN_KEY_LABEL + self.vault_id + sealed.run_id
                    yield self._identity.open_key(sealed_key, info)
                except Corrupt:
                    yield None

    # --------------------------------------------------------------- 9.3 and 8.2: snapshots

    def snapshot_names(self) -> list[Name]:
        """Names of all snapshots, of which none has proved itself yet."""
        return [name for name, _ in self._listed("snapshots/")]

    def snapshots(self) -> Iterator[Snapshot]:
        """All snapshots; a damaged one is an error, not passed over."""
        for name in self.snapshot_names():
            yield self.snapshot(name)

    def snapshot(self, name: Name) -> Snapshot:
        envelope = read_envelope(self.read(name), self.vault_id, self.administrator)
        own = (envelope.agent_id, envelope.source_id, envelope.sequence)
        is_named = own == (name.owner, name.source, name.sequence)
        require(is_named, f"{name.text}: another snapshot than its name says")
        table = read_table(
            self._read_reference(envelope.table),
            vault_id=self.vault_id,
            verifying_key=envelope.certificate.verifying_key,
        )
        is_its = (table.agent_id, table.source_id, table.sequence) == own
        require(is_its, f"{name.text}: the table of another snapshot")
        references: list[Reference] = []
        for segment in table.segments:
            references += read_segment(self._read_reference(segment), self.vault_id)
        table.require_sums(references)
        key = self._object_key(
            envelope.sealed_run_key,
            envelope.body_id,
            envelope.commitment,
            b"safelight/snapshot-root/v1",
        )
        return Snapshot(
            name=name,
            envelope=envelope,
            table=table,
            references=tuple(references),
            root=open_root(envelope, key, self.vault_id),
        )

    # ------------------------------------------------------------------- 6: packs and chunks

    def _pack(self, reference: Reference) -> _OpenPack:
        name = reference.name
        if name.digest not in self._packs:
            data = self._read_reference(reference)
            header = read_pack_header(data, self.vault_id)
            is_signed = header.digest == reference.header_digest
            require(is_signed, f"{name.text}: another header than listed")
            require(header.agent_id == name.owner, f"{name.text}: of another agent")
            key = self._object_key(
                header.sealed_run_key, header.pack_id, header.commitment, b"safelight/pack/v1"
            )
            while len(self._packs) >= PACKS_KEPT:
                del self._packs[next(iter(self._packs))]
            self._packs[name.digest] = _OpenPack(name=name, data=data, header=header, key=key)
        return self._packs[name.digest]

    def _open_block(self, pack: _OpenPack, number: int, offset: int, length: int) -> bytes:
        where = (pack.name.digest, number, offset, length)
        if self._block is None or self._block[0] != where:
            plain = open_block(
                pack.key,
                number,
                pack.data[offset : offset + length],
                pack_id=pack.header.pack_id,
                vault_id=self.vault_id,
            )
            self._block = (where, plain)
        return self._block[1]

    def _load(self, snapshot: Snapshot) -> Callable[[Place], bytes]:
        packs = {each.name.digest: each for each in snapshot.references if each.header_digest}

        def load(place: Place) -> bytes:
            require(place.pack in packs, f"pack {place.pack.hex()}: not in the table")
            pack = self._pack(packs[place.pack])
            plain = self._open_block(
                pack, place.block_number, place.block_offset, place.block_length
            )
            end = place.offset + place.length
            require(end <= len(plain), "place: outside its block")
            return plain[place.offset : end]

        return load

    # ----------------------------------------------------------------- 9 and 10: what was kept

    def entries(self, snapshot: Snapshot) -> Iterator[Entry]:
        """The entries of the manifest in their order; the first that could do harm ends it."""
        load, paths = self._load(snapshot), SafePaths()
        for key, value in read_tree(snapshot.root.manifest, load):
            entry = decode_entry(key, value, load)
            paths.require_safe(entry)
            yield entry

    def content(self, snapshot: Snapshot, entry: Entry) -> bytes:
        """What a FILE holds, proved by its SHA-256."""
        require(entry.kind is Kind.FILE, f"{entry.path!r}: not a file")
        load = self._load(snapshot)
        content = b"".join(
            bytes(each) if isinstance(each, int) else load(each) for each in entry.extents
        )
        require(sha256(content) == entry.sha256, f"{entry.path!r}: the SHA-256 differs")
        return content

    def instances(self, snapshot: Snapshot) -> Iterator[Instance]:
        for key, value in read_tree(snapshot.root.catalogue, self._load(snapshot)):
            yield decode_instance(key, value)

    def failures(self, snapshot: Snapshot) -> Iterator[tuple[bytes, str]]:
        for key, value in read_tree(snapshot.root.failures, self._load(snapshot)):
            yield path_of(key), value.decode("utf-8", "replace")

    def verify_pack(self, reference: Reference, keys: DedupKeys) -> Directory:
        """Prove a whole pack: signature, directory, every block, and the id of every chunk."""
        pack = self._pack(reference)
        directory = open_directory(
            pack.data,
            vault_id=self.vault_id,
            index_key=keys.index_key,
            verifying_key=self._certificate(reference.name.owner).verifying_key,
        )
        offset = directory.blocks_offset
        for number, block in enumerate(directory.blocks):
            rest = self._open_block(pack, number, offset, block.sealed_length)
            offset += block.sealed_length
            for identifier, length in block.chunks:
                chunk, rest = rest[:length], rest[length:]
                same = chunk_id(keys.chunk_id_key, chunk) == identifier
                require(same, f"{reference.name.text}: a chunk has another id")
            require(not rest, f"{reference.name.text}: bytes after the last chunk of a block")
        return directory
