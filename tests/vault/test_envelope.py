"""A frame gives back what was framed, and never passes for another kind, vault or signer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import OTHER_VAULT_ID, VAULT_ID, signing_key
from safelight_vault.errors import CorruptError, DecodeError, UnsupportedFormatError
from safelight_vault.format.crypto import SIGNATURE_SIZE
from safelight_vault.format.envelope import (
    BODY_SIZE_MAX,
    MAGIC,
    Structure,
    decode_plain,
    decode_signed,
    encode_plain,
    encode_signed,
)
from strictness import outcome, require_exact_length, require_tamper_evident

KIND_AT = len(MAGIC)
VERSION_AT = KIND_AT + 1
LENGTH_AT = VERSION_AT + 1 + len(VAULT_ID)
BODY = b"the body of a reference table"


def signed(structure: Structure = Structure.TABLE, body: bytes = BODY) -> bytes:
    return encode_signed(structure, VAULT_ID, body, signing_key())


def verified(data: bytes, structure: Structure = Structure.TABLE) -> tuple[bytes, bytes]:
    framed = decode_signed(data, structure)
    return framed.vault_id, framed.verified_body(signing_key().verifying_key)


@given(st.sampled_from(Structure), st.binary(min_size=16, max_size=16), st.binary(max_size=200))
def test_a_plain_frame_gives_back_vault_and_body(
    structure: Structure, vault_id: bytes, body: bytes
) -> None:
    assert decode_plain(encode_plain(structure, vault_id, body), structure) == (vault_id, body)


@given(st.sampled_from(Structure), st.binary(min_size=16, max_size=16), st.binary(max_size=200))
def test_a_signed_frame_gives_back_vault_body_and_signer(
    structure: Structure, vault_id: bytes, body: bytes
) -> None:
    key = signing_key()
    framed = decode_signed(encode_signed(structure, vault_id, body, key), structure)
    assert (framed.structure, framed.vault_id) == (structure, vault_id)
    assert framed.signer == key.verifying_key.fingerprint
    assert framed.unverified_body == framed.verified_body(key.verifying_key) == body


def test_frames_have_exactly_one_length() -> None:
    require_exact_length(verified, signed())
    plain = encode_plain(Structure.REFERENCES, VAULT_ID, BODY)
    require_exact_length(lambda data: decode_plain(data, Structure.REFERENCES), plain)


def test_every_flip_in_a_signed_frame_is_noticed() -> None:
    require_tamper_evident(verified, signed(), every=1)


@given(st.binary(max_size=300), st.sampled_from(Structure))
def test_foreign_bytes_raise_nothing_but_vault_errors(tail: bytes, structure: Structure) -> None:
    header = MAGIC + bytes([structure, 1]) + VAULT_ID
    for data in (tail, header + tail):
        outcome(lambda foreign: verified(foreign, structure), data)
        outcome(lambda foreign: decode_plain(foreign, structure), data)


@pytest.mark.parametrize("other", [kind for kind in Structure if kind is not Structure.TABLE])
def test_one_kind_never_passes_for_another(other: Structure) -> None:
    data = signed()
    with pytest.raises(DecodeError, match="not of the kind"):
        decode_signed(data, other)
    relabelled = bytearray(data)
    relabelled[KIND_AT] = other
    with pytest.raises(CorruptError, match="signature"):
        verified(bytes(relabelled), other)


def test_one_vault_never_passes_for_another() -> None:
    data = signed().replace(VAULT_ID, OTHER_VAULT_ID)
    assert decode_signed(data, Structure.TABLE).vault_id == OTHER_VAULT_ID
    with pytest.raises(CorruptError, match="signature"):
        verified(data)


def test_a_frame_signed_by_another_key_is_refused() -> None:
    framed = decode_signed(signed(), Structure.TABLE)
    with pytest.raises(CorruptError, match="signed by a key that is not trusted"):
        framed.verified_body(signing_key("other agent").verifying_key)


def test_naming_a_trusted_signer_is_not_enough() -> None:
    forged = encode_signed(Structure.TABLE, VAULT_ID, BODY, signing_key("other agent"))
    at = len(forged) - SIGNATURE_SIZE
    fingerprint = signing_key().verifying_key.fingerprint
    with pytest.raises(CorruptError, match="signature"):
        verified(forged[: at - len(fingerprint)] + fingerprint + forged[at:])


def test_a_newer_version_is_unsupported_and_version_zero_is_damage() -> None:
    newer = encode_signed(Structure.TABLE, VAULT_ID, BODY, signing_key(), version=2)
    with pytest.raises(UnsupportedFormatError, match="format version 2, newer"):
        decode_signed(newer, Structure.TABLE)
    assert decode_signed(newer, Structure.TABLE, version_max=2).unverified_body == BODY
    zero = bytearray(newer)
    zero[VERSION_AT] = 0
    with pytest.raises(DecodeError, match="version 0"):
        decode_signed(bytes(zero), Structure.TABLE)


def test_a_kind_that_nobody_knows_and_a_wrong_magic_are_damage() -> None:
    data = bytearray(signed())
    data[KIND_AT] = 200
    with pytest.raises(DecodeError, match="200 is not a known value"):
        decode_signed(bytes(data), Structure.TABLE)
    with pytest.raises(DecodeError, match="wrong magic"):
        decode_signed(b"RESTICAT" + signed()[8:], Structure.TABLE)


def test_a_body_length_above_the_limit_is_refused_without_the_body() -> None:
    data = signed()[:LENGTH_AT] + (BODY_SIZE_MAX + 1).to_bytes(4, "big")
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode_signed(data, Structure.TABLE)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode_plain(data, Structure.TABLE)


def test_the_frame_is_laid_out_as_documented() -> None:
    data = signed()
    assert data[:10] == b"SAFELITE\x07\x01"
    assert data[10:26] == VAULT_ID
    assert data[26:30] == len(BODY).to_bytes(4, "big")
    assert data[30 : 30 + len(BODY)] == BODY
    assert len(data) == 30 + len(BODY) + 32 + 64 + 3309
