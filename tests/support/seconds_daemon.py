"""A program with the real daemon in it, on a schedule of every second, for tests to signal.

``seconds_daemon.py STATE BEHAVIOUR``: the source "ct" behaves as told, "mr" is always good.
Prints its log as JSON lines; ends with the daemon's exit code.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from run_results import good_night
from safelight_agent.config_cron import parse_schedule
from safelight_agent.daemon import run_daemon
from safelight_agent.metrics import ResultCollector
from safelight_agent.results import ResultStore, RunResult
from safelight_agent.schedule import ScheduledSource
from safelight_vault.errors import StoreUnreachableError

SOURCES = ("ct", "mr")


class LineLog:
    """Writes each event as one JSON line to stdout."""

    def info(self, event: str, **fields: object) -> None:
        self._write(event, "info", fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(event, "warning", fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(event, "error", fields)

    @staticmethod
    def _write(event: str, level: str, fields: dict[str, object]) -> None:
        # One write for the line and its end: two threads may log at once.
        sys.stdout.write(json.dumps({"event": event, "level": level, **fields}) + "\n")
        sys.stdout.flush()


def _forked_worker_obeys() -> bool:
    """Whether a forked child dies of SIGTERM, as a pool's worker must when it is terminated."""
    heard, ready = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.write(ready, b"1")  # Python forgets signals that come before it is up in the child
        time.sleep(20)
        os._exit(0)
    os.read(heard, 1)
    os.kill(worker, signal.SIGTERM)
    _, status = os.waitpid(worker, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


def main(state: Path, behaviour: str) -> int:
    """Run until signalled."""
    stop = threading.Event()

    def run_source(source: str) -> RunResult:
        result = good_night(source, started=datetime.now(UTC))
        if source == "mr" or behaviour == "good":
            return result
        if behaviour == "unreachable":
            raise StoreUnreachableError("the store did not answer")
        if behaviour == "bug":
            raise KeyError("DOE^JANE")
        if behaviour == "forks":
            return replace(result, exit_code=0 if _forked_worker_obeys() else 1)
        if behaviour != "until-stopped":
            raise ValueError(behaviour)
        stop.wait()
        return replace(
            result, snapshot="", complete=False, exit_code=7, error="stopped before the end"
        )

    results = ResultStore(state)
    collector = ResultCollector(results, SOURCES, version="1.2.3")
    schedule = parse_schedule("* * * * * *")
    return run_daemon(
        sources=[
            ScheduledSource(source=source, schedule=schedule, misfire_grace=timedelta(minutes=10))
            for source in SOURCES
        ],
        time_zone="UTC",
        run_source=run_source,
        results=results,
        collector=collector,
        endpoint=("127.0.0.1", 0),
        textfile=state / "safelight.prom",
        stop=stop,
        now=lambda: datetime.now(UTC),
        notify_socket=os.environ.get("NOTIFY_SOCKET"),
        watchdog_seconds=0.6 if "NOTIFY_SOCKET" in os.environ else None,
        log=LineLog(),
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
