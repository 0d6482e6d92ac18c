"""Assembly: from a checked configuration to the parts of a run.

What it guards: everything a run works with comes from the configuration, the trust file and the
machine's clock and random source as given; no part looks anything up on its own.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from safelight_agent.backup import Host, Progress, RunOutcome, RunSettings, SourceRun
from safelight_agent.config import CommandSettings, Config, RetentionSettings, TreeSettings
from safelight_agent.fitness import require_fit
from safelight_agent.lease import source_lease
from safelight_agent.membership import Membership, agent_keys, join
from safelight_agent.randomness import WatchedRandom
from safelight_agent.results import FailedFile, RunResult
from safelight_agent.retention import RetentionPolicy
from safelight_agent.source.command import CommandSource
from safelight_agent.source.tree import TreeSource
from safelight_agent.source_runs import run_command, run_tree
from safelight_agent.state import State, open_state
from safelight_agent.state_database import StateDamagedError, database_errors, set_aside
from safelight_agent.state_files import make_private_directory
from safelight_vault.errors import IncompleteError, VaultError
from safelight_vault.format.snapshot import SourceKind
from safelight_vault.key_files import Trust, read_trust
from safelight_vault.logs import Log
from safelight_vault.store import Store
from safelight_vault.store.opening import StoreOptions, open_store

STATE_FILE = "state.sqlite"
RESULTS_DIRECTORY = "results"
SPOOL_DIRECTORY = "spool"
AGENT_LEASE = "agent"
"""Sources of one agent share its state file and are backed up one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Clock, randomness and waiting of the machine at hand."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    uniform: Callable[[float, float], float]
    processors: int
    uid: int
    gid: int


class Agent:
    """The agent of one configuration file."""

    def __init__(self, config: Config, machine: Machine, log: Log, stop: threading.Event) -> None:
        self.config = config
        self.machine = machine
        self._log = log
        self._stop = stop
        self._one_at_a_time = threading.Lock()

    @property
    def results_directory(self) -> Path:
        """Where the results of runs are kept."""
        return self.config.agent.state_directory / RESULTS_DIRECTORY

    def trust(self) -> Trust:
        """The trust roots that the configuration pins."""
        return read_trust(self.config.vault.trust)

    def open_store(self, *, create: bool = False) -> Store:
        """The vault's store; ``create`` makes the directory of a ``file://`` vault."""
        vault, s3 = self.config.vault, self.config.vault.s3
        return open_store(
            vault.url,
            options=StoreOptions(
                create=create,
                mode=vault.retention_mode,
                endpoint_url=s3.endpoint_url,
                region=s3.region,
                ca_bundle=s3.ca_bundle,
                profile=s3.profile,
                allow_plaintext_loopback=s3.allow_plaintext_loopback,
                connect_timeout_seconds=s3.connect_timeout_seconds,
                read_timeout_seconds=s3.read_timeout_seconds,
                attempts=s3.attempts,
            ),
            now=self.machine.now,
            new_version_id=lambda: self.machine.random_bytes(16).hex(),
            sleep=self._wait,
            uniform=self.machine.uniform,
        )

    def _wait(self, seconds: float) -> None:
        # A stop ends the waiting between two tries.
        self._stop.wait(seconds)

    def join(self, store: Store) -> Membership:
        """Find this agent's certificate in the vault."""
        trust = self.trust()
        keys = agent_keys(self.config.agent.state_directory, trust)
        return join(store, trust, keys, on_tamper=self._warn_tamper)

    def _warn_tamper(self, what: str) -> None:
        self._log.warning("tampering_suspected", what=what)

    def _warn(self, what: str) -> None:
        self._log.warning("noticed", what=what)

    def back_up(self, source_name: str, on_progress: Callable[[Progress], None]) -> RunResult:
        """One run of one source. Errors that end it early are raised."""
        source = next(s for s in self.config.sources if s.name == source_name)
        started, began = self.machine.now(), self.machine.monotonic()
        directory = self.config.agent.state_directory
        with (
            self._one_at_a_time,
            source_lease(directory, AGENT_LEASE),
            source_lease(directory, source_name),
        ):
            store = self.open_store()
            require_fit(store, accept_emulated=self.config.vault.accept_emulated_locks)
            membership = self.join(store)
            try:
                outcome = self._back_up(store, membership, source, on_progress)
            except StateDamagedError as damage:
                # Damage that shows only when a row is read. The state is a cache: begin without.
                self._log.warning("state_rebuilt", reason=damage.message)
                set_aside(self._state_file)
                outcome = self._back_up(store, membership, source, on_progress)
        return _result(source_name, outcome, started, self.machine.monotonic() - began, error=None)

    def _back_up(
        self,
        store: Store,
        membership: Membership,
        source: TreeSettings | CommandSettings,
        on_progress: Callable[[Progress], None],
    ) -> RunOutcome:
        with self._state(membership) as state, self._executor() as executor:
            run = SourceRun(
                store=store,
                state=state,
                membership=membership,
                settings=self._settings(source),
                host=Host(
                    now=self.machine.now,
                    monotonic=self.machine.monotonic,
                    random_bytes=WatchedRandom(self.machine.random_bytes),
                    executor=executor,
                    stop=self._stop,
                    on_progress=on_progress,
                    warn=self._warn,
                ),
            )
            try:
                return self._run(run, state, source)
            except BrokenExecutor as error:
                raise IncompleteError(
                    "a worker ended before its work was done",
                    remedy="Look for what killed it (the system's log, if memory ran out), then "
                    "run again: what was stored is kept.",
                ) from error

    def _run(
        self, run: SourceRun, state: State, source: TreeSettings | CommandSettings
    ) -> RunOutcome:
        if isinstance(source, TreeSettings):
            return run_tree(
                run,
                state,
                TreeSource(source.path, source.options()),
                minimum_files=source.minimum_files,
                reread_days=self.config.agent.reread_days,
            )
        command = CommandSource(
            source.command,
            dict(source.environment),
            source.timeout_seconds,
            minimum_bytes=source.minimum_bytes,
        )
        return run_command(
            run,
            command,
            file_name=source.file_name,
            uid=self.machine.uid,
            gid=self.machine.gid,
        )

    @contextmanager
    def _state(self, membership: Membership) -> Iterator[State]:
        state, reason = open_state(
            self._state_file,
            vault_id=membership.trust.vault_id,
            agent_id=membership.agent_id,
        )
        if reason is not None:
            self._log.warning("state_rebuilt", reason=reason)
        try:
            with database_errors():
                yield state
        finally:
            state.close()

    @property
    def _state_file(self) -> Path:
        return self.config.agent.state_directory / STATE_FILE

    @property
    def _workers(self) -> int:
        return self.config.agent.workers or self.machine.processors

    @contextmanager
    def _executor(self) -> Iterator[ThreadPoolExecutor]:
        executor = ThreadPoolExecutor(self._workers, thread_name_prefix="work")
        try:
            yield executor
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _settings(self, source: TreeSettings | CommandSettings) -> RunSettings:
        agent = self.config.agent
        is_tree = isinstance(source, TreeSettings)
        return RunSettings(
            source_name=source.name,
            source_kind=SourceKind.TREE if is_tree else SourceKind.COMMAND,
            spool_directory=self._spool_directory(),
            root=bytes(source.path) if isinstance(source, TreeSettings) else b"",
            retention=_policy(source.retention),
            zone=ZoneInfo(agent.time_zone),
            pack_size_bytes=agent.pack_size_bytes,
            compression_level=agent.compression_level,
            in_flight_bytes=agent.memory_budget_bytes,
            tasks_at_once=2 * self._workers + 2,
            upload_workers=agent.upload_workers,
            file_attempts=source.file_attempts if isinstance(source, TreeSettings) else 1,
            checkpoint_seconds=agent.checkpoint_seconds,
            read_limit_bytes_per_second=agent.read_limit_bytes_per_second,
            upload_limit_bytes_per_second=agent.upload_limit_bytes_per_second,
            clock_skew_limit_seconds=self.config.vault.clock_skew_limit_seconds,
        )

    def _spool_directory(self) -> Path:
        directory = self.config.agent.state_directory / SPOOL_DIRECTORY
        make_private_directory(directory)
        return directory

    def failed(
        self, source_name: str, started: datetime, began: float, error: VaultError
    ) -> RunResult:
        """The result of a run that an error ended."""
        seconds = self.machine.monotonic() - began
        return _result(source_name, RunOutcome(), started, seconds, error=error)


def _policy(retention: RetentionSettings) -> RetentionPolicy:
    return RetentionPolicy(
        daily_days=retention.daily_days,
        monthly_days=retention.monthly_days,
        yearly_days=retention.yearly_days,
        slack_days=retention.slack_days,
    )


def _result(
    source: str,
    outcome: RunOutcome,
    started: datetime,
    duration_seconds: float,
    *,
    error: VaultError | None,
) -> RunResult:
    exit_code = IncompleteError.exit_code if outcome.files_failed else 0
    return RunResult(
        snapshot=outcome.snapshot_id,
        source=source,
        files=outcome.files,
        files_new=outcome.files_new,
        files_changed=outcome.files_changed,
        files_unchanged=outcome.files_unchanged,
        files_failed=outcome.files_failed,
        bytes_read=outcome.bytes_read,
        bytes_stored=outcome.bytes_stored,
        chunks_new=outcome.chunks_new,
        complete=outcome.complete,
        suspect=False,
        duration_seconds=round(duration_seconds, 3),
        started=started,
        exit_code=exit_code if error is None else error.exit_code,
        error="" if error is None else error.message,
        lock_coverage_until=outcome.lock_coverage_until,
        failed=tuple(FailedFile(path=path, reason=reason) for path, reason in outcome.failed),
    )
