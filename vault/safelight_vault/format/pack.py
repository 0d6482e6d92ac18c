"""Packs: many sealed blocks in one object, with a sealed and signed directory at the end.

    header     26 bytes of frame, pack id (32), agent id (16), commitment (32), sealed run key
    blocks     sealed blocks, back to back; block n is sealed with nonce n
    padding    random bytes up to the Padmé size
    directory  sealed under the index key; then signer, signatures, and its length (4)

The signatures cover directory, signer and the SHA-256 of all that precedes the directory.

A block opens with the run key alone (restore), the directory with the dedup key alone (an agent
that lost its index). What it guards: blocks cannot be swapped within or between packs, and a pack
describes itself (format.md section 6).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from safelight_vault.errors import CorruptError, DecodeError
from safelight_vault.format.chunk import CHUNK_ID_SIZE, CHUNK_SIZE_MAX
from safelight_vault.format.codec import BLOCK_SIZE_MAX, FRAME_OVERHEAD_MAX
from safelight_vault.format.crypto import (
    FINGERPRINT_SIZE,
    SIGNATURE_SIZE,
    TAG_SIZE,
    SealKey,
    SigningKey,
    VerifyingKey,
    derive,
)
from safelight_vault.format.envelope import Structure, read_header, write_header
from safelight_vault.format.names import ID_SIZE
from safelight_vault.format.padme import padme
from safelight_vault.format.run_key import COMMITMENT_SIZE, RunKey, SealedRunKey
from safelight_vault.format.wire import Reader, Writer

PACK_ID_SIZE = 32
PACK_SIZE_MAX = 4 << 30
"""Below every store's limit for a single put."""
HEADER_SIZE_MAX = 128 << 10
BLOCKS_MAX = 1 << 20
CHUNKS_PER_BLOCK_MAX = 1 << 16
SEALED_BLOCK_SIZE_MAX = BLOCK_SIZE_MAX + FRAME_OVERHEAD_MAX + TAG_SIZE
DIRECTORY_SIZE_MAX = 128 << 20

_PACK_LABEL = b"safelight/pack/v1"
_BLOCK_LABEL = b"safelight/block/v1\x00"
_DIRECTORY_LABEL = b"safelight/directory/v1"
FOOTER_SIZE = 4
"""Bytes of the directory's length, which end a pack."""


class Stream(IntEnum):
    """What a pack holds; a pack never mixes them, so that space comes back by whole packs."""

    HEADERS = 1
    PIXELS = 2
    DATA = 3
    METADATA = 4


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """A chunk as a directory lists it; chunks follow each other in the block's plaintext."""

    chunk_id: bytes
    length: int


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block as a directory lists it; blocks follow each other after the header."""

    sealed_length: int
    chunks: tuple[ChunkRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What a pack holds: no names, only chunk ids, lengths and places."""

    pack_id: bytes
    source_id: bytes
    stream: Stream
    epoch: int
    blocks_offset: int
    blocks: tuple[BlockRecord, ...]

    def places(self) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        """Of each chunk: id, block number, block offset, block length, offset, length."""
        block_offset = self.blocks_offset
        for number, block in enumerate(self.blocks):
            offset = 0
            for chunk in block.chunks:
                yield (
                    chunk.chunk_id,
                    number,
                    block_offset,
                    block.sealed_length,
                    offset,
                    chunk.length,
                )
                offset += chunk.length
            block_offset += block.sealed_length


def _write_directory_head(  # noqa: PLR0917 - the fields in their order
    writer: Writer, pack_id: bytes, source_id: bytes, stream: Stream, epoch: int, offset: int
) -> None:
    writer.fixed(pack_id, PACK_ID_SIZE)
    writer.fixed(source_id, ID_SIZE)
    writer.u8(stream)
    writer.u32(epoch)
    writer.u32(offset)


def _write_block(writer: Writer, block: BlockRecord) -> None:
    writer.u32(block.sealed_length)
    writer.u32(len(block.chunks))
    for chunk in block.chunks:
        writer.fixed(chunk.chunk_id, CHUNK_ID_SIZE)
        writer.u32(chunk.length)


def encode_directory(directory: Directory) -> bytes:
    """The plaintext of a directory."""
    writer = Writer()
    _write_directory_head(
        writer,
        directory.pack_id,
        directory.source_id,
        directory.stream,
        directory.epoch,
        directory.blocks_offset,
    )
    writer.u32(len(directory.blocks))
    for block in directory.blocks:
        _write_block(writer, block)
    return writer.finish()


def decode_directory(data: bytes) -> Directory:
    """The inverse of :func:`encode_directory`, with every length bounded."""
    reader = Reader(data, "pack directory")
    pack_id = reader.fixed(PACK_ID_SIZE)
    source_id = reader.fixed(ID_SIZE)
    stream = reader.choice(Stream)
    epoch = reader.u32()
    blocks_offset = reader.u32()
    if blocks_offset > HEADER_SIZE_MAX:
        raise reader.fail("blocks begin too late")
    blocks = tuple(_read_block(reader) for _ in range(reader.count(BLOCKS_MAX)))
    reader.end()
    return Directory(
        pack_id=pack_id,
        source_id=source_id,
        stream=stream,
        epoch=epoch,
        blocks_offset=blocks_offset,
        blocks=blocks,
    )


def _read_block(reader: Reader) -> BlockRecord:
    sealed_length = reader.u32()
    if not TAG_SIZE < sealed_length <= SEALED_BLOCK_SIZE_MAX:
        raise reader.fail(f"sealed block of {sealed_length} bytes")
    chunks = []
    plain_length = 0
    for _ in range(reader.count(CHUNKS_PER_BLOCK_MAX)):
        chunk = ChunkRecord(reader.fixed(CHUNK_ID_SIZE), reader.u32())
        plain_length += chunk.length
        if not 0 < chunk.length <= CHUNK_SIZE_MAX or plain_length > BLOCK_SIZE_MAX:
            raise reader.fail("chunk lengths exceed the limits")
        chunks.append(chunk)
    return BlockRecord(sealed_length, tuple(chunks))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackHeader:
    """The clear beginning of a pack."""

    vault_id: bytes
    pack_id: bytes
    agent_id: bytes
    commitment: bytes
    run_key: SealedRunKey
    size_bytes: int


def encode_pack_header(
    vault_id: bytes, pack_id: bytes, agent_id: bytes, commitment: bytes, run_key: SealedRunKey
) -> bytes:
    """The clear beginning of a pack."""
    writer = Writer()
    write_header(writer, Structure.PACK, 1, vault_id)
    writer.fixed(pack_id, PACK_ID_SIZE)
    writer.fixed(agent_id, ID_SIZE)
    writer.fixed(commitment, COMMITMENT_SIZE)
    run_key.write(writer)
    return writer.finish()


def decode_pack_header(data: bytes) -> PackHeader:
    """The header at the beginning of ``data``; what follows it is not looked at."""
    reader = Reader(data[:HEADER_SIZE_MAX], "pack header")
    vault_id = read_header(reader, Structure.PACK, 1)
    return PackHeader(
        vault_id=vault_id,
        pack_id=reader.fixed(PACK_ID_SIZE),
        agent_id=reader.fixed(ID_SIZE),
        commitment=reader.fixed(COMMITMENT_SIZE),
        run_key=SealedRunKey.read(reader),
        size_bytes=reader.offset,
    )


def _block_context(vault_id: bytes, pack_id: bytes, number: int) -> bytes:
    return _BLOCK_LABEL + vault_id + pack_id + number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class BlockOpener:
    """Opens the sealed blocks of one pack."""

    _header: PackHeader
    _key: SealKey = field(repr=False)

    @staticmethod
    def create(header: PackHeader, run_key: RunKey) -> "BlockOpener":
        """From a pack's header and its open run key; checks the commitment."""
        return BlockOpener(
            header, run_key.committed_key(header.pack_id, _PACK_LABEL, header.commitment)
        )

    def open(self, number: int, sealed: bytes | memoryview) -> bytes:
        """The framed plaintext of block ``number``; ``CorruptError`` if it is any other bytes."""
        context = _block_context(self._header.vault_id, self._header.pack_id, number)
        return self._key.open(number, sealed, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedPack:
    """A pack that is written: its name's digest, its size, and what references to it carry."""

    digest: bytes
    header_digest: bytes
    size_bytes: int
    encoded_directory: bytes

    @property
    def directory(self) -> Directory:
        """What the pack holds, decoded."""
        return decode_directory(self.encoded_directory)


class PackBuilder:
    """Writes a pack piece by piece to ``write``: header, sealed blocks, padding, directory.

    Each block is opened again right after sealing and compared: what bad memory damaged here would
    otherwise be locked for years.
    """

    def __init__(
        self,
        *,
        run_key: RunKey,
        pack_id: bytes,
        agent_id: bytes,
        source_id: bytes,
        stream: Stream,
        epoch: int,
        write: Callable[[bytes], object],
    ) -> None:
        self.pack_id = pack_id
        self._vault_id = run_key.vault_id
        self._key, commitment = run_key.object_key(pack_id, _PACK_LABEL)
        self._header = encode_pack_header(
            self._vault_id, pack_id, agent_id, commitment, run_key.sealed
        )
        self._directory = Writer()
        _write_directory_head(self._directory, pack_id, source_id, stream, epoch, len(self._header))
        # The records of a pack of headers are many: they are kept encoded, not as objects.
        self._records = Writer()
        self.block_count = 0
        self._write_out = write
        self._digest = hashlib.sha256()
        self._finished = False
        self.size_bytes = 0
        self._write(self._header)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._write_out(data)
        self.size_bytes += len(data)

    def add_block(self, frame: bytes, chunks: Sequence[ChunkRecord]) -> tuple[int, int, int]:
        """Seal one framed block; gives its number, its offset in the pack and its sealed length."""
        number = self.block_count
        if self._finished or number == BLOCKS_MAX:
            raise ValueError("the pack takes no further block")
        context = _block_context(self._vault_id, self.pack_id, number)
        sealed = self._key.seal(number, frame, context)
        if self._key.open(number, sealed, context) != frame:
            raise CorruptError("a block did not open to what was sealed: check this host's memory")
        offset = self.size_bytes
        _write_block(self._records, BlockRecord(len(sealed), tuple(chunks)))
        self.block_count += 1
        self._write(sealed)
        return number, offset, len(sealed)

    @property
    def directory_size(self) -> int:
        """Bytes of the directory so far."""
        return len(self._records)

    def finish(
        self, index_key: bytes, signer: SigningKey, random_bytes: Callable[[int], bytes]
    ) -> FinishedPack:
        """Write padding and the sealed, signed directory; nothing can be added afterwards."""
        if self._finished:
            raise ValueError("the pack is finished")
        self._finished = True
        self._directory.u32(self.block_count)
        directory = self._directory.finish() + self._records.finish()
        key = _directory_key(index_key, self.pack_id)
        sealed = key.seal(0, directory, _DIRECTORY_LABEL + self._vault_id)
        fingerprint = signer.verifying_key.fingerprint
        tail_size = len(sealed) + FINGERPRINT_SIZE + SIGNATURE_SIZE + FOOTER_SIZE
        content = self.size_bytes + tail_size
        if padme(content) > PACK_SIZE_MAX or len(sealed) > DIRECTORY_SIZE_MAX:
            raise ValueError("the pack exceeds the limits of the format")
        self._write(random_bytes(padme(content) - content))
        signature = signer.sign(sealed + fingerprint + self._digest.digest())
        self._write(sealed + fingerprint + signature + len(sealed).to_bytes(FOOTER_SIZE, "big"))
        return FinishedPack(
            digest=self._digest.digest(),
            header_digest=header_digest(self._header),
            size_bytes=self.size_bytes,
            encoded_directory=directory,
        )


def header_digest(header: bytes) -> bytes:
    """What a signed reference carries: the header commits to the key, the key proves blocks."""
    return hashlib.sha256(header).digest()


def _directory_key(index_key: bytes, pack_id: bytes) -> SealKey:
    return SealKey(derive(index_key, salt=pack_id, label=_DIRECTORY_LABEL))


def directory_offset(size_bytes: int, footer: bytes) -> int:
    """Where the directory of a pack begins, from the pack's size and its last 4 bytes."""
    sealed_length = int.from_bytes(footer, "big")
    offset = size_bytes - sealed_length - FINGERPRINT_SIZE - SIGNATURE_SIZE - FOOTER_SIZE
    if not TAG_SIZE < sealed_length <= DIRECTORY_SIZE_MAX or offset <= 0:
        raise DecodeError("pack directory: its length does not fit the pack")
    return offset


@dataclass(frozen=True, slots=True)
class DirectoryTail:
    """The end of a pack, from its directory on: to be opened first, and believed once verified."""

    header: PackHeader
    offset: int
    tail: bytes = field(repr=False)

    def unverified(self, index_key: bytes) -> Directory:
        """The directory, opened with the index key; its signature is *not* yet verified."""
        sealed = self.tail[: -(FINGERPRINT_SIZE + SIGNATURE_SIZE + FOOTER_SIZE)]
        sealer = _directory_key(index_key, self.header.pack_id)
        plain = sealer.open(0, sealed, _DIRECTORY_LABEL + self.header.vault_id)
        directory = decode_directory(plain)
        begin = self.header.size_bytes
        if directory.pack_id != self.header.pack_id or directory.blocks_offset != begin:
            raise CorruptError("pack directory: it describes another pack")
        if begin + sum(block.sealed_length for block in directory.blocks) > self.offset:
            raise CorruptError("pack directory: its blocks do not fit the pack")
        return directory

    def verify(self, key: VerifyingKey, prefix_digest: bytes) -> None:
        """Prove signer and signatures; ``prefix_digest`` is the SHA-256 of all before the tail."""
        signature_at = len(self.tail) - SIGNATURE_SIZE - FOOTER_SIZE
        signed = self.tail[:signature_at]
        is_agent = self.header.agent_id == key.fingerprint[:ID_SIZE]
        if signed[-FINGERPRINT_SIZE:] != key.fingerprint or not is_agent:
            raise CorruptError("pack directory: signed by another key than the expected agent's")
        key.verify(signed + prefix_digest, self.tail[signature_at:-FOOTER_SIZE])


def open_directory(pack: bytes, *, index_key: bytes, key: VerifyingKey) -> Directory:
    """The directory of a whole pack, its signature verified over all of the pack's bytes."""
    header = decode_pack_header(pack)
    offset = directory_offset(len(pack), pack[-FOOTER_SIZE:])
    tail = DirectoryTail(header, offset, pack[offset:])
    tail.verify(key, hashlib.sha256(memoryview(pack)[:offset]).digest())
    return tail.unverified(index_key)
