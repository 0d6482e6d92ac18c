"""An independent reader, last part: snapshots, and from there every file (format.md, 1, 4.1, 9.3).

    vault = open_vault(names=..., read=..., key_file=read_key_file(path, "safelight-identity"))
    for snapshot in vault.snapshots():
        for entry in vault.entries(snapshot):
            content = vault.content(snapshot, entry)      of each FILE

The chain of proof: pinned fingerprint, administrator's key, certificate, agent's key, snapshot,
table, names and header digests, bytes. The invariant: nothing is believed that hangs on no link of
it. The reader is plain rather than fast, and holds whole packs in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from independent_keys import (
    Corrupt,
    DedupKeys,
    Identity,
    Refused,
    Unsupported,
    WrongIdentity,
    derive_dedup_keys,
    object_key,
    require,
    sha256,
)
from independent_packs import (
    Directory,
    PackHeader,
    Reference,
    Table,
    chunk_id,
    header_digest,
    open_block,
    open_directory,
    read_pack_header,
    read_segment,
    read_table,
)
from independent_snapshots import Envelope, Root, open_root, read_envelope
from independent_structures import (
    Certificate,
    Configuration,
    Name,
    SealedRunKey,
    open_run_key,
    parse_name,
    read_certificate,
    read_configuration,
    read_grant,
)
from independent_tables import (
    Entry,
    Instance,
    Kind,
    Place,
    SafePaths,
    decode_entry,
    decode_instance,
    path_of,
    read_tree,
)

PACKS_KEPT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot that proved itself, with all references of its table."""

    name: Name
    envelope: Envelope
    table: Table
    references: tuple[Reference, ...]
    root: Root


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenPack:
    name: Name
    data: bytes
    header: PackHeader
    key: bytes


class Vault:
    """A vault, read with the two pinned values of its key files and the identities at hand.

    ``names`` gives all names that begin with a text, ``read`` all versions of the object of a name.
    """

    def __init__(
        self,
        *,
        names: Callable[[str], Iterable[str]],
        read: Callable[[str], Iterable[bytes]],
        vault_id: bytes,
        administrator: bytes,
        identities: Iterable[Identity],
    ) -> None:
        self._names = names
        self._read = read
        self.vault_id = vault_id
        self.administrator = administrator
        self._identities = {identity.fingerprint: identity for identity in identities}
        self._run_keys: dict[bytes, bytes] = {}
        self._packs: dict[bytes, _OpenPack] = {}
        self._block: tuple[tuple[bytes, int, int, int], bytes] | None = None
        self.reported: list[str] = []
        """What did not prove itself and yet stood in nobody's way."""

    # ------------------------------------------------------------------------- 4.1: objects

    def read(self, name: Name) -> bytes:
        """The object of a name: the first version whose SHA-256 is that in the name."""
        versions = 0
        for data in self._read(name.text):
            versions += 1
            if sha256(data) == name.digest:
                return data
            self.reported.append(f"{name.text}: a version with other bytes")
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
                self.reported.append(str(error))

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
                self.reported.append(f"{name.text}: {error}")
        require(bool(found), "no configuration that the administrator signed")
        return max(found, key=lambda configuration: configuration.sequence)

    def dedup_keys(self) -> DedupKeys:
        dedup_key = self.configuration().open_dedup_key(self.vault_id, self._identities)
        return derive_dedup_keys(dedup_key, self.vault_id)

    def _certificate(self, agent_id: bytes) -> Certificate:
        found = []
        for name, data in self._listed(f"agents/{agent_id.hex()}/"):
            try:
                certificate = read_certificate(data, self.vault_id, self.administrator)
                require(certificate.agent_id == agent_id, f"{name.text}: of another agent")
                found.append(certificate)
            except Refused as error:
                self.reported.append(f"{name.text}: {error}")
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
        raise WrongIdentity(f"run {sealed.run_id.hex()}: not sealed to an identity at hand")

    def _run_key_candidates(self, sealed: SealedRunKey) -> Iterator[bytes | None]:
        """Keys that may be meant; None for each stanza that should open and does not."""
        if sealed.run_id in self._run_keys:
            yield self._run_keys[sealed.run_id]
        yield from open_run_key(sealed, self.vault_id, self._identities)
        for name, data in self._listed(f"keys/{sealed.run_id.hex()}/"):
            try:
                grant = read_grant(data, self.vault_id)
                require(grant.run_id == sealed.run_id, "a grant of another run")
            except Refused as error:
                self.reported.append(f"{name.text}: {error}")
            else:
                yield from open_run_key(grant, self.vault_id, self._identities)

    # --------------------------------------------------------------- 9.3 and 8.2: snapshots

    def snapshot_names(self) -> list[str]:
        """Names of snapshots, by agent, source and sequence; none has proved itself yet."""
        return sorted(self._names("snapshots/"))

    def snapshots(self) -> Iterator[Snapshot]:
        """All snapshots that prove themselves."""
        for text in self.snapshot_names():
            try:
                yield self.snapshot(parse_name(text))
            except (Corrupt, Unsupported) as error:
                self.reported.append(f"{text}: {error}")

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
        references = self.references(table)
        key = self._object_key(
            envelope.sealed_root.sealed_run_key,
            envelope.sealed_root.body_id,
            envelope.sealed_root.commitment,
            b"safelight/snapshot-root/v1",
        )
        root = open_root(
            envelope.sealed_root,
            key,
            vault_id=self.vault_id,
            agent_id=envelope.agent_id,
            source_id=envelope.source_id,
            sequence=envelope.sequence,
        )
        return Snapshot(
            name=name,
            envelope=envelope,
            table=table,
            references=references,
            root=root,
        )

    def references(self, table: Table) -> tuple[Reference, ...]:
        """What all segments of a table name."""
        found: list[Reference] = []
        for segment in table.segments:
            found += read_segment(self._read_reference(segment), self.vault_id)
        table.require_sums(found)
        return tuple(found)

    # ------------------------------------------------------------------- 6: packs and chunks

    def _pack(self, reference: Reference) -> _OpenPack:
        name = reference.name
        if name.digest not in self._packs:
            data = self._pack_bytes(reference)
            header = read_pack_header(data, self.vault_id)
            require(header.agent_id == name.owner, f"{name.text}: of another agent")
            key = self._object_key(
                header.sealed_run_key, header.pack_id, header.commitment, b"safelight/pack/v1"
            )
            while len(self._packs) >= PACKS_KEPT:
                del self._packs[next(iter(self._packs))]
            self._packs[name.digest] = _OpenPack(name=name, data=data, header=header, key=key)
        return self._packs[name.digest]

    def _pack_bytes(self, reference: Reference) -> bytes:
        """The pack, or where it is damaged a version with the header that the table vouches for.

        Of the latter only blocks are good for anything, as every one of them proves itself.
        """
        name, damaged = reference.name, None
        for data in self._read(name.text):
            if len(data) == reference.size and header_digest(data) == reference.header_digest:
                if sha256(data) == name.digest:
                    return data
                damaged = damaged or data
            self.reported.append(f"{name.text}: a version with other bytes")
        if damaged is None:
            self.read(name)
            raise Corrupt(f"{name.text}: another size or header than listed")
        self.reported.append(f"{name.text}: damaged; its blocks are still read")
        return damaged

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
        is_whole = sha256(pack.data) == reference.name.digest
        require(is_whole, f"{reference.name.text}: no version has the right SHA-256")
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


def open_vault(
    *,
    names: Callable[[str], Iterable[str]],
    read: Callable[[str], Iterable[bytes]],
    key_file: Mapping[str, bytes],
) -> Vault:
    """The vault of an identity file."""
    return Vault(
        names=names,
        read=read,
        vault_id=key_file["vault"],
        administrator=key_file["administrator"],
        identities=[Identity(key_file["secret"])],
    )
