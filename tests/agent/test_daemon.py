"""The daemon as a process of its own: schedules of seconds, real signals, a real endpoint."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import seconds_daemon
from run_results import good_night
from safelight_agent import daemon as daemon_module
from safelight_agent.config_cron import parse_schedule
from safelight_agent.daemon import notify_service_manager, run_daemon
from safelight_agent.metrics import ResultCollector
from safelight_agent.results import ResultStore, RunResult
from safelight_agent.schedule import ScheduledSource
from safelight_vault.errors import ConfigurationError


class Daemon:
    """A daemon process, and the events that it has logged so far."""

    def __init__(self, state: Path, behaviour: str, environment: Mapping[str, str]) -> None:
        self.results = ResultStore(state)
        self.textfile = state / "safelight.prom"
        self.events: list[dict[str, object]] = []
        self.process = subprocess.Popen(
            [sys.executable, seconds_daemon.__file__, str(state), behaviour],
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )

    def until(self, event: str, **fields: object) -> dict[str, object]:
        """Read the log until an event with these fields comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            logged: dict[str, object] = json.loads(line)
            self.events.append(logged)
            if logged["event"] == event and fields.items() <= logged.items():
                return logged
        raise AssertionError(f"the daemon ended before {event}: {self.events}")

    def last_run(self, source: str) -> RunResult:
        found = self.results.last_run(source)
        assert isinstance(found, RunResult)
        return found

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        output, _ = self.process.communicate(timeout=20)
        self.events += [json.loads(line) for line in output.splitlines()]
        return self.process.returncode


@pytest.fixture(name="start")
def started_daemons(tmp_path: Path) -> Iterator["StartDaemon"]:
    starter = StartDaemon(tmp_path)
    yield starter
    for daemon in starter.daemons:
        daemon.process.kill()
        daemon.process.communicate()


class StartDaemon:
    """Starts daemons that do not outlive the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.daemons: list[Daemon] = []

    def __call__(self, behaviour: str, **environment: str) -> Daemon:
        self.daemons.append(Daemon(self.directory / "state", behaviour, environment))
        return self.daemons[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_backup_winds_up_and_the_daemon_ends_with_0(
    start: StartDaemon, number: signal.Signals
) -> None:
    daemon = start("until-stopped")
    daemon.until("run_started", source="ct")
    daemon.process.send_signal(number)
    assert daemon.end() == 0
    assert daemon.events[-1]["event"] == "daemon_stopped"
    assert daemon.last_run("ct").error == "stopped before the end"


def test_a_run_that_is_still_going_on_is_skipped_and_counted(start: StartDaemon) -> None:
    daemon = start("until-stopped")
    daemon.until("run_missed", source="ct")
    daemon.until("run_missed", source="ct")
    daemon.process.terminate()
    assert daemon.end() == 0
    missed = daemon.results.missed("ct")
    assert isinstance(missed, int)
    assert missed >= 2
    assert sum(e["event"] == "run_started" and e["source"] == "ct" for e in daemon.events) == 1
    assert sum(e["event"] == "run_ended" and e["source"] == "mr" for e in daemon.events) >= 2


def test_the_endpoint_and_the_textfile_tell_what_was_recorded(start: StartDaemon) -> None:
    daemon = start("good")
    port = daemon.until("daemon_ready")["port"]
    daemon.until("run_ended", source="ct")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        served = answer.read().decode()
    daemon.process.terminate()
    assert daemon.end() == 0
    for text in (served, daemon.textfile.read_text()):
        assert 'safelight_last_run_exit_code{source="ct"} 0.0' in text
        assert 'safelight_build_info{version="1.2.3"} 1.0' in text


def test_an_error_is_recorded_with_its_exit_code_and_others_go_on(start: StartDaemon) -> None:
    daemon = start("unreachable")
    daemon.until("run_ended", source="ct", exit_code=6, error="the store did not answer")
    daemon.until("run_ended", source="mr", exit_code=0)
    daemon.until("run_ended", source="ct", exit_code=6)
    daemon.process.terminate()
    assert daemon.end() == 0
    assert (daemon.last_run("ct").exit_code, daemon.last_run("ct").complete) == (6, False)
    assert daemon.results.last_complete("ct") is None


def test_a_bug_is_recorded_by_its_place_without_its_message(start: StartDaemon) -> None:
    daemon = start("bug")
    ended = daemon.until("run_ended", source="ct")
    daemon.until("run_ended", source="mr", exit_code=0)
    daemon.process.terminate()
    assert daemon.end() == 0
    assert daemon.last_run("ct").exit_code == 1
    assert "KeyError" in str(ended["error"])
    assert "seconds_daemon.py:" in str(ended["error"])
    assert "DOE" not in json.dumps(daemon.events) + json.dumps(daemon.last_run("ct").to_json())


def test_a_result_that_cannot_be_kept_is_logged_and_the_daemon_goes_on(
    start: StartDaemon, tmp_path: Path
) -> None:
    (tmp_path / "state" / "safelight.prom").mkdir(parents=True)
    daemon = start("good")
    daemon.until("result_not_recorded", source="ct")
    daemon.until("run_ended", source="ct", exit_code=0)
    daemon.until("run_ended", source="ct", exit_code=0)
    daemon.process.terminate()
    assert daemon.end() == 0


def test_a_hangup_changes_nothing_and_is_answered_in_the_log(start: StartDaemon) -> None:
    daemon = start("good")
    daemon.until("daemon_ready")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("not_reloaded")
    daemon.until("run_ended", source="mr")
    daemon.process.terminate()
    assert daemon.end() == 0


def test_a_forked_worker_still_dies_when_it_is_told_to(start: StartDaemon) -> None:
    daemon = start("forks")
    daemon.until("run_ended", source="ct", exit_code=0)
    daemon.process.terminate()
    assert daemon.end() == 0


def test_the_service_manager_is_told_ready_alive_and_stopping(
    start: StartDaemon, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        daemon = start("good", NOTIFY_SOCKET=str(path))
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        daemon.process.terminate()
        while (state := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert state == b"STOPPING=1"
        assert daemon.end() == 0


def test_a_notification_reaches_an_abstract_socket() -> None:
    name = f"safelight-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(20)
        notify_service_manager("@" + name, "READY=1")
        assert manager.recv(100) == b"READY=1"


def test_a_service_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    notify_service_manager(str(tmp_path / "nobody"), "READY=1")
    notify_service_manager(None, "READY=1")


def run_until_stopped(
    state: Path,
    *,
    now: Callable[[], datetime],
    stop: threading.Event,
    endpoint: tuple[str, int] | None,
) -> int:
    """The daemon in this process with a nightly schedule and a clock of our own."""
    results = ResultStore(state)

    def run_source(source: str) -> RunResult:
        stop.set()
        return good_night(source, started=now())

    return run_daemon(
        sources=[
            ScheduledSource(
                source="ct", schedule=parse_schedule("0 2 * * *"), misfire_grace=timedelta(days=2)
            )
        ],
        time_zone="UTC",
        run_source=run_source,
        results=results,
        collector=ResultCollector(results, ["ct"], version="1.2.3"),
        endpoint=endpoint,
        textfile=None,
        stop=stop,
        now=now,
        notify_socket=None,
        watchdog_seconds=None,
        log=seconds_daemon.LineLog(),
    )


def test_a_night_passed_over_while_down_is_made_up_for_at_the_start(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ResultStore(tmp_path).record(good_night(started=now - timedelta(hours=30)))
    code = run_until_stopped(tmp_path, now=lambda: now, stop=threading.Event(), endpoint=None)
    assert code == 0
    assert ResultStore(tmp_path).last_run("ct") == good_night(started=now)


def test_a_scheduler_that_does_not_take_up_what_is_due_ends_the_daemon_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "_STUCK_SECONDS", 0.1)
    # By this clock the scheduler should have begun a run long ago; it goes by the system's.
    hours_ahead = iter(range(1_000_000))
    start = datetime.now(UTC)
    code = run_until_stopped(
        tmp_path,
        now=lambda: start + timedelta(hours=30) * next(hours_ahead),
        stop=threading.Event(),
        endpoint=None,
    )
    assert code == 1


def test_an_endpoint_that_is_taken_is_a_configuration_error(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match="cannot be served"):
            run_until_stopped(
                tmp_path,
                now=lambda: datetime.now(UTC),
                stop=threading.Event(),
                endpoint=("127.0.0.1", other.getsockname()[1]),
            )
    assert signal.getsignal(signal.SIGTERM) == before, "signals are as they were"
