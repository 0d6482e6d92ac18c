"""What a drill came to, as values: the one thing that reports and metrics are made from.

The invariant: the exit code is a function of what was found, worst first: damage (3), what ended
the drill early, locks that fall short (5), anything else that was not done (7).
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from safelight_restore.drill_check import Comparison
from safelight_restore.drill_index import FailedFile, StudyLine, Totals
from safelight_restore.drill_objects import ObjectsResult
from safelight_restore.drill_sample import SamplePolicy
from safelight_vault.errors import CorruptError, IncompleteError, RefusedError

NO_TOTALS = Totals(files=0, size_bytes=0, studies=0)
FINDINGS_MAX = 1000


class FindingKind(Enum):
    """What a finding means; ``value`` is the word in reports."""

    DAMAGE = "damage"
    UNLOCKED = "unlocked"
    INCOMPLETE = "incomplete"
    NOTE = "note"
    """Worth knowing; the drill passes all the same."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an operator should read."""

    kind: FindingKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedSnapshot:
    """A snapshot of the drill, and how old the newest complete one of its source is.

    ``rpo_seconds`` is None where the source has no complete snapshot; ``files`` and ``size_bytes``
    are zero where the snapshot could not be opened.
    """

    snapshot_id: str
    source: str
    agent: str
    retention_class: str
    created: datetime
    retain_until: datetime
    complete: bool
    files: int
    size_bytes: int
    newest_complete: datetime | None
    rpo_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFigures:
    """The sample's way back: ``prepare_seconds`` until the plan stood, ``read_seconds`` after it."""

    files: int
    size_bytes: int
    files_failed: int
    prepare_seconds: float
    read_seconds: float

    @property
    def seconds(self) -> float:
        """From the command to the last file."""
        return self.prepare_seconds + self.read_seconds

    @property
    def bytes_per_second(self) -> float:
        """Of reading, proving and placing the sample."""
        return self.size_bytes / self.read_seconds if self.read_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTime:
    """How long everything takes; ``extrapolated`` unless everything was restored.

    ``basis`` is "files" or "bytes": whichever of the two leads to the longer time.
    """

    seconds: float
    extrapolated: bool
    factor: float
    basis: str


def recovery_time(figures: RestoreFigures, sample: Totals, total: Totals) -> RecoveryTime | None:
    """Extend the sample's time to all files; None if nothing was restored. Pure.

    Opening and planning deal with the whole snapshot already, only reading grows with the sample.
    """
    if not sample.files or not figures.files:
        return None
    by_files = total.files / sample.files
    by_bytes = total.size_bytes / sample.size_bytes if sample.size_bytes else by_files
    factor = max(by_files, by_bytes)
    return RecoveryTime(
        seconds=figures.prepare_seconds + figures.read_seconds * factor,
        extrapolated=sample != total,
        factor=factor,
        basis="files" if by_files > by_bytes else "bytes",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The error that ended a drill early."""

    message: str
    next_step: str
    exit_code: int


@dataclass(slots=True, kw_only=True)
class DrillResult:
    """Everything that a drill found, step by step; a step that was not reached left its default."""

    vault: str
    started: datetime
    finished: datetime
    store_time: datetime | None = None
    vault_id: bytes = b""
    policy: SamplePolicy | None = None
    snapshots: list[RehearsedSnapshot] = field(default_factory=list)
    objects: ObjectsResult | None = None
    total: Totals = NO_TOTALS
    sample: Totals = NO_TOTALS
    whole_studies: int = 0
    restored: RestoreFigures | None = None
    files_verified: int = 0
    files_failed: int = 0
    dicom_parsed: int = 0
    dicom_failed: int = 0
    compared: dict[Comparison, int] = field(default_factory=dict)
    differing: list[FailedFile] = field(default_factory=list)
    recovery: RecoveryTime | None = None
    studies: list[StudyLine] = field(default_factory=list)
    damaged: Totals = NO_TOTALS
    damaged_studies: list[StudyLine] = field(default_factory=list)
    damaged_files: list[FailedFile] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    step_seconds: dict[str, float] = field(default_factory=dict)
    ending: Ending | None = None

    def add(self, kind: FindingKind, text: str) -> None:
        """Note a finding."""
        finding = Finding(kind, text)
        if len(self.findings) < FINDINGS_MAX and finding not in self.findings:
            self.findings.append(finding)

    @property
    def rpo_seconds(self) -> float | None:
        """Of the source that would lose most; None if one has no complete snapshot at all."""
        ages = [one.rpo_seconds for one in self.snapshots]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    @property
    def exit_code(self) -> int:
        """0, or the code of the worst that was found."""
        kinds = {finding.kind for finding in self.findings}
        if FindingKind.DAMAGE in kinds:
            return CorruptError.exit_code
        if self.ending is not None:
            return self.ending.exit_code
        if FindingKind.UNLOCKED in kinds:
            return RefusedError.exit_code
        return IncompleteError.exit_code if FindingKind.INCOMPLETE in kinds else 0

    def source_name(self, number: int) -> str:
        """The name of a source by its number in the index."""
        return self.snapshots[number].source
