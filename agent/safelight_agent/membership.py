"""Membership: the agent's keys, its request to be enrolled, and its certificate.

What it guards: the agent believes only what its own configuration pins (the trust file), holds no
key that opens what it wrote, and never overwrites a key file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from safelight_agent.upload import WriterKeys
from safelight_vault.errors import ConfigurationError, ObjectMissingError, WrongIdentityError
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.configuration import SPLITTER_VERSION, VaultConfiguration
from safelight_vault.format.crypto import SEED_SIZE, Identity, SigningKey
from safelight_vault.format.enrolment import (
    Certificate,
    EnrolmentRequest,
    agent_id_of,
    decode_certificate,
    encode_request,
)
from safelight_vault.format.references import Reference
from safelight_vault.key_files import (
    AgentKeys,
    Trust,
    create_file,
    read_agent_keys,
    write_agent_keys,
)
from safelight_vault.objects import OnTamper
from safelight_vault.reader import load_certificate, load_configuration
from safelight_vault.store import Store

AGENT_KEY_FILE = "agent.key"
REQUEST_FILE = "enrolment.request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Everything that lets an agent write into a vault."""

    trust: Trust
    configuration: VaultConfiguration
    certificate: Certificate
    certificate_bytes: bytes
    objects: tuple[Reference, ...]
    """The configuration and certificate objects, which every snapshot needs too."""
    writer_keys: WriterKeys = field(repr=False)
    dedup_keys: DedupKeys = field(repr=False)

    @property
    def agent_id(self) -> bytes:
        """The agent's id."""
        return self.writer_keys.agent_id


def make_keys(
    state_directory: Path, trust: Trust, label: str, random_bytes: Callable[[int], bytes]
) -> tuple[Path, AgentKeys]:
    """Make (or find) the agent's keys and write its request; gives the request's path."""
    key_path = state_directory / AGENT_KEY_FILE
    if key_path.exists():
        keys = agent_keys(state_directory, trust)
    else:
        keys = AgentKeys(
            vault_id=trust.vault_id,
            signing_key=SigningKey(random_bytes(SEED_SIZE)),
            sealing_identity=Identity(random_bytes(SEED_SIZE)),
        )
        write_agent_keys(key_path, keys)
    request_path = state_directory / REQUEST_FILE
    request_path.unlink(missing_ok=True)
    request = EnrolmentRequest(
        label=label,
        verifying_key=keys.signing_key.verifying_key,
        sealing_key=keys.sealing_identity.recipient,
    )
    create_file(request_path, encode_request(trust.vault_id, request, keys.signing_key), 0o644)
    return request_path, keys


def agent_keys(state_directory: Path, trust: Trust) -> AgentKeys:
    """The agent's keys, for the vault of the trust file."""
    path = state_directory / AGENT_KEY_FILE
    if not path.exists():
        raise ConfigurationError(
            f"{path} does not exist: this agent has no keys yet",
            remedy="Run 'safelight-agent init' first.",
        )
    keys = read_agent_keys(path)
    if keys.vault_id != trust.vault_id:
        raise ConfigurationError(
            f"{path} belongs to vault {keys.vault_id.hex()}, the trust file to "
            f"{trust.vault_id.hex()}"
        )
    return keys


def join(
    store: Store, trust: Trust, keys: AgentKeys, *, on_tamper: OnTamper | None = None
) -> Membership:
    """Find this agent's certificate and open the dedup key with it."""
    try:
        configuration, configuration_at = load_configuration(store, trust, on_tamper=on_tamper)
    except ObjectMissingError as error:
        raise ConfigurationError(
            "the vault was not created yet, or this is not its URL", remedy=error.next_step
        ) from error
    if configuration.splitter_version != SPLITTER_VERSION:
        raise ConfigurationError(
            f"the vault fixes splitter version {configuration.splitter_version}, this program has "
            f"{SPLITTER_VERSION}"
        )

    def decode(data: bytes) -> Certificate:
        return decode_certificate(
            data,
            vault_id=trust.vault_id,
            administrator_fingerprint=trust.administrator_fingerprint,
        )

    agent_id = agent_id_of(keys.signing_key.verifying_key)
    found = load_certificate(store, agent_id, decode, on_tamper=on_tamper)
    if found is None:
        raise WrongIdentityError(
            "this agent is not enrolled in the vault",
            remedy=f"Give the file {REQUEST_FILE} in the state directory to the administrator, who "
            "runs 'safelight-restore enrol' on it.",
        )
    data, certificate, certificate_at = found
    dedup_key = certificate.open_dedup_key(keys.sealing_identity, trust.vault_id)
    dedup_keys = DedupKeys.derive(dedup_key, trust.vault_id)
    return Membership(
        trust=trust,
        configuration=configuration,
        certificate=certificate,
        certificate_bytes=data,
        objects=(configuration_at, certificate_at),
        writer_keys=WriterKeys(
            vault_id=trust.vault_id,
            signing_key=keys.signing_key,
            index_key=dedup_keys.index_key,
        ),
        dedup_keys=dedup_keys,
    )
