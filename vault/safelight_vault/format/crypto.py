"""Keys, seals and signatures: the only module that imports ``cryptography``.

What it guards: every use of a primitive has its own label (so that no ciphertext, key or signature
made for one purpose is valid for another), every AES-GCM key is used with each nonce once, and a
failed check is an error of this project, never a foreign exception. docs/format.md section 3.

The suite, fixed for format version 1: HPKE (RFC 9180) with ML-KEM-768 + X25519, HKDF-SHA256 and
AES-256-GCM to seal keys; AES-256-GCM for data; Ed25519 and ML-DSA-65 side by side for signatures
(both must verify); HKDF-SHA256 to derive.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from safelight_vault.errors import ConfigurationError, CorruptError, WrongIdentityError

KEY_SIZE = 32
SEED_SIZE = 32
FINGERPRINT_SIZE = 32
TAG_SIZE = 16
"""Bytes that a seal (AES-256-GCM) adds to its plaintext."""

RECIPIENT_SIZE = 1184 + 32
"""ML-KEM-768 encapsulation key and X25519 public key."""
ENCAPSULATION_SIZE = 1088 + 32
SEALED_KEY_SIZE = ENCAPSULATION_SIZE + KEY_SIZE + TAG_SIZE
"""A 32-byte key sealed with HPKE: encapsulation, ciphertext, tag."""

VERIFYING_KEY_SIZE = 32 + 1952
"""Ed25519 public key and ML-DSA-65 public key."""
SIGNATURE_SIZE = 64 + 3309

_ED25519_LABEL = b"safelight/ed25519-seed/v1"
_ML_DSA_LABEL = b"safelight/ml-dsa-65-seed/v1"
_SIGNATURE_LABEL = b"safelight/signature/v1\x00"
_RECIPIENT_LABEL = b"safelight/recipient/v1\x00"
_VERIFYING_KEY_LABEL = b"safelight/verifying-key/v1\x00"

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def derive(secret: bytes, *, salt: bytes, label: bytes, size: int = KEY_SIZE) -> bytes:
    """HKDF-SHA256 (RFC 5869) of ``secret``; the label says what the result is for."""
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=label).derive(secret)


class SealKey:
    """An AES-256-GCM key that seals numbered pieces; the number is the nonce.

    The caller's invariant: a number is used once for sealing under one key.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, number: int, plaintext: bytes | bytearray | memoryview, context: bytes) -> bytes:
        """Ciphertext and tag of ``plaintext``, bound to ``context``."""
        return self._cipher.encrypt(number.to_bytes(12, "big"), plaintext, context)

    def open(self, number: int, sealed: bytes | memoryview, context: bytes) -> bytes:
        """The plaintext; ``CorruptError`` when a bit of seal, number or context is not the same."""
        try:
            return self._cipher.decrypt(number.to_bytes(12, "big"), sealed, context)
        except (InvalidTag, ValueError) as error:
            raise CorruptError(
                "the seal is broken: the bytes are not those that were sealed"
            ) from error


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key that keys are sealed to (1216 bytes)."""

    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != RECIPIENT_SIZE:
            raise ConfigurationError(
                f"a recipient has {RECIPIENT_SIZE} bytes, not {len(self.public)}"
            )

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this recipient in stanzas."""
        return hashlib.sha256(_RECIPIENT_LABEL + self.public).digest()

    def seal(self, key: bytes, info: bytes) -> bytes:
        """``key`` sealed with HPKE so that only this recipient's identity opens it."""
        try:
            public = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.public[:1184]),
                X25519PublicKey.from_public_bytes(self.public[1184:]),
            )
            return _SUITE.encrypt(key, public, info=info)
        except ValueError as error:
            raise ConfigurationError("the recipient is not a usable public key") from error


@dataclass(frozen=True)
class Identity:
    """The private key of a recipient, as its 32-byte seed; never shown by ``repr``."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_SIZE:
            raise ConfigurationError(f"an identity's seed has {SEED_SIZE} bytes")

    @cached_property
    def _halves(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        # The seed expands as in X-Wing (draft-connolly-cfrg-xwing-kem, section 5.2).
        expanded = hashlib.shake_256(self.seed).digest(96)
        return (
            MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            X25519PrivateKey.from_private_bytes(expanded[64:]),
        )

    @cached_property
    def recipient(self) -> Recipient:
        """The public half."""
        ml_kem, x25519 = self._halves
        return Recipient(
            ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The key that was sealed; ``WrongIdentityError`` if not to us, or not for ``info``."""
        try:
            return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(*self._halves), info=info)
        except (InvalidTag, ValueError) as error:
            raise WrongIdentityError("this identity does not open the sealed key") from error


@dataclass(frozen=True)
class VerifyingKey:
    """The public half of a signing key (Ed25519, then ML-DSA-65)."""

    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != VERIFYING_KEY_SIZE:
            raise ConfigurationError(f"a verifying key has {VERIFYING_KEY_SIZE} bytes")

    @cached_property
    def fingerprint(self) -> bytes:
        """32 bytes that name this key; an agent's id is their first 16."""
        return hashlib.sha256(_VERIFYING_KEY_LABEL + self.public).digest()

    def verify(self, message: bytes | memoryview, signature: bytes) -> None:
        """Require both signatures; ``CorruptError`` otherwise."""
        signed = _SIGNATURE_LABEL + message
        try:
            Ed25519PublicKey.from_public_bytes(self.public[:32]).verify(signature[:64], signed)
            MLDSA65PublicKey.from_public_bytes(self.public[32:]).verify(signature[64:], signed)
        except (InvalidSignature, ValueError) as error:
            raise CorruptError("a signature does not verify") from error


@dataclass(frozen=True)
class SigningKey:
    """A signing key as its 32-byte seed; never shown by ``repr``."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_SIZE:
            raise ConfigurationError(f"a signing key's seed has {SEED_SIZE} bytes")

    @cached_property
    def _halves(self) -> tuple[Ed25519PrivateKey, MLDSA65PrivateKey]:
        return (
            Ed25519PrivateKey.from_private_bytes(derive(self.seed, salt=b"", label=_ED25519_LABEL)),
            MLDSA65PrivateKey.from_seed_bytes(derive(self.seed, salt=b"", label=_ML_DSA_LABEL)),
        )

    @cached_property
    def verifying_key(self) -> VerifyingKey:
        """The public half."""
        ed25519, ml_dsa = self._halves
        return VerifyingKey(
            ed25519.public_key().public_bytes_raw() + ml_dsa.public_key().public_bytes_raw()
        )

    def sign(self, message: bytes | memoryview) -> bytes:
        """Both signatures of ``message``, Ed25519 first."""
        signed = _SIGNATURE_LABEL + message
        ed25519, ml_dsa = self._halves
        return ed25519.sign(signed) + ml_dsa.sign(signed)
