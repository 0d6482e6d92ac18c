"""Key files are read back exactly, guarded by their modes, and never overwritten."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys import VAULT_ID, administrator_fingerprint, identity, signing_key
from safelight_vault.errors import ConfigurationError
from safelight_vault.format.crypto import RECIPIENT_SIZE, Identity, Recipient, SigningKey
from safelight_vault.key_files import (
    FILE_SIZE_MAX,
    AgentKeys,
    IdentityFile,
    Trust,
    create_file,
    read_administrator,
    read_agent_keys,
    read_identity,
    read_trust,
    write_administrator,
    write_agent_keys,
    write_identity,
    write_trust,
)
from strictness import outcome

TRUST = Trust(vault_id=VAULT_ID, administrator_fingerprint=administrator_fingerprint())
PUBLIC_TRUST = Trust(
    vault_id=VAULT_ID,
    administrator_fingerprint=administrator_fingerprint(),
    recipients=(identity().recipient, identity("second").recipient),
)
AGENT_KEYS = AgentKeys(
    vault_id=VAULT_ID, signing_key=signing_key(), sealing_identity=identity("sealing agent")
)
SEEDS = st.binary(min_size=32, max_size=32)
in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_all(directory: Path) -> None:
    """One file of each kind, as its name says."""
    write_identity(directory / "identity", IdentityFile(identity=identity(), trust=TRUST))
    write_administrator(directory / "administrator", TRUST, signing_key("administrator"))
    write_agent_keys(directory / "agent", AGENT_KEYS)
    write_trust(directory / "trust", PUBLIC_TRUST)


READERS = {
    "identity": read_identity,
    "administrator": read_administrator,
    "agent": read_agent_keys,
    "trust": read_trust,
}
SECRETS = ("identity", "administrator", "agent")


# --- What comes back -------------------------------------------------------------------------


@in_one_directory
@given(SEEDS, st.binary(min_size=16, max_size=16), SEEDS)
def test_an_identity_is_read_back(
    tmp_path: Path, seed: bytes, vault_id: bytes, fingerprint: bytes
) -> None:
    trust = Trust(vault_id=vault_id, administrator_fingerprint=fingerprint)
    path = tmp_path / "identity"
    path.unlink(missing_ok=True)
    write_identity(path, IdentityFile(identity=Identity(seed), trust=trust))
    assert read_identity(path) == IdentityFile(identity=Identity(seed), trust=trust)


@in_one_directory
@given(SEEDS, SEEDS, st.binary(min_size=16, max_size=16))
def test_agent_keys_are_read_back(
    tmp_path: Path, signing_seed: bytes, sealing_seed: bytes, vault_id: bytes
) -> None:
    keys = AgentKeys(
        vault_id=vault_id,
        signing_key=SigningKey(signing_seed),
        sealing_identity=Identity(sealing_seed),
    )
    path = tmp_path / "agent"
    path.unlink(missing_ok=True)
    write_agent_keys(path, keys)
    assert read_agent_keys(path) == keys


@in_one_directory
@given(SEEDS, st.binary(min_size=16, max_size=16))
def test_an_administrator_s_key_is_read_back(tmp_path: Path, seed: bytes, vault_id: bytes) -> None:
    key = SigningKey(seed)
    fingerprint = key.verifying_key.fingerprint
    trust = Trust(vault_id=vault_id, administrator_fingerprint=fingerprint)
    path = tmp_path / "administrator"
    path.unlink(missing_ok=True)
    write_administrator(path, trust, key)
    assert read_administrator(path) == (trust, key)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 64])
def test_trust_is_read_back_with_its_recipients_in_order(tmp_path: Path, count: int) -> None:
    recipients = tuple(Recipient(bytes([number]) * RECIPIENT_SIZE) for number in range(count))
    trust = Trust(vault_id=VAULT_ID, administrator_fingerprint=bytes(32), recipients=recipients)
    write_trust(tmp_path / "trust", trust)
    assert read_trust(tmp_path / "trust") == trust


# --- Modes and overwriting -------------------------------------------------------------------


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_created_for_their_owner_only(tmp_path: Path, name: str) -> None:
    old = os.umask(0)
    try:
        write_all(tmp_path)
    finally:
        os.umask(old)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "trust").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_secrets_that_others_may_touch_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    write_all(tmp_path)
    (tmp_path / name).chmod(mode)
    with pytest.raises(ConfigurationError, match="may be read by others") as caught:
        READERS[name](tmp_path / name)
    assert "chmod 600" in caught.value.next_step


def test_no_file_is_ever_overwritten(tmp_path: Path) -> None:
    write_all(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in before:
        with pytest.raises(ConfigurationError, match="never overwritten"):
            create_file(path, b"new", 0o600)
    with pytest.raises(ConfigurationError, match="never overwritten"):
        write_all(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_link_is_not_followed_to_create_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        create_file(tmp_path / "link", b"secret", 0o600)
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be created: No such file or directory"):
        create_file(tmp_path / "missing" / "key", b"", 0o600)


# --- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(READERS))
def test_no_kind_of_file_passes_for_another(tmp_path: Path, name: str) -> None:
    write_all(tmp_path)
    (tmp_path / "trust").chmod(0o600)
    for other in sorted(READERS):
        if other != name:
            with pytest.raises(ConfigurationError, match="not a key file of the kind"):
                READERS[name](tmp_path / other)


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_mistyped_character_is_noticed(tmp_path: Path, name: str) -> None:
    write_all(tmp_path)
    path = tmp_path / name
    expected, text = READERS[name](path), path.read_bytes()
    start = text.index(b"\n") + 1  # the first line is a comment
    for position in range(start, len(text), 1 + len(text) // 400):
        changed = bytearray(text)
        changed[position] ^= 1
        path.write_bytes(bytes(changed))
        found = outcome(lambda _: READERS[name](path), b"")
        assert not isinstance(found, type(expected)) or found == expected, f"flip at {position}"


@in_one_directory
@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_foreign_files_raise_nothing_but_vault_errors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "key"
    path.unlink(missing_ok=True)
    create_file(path, data, 0o600)
    for read in READERS.values():
        with pytest.raises(ConfigurationError, match=str(path)):
            read(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_identity(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_identity(tmp_path)


def test_a_file_above_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    write_all(tmp_path)
    path = tmp_path / "trust"
    path.write_bytes(b"#" * FILE_SIZE_MAX + b"\n" + path.read_bytes())
    with pytest.raises(ConfigurationError):
        read_trust(path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("version", ["2", '"1"', "0"])
def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    write_all(tmp_path)
    edit(tmp_path / "trust", "version = 1", f"version = {version}")
    with pytest.raises(ConfigurationError, match="version that this program does not know"):
        read_trust(tmp_path / "trust")


def test_a_field_that_is_not_text_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    edit(tmp_path / "trust", f'vault = "{VAULT_ID.hex()}"', "vault = 5")
    with pytest.raises(ConfigurationError, match="every field is text"):
        read_trust(tmp_path / "trust")


def test_a_removed_or_added_field_is_noticed(tmp_path: Path) -> None:
    write_all(tmp_path)
    edit(tmp_path / "trust", f'vault = "{VAULT_ID.hex()}"\n', "")
    with pytest.raises(ConfigurationError, match="checksum does not match"):
        read_trust(tmp_path / "trust")
    edit(tmp_path / "identity", "checksum", 'note = "spare"\nchecksum')
    with pytest.raises(ConfigurationError, match="checksum does not match"):
        read_identity(tmp_path / "identity")


def test_trust_without_recipients_is_refused(tmp_path: Path) -> None:
    write_trust(tmp_path / "trust", TRUST)
    with pytest.raises(ConfigurationError, match="names no recipient"):
        read_trust(tmp_path / "trust")


def test_a_secret_that_does_not_fit_its_public_half_is_refused(tmp_path: Path) -> None:
    wrong = Trust(vault_id=VAULT_ID, administrator_fingerprint=bytes(32))
    write_administrator(tmp_path / "administrator", wrong, signing_key("administrator"))
    with pytest.raises(ConfigurationError, match="do not belong together"):
        read_administrator(tmp_path / "administrator")


def test_secrets_are_not_shown() -> None:
    file = IdentityFile(identity=identity(), trust=TRUST)
    shown = repr(file) + repr(AGENT_KEYS)
    for seed in (
        identity().seed,
        signing_key().seed,
        identity("sealing agent").seed,
    ):
        assert seed.hex() not in shown
        assert repr(seed)[2:-1] not in shown
