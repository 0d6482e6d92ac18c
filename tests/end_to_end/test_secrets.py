"""Nothing that a thief of the bucket, a reader of the logs or a neighbour on the machine sees tells
of a patient, a path or a key.
"""

import os
import re
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from damage import stored_objects
from dicom_samples import ct_slice, report
from installed import AGENT, InstalledAgent, InstalledVault, installed, new_vault
from safelight_vault.key_files import read_identity

NAME, PATIENT_ID = "Zanzibar^Quintilian", "PID-99120447"
STUDY_UID, SERIES_UID = "1.2.826.0.1.999.777001", "1.2.826.0.1.999.777001.42"
COMPONENTS = ("zanzibar-quintilian", "befund-unleserlich", "scan-4711.dcm", "radiologie-haus-9")
NEEDLES = (
    *("Zanzibar", "Quintilian", PATIENT_ID, STUDY_UID, SERIES_UID),
    *COMPONENTS,
    "Incidental finding",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A vault after two nights, and all that they printed, logged and measured."""

    vault: InstalledVault
    agent: InstalledAgent
    archive: Path
    output: str


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    directory = tmp_path_factory.mktemp("secrets")
    archive = directory / "archive"
    study = archive / COMPONENTS[3] / COMPONENTS[0]
    study.mkdir(parents=True)
    for number in range(3):
        data = ct_slice(
            patient_id=PATIENT_ID,
            patient_name=NAME,
            study_uid=STUDY_UID,
            series_uid=SERIES_UID,
            number=number,
            instance_uid=f"{SERIES_UID}.{number}",
        )
        (study / f"{number}-{COMPONENTS[2]}").write_bytes(data)
    (study / "sr.dcm").write_bytes(report(texts=["Incidental finding"] * 50, patient_name=NAME))
    unreadable = study / COMPONENTS[1]
    unreadable.mkdir()
    metrics = directory / "metrics"
    metrics.mkdir()
    vault = new_vault(directory / "site")
    tables = f'[metrics]\nport = 0\ntextfile_directory = "{metrics}"\n'
    agent = vault.agent({"pacs": archive}, tables=tables)
    first = agent.command("--verbose", "backup").require()
    # A file that is no valid DICOM must not be quoted in a warning.
    (study / "broken.dcm").write_bytes(ct_slice(patient_name=NAME)[:-700])
    second = agent.command("--verbose", "backup", "--json").require()
    logged = first.stdout + first.stderr + second.stdout + second.stderr
    written = "".join(path.read_text() for path in metrics.iterdir())
    assert 'source="pacs"' in written
    return Night(vault=vault, agent=agent, archive=archive, output=logged + written)


def spellings(needle: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        for text in (needle, needle.lower(), needle.upper()):
            yield text.encode(encoding)


def test_no_object_of_the_vault_tells_a_name_a_path_or_a_uid(night: Night) -> None:
    objects = stored_objects(night.vault.store_directory)
    whole = b"\n".join(one.name.encode() + b"\n" + one.path.read_bytes() for one in objects)
    assert len(objects) > 10
    found = [needle for needle in NEEDLES if any(each in whole for each in spellings(needle))]
    assert found == []
    # The scan is not blind: what stands there in clear, an agent's own name, is found.
    assert night.agent.name.encode() in whole


def test_no_file_of_a_vault_directory_tells_them_either(night: Night) -> None:
    for path in night.vault.store_directory.rglob("*"):
        names = str(path.relative_to(night.vault.store_directory))
        data = path.read_bytes() if path.is_file() else b""
        assert not [needle for needle in NEEDLES if needle in names or needle.encode() in data]


def test_no_key_is_in_the_vault_or_in_any_output(night: Night) -> None:
    secret_files = [
        night.vault.identity,
        night.vault.identity.with_name("administrator.key"),
        night.agent.state_directory / "agent.key",
    ]
    pattern = re.compile(r'^\w*secret = "([0-9a-f]{64})"$', re.MULTILINE)
    secrets = {value for path in secret_files for value in pattern.findall(path.read_text())}
    assert len(secrets) == 4
    seed = read_identity(night.vault.identity).identity.seed.hex()
    assert seed in secrets
    objects = stored_objects(night.vault.store_directory)
    whole = b"\n".join(one.path.read_bytes() for one in objects)
    for secret in secrets:
        assert bytes.fromhex(secret) not in whole
        assert secret.encode() not in whole
        assert secret not in night.output


def test_logs_metrics_and_results_of_a_backup_tell_none_of_it(night: Night) -> None:
    assert "pacs" in night.output
    assert [needle for needle in NEEDLES if needle in night.output] == []


def test_local_state_is_private_and_keys_are_never_readable_by_others(night: Night) -> None:
    state = night.agent.state_directory
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.rglob("*"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    keys = night.vault.identity.parent
    for path in (state / "agent.key", keys / "identity.key", keys / "administrator.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_keys_are_made_private_even_under_a_careless_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        vault = new_vault(tmp_path / "site")
        (tmp_path / "archive").mkdir()
        agent = vault.agent({"pacs": tmp_path / "archive"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(agent.state_directory.stat().st_mode) == 0o700
    for path in (agent.state_directory / "agent.key", vault.identity):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_keys_are_never_overwritten(night: Night) -> None:
    keys = night.vault.identity.parent
    before = {path: path.read_bytes() for path in keys.iterdir()}
    again = night.vault.restore_command("keygen", "--json")
    assert again.code == 2
    assert not again.is_bug
    agent_key = night.agent.state_directory / "agent.key"
    key = agent_key.read_bytes()
    night.agent.command("init", "--json").require()
    assert agent_key.read_bytes() == key
    assert {path: path.read_bytes() for path in keys.iterdir()} == before


def test_keys_that_others_may_read_are_refused(night: Night) -> None:
    identity, agent_key = night.vault.identity, night.agent.state_directory / "agent.key"
    for key in (identity, agent_key):
        key.chmod(0o640)
    try:
        refused = {identity: night.vault.verify(), agent_key: night.agent.command("backup")}
    finally:
        for key in (identity, agent_key):
            key.chmod(0o600)
    for key, outcome in refused.items():
        assert outcome.code == 2
        assert str(key) in outcome.stderr


def test_no_secret_is_among_the_arguments_that_every_user_of_the_machine_sees(
    night: Night,
) -> None:
    seed = read_identity(night.vault.identity).identity.seed.hex()
    seen: set[str] = set()
    process = subprocess.Popen(
        [installed(AGENT), "--config", night.agent.config, "backup", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AWS_SECRET_ACCESS_KEY": "very-secret-key"},
    )
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                family = [psutil.Process(process.pid)]
                family += family[0].children(recursive=True)
                seen.update(argument for one in family for argument in one.cmdline())
            except psutil.Error:
                pass
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.wait(timeout=60) == 0
    done.set()
    watcher.join()
    assert "backup" in seen
    for secret in (seed, "very-secret-key", *NEEDLES):
        assert not [argument for argument in seen if secret in argument]
