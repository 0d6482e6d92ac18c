"""Small finished packs and random directories, for tests of whatever contains or reads packs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from keys import DEDUP_KEYS, SOURCE_ID, agent_id, run_key, signing_key
from safelight_vault.format.codec import encode_block
from safelight_vault.format.pack import (
    HEADER_SIZE_MAX,
    SEALED_BLOCK_SIZE_MAX,
    BlockRecord,
    ChunkRecord,
    Directory,
    PackBuilder,
    Stream,
)
from safelight_vault.format.run_key import RunKey

CHUNKS = ((b"first chunk", b"second chunk"), (b"a chunk alone",), (b"\x00" * 300, b"last"))
"""The chunks of each block of a sample pack."""


@dataclass(frozen=True)
class SamplePack:
    """A finished pack with its body: header, each sealed block, padding, directory and footer."""

    digest: bytes
    header_digest: bytes
    size_bytes: int
    directory: Directory
    encoded_directory: bytes
    body: tuple[bytes, ...]


def build_pack(
    random_bytes: Callable[[int], bytes],
    *,
    blocks: Sequence[Sequence[bytes]] = CHUNKS,
    run: str | RunKey = "run",
    signer: str = "agent",
    owner: str = "agent",
) -> SamplePack:
    """A finished pack of these blocks of chunks; ``owner`` is the agent that the header claims.

    ``run`` is an open run key, or the name of one that is sealed to the first identity.
    """
    parts: list[bytes] = []
    builder = PackBuilder(
        run_key=run_key(run) if isinstance(run, str) else run,
        pack_id=random_bytes(32),
        agent_id=agent_id(owner),
        source_id=SOURCE_ID,
        stream=Stream.DATA,
        epoch=1,
        write=parts.append,
    )
    for chunks in blocks:
        records = [ChunkRecord(DEDUP_KEYS.chunk_id(chunk), len(chunk)) for chunk in chunks]
        builder.add_block(encode_block(b"".join(chunks), level=1), records)
    pack = builder.finish(DEDUP_KEYS.index_key, signing_key(signer), random_bytes)
    return SamplePack(
        pack.digest,
        pack.header_digest,
        pack.size_bytes,
        pack.directory,
        pack.encoded_directory,
        tuple(parts),
    )


def pack_bytes(pack: SamplePack) -> bytes:
    """The whole body of a pack."""
    return b"".join(pack.body)


def directories() -> st.SearchStrategy[Directory]:
    """Directories within the limits of the format."""
    chunks = st.builds(ChunkRecord, st.binary(min_size=32, max_size=32), st.integers(1, 1 << 20))
    blocks = st.builds(
        BlockRecord,
        st.integers(17, SEALED_BLOCK_SIZE_MAX),
        st.lists(chunks, max_size=4).map(tuple),
    )
    return st.builds(
        Directory,
        pack_id=st.binary(min_size=32, max_size=32),
        source_id=st.binary(min_size=16, max_size=16),
        stream=st.sampled_from(Stream),
        epoch=st.integers(0, 2**32 - 1),
        blocks_offset=st.integers(0, HEADER_SIZE_MAX),
        blocks=st.lists(blocks, max_size=4).map(tuple),
    )
