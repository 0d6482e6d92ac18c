"""One byte of one object is wrong, or many, or the object is gone: what restore and verify say.

``verify`` must find every damage; ``restore`` may only be right or own up, and never deliver a byte
that was not backed up.
"""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from damage import (
    StoredObject,
    flipped,
    frame_borders,
    index_key_of,
    pack_borders,
    pack_directory,
    sample_positions,
    stored_objects,
)
from dicom_samples import ct_slice
from installed import InstalledVault, Outcome, Runner, new_vault, run_in_process, run_installed
from safelight_restore.target.path import WORK_NAME
from safelight_vault.format.names import Kind
from safelight_vault.format.pack import Stream
from trees import differences

KINDS = (
    "config",
    "agents",
    "packs-headers",
    "packs-pixels",
    "packs-data",
    "packs-metadata",
    "index",
    "references",
    "tables",
    "snapshots",
)
FLIPS = 60
RESTORED_FLIPS = 20
FULL_RESTORED_EVERY = 16
"""With the full sizes every byte is flipped and verified, and every so many of them restored."""
UNVERIFIED = {"index"}
"""Only agents read these; no reference table names one, so that nothing tells that it is gone."""
SPARED = {"index", "config", "agents"}
"""A restore comes out right without them: packs carry their keys, snapshots the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A small vault, whole, and what was backed up into it."""

    vault: InstalledVault
    archive: Path
    objects: dict[str, StoredObject]
    borders: dict[str, list[int]]
    scratch: Path
    numbers: "itertools.count[int]"

    def verify(self, runner: Runner = run_in_process) -> Outcome:
        outcome = self.vault.verify(runner=runner)
        assert not outcome.is_bug, outcome
        return outcome

    def restore(self, runner: Runner = run_in_process) -> Outcome:
        """Restore all; whatever it says, nothing wrong may have been delivered."""
        target = self.scratch / f"target-{next(self.numbers)}"
        outcome = self.vault.restore(target, runner=runner)
        assert not outcome.is_bug, outcome
        assert outcome.code in {0, 3}, outcome
        if outcome.code == 0:
            assert differences(self.archive, target / "pacs") == []
        else:
            self._require_nothing_wrong(target, outcome)
        shutil.rmtree(target, ignore_errors=True)
        return outcome

    def _require_nothing_wrong(self, target: Path, outcome: Outcome) -> None:
        """What came is right; what did not come is named, file by file or as the vault's part."""
        lost = set()
        for path in self.archive.rglob("*"):
            if not path.is_file():
                continue
            relative = path.relative_to(self.archive)
            delivered = target / "pacs" / relative
            if delivered.exists():
                assert delivered.read_bytes() == path.read_bytes(), relative
            else:
                lost.add(f"pacs/{relative}")
        known = {path.relative_to(self.archive) for path in self.archive.rglob("*")}
        for path in target.rglob("*"):
            inside = path.relative_to(target)
            if inside.parts[0] != WORK_NAME.decode() and len(inside.parts) > 1:
                assert inside.relative_to("pacs") in known, inside
        if not outcome.stdout:
            assert "error:" in outcome.stderr
            assert "corrupt" in outcome.stderr or "vault" in outcome.stderr, outcome
            return
        result = outcome.result
        named = {item["path"] for item in result["failed"]}
        # Where a page of the manifest is damaged, the directory stands for what is below it.
        unnamed = {path for path in lost if not named & {path, *map(str, Path(path).parents)}}
        assert not unnamed, result
        assert named or result["problems"], result


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    directory = tmp_path_factory.mktemp("flips")
    archive = directory / "archive"
    archive.mkdir()
    (archive / "series").mkdir()
    (archive / "series" / "slice.dcm").write_bytes(ct_slice(rows=16, columns=16))
    (archive / "notes.txt").write_bytes(b"some text\n" * 30)
    (archive / "more.txt").write_bytes(Random(1).randbytes(600))
    vault = new_vault(directory / "site")
    vault.agent({"pacs": archive}).back_up()
    objects, borders = by_kind(vault)
    return Patient(
        vault=vault,
        archive=archive,
        objects=objects,
        borders=borders,
        scratch=directory,
        numbers=itertools.count(),
    )


def by_kind(vault: InstalledVault) -> tuple[dict[str, StoredObject], dict[str, list[int]]]:
    """One object of each kind, and of each stream of packs, with the borders of its parts."""
    index_key = index_key_of(vault.store_directory, vault.identity)
    objects, borders = {}, {}
    for stored in stored_objects(vault.store_directory):
        data = stored.path.read_bytes()
        label = stored.kind.value
        if stored.kind is Kind.PACK:
            label += "-" + Stream(pack_directory(data, index_key).stream).name.lower()
        objects[label] = stored
        is_pack = stored.kind is Kind.PACK
        borders[label] = pack_borders(data, index_key) if is_pack else frame_borders(data)
    return objects, borders


def test_the_vault_holds_an_object_of_each_kind_and_is_sound(patient: Patient) -> None:
    assert sorted(patient.objects) == sorted(KINDS)
    for runner in (run_installed, run_in_process):
        assert patient.verify(runner).code == 0
        assert patient.restore(runner).code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_found_and_never_delivered(patient: Patient, kind: str) -> None:
    stored, seed = patient.objects[kind], KINDS.index(kind)
    size = stored.path.stat().st_size
    positions = sample_positions(size, patient.borders[kind], FLIPS, seed=seed)
    restored = set(sample_positions(size, patient.borders[kind], RESTORED_FLIPS, seed=seed))
    for position in sorted({*positions, *restored}):
        with stored.replaced(flipped(position)):
            assert patient.verify().code == 3, position
            if position in restored:
                patient.restore()
    assert patient.verify().code == 0


@pytest.mark.full
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_is_found_and_never_delivered(patient: Patient, kind: str) -> None:
    stored = patient.objects[kind]
    for position in range(stored.path.stat().st_size):
        with stored.replaced(flipped(position)):
            assert patient.verify().code == 3, position
            if position % FULL_RESTORED_EVERY == 0:
                patient.restore()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut to one byte": lambda data: data[:1],
    "cut in half": lambda data: data[: len(data) // 2],
    "cut by one byte": lambda data: data[:-1],
    "extended by a zero": lambda data: data + b"\0",
    "doubled": lambda data: data + data,
    "zeroed": lambda data: bytes(len(data)),
    "its end zeroed": lambda data: data[:-512] + bytes(512),
    "rubbish": lambda data: Random(7).randbytes(len(data)),
    "rotated": lambda data: data[1:] + data[:1],
}


@pytest.mark.parametrize("kind", KINDS)
def test_cut_extended_and_rewritten_objects_are_found(patient: Patient, kind: str) -> None:
    for what, change in DAMAGES.items():
        with patient.objects[kind].replaced(change):
            assert patient.verify().code == 3, what
            patient.restore()


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_is_gone_is_missed(patient: Patient, kind: str) -> None:
    with patient.objects[kind].removed(patient.scratch / "aside"):
        verified, restored = patient.verify(), patient.restore()
    assert verified.code == (0 if kind in UNVERIFIED else 3)
    assert restored.code == (0 if kind in SPARED else 3)
    assert patient.verify().code == 0


SWAPPED = [
    ("packs-headers", "packs-pixels"),
    ("packs-data", "packs-metadata"),
    ("config", "agents"),
    ("tables", "snapshots"),
]


@pytest.mark.parametrize(("first", "second"), SWAPPED)
def test_objects_that_changed_places_are_found(patient: Patient, first: str, second: str) -> None:
    one, other = patient.objects[first], patient.objects[second]
    bytes_of_one, bytes_of_other = one.path.read_bytes(), other.path.read_bytes()
    with one.replaced(lambda _: bytes_of_other), other.replaced(lambda _: bytes_of_one):
        assert patient.verify().code == 3
        patient.restore()


@pytest.mark.parametrize("kind", ["packs-pixels", "packs-metadata", "snapshots", "config"])
def test_the_installed_commands_say_the_same(patient: Patient, kind: str) -> None:
    stored = patient.objects[kind]
    with stored.replaced(flipped(stored.path.stat().st_size // 3)):
        codes = [patient.verify(runner).code for runner in (run_installed, run_in_process)]
        assert codes == [3, 3]
        said = [patient.restore(runner) for runner in (run_installed, run_in_process)]
    assert said[0].code == said[1].code
    assert bool(said[0].stdout) == bool(said[1].stdout)
    if said[0].stdout:
        assert said[0].result["failed"] == said[1].result["failed"]


def test_damage_of_the_pixels_costs_only_the_image(patient: Patient) -> None:
    # The ninth border is the end of the first block.
    with patient.objects["packs-pixels"].replaced(flipped(patient.borders["packs-pixels"][8] - 1)):
        restored = patient.restore()
        verified = patient.verify().result
    assert restored.code == 3
    assert [item["path"] for item in restored.result["failed"]] == ["pacs/series/slice.dcm"]
    assert "pacs/series/slice.dcm" in {item["path"] for item in verified["corrupt"]}
