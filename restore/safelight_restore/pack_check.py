"""A whole pack against all that is promised of it, in one pass and a few ranges.

Name, signature, commitment, seals, codecs and the id of every chunk. The invariant: every byte of
the pack was read from the store and went into the hash that is compared with its name.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from safelight_vault.blocks import RANGE_SIZE_MAX, RunKeyRing
from safelight_vault.errors import CorruptError, DecodeError, VaultError
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.codec import decode_block
from safelight_vault.format.crypto import VerifyingKey
from safelight_vault.format.pack import (
    FOOTER_SIZE,
    HEADER_SIZE_MAX,
    BlockOpener,
    BlockRecord,
    DirectoryTail,
    decode_pack_header,
    directory_offset,
)
from safelight_vault.store import Store, Version


class PackCheck:
    """Checks one version of a pack."""

    def __init__(
        self, store: Store, version: Version, keys: DedupKeys, run_keys: RunKeyRing
    ) -> None:
        self._store = store
        self._version = version
        self._keys = keys
        self._run_keys = run_keys
        self._digest = hashlib.sha256()
        self._read_to = 0

    def run(self, key_of: Callable[[bytes], VerifyingKey]) -> bytes:
        """The SHA-256 of all bytes; ``CorruptError`` for the first thing that is not as promised.

        ``key_of`` gives the verifying key of an enrolled agent by its id. Bytes that do not even
        hash to the name are reported as such, whatever else is wrong with them.
        """
        failure: VaultError | None = None
        try:
            self._check(key_of)
        except (CorruptError, VaultError) as error:
            failure = error
        self._advance(self._version.size_bytes)
        digest = self._digest.digest()
        if failure is not None and self._version.name.endswith(digest.hex()):
            raise CorruptError(failure.message) from failure
        return digest

    def _check(self, key_of: Callable[[bytes], VerifyingKey]) -> None:
        size = self._version.size_bytes
        if size <= FOOTER_SIZE:
            raise DecodeError("too short for a pack")
        header = decode_pack_header(self._get(0, min(HEADER_SIZE_MAX, size)))
        offset = directory_offset(size, self._get(size - FOOTER_SIZE, FOOTER_SIZE))
        if offset < header.size_bytes:
            raise DecodeError("pack directory: its length does not fit the pack")
        tail = DirectoryTail(header, offset, self._get(offset, size - offset))
        directory = tail.unverified(self._keys.index_key)
        opener = self._run_keys.use(
            header.run_key, lambda run_key: BlockOpener.create(header, run_key)
        )
        self._advance(header.size_bytes)
        for first, blocks in _ranges(directory.blocks):
            data = self._take(sum(block.sealed_length for block in blocks))
            self._check_blocks(opener, first, blocks, data)
        self._advance(offset)
        tail.verify(key_of(header.agent_id), self._digest.digest())

    def _check_blocks(
        self, opener: BlockOpener, first: int, blocks: Sequence[BlockRecord], data: bytes
    ) -> None:
        at = 0
        for number, block in enumerate(blocks, first):
            plain = decode_block(opener.open(number, data[at : at + block.sealed_length]))
            at += block.sealed_length
            offset = 0
            for chunk in block.chunks:
                if self._keys.chunk_id(plain[offset : offset + chunk.length]) != chunk.chunk_id:
                    raise CorruptError("a chunk does not have the id that the directory lists")
                offset += chunk.length
            if offset != len(plain):
                raise CorruptError("a block holds more than its directory lists")

    def _get(self, offset: int, length: int) -> bytes:
        return self._store.get(
            self._version.name, self._version.version_id, offset=offset, length=length
        )

    def _advance(self, to: int) -> None:
        """Read and hash up to an offset."""
        while self._read_to < to:
            self._take(min(RANGE_SIZE_MAX, to - self._read_to))

    def _take(self, length: int) -> bytes:
        """Read and hash the next bytes."""
        data = self._get(self._read_to, length)
        self._digest.update(data)
        self._read_to += length
        return data


def _ranges(blocks: Sequence[BlockRecord]) -> Iterator[tuple[int, list[BlockRecord]]]:
    """Consecutive blocks that one range request reads, with the number of the first."""
    group: list[BlockRecord] = []
    size = first = 0
    for number, block in enumerate(blocks):
        if group and size + block.sealed_length > RANGE_SIZE_MAX:
            yield first, group
            group, size, first = [], 0, number
        group.append(block)
        size += block.sealed_length
    if group:
        yield first, group
