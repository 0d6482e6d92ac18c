"""``safelight-restore`` as it is typed: help, keys, listings, and what is refused.

What ``restore``, ``verify`` and ``audit`` bring back and find has a module of its own.
"""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import keys
from restore_commands import STUDY_UID, files_below, new_vault, opened, run
from safelight_agent.membership import make_keys as make_agent_keys
from safelight_restore.cli import program
from safelight_vault.format.names import Kind
from safelight_vault.key_files import IdentityFile, read_identity, read_trust, write_identity
from safelight_vault.store.directory import DirectoryStore
from vaults import Clock, VaultFixture, flip

COMMANDS = ("keygen", "enrol", "snapshots", "find", "restore", "verify", "audit")


@pytest.fixture(name="shared", scope="module")
def shared_vault(tmp_path_factory: pytest.TempPathFactory) -> VaultFixture:
    """A vault that tests only read."""
    return new_vault(tmp_path_factory.mktemp("shared"))


@pytest.fixture(name="vault")
def own_vault(tmp_path: Path) -> VaultFixture:
    """A vault that a test may damage."""
    return new_vault(tmp_path)


def copied(path: Path, to: Path, mode: int) -> Path:
    shutil.copyfile(path, to)
    to.chmod(mode)
    return to


def unwrapped(text: str) -> str:
    """Text without the line breaks that fit it to the terminal."""
    return " ".join(text.split())


# Help


def test_help_shows_a_disaster_every_command_and_every_exit_code() -> None:
    shown = run("--help")
    assert shown.code == 0
    for command in COMMANDS:
        assert f"  {command}" in shown.out
    assert "In a disaster:" in shown.out
    assert "4 wrong identity" in unwrapped(shown.out)
    assert "7 incomplete" in unwrapped(shown.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does_without_a_vault(command: str) -> None:
    shown = run(command, "--help")
    assert shown.code == 0
    described = program.commands[command].help
    assert described
    assert unwrapped(described).split(". ")[0] in unwrapped(shown.out)
    assert "--json" in shown.out


# keygen and enrol


def test_keygen_makes_private_keys_and_a_public_trust_file(tmp_path: Path) -> None:
    made = run("--identity", tmp_path / "keys" / "identity.key", "keygen", "--json")
    assert made.code == 0
    assert os.stat(made.json["identity"]).st_mode & 0o777 == 0o600
    assert os.stat(made.json["administrator"]).st_mode & 0o777 == 0o600
    trust = read_trust(Path(made.json["trust"]))
    assert trust.vault_id.hex() == made.json["vault_id"]
    assert trust.administrator_fingerprint.hex() == made.json["administrator_fingerprint"]


def test_keygen_tells_a_person_which_files_are_secret(tmp_path: Path) -> None:
    made = run("--identity", tmp_path / "identity.key", "keygen")
    assert made.code == 0
    assert f"SECRET  {tmp_path / 'identity.key'}" in made.out


def test_keygen_never_overwrites_a_key(tmp_path: Path) -> None:
    identity = tmp_path / "identity.key"
    assert run("--identity", identity, "keygen").code == 0
    before = identity.read_bytes()
    again = run("--identity", identity, "keygen", "--json")
    assert again.code == 2
    assert again.out == ""
    assert identity.read_bytes() == before


def test_the_first_enrolment_creates_the_vault_and_the_second_does_not(tmp_path: Path) -> None:
    identity = tmp_path / "keys" / "identity.key"
    trust = read_trust(Path(run("--identity", identity, "keygen", "--json").json["trust"]))
    options = ("--vault", f"file://{tmp_path}/vault", "--identity", identity)
    # The store itself is made by an agent's init.
    DirectoryStore(
        tmp_path / "vault",
        now=lambda: datetime.now(UTC),
        new_version_id=lambda: os.urandom(16).hex(),
        create=True,
    )
    created = []
    for name in ("first", "second"):
        state = tmp_path / name
        state.mkdir(mode=0o700)
        request, _ = make_agent_keys(state, trust, name, os.urandom)
        enrolled = run(*options, "enrol", request, "--json")
        assert enrolled.code == 0, enrolled.err
        assert enrolled.json["label"] == name
        created.append(enrolled.json["vault_created"])
    assert created == [True, False]


def test_enrol_refuses_what_is_no_request(shared: VaultFixture, tmp_path: Path) -> None:
    request = tmp_path / "enrolment.request"
    request.write_bytes(b"no request at all")
    assert run(*opened(shared), "enrol", request, "--json").code == 2
    assert run(*opened(shared), "enrol", tmp_path / "absent").code == 2


# snapshots and find


def test_snapshots_are_listed_as_one_object(shared: VaultFixture) -> None:
    listed = run(*opened(shared), "snapshots", "--json")
    assert listed.code == 0
    (row,) = listed.json["snapshots"]
    assert (row["source"], row["files"], row["complete"]) == ("pacs", 5, True)
    assert listed.json["damaged"] == []
    assert row["snapshot"] in run(*opened(shared), "snapshots").out


def test_a_damaged_snapshot_is_listed_as_damaged(vault: VaultFixture) -> None:
    vault.clock.advance(timedelta(seconds=1))
    vault.back_up("pacs", vault.directory / "archive")
    vault.damage(vault.names(Kind.SNAPSHOT)[1], flip(100))
    listed = run(*opened(vault), "snapshots", "--json")
    assert listed.code == 3
    assert (len(listed.json["snapshots"]), len(listed.json["damaged"])) == (1, 1)


@pytest.mark.parametrize(
    ("options", "studies"),
    [
        ((), 2),
        (("--patient", "PID-0001"), 1),
        (("--patient", "number2"), 1),
        (("--study", STUDY_UID), 1),
        (("--modality", "ct"), 2),
        (("--modality", "MR"), 0),
        (("--since", "29990101"), 0),
    ],
)
def test_find_narrows_down_what_it_finds(
    shared: VaultFixture, options: tuple[str, ...], studies: int
) -> None:
    found = run(*opened(shared), "find", *options, "--json")
    assert found.code == 0
    assert len(found.json["studies"]) == studies


def test_paths_that_find_lists_are_patterns_for_restore(
    shared: VaultFixture, tmp_path: Path
) -> None:
    found = run(*opened(shared), "find", "--study", STUDY_UID, "--paths", "--json")
    paths = [path for series in found.json["studies"][0]["series"] for path in series["paths"]]
    restored = run(*opened(shared), "restore", "--target", tmp_path / "out", "--json", *paths)
    assert restored.code == 0
    assert sorted(files_below(tmp_path / "out")) == sorted(paths)


# Keys and stores


@pytest.mark.parametrize("command", ["find", "restore", "verify"])
def test_an_identity_that_the_vault_is_not_sealed_to_is_refused(
    shared: VaultFixture, tmp_path: Path, command: str
) -> None:
    """Retired, or of another custodian: it names the right vault, and opens nothing in it."""
    stranger = keys.identity("stranger")
    trust = read_identity(shared.keys.identity).trust
    write_identity(tmp_path / "stranger.key", IdentityFile(identity=stranger, trust=trust))
    more = ("--target", tmp_path / "out") if command == "restore" else ()
    options = ("--vault", shared.url, "--identity", tmp_path / "stranger.key")
    refused = run(*options, command, *more, "--json")
    assert refused.code == 4
    assert refused.out == ""


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_may_read_is_refused(
    shared: VaultFixture, tmp_path: Path, mode: int
) -> None:
    identity = copied(shared.keys.identity, tmp_path / "identity.key", mode)
    refused = run("--vault", shared.url, "--identity", identity, "snapshots", "--json")
    assert refused.code == 2
    assert "chmod 600" in refused.err
    identity.chmod(0o600)
    assert run("--vault", shared.url, "--identity", identity, "snapshots").code == 0


@pytest.mark.parametrize("command", ["snapshots", "find", "verify", "audit"])
def test_a_vault_that_is_not_there_is_unreachable(
    shared: VaultFixture, tmp_path: Path, command: str
) -> None:
    options = ("--vault", f"file://{tmp_path}/absent", "--identity", shared.keys.identity)
    missing = run(*options, command, "--json")
    assert missing.code == 6
    assert missing.out == ""
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("command", ["snapshots", "find", "verify", "audit"])
def test_forgotten_options_are_named(shared: VaultFixture, command: str) -> None:
    without_vault = run("--identity", shared.keys.identity, command)
    assert without_vault.code == 2
    assert "--vault" in without_vault.err
    without_identity = run("--vault", shared.url, command)
    assert without_identity.code == 2
    assert "--identity" in without_identity.err


def test_an_unknown_command_is_a_mistake_of_the_caller() -> None:
    assert run("snapshot").code == 2


def test_an_empty_vault_has_no_snapshot_to_restore(tmp_path: Path) -> None:
    vault = VaultFixture.create(tmp_path, clock=Clock(datetime.now(UTC)))
    vault.agent()  # enrolled, and never run
    restored = run(*opened(vault), "restore", "--target", tmp_path / "out", "--json")
    assert restored.code == 3
    assert "safelight-agent backup" in restored.err


def test_the_identity_of_another_vault_is_the_wrong_identity(
    shared: VaultFixture, tmp_path: Path
) -> None:
    identity = tmp_path / "other" / "identity.key"
    assert run("--identity", identity, "keygen", "--json").code == 0
    for command in (("restore", "--target", tmp_path / "out"), ("verify",)):
        ran = run("--vault", shared.url, "--identity", identity, *command, "--json")
        assert ran.code == 4
        assert "another vault" in ran.err
