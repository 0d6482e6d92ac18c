"""What a drill came to, as values: the one thing that reports and metrics are made from.

The invariant: the exit code is a function of what was found, worst first: damage (3), what ended
the drill early, locks that fall short (5), anything else that was not done (7). A step that was not
reached left its default, and never reads as if it had been passed.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from safelight_restore.drill.coverage import LockState, SnapshotCoverage
from safelight_restore.drill.draw import Drawn
from safelight_restore.drill.index import FileLine, StudyLine, Totals
from safelight_restore.drill.objects import ObjectsResult
from safelight_restore.drill.proof import Comparison
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
class SnapshotLine:
    """A snapshot whose objects were asked about.

    ``restored`` says that the sample was drawn from it. ``source`` is empty, and the counts are
    zero, where it was not opened. ``rpo_seconds`` is the age of the newest complete snapshot of its
    source, None where there is none.
    """

    snapshot_id: str
    source: str
    agent: str
    retention_class: str
    created: datetime
    promised_until: datetime
    complete: bool
    restored: bool
    files: int
    size_bytes: int
    newest_complete: datetime | None = None
    rpo_seconds: float | None = None
    coverage: SnapshotCoverage | None = None
    lock: LockState = LockState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Point:
    """How many bytes were back after so many seconds."""

    seconds: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTime:
    """How long a restore took, and how long one of everything takes.

    ``tables_seconds`` were spent on opening the snapshots and reading their tables of files, whole;
    ``restore_seconds`` on bringing the sample back. ``whole_seconds`` extends the latter by
    ``factor``, whichever of files and bytes (``basis``) gives the longer time; it is
    ``extrapolated`` unless the sample was everything there is.
    """

    tables_seconds: float
    restore_seconds: float
    files: int
    size_bytes: int
    factor: float
    basis: str
    whole_seconds: float
    extrapolated: bool

    @property
    def sample_seconds(self) -> float:
        """From the command to the last file of the sample: measured."""
        return self.tables_seconds + self.restore_seconds

    @property
    def bytes_per_second(self) -> float | None:
        """At which the sample came back (None: too quick to tell)."""
        return self.size_bytes / self.restore_seconds if self.restore_seconds > 0 else None

    @property
    def files_per_second(self) -> float | None:
        """The same in files."""
        return self.files / self.restore_seconds if self.restore_seconds > 0 else None


def recovery_time(
    *,
    tables_seconds: float,
    restore_seconds: float,
    files: int,
    size_bytes: int,
    files_total: int,
    bytes_total: int,
) -> RecoveryTime | None:
    """Extend the time of the files that came back to all files; None if none did. Pure."""
    if not files:
        return None
    by_files = files_total / files
    by_bytes = bytes_total / size_bytes if size_bytes else by_files
    factor = max(by_files, by_bytes)
    return RecoveryTime(
        tables_seconds=tables_seconds,
        restore_seconds=restore_seconds,
        files=files,
        size_bytes=size_bytes,
        factor=factor,
        basis="files" if by_files > by_bytes else "bytes",
        whole_seconds=tables_seconds + restore_seconds * factor,
        extrapolated=(files, size_bytes) != (files_total, bytes_total),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The error that ended a drill early, and in which of its steps."""

    step: str
    message: str
    next_step: str
    exit_code: int


@dataclass(slots=True, kw_only=True)
class DrillResult:
    """Everything that a drill found, step by step."""

    version: str
    vault: str
    started: datetime
    finished: datetime
    store_time: datetime | None = None
    vault_id: bytes = b""
    snapshots: list[SnapshotLine] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    """Names by number, as lines of files refer to them."""
    objects: ObjectsResult | None = None
    drawn: Drawn | None = None
    sample: Totals = NO_TOTALS
    whole_studies: int = 0
    recovery: RecoveryTime | None = None
    throughput: list[Point] = field(default_factory=list)
    proved: Totals = NO_TOTALS
    dicom_parsed: int = 0
    dicom_failed: int = 0
    compared: dict[str, dict[Comparison, int]] = field(default_factory=dict)
    """By source."""
    studies: list[StudyLine] = field(default_factory=list)
    damaged: Totals = NO_TOTALS
    """In the vault, of the sample or not; or in the source, where it was compared."""
    lost: Totals = NO_TOTALS
    """Of the sample, and not restored because of damage."""
    damaged_studies: list[StudyLine] = field(default_factory=list)
    damaged_files: list[FileLine] = field(default_factory=list)
    left_out: Totals = NO_TOTALS
    files_left_out: list[FileLine] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    step_seconds: dict[str, float] = field(default_factory=dict)
    ending: Ending | None = None

    def add(self, kind: FindingKind, text: str) -> None:
        """Note a finding, once."""
        finding = Finding(kind, text)
        if finding in self.findings:
            return
        # The exit code follows from the kinds: the first of each is kept, however many there are.
        is_new_kind = all(known.kind is not kind for known in self.findings)
        if is_new_kind or len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    @property
    def duration_seconds(self) -> float:
        """All of it."""
        return (self.finished - self.started).total_seconds()

    @property
    def files_failed(self) -> int:
        """Files of the sample that did not come back right, for whatever reason."""
        return self.lost.files + self.left_out.files

    @property
    def rpo_seconds(self) -> float | None:
        """Of the source that would lose most; None if one has no complete snapshot at all."""
        ages = [line.rpo_seconds for line in self.snapshots if line.restored]
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
        if FindingKind.INCOMPLETE in kinds or not self.proved.files:
            return IncompleteError.exit_code
        return 0
