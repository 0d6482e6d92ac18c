"""The frame around every object that is not a pack: what it is, whose it is, who signed it.

    magic (8) | kind (1) | version (1) | vault id (16) | body length (4) | body
    | signer fingerprint (32) | Ed25519 signature (64) | ML-DSA-65 signature (3309)

The signatures cover all bytes before themselves. What it guards: bytes of one kind, vault or signer
never pass for those of another (format.md section 4.2). Reference segments carry no signature: the
signed table names them by hash.
"""

from dataclasses import dataclass
from enum import IntEnum

from safelight_vault.errors import CorruptError, UnsupportedFormatError
from safelight_vault.format.crypto import (
    FINGERPRINT_SIZE,
    SIGNATURE_SIZE,
    SigningKey,
    VerifyingKey,
)
from safelight_vault.format.names import ID_SIZE
from safelight_vault.format.wire import Reader, Writer

MAGIC = b"SAFELITE"
BODY_SIZE_MAX = 256 << 20


class Structure(IntEnum):
    """The kind byte of an object's frame."""

    PACK = 1
    CONFIG = 2
    ENROLMENT = 3
    KEY_GRANT = 4
    INDEX = 5
    REFERENCES = 6
    TABLE = 7
    SNAPSHOT = 8
    ENROLMENT_REQUEST = 9
    REVOCATION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """A decoded frame. Its signature is *not yet verified*: call :meth:`verified_body`."""

    structure: Structure
    vault_id: bytes
    unverified_body: bytes
    signer: bytes
    _signed: bytes
    _signature: bytes

    def verified_body(self, key: VerifyingKey) -> bytes:
        """The body, once ``key`` proves to have signed it; ``CorruptError`` otherwise."""
        if key.fingerprint != self.signer:
            raise CorruptError(
                f"{self.structure.name.lower()}: signed by a key that is not trusted"
            )
        key.verify(self._signed, self._signature)
        return self.unverified_body


def write_header(writer: Writer, structure: Structure, version: int, vault_id: bytes) -> None:
    """The first 26 bytes of every object, packs included."""
    writer.fixed(MAGIC, len(MAGIC))
    writer.u8(structure)
    writer.u8(version)
    writer.fixed(vault_id, ID_SIZE)


def read_header(reader: Reader, structure: Structure, version_max: int) -> bytes:
    """Check the first 26 bytes and return the vault id."""
    if reader.fixed(len(MAGIC)) != MAGIC:
        raise reader.fail("not a Safelight object (wrong magic)")
    if reader.choice(Structure) is not structure:
        raise reader.fail(f"not of the kind {structure.name.lower()}")
    version = reader.u8()
    if version == 0:
        raise reader.fail("version 0")
    if version > version_max:
        raise UnsupportedFormatError(
            f"{structure.name.lower()} has format version {version}, newer than this program"
        )
    return reader.fixed(ID_SIZE)


def encode_plain(structure: Structure, vault_id: bytes, body: bytes, *, version: int = 1) -> bytes:
    """A frame without signature, for objects that a signed one names by hash."""
    writer = Writer()
    write_header(writer, structure, version, vault_id)
    writer.var(body, BODY_SIZE_MAX)
    return writer.finish()


def decode_plain(data: bytes, structure: Structure, *, version_max: int = 1) -> tuple[bytes, bytes]:
    """Vault id and body of a frame without signature."""
    reader = Reader(data, structure.name.lower())
    vault_id = read_header(reader, structure, version_max)
    body = reader.var(BODY_SIZE_MAX)
    reader.end()
    return vault_id, body


def encode_signed(
    structure: Structure, vault_id: bytes, body: bytes, signer: SigningKey, *, version: int = 1
) -> bytes:
    """A frame signed by ``signer``."""
    plain = encode_plain(structure, vault_id, body, version=version)
    signed = plain + signer.verifying_key.fingerprint
    return signed + signer.sign(signed)


def decode_signed(data: bytes, structure: Structure, *, version_max: int = 1) -> Framed:
    """The frame of a signed object, signature unverified."""
    reader = Reader(data, structure.name.lower())
    vault_id = read_header(reader, structure, version_max)
    body = reader.var(BODY_SIZE_MAX)
    signer = reader.fixed(FINGERPRINT_SIZE)
    signed = data[: reader.offset]
    signature = reader.fixed(SIGNATURE_SIZE)
    reader.end()
    return Framed(
        structure=structure,
        vault_id=vault_id,
        unverified_body=body,
        signer=signer,
        _signed=signed,
        _signature=signature,
    )
