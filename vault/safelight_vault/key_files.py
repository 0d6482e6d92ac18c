"""Key files: identity, administrator's key, agent's keys, and the public trust file.

Short TOML files with a checksum, so that a mistyped digit is noticed. The invariant: secret files
are created with mode 0600, are never overwritten, and are refused when others may read them. All
carry the vault's id and the administrator key's fingerprint: trust roots are never believed from
the bucket (design section 4.8).
"""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safelight_vault.errors import ConfigurationError
from safelight_vault.format.crypto import Identity, Recipient, SigningKey

FILE_SIZE_MAX = 1 << 20
_EXPLANATIONS = {
    "safelight-identity": "SECRET. Opens everything in the vault. Keep it offline, in two places.",
    "safelight-administrator": "SECRET. Enrols and revokes agents. Keep it offline.",
    "safelight-agent": "SECRET. The keys of one agent. They open nothing that was backed up.",
    "safelight-trust": "Public. Give it to agents and auditors; compare it with the key sheet.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What is believed before anything is read from the bucket."""

    vault_id: bytes
    administrator_fingerprint: bytes
    recipients: tuple[Recipient, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFile:
    """An identity and the trust roots it was made with."""

    identity: Identity
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKeys:
    """An agent's signing key and the identity that the dedup key is handed over to."""

    vault_id: bytes
    signing_key: SigningKey = field(repr=False)
    sealing_identity: Identity = field(repr=False)


def write_identity(path: Path, file: IdentityFile) -> None:
    """Create an identity file."""
    fields = _trust_fields(file.trust)
    fields["recipient"] = file.identity.recipient.fingerprint.hex()
    fields["secret"] = file.identity.seed.hex()
    _write_secret(path, "safelight-identity", fields)


def read_identity(path: Path) -> IdentityFile:
    """Read an identity file."""
    values = _read(path, "safelight-identity", secret=True)
    identity = Identity(_hex(path, values, "secret", 32))
    if identity.recipient.fingerprint != _hex(path, values, "recipient", 32):
        raise ConfigurationError(f"{path}: secret and recipient do not belong together")
    return IdentityFile(identity=identity, trust=_trust(path, values, ()))


def write_administrator(path: Path, trust: Trust, key: SigningKey) -> None:
    """Create the administrator's key file."""
    fields = _trust_fields(trust)
    fields["secret"] = key.seed.hex()
    _write_secret(path, "safelight-administrator", fields)


def read_administrator(path: Path) -> tuple[Trust, SigningKey]:
    """Read the administrator's key file."""
    values = _read(path, "safelight-administrator", secret=True)
    trust = _trust(path, values, ())
    key = SigningKey(_hex(path, values, "secret", 32))
    if key.verifying_key.fingerprint != trust.administrator_fingerprint:
        raise ConfigurationError(f"{path}: secret and fingerprint do not belong together")
    return trust, key


def write_agent_keys(path: Path, keys: AgentKeys) -> None:
    """Create an agent's key file."""
    fields = {
        "vault": keys.vault_id.hex(),
        "signing_secret": keys.signing_key.seed.hex(),
        "sealing_secret": keys.sealing_identity.seed.hex(),
    }
    _write_secret(path, "safelight-agent", fields)


def read_agent_keys(path: Path) -> AgentKeys:
    """Read an agent's key file."""
    values = _read(path, "safelight-agent", secret=True)
    return AgentKeys(
        vault_id=_hex(path, values, "vault", 16),
        signing_key=SigningKey(_hex(path, values, "signing_secret", 32)),
        sealing_identity=Identity(_hex(path, values, "sealing_secret", 32)),
    )


def write_trust(path: Path, trust: Trust) -> None:
    """Create the public trust file."""
    fields = _trust_fields(trust)
    for number, recipient in enumerate(trust.recipients, 1):
        fields[f"recipient_{number}"] = recipient.public.hex()
    create_file(path, _render("safelight-trust", fields).encode(), 0o644)


def read_trust(path: Path) -> Trust:
    """Read the public trust file; it names at least one recipient."""
    values = _read(path, "safelight-trust", secret=False)
    names = [name for name in values if name.startswith("recipient_")]
    names.sort(key=lambda name: (len(name), name))  # by number: 2 before 10
    recipients = tuple(Recipient(_hex(path, values, name, 1216)) for name in names)
    if not recipients:
        raise ConfigurationError(f"{path}: names no recipient")
    return _trust(path, values, recipients)


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Write a new file durably; an existing one is never overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} exists already and is never overwritten",
            remedy="Move the existing file away if you really mean to replace it.",
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be created: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _trust_fields(trust: Trust) -> dict[str, str]:
    return {
        "vault": trust.vault_id.hex(),
        "administrator": trust.administrator_fingerprint.hex(),
    }


def _trust(path: Path, values: Mapping[str, str], recipients: tuple[Recipient, ...]) -> Trust:
    return Trust(
        vault_id=_hex(path, values, "vault", 16),
        administrator_fingerprint=_hex(path, values, "administrator", 32),
        recipients=recipients,
    )


def _render(kind: str, fields: Mapping[str, str]) -> str:
    lines = [f"# Safelight. {_EXPLANATIONS[kind]}", f'kind = "{kind}"', "version = 1"]
    lines += [f'{name} = "{value}"' for name, value in fields.items()]
    return "\n".join([*lines, f'checksum = "{_checksum(kind, fields)}"', ""])


def _checksum(kind: str, fields: Mapping[str, str]) -> str:
    text = "\n".join([kind, *(f"{name}={fields[name]}" for name in sorted(fields))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_secret(path: Path, kind: str, fields: Mapping[str, str]) -> None:
    create_file(path, _render(kind, fields).encode(), 0o600)


def _read(path: Path, kind: str, *, secret: bool) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            if secret and os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigurationError(
                    f"{path} may be read by others",
                    remedy=f"Run 'chmod 600 {path}', and consider whether the key has leaked.",
                )
            text = file.read(FILE_SIZE_MAX).decode("utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a Safelight key file") from error
    if values.pop("kind", None) != kind:
        raise ConfigurationError(f"{path} is not a key file of the kind {kind!r}")
    version = values.pop("version", None)
    if isinstance(version, bool) or version != 1:
        raise ConfigurationError(f"{path} has a version that this program does not know")
    checksum = values.pop("checksum", None)
    if not all(isinstance(value, str) for value in values.values()):
        raise ConfigurationError(f"{path}: every field is text")
    if checksum != _checksum(kind, values):
        raise ConfigurationError(f"{path}: the checksum does not match, a character was changed")
    return values


def _hex(path: Path, values: Mapping[str, str], name: str, size: int) -> bytes:
    text = values.get(name, "")
    if not re.fullmatch(r"([0-9a-f]{2})+", text):
        raise ConfigurationError(f"{path}: field {name!r} is missing or not hexadecimal")
    data = bytes.fromhex(text)
    if len(data) != size:
        raise ConfigurationError(f"{path}: field {name!r} has {len(data)} bytes, not {size}")
    return data
