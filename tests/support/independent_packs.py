"""An independent reader, third part: packs, and the objects that list them (format.md, 5 to 8).

Each function decodes one structure from its bytes, strictly: what it gives back followed every rule
that can be checked without another object.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import blake3
import zstandard

from independent_keys import (
    SIGNATURE_SIZE,
    Corrupt,
    Fields,
    Unsupported,
    hkdf,
    open_seal,
    require,
    sha256,
    verify_signature,
    verifying_key_fingerprint,
)
from independent_structures import (
    BODY_SIZE_MAX,
    Name,
    SealedRunKey,
    Structure,
    parse_name,
    read_frame,
    read_plain,
    read_sealed_run_key,
    read_sequence,
    read_signed,
)

HEADER_SIZE_MAX = 1 << 17
CHUNK_SIZE_MAX = 1 << 23
BLOCK_SIZE_MAX = 1 << 24
BLOCKS_MAX = 1 << 20
SEALED_BLOCK_SIZE_MAX = 16_781_337
DIRECTORY_SIZE_MAX = 1 << 27
PACK_END_SIZE = 32 + SIGNATURE_SIZE + 4
ZSTD_MAGIC = bytes.fromhex("28b52ffd")


def decode_block(framed: bytes) -> bytes:
    """The plaintext of a block from what its seal held."""
    fields = Fields(framed, "block")
    codec, size = fields.unsigned(1), fields.count(BLOCK_SIZE_MAX)
    parameters, payload = fields.var(4096), fields.rest()
    if codec > 1:
        raise Unsupported(f"block: codec {codec}")
    require(not parameters, "block: parameters for a codec that has none")
    if codec == 0:
        require(len(payload) == size, "block: another length than it says")
        return payload
    require(payload[:4] == ZSTD_MAGIC, "block: no Zstandard data frame")
    try:
        frame = zstandard.get_frame_parameters(payload)
        require(size == frame.content_size != 0, "block: another size than it says")
        require(frame.dict_id == 0, "block: wants a dictionary")
        plain = zstandard.ZstdDecompressor().decompress(
            payload, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Corrupt(f"block: {error}") from error
    require(len(plain) == size, "block: another length than it says")
    return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class PackHeader:
    """What a pack says in the clear; ``digest`` is the SHA-256 of the header's bytes."""

    pack_id: bytes
    agent_id: bytes
    commitment: bytes
    sealed_run_key: SealedRunKey
    size: int
    digest: bytes


def header_digest(pack: bytes) -> bytes:
    """The SHA-256 of the header, whose length follows from its number of stanzas."""
    return sha256(pack[: 123 + 1200 * int.from_bytes(pack[122:123], "big")])


def read_pack_header(data: bytes, vault_id: bytes) -> PackHeader:
    fields = Fields(data[:HEADER_SIZE_MAX], "pack header")
    read_frame(fields, Structure.PACK, vault_id)
    return PackHeader(
        pack_id=fields.fixed(32),
        agent_id=fields.fixed(16),
        commitment=fields.fixed(32),
        sealed_run_key=read_sealed_run_key(fields),
        size=fields.offset,
        digest=header_digest(data),
    )


def open_block(key: bytes, number: int, sealed: bytes, *, pack_id: bytes, vault_id: bytes) -> bytes:
    aad = b"safelight/block/v1\0" + vault_id + pack_id + number.to_bytes(4, "big")
    return decode_block(open_seal(key, number, sealed, aad, f"block {number}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block in a directory: its length in the pack, and id and length of each chunk in it."""

    sealed_length: int
    chunks: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What an agent can know of a pack."""

    pack_id: bytes
    source_id: bytes
    stream: int
    epoch: int
    blocks_offset: int
    blocks: tuple[Block, ...]


def _directory_blocks(fields: Fields) -> Iterator[Block]:
    for _ in range(fields.count(BLOCKS_MAX)):
        sealed_length = fields.unsigned(4)
        possible = 16 < sealed_length <= SEALED_BLOCK_SIZE_MAX
        require(possible, "directory: a block of an impossible length")
        chunks = []
        for _ in range(fields.count(1 << 16)):
            chunk_id, length = fields.fixed(32), fields.count(CHUNK_SIZE_MAX)
            require(length > 0, "directory: an empty chunk")
            chunks.append((chunk_id, length))
        total = sum(length for _, length in chunks)
        require(total <= BLOCK_SIZE_MAX, "directory: a block that is too long")
        yield Block(sealed_length=sealed_length, chunks=tuple(chunks))


def read_directory(data: bytes) -> Directory:
    fields = Fields(data, "directory")
    directory = Directory(
        pack_id=fields.fixed(32),
        source_id=fields.fixed(16),
        stream=fields.choice((1, 2, 3, 4)),
        epoch=fields.unsigned(4),
        blocks_offset=fields.count(HEADER_SIZE_MAX),
        blocks=tuple(_directory_blocks(fields)),
    )
    fields.end()
    return directory


def open_directory(
    pack: bytes, *, vault_id: bytes, index_key: bytes, verifying_key: bytes
) -> Directory:
    """The directory of a whole pack, after the signature over all of it (section 6.3)."""
    header = read_pack_header(pack, vault_id)
    size = int.from_bytes(pack[-4:], "big")
    fits = 16 < size <= DIRECTORY_SIZE_MAX and size + PACK_END_SIZE < len(pack)
    require(fits, "pack: bad footer")
    start = len(pack) - PACK_END_SIZE - size
    fields = Fields(pack[start:], "end of a pack")
    sealed, signer, signature = fields.fixed(size), fields.fixed(32), fields.fixed(SIGNATURE_SIZE)
    is_owner = signer == verifying_key_fingerprint(verifying_key)
    require(is_owner and header.agent_id == signer[:16], "pack: signed by another key")
    verify_signature(verifying_key, sealed + signer + sha256(pack[:start]), signature, "pack")
    key = hkdf(index_key, salt=header.pack_id, info=b"safelight/directory/v1")
    aad = b"safelight/directory/v1" + vault_id
    directory = read_directory(open_seal(key, 0, sealed, aad, "directory"))
    end = directory.blocks_offset + sum(block.sealed_length for block in directory.blocks)
    same = (directory.pack_id, directory.blocks_offset) == (header.pack_id, header.size)
    require(same and end <= start, "pack: directory and pack do not fit")
    return directory


def chunk_id(chunk_id_key: bytes, chunk: bytes) -> bytes:
    return blake3.blake3(chunk, key=chunk_id_key).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedPack:
    """A pack as an index segment lists it."""

    digest: bytes
    header_digest: bytes
    version_id: str
    size: int
    directory: Directory


def read_index(
    data: bytes, *, vault_id: bytes, index_key: bytes, verifying_key: bytes
) -> tuple[IndexedPack, ...]:
    signed = read_signed(data, Structure.INDEX, vault_id)
    signed.verify(verifying_key)
    body = Fields(signed.body, "INDEX")
    key = hkdf(index_key, salt=body.fixed(32), info=b"safelight/index-segment/v1")
    aad = b"safelight/index-segment/v1" + vault_id
    fields = Fields(open_seal(key, 0, body.rest(), aad, "INDEX"), "list of packs")
    packs = tuple(
        IndexedPack(
            digest=fields.fixed(32),
            header_digest=fields.fixed(32),
            version_id=fields.version_id(),
            size=fields.unsigned(8),
            directory=read_directory(fields.var(BODY_SIZE_MAX)),
        )
        for _ in range(fields.count(4096))
    )
    fields.end()
    return packs


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A needed object; ``header_digest`` is empty but for packs."""

    name: Name
    version_id: str
    size: int
    header_digest: bytes


def read_reference(fields: Fields) -> Reference:
    name = parse_name(fields.text(512))
    return Reference(
        name=name,
        version_id=fields.version_id(),
        size=fields.unsigned(8),
        header_digest=fields.fixed(32) if name.kind == "packs" else b"",
    )


def read_segment(data: bytes, vault_id: bytes) -> tuple[Reference, ...]:
    fields = Fields(read_plain(data, Structure.REFERENCES, vault_id), "REFERENCES")
    references = tuple(read_reference(fields) for _ in range(fields.count(4096)))
    fields.end()
    return references


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The segments that together name all that a snapshot needs."""

    agent_id: bytes
    source_id: bytes
    sequence: int
    object_count: int
    size: int
    segments: tuple[Reference, ...]

    def require_sums(self, references: Iterable[Reference]) -> None:
        sizes = [each.size for each in references]
        require(len(sizes) == self.object_count, "table: another count than it says")
        require(sum(sizes) == self.size, "table: another size than it says")


def read_table(data: bytes, *, vault_id: bytes, verifying_key: bytes) -> Table:
    signed = read_signed(data, Structure.TABLE, vault_id)
    signed.verify(verifying_key)
    fields = Fields(signed.body, "TABLE")
    table = Table(
        agent_id=fields.fixed(16),
        source_id=fields.fixed(16),
        sequence=read_sequence(fields),
        object_count=fields.unsigned(8),
        size=fields.unsigned(8),
        segments=tuple(read_reference(fields) for _ in range(fields.count(1 << 16))),
    )
    fields.end()
    is_of_signer = verifying_key_fingerprint(verifying_key)[:16] == table.agent_id
    require(is_of_signer, "TABLE: of another agent than its signer")
    for segment in table.segments:
        is_own = (segment.name.kind, segment.name.owner) == ("references", table.agent_id)
        require(is_own, "TABLE: names something else than its agent's segments")
    return table
