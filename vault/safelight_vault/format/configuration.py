"""The vault's configuration, by the administrator: recipients, sealed dedup key, epoch, splitter.

A revision is a new object with the next sequence number; the highest one whose signature verifies
against the *pinned* administrator's key is in force. Nothing in it is trusted from the bucket's
word alone (format.md section 4.3).
"""

from dataclasses import dataclass

from safelight_vault.errors import CorruptError, ForeignVaultError, WrongIdentityError
from safelight_vault.format.crypto import (
    FINGERPRINT_SIZE,
    RECIPIENT_SIZE,
    SEALED_KEY_SIZE,
    VERIFYING_KEY_SIZE,
    Identity,
    Recipient,
    SigningKey,
    VerifyingKey,
)
from safelight_vault.format.envelope import Framed, Structure, decode_signed, encode_signed
from safelight_vault.format.run_key import RECIPIENTS_MAX, Stanza
from safelight_vault.format.wire import Reader, Writer

SPLITTER_VERSION = 1

_DEDUP_KEY_LABEL = b"safelight/dedup-key/v1\x00"


def dedup_key_info(vault_id: bytes) -> bytes:
    """The HPKE info under which a vault's dedup key is sealed, to recipients and to agents."""
    return _DEDUP_KEY_LABEL + vault_id


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultConfiguration:
    """One revision of a vault's configuration."""

    sequence: int
    created_us: int
    administrator: VerifyingKey
    epoch: int
    splitter_version: int
    recipients: tuple[Recipient, ...]
    dedup_key: tuple[Stanza, ...]

    def open_dedup_key(self, identity: Identity, vault_id: bytes) -> bytes:
        """The dedup key, by an identity of this vault."""
        for stanza in self.dedup_key:
            if stanza.recipient == identity.recipient.fingerprint:
                return identity.open(stanza.sealed, dedup_key_info(vault_id))
        raise WrongIdentityError("this identity is not a recipient of the vault")


def encode_configuration(
    vault_id: bytes, configuration: VaultConfiguration, signer: SigningKey
) -> bytes:
    """A whole configuration object, signed by the administrator."""
    writer = Writer()
    writer.u64(configuration.sequence)
    writer.i64(configuration.created_us)
    writer.fixed(configuration.administrator.public, VERIFYING_KEY_SIZE)
    writer.u32(configuration.epoch)
    writer.u16(configuration.splitter_version)
    writer.u32(len(configuration.recipients))
    for recipient in configuration.recipients:
        writer.fixed(recipient.public, RECIPIENT_SIZE)
    writer.u32(len(configuration.dedup_key))
    for stanza in configuration.dedup_key:
        writer.fixed(stanza.recipient, FINGERPRINT_SIZE)
        writer.fixed(stanza.sealed, SEALED_KEY_SIZE)
    return encode_signed(Structure.CONFIG, vault_id, writer.finish(), signer)


def decode_configuration(
    data: bytes, *, vault_id: bytes, administrator_fingerprint: bytes
) -> VaultConfiguration:
    """A configuration signed by the administrator with the pinned fingerprint."""
    framed = decode_signed(data, Structure.CONFIG)
    reader = Reader(framed.unverified_body, "vault configuration")
    configuration = VaultConfiguration(
        sequence=reader.u64(),
        created_us=reader.time_us(),
        administrator=VerifyingKey(reader.fixed(VERIFYING_KEY_SIZE)),
        epoch=reader.u32(),
        splitter_version=reader.u16(),
        recipients=tuple(
            Recipient(reader.fixed(RECIPIENT_SIZE)) for _ in range(reader.count(RECIPIENTS_MAX))
        ),
        dedup_key=tuple(
            Stanza(reader.fixed(FINGERPRINT_SIZE), reader.fixed(SEALED_KEY_SIZE))
            for _ in range(reader.count(RECIPIENTS_MAX))
        ),
    )
    reader.end()
    sealed_to = [stanza.recipient for stanza in configuration.dedup_key]
    recipients = [recipient.fingerprint for recipient in configuration.recipients]
    if not recipients or sealed_to != recipients:
        raise reader.fail("the dedup key is not sealed to exactly the recipients")
    require_administrator(framed, configuration.administrator, vault_id, administrator_fingerprint)
    return configuration


def require_administrator(
    framed: Framed, administrator: VerifyingKey, vault_id: bytes, fingerprint: bytes
) -> None:
    """Require that ``framed`` is of this vault and signed by the pinned administrator.

    The key travels with the object and counts only because its fingerprint is the pinned one.
    """
    what = framed.structure.name.lower()
    if framed.vault_id != vault_id:
        raise ForeignVaultError(f"{what}: it belongs to another vault")
    if administrator.fingerprint != fingerprint:
        raise CorruptError(f"{what}: not signed by this vault's administrator")
    framed.verified_body(administrator)
