"""An independent reader, first part: fields, keys, seals and signatures (format.md, 2, 3 and 11).

Written from the format document, on public primitives. The invariant: what was sealed comes
out only after its tag was right, and everything else ends in one of the errors below.
"""

import hashlib
import hmac
import os
import stat
import tomllib
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

RECIPIENT_SIZE = 1216
SEALED_KEY_SIZE = 1168
VERIFYING_KEY_SIZE = 1984
SIGNATURE_SIZE = 3373
KEY_FILE_SIZE_MAX = 1 << 20
TIME_MAX = 253_402_300_799_999_999


class Refused(Exception):  # noqa: N818  a family of answers; each class is named for its answer
    """The reader refuses what it read; ``exit_code`` is that of the programs."""

    exit_code = 1


class Corrupt(Refused):
    """Corrupt or tampered."""

    exit_code = 3


class Unsupported(Refused):
    """Written by a later version of the format."""

    exit_code = 2


class WrongConfiguration(Refused):
    """A key file that cannot be used."""

    exit_code = 2


class WrongIdentity(Refused):
    """No identity at hand can open this."""

    exit_code = 4


def require(condition: bool, problem: str) -> None:
    """Refuse as corrupt unless a rule of the format holds."""
    if not condition:
        raise Corrupt(problem)


class Fields:
    """The fields of one structure, read one after another; the last call must be :meth:`end`."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.offset = 0

    def fixed(self, size: int) -> bytes:
        require(size <= len(self.data) - self.offset, f"{self.what}: ends early")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.fixed(size), "big")

    def signed(self) -> int:
        return int.from_bytes(self.fixed(8), "big", signed=True)

    def count(self, maximum: int) -> int:
        number = self.unsigned(4)
        require(number <= maximum, f"{self.what}: {number} is more than {maximum}")
        return number

    def var(self, maximum: int) -> bytes:
        return self.fixed(self.count(maximum))

    def text(self, maximum: int) -> str:
        try:
            return self.var(maximum).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Corrupt(f"{self.what}: text is not UTF-8") from error

    def choice(self, numbers: Collection[int]) -> int:
        number = self.unsigned(1)
        require(number in numbers, f"{self.what}: unknown number {number}")
        return number

    def time(self) -> int:
        microseconds = self.signed()
        require(0 <= microseconds <= TIME_MAX, f"{self.what}: time out of range")
        return microseconds

    def label(self, maximum: int) -> str:
        text = self.text(maximum)
        odd = [c for c in text if unicodedata.category(c)[0] in "CZ" and c != " "]
        require(bool(text) and not odd, f"{self.what}: not a label")
        return text

    def version_id(self) -> str:
        text = self.text(1024)
        require(bool(text) and all("!" <= c <= "~" for c in text), f"{self.what}: bad VersionId")
        return text

    def rest(self) -> bytes:
        return self.fixed(len(self.data) - self.offset)

    def end(self) -> None:
        require(self.offset == len(self.data), f"{self.what}: bytes after the last field")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def hkdf_expand(secret: bytes, info: bytes, size: int) -> bytes:
    output, block = b"", b""
    while len(output) < size:
        block = hmac_sha256(secret, block + info + bytes([len(output) // 32 + 1]))
        output += block
    return output[:size]


def hkdf(secret: bytes, *, salt: bytes, info: bytes, size: int = 32) -> bytes:
    return hkdf_expand(hmac_sha256(salt or bytes(32), secret), info, size)


def open_seal(key: bytes, number: int, sealed: bytes, aad: bytes, what: str) -> bytes:
    """Undo ``Seal`` of section 3.1."""
    return _decrypt(key, number.to_bytes(12, "big"), sealed, aad, what)


def _decrypt(key: bytes, nonce: bytes, sealed: bytes, aad: bytes, what: str) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag as error:
        raise Corrupt(f"{what}: the seal does not open") from error


def recipient_fingerprint(recipient: bytes) -> bytes:
    return sha256(b"safelight/recipient/v1\0" + recipient)


class Identity:
    """A secret that opens sealed keys (section 3.2)."""

    def __init__(self, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(96)
        self._lattice_key = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self._curve_key = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._curve_public = self._curve_key.public_key().public_bytes_raw()
        self.recipient = self._lattice_key.public_key().public_bytes_raw() + self._curve_public
        self.fingerprint = recipient_fingerprint(self.recipient)

    def open_key(self, sealed: bytes, info: bytes) -> bytes:
        """Undo ``SealKey``: the 32-byte key that was sealed with this ``info``.

        Bytes that do not open may be damaged, or sealed to somebody else: nothing tells which.
        """
        try:
            return self._open_key(sealed, info)
        except Corrupt as error:
            raise WrongIdentity(str(error)) from error

    def _open_key(self, sealed: bytes, info: bytes) -> bytes:
        fields = Fields(sealed, "sealed key")
        lattice_part, curve_part, encrypted = fields.fixed(1088), fields.fixed(32), fields.fixed(48)
        fields.end()
        try:
            curve_secret = self._curve_key.exchange(X25519PublicKey.from_public_bytes(curve_part))
        except ValueError as error:
            raise Corrupt("sealed key: the X25519 secret is zero") from error
        shared_secret = hashlib.sha3_256(
            self._lattice_key.decapsulate(lattice_part)
            + curve_secret
            + curve_part
            + self._curve_public
            + b"\\.//^\\"
        ).digest()
        key, nonce = _hpke_key_schedule(shared_secret, info)
        return _decrypt(key, nonce, encrypted, b"", "sealed key")


_SUITE = b"HPKE" + bytes.fromhex("647a 0001 0002")


def _labeled_extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hmac_sha256(salt, b"HPKE-v1" + _SUITE + label + secret)


def _labeled_expand(secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return hkdf_expand(secret, size.to_bytes(2, "big") + b"HPKE-v1" + _SUITE + label + info, size)


def _hpke_key_schedule(shared_secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    context = b"\0" + _labeled_extract(b"", b"psk_id_hash", b"")
    context += _labeled_extract(b"", b"info_hash", info)
    secret = _labeled_extract(shared_secret, b"secret", b"")
    key = _labeled_expand(secret, b"key", context, 32)
    return key, _labeled_expand(secret, b"base_nonce", context, 12)


def verifying_key_of(seed: bytes) -> bytes:
    """The verifying key of a signing key, which is a seed."""
    classic = hkdf(seed, salt=b"", info=b"safelight/ed25519-seed/v1")
    lattice = hkdf(seed, salt=b"", info=b"safelight/ml-dsa-65-seed/v1")
    return (
        Ed25519PrivateKey.from_private_bytes(classic).public_key().public_bytes_raw()
        + MLDSA65PrivateKey.from_seed_bytes(lattice).public_key().public_bytes_raw()
    )


def verifying_key_fingerprint(verifying_key: bytes) -> bytes:
    return sha256(b"safelight/verifying-key/v1\0" + verifying_key)


def verify_signature(verifying_key: bytes, message: bytes, signature: bytes, what: str) -> None:
    """Both signatures must verify (section 3.4)."""
    require(len(signature) == SIGNATURE_SIZE, f"{what}: not a signature")
    message = b"safelight/signature/v1\0" + message
    try:
        Ed25519PublicKey.from_public_bytes(verifying_key[:32]).verify(signature[:64], message)
        MLDSA65PublicKey.from_public_bytes(verifying_key[32:]).verify(signature[64:], message)
    except (InvalidSignature, ValueError) as error:
        raise Corrupt(f"{what}: the signature does not verify") from error


def object_key(
    run_key: bytes, object_id: bytes, label: bytes, vault_id: bytes
) -> tuple[bytes, bytes]:
    """Key and commitment of a pack or of the root of a snapshot (section 3.3)."""
    both = hkdf(run_key, salt=object_id, info=label + b"\0" + vault_id, size=64)
    return both[:32], both[32:]


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupKeys:
    """What follows from the dedup key (section 3.4)."""

    chunk_id_key: bytes
    index_key: bytes
    splitter_seed: int


def derive_dedup_keys(dedup_key: bytes, vault_id: bytes) -> DedupKeys:
    seed = hkdf(dedup_key, salt=vault_id, info=b"safelight/splitter-seed/v1", size=8)
    return DedupKeys(
        chunk_id_key=hkdf(dedup_key, salt=vault_id, info=b"safelight/chunk-id/v1"),
        index_key=hkdf(dedup_key, salt=vault_id, info=b"safelight/index/v1"),
        splitter_seed=int.from_bytes(seed, "big") >> 1,
    )


_KEY_FILE_FIELDS = {
    "safelight-identity": {"vault": 16, "administrator": 32, "recipient": 32, "secret": 32},
    "safelight-administrator": {"vault": 16, "administrator": 32, "secret": 32},
    "safelight-agent": {"vault": 16, "signing_secret": 32, "sealing_secret": 32},
    "safelight-trust": {"vault": 16, "administrator": 32},
}


def read_key_file(path: Path, kind: str) -> dict[str, bytes]:
    """The fields of a key file; refuses a secret that others may read."""
    if kind != "safelight-trust" and stat.S_IMODE(os.stat(path).st_mode) & 0o044:
        raise WrongConfiguration(f"{path}: others than its owner may read it")
    return parse_key_file(path.read_bytes(), kind)


def parse_key_file(data: bytes, kind: str) -> dict[str, bytes]:
    """The fields of a key file (section 11), each of its right size, with the checksum right."""
    try:
        if len(data) > KEY_FILE_SIZE_MAX:
            raise ValueError("longer than 1 MiB")
        table = tomllib.loads(data.decode("utf-8"))
        if type(table.get("version")) is not int or table.pop("version") != 1:
            raise ValueError("not version 1")
        if not all(type(value) is str for value in table.values()):
            raise ValueError("a value is not a text")
        checksum = table.pop("checksum", "")
        if table.pop("kind", "") != kind:
            raise ValueError(f"not of kind {kind}")
        lines = [kind, *(f"{name}={table[name]}" for name in sorted(table, key=str.encode))]
        if checksum != hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]:
            raise ValueError("the checksum is wrong")
        sizes = dict(_KEY_FILE_FIELDS[kind])
        if kind == "safelight-trust":
            recipients = max(1, len(table) - len(sizes))
            sizes |= {f"recipient_{number + 1}": RECIPIENT_SIZE for number in range(recipients)}
        if table.keys() != sizes.keys():
            raise ValueError("a field is missing, or is not of this kind")
        fields = {name: bytes.fromhex(table[name]) for name in sizes}
        if any(len(fields[name]) != size for name, size in sizes.items()):
            raise ValueError("a field has another size")
        _require_fitting_secret(kind, fields)
    except ValueError as error:
        raise WrongConfiguration(f"key file: {error}") from error
    return fields


def _require_fitting_secret(kind: str, fields: dict[str, bytes]) -> None:
    fits = True
    if kind == "safelight-identity":
        fits = Identity(fields["secret"]).fingerprint == fields["recipient"]
    elif kind == "safelight-administrator":
        public = verifying_key_of(fields["secret"])
        fits = verifying_key_fingerprint(public) == fields["administrator"]
    if not fits:
        raise ValueError("the secret is not that of the fingerprint beside it")
