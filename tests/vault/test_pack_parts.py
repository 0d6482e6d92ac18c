"""The directory and the header of a pack: read back exactly, strict and bounded."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import (
    VAULT_ID,
    CountingRandom,
    agent_id,
    identity,
    run_key,
)
from pack_samples import SamplePack, build_pack, directories, pack_bytes
from safelight_vault.errors import DecodeError
from safelight_vault.format.chunk import CHUNK_SIZE_MAX
from safelight_vault.format.pack import (
    HEADER_SIZE_MAX,
    SEALED_BLOCK_SIZE_MAX,
    BlockRecord,
    ChunkRecord,
    Directory,
    decode_directory,
    decode_pack_header,
    encode_directory,
    encode_pack_header,
)
from safelight_vault.format.run_key import RECIPIENTS_MAX, RunKey
from strictness import (
    REFUSED,
    outcome,
    require_canonical,
    require_exact_length,
    require_only_vault_errors,
)


@pytest.fixture(scope="module")
def pack() -> SamplePack:
    return build_pack(CountingRandom())


# --- The parts -------------------------------------------------------------------------------


@given(directories())
def test_a_directory_is_read_back(directory: Directory) -> None:
    assert decode_directory(encode_directory(directory)) == directory


@given(directories())
def test_a_directory_lists_its_chunks_back_to_back(directory: Directory) -> None:
    expected_offset = directory.blocks_offset
    places = iter(directory.places())
    for number, block in enumerate(directory.blocks):
        offset = 0
        for chunk in block.chunks:
            assert next(places) == (
                chunk.chunk_id,
                number,
                expected_offset,
                block.sealed_length,
                offset,
                chunk.length,
            )
            offset += chunk.length
        expected_offset += block.sealed_length
    assert next(places, None) is None


def test_a_directory_has_exactly_one_length_and_form(pack: SamplePack) -> None:
    data = encode_directory(pack.directory)
    require_exact_length(decode_directory, data)
    require_only_vault_errors(decode_directory, data)


@given(st.binary(max_size=200))
def test_foreign_directories_are_refused_or_canonical(data: bytes) -> None:
    outcome(decode_directory, data)
    require_canonical(decode_directory, encode_directory, data)


@pytest.mark.parametrize(
    "block",
    [
        BlockRecord(16, ()),
        BlockRecord(SEALED_BLOCK_SIZE_MAX + 1, ()),
        BlockRecord(100, (ChunkRecord(bytes(32), 0),)),
        BlockRecord(100, (ChunkRecord(bytes(32), CHUNK_SIZE_MAX + 1),)),
        BlockRecord(100, (ChunkRecord(bytes(32), CHUNK_SIZE_MAX),) * 3),
    ],
)
def test_a_directory_beyond_the_limits_is_refused(block: BlockRecord, pack: SamplePack) -> None:
    with pytest.raises(DecodeError):
        decode_directory(encode_directory(replace(pack.directory, blocks=(block,))))


def test_a_directory_whose_blocks_begin_beyond_any_header_is_refused(pack: SamplePack) -> None:
    late = replace(pack.directory, blocks_offset=HEADER_SIZE_MAX + 1)
    with pytest.raises(DecodeError, match="begin too late"):
        decode_directory(encode_directory(late))


def test_a_header_is_read_back_and_its_size_told(pack: SamplePack) -> None:
    header = decode_pack_header(pack_bytes(pack))
    assert header.size_bytes == len(pack.body[0]) == pack.directory.blocks_offset
    assert (header.vault_id, header.agent_id) == (VAULT_ID, agent_id())
    assert header.pack_id == pack.directory.pack_id
    assert header.run_key == run_key().sealed


def test_the_longest_header_fits_its_limit() -> None:
    recipients = [identity().recipient] * RECIPIENTS_MAX
    crowded = RunKey.create(VAULT_ID, bytes(16), bytes(32), recipients)
    data = encode_pack_header(VAULT_ID, bytes(32), agent_id(), bytes(32), crowded.sealed)
    assert len(data) <= HEADER_SIZE_MAX
    assert decode_pack_header(data + bytes(HEADER_SIZE_MAX)).run_key == crowded.sealed


def test_a_cut_header_is_refused(pack: SamplePack) -> None:
    for length in range(len(pack.body[0])):
        assert outcome(decode_pack_header, pack.body[0][:length]) is REFUSED


@given(st.binary(max_size=300))
def test_foreign_headers_raise_nothing_but_vault_errors(data: bytes) -> None:
    outcome(decode_pack_header, data)
    outcome(decode_pack_header, b"SAFELITE\x01\x01" + data)
