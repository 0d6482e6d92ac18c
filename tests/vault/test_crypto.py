"""Keys, seals and signatures: each opens what it made, refuses all else, and shows no secret."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keys import fixed_bytes, identity, signing_key
from safelight_vault.errors import ConfigurationError, CorruptError, WrongIdentityError
from safelight_vault.format.crypto import (
    ENCAPSULATION_SIZE,
    KEY_SIZE,
    RECIPIENT_SIZE,
    SEALED_KEY_SIZE,
    SIGNATURE_SIZE,
    TAG_SIZE,
    VERIFYING_KEY_SIZE,
    Identity,
    Recipient,
    SealKey,
    SigningKey,
    VerifyingKey,
    derive,
)
from strictness import REFUSED, flips, outcome

INFO = b"safelight/test/v1\x00vault and run"
KEY = fixed_bytes("a key to seal")
SEEDS = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**32 - 1)


# --- HPKE, built again from its parts --------------------------------------------------------

_SUITE_ID = b"HPKE" + bytes.fromhex("647a 0001 0002")
"""RFC 9180 section 5.1: KEM X-Wing, KDF HKDF-SHA256, AEAD AES-256-GCM."""


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def hkdf_expand(secret: bytes, info: bytes, size: int) -> bytes:
    blocks = [b""]
    while sum(map(len, blocks)) < size:
        counter = bytes([len(blocks)])
        blocks.append(hmac.digest(secret, blocks[-1] + info + counter, "sha256"))
    return b"".join(blocks)[:size]


def labeled_extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hkdf_extract(salt, b"HPKE-v1" + _SUITE_ID + label + secret)


def labeled_expand(secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    sized = size.to_bytes(2, "big") + b"HPKE-v1" + _SUITE_ID + label + info
    return hkdf_expand(secret, sized, size)


def key_and_nonce(shared_secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """RFC 9180 section 5.1, mode base: the first (and only) message's key and nonce."""
    context = b"\x00" + labeled_extract(b"", b"psk_id_hash", b"")
    context += labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared_secret, b"secret", b"")
    key = labeled_expand(secret, b"key", context, 32)
    return key, labeled_expand(secret, b"base_nonce", context, 12)


def combine(ml_kem: bytes, x25519: bytes, ciphertext: bytes, public: bytes) -> bytes:
    """The X-Wing combiner (draft-connolly-cfrg-xwing-kem, section 5.3)."""
    return hashlib.sha3_256(ml_kem + x25519 + ciphertext + public + b"\\.//^\\").digest()


def rebuilt_open(seed: bytes, sealed: bytes, info: bytes) -> bytes:
    expanded = hashlib.shake_256(seed).digest(96)
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    ephemeral = sealed[1088:1120]
    shared = combine(
        ml_kem.decapsulate(sealed[:1088]),
        x25519.exchange(X25519PublicKey.from_public_bytes(ephemeral)),
        ephemeral,
        x25519.public_key().public_bytes_raw(),
    )
    key, nonce = key_and_nonce(shared, info)
    return AESGCM(key).decrypt(nonce, sealed[1120:], b"")


def rebuilt_seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    secret, ciphertext = MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    ephemeral = X25519PrivateKey.from_private_bytes(fixed_bytes("ephemeral"))
    sent = ephemeral.public_key().public_bytes_raw()
    other = X25519PublicKey.from_public_bytes(public[1184:])
    shared = combine(secret, ephemeral.exchange(other), sent, public[1184:])
    key, nonce = key_and_nonce(shared, info)
    return ciphertext + sent + AESGCM(key).encrypt(nonce, plaintext, b"")


@given(SEEDS, st.binary(max_size=80))
def test_hpke_opens_in_a_reader_built_from_its_parts(seed: bytes, info: bytes) -> None:
    assert rebuilt_open(seed, Identity(seed).recipient.seal(KEY, info), info) == KEY


@given(SEEDS, st.binary(max_size=80))
def test_hpke_opens_what_a_writer_built_from_its_parts_sealed(seed: bytes, info: bytes) -> None:
    ours = Identity(seed)
    assert ours.open(rebuilt_seal(ours.recipient.public, KEY, info), info) == KEY


# --- Sealing keys to recipients --------------------------------------------------------------


@given(SEEDS, st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE), st.binary(max_size=80))
def test_an_identity_opens_what_its_recipient_sealed(seed: bytes, key: bytes, info: bytes) -> None:
    ours = Identity(seed)
    sealed = ours.recipient.seal(key, info)
    assert len(sealed) == SEALED_KEY_SIZE
    assert ours.open(sealed, info) == key


def test_sealing_twice_gives_different_bytes() -> None:
    recipient = identity().recipient
    assert recipient.seal(KEY, INFO) != recipient.seal(KEY, INFO)


def test_another_identity_does_not_open() -> None:
    sealed = identity().recipient.seal(KEY, INFO)
    with pytest.raises(WrongIdentityError, match="does not open"):
        identity("second").open(sealed, INFO)


@pytest.mark.parametrize("other", [b"", INFO[:-1], INFO + b"\x00", INFO.replace(b"v1", b"v2")])
def test_another_info_does_not_open(other: bytes) -> None:
    sealed = identity().recipient.seal(KEY, INFO)
    with pytest.raises(WrongIdentityError):
        identity().open(sealed, other)


def test_every_flip_and_every_truncation_of_a_sealed_key_is_noticed() -> None:
    sealed = identity().recipient.seal(KEY, INFO)
    for position, changed in flips(sealed, every=1):
        found = outcome(lambda data: identity().open(data, INFO), changed)
        assert found is REFUSED, f"flip at {position}"
    for length in range(len(sealed)):
        assert outcome(lambda data: identity().open(data, INFO), sealed[:length]) is REFUSED
    assert outcome(lambda data: identity().open(data, INFO), sealed + b"\x00") is REFUSED


@given(st.binary(max_size=64), st.binary(min_size=32, max_size=32))
def test_foreign_sealed_bytes_are_refused(short: bytes, ephemeral: bytes) -> None:
    long = bytes(1088) + ephemeral + bytes(48)
    for data in (short, long):
        assert outcome(lambda foreign: identity().open(foreign, INFO), data) is REFUSED


def test_an_encapsulation_of_low_order_is_refused() -> None:
    sealed = identity().recipient.seal(KEY, INFO)
    zero_point = sealed[:1088] + bytes(32) + sealed[ENCAPSULATION_SIZE:]
    with pytest.raises(WrongIdentityError):
        identity().open(zero_point, INFO)


@pytest.mark.parametrize(
    "public",
    [b"\xff" * RECIPIENT_SIZE, identity().recipient.public[:1184] + bytes(32)],
    ids=["coefficients out of range", "X25519 point of low order"],
)
def test_an_unusable_recipient_is_refused_when_sealing(public: bytes) -> None:
    with pytest.raises(ConfigurationError, match="not a usable public key"):
        Recipient(public).seal(KEY, INFO)


@pytest.mark.parametrize("difference", [-1, 1])
def test_keys_of_a_wrong_length_are_refused(difference: int) -> None:
    with pytest.raises(ConfigurationError, match="1216 bytes"):
        Recipient(bytes(RECIPIENT_SIZE + difference))
    with pytest.raises(ConfigurationError, match="1984 bytes"):
        VerifyingKey(bytes(VERIFYING_KEY_SIZE + difference))
    with pytest.raises(ConfigurationError, match="32 bytes"):
        Identity(bytes(32 + difference))
    with pytest.raises(ConfigurationError, match="32 bytes"):
        SigningKey(bytes(32 + difference))


# --- Sealing data ----------------------------------------------------------------------------


@given(NUMBERS, st.binary(max_size=200), st.binary(max_size=60))
def test_a_seal_opens_under_the_same_number_and_context(
    number: int, plaintext: bytes, context: bytes
) -> None:
    key = SealKey(KEY)
    sealed = key.seal(number, plaintext, context)
    assert len(sealed) == len(plaintext) + TAG_SIZE
    assert key.open(number, sealed, context) == plaintext


@given(st.binary(max_size=40))
def test_a_changed_seal_never_opens(plaintext: bytes) -> None:
    key = SealKey(KEY)
    sealed = key.seal(3, plaintext, b"context")
    for _, changed in flips(sealed):
        assert outcome(lambda data: key.open(3, data, b"context"), changed) is REFUSED
    for length in range(len(sealed)):
        assert outcome(lambda data: key.open(3, data, b"context"), sealed[:length]) is REFUSED


def test_a_seal_is_bound_to_number_context_and_key() -> None:
    sealed = SealKey(KEY).seal(3, b"plaintext", b"context")
    for key, number, context in (
        (KEY, 4, b"context"),
        (KEY, 3, b"contexts"),
        (KEY, 3, b""),
        (bytes(32), 3, b"context"),
    ):
        with pytest.raises(CorruptError, match="seal is broken"):
            SealKey(key).open(number, sealed, context)


# --- Signatures ------------------------------------------------------------------------------


@given(SEEDS, st.binary(max_size=300))
def test_a_signature_verifies_under_its_key(seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    signature = key.sign(message)
    assert len(signature) == SIGNATURE_SIZE
    VerifyingKey(key.verifying_key.public).verify(memoryview(message), signature)


def test_both_halves_of_a_signature_are_needed() -> None:
    key = signing_key()
    signature = key.sign(b"message")
    other = signing_key("other agent").sign(b"message")
    key.verifying_key.verify(b"message", signature)
    for forged in (
        other[:64] + signature[64:],
        signature[:64] + other[64:],
        bytes(64) + signature[64:],
        signature[:64] + bytes(3309),
        signature[64:] + signature[:64],
        signature[:64],
        signature[:-1],
        signature + b"\x00",
        b"",
    ):
        with pytest.raises(CorruptError, match="does not verify"):
            key.verifying_key.verify(b"message", forged)


def test_every_flip_in_a_signature_is_noticed() -> None:
    key = signing_key()
    for _, changed in flips(key.sign(b"message"), every=1):
        with pytest.raises(CorruptError, match="does not verify"):
            key.verifying_key.verify(b"message", changed)


def test_an_ed25519_signature_cannot_be_rewritten() -> None:
    """S + L is the classic second signature of the same message (RFC 8032 section 8.4)."""
    key = signing_key()
    signature = key.sign(b"message")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:64], "little") + order
    forged = signature[:32] + scalar.to_bytes(32, "little") + signature[64:]
    with pytest.raises(CorruptError):
        key.verifying_key.verify(b"message", forged)


def test_a_signature_is_of_one_message() -> None:
    signature = signing_key().sign(b"message")
    for message in (b"", b"message ", b"Message", b"safelight/signature/v1\x00message"):
        with pytest.raises(CorruptError):
            signing_key().verifying_key.verify(message, signature)


def test_a_bare_signature_without_our_label_does_not_verify() -> None:
    """Else a key of ours, lent to another protocol, could be made to sign an object."""
    seed = derive(signing_key().seed, salt=b"", label=b"safelight/ed25519-seed/v1")
    ed25519 = Ed25519PrivateKey.from_private_bytes(seed)
    public = ed25519.public_key().public_bytes_raw()
    assert public == signing_key().verifying_key.public[:32]
    bare = ed25519.sign(b"message") + signing_key().sign(b"message")[64:]
    with pytest.raises(CorruptError):
        signing_key().verifying_key.verify(b"message", bare)


def test_a_verifying_key_of_rubbish_verifies_nothing() -> None:
    for rubbish in (bytes(VERIFYING_KEY_SIZE), b"\xff" * VERIFYING_KEY_SIZE):
        with pytest.raises(CorruptError):
            VerifyingKey(rubbish).verify(b"message", bytes(SIGNATURE_SIZE))


# --- Derivation, names of keys, and what is shown --------------------------------------------


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=40), st.binary(max_size=40))
def test_derivation_is_hkdf_of_rfc_5869(secret: bytes, salt: bytes, label: bytes) -> None:
    expected = hkdf_expand(hkdf_extract(salt, secret), label, 64)
    assert derive(secret, salt=salt, label=label, size=64) == expected
    assert derive(secret, salt=salt, label=label) == expected[:32]


def test_derivation_depends_on_secret_salt_and_label() -> None:
    results = {
        derive(secret, salt=salt, label=label)
        for secret in (b"secret", b"Secret")
        for salt in (b"salt", b"Salt")
        for label in (b"label", b"Label")
    }
    assert len(results) == 8


def test_the_same_seed_gives_the_same_public_halves() -> None:
    seed = fixed_bytes("seed")
    assert Identity(seed).recipient == Identity(seed).recipient
    assert SigningKey(seed).verifying_key == SigningKey(seed).verifying_key


def test_fingerprints_have_a_label_of_their_own() -> None:
    recipient, key = identity().recipient, signing_key().verifying_key
    expected = hashlib.sha256(b"safelight/recipient/v1\x00" + recipient.public).digest()
    assert recipient.fingerprint == expected
    expected = hashlib.sha256(b"safelight/verifying-key/v1\x00" + key.public).digest()
    assert key.fingerprint == expected


def test_secrets_are_not_shown() -> None:
    seed = b"\xc5" * 32
    ours, signer = Identity(seed), SigningKey(seed)
    assert ours.recipient.public
    assert signer.verifying_key.public  # cached beside the seed, and as silent
    for value in (ours, signer, SealKey(seed)):
        for text in (repr(value), str(value)):
            assert seed.hex() not in text
            assert repr(seed)[2:-1] not in text
