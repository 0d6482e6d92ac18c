"""Packs open to what was sealed in them, block by block, and to nothing else."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import (
    DEDUP_KEYS,
    OTHER_VAULT_ID,
    SOURCE_ID,
    VAULT_ID,
    CountingRandom,
    agent_id,
    fixed_bytes,
    identity,
    run_key,
    signing_key,
)
from pack_samples import CHUNKS, SamplePack, build_pack, pack_bytes
from safelight_vault.errors import CorruptError
from safelight_vault.format import pack as pack_module
from safelight_vault.format import run_key as run_key_module
from safelight_vault.format.codec import decode_block, encode_block
from safelight_vault.format.crypto import SealKey
from safelight_vault.format.pack import (
    BlockOpener,
    Directory,
    PackBuilder,
    Stream,
    decode_pack_header,
    open_directory,
)
from safelight_vault.format.padme import padme
from strictness import (
    REFUSED,
    flips,
    outcome,
    require_tamper_evident,
)

PLAIN = [b"".join(chunks) for chunks in CHUNKS]


@pytest.fixture(scope="module")
def pack() -> SamplePack:
    return build_pack(CountingRandom())


def read_directory(
    data: bytes, *, index_key: bytes = DEDUP_KEYS.index_key, agent: str = "agent"
) -> Directory:
    """As an agent that lost its index reads a whole pack."""
    return open_directory(data, index_key=index_key, key=signing_key(agent).verifying_key)


def read_blocks(data: bytes) -> list[bytes]:
    """As a restore reads a pack: header, run key, then blocks at the places it was told."""
    header = decode_pack_header(data)
    identities = {identity().recipient.fingerprint: identity()}
    opener = BlockOpener.create(header, header.run_key.open(identities, VAULT_ID))
    plain = []
    offset = header.size_bytes
    for number, block in enumerate(build_pack(CountingRandom()).directory.blocks):
        sealed = data[offset : offset + block.sealed_length]
        plain.append(decode_block(opener.open(number, sealed)))
        offset += block.sealed_length
    return plain


def sealed_block(pack: SamplePack, number: int) -> bytes:
    return pack.body[1 + number]


def opener_of(pack: SamplePack, run: str = "run") -> BlockOpener:
    return BlockOpener.create(decode_pack_header(pack.body[0]), run_key(run))


# --- What comes back -------------------------------------------------------------------------


@given(st.lists(st.lists(st.binary(min_size=1, max_size=300), min_size=1), max_size=3))
def test_every_chunk_is_found_where_the_directory_says(blocks: list[list[bytes]]) -> None:
    data = pack_bytes(build_pack(CountingRandom(), blocks=blocks))
    directory = read_directory(data)
    opener = BlockOpener.create(decode_pack_header(data), run_key())
    places = list(directory.places())
    assert len(places) == sum(map(len, blocks))
    for chunk, place in zip((chunk for block in blocks for chunk in block), places, strict=True):
        chunk_id, number, block_offset, block_length, offset, length = place
        sealed = data[block_offset : block_offset + block_length]
        assert decode_block(opener.open(number, sealed))[offset : offset + length] == chunk
        assert chunk_id == DEDUP_KEYS.chunk_id(chunk)


def test_a_restore_needs_only_an_identity(pack: SamplePack) -> None:
    assert read_blocks(pack_bytes(pack)) == PLAIN


def test_an_agent_needs_only_the_dedup_key_for_the_directory(pack: SamplePack) -> None:
    directory = read_directory(pack_bytes(pack))
    assert directory == pack.directory
    assert (directory.source_id, directory.stream, directory.epoch) == (SOURCE_ID, Stream.DATA, 1)


def test_the_name_is_the_hash_of_the_body(pack: SamplePack) -> None:
    data = pack_bytes(pack)
    assert hashlib.sha256(data).digest() == pack.digest
    assert len(data) == pack.size_bytes


def test_the_builder_tells_where_each_block_lies() -> None:
    parts: list[bytes] = []
    builder = PackBuilder(
        run_key=run_key(),
        pack_id=fixed_bytes("pack"),
        agent_id=agent_id(),
        source_id=SOURCE_ID,
        stream=Stream.PIXELS,
        epoch=1,
        write=parts.append,
    )
    frames = [encode_block(plain, level=1) for plain in PLAIN]
    told = [builder.add_block(frame, []) for frame in frames]
    assert builder.block_count == len(frames)
    builder.finish(DEDUP_KEYS.index_key, signing_key(), CountingRandom())
    data = b"".join(parts)
    opener = BlockOpener.create(decode_pack_header(data), run_key())
    for (number, offset, length), frame in zip(told, frames, strict=True):
        assert opener.open(number, data[offset : offset + length]) == frame


@pytest.mark.parametrize("size", [0, 1, 5_000, 70_000, 300_000])
def test_padding_reaches_a_padme_size(size: int) -> None:
    blocks = [[fixed_bytes("noise", size)]] if size else []
    pack = build_pack(CountingRandom(), blocks=blocks)
    padding = pack.body[-2]
    content = sum(map(len, pack.body)) - len(padding)
    assert pack.size_bytes == content + len(padding) == padme(content)


def test_the_same_data_sealed_twice_has_nothing_in_common() -> None:
    random = CountingRandom()
    one, other = build_pack(random), build_pack(random)
    assert one.digest != other.digest
    for mine, yours in zip(one.body[1:], other.body[1:], strict=True):
        assert mine != yours
    assert [block.chunks for block in one.directory.blocks] == [
        block.chunks for block in other.directory.blocks
    ]


def test_nothing_that_was_stored_is_seen_in_the_bytes(pack: SamplePack) -> None:
    data = pack_bytes(pack)
    for chunks in CHUNKS:
        for chunk in chunks:
            assert chunk not in data
            assert DEDUP_KEYS.chunk_id(chunk) not in data
    assert SOURCE_ID not in data


def test_no_key_is_used_with_a_nonce_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[bytes, int]] = []

    class SpyingSealKey(SealKey):
        """Seals as the real one and remembers under which key and number."""

        __slots__ = ("_spied",)

        def __init__(self, key: bytes) -> None:
            super().__init__(key)
            self._spied = key

        def seal(
            self, number: int, plaintext: bytes | bytearray | memoryview, context: bytes
        ) -> bytes:
            used.append((self._spied, number))
            return super().seal(number, plaintext, context)

    monkeypatch.setattr(pack_module, "SealKey", SpyingSealKey)
    monkeypatch.setattr(run_key_module, "SealKey", SpyingSealKey)
    random = CountingRandom()
    for _ in range(5):
        for run in ("run", "other run"):
            build_pack(random, run=run)
    assert len(used) == 10 * (len(CHUNKS) + 1)
    assert len(set(used)) == len(used)
    assert len({key for key, _ in used}) == 10 * 2  # one for the blocks, one for the directory


# --- What is refused -------------------------------------------------------------------------


def test_swapped_blocks_do_not_open(pack: SamplePack) -> None:
    opener = opener_of(pack)
    assert decode_block(opener.open(0, sealed_block(pack, 0))) == PLAIN[0]
    for number, other in ((0, 1), (1, 0), (2, 0)):
        with pytest.raises(CorruptError, match="seal is broken"):
            opener.open(number, sealed_block(pack, other))


@pytest.mark.parametrize("number", [1, 3, 1 << 20, (1 << 32) - 1])
def test_a_block_does_not_open_under_another_number(pack: SamplePack, number: int) -> None:
    with pytest.raises(CorruptError, match="seal is broken"):
        opener_of(pack).open(number, sealed_block(pack, 0))


def test_a_block_of_another_pack_of_the_run_does_not_open(pack: SamplePack) -> None:
    other = build_pack(CountingRandom("other pack"))
    with pytest.raises(CorruptError, match="seal is broken"):
        opener_of(pack).open(0, sealed_block(other, 0))


def test_a_header_does_not_open_under_another_run_key(pack: SamplePack) -> None:
    with pytest.raises(CorruptError, match="commitment"):
        opener_of(pack, "other run")
    header = decode_pack_header(pack.body[0])
    with pytest.raises(CorruptError, match="commitment"):
        BlockOpener.create(replace(header, commitment=bytes(32)), run_key())
    with pytest.raises(CorruptError, match="commitment"):
        BlockOpener.create(replace(header, pack_id=bytes(32)), run_key())


def test_a_block_is_bound_to_its_vault(pack: SamplePack) -> None:
    elsewhere = replace(decode_pack_header(pack.body[0]), vault_id=OTHER_VAULT_ID)
    with pytest.raises(CorruptError, match="seal is broken"):
        BlockOpener.create(elsewhere, run_key()).open(0, sealed_block(pack, 0))


def test_a_directory_signed_by_another_agent_is_refused() -> None:
    for signer, owner in (("agent", "intruder"), ("intruder", "agent"), ("intruder", "intruder")):
        data = pack_bytes(build_pack(CountingRandom(), signer=signer, owner=owner))
        with pytest.raises(CorruptError, match="signed by another key"):
            read_directory(data)
    data = pack_bytes(build_pack(CountingRandom(), signer="intruder", owner="agent"))
    with pytest.raises(CorruptError, match="signed by another key"):
        read_directory(data, agent="intruder")


def test_a_directory_does_not_open_under_another_index_key(pack: SamplePack) -> None:
    with pytest.raises(CorruptError, match="seal is broken"):
        read_directory(pack_bytes(pack), index_key=fixed_bytes("other index key"))


def test_a_directory_does_not_pass_for_that_of_another_pack(pack: SamplePack) -> None:
    other = build_pack(CountingRandom("other pack"))
    with pytest.raises(CorruptError, match="signature"):
        read_directory(b"".join((*pack.body[:-1], other.body[-1])))


def test_every_flip_in_a_pack_is_noticed_by_an_agent(pack: SamplePack) -> None:
    """Padding included: an agent adopts only bytes that it wrote itself, whoever put them there."""
    for position, changed in flips(pack_bytes(pack)):
        assert outcome(read_directory, changed) is REFUSED, f"flip at {position}"


def test_every_flip_in_a_pack_gives_a_restore_an_error_or_the_same_bytes(
    pack: SamplePack,
) -> None:
    require_tamper_evident(read_blocks, pack_bytes(pack), every=9)


def test_a_pack_with_the_blocks_of_another_is_not_adopted(pack: SamplePack) -> None:
    """Else rubbish under a sound directory would be deduplicated against, and lost at restore."""
    rubbish = [fixed_bytes("rubbish", len(part)) for part in pack.body[1:-1]]
    with pytest.raises(CorruptError, match="signature"):
        read_directory(b"".join((pack.body[0], *rubbish, pack.body[-1])))


def test_a_cut_pack_has_no_directory(pack: SamplePack) -> None:
    data = pack_bytes(pack)
    for length in range(0, len(data), 11):
        assert outcome(read_directory, data[:length]) is REFUSED
    assert outcome(read_directory, data + b"\x00") is REFUSED


def test_a_block_that_opens_to_other_bytes_never_enters_a_pack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FaultySealKey(SealKey):
        """As if a bit had fallen over in memory between compressing and sealing."""

        __slots__ = ()

        def seal(
            self, number: int, plaintext: bytes | bytearray | memoryview, context: bytes
        ) -> bytes:
            return super().seal(number, bytes(plaintext[:-1]) + b"?", context)

    monkeypatch.setattr(run_key_module, "SealKey", FaultySealKey)
    with pytest.raises(CorruptError, match="check this host's memory"):
        build_pack(CountingRandom())


@given(st.binary(max_size=4000), st.integers(0, 4000))
def test_foreign_packs_raise_nothing_but_vault_errors(data: bytes, length: int) -> None:
    header = build_pack(CountingRandom()).body[0]
    footer = length.to_bytes(4, "big")
    for foreign in (data, data + footer, header + data, header + data + footer):
        assert outcome(read_directory, foreign) is REFUSED
