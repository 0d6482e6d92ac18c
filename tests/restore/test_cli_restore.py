"""``restore``, ``verify`` and ``audit`` as they are typed: one object, the right exit code."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from restore_commands import files_below, largest_pack, new_vault, opened, run
from vaults import VaultFixture, cut, flip


@pytest.fixture(name="shared", scope="module")
def shared_vault(tmp_path_factory: pytest.TempPathFactory) -> VaultFixture:
    """A vault that tests only read."""
    return new_vault(tmp_path_factory.mktemp("shared"))


@pytest.fixture(name="vault")
def own_vault(tmp_path: Path) -> VaultFixture:
    """A vault that a test may damage."""
    return new_vault(tmp_path)


# restore


def test_restore_brings_everything_back_below_the_name_of_the_source(
    shared: VaultFixture, tmp_path: Path
) -> None:
    restored = run(*opened(shared), "restore", "--target", tmp_path / "out", "--json")
    assert restored.code == 0
    assert files_below(tmp_path / "out" / "pacs") == files_below(shared.directory / "archive")
    told = restored.json
    assert (told["files"], told["files_failed"], told["failed"]) == (5, 0, [])
    assert told["bytes"] == sum(map(len, files_below(tmp_path / "out").values()))
    assert told["snapshot"]
    assert told["duration_seconds"] >= 0


def test_a_dry_run_changes_nothing(shared: VaultFixture, tmp_path: Path) -> None:
    planned = run(*opened(shared), "restore", "--target", tmp_path / "out", "--dry-run", "--json")
    assert planned.code == 0
    assert planned.json["plan"]["files"] == 5
    assert not (tmp_path / "out").exists()


def test_a_target_in_use_is_refused_until_a_rule_is_given(
    shared: VaultFixture, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    (target / "pacs").mkdir(parents=True)
    (target / "pacs" / "notes.txt").write_bytes(b"of this machine")
    command = (*opened(shared), "restore", "--target", target, "--json")
    assert run(*command).code == 5
    assert files_below(target) == {"pacs/notes.txt": b"of this machine"}
    assert run(*command, "--exists", "keep").json["kept"] == 1
    assert (target / "pacs" / "notes.txt").read_bytes() == b"of this machine"
    assert run(*command, "--exists", "replace").code == 0
    assert files_below(target / "pacs") == files_below(shared.directory / "archive")


def test_what_this_machine_cannot_place_makes_the_restore_incomplete(
    shared: VaultFixture, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "out" / "pacs" / "notes.txt"
    in_the_way.mkdir(parents=True)
    (in_the_way / "inside").write_bytes(b"")
    command = ("restore", "--target", tmp_path / "out", "--exists", "replace", "--json")
    restored = run(*opened(shared), *command)
    assert restored.code == 7
    (failed,) = restored.json["failed"]
    assert failed["path"] == "pacs/notes.txt"
    assert set(failed) == {"path", "path_base64", "reason"}
    assert restored.json["files"] == 4


def test_a_missing_pack_costs_its_files_and_no_others(vault: VaultFixture, tmp_path: Path) -> None:
    vault.remove(largest_pack(vault))
    restored = run(*opened(vault), "restore", "--target", tmp_path / "out", "--json")
    assert restored.code == 3
    told = restored.json
    assert 0 < told["files_failed"] <= 4
    assert told["files"] == 5 - told["files_failed"]
    source = files_below(vault.directory / "archive")
    back = files_below(tmp_path / "out" / "pacs")
    assert len(back) == told["files"]
    assert back.items() <= source.items()


def test_an_older_snapshot_is_restored_by_id_and_by_time(
    vault: VaultFixture, tmp_path: Path
) -> None:
    first = run(*opened(vault), "snapshots", "--json").json["snapshots"][0]
    vault.clock.advance(timedelta(seconds=5))
    (vault.directory / "archive" / "notes.txt").write_bytes(b"changed since\n")
    vault.back_up("pacs", vault.directory / "archive")
    at = datetime.fromisoformat(first["created"]) + timedelta(seconds=2)
    asked: tuple[tuple[str, ...], ...] = (
        ("--snapshot", first["snapshot"]),
        ("--at", f"{at:%Y-%m-%dT%H:%M:%S}"),
    )
    for number, which in enumerate(asked):
        target = tmp_path / f"out-{number}"
        assert run(*opened(vault), "restore", "--target", target, *which, "--json").code == 0
        assert (target / "pacs" / "notes.txt").read_bytes() == b"kept beside the images\n"
    assert run(*opened(vault), "restore", "--target", tmp_path / "latest").code == 0
    assert (tmp_path / "latest" / "pacs" / "notes.txt").read_bytes() == b"changed since\n"


def test_a_snapshot_that_does_not_exist_is_a_mistake_of_the_caller(
    shared: VaultFixture, tmp_path: Path
) -> None:
    command = ("restore", "--target", tmp_path / "out", "--snapshot", "beef", "--json")
    asked = run(*opened(shared), *command)
    assert asked.code == 2
    assert asked.out == ""
    assert "safelight-restore snapshots" in asked.err
    assert not (tmp_path / "out").exists()


# verify and audit


def test_verify_counts_what_it_proved(shared: VaultFixture) -> None:
    verified = run(*opened(shared), "verify", "--json")
    assert verified.code == 0
    told = verified.json
    assert (told["files"], told["dicom_parsed"], told["dicom_failed"]) == (5, 4, 0)
    assert (told["corrupt"], told["missing"]) == ([], [])
    assert told["bytes"] == sum(map(len, files_below(shared.directory / "archive").values()))


@pytest.mark.parametrize("change", [flip(-1), flip(0), cut(1000)], ids=["end", "start", "cut"])
def test_verify_finds_a_damaged_pack(vault: VaultFixture, change: Callable[[bytes], bytes]) -> None:
    vault.damage(largest_pack(vault), change)
    verified = run(*opened(vault), "verify", "--json")
    assert verified.code == 3
    assert verified.json["corrupt"]


def test_verify_lists_a_missing_pack_as_missing(vault: VaultFixture) -> None:
    pack = largest_pack(vault)
    vault.remove(pack)
    verified = run(*opened(vault), "verify", "--json")
    assert verified.code == 3
    assert pack in [item["path"] for item in verified.json["missing"]]


def test_audit_needs_nothing_but_the_trust_file(shared: VaultFixture) -> None:
    audited = run("--vault", shared.url, "--trust", shared.keys.trust, "audit", "--json")
    assert audited.code == 0
    (coverage,) = audited.json["coverage"]
    assert coverage["emulated"] is True
    assert audited.json["findings"] == []


def test_audit_refuses_to_pass_what_is_not_locked(vault: VaultFixture) -> None:
    vault.unlock(largest_pack(vault))
    audited = run("--vault", vault.url, "--trust", vault.keys.trust, "audit", "--json")
    assert audited.code == 5
    assert [finding["severity"] for finding in audited.json["findings"]] == ["unlocked"]


def test_audit_finds_a_flipped_byte_and_says_so_in_one_object(vault: VaultFixture) -> None:
    vault.damage(largest_pack(vault), flip(-1))
    audited = run("--vault", vault.url, "--trust", vault.keys.trust, "audit", "--json")
    assert audited.code == 3
    assert {finding["severity"] for finding in audited.json["findings"]} == {"corrupt"}
