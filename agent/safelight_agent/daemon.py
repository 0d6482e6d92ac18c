"""``safelight-agent run``: keeps the schedule, serves the metrics, and stops in good order.

The invariant: whatever a run comes to, an error or a bug included, is on disk as a ``RunResult``
before the next one begins, and no source's trouble keeps another from running. SIGTERM and SIGINT
set the stop event that a running backup polls; the process ends when that backup has wound up.
SIGHUP changes nothing: a changed configuration is loaded by a restart, which is as gentle.
"""

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType

from safelight_agent.metrics import Endpoint, ResultCollector, start_endpoint, write_textfile
from safelight_agent.results import ResultStore, RunResult, failed_run
from safelight_agent.schedule import ScheduledSource, Scheduler
from safelight_vault.command_line import describe_bug
from safelight_vault.errors import VaultError
from safelight_vault.logs import Log

_LOOK_SECONDS = 1.0
"""How often the main thread looks at the scheduler and at the stop event."""

_STUCK_SECONDS = 60.0
"""A due time that is not taken up for so long means that the scheduler is dead."""


def run_daemon(
    *,
    sources: Sequence[ScheduledSource],
    time_zone: str,
    run_source: Callable[[str], RunResult],
    results: ResultStore,
    collector: ResultCollector,
    endpoint: tuple[str, int] | None,
    textfile: Path | None,
    stop: threading.Event,
    now: Callable[[], datetime],
    notify_socket: str | None,
    watchdog_seconds: float | None,
    log: Log,
) -> int:
    """Run the sources by their schedules, which are in ``time_zone``, until told to stop.

    Called in the main thread (signals). ``run_source`` makes one backup and winds it up early when
    ``stop`` is set; its result is recorded here. ``endpoint`` is an address and a port;
    ``notify_socket`` and ``watchdog_seconds`` come from systemd (sd_notify(3)). Raises
    ``ConfigurationError`` when the endpoint cannot be served. Returns the exit code: 0 after a stop
    that was asked for, 1 when the scheduler itself has died, so that the service manager starts the
    daemon again.
    """
    runs = _Runs(
        run_source=run_source,
        results=results,
        collector=collector,
        textfile=textfile,
        stop=stop,
        now=now,
        log=log,
    )
    scheduler = Scheduler(sources, time_zone=time_zone, run=runs.run, missed=runs.missed)
    with _stop_signals() as signals, _served(endpoint, collector) as server:
        scheduler.start(now=now(), last_started=runs.last_started)
        try:
            notify_service_manager(notify_socket, "READY=1")
            names = [item.source for item in sources]
            log.info("daemon_ready", sources=names, port=server and server.port)
            alive = _watch(
                scheduler,
                signals,
                stop=stop,
                now=now,
                notify_socket=notify_socket,
                watchdog_seconds=watchdog_seconds,
                log=log,
            )
        finally:
            notify_service_manager(notify_socket, "STOPPING=1")
            stop.set()
            log.info("daemon_stopping")
            scheduler.stop()
    log.info("daemon_stopped")
    return 0 if alive else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Makes one run of a source, and records what it came to, whatever happens."""

    run_source: Callable[[str], RunResult]
    results: ResultStore
    collector: ResultCollector
    textfile: Path | None
    stop: threading.Event
    now: Callable[[], datetime]
    log: Log
    writing_textfile: threading.Lock = field(default_factory=threading.Lock)

    def last_started(self, source: str) -> datetime | None:
        """When the last run of the source began, as far as is known."""
        last = self.results.last_run(source)
        return last.started if isinstance(last, RunResult) else None

    def run(self, source: str) -> None:
        """Run, record, tell; raises nothing."""
        if self.stop.is_set():
            return
        self.log.info("run_started", source=source)
        result = self._outcome(source)
        self._keep(source, lambda: self.results.record(result))
        tell = self.log.info if result.exit_code == 0 else self.log.error
        tell(
            "run_ended",
            source=source,
            snapshot=result.snapshot,
            exit_code=result.exit_code,
            error=result.error,
            complete=result.complete,
            suspect=result.suspect,
            files=result.files,
            files_failed=result.files_failed,
            bytes_read=result.bytes_read,
            bytes_stored=result.bytes_stored,
            duration_seconds=result.duration_seconds,
        )

    def missed(self, source: str) -> None:
        """Count a scheduled time that passed without a run."""
        self.log.warning("run_missed", source=source)
        self._keep(source, lambda: self.results.record_missed(source))

    def _outcome(self, source: str) -> RunResult:
        started, began = self.now(), time.monotonic()
        try:
            return self.run_source(source)
        except VaultError as error:
            code, reason = error.exit_code, error.message
        except Exception as error:  # noqa: BLE001 - a bug in one run must not silence the others
            code, reason = 1, describe_bug(error)
        return failed_run(
            source,
            started=started,
            duration_seconds=time.monotonic() - began,
            exit_code=code,
            error=reason,
        )

    def _keep(self, source: str, write: Callable[[], None]) -> None:
        """Write to disk what the metrics are made of; when that fails, the log is all there is."""
        try:
            write()
            if self.textfile is not None:
                # One at a time, or a run that read the records first could write its file last.
                with self.writing_textfile:
                    write_textfile(self.textfile, self.collector)
        except VaultError as error:
            self.log.error("result_not_recorded", source=source, error=error.message)


@contextlib.contextmanager
def _stop_signals() -> Iterator["queue.SimpleQueue[int]"]:
    """Collect SIGTERM, SIGINT and SIGHUP in a queue instead of interrupting what is going on."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    owner = os.getpid()

    def note(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == owner:
            received.put(number)  # reentrant, unlike an Event's set
            return
        # A forked worker inherits this handler, and must still die when it is told to.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [(number, signal.signal(number, note)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _served(
    endpoint: tuple[str, int] | None, collector: ResultCollector
) -> Iterator[Endpoint | None]:
    if endpoint is None:
        yield None
        return
    server = start_endpoint(*endpoint, collector)
    try:
        yield server
    finally:
        server.close()


def _watch(
    scheduler: Scheduler,
    signals: "queue.SimpleQueue[int]",
    *,
    stop: threading.Event,
    now: Callable[[], datetime],
    notify_socket: str | None,
    watchdog_seconds: float | None,
    log: Log,
) -> bool:
    """Wait until told to stop (True) or until the scheduler is found dead (False)."""
    look_seconds = min(_LOOK_SECONDS, (watchdog_seconds or _STUCK_SECONDS) / 3)
    on_time_at = time.monotonic()
    while not stop.is_set():
        if scheduler.overdue(now()).total_seconds() <= _STUCK_SECONDS:
            on_time_at = time.monotonic()
            if watchdog_seconds is not None:
                notify_service_manager(notify_socket, "WATCHDOG=1")
        elif time.monotonic() - on_time_at > _STUCK_SECONDS:
            log.error("scheduler_dead")
            return False
        try:
            number = signals.get(timeout=look_seconds)
        except queue.Empty:
            continue
        if number != signal.SIGHUP:
            log.info("stop_requested", signal=signal.Signals(number).name)
            return True
        log.warning("not_reloaded", remedy="Restart the daemon to load a changed configuration.")
    return True


def notify_service_manager(notify_socket: str | None, state: str) -> None:
    """Tell systemd a state by sd_notify(3); ``notify_socket`` is the value of NOTIFY_SOCKET.

    A manager that does not listen is no reason to stop making backups.
    """
    if not notify_socket:
        return
    address = "\0" + notify_socket[1:] if notify_socket.startswith("@") else notify_socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(1.0)
        with contextlib.suppress(OSError):
            channel.sendto(state.encode("ascii"), address)
