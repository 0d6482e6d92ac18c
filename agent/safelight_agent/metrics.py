"""What Prometheus is told: the stored results of the last runs, one gauge per question.

The only module that imports prometheus_client. The invariant: every number is read from the
``ResultStore`` at the moment it is asked for, so that the endpoint, the textfile and a restarted
process tell the same, and what cannot be read is never told as success. Labels hold source names
from the configuration and nothing else.
"""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from safelight_agent.results import ResultStore, RunResult
from safelight_agent.state_files import write_atomically
from safelight_vault.errors import ConfigurationError

TEXTFILE_MODE = 0o644
"""The node exporter reads the file as another user; nothing in it is secret."""

_BY_SOURCE = ("source",)


class ResultCollector(Collector):
    """Turns what is stored about the given sources into metrics, anew at every scrape."""

    def __init__(self, results: ResultStore, sources: Sequence[str], *, version: str) -> None:
        self._results = results
        self._sources = tuple(sources)
        self._version = version

    def collect(self) -> Iterable[Metric]:
        """All metrics of all sources (called by prometheus_client)."""
        build = GaugeMetricFamily("safelight_build_info", "Always 1.", labels=("version",))
        build.add_metric((self._version,), 1)
        yield build
        yield from self._of_last_runs()
        yield from self._of_last_snapshots()
        yield from self._of_records()

    def _of_last_runs(self) -> Iterable[Metric]:
        began = _gauge("safelight_last_run_timestamp_seconds", "When the last run began.")
        took = _gauge("safelight_last_run_duration_seconds", "How long the last run took.")
        code = _gauge(
            "safelight_last_run_exit_code",
            "0 done, 1 a bug, 2 configuration, 3 corrupt, 4 wrong identity, 5 refused, "
            "6 store unreachable, 7 incomplete.",
        )
        read = _gauge("safelight_last_run_bytes_read", "Bytes read from the source.")
        stored = _gauge("safelight_last_run_bytes_stored", "Bytes written to the vault.")
        files = _gauge(
            "safelight_last_run_files", "Files met by the last run.", labels=("source", "state")
        )
        for source in self._sources:
            run = self._results.last_run(source)
            if not isinstance(run, RunResult):
                continue
            began.add_metric((source,), run.started.timestamp())
            took.add_metric((source,), run.duration_seconds)
            code.add_metric((source,), run.exit_code)
            read.add_metric((source,), run.bytes_read)
            stored.add_metric((source,), run.bytes_stored)
            files.add_metric((source, "new"), run.files_new)
            files.add_metric((source, "changed"), run.files_changed)
            files.add_metric((source, "unchanged"), run.files_unchanged)
            files.add_metric((source, "failed"), run.files_failed)
        return began, took, code, read, stored, files

    def _of_last_snapshots(self) -> Iterable[Metric]:
        complete = _gauge(
            "safelight_last_complete_snapshot_timestamp_seconds",
            "When the run of the last complete snapshot began; 0 when none is known.",
        )
        coverage = _gauge(
            "safelight_lock_coverage_timestamp_seconds",
            "Until when every object of the last complete snapshot is locked by the store; "
            "absent when no such lock is known.",
        )
        suspect = _gauge(
            "safelight_snapshot_suspect", "1 when the last snapshot looks like an attack."
        )
        for source in self._sources:
            last_complete = self._results.last_complete(source)
            if isinstance(last_complete, RunResult):
                complete.add_metric((source,), last_complete.started.timestamp())
                if last_complete.lock_coverage_until is not None:
                    until = last_complete.lock_coverage_until
                    coverage.add_metric((source,), until.timestamp())
            else:
                complete.add_metric((source,), 0)
            last_run = self._results.last_run(source)
            # A run without a snapshot says nothing about the snapshot before it.
            latest = last_run if _has_snapshot(last_run) else last_complete
            if isinstance(latest, RunResult):
                suspect.add_metric((source,), int(latest.suspect))
        return complete, coverage, suspect

    def _of_records(self) -> Iterable[Metric]:
        missed = CounterMetricFamily(
            "safelight_runs_missed_total",
            "Scheduled times at which no run began, because the last one was still going on or "
            "the machine was not up.",
            labels=_BY_SOURCE,
        )
        unreadable = _gauge(
            "safelight_records_unreadable",
            "Records of this source's last runs that are damaged: their numbers are missing here.",
        )
        for source in self._sources:
            count = self._results.missed(source)
            damaged = 0
            if isinstance(count, int):
                missed.add_metric((source,), count)
            else:
                damaged += 1
            for run in (self._results.last_run(source), self._results.last_complete(source)):
                damaged += not (run is None or isinstance(run, RunResult))
            unreadable.add_metric((source,), damaged)
        return missed, unreadable


def _gauge(name: str, text: str, labels: Sequence[str] = _BY_SOURCE) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _has_snapshot(run: object) -> bool:
    return isinstance(run, RunResult) and run.snapshot != ""


class Endpoint:
    """A running HTTP endpoint; ``close`` ends it."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port that it listens on (of interest when 0 was asked for)."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening and wait for the server's thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_endpoint(address: str, port: int, collector: ResultCollector) -> Endpoint:
    """Serve the metrics on an address of this machine; ``ConfigurationError`` if it cannot."""
    try:
        server, thread = start_http_server(port, address, _registry(collector))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"metrics cannot be served on {address} port {port}: {error}"
        ) from error
    return Endpoint(server, thread)


def write_textfile(path: Path, collector: ResultCollector) -> None:
    """Replace the file for the node exporter's textfile collector (its name ends in ``.prom``).

    ``ConfigurationError`` when it cannot be written: log it and go on, no backup fails for that
    (the old file grows old, which the alert on age notices).
    """
    content = generate_latest(_registry(collector))
    write_atomically(path, content, mode=TEXTFILE_MODE)


def _registry(collector: ResultCollector) -> CollectorRegistry:
    # A registry of our own: the library's global one adds numbers about this process.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry
