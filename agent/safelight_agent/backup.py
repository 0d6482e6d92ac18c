"""The backup of one source, top to bottom: agree with the vault, scan, read, pack, publish.

    lease → clock → reconcile → chain → scan ─→ split → dedup → compress → seal → put ─→ publish

What it guards: a snapshot says only what was seen in this run; a source that is not what it was
aborts the run; and a run that ends early leaves nothing that a reader trips over.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from safelight_agent.adoption import reconcile
from safelight_agent.chain import Chain, read_chain, source_id_of, with_memory
from safelight_agent.coverage import Coverage, microseconds
from safelight_agent.file_table import ChainRow, FileTable, known_chain, write_chain
from safelight_agent.membership import Membership
from safelight_agent.packing import Packer
from safelight_agent.pipeline import Pipeline
from safelight_agent.publish import Publisher, TreeBuilder, Trees
from safelight_agent.randomness import RepeatedRandomError
from safelight_agent.reading import ReadOptions
from safelight_agent.retention import RetentionPolicy, choose_class, requirement_of
from safelight_agent.run_keys import RunKeys
from safelight_agent.split import ContentCutter
from safelight_agent.state import State
from safelight_agent.state_database import StateDamagedError
from safelight_agent.throttle import RateLimit
from safelight_agent.upload import Uploader
from safelight_vault.errors import IncompleteError
from safelight_vault.format.pack import PACK_ID_SIZE, PackBuilder, Stream
from safelight_vault.format.references import Reference
from safelight_vault.format.snapshot import (
    BODY_ID_SIZE,
    Root,
    RootContext,
    Snapshot,
    SourceKind,
    encode_root,
)
from safelight_vault.store import LockMode, Store
from safelight_vault.store.clock import check_skew

FAILURES_LISTED_MAX = 1000
"""Failed files named in a run's result; the snapshot lists them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How one source is backed up; the configuration's values for this run."""

    source_name: str
    source_kind: SourceKind
    root: bytes
    spool_directory: Path
    """Where packs are written before they are put: sealed bytes only."""
    retention: RetentionPolicy
    zone: tzinfo
    pack_size_bytes: int
    compression_level: int
    in_flight_bytes: int
    tasks_at_once: int
    """Tasks of one kind that wait for a worker or for their turn: enough to keep all busy."""
    upload_workers: int
    file_attempts: int
    checkpoint_seconds: float
    read_limit_bytes_per_second: int
    upload_limit_bytes_per_second: int
    clock_skew_limit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run can say of itself at any moment."""

    files: int
    files_unchanged: int
    bytes_read: int
    bytes_stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a run takes from the machine it runs on, passed in so that tests can choose it."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    executor: Executor
    stop: threading.Event
    on_progress: Callable[[Progress], None]
    warn: Callable[[str], None]


class StoppedError(IncompleteError):
    """The run was asked to stop; the next one goes on where it was."""

    remedy = "Run the backup again: it adopts what was already stored."


@dataclass(slots=True, kw_only=True)
class RunOutcome:
    """What a run did, whether or not it published a snapshot."""

    snapshot_id: str = ""
    files: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    files_failed: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    chunks_new: int = 0
    complete: bool = False
    lock_coverage_until: datetime | None = None
    failed: list[tuple[bytes, str]] = field(default_factory=list)


class SourceRun:
    """One run of one source, from opening to publishing; used once."""

    def __init__(
        self,
        *,
        store: Store,
        state: State,
        membership: Membership,
        settings: RunSettings,
        host: Host,
    ) -> None:
        self._store = store
        self._state = state
        self._membership = membership
        self._settings = settings
        self._host = host
        self.source_id = source_id_of(
            membership.trust.vault_id, membership.agent_id, settings.source_name
        )
        self._outcome = RunOutcome()
        self._started = self._store_time()
        self._chain = self._agree_with_vault()
        self._class = choose_class(self._chain.past_snapshots(), self._started, settings.zone)
        self.requirement = requirement_of(self._class, settings.retention, self._started)
        self.files = FileTable(state, self.source_id, microseconds(self._started))
        self.coverage = Coverage(store, state, membership.agent_id, self.requirement)
        self._run_keys = RunKeys(membership, host.random_bytes, host.monotonic)
        self._uploader = self._new_uploader()
        self._packer = self._new_packer()
        self.pipeline = self._new_pipeline()
        self._last_commit = self._last_checkpoint = host.monotonic()
        for row, pack in self._to_index:
            self._uploader.add_to_index(row, pack)

    def _store_time(self) -> datetime:
        """The store's clock, once it agrees with ours; a wrong date would lock irrevocably."""
        limit = timedelta(seconds=self._settings.clock_skew_limit_seconds)
        now = self._store.now()
        check_skew(self._host.now(), now, limit)
        return now

    def _agree_with_vault(self) -> Chain:
        membership = self._membership
        listed = read_chain(self._store, membership.trust, membership.agent_id, self.source_id)
        chain = with_memory(listed, known_chain(self._state, self.source_id))
        if chain.sequence != listed.sequence:
            self._host.warn(
                f"the vault shows no snapshot of this source beyond number {listed.sequence}, and "
                f"this agent has published number {chain.sequence}: it goes on from there"
            )
        if chain.past:
            limit = timedelta(seconds=self._settings.clock_skew_limit_seconds)
            # A snapshot from the future means that time jumped since it was made.
            last = datetime.fromtimestamp(chain.past[0].created_us / 1_000_000, UTC)
            check_skew(max(last, self._started), self._started, limit)
        adoption = reconcile(
            self._store,
            self._state,
            membership.writer_keys,
            epoch=membership.configuration.epoch,
            warn=self._host.warn,
        )
        if adoption.forgotten:
            self._host.warn(
                f"{adoption.forgotten} packs that the local state knew are not in the vault: "
                "their files are read and stored again"
            )
        self._to_index = adoption.to_index
        return chain

    def _new_uploader(self) -> Uploader:
        return Uploader(
            store=self._store,
            state=self._state,
            keys=self._membership.writer_keys,
            requirement=self.requirement,
            limit=self._limit(self._settings.upload_limit_bytes_per_second),
            random_bytes=self._host.random_bytes,
            workers=self._settings.upload_workers,
        )

    def _new_packer(self) -> Packer:
        return Packer(
            state=self._state,
            coverage=self.coverage,
            uploader=self._uploader,
            executor=self._host.executor,
            new_pack=self._new_pack,
            spool_directory=self._settings.spool_directory,
            keys=self._membership.dedup_keys,
            source_id=self.source_id,
            pack_size_bytes=self._settings.pack_size_bytes,
            compression_level=self._settings.compression_level,
            in_flight_bytes=self._settings.in_flight_bytes // 4,
            tasks_at_once=self._settings.tasks_at_once,
        )

    def _new_pipeline(self) -> Pipeline:
        keys = self._membership.dedup_keys
        return Pipeline(
            options=ReadOptions(
                root=self._settings.root,
                keys=keys,
                cutter=ContentCutter(seed=keys.splitter_seed),
                attempts=self._settings.file_attempts,
            ),
            files=self.files,
            packer=self._packer,
            executor=self._host.executor,
            limit=self._limit(self._settings.read_limit_bytes_per_second),
            now_us=lambda: microseconds(self._host.now()),
            in_flight_bytes=self._settings.in_flight_bytes // 4,
            tasks_at_once=self._settings.tasks_at_once,
            on_failure=self._note_failure,
        )

    def _limit(self, bytes_per_second: int) -> RateLimit:
        return RateLimit(bytes_per_second, clock=self._host.monotonic, sleep=self._host.stop.wait)

    def _new_pack(self, stream: Stream, write: Callable[[bytes], None]) -> PackBuilder:
        return PackBuilder(
            run_key=self._run_keys.current(),
            pack_id=self._host.random_bytes(PACK_ID_SIZE),
            agent_id=self._membership.agent_id,
            source_id=self.source_id,
            stream=stream,
            epoch=self._membership.configuration.epoch,
            write=write,
        )

    def _note_failure(self, path: bytes, reason: str) -> None:
        if len(self._outcome.failed) < FAILURES_LISTED_MAX:
            self._outcome.failed.append((path, reason))

    @contextmanager
    def work(self) -> Iterator[None]:
        """The span in which rows are written: committed at the end, or dropped on an error."""
        try:
            with self._state.transaction():
                self.files.clear_failures()
                yield
        finally:
            self._uploader.close()
            self._packer.close()

    def require_not_stopped(self) -> None:
        """Raise ``StoppedError`` once the run was asked to stop."""
        if self._host.stop.is_set():
            raise StoppedError("the run was stopped before it had seen everything")

    def step(self) -> None:
        """Called between files: notices a stop, commits rows, publishes a checkpoint when due."""
        self.require_not_stopped()
        now = self._host.monotonic()
        if now - self._last_commit >= 2:
            self._last_commit = now
            self._state.commit_so_far()
            self._host.on_progress(self.progress())
        if now - self._last_checkpoint >= self._settings.checkpoint_seconds:
            self.publish(checkpoint=True)
            self._last_checkpoint = self._host.monotonic()

    def progress(self) -> Progress:
        """What was done so far."""
        counts = self.pipeline.counts
        return Progress(
            files=counts.files,
            files_unchanged=counts.files_unchanged,
            bytes_read=counts.bytes_read,
            bytes_stored=self._uploader.bytes_stored,
        )

    def publish(self, *, checkpoint: bool = False) -> RunOutcome:
        """Write the tables of what was seen so far and commit the snapshot."""
        self.pipeline.finish()
        trees = TreeBuilder(self._state, self._packer, self._membership.dedup_keys).build(
            self.files
        )
        self._uploader.finish_index()
        counts = self.pipeline.counts
        if counts.files_unstable and not checkpoint:
            self._host.warn(
                f"{counts.files_unstable} files kept changing while they were read: each is "
                "stored as one reading of it, marked unstable, and is read again by the next run"
            )
        if trees.manifest.entry_count < counts.files:
            raise StateDamagedError("the file table lost rows that were just written")
        complete = not checkpoint and counts.files_failed == 0
        sequence = self._chain.sequence + 1
        publisher = Publisher(
            store=self._store,
            state=self._state,
            keys=self._membership.writer_keys,
            coverage=self.coverage,
            requirement=self.requirement,
        )
        published = publisher.publish(
            trees.needed,
            list(self._membership.objects),
            self.source_id,
            sequence,
            lambda table: self._snapshot(table, trees, sequence, complete, checkpoint),
        )
        write_chain(
            self._state,
            self.source_id,
            ChainRow(sequence, published.name.digest, self.files.run),
        )
        self._state.commit_so_far()
        self._chain = Chain(sequence=sequence, digest=published.name.digest, past=self._chain.past)
        outcome = self._outcome
        outcome.snapshot_id = published.name.digest.hex()[:16]
        outcome.complete = complete
        if self._store.lock_mode is not LockMode.EMULATED:
            outcome.lock_coverage_until = publisher.lock_coverage(trees.needed)
        outcome.bytes_stored = self._uploader.bytes_stored + published.bytes_stored
        return self.outcome()

    def outcome(self) -> RunOutcome:
        """What the run did so far."""
        counts = self.pipeline.counts
        outcome = self._outcome
        outcome.files = counts.files
        outcome.files_new = counts.files_new
        outcome.files_changed = counts.files_changed
        outcome.files_unchanged = counts.files_unchanged
        outcome.files_failed = counts.files_failed
        outcome.bytes_read = counts.bytes_read
        outcome.bytes_stored = max(outcome.bytes_stored, self._uploader.bytes_stored)
        outcome.chunks_new = self._packer.chunks_new
        return outcome

    def _snapshot(
        self, table: Reference, trees: Trees, sequence: int, complete: bool, checkpoint: bool
    ) -> Snapshot:
        counts = self.pipeline.counts
        body_id = self._host.random_bytes(BODY_ID_SIZE)
        if any(past.root.body_id == body_id for past in self._chain.past):
            raise RepeatedRandomError("the random source repeats an earlier run's bytes")
        root = Root(
            source_name=self._settings.source_name,
            source_kind=self._settings.source_kind,
            started_us=microseconds(self._started),
            files=counts.files,
            bytes=counts.bytes,
            failed_files=counts.files_failed,
            vanished_files=counts.files_vanished,
            skipped_files=counts.files_skipped,
            manifest=trees.manifest,
            catalogue=trees.catalogue,
            failures=trees.failures,
        )
        return Snapshot(
            agent_id=self._membership.agent_id,
            source_id=self.source_id,
            sequence=sequence,
            predecessor=self._chain.digest,
            created_us=microseconds(self._started),
            retention_class=self._class,
            retain_until_us=microseconds(self.requirement.required_until),
            complete=complete,
            suspect=False,
            checkpoint=checkpoint,
            table=table,
            certificate=self._membership.certificate_bytes,
            root=encode_root(
                root,
                self._run_keys.current(),
                body_id,
                RootContext(self._membership.agent_id, self.source_id, sequence),
            ),
        )
