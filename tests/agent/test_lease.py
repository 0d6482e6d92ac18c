"""Leases between real processes, which die in every way."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from safelight_agent.lease import source_lease
from safelight_vault.errors import ConfigurationError, LeaseHeldError

HOLDER = """
    import os, sys
    from pathlib import Path
    from safelight_agent.lease import source_lease

    with source_lease(Path(sys.argv[1]), "ct"):
        worker = os.fork() if sys.argv[2] == "with-worker" else 0
        if sys.argv[2] == "with-worker" and worker == 0:
            sys.stdin.read()
            os._exit(0)
        print("held", worker, flush=True)
        sys.stdin.read()
"""


def start_holder(directory: Path, kind: str = "alone") -> tuple[subprocess.Popen[str], int]:
    """A process that holds the lease until its stdin closes, and its worker's process id."""
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(directory), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    answer = holder.stdout.readline().split()
    assert answer[:1] == ["held"]
    return holder, int(answer[1])


def end(holder: subprocess.Popen[str]) -> None:
    holder.communicate(timeout=20)


def test_a_second_run_is_told_the_process_of_the_first(tmp_path: Path) -> None:
    holder, _ = start_holder(tmp_path)
    try:
        with (
            pytest.raises(LeaseHeldError, match=rf"'ct'.*process {holder.pid}\)"),
            source_lease(tmp_path, "ct"),
        ):
            pytest.fail("two runs hold the lease")
    finally:
        end(holder)
    with source_lease(tmp_path, "ct"):
        pass


def test_a_second_thread_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with (
        source_lease(tmp_path, "ct"),
        pytest.raises(LeaseHeldError, match=f"process {os.getpid()}"),
        source_lease(tmp_path, "ct"),
    ):
        pytest.fail("two runs hold the lease")


def test_other_sources_are_free(tmp_path: Path) -> None:
    with source_lease(tmp_path, "ct"), source_lease(tmp_path, "mr"):
        pass


def test_a_killed_run_leaves_no_lease_behind(tmp_path: Path) -> None:
    holder, _ = start_holder(tmp_path)
    holder.kill()
    end(holder)
    with source_lease(tmp_path, "ct"):
        pass


def take_soon(directory: Path) -> None:
    """Take the lease; on a busy machine a fork may let go of it a moment after it is made."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with source_lease(directory, "ct"):
                return
        except LeaseHeldError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_worker_that_outlives_its_killed_agent_does_not_keep_the_lease(tmp_path: Path) -> None:
    holder, worker = start_holder(tmp_path, "with-worker")
    try:
        holder.kill()
        holder.wait(timeout=20)
        os.kill(worker, 0)  # it is still alive
        take_soon(tmp_path)
    finally:
        os.kill(worker, signal.SIGKILL)
        end(holder)


def test_the_lease_ends_with_an_error_inside_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), source_lease(tmp_path, "ct"):
        raise ZeroDivisionError
    with source_lease(tmp_path, "ct"):
        pass


def test_the_holder_of_a_damaged_lease_file_is_of_unknown_number(tmp_path: Path) -> None:
    holder, _ = start_holder(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff\xfe")
    try:
        with pytest.raises(LeaseHeldError, match="unknown"), source_lease(tmp_path, "ct"):
            pytest.fail("two runs hold the lease")
    finally:
        end(holder)


def test_the_file_is_private_and_stays(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    with source_lease(directory, "ct"):
        pass
    (file,) = directory.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert int(file.read_text()) == os.getpid()


def test_a_lease_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "lease.ct").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"), source_lease(tmp_path, "ct"):
        pytest.fail("it was taken")
