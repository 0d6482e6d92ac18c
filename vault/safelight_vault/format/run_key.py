"""Run keys: the secret of one run of an agent, sealed to every recipient in a stanza each.

What it guards: the agent forgets a run key when the run ends (or within the hour), and from then on
only an identity opens what was sealed under it. From one run key every pack and every snapshot body
derives a key of its own with a commitment, so that one ciphertext has one meaning (AES-GCM alone
does not commit). format.md section 3.3.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from safelight_vault.errors import CorruptError, WrongIdentityError
from safelight_vault.format.crypto import (
    FINGERPRINT_SIZE,
    SEALED_KEY_SIZE,
    Identity,
    Recipient,
    SealKey,
    derive,
)
from safelight_vault.format.names import ID_SIZE
from safelight_vault.format.wire import Reader, Writer

COMMITMENT_SIZE = 32
RECIPIENTS_MAX = 64

_RUN_KEY_LABEL = b"safelight/run-key/v1\x00"


@dataclass(frozen=True, slots=True)
class Stanza:
    """A run key sealed to one recipient."""

    recipient: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class SealedRunKey:
    """A run's id and its key sealed to each recipient, as it stands in every pack header."""

    run_id: bytes
    stanzas: tuple[Stanza, ...]

    def write(self, writer: Writer) -> None:
        """Append to a header."""
        writer.fixed(self.run_id, ID_SIZE)
        writer.u8(len(self.stanzas))
        for stanza in self.stanzas:
            writer.fixed(stanza.recipient, FINGERPRINT_SIZE)
            writer.fixed(stanza.sealed, SEALED_KEY_SIZE)

    @staticmethod
    def read(reader: Reader) -> "SealedRunKey":
        """The inverse of :meth:`write`; at least one stanza, at most 64."""
        run_id = reader.fixed(ID_SIZE)
        count = reader.u8()
        if not 1 <= count <= RECIPIENTS_MAX:
            raise reader.fail(f"{count} key stanzas")
        stanzas = tuple(
            Stanza(reader.fixed(FINGERPRINT_SIZE), reader.fixed(SEALED_KEY_SIZE))
            for _ in range(count)
        )
        return SealedRunKey(run_id, stanzas)

    def open(self, identities: Mapping[bytes, Identity], vault_id: bytes) -> "RunKey":
        """The run key, by whichever identity (keyed by fingerprint) a stanza is sealed to."""
        ours = [stanza for stanza in self.stanzas if stanza.recipient in identities]
        if not ours:
            wanted = ", ".join(stanza.recipient.hex()[:16] for stanza in self.stanzas)
            raise WrongIdentityError(f"sealed to the recipients {wanted}; none of them is at hand")
        failure: WrongIdentityError | None = None
        for stanza in ours:
            try:
                info = _RUN_KEY_LABEL + vault_id + self.run_id
                secret = identities[stanza.recipient].open(stanza.sealed, info)
                return RunKey(self, vault_id, secret)
            except WrongIdentityError as error:
                failure = error
        raise CorruptError("the key stanza of this identity is damaged") from failure


@dataclass(frozen=True, slots=True)
class RunKey:
    """An open run key, with its sealed form for the headers of what it seals."""

    sealed: SealedRunKey
    vault_id: bytes
    _secret: bytes = field(repr=False)

    @staticmethod
    def create(
        vault_id: bytes, run_id: bytes, secret: bytes, recipients: Sequence[Recipient]
    ) -> "RunKey":
        """Seal a fresh random ``secret`` (32 bytes) to all recipients."""
        if not 1 <= len(recipients) <= RECIPIENTS_MAX:
            raise ValueError("1 to 64 recipients")
        info = _RUN_KEY_LABEL + vault_id + run_id
        stanzas = tuple(Stanza(r.fingerprint, r.seal(secret, info)) for r in recipients)
        return RunKey(SealedRunKey(run_id, stanzas), vault_id, secret)

    def object_key(self, object_id: bytes, label: bytes) -> tuple[SealKey, bytes]:
        """The seal key of the object with this random id, and the commitment to it."""
        both = derive(self._secret, salt=object_id, label=label + b"\x00" + self.vault_id, size=64)
        return SealKey(both[:32]), both[32:]

    def committed_key(self, object_id: bytes, label: bytes, commitment: bytes) -> SealKey:
        """The seal key, if the header's commitment is to it; ``CorruptError`` otherwise."""
        key, expected = self.object_key(object_id, label)
        if not hmac.compare_digest(commitment, expected):
            raise CorruptError("the key commitment in the header is not that of its run key")
        return key
