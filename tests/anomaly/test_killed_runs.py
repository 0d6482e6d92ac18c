"""The installed command is killed, stopped or hung up on in the middle of a backup.

Whatever it had put stays and is adopted: the next run completes and stores nothing twice.
"""

import json
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from agent_runs import Site, SystemClock, fill_archive, new_site
from installed_agent import (
    agent_command,
    copy_site,
    directory_site,
    killing_command,
    run_command,
    write_config,
)
from invariants import Invariants
from s3_server import S3Server
from safelight_agent.assembly import STATE_FILE
from safelight_vault.errors import IncompleteError
from store_cases import s3_settings, s3_store

SAMPLE = (4, 9, 13, 16, 19, 23, 27, 31)
"""Operations of a small run that is played without SAFELIGHT_FULL=1."""
OPERATIONS_MIN, OPERATIONS_MAX = 25, 80
S3_OPERATIONS = [
    pytest.param(n, marks=() if n in {14, 21} else pytest.mark.full) for n in range(1, 30)
]
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A ``file://`` vault with one snapshot, and an archive that has changed since."""
    site = directory_site(tmp_path_factory.mktemp("origin"))
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    return site


def kill_and_go_on(site: Site, nth: int, *, keeps_state: bool) -> bool:
    """Kill a backup after its n-th store operation; whether it got so far."""
    before = Invariants(site)
    ended = run_command(killing_command(write_config(site), nth))
    site.note_new_snapshots()
    if ended.returncode != KILLED:
        assert ended.returncode == 0, ended.stderr
        return False
    before.hold()
    if not keeps_state:
        site.lose_state()
    before.next_run()
    return True


@pytest.mark.parametrize("nth", SAMPLE)
def test_fault_22_killed_after_a_store_operation(origin: Site, tmp_path: Path, nth: int) -> None:
    assert kill_and_go_on(copy_site(origin, tmp_path), nth, keeps_state=nth % 2 == 0)


@pytest.mark.full
@pytest.mark.parametrize("keeps_state", [True, False], ids=["state-kept", "state-lost"])
def test_fault_22_killed_after_every_store_operation(
    origin: Site, tmp_path: Path, keeps_state: bool
) -> None:
    for nth in range(1, OPERATIONS_MAX):
        site = copy_site(origin, tmp_path / str(nth))
        if not kill_and_go_on(site, nth, keeps_state=keeps_state):
            assert nth > OPERATIONS_MIN
            return
    raise AssertionError("a run has fewer operations than this")


@pytest.mark.parametrize("nth", S3_OPERATIONS)
def test_fault_22_killed_on_a_real_s3_server(seaweed: S3Server, tmp_path: Path, nth: int) -> None:
    bucket = seaweed.new_bucket()
    settings = s3_settings(seaweed, bucket)
    site = new_site(tmp_path, store=s3_store(settings, seaweed), clock=SystemClock())
    assert site.run().complete
    fill_archive(site.archive, slices=3, seed=1)
    config = write_config(site, url=settings.url)
    before = Invariants(site)
    ended = run_command(killing_command(config, nth), environment=seaweed.environment())
    assert ended.returncode == KILLED, ended.stderr
    site.note_new_snapshots()
    before.hold()
    if nth % 2:
        site.lose_state()
    before.next_run()


def test_fault_22_killed_at_any_moment(origin: Site, tmp_path: Path) -> None:
    hits = 0
    for number, pause_seconds in enumerate(Random(22).uniform(0, 0.06) for _ in range(5)):
        site = copy_site(origin, tmp_path / str(number))
        before = Invariants(site)
        with start(write_config(site)) as process:
            wait_until_begun(site)
            time.sleep(pause_seconds)
            process.kill()
            process.communicate()
        hits += process.returncode == KILLED
        site.note_new_snapshots()
        require_whole_records(site)
        before.hold()
        before.next_run()
    assert hits


def require_whole_records(site: Site) -> None:
    """Whatever is on the disk of the agent's records is a whole JSON object."""
    for path in site.state_directory.rglob("*.json"):
        json.loads(path.read_bytes())


@pytest.fixture
def slow_site(tmp_path: Path) -> Site:
    """A site whose run takes seconds: enough small files for several batches."""
    site = directory_site(tmp_path)
    assert site.run().complete
    for number in range(300):
        (site.archive / f"instance-{number}").write_bytes(Random(number).randbytes(5000))
    return site


def start(config: Path) -> "subprocess.Popen[str]":
    """A backup by the installed command, in the background."""
    return subprocess.Popen(
        agent_command(config, "backup", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_begun(site: Site) -> None:
    """Wait until a run has its state open."""
    write_ahead = site.state_directory / f"{STATE_FILE}-wal"
    deadline = time.monotonic() + 30
    while not write_ahead.exists():
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.002)


def start_slow_run(site: Site) -> "subprocess.Popen[str]":
    """A backup that waits in its rate limit."""
    process = start(write_config(site, agent="read_limit_bytes_per_second = 65536"))
    wait_until_begun(site)
    time.sleep(0.3)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_fault_23_a_signal_ends_the_run_cleanly(slow_site: Site, number: signal.Signals) -> None:
    before = Invariants(slow_site)
    with start_slow_run(slow_site) as process:
        assert process.poll() is None
        process.send_signal(number)
        output, log = process.communicate(timeout=20)
    assert process.returncode == IncompleteError.exit_code, log
    (run,) = json.loads(output)["snapshots"]
    assert run["snapshot"] == ""
    assert "stopped" in run["error"]
    before.hold()
    before.next_run()


def test_fault_23_a_hang_up_may_kill_but_not_harm(slow_site: Site) -> None:
    before = Invariants(slow_site)
    # A child inherits what is ignored here, as it is under nohup.
    was = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with start_slow_run(slow_site) as process:
        signal.signal(signal.SIGHUP, was)
        assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGHUP
    before.hold()
    before.next_run()
