"""``drill`` as it is typed: its files, its exit codes, and that damage is named to whoever acts."""

import json
import re
import stat
from pathlib import Path

import pytest

from restore_commands import STUDY_UID, Ran, files_below, largest_pack, new_vault, opened, run
from safelight_restore.cli_drill import Size
from vaults import VaultFixture, flip

PATIENT = "Doe^Number1"


@pytest.fixture(name="shared", scope="module")
def shared_vault(tmp_path_factory: pytest.TempPathFactory) -> VaultFixture:
    """A vault that tests only read."""
    return new_vault(tmp_path_factory.mktemp("shared"))


@pytest.fixture(name="vault")
def own_vault(tmp_path: Path) -> VaultFixture:
    """A vault that a test may damage."""
    return new_vault(tmp_path)


def drill(vault: VaultFixture, *options: str | Path) -> Ran:
    return run(*opened(vault), "drill", *options)


def break_vault(vault: VaultFixture) -> None:
    pack = largest_pack(vault)
    vault.damage(pack, flip(vault.store.head(pack).size_bytes // 2))


def test_a_drill_passes_and_writes_what_it_was_asked_for(
    shared: VaultFixture, tmp_path: Path
) -> None:
    report, page, textfile = tmp_path / "d.json", tmp_path / "d.html", tmp_path / "d.prom"
    ran = drill(
        shared,
        "--report-json",
        report,
        "--report-html",
        page,
        "--textfile",
        textfile,
        "--source",
        f"pacs={shared.directory / 'archive'}",
        "--json",
    )
    assert ran.code == 0, ran.err
    told = ran.json
    assert told == json.loads(report.read_text())
    assert (told["success"], told["exit_code"], told["files_verified"]) == (True, 0, 5)
    assert (told["dicom_parsed"], told["dicom_failed"], told["files_failed"]) == (4, 0, 0)
    assert told["compared"]["pacs"]["equal"] == 5
    assert told["error"] is None
    assert told["snapshots"][0]["lock"] == "emulated"
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "safelight_drill_success 1" in textfile.read_text().splitlines()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (report, page)} == {0o600}
    assert stat.S_IMODE(textfile.stat().st_mode) == 0o644


def test_a_person_reads_the_verdict_last(shared: VaultFixture) -> None:
    ran = drill(shared)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("PASSED: ")
    assert "5 of 5 files" in ran.out
    assert "RTO" in ran.out
    assert "RPO" in ran.out


def test_damage_is_exit_3_and_names_the_studies_to_whoever_acts(vault: VaultFixture) -> None:
    break_vault(vault)
    ran = drill(vault)
    assert ran.code == 3
    assert ran.out.splitlines()[-1].startswith("FAILED: something is damaged")
    (line,) = [one for one in ran.err.splitlines() if STUDY_UID + "," in one]
    assert re.search(r"damaged study: .*, 20240229, CT: 2 of 2 files", line)
    assert PATIENT not in ran.out + ran.err


def test_a_failed_drill_writes_its_reports_too(vault: VaultFixture, tmp_path: Path) -> None:
    report, page, textfile = tmp_path / "d.json", tmp_path / "d.html", tmp_path / "d.prom"
    files: tuple[str | Path, ...] = (
        "--report-json",
        report,
        "--report-html",
        page,
        "--textfile",
        textfile,
    )
    assert drill(vault, *files).code == 0
    success = re.findall(r"last_success_timestamp_seconds [0-9.]+", textfile.read_text())
    assert success
    break_vault(vault)
    assert drill(vault, *files).code == 3
    told = json.loads(report.read_text())
    assert {study["study_instance_uid"] for study in told["damaged_studies"]} == {
        STUDY_UID,
        "1.2.826.0.1.999.20",
    }
    assert "Failed: something is damaged" in page.read_text()
    assert STUDY_UID not in page.read_text()
    after = textfile.read_text()
    assert success[0] in after
    assert "safelight_drill_last_run_exit_code 3" in after.splitlines()


def test_patients_are_named_only_when_that_is_asked_for(vault: VaultFixture) -> None:
    break_vault(vault)
    assert PATIENT not in drill(vault, "--json").out
    shown = drill(vault, "--json", "--show-studies")
    assert PATIENT in {study["patient_name"] for study in shown.json["damaged_studies"]}
    assert PATIENT in drill(vault, "--show-studies").err


def test_a_lock_that_is_gone_is_exit_5(vault: VaultFixture) -> None:
    vault.unlock(largest_pack(vault))
    ran = drill(vault, "--json")
    assert ran.code == 5
    assert [one["object"] for one in ran.json["unlocked"]] == [largest_pack(vault)]
    assert ran.json["unlocked"][0]["locked_until"] is None


def test_a_vault_that_is_not_there_is_reported_too(shared: VaultFixture, tmp_path: Path) -> None:
    report, textfile = tmp_path / "d.json", tmp_path / "d.prom"
    ran = run(
        "--vault",
        (tmp_path / "unmounted").as_uri(),
        "--identity",
        shared.keys.identity,
        "drill",
        "--report-json",
        report,
        "--textfile",
        textfile,
    )
    assert ran.code == 6
    told = json.loads(report.read_text())
    assert (told["success"], told["error"]["step"], told["error"]["exit_code"]) == (
        False,
        "vault",
        6,
    )
    assert told["objects"] is told["sample"] is told["rto"] is None
    assert "safelight_drill_last_run_exit_code 6" in textfile.read_text().splitlines()


def test_nothing_of_the_sample_is_left_unless_it_is_to_be_kept(
    shared: VaultFixture, tmp_path: Path
) -> None:
    assert drill(shared, "--scratch", tmp_path).code == 0
    assert list(tmp_path.iterdir()) == []
    ran = drill(shared, "--scratch", tmp_path, "--keep")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in ran.err
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    (snapshot,) = kept.iterdir()
    assert files_below(snapshot / "pacs") == files_below(shared.directory / "archive")


def test_a_sample_can_be_asked_for_in_files_bytes_and_turn(shared: VaultFixture) -> None:
    ran = drill(shared, "--json", "--sample-files", "2", "--sample-bytes", "10K", "--rotation", "5")
    assert ran.code == 0
    sample = ran.json["sample"]
    assert sample["rotation"]["number"] == 5
    assert 0 < sample["files"] < sample["files_total"] == 5
    assert sample["studies_whole"] >= 1
    assert ran.json["rto"]["whole"]["extrapolated"]
    assert ran.json["rto"]["whole"]["seconds"] > ran.json["rto"]["sample"]["seconds"]


@pytest.mark.parametrize(
    "options",
    [
        ("--source", "pacs"),
        ("--source", "=/tmp"),
        ("--source", "pacs=/nonexistent/archive"),
        ("--source", "pacs=/", "--source", "pacs=/"),
        ("--source", "other=/"),
        ("--sample-bytes", "0"),
        ("--sample-bytes", "many"),
        ("--sample-bytes", "5X"),
        ("--sample-files", "0"),
        ("--sample-percent", "101"),
        ("--scratch", "/nonexistent/scratch"),
        ("--report-json", "/nonexistent/d.json"),
        ("--report-html", "/nonexistent/d.html"),
        ("--textfile", "/nonexistent/d.prom"),
        ("--snapshot", "0123456789"),
    ],
)
def test_a_wrong_option_is_exit_2(shared: VaultFixture, options: tuple[str, ...]) -> None:
    ran = drill(shared, *options)
    assert ran.code == 2
    assert "PASSED" not in ran.out


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1", 1), ("500M", 500 << 20), ("20GiB", 20 << 30), ("3 tb", 3 << 40), ("7kB", 7 << 10)],
)
def test_sizes_are_in_powers_of_1024(text: str, size_bytes: int) -> None:
    assert Size().convert(text, None, None) == size_bytes


def test_the_help_teaches() -> None:
    ran = run("drill", "--help")
    assert ran.code == 0
    text = " ".join(ran.out.split())
    for word in ("RTO", "RPO", "--report-html", "--textfile", "--source pacs=", "0 passed"):
        assert word in text
