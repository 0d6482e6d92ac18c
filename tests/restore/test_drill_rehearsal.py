"""A drill of a real vault: what it restores and proves, and how long that takes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from drills import (
    ALL_FILES,
    DAY,
    NEWEST,
    STUDIES,
    StudyMade,
    make_archive,
    new_vault,
    order,
    rehearse,
    texts,
)
from safelight_restore.access import LATEST_COMPLETE
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.proof import Comparison
from safelight_restore.drill.result import FindingKind
from safelight_vault.errors import (
    IncompleteError,
)
from vaults import VaultFixture


@pytest.fixture(name="shared", scope="module")
def shared_vault(tmp_path_factory: pytest.TempPathFactory) -> VaultFixture:
    """A vault that tests only read."""
    return new_vault(tmp_path_factory.mktemp("shared"))


@pytest.fixture(name="vault")
def own_vault(tmp_path: Path) -> VaultFixture:
    """A vault that a test may damage."""
    return new_vault(tmp_path)


@pytest.fixture(name="everything")
def drill_of_everything(tmp_path: Path) -> DrillOrder:
    return order(tmp_path / "scratch")


# What is restored


def test_a_drill_of_a_sound_vault_passes_and_proves_every_file(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    result = rehearse(shared, everything)
    assert result.exit_code == 0
    assert result.ending is None
    assert result.sample.files == result.proved.files == ALL_FILES
    assert result.proved.size_bytes == result.sample.size_bytes > 0
    assert (result.dicom_parsed, result.dicom_failed) == (ALL_FILES - 1, 0)
    assert result.sample.studies == result.whole_studies == len(STUDIES)
    assert result.files_failed == result.damaged.files == result.left_out.files == 0
    assert [study.date for study in result.studies] == sorted(
        (study.date for study in STUDIES), reverse=True
    )


def test_the_sample_comes_back_byte_for_byte(shared: VaultFixture, everything: DrillOrder) -> None:
    result = rehearse(shared, everything)
    restored = everything.scratch / result.snapshots[0].snapshot_id / "pacs"
    archive = shared.directory / "archive"
    found = {p.relative_to(restored): p.read_bytes() for p in restored.rglob("*") if p.is_file()}
    assert found == {
        p.relative_to(archive): p.read_bytes() for p in archive.rglob("*") if p.is_file()
    }


def test_a_small_sample_holds_the_newest_study_whole_and_files_of_the_rotation(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    result = rehearse(shared, replace(everything, sample_files=6, sample_percent=0, rotation=4))
    newest = next(study for study in result.studies if study.uid == NEWEST.uid)
    assert newest.sampled == newest.proved == newest.files == NEWEST.files
    assert result.drawn is not None
    assert result.drawn.newest_files == NEWEST.files
    assert NEWEST.files < result.sample.files < ALL_FILES
    assert result.proved.files == result.sample.files
    assert result.exit_code == 0


def test_the_newest_study_is_restored_whole_however_few_files_were_asked_for(
    tmp_path: Path,
) -> None:
    """A study of many files is restored whole, whatever was asked for."""
    studies = (
        StudyMade(number=21, date="20260101", files=9),
        StudyMade(number=22, date="20000101"),
    )
    vault = new_vault(tmp_path, studies)
    asked = replace(order(tmp_path / "scratch"), sample_files=2, sample_percent=0)
    result = rehearse(vault, asked)
    newest = next(study for study in result.studies if study.uid == studies[0].uid)
    assert newest.sampled == newest.files == 9


def test_successive_drills_restore_every_file(
    shared: VaultFixture, everything: DrillOrder, tmp_path: Path
) -> None:
    seen: set[Path] = set()
    rotation, drills = 11, 1
    while rotation < 11 + drills:
        scratch = tmp_path / f"scratch-{rotation}"
        asked = replace(
            everything, sample_files=6, sample_percent=0, rotation=rotation, scratch=scratch
        )
        result = rehearse(shared, asked)
        assert result.drawn is not None
        drills = result.drawn.rotation.drills_for_all
        restored = scratch / result.snapshots[0].snapshot_id / "pacs"
        seen |= {path.relative_to(restored) for path in restored.rglob("*") if path.is_file()}
        rotation += 1
    assert drills > 2
    assert len(seen) == ALL_FILES


def test_without_a_rotation_the_day_of_the_stores_clock_is_the_turn(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    result = rehearse(shared, everything)
    assert result.drawn is not None
    assert result.drawn.rotation.number == int(shared.clock.now().timestamp()) // 86_400


def test_a_limit_in_bytes_makes_the_sample_smaller(
    shared: VaultFixture, everything: DrillOrder
) -> None:
    asked = replace(everything, sample_files=1000, sample_percent=0, sample_bytes=8_000)
    result = rehearse(shared, asked)
    assert 0 < result.sample.size_bytes < 20_000
    assert result.exit_code == 0


def test_every_source_is_rehearsed_and_old_snapshots_can_be(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = VaultFixture.create(tmp_path)
    first = vault.back_up("ct", make_archive(tmp_path / "ct", STUDIES[:2]))
    vault.back_up("mr", make_archive(tmp_path / "mr", STUDIES[2:]))
    vault.clock.advance(DAY)
    (tmp_path / "ct" / "study-11" / "0.dcm").write_bytes(b"overwritten")
    vault.back_up("ct", tmp_path / "ct")
    result = rehearse(vault, everything)
    assert sorted(result.sources) == ["ct", "mr"]
    assert result.proved.files == 2 * 7
    assert {line.source: line.rpo_seconds for line in result.snapshots} == {"ct": 0, "mr": 86_400}
    assert result.rpo_seconds == 86_400
    old = rehearse(vault, replace(everything, snapshot=first.snapshot, scratch=tmp_path / "old"))
    assert old.exit_code == 0
    assert old.sources == ["ct"]
    assert old.dicom_parsed == 6
    # How old the newest is does not depend on which one is rehearsed.
    assert old.rpo_seconds == 0


def test_two_agents_may_have_sources_of_one_name(tmp_path: Path, everything: DrillOrder) -> None:
    vault = VaultFixture.create(tmp_path)
    vault.back_up("pacs", make_archive(tmp_path / "a", STUDIES[:2]))
    vault.back_up("pacs", make_archive(tmp_path / "b", STUDIES[2:]), agent="second")
    result = rehearse(vault, everything)
    assert result.exit_code == 0
    assert result.sources == ["pacs", "pacs"]
    assert result.proved.files == 14


def test_a_command_source_is_restored_too(tmp_path: Path, everything: DrillOrder) -> None:
    vault = VaultFixture.create(tmp_path)
    vault.back_up_command("database", ("printf", "a dump"))
    result = rehearse(vault, everything)
    assert (result.exit_code, result.proved.files, result.dicom_parsed) == (0, 1, 0)


def test_a_vault_without_files_proves_nothing_and_does_not_pass(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = VaultFixture.create(tmp_path)
    (tmp_path / "empty").mkdir()
    vault.back_up("pacs", tmp_path / "empty")
    result = rehearse(vault, everything)
    assert result.exit_code == IncompleteError.exit_code
    assert "nothing was proved" in texts(result, FindingKind.INCOMPLETE)[0]


def test_a_part_of_the_ring_without_files_gives_the_next_file(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = VaultFixture.create(tmp_path)
    (tmp_path / "archive").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "archive" / name).write_bytes(name.encode())
    vault.back_up("pacs", tmp_path / "archive")
    counts = []
    for rotation in range(6):
        asked = replace(
            everything,
            sample_files=1,
            sample_percent=0,
            rotation=rotation,
            scratch=tmp_path / f"scratch-{rotation}",
        )
        counts.append(rehearse(vault, asked).proved.files)
    assert min(counts) == 1


def test_deep_paths_and_odd_names_are_proved_and_compared(
    tmp_path: Path, everything: DrillOrder
) -> None:
    vault = VaultFixture.create(tmp_path)
    deep = os.fsencode(tmp_path / "archive")
    os.mkdir(deep)
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(deep)
        for _ in range(30):
            os.mkdir(b"d" * 200)
            os.chdir(b"d" * 200)
        Path("at the end").write_bytes(b"5 KB down")
    finally:
        os.fchdir(start)
        os.close(start)
    with open(deep + b"/bad\n\xff*name", "wb") as file:
        file.write(b"odd")
    vault.back_up("pacs", tmp_path / "archive")
    result = rehearse(vault, replace(everything, sources={"pacs": tmp_path / "archive"}))
    assert result.exit_code == 0
    assert result.proved.files == 2
    assert result.compared["pacs"][Comparison.EQUAL] == 2


# Time


def test_recovery_time_is_measured_for_the_sample_and_extended_to_all(
    shared: VaultFixture, everything: DrillOrder, tmp_path: Path
) -> None:
    whole = rehearse(shared, everything).recovery
    assert whole is not None
    assert not whole.extrapolated
    assert whole.factor == 1
    assert whole.whole_seconds == whole.sample_seconds
    part = rehearse(
        shared, replace(everything, sample_files=4, sample_percent=0, scratch=tmp_path / "part")
    ).recovery
    assert part is not None
    assert part.extrapolated
    assert part.whole_seconds == part.tables_seconds + part.factor * part.restore_seconds
    assert part.factor >= ALL_FILES / part.files > 1


def test_an_incomplete_snapshot_is_restored_but_is_no_recovery_point(
    vault: VaultFixture, everything: DrillOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.clock.advance(DAY)
    with monkeypatch.context() as patch:
        refuse_to_open(patch, b"notes.txt")
        assert not vault.back_up("pacs", vault.directory / "archive").complete
    result = rehearse(vault, everything)
    assert result.exit_code == 0
    assert not result.snapshots[0].complete
    assert result.rpo_seconds == DAY.total_seconds()
    assert any("incomplete" in text for text in texts(result, FindingKind.NOTE))
    asked = replace(everything, snapshot=LATEST_COMPLETE, scratch=vault.directory / "complete")
    assert rehearse(vault, asked).proved.files == ALL_FILES


def refuse_to_open(patch: pytest.MonkeyPatch, name: bytes) -> None:
    """Make one file of the archive unreadable; root may read whatever its mode is."""
    opens = os.open

    def refusing(path: object, *arguments: int, **options: int) -> int:
        if isinstance(path, bytes) and path.endswith(name):
            raise PermissionError(13, "Permission denied")
        return opens(path, *arguments, **options)  # type: ignore[arg-type]

    patch.setattr(os, "open", refusing)
