"""The administrator's work: make keys, create the vault, enrol agents.

Done offline as far as it can be: ``keygen`` needs no vault at all, ``enrol`` needs it only to put
two small signed objects. What it guards: the vault's id and the administrator's fingerprint are
chosen before any bucket exists, so that no bucket can ever tell what to trust (design section 7).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from safelight_vault.errors import (
    ConfigurationError,
    CorruptError,
    ObjectMissingError,
    WrongIdentityError,
)
from safelight_vault.format.configuration import (
    SPLITTER_VERSION,
    VaultConfiguration,
    dedup_key_info,
    encode_configuration,
)
from safelight_vault.format.crypto import KEY_SIZE, SEED_SIZE, Identity, Recipient, SigningKey
from safelight_vault.format.enrolment import (
    Certificate,
    EnrolmentRequest,
    agent_id_of,
    decode_request,
    encode_certificate,
)
from safelight_vault.format.names import ID_SIZE, Kind
from safelight_vault.format.run_key import Stanza
from safelight_vault.key_files import (
    IdentityFile,
    Trust,
    write_administrator,
    write_identity,
    write_trust,
)
from safelight_vault.objects import named, put_object
from safelight_vault.reader import load_configuration
from safelight_vault.store import Store

FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPaths:
    """The three files that ``keygen`` makes."""

    identity: Path
    administrator: Path
    trust: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrolment wrote."""

    agent_id: bytes
    label: str
    vault_created: bool


def key_paths(identity: Path) -> KeyPaths:
    """Where ``keygen`` puts its files: beside the identity."""
    return KeyPaths(
        identity=identity,
        administrator=identity.with_name("administrator.key"),
        trust=identity.with_name("vault.trust"),
    )


def make_keys(paths: KeyPaths, random_bytes: Callable[[int], bytes]) -> Trust:
    """Make a vault's id, an identity and the administrator's key; existing files are refused."""
    taken = [path for path in (paths.identity, paths.administrator, paths.trust) if path.exists()]
    if taken:
        raise ConfigurationError(
            f"{taken[0]} exists already and is never overwritten",
            remedy="Choose another directory with --identity: keys of a vault that may hold data "
            "must not be lost.",
        )
    paths.identity.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity(random_bytes(SEED_SIZE))
    administrator = SigningKey(random_bytes(SEED_SIZE))
    trust = Trust(
        vault_id=random_bytes(ID_SIZE),
        administrator_fingerprint=administrator.verifying_key.fingerprint,
        recipients=(identity.recipient,),
    )
    write_identity(paths.identity, IdentityFile(identity=identity, trust=trust))
    write_administrator(paths.administrator, trust, administrator)
    write_trust(paths.trust, trust)
    return trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """The administrator at work on one vault."""

    store: Store
    trust: Trust
    key: SigningKey
    retain: timedelta
    now: datetime
    random_bytes: Callable[[int], bytes]

    def enrol(
        self, request_data: bytes, recipients: tuple[Recipient, ...], identity: Identity | None
    ) -> Enrolled:
        """Sign an agent's request; the first one creates the vault.

        A further agent is handed the vault's dedup key, which only an identity can open.
        """
        try:
            request = decode_request(request_data, vault_id=self.trust.vault_id)
        except CorruptError as error:
            raise ConfigurationError(
                f"this is no enrolment request for this vault: {error.message}",
                remedy="Copy the file again from the agent, or run its init anew.",
            ) from error
        try:
            configuration, _ = load_configuration(self.store, self.trust)
            created = False
            dedup_key = self._open_dedup_key(configuration, identity)
        except ObjectMissingError:
            created = True
            dedup_key = self.random_bytes(KEY_SIZE)
            configuration = self._create(recipients, dedup_key)
        self._put_certificate(request, configuration, dedup_key)
        return Enrolled(
            agent_id=agent_id_of(request.verifying_key),
            label=request.label,
            vault_created=created,
        )

    def _open_dedup_key(
        self, configuration: VaultConfiguration, identity: Identity | None
    ) -> bytes:
        if identity is None:
            raise WrongIdentityError(
                "the vault exists, and handing its dedup key to a further agent needs an identity",
                remedy="Give --identity FILE as well.",
            )
        return configuration.open_dedup_key(identity, self.trust.vault_id)

    def _create(self, recipients: tuple[Recipient, ...], dedup_key: bytes) -> VaultConfiguration:
        info = dedup_key_info(self.trust.vault_id)
        configuration = VaultConfiguration(
            sequence=1,
            created_us=round(self.now.timestamp() * 1_000_000),
            administrator=self.key.verifying_key,
            epoch=FIRST_EPOCH,
            splitter_version=SPLITTER_VERSION,
            recipients=recipients,
            dedup_key=tuple(
                Stanza(recipient.fingerprint, recipient.seal(dedup_key, info))
                for recipient in recipients
            ),
        )
        data = encode_configuration(self.trust.vault_id, configuration, self.key)
        name = named(Kind.CONFIG, data, sequence=configuration.sequence)
        put_object(self.store, name, [data], self.now + self.retain)
        return configuration

    def _put_certificate(
        self, request: EnrolmentRequest, configuration: VaultConfiguration, dedup_key: bytes
    ) -> None:
        certificate = Certificate(
            label=request.label,
            verifying_key=request.verifying_key,
            sealing_key=request.sealing_key,
            enrolled_us=round(self.now.timestamp() * 1_000_000),
            epoch=configuration.epoch,
            administrator=self.key.verifying_key,
            sealed_dedup_key=request.sealing_key.seal(
                dedup_key, dedup_key_info(self.trust.vault_id)
            ),
        )
        data = encode_certificate(self.trust.vault_id, certificate, self.key)
        name = named(Kind.AGENT, data, owner=certificate.agent_id)
        put_object(self.store, name, [data], self.now + self.retain)
