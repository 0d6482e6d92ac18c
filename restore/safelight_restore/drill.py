"""The drill: a timed rehearsal of a restore, from the first listing to the proof on disk.

Steps: choose the snapshots; ask the store about every object they need; index their files; restore
a sample with the engine of ``restore``; prove it on disk; compare it with the source; name what is
damaged. The invariant: a step that fails is a finding and not an end, unless the store itself or
this machine fails; and a drill that restored nothing never passes.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from safelight_restore.access import Access, Choice, Heads, choose
from safelight_restore.drill_check import Comparison, Proof, compare_all, prove_all
from safelight_restore.drill_damage import find_bad_packs, note_files_in
from safelight_restore.drill_index import FileIndex
from safelight_restore.drill_objects import LISTED_MAX, check_objects
from safelight_restore.drill_recovery import rehearsed, with_recovery_points
from safelight_restore.drill_result import (
    DrillResult,
    Ending,
    FindingKind,
    RestoreFigures,
    recovery_time,
)
from safelight_restore.drill_sample import SamplePolicy
from safelight_restore.execute import Progress
from safelight_restore.existing import Exists
from safelight_restore.restoring import Restored, restore_snapshots
from safelight_restore.select import Selection, escape
from safelight_restore.target.filesystem import FileSystem
from safelight_restore.target.tree import Tree
from safelight_vault.errors import ConfigurationError, CorruptError, VaultError
from safelight_vault.reader import Head, OpenSnapshot
from safelight_vault.terminal import Bar

SECONDS_PER_DAY = 86_400

_DIFFERS = "other bytes than were backed up, under the same size and time"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOrder:
    """What the operator asked for; ``rotation`` None: the day's number by the store's clock."""

    snapshot: str
    at: datetime | None
    sample_files: int
    sample_percent: float
    sample_bytes: int | None
    rotation: int | None
    sources: Mapping[str, Path]
    scratch: Path
    threads: int


class Drill:
    """One drill; :meth:`run` it once."""

    def __init__(
        self,
        order: DrillOrder,
        *,
        vault: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        progress: Callable[[str], AbstractContextManager[Bar]],
    ) -> None:
        self._order = order
        self._now = now
        self._monotonic = monotonic
        self._progress = progress
        self._index = FileIndex()
        self._opened: list[OpenSnapshot | None] = []
        started = now()
        self._result = DrillResult(vault=vault, started=started, finished=started)

    def run(self, open_access: Callable[[], Access]) -> DrillResult:
        """Rehearse; every error raised on purpose ends up in the result, with its exit code."""
        result = self._result
        with ExitStack() as stack, closing(self._index):
            access: Access | None = None
            try:
                access = open_access()
                self._steps(access, stack)
            except CorruptError as error:
                result.add(FindingKind.DAMAGE, error.message)
            except VaultError as error:
                result.ending = Ending(
                    message=error.message,
                    next_step=error.next_step,
                    exit_code=error.exit_code,
                )
            for what in access.tampering if access is not None else ():
                result.add(FindingKind.DAMAGE, what)
        result.finished = self._now()
        return result

    def _steps(self, access: Access, stack: ExitStack) -> None:
        result = self._result
        result.vault_id = access.trust.vault_id
        result.store_time = store_time = access.store.now()
        rotation = self._order.rotation
        if rotation is None:
            rotation = int(store_time.timestamp()) // SECONDS_PER_DAY
        result.policy = SamplePolicy(
            files=self._order.sample_files,
            percent=self._order.sample_percent,
            size_bytes=self._order.sample_bytes,
            rotation=rotation,
        )
        heads = access.heads()
        for damaged in heads.damaged:
            snapshot_id = damaged.name.snapshot_id
            result.add(FindingKind.DAMAGE, f"snapshot {snapshot_id}: {damaged.reason}")
        choice = choose(heads, self._order.snapshot, at=self._order.at)
        self._timed("objects", lambda: self._check_objects(access, choice, store_time))
        self._timed("index", lambda: self._index_files(access, choice, heads, store_time, stack))
        self._index.choose_sample(result.policy)
        result.total = self._index.totals()
        result.sample = self._index.totals(sampled=True)
        result.whole_studies = self._index.whole_studies()
        try:
            self._timed("restore", lambda: self._restore_sample(access, choice))
            self._timed("prove", self._prove)
            self._timed("compare", self._compare)
        finally:
            self._timed("damage", lambda: self._name_damage(access))

    def _timed(self, step: str, run: Callable[[], None]) -> None:
        began = self._monotonic()
        try:
            run()
        finally:
            self._result.step_seconds[step] = self._monotonic() - began

    def _check_objects(self, access: Access, choice: Choice, store_time: datetime) -> None:
        result = self._result
        with self._progress("objects") as bar:
            objects = check_objects(access, choice.heads, now=store_time, on_progress=bar)
        result.objects = objects
        for text in objects.tables_damaged:
            result.add(FindingKind.DAMAGE, text)
        if objects.missing_count:
            text = f"{objects.missing_count} of {objects.checked} objects are not there whole"
            result.add(FindingKind.DAMAGE, text)
        if objects.unlocked_count:
            text = f"{objects.unlocked_count} objects are locked for less long than was promised"
            result.add(FindingKind.UNLOCKED, text)
        if objects.emulated_count:
            text = (
                f"the locks of {objects.emulated_count} objects are emulated: they guard against "
                "mistakes, not against whoever holds the storage, and are no lock coverage"
            )
            result.add(FindingKind.NOTE, text)
        if objects.moved_unread:
            text = f"{objects.moved_unread} objects have other VersionIds and were not read: verify"
            result.add(FindingKind.NOTE, text)

    def _index_files(
        self,
        access: Access,
        choice: Choice,
        heads: Heads,
        store_time: datetime,
        stack: ExitStack,
    ) -> None:
        result = self._result
        for number, head in enumerate(choice.heads):
            snapshot: OpenSnapshot | None = None
            try:
                snapshot = access.open(head)
                stack.callback(snapshot.close)
            except CorruptError as error:
                result.add(FindingKind.DAMAGE, f"snapshot {head.snapshot_id}: {error.message}")
            self._opened.append(snapshot)
            result.snapshots.append(rehearsed(head, snapshot))
            if snapshot is not None:
                self._index_one(number, head, snapshot)
        result.snapshots[:] = with_recovery_points(
            result.snapshots, choice.heads, heads.good, store_time
        )
        for line in result.snapshots:
            if line.newest_complete is None:
                text = f"source {line.source or '(unknown)'} has no complete snapshot"
                result.add(FindingKind.INCOMPLETE, text)
            elif not line.complete:
                text = f"snapshot {line.snapshot_id} is incomplete: some files were not backed up"
                result.add(FindingKind.NOTE, text)
        unknown = set(self._order.sources) - {line.source for line in result.snapshots}
        if unknown:
            raise ConfigurationError(
                f"--source names {', '.join(sorted(unknown))}, which no rehearsed snapshot is of",
                remedy="List sources with 'safelight-restore snapshots'.",
            )

    def _index_one(self, number: int, head: Head, snapshot: OpenSnapshot) -> None:
        try:
            for text in self._index.add(number, snapshot):
                self._result.add(FindingKind.DAMAGE, f"snapshot {head.snapshot_id}: {text}")
        except CorruptError as error:
            text = f"snapshot {head.snapshot_id}: {error.message}"
            self._result.add(FindingKind.DAMAGE, text)

    def _restore_sample(self, access: Access, choice: Choice) -> None:
        result = self._result
        if not result.sample.files:
            result.add(FindingKind.INCOMPLETE, "there is no file to restore: nothing was proved")
            return
        figures = RestoreFigures(
            files=0, size_bytes=0, files_failed=0, prepare_seconds=0.0, read_seconds=0.0
        )
        for number, head in enumerate(choice.heads):
            if self._opened[number] is None:
                continue
            patterns = [escape(path) for path in self._index.sampled_paths(number)]
            # No pattern at all would restore everything.
            if patterns:
                selection = Selection([] if self._index.is_whole() else patterns)
                figures = self._restore_one(access, number, head, selection, figures)
        result.restored = figures
        result.recovery = recovery_time(figures, result.sample, result.total)

    def _restore_one(
        self,
        access: Access,
        number: int,
        head: Head,
        selection: Selection,
        figures: RestoreFigures,
    ) -> RestoreFigures:
        began = planned = self._monotonic()

        def note_plan() -> None:
            nonlocal planned
            planned = self._monotonic()

        with self._progress("restore") as bar:

            def tell(progress: Progress) -> None:
                note = f"{progress.files_done} of {progress.files_total} files"
                bar(progress.bytes_done, progress.bytes_total, note)

            try:
                restored = restore_snapshots(
                    access,
                    Choice((head,), ()),
                    target=self._target(number),
                    selection=selection,
                    exists=Exists.REFUSE,
                    dry_run_scratch=None,
                    threads=self._order.threads,
                    on_progress=tell,
                    on_plan=lambda _: note_plan(),
                )
            except CorruptError as error:
                self._result.add(FindingKind.DAMAGE, error.message)
                return figures
        ended = self._monotonic()
        self._note_failures(number, restored)
        found = restored.result
        return replace(
            figures,
            files=figures.files + (found.files if found else 0),
            size_bytes=figures.size_bytes + (found.bytes if found else 0),
            files_failed=figures.files_failed + (found.files_failed if found else 0),
            prepare_seconds=figures.prepare_seconds + planned - began,
            read_seconds=figures.read_seconds + ended - planned,
        )

    def _note_failures(self, number: int, restored: Restored) -> None:
        if restored.result is None:
            return
        prefix = len(self._result.source_name(number).encode()) + 1
        others = 0
        for failed in restored.result.failed:
            damaged = failed.exit_code == CorruptError.exit_code
            path = failed.path[prefix:]
            if not self._index.note_error(number, path, failed.reason, damaged=damaged):
                others += 1
        if others:
            kind = FindingKind.INCOMPLETE
            if restored.result.exit_code == CorruptError.exit_code:
                kind = FindingKind.DAMAGE
            self._result.add(kind, f"{others} directories or links were not restored")
        for warning in restored.result.warnings:
            self._result.add(FindingKind.NOTE, warning)

    def _target(self, number: int) -> Path:
        """Each snapshot has a directory of its own: two agents may have sources of one name."""
        return self._order.scratch / self._result.snapshots[number].snapshot_id

    def _prove(self) -> None:
        result = self._result
        done = 0
        with self._progress("prove") as bar, ThreadPoolExecutor(self._order.threads) as pool:
            for number, line in enumerate(result.snapshots):
                # Made if it is not there: then each of its files is told not to have come back.
                tree = Tree.at(self._target(number) / line.source, FileSystem(), create=True)
                if self._opened[number] is None or tree is None:
                    continue
                with closing(tree):
                    for proof in prove_all(tree, pool, self._index.sampled(number, sound=True)):
                        self._note_proof(number, proof)
                        done += proof.file.size_bytes
                        bar(done, result.sample.size_bytes, f"{result.files_verified} files")
        result.files_failed = self._index.sampled_errors()
        if result.files_failed:
            text = f"{result.files_failed} of {result.sample.files} files did not come back right"
            damaged = self._index.damaged_totals().files
            result.add(FindingKind.DAMAGE if damaged else FindingKind.INCOMPLETE, text)
        elif result.sample.files and not result.files_verified:
            result.add(FindingKind.INCOMPLETE, "no file was proved")

    def _note_proof(self, number: int, proof: Proof) -> None:
        self._result.dicom_parsed += proof.dicom_parsed
        self._result.dicom_failed += proof.dicom_failed
        if proof.error:
            damaged = not proof.unreadable
            self._index.note_error(number, proof.file.path, proof.error, damaged=damaged)
        else:
            self._index.note_proved(proof.file.number)
            self._result.files_verified += 1

    def _compare(self) -> None:
        with self._progress("compare") as bar, ThreadPoolExecutor(self._order.threads) as pool:
            for number, line in enumerate(self._result.snapshots):
                path = self._order.sources.get(line.source)
                if path is not None:
                    self._compare_one(number, path, pool, bar)

    def _compare_one(self, number: int, path: Path, pool: ThreadPoolExecutor, bar: Bar) -> None:
        result = self._result
        source = result.source_name(number)
        tree = Tree.at(path, FileSystem(), create=False)
        if tree is None:
            result.add(FindingKind.INCOMPLETE, f"source {source} is not at {path}")
            return
        found = dict.fromkeys(Comparison, 0)
        done = 0
        with closing(tree):
            for file, outcome in compare_all(tree, pool, self._index.sampled(number)):
                found[outcome] += 1
                done += file.size_bytes
                bar(done, result.sample.size_bytes, source)
                if outcome is Comparison.DIFFERS and len(result.differing) < LISTED_MAX:
                    result.differing.append(self._index.failed_file(file, _DIFFERS))
        for outcome, count in found.items():
            result.compared[outcome] = result.compared.get(outcome, 0) + count
        if found[Comparison.DIFFERS]:
            text = f"{found[Comparison.DIFFERS]} files of source {source}: {_DIFFERS}"
            result.add(FindingKind.DAMAGE, text)
        if found[Comparison.UNREADABLE]:
            text = f"{found[Comparison.UNREADABLE]} files of source {source} could not be read"
            result.add(FindingKind.INCOMPLETE, text)
        if found[Comparison.GONE_SINCE] and found[Comparison.GONE_SINCE] == sum(found.values()):
            text = f"no file of the sample is in {path}: is source {source} mounted there?"
            result.add(FindingKind.INCOMPLETE, text)

    def _name_damage(self, access: Access) -> None:
        """Find out what else the damaged packs hold, and which studies that is."""
        result, index = self._result, self._index
        bad = dict.fromkeys(result.objects.bad_packs if result.objects else (), "missing or cut")
        bad |= dict.fromkeys(find_bad_packs(access.store, self._opened, index, bad), "damaged")
        for number, snapshot in enumerate(self._opened):
            if snapshot is not None and bad:
                note_files_in(bad, number, snapshot, index)
        result.studies = index.sampled_studies()
        result.damaged = index.damaged_totals()
        result.damaged_studies = index.damaged_studies()
        result.damaged_files = index.damaged_files()
        if result.damaged.files:
            text = f"{result.damaged.files} files of {result.damaged.studies} studies are damaged"
            result.add(FindingKind.DAMAGE, text)
