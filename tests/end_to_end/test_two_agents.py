"""Several agents write into one vault; one that nobody enrolled does not."""

import subprocess
from pathlib import Path

import pytest

from damage import stored_objects
from dicom_samples import ct_slice
from installed import AGENT, InstalledVault, installed, new_vault, run_in_process
from trees import differences


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory, found = tmp_path_factory.mktemp("archives"), {}
    for number, name in enumerate(("north", "south")):
        found[name] = directory / name
        found[name].mkdir()
        (found[name] / "own.dcm").write_bytes(ct_slice(patient_name=name, seed=number))
        (found[name] / "same.bin").write_bytes(bytes(range(256)) * 4000)
    return found


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> InstalledVault:
    """A vault that one agent has written into."""
    vault = new_vault(tmp_path_factory.mktemp("vault") / "site")
    vault.agent({"north": archives["north"]}, name="first").back_up()
    return vault


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, vault: InstalledVault) -> InstalledVault:
    """Keys of another vault, at the URL of this one."""
    return new_vault(tmp_path_factory.mktemp("other") / "site", url=vault.url)


def test_two_agents_back_up_at_the_same_time_and_both_come_back(
    tmp_path: Path, archives: dict[str, Path]
) -> None:
    vault = new_vault(tmp_path / "site")
    agents = [
        vault.agent({source: path}, name=f"agent-{source}") for source, path in archives.items()
    ]
    for _ in range(2):
        running = [
            subprocess.Popen(
                [installed(AGENT), "--config", agent.config, "backup", "--json"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for agent in agents
        ]
        ended = [process.communicate(timeout=120)[1] for process in running]
        assert [process.returncode for process in running] == [0, 0], ended
    snapshots = vault.snapshots()
    assert sorted(row["source"] for row in snapshots) == ["north", "north", "south", "south"]
    restored = vault.restore(tmp_path / "restored").require().result
    assert sorted(restored["sources"]) == ["north", "south"]
    for source, path in archives.items():
        assert differences(path, tmp_path / "restored" / source) == []
    vault.verify().require()
    vault.audit().require()


def test_an_agent_that_is_not_enrolled_is_refused_and_writes_nothing(
    vault: InstalledVault, other: InstalledVault, archives: dict[str, Path]
) -> None:
    stranger = vault.agent({"south": archives["south"]}, name="stranger", enrolled=False)
    before = [one.name for one in stored_objects(vault.store_directory)]
    refused = stranger.command("backup", "--json").require(4)
    assert refused.result["complete"] is False
    assert "enrol" in refused.stderr
    assert [one.name for one in stored_objects(vault.store_directory)] == before
    # Nor can the administrator of another vault let it in.
    by_other = other.restore_command(
        "enrol", str(stranger.request), "--json", runner=run_in_process
    )
    assert by_other.code in {2, 3, 4}
    assert not by_other.is_bug
    stranger.command("backup", "--json").require(4)
    vault.enrol(stranger)
    assert stranger.back_up()["complete"] is True


def test_an_identity_of_another_vault_opens_nothing(
    tmp_path: Path, vault: InstalledVault, other: InstalledVault
) -> None:
    for outcome in (other.restore(tmp_path / "restored"), other.verify(runner=run_in_process)):
        assert outcome.code == 4, outcome
        assert not outcome.is_bug
    assert not (tmp_path / "restored" / "north").exists()
