"""What scripts rely on: one JSON object on stdout, and an exit code for each kind of trouble."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installed import (
    AGENT,
    InstalledAgent,
    InstalledVault,
    Outcome,
    installed,
    new_vault,
    run_in_process,
    run_installed,
)
from s3_server import S3Server
from services import free_ports

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
TOTALS = {
    *("snapshot", "source", "files", "files_new", "files_changed", "files_unchanged"),
    *("files_failed", "bytes_read", "bytes_stored", "chunks_new", "complete", "suspect"),
    "duration_seconds",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive")
    (path / "file").write_bytes(b"content")
    return path


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> InstalledVault:
    return new_vault(tmp_path_factory.mktemp("vault") / "site")


@pytest.fixture(scope="module")
def agent(vault: InstalledVault, archive: Path) -> InstalledAgent:
    return vault.agent({"pacs": archive, "again": archive})


def test_every_command_prints_one_json_object_on_stdout(agent: InstalledAgent) -> None:
    assert agent.command("check-config", "--json").require().result["sources"] == ["pacs", "again"]
    assert len(agent.command("init", "--json").require().result["vault_id"]) == 32
    result = agent.command("backup", "--json").require().result
    assert set(result) == TOTALS | {"snapshots"}
    assert [one["source"] for one in result["snapshots"]] == ["pacs", "again"]
    assert all(set(one) >= TOTALS for one in result["snapshots"])
    assert result["files"] == sum(one["files"] for one in result["snapshots"]) == 2
    one = agent.command("backup", "--source", "pacs", "--json").require().result
    assert (one["source"], len(one["snapshots"])) == ("pacs", 1)
    status = agent.command("status", "--json").require().result
    assert [(each["source"], each["result"]) for each in status["sources"]] == [
        ("pacs", "ok"),
        ("again", "ok"),
    ]


def test_without_json_people_get_text(agent: InstalledAgent) -> None:
    told = agent.command("backup", "--source", "pacs").require().stdout
    assert "pacs" in told
    assert "complete" in told
    assert "{" not in told


def test_a_bad_configuration_is_2_and_every_problem_is_told(
    tmp_path: Path, agent: InstalledAgent
) -> None:
    text = agent.config.read_text()
    bad = tmp_path / "bad.toml"
    bad.write_text(
        text.replace('name = "agent"', 'name = "NOT A NAME"')
        .replace("port = 0", "port = 70000\ncolour = 1")
        .replace('kind = "tree"', 'kind = "tree"\nminimum_files = -1', 1)
    )
    for command in (["check-config", "--json"], ["backup", "--json"], ["status", "--json"]):
        outcome = run_in_process(AGENT, ["--config", str(bad), *command], {})
        assert (outcome.code, outcome.stdout) == (2, "")
        for problem in ("agent.name", "metrics.port", "colour", "minimum_files"):
            assert problem in outcome.stderr, problem
        assert "4 problems" in outcome.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "/nonexistent/agent.toml", "backup", "--json"],
        ["backup", "--no-such-option"],
        ["no-such-command"],
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    outcome = run_in_process(AGENT, arguments, {})
    assert (outcome.code, outcome.stdout) == (2, "")
    assert not outcome.is_bug


def test_an_unknown_source_is_2(agent: InstalledAgent) -> None:
    outcome = agent.command("backup", "--source", "nobody", "--json").require(2)
    assert outcome.stdout == ""
    assert "nobody" in outcome.stderr


def test_the_example_passes_check_config_once_its_paths_are_there(tmp_path: Path) -> None:
    adapted = tmp_path / "agent.toml"
    adapted.write_text(EXAMPLE.read_text())
    arguments = ["--config", str(adapted), "check-config", "--json"]
    assert run_installed(AGENT, arguments, {}).require().result["valid"] is True
    uncommented = re.sub(r"(?m)^#(?=[a-z][a-z0-9_]* = )", "", EXAMPLE.read_text())
    adapted.write_text(uncommented.replace("/srv/pacs/storage", str(tmp_path)))
    assert run_installed(AGENT, arguments, {}).require().result["sources"] == [
        "images",
        "database",
    ]


def test_an_agent_that_nobody_enrolled_is_4(agent: InstalledAgent, archive: Path) -> None:
    stranger = agent.vault.agent({"pacs": archive}, name="stranger", enrolled=False)
    outcome = stranger.command("backup", "--json").require(4)
    assert outcome.result["snapshots"][0]["exit_code"] == 4
    assert "next:" in outcome.stderr


def test_emulated_locks_that_nobody_accepted_are_2(agent: InstalledAgent, archive: Path) -> None:
    config = agent.config.read_text()
    agent.write_config({"pacs": archive}, vault_lines="")
    try:
        for command in ("init", "backup"):
            outcome = agent.command(command, "--json").require(2)
            assert "vault.accept_emulated_locks" in outcome.stderr
    finally:
        agent.config.write_text(config)


def test_a_bucket_that_cannot_lock_is_5(tmp_path: Path, seaweed: S3Server, archive: Path) -> None:
    bucket = seaweed.new_bucket(object_lock=False)
    vault = new_vault(
        tmp_path / "site", url=f"s3://{bucket}/x", environment=seaweed.environment(tls=True)
    )
    agent = InstalledAgent(vault=vault, name="agent", directory=tmp_path)
    agent.write_config({"pacs": archive})
    outcome = agent.command("init", "--json").require(5)
    assert outcome.stdout == ""
    assert "Object Lock is not enabled" in outcome.stderr
    assert not agent.state_directory.joinpath("agent.key").exists()


@pytest.fixture
def slow_backup(agent: InstalledAgent, tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A backup by another process that takes its time over a slow command."""
    started = tmp_path / "started"
    script = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)"
    config = tmp_path / "slow.toml"
    head = agent.config.read_text().split("[[source]]")[0]
    config.write_text(
        f'{head}[[source]]\nname = "pacs"\nkind = "command"\nfile_name = "dump"\n'
        f'command = ["{sys.executable}", "-c", "{script}"]\n'
    )
    process = subprocess.Popen(
        [installed(AGENT), "--config", config, "backup", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not started.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert started.exists(), process.communicate(timeout=10)
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_of_a_source_is_5_and_the_first_one_is_named(
    agent: InstalledAgent, slow_backup: "subprocess.Popen[bytes]"
) -> None:
    outcome = agent.command("backup", "--source", "pacs", "--json").require(5)
    assert str(slow_backup.pid) in outcome.stderr
    assert outcome.result["complete"] is False
    # A stop that is asked for ends the first one early, which leaves it incomplete.
    slow_backup.terminate()
    slow_backup.communicate(timeout=30)
    assert slow_backup.returncode == 7
    agent.command("backup", "--source", "pacs", "--json").require()


def test_a_store_that_does_not_answer_is_6(tmp_path: Path, agent: InstalledAgent) -> None:
    (port,) = free_ports(1)
    outcome = dead_store(tmp_path, agent, f"http://127.0.0.1:{port}", "backup")
    assert outcome.code == 6
    assert outcome.result["snapshots"][0]["exit_code"] == 6
    assert not outcome.is_bug
    assert "very-secret" not in outcome.stdout + outcome.stderr


def dead_store(tmp_path: Path, enrolled: InstalledAgent, endpoint: str, command: str) -> Outcome:
    agent = InstalledAgent(vault=enrolled.vault, name="agent", directory=tmp_path)
    shutil.copytree(enrolled.state_directory, agent.state_directory)
    archive = tmp_path / "archive"
    archive.mkdir()
    s3 = (
        f'[vault.s3]\nendpoint_url = "{endpoint}"\nregion = "us-east-1"\nattempts = 2\n'
        "allow_plaintext_loopback = true\nconnect_timeout_seconds = 2\n[metrics]\nport = 0\n"
    )
    agent.write_config({"pacs": archive}, url="s3://bucket/prefix", vault_lines="", tables=s3)
    credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    arguments = ["--config", str(agent.config), command, "--json"]
    return run_installed(AGENT, arguments, credentials)


def test_a_file_that_cannot_be_read_is_7_and_the_rest_is_backed_up(
    tmp_path: Path, vault: InstalledVault
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "file").write_bytes(b"content")
    make_path_too_long_to_store(archive)
    agent = vault.agent({"deep": archive}, name="deep")
    try:
        result = agent.command("backup", "--json").require(7).result
    finally:
        shutil.rmtree(archive / DEEP_NAME)
    (run,) = result["snapshots"]
    assert (result["complete"], run["complete"]) == (False, False)
    assert (result["files"], result["files_failed"]) == (1, 1)
    assert set(run["failed"][0]) == {"path", "path_base64", "reason"}
    assert run["snapshot"]
    status = agent.command("status", "--json").require().result["sources"][0]
    assert (status["exit_code"], status["last_complete"]) == (7, None)


DEEP_NAME = "d" * 255


def make_path_too_long_to_store(root: Path) -> None:
    """Directories so deep that their path is longer than the format holds (65,536 bytes).

    Not even root can read it away, as it could with permissions.
    """
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(257):
        os.mkdir(DEEP_NAME, dir_fd=here)
        below = os.open(DEEP_NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
