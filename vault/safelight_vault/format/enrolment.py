"""Enrolment: an agent's request, and the certificate that the administrator signs for it.

The certificate is an object of its own and also travels inside every snapshot of the agent, so that
a snapshot proves itself with nothing but the administrator's fingerprint (format.md section 4.4).
"""

from dataclasses import dataclass

from safelight_vault.errors import CorruptError
from safelight_vault.format.configuration import dedup_key_info, require_administrator
from safelight_vault.format.crypto import (
    RECIPIENT_SIZE,
    SEALED_KEY_SIZE,
    VERIFYING_KEY_SIZE,
    Identity,
    Recipient,
    SigningKey,
    VerifyingKey,
)
from safelight_vault.format.envelope import Structure, decode_signed, encode_signed
from safelight_vault.format.names import ID_SIZE
from safelight_vault.format.wire import Reader, Writer

LABEL_SIZE_MAX = 64
CERTIFICATE_SIZE_MAX = 64 << 10


def agent_id_of(key: VerifyingKey) -> bytes:
    """An agent's id: the first 16 bytes of its verifying key's fingerprint."""
    return key.fingerprint[:ID_SIZE]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRequest:
    """What an agent asks for: its two public keys and a label (a host name), self-signed."""

    label: str
    verifying_key: VerifyingKey
    sealing_key: Recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The administrator's word that an agent may write, with the dedup key sealed to it."""

    label: str
    verifying_key: VerifyingKey
    sealing_key: Recipient
    enrolled_us: int
    epoch: int
    administrator: VerifyingKey
    sealed_dedup_key: bytes

    @property
    def agent_id(self) -> bytes:
        """The agent's id."""
        return agent_id_of(self.verifying_key)

    def open_dedup_key(self, sealing_identity: Identity, vault_id: bytes) -> bytes:
        """The vault's dedup key, by the agent's own private key."""
        return sealing_identity.open(self.sealed_dedup_key, dedup_key_info(vault_id))


def _write_agent(writer: Writer, of: EnrolmentRequest | Certificate) -> None:
    writer.text(of.label, LABEL_SIZE_MAX)
    writer.fixed(of.verifying_key.public, VERIFYING_KEY_SIZE)
    writer.fixed(of.sealing_key.public, RECIPIENT_SIZE)


def encode_request(vault_id: bytes, request: EnrolmentRequest, signer: SigningKey) -> bytes:
    """A request file, signed by the agent that asks."""
    writer = Writer()
    _write_agent(writer, request)
    return encode_signed(Structure.ENROLMENT_REQUEST, vault_id, writer.finish(), signer)


def decode_request(data: bytes, *, vault_id: bytes) -> EnrolmentRequest:
    """A request that its own key has signed, for this vault."""
    framed = decode_signed(data, Structure.ENROLMENT_REQUEST)
    reader = Reader(framed.unverified_body, "enrolment request")
    request = EnrolmentRequest(
        label=reader.label(LABEL_SIZE_MAX),
        verifying_key=VerifyingKey(reader.fixed(VERIFYING_KEY_SIZE)),
        sealing_key=Recipient(reader.fixed(RECIPIENT_SIZE)),
    )
    reader.end()
    framed.verified_body(request.verifying_key)
    if framed.vault_id != vault_id:
        raise CorruptError("enrolment request: it was made for another vault")
    return request


def encode_certificate(vault_id: bytes, certificate: Certificate, signer: SigningKey) -> bytes:
    """A certificate object, signed by the administrator."""
    writer = Writer()
    _write_agent(writer, certificate)
    writer.i64(certificate.enrolled_us)
    writer.u32(certificate.epoch)
    writer.fixed(certificate.administrator.public, VERIFYING_KEY_SIZE)
    writer.fixed(certificate.sealed_dedup_key, SEALED_KEY_SIZE)
    return encode_signed(Structure.ENROLMENT, vault_id, writer.finish(), signer)


def decode_certificate(
    data: bytes, *, vault_id: bytes, administrator_fingerprint: bytes
) -> Certificate:
    """A certificate signed by the administrator with the pinned fingerprint."""
    framed = decode_signed(data, Structure.ENROLMENT)
    reader = Reader(framed.unverified_body, "certificate")
    certificate = Certificate(
        label=reader.label(LABEL_SIZE_MAX),
        verifying_key=VerifyingKey(reader.fixed(VERIFYING_KEY_SIZE)),
        sealing_key=Recipient(reader.fixed(RECIPIENT_SIZE)),
        enrolled_us=reader.time_us(),
        epoch=reader.u32(),
        administrator=VerifyingKey(reader.fixed(VERIFYING_KEY_SIZE)),
        sealed_dedup_key=reader.fixed(SEALED_KEY_SIZE),
    )
    reader.end()
    require_administrator(framed, certificate.administrator, vault_id, administrator_fingerprint)
    return certificate
