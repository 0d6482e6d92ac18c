"""Chunk identity: keyed BLAKE3, so that equal bytes are recognised without naming their content.

A holder of the dedup key can confirm a guessed chunk; nobody else learns anything from an id
(format.md section 3.4). All keys that follow from the dedup key are derived here.
"""

from dataclasses import dataclass, field

from blake3 import blake3

from safelight_vault.format.crypto import derive

CHUNK_ID_SIZE = 32
CHUNK_SIZE_MAX = 8 << 20
"""Longest chunk in bytes; splitters cut longer runs."""


@dataclass(frozen=True, slots=True)
class DedupKeys:
    """The keys derived from a vault's dedup key: for chunk ids, directories and the splitter.

    ``splitter_seed`` has 63 bits.
    """

    chunk_id_key: bytes = field(repr=False)
    index_key: bytes = field(repr=False)
    splitter_seed: int = field(repr=False)

    @staticmethod
    def derive(dedup_key: bytes, vault_id: bytes) -> "DedupKeys":
        """The three derived keys of a vault."""
        seed = derive(dedup_key, salt=vault_id, label=b"safelight/splitter-seed/v1", size=8)
        return DedupKeys(
            chunk_id_key=derive(dedup_key, salt=vault_id, label=b"safelight/chunk-id/v1"),
            index_key=derive(dedup_key, salt=vault_id, label=b"safelight/index/v1"),
            splitter_seed=int.from_bytes(seed, "big") >> 1,
        )

    def chunk_id(self, chunk: bytes | bytearray | memoryview) -> bytes:
        """The 32-byte id of a chunk."""
        return blake3(chunk, key=self.chunk_id_key).digest()
