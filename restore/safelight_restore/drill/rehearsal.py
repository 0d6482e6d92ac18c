"""The drill: a timed rehearsal of a restore, from the first listing to the proof on disk.

    vault → objects → tables → restore → prove → compare → damage

Choose the snapshots; ask the store about every object they need; read their tables and draw a
sample; bring it back with the engine of ``restore``; prove it on disk; compare it with the source;
name what is damaged. The invariant: what is found wrong does not end the drill, only the failure of
the store or of this machine does; and a drill that proved no file never passes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path

from safelight_restore.access import Access, Choice, Heads, SnapshotBlocks, choose
from safelight_restore.drill.damage import find_damaged_packs, note_files_in
from safelight_restore.drill.draw import draw_sample, name_studies
from safelight_restore.drill.findings import (
    DIFFERS,
    judge_comparison,
    judge_files,
    judge_objects,
    judge_snapshots,
)
from safelight_restore.drill.index import FileIndex, SampledFile
from safelight_restore.drill.objects import check_objects
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.proof import (
    OPEN_AT_ONCE,
    Comparison,
    Outcome,
    compare_all,
    in_pages,
    prove_all,
)
from safelight_restore.drill.recovery import (
    other_lines,
    snapshot_line,
    with_lock,
    with_recovery_points,
)
from safelight_restore.drill.result import (
    DrillResult,
    Ending,
    FindingKind,
    Point,
    SnapshotLine,
    recovery_time,
)
from safelight_restore.execute import Progress, RestoreResult
from safelight_restore.existing import Exists
from safelight_restore.plan import SourceEntries
from safelight_restore.run import open_restore
from safelight_restore.select import Selection
from safelight_restore.target.filesystem import FileSystem
from safelight_restore.target.tree import Tree
from safelight_restore.target.workspace import PLAN_PLACE
from safelight_vault.errors import ConfigurationError, CorruptError, IncompleteError, VaultError
from safelight_vault.reader import Head, OpenSnapshot
from safelight_vault.terminal import Bar, size_text

THROUGHPUT_POINTS_MAX = 400


class Drill:
    """One drill; :meth:`run` it once."""

    def __init__(
        self,
        order: DrillOrder,
        *,
        vault: str,
        version: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        progress: Callable[[str], AbstractContextManager[Bar]],
    ) -> None:
        self._order = order
        self._now = now
        self._monotonic = monotonic
        self._progress = progress
        self._index = FileIndex()
        self._opened: list[OpenSnapshot] = []
        self._step = "vault"
        started = now()
        self._result = DrillResult(version=version, vault=vault, started=started, finished=started)

    def run(self, open_access: Callable[[], Access]) -> DrillResult:
        """Rehearse; every error raised on purpose ends up in the result, with its exit code."""
        with ExitStack() as stack:
            stack.callback(self._index.close)
            access: Access | None = None
            try:
                with self._timed("vault"):
                    access = open_access()
                    heads, choice = self._choose(access)
                self._rehearse(access, heads, choice, stack)
            except VaultError as error:
                self._end(error)
            if access is not None:
                self._conclude(access)
        self._result.finished = self._now()
        return self._result

    def _end(self, error: VaultError) -> None:
        if isinstance(error, CorruptError):
            self._result.add(FindingKind.DAMAGE, error.message)
        self._result.ending = Ending(
            step=self._step,
            message=error.message,
            next_step=error.next_step,
            exit_code=error.exit_code,
        )

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        self._step = step
        began = self._monotonic()
        try:
            yield
        finally:
            self._result.step_seconds[step] = self._monotonic() - began

    def _choose(self, access: Access) -> tuple[Heads, Choice]:
        result = self._result
        result.vault = access.store.url
        result.vault_id = access.trust.vault_id
        result.store_time = access.store.now()
        heads = access.heads()
        for damaged in heads.damaged:
            snapshot_id = damaged.name.snapshot_id
            result.add(FindingKind.DAMAGE, f"snapshot {snapshot_id}: {damaged.reason}")
        return heads, choose(heads, self._order.snapshot, at=self._order.at)

    def _rehearse(self, access: Access, heads: Heads, choice: Choice, stack: ExitStack) -> None:
        result = self._result
        store_time = result.store_time or self._now()
        with self._timed("objects"):
            asked = heads.good if self._order.all_snapshots else choice.heads
            with self._progress("objects") as bar:
                objects = check_objects(access, asked, now=store_time, on_progress=bar)
            result.objects = objects
            judge_objects(result, objects)
        with self._timed("tables"):
            lines = [self._open(access, head, stack) for head in choice.heads]
            lines = with_recovery_points(lines, choice.heads, heads.good, store_time)
            chosen = {head.snapshot_id for head in choice.heads}
            others = [head for head in asked if head.snapshot_id not in chosen]
            lines += other_lines(lines, choice.heads, others)
            coverage = objects.coverage
            result.snapshots = [
                with_lock(line, coverage.get(line.snapshot_id), store_time) for line in lines
            ]
            judge_snapshots(result, result.snapshots)
            self._require_sources()
            self._draw(access, store_time)
        with self._timed("restore"):
            files, size_bytes = self._restore(access)
        self._estimate(files, size_bytes)
        with self._timed("prove"):
            self._prove()
        with self._timed("compare"):
            self._compare()

    # Tables

    def _open(self, access: Access, head: Head, stack: ExitStack) -> SnapshotLine:
        try:
            snapshot = access.open(head)
        except CorruptError as error:
            text = f"snapshot {head.snapshot_id} cannot be opened: {error.message}"
            self._result.add(FindingKind.DAMAGE, text)
            return snapshot_line(head, None, restored=True)
        stack.callback(snapshot.close)
        self._opened.append(snapshot)
        self._result.sources.append(snapshot.root.source_name)
        return snapshot_line(head, snapshot.root, restored=True)

    def _require_sources(self) -> None:
        unknown = set(self._order.sources) - set(self._result.sources)
        # One that could not be opened keeps its source's name to itself, and is a finding already.
        all_open = all(line.source for line in self._result.snapshots if line.restored)
        if unknown and all_open:
            raise ConfigurationError(
                f"--source names {', '.join(sorted(unknown))}, which no rehearsed snapshot is of",
                remedy="List sources with 'safelight-restore snapshots'.",
            )

    def _draw(self, access: Access, store_time: datetime) -> None:
        result = self._result
        with self._progress("tables") as bar:
            result.drawn = draw_sample(
                self._opened,
                self._order.policy(store_time),
                self._index,
                vault_id=access.trust.vault_id,
                today=store_time.date(),
                on_damage=self._note_damage,
                on_files=lambda files: bar(0, None, f"{files} files listed"),
            )
        result.sample = self._index.sample()

    def _note_damage(self, text: str) -> None:
        self._result.add(FindingKind.DAMAGE, text)

    # The way back

    def _restore(self, access: Access) -> tuple[int, int]:
        """Restore the sample; gives the files and bytes that came back."""
        files = size_bytes = 0
        began = self._monotonic()
        with self._progress("restore") as bar:
            for number in range(len(self._opened)):
                tell = self._telling(bar, began, size_bytes)
                found = self._restore_one(access, number, tell)
                if found is not None:
                    files += found.files
                    size_bytes += found.bytes
                    self._note_failures(number, found)
        return files, size_bytes

    def _telling(self, bar: Bar, began: float, before: int) -> Callable[[Progress], None]:
        total = self._result.sample.size_bytes

        def tell(progress: Progress) -> None:
            note = f"{progress.files_done} of {progress.files_total} files"
            bar(before + progress.bytes_done, total, note)
            points = self._result.throughput
            points.append(Point(self._monotonic() - began, before + progress.bytes_done))
            if len(points) > THROUGHPUT_POINTS_MAX:
                del points[1:-1:2]

        return tell

    def _restore_one(
        self, access: Access, number: int, tell: Callable[[Progress], None]
    ) -> RestoreResult | None:
        snapshot = self._opened[number]
        if next(self._index.files_of(number), None) is None:
            return None
        entries = SourceEntries(
            name=snapshot.root.source_name.encode(),
            snapshot=snapshot.head.name.digest,
            entries=lambda: self._index.entries(number),
        )
        with open_restore(
            target=self._target(number),
            sources=[entries],
            selection=Selection([]),
            exists=Exists.REFUSE,
            present=access.is_present([snapshot]),
            threads=self._order.threads,
        ) as run:
            free, needed = run.plan.bytes_free, run.plan.bytes_to_write
            if free is not None and free < needed:
                raise IncompleteError(
                    f"the sample needs {size_text(needed)}, the scratch directory has "
                    f"{size_text(free)} free",
                    remedy="Give --scratch a directory with more room, or a smaller sample.",
                )
            return run.execute(SnapshotBlocks([snapshot]), progress=tell)

    def _note_failures(self, number: int, found: RestoreResult) -> None:
        prefix = len(self._result.sources[number].encode()) + 1
        for failed in found.failed:
            path = failed.path[prefix:]
            damaged = failed.exit_code == CorruptError.exit_code
            if not self._index.is_file(number, path):
                kind = FindingKind.DAMAGE if damaged else FindingKind.INCOMPLETE
                self._result.add(kind, f"a directory was not restored: {failed.reason}")
            elif damaged:
                self._index.note_damage(number, path, 0, failed.reason)
            else:
                self._index.note_left_out(number, path, failed.reason)
        for warning in found.warnings:
            # Nobody resumes a drill; and the path given as an example may tell a patient's name.
            if not warning.startswith(PLAN_PLACE):
                self._result.add(FindingKind.NOTE, warning.partition(" (first: ")[0])

    def _target(self, number: int) -> Path:
        """Each snapshot has a directory of its own: two agents may have sources of one name."""
        return self._order.scratch / self._opened[number].head.snapshot_id

    def _estimate(self, files: int, size_bytes: int) -> None:
        drawn, seconds = self._result.drawn, self._result.step_seconds
        if drawn is not None:
            self._result.recovery = recovery_time(
                tables_seconds=seconds["vault"] + seconds["tables"],
                restore_seconds=seconds["restore"],
                files=files,
                size_bytes=size_bytes,
                files_total=drawn.files_total,
                bytes_total=drawn.bytes_total,
            )

    # Proof

    def _prove(self) -> None:
        result, done = self._result, 0
        with self._progress("prove") as bar, ThreadPoolExecutor(self._order.threads) as pool:
            for number in range(len(self._opened)):
                target = self._target(number) / result.sources[number]
                # Made where it is absent: then every file is told not to have come back.
                tree = Tree.at(target, FileSystem(), create=True)
                if tree is None:
                    continue
                with closing(tree):
                    for page in in_pages(self._index.files_to_prove(number), OPEN_AT_ONCE):
                        proved: list[SampledFile] = []
                        for proof in prove_all(tree, pool, page):
                            self._note_proof(number, proof.file, proof.outcome, proof.reason)
                            if proof.outcome is Outcome.PROVED:
                                proved.append(proof.file)
                            done += proof.file.entry.size_bytes
                        self._index.note_proved(proved)
                        bar(done, result.sample.size_bytes, f"{self._index.proved().files} files")

    def _note_proof(self, number: int, file: SampledFile, outcome: Outcome, reason: str) -> None:
        entry = file.entry
        if outcome is Outcome.PROVED:
            self._result.dicom_parsed += file.is_dicom
        elif outcome is Outcome.UNREADABLE:
            self._index.note_left_out(number, entry.path, reason)
        else:
            self._result.dicom_failed += outcome is Outcome.NO_DICOM
            self._index.note_damage(number, entry.path, entry.size_bytes, reason)

    def _compare(self) -> None:
        with self._progress("compare") as bar, ThreadPoolExecutor(self._order.threads) as pool:
            for number, source in enumerate(self._result.sources):
                path = self._order.sources.get(source)
                if path is not None:
                    self._compare_one(number, path, pool, bar)

    def _compare_one(self, number: int, path: Path, pool: ThreadPoolExecutor, bar: Bar) -> None:
        result, source = self._result, self._result.sources[number]
        tree = Tree.at(path, FileSystem(), create=False)
        if tree is None:
            result.add(FindingKind.INCOMPLETE, f"source {source} is not at {path}")
            return
        found = result.compared.setdefault(source, dict.fromkeys(Comparison, 0))
        done = 0
        with closing(tree):
            for page in in_pages(self._index.files_of(number), OPEN_AT_ONCE):
                for file, outcome in compare_all(tree, pool, page):
                    found[outcome] += 1
                    done += file.entry.size_bytes
                    if outcome is Comparison.DIFFERS:
                        entry = file.entry
                        self._index.note_damage(number, entry.path, entry.size_bytes, DIFFERS)
                bar(done, result.sample.size_bytes, source)
        judge_comparison(result, source, path, found)

    # Damage

    def _conclude(self, access: Access) -> None:
        """Find out what else the damaged packs hold, name the studies, and count."""
        result, index = self._result, self._index
        try:
            with self._timed("damage"):
                self._spread_damage(access)
                name_studies(self._opened, index, on_damage=self._note_damage)
        except VaultError as error:
            if result.ending is None:
                self._end(error)
        for what in access.tampering:
            result.add(FindingKind.DAMAGE, what)
        result.sample, result.proved = index.sample(), index.proved()
        result.damaged, result.left_out = index.damaged(), index.left_out()
        result.lost = index.lost()
        result.whole_studies = index.whole_studies()
        result.studies, result.damaged_studies = index.sampled_studies(), index.damaged_studies()
        result.damaged_files, result.files_left_out = index.damaged_files(), index.files_left_out()
        judge_files(result)

    def _spread_damage(self, access: Access) -> None:
        known = self._result.objects.bad_packs if self._result.objects else set()
        damaged = find_damaged_packs(
            access.store, self._opened, self._index.damaged_sample(), known=known
        )
        bad = dict.fromkeys(known, "missing or not whole") | dict.fromkeys(damaged, "damaged")
        if bad:
            for number, snapshot in enumerate(self._opened):
                note_files_in(bad, number, snapshot, self._index, on_damage=self._note_damage)
