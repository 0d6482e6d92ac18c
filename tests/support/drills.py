"""Drills for tests: an archive of a few studies, and a rehearsal of its vault with one call.

The invariant: a drill here is the real one on a real vault; what is injected is the clock.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_samples import ct_slice
from safelight_restore.access import LATEST, Access
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.rehearsal import Drill
from safelight_restore.drill.result import DrillResult, FindingKind
from safelight_vault.errors import CorruptError
from safelight_vault.terminal import Bar
from vaults import VaultFixture

SAMPLE_DATE = b"20240229"
"""The study date that ``ct_slice`` writes."""

STARTED = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMade:
    """A study to put into an archive."""

    number: int
    date: str
    files: int = 3

    @property
    def uid(self) -> str:
        """Its Study Instance UID."""
        return f"1.2.826.0.1.999.{self.number}"

    @property
    def patient_name(self) -> str:
        """Its patient, a name of its own."""
        return f"Testpatient^Nr{self.number}"


STUDIES = (
    StudyMade(number=11, date="20200101"),
    StudyMade(number=12, date="20260301"),
    StudyMade(number=13, date="20230915"),
    StudyMade(number=14, date="20110704"),
)
NEWEST = STUDIES[1]
ALL_FILES = sum(study.files for study in STUDIES) + 1
DAMAGE = CorruptError.exit_code
DAY = timedelta(days=1)


def make_archive(directory: Path, studies: tuple[StudyMade, ...] = STUDIES) -> Path:
    """The studies, each in a directory of its own, and a file that is no DICOM."""
    directory.mkdir()
    for study in studies:
        folder = directory / f"study-{study.number}"
        folder.mkdir(parents=True)
        for number in range(study.files):
            data = ct_slice(
                patient_id=f"PID-{study.number}",
                patient_name=study.patient_name,
                study_uid=study.uid,
                series_uid=f"{study.uid}.1",
                instance_uid=f"{study.uid}.1.{number}",
                number=number,
                rows=32,
                columns=32,
                seed=100 * study.number + number,
            )
            data = data.replace(SAMPLE_DATE, study.date.encode())
            (folder / f"{number}.dcm").write_bytes(data)
    (directory / "notes.txt").write_bytes(b"kept beside the images\n")
    return directory


def new_vault(directory: Path, studies: tuple[StudyMade, ...] = STUDIES) -> VaultFixture:
    """A vault with one backup of such an archive."""
    vault = VaultFixture.create(directory)
    vault.back_up("pacs", make_archive(directory / "archive", studies))
    return vault


def order(scratch: Path) -> DrillOrder:
    """A drill of everything."""
    return DrillOrder(
        snapshot=LATEST,
        at=None,
        all_snapshots=False,
        sample_files=1,
        sample_percent=100.0,
        sample_bytes=None,
        rotation=None,
        sources={},
        scratch=scratch,
        threads=2,
    )


class Ticks:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        self._seconds += 1
        return self._seconds


def rehearse(
    vault: VaultFixture,
    asked: DrillOrder,
    *,
    access: Access | None = None,
    open_access: Callable[[], Access] | None = None,
) -> DrillResult:
    """One drill, of the vault as the identity opens it unless told otherwise."""
    drill = Drill(
        asked,
        vault=vault.url,
        version="1.2.3",
        now=lambda: STARTED,
        monotonic=Ticks(),
        progress=_no_progress,
    )
    return drill.run(open_access or (lambda: access or vault.access()))


@contextmanager
def _no_progress(_: str) -> Iterator[Bar]:
    yield lambda done, total, note: None


def texts(result: DrillResult, kind: FindingKind) -> list[str]:
    """The findings of one kind."""
    return [finding.text for finding in result.findings if finding.kind is kind]


def pack_of_pixels(vault: VaultFixture) -> str:
    """The largest pack: every study has files that need it."""
    sizes = {version.name: version.size_bytes for version in vault.store.list_versions("packs/")}
    return max(sizes, key=lambda name: sizes[name])


def damaged_uids(result: DrillResult) -> set[str]:
    """The studies that a drill names as damaged."""
    return {study.uid for study in result.damaged_studies}
