"""Index segments give an agent its directories back; nobody else reads or forges them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import DEDUP_KEYS, OTHER_VAULT_ID, VAULT_ID, CountingRandom, fixed_bytes, signing_key
from name_strategies import version_ids
from pack_samples import CHUNKS, build_pack, directories
from safelight_vault.errors import CorruptError, DecodeError, UnsupportedFormatError
from safelight_vault.format.crypto import SealKey, derive
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.index import PACKS_MAX, IndexedPack, decode_index, encode_index
from safelight_vault.format.pack import encode_directory
from strictness import outcome, require_exact_length, require_tamper_evident

SEGMENT_ID = fixed_bytes("segment")


def encode(packs: list[IndexedPack], *, segment_id: bytes = SEGMENT_ID) -> bytes:
    return encode_index(
        packs,
        vault_id=VAULT_ID,
        segment_id=segment_id,
        index_key=DEDUP_KEYS.index_key,
        signer=signing_key(),
    )


def decode(
    data: bytes,
    *,
    vault_id: bytes = VAULT_ID,
    index_key: bytes = DEDUP_KEYS.index_key,
    agent: str = "agent",
) -> list[IndexedPack]:
    key = signing_key(agent).verifying_key
    return decode_index(data, vault_id=vault_id, index_key=index_key, key=key)


def sealed_by_hand(plain: bytes) -> bytes:
    """An authentic segment with any content, as a faulty agent might have signed it."""
    label = b"safelight/index-segment/v1"
    key = SealKey(derive(DEDUP_KEYS.index_key, salt=SEGMENT_ID, label=label))
    body = SEGMENT_ID + key.seal(0, plain, label + VAULT_ID)
    return encode_signed(Structure.INDEX, VAULT_ID, body, signing_key())


@pytest.fixture(scope="module")
def packs() -> list[IndexedPack]:
    random = CountingRandom()
    built = [build_pack(random) for _ in range(2)]
    return [
        IndexedPack(
            pack.digest,
            pack.header_digest,
            f"version-{number}",
            pack.size_bytes,
            pack.encoded_directory,
        )
        for number, pack in enumerate(built)
    ]


@given(
    st.lists(
        st.builds(
            IndexedPack,
            st.binary(min_size=32, max_size=32),
            st.binary(min_size=32, max_size=32),
            version_ids(),
            st.integers(0, 2**64 - 1),
            directories().map(encode_directory),
        ),
        max_size=3,
    )
)
def test_a_segment_is_read_back(packs: list[IndexedPack]) -> None:
    assert decode(encode(packs)) == packs


def test_a_segment_has_exactly_one_length_and_every_flip_is_noticed(
    packs: list[IndexedPack],
) -> None:
    require_exact_length(decode, encode(packs))
    require_tamper_evident(decode, encode(packs))


def test_a_segment_tells_nothing_to_others(packs: list[IndexedPack]) -> None:
    data = encode(packs)
    for chunks in CHUNKS:
        for chunk in chunks:
            assert DEDUP_KEYS.chunk_id(chunk) not in data
    assert packs[0].digest not in data
    assert encode(packs, segment_id=fixed_bytes("other segment"))[60:200] != data[60:200]


def test_another_signer_vault_or_index_key_is_refused(packs: list[IndexedPack]) -> None:
    data = encode(packs)
    with pytest.raises(CorruptError, match="not trusted"):
        decode(data, agent="intruder")
    with pytest.raises(CorruptError, match="not of this vault"):
        decode(data, vault_id=OTHER_VAULT_ID)
    with pytest.raises(CorruptError, match="seal is broken"):
        decode(data, index_key=fixed_bytes("other index key"))


def test_authentic_rubbish_is_refused_as_damage(packs: list[IndexedPack]) -> None:
    assert decode(sealed_by_hand(b"\x00\x00\x00\x00")) == []
    for plain in (b"", b"\x00\x00\x00\x01", b"\x00\x00\x00\x00\x00"):
        with pytest.raises(DecodeError):
            decode(sealed_by_hand(plain))
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode(sealed_by_hand((PACKS_MAX + 1).to_bytes(4, "big")))
    short = encode_signed(Structure.INDEX, VAULT_ID, SEGMENT_ID[:-1], signing_key())
    with pytest.raises(DecodeError, match="not of this vault"):
        decode(short)


@given(st.binary(max_size=200))
def test_authentic_foreign_content_raises_nothing_but_vault_errors(plain: bytes) -> None:
    outcome(decode, sealed_by_hand(plain))
    outcome(decode, plain)


def test_a_newer_segment_is_unsupported(packs: list[IndexedPack]) -> None:
    newer = encode_signed(Structure.INDEX, VAULT_ID, bytes(64), signing_key(), version=2)
    with pytest.raises(UnsupportedFormatError):
        decode(newer)
