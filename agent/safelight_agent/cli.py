"""The command ``safelight-agent``: turns options into calls, and results into text and exit codes.

With ``daemon``, the only module of the agent that touches the real clock, the real random source
and the environment.
"""

import functools
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import click

from safelight_agent.assembly import Agent, Machine
from safelight_agent.backup import Progress
from safelight_agent.config import Config, load_config
from safelight_agent.daemon import run_daemon
from safelight_agent.fitness import require_fit
from safelight_agent.membership import make_keys
from safelight_agent.metrics import ResultCollector, write_textfile
from safelight_agent.results import ResultStore, RunResult
from safelight_agent.schedule import ScheduledSource
from safelight_agent.state_files import make_private_directory
from safelight_agent.status import describe_status, result_totals
from safelight_vault.command_line import EXIT_CODES, exit_with, json_option, run_program
from safelight_vault.errors import ConfigurationError, VaultError
from safelight_vault.logs import Log, set_up_logs
from safelight_vault.terminal import Terminal, size_text

TEXTFILE_NAME = "safelight.prom"


def _machine() -> Machine:
    return Machine(
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        random_bytes=os.urandom,
        uniform=random.SystemRandom().uniform,
        processors=len(os.sched_getaffinity(0)),
        uid=os.getuid(),
        gid=os.getgid(),
    )


class _Command:
    """What every command works with."""

    def __init__(self, config_path: Path, verbose: bool) -> None:
        self.config_path = config_path
        self.verbose = verbose
        self.stop = threading.Event()

    def config(self) -> Config:
        return load_config(self.config_path)

    def agent(self, log: Log) -> Agent:
        return Agent(self.config(), _machine(), log, self.stop)

    def log(self, *, as_json: bool) -> Log:
        form = "text" if os.isatty(2) and not as_json else "json"
        return set_up_logs("text" if form == "text" else "json", verbose=self.verbose)


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/safelight/agent.toml"),
    show_default=True,
    help="The configuration file; config.example.toml explains every setting.",
)
@click.option("--verbose", is_flag=True, help="Log details.")
@click.version_option(version("safelight"))
@click.pass_context
def program(context: click.Context, config_path: Path, verbose: bool) -> None:
    """Back up PACS storage into an encrypted, immutable vault.

    \b
    First time:
      1. safelight-restore --identity DIR/identity.key keygen   (on an offline machine)
      2. safelight-agent --config FILE init                     (makes this agent's keys)
      3. safelight-restore --vault URL --identity DIR/identity.key enrol REQUEST
      4. safelight-agent --config FILE backup                   (then: run)
    """
    context.obj = _Command(config_path, verbose)


@program.command()
@json_option
@click.pass_obj
def init(command: _Command, as_json: bool) -> None:
    """Make this agent's keys, check the vault's store, and write an enrolment request."""
    terminal = Terminal(as_json=as_json)
    agent = command.agent(command.log(as_json=as_json))
    directory = agent.config.agent.state_directory
    make_private_directory(directory)
    store = agent.open_store(create=True)
    require_fit(store, accept_emulated=agent.config.vault.accept_emulated_locks)
    trust = agent.trust()
    request, keys = make_keys(directory, trust, agent.config.agent.name, agent.machine.random_bytes)
    fingerprint = keys.signing_key.verifying_key.fingerprint.hex()
    terminal.result(
        {"request": str(request), "agent": fingerprint[:32], "vault_id": trust.vault_id.hex()},
        f"Agent {fingerprint[:32]} is ready to be enrolled.\n"
        f"Give {request} to the administrator, who runs:\n"
        f"  safelight-restore --vault {store.url} --identity FILE enrol {request.name}",
    )


@program.command("check-config")
@json_option
@click.pass_obj
def check_config(command: _Command, as_json: bool) -> None:
    """Check the configuration file; every problem is told at once."""
    config = command.config()
    names = [source.name for source in config.sources]
    Terminal(as_json=as_json).result(
        {"valid": True, "sources": names, "vault": config.vault.url},
        f"{command.config_path} is valid: {len(names)} source(s): {', '.join(names)}",
    )


@program.command()
@click.option("--source", "sources", multiple=True, help="Only this source (may be repeated).")
@json_option
@click.pass_obj
def backup(command: _Command, sources: tuple[str, ...], as_json: bool) -> None:
    """Back up all sources, or those named, once."""
    terminal = Terminal(as_json=as_json)
    log = command.log(as_json=as_json)
    agent = command.agent(log)
    names = [source.name for source in agent.config.sources]
    unknown = [name for name in sources if name not in names]
    if unknown:
        raise ConfigurationError(
            f"no source is named {unknown[0]!r}; there are: {', '.join(names)}"
        )
    _stop_on_signals(command.stop)
    results = ResultStore(agent.results_directory)
    runs, codes = [], []
    for name in sources or names:
        runs.append(_back_up_one(agent, name, terminal, log))
        codes += [runs[-1].exit_code, _record(results, runs[-1], terminal, log)]
        if command.stop.is_set():
            break
    _write_textfile(agent, results, log)
    terminal.result(result_totals(runs))
    _show_runs(terminal, runs)
    exit_with(next((code for code in codes if code), 0))


def _back_up_one(agent: Agent, name: str, terminal: Terminal, log: Log) -> RunResult:
    started, began = agent.machine.now(), agent.machine.monotonic()
    with terminal.progress(f"backup {name}") as bar:

        def tell(progress: Progress) -> None:
            note = f"{progress.files} files, {size_text(progress.bytes_stored)} stored"
            bar(progress.bytes_read, None, note)

        try:
            return agent.back_up(name, tell)
        except VaultError as error:
            terminal.error(error)
            log.error("run_failed", source=name, exit_code=error.exit_code, error=error.message)
            return agent.failed(name, started, began, error)


def _record(results: ResultStore, run: RunResult, terminal: Terminal, log: Log) -> int:
    """Keep a result; the exit code of what hindered it, which must not keep other sources back."""
    try:
        results.record(run)
    except VaultError as error:
        terminal.error(error)
        log.error("result_not_recorded", source=run.source, error=error.message)
        return error.exit_code
    return 0


def _stop_on_signals(stop: threading.Event) -> None:
    def ask_to_stop(*_: object) -> None:
        # From a thread: the handler may have interrupted this thread inside the event's own lock.
        threading.Thread(target=stop.set).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)


def _write_textfile(agent: Agent, results: ResultStore, log: Log) -> None:
    directory = agent.config.metrics.textfile_directory
    if directory is None:
        return
    try:
        write_textfile(directory / TEXTFILE_NAME, _collector(agent.config, results))
    except VaultError as error:
        log.error("metrics_not_written", error=error.message)


def _collector(config: Config, results: ResultStore) -> ResultCollector:
    names = [source.name for source in config.sources]
    return ResultCollector(results, names, version=version("safelight"))


def _show_runs(terminal: Terminal, runs: list[RunResult]) -> None:
    rows = [
        (
            run.source,
            run.snapshot or "none",
            f"{run.files} ({run.files_new} new, {run.files_changed} changed)",
            run.files_failed,
            size_text(run.bytes_read),
            size_text(run.bytes_stored),
            f"{run.duration_seconds:.1f} s",
            "complete" if run.complete else (run.error or "incomplete"),
        )
        for run in runs
    ]
    columns = ("source", "snapshot", "files", "failed", "read", "stored", "time", "result")
    terminal.table("Backup", columns, rows)
    if terminal.as_json:
        return  # the object on stdout lists them, and stderr may be a log
    for run in runs:
        if run.failed and not os.isatty(2):
            # What is no terminal is a journal, and no path may get into a log.
            terminal.note(f"{run.source}: {run.files_failed} files not backed up; see --json")
            continue
        for item in run.failed[:20]:
            terminal.note(f"not backed up: {item.to_json()['path']!r}: {item.reason}")


@program.command()
@click.pass_obj
def run(command: _Command) -> None:
    """Run as a daemon: back up by the schedules, serve metrics, stop cleanly on SIGTERM."""
    log = command.log(as_json=False)
    agent = command.agent(log)
    config = agent.config
    results = ResultStore(agent.results_directory)
    scheduled = [
        ScheduledSource(
            source=source.name,
            schedule=source.schedule,
            misfire_grace=timedelta(seconds=source.misfire_grace_seconds),
        )
        for source in config.sources
        if source.schedule is not None
    ]
    if not scheduled:
        raise ConfigurationError("no source has a schedule: there is nothing to run")
    metrics = config.metrics
    watchdog = os.environ.get("WATCHDOG_USEC")
    exit_with(
        run_daemon(
            sources=scheduled,
            time_zone=config.agent.time_zone,
            run_source=functools.partial(_daemon_run, agent),
            results=results,
            collector=_collector(config, results),
            endpoint=(metrics.listen_address, metrics.port) if metrics.port else None,
            textfile=metrics.textfile_directory and metrics.textfile_directory / TEXTFILE_NAME,
            stop=command.stop,
            now=agent.machine.now,
            notify_socket=os.environ.get("NOTIFY_SOCKET"),
            watchdog_seconds=int(watchdog) / 1e6 if watchdog else None,
            log=log,
        )
    )


def _daemon_run(agent: Agent, source: str) -> RunResult:
    return agent.back_up(source, lambda _: None)


@program.command()
@json_option
@click.pass_obj
def status(command: _Command, as_json: bool) -> None:
    """Show the last run and the last complete snapshot of every source."""
    config = command.config()
    results = ResultStore(config.agent.state_directory / "results")
    terminal = Terminal(as_json=as_json)
    described = describe_status(results, [source.name for source in config.sources])
    terminal.result({"sources": described})
    columns = ("source", "last complete", "age", "last run", "result", "locks until")
    now = datetime.now(UTC)
    terminal.table("Status", columns, [_status_row(item, now) for item in described])


def _status_row(item: dict[str, object], now: datetime) -> tuple[object, ...]:
    complete = item["last_complete"]
    age = now - datetime.fromisoformat(complete) if isinstance(complete, str) else None
    return (
        item["source"],
        complete or "never",
        "" if age is None else str(age).split(".", maxsplit=1)[0],
        item["last_run"] or "never",
        item["result"],
        item["lock_coverage_until"] or "not locked by a store",
    )


def main() -> None:
    """Entry point of ``safelight-agent``."""
    exit_with(run_program(program, "safelight-agent"))
