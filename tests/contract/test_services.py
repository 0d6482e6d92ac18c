"""Servers of the tests: none outlives its pytest, and none is passed over where all must run."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import services
from services import REQUIRE_SERVICES, require_service, spawn, stop, wait_until

SUPPORT = Path(services.__file__).parent


def is_alive(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_dies_with_the_process_that_started_it_even_by_sigkill(tmp_path: Path) -> None:
    starter = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from services import spawn
        log = Path(sys.argv[1])
        print(spawn(Path("/bin/sleep"), "600", log=log, environment=os.environ).pid, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )
    with parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        deadline = time.monotonic() + 20
        while "sleep" not in psutil.Process(server).name():
            assert time.monotonic() < deadline, "the server never ran"
            time.sleep(0.01)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_alive(server):
        assert time.monotonic() < deadline, "the server outlived the process that started it"
        time.sleep(0.01)


def test_a_stopped_server_is_gone(tmp_path: Path) -> None:
    process = spawn(Path("/bin/sleep"), "600", log=tmp_path / "log", environment=os.environ)
    stop(process)
    assert process.returncode == -signal.SIGKILL
    stop(process)


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(
        Path("/bin/sh"), "-c", "echo no such option; exit 3", log=log, environment=os.environ
    )
    with pytest.raises(RuntimeError, match=r"ended with 3(?s:.*)no such option"):
        wait_until(lambda: False, process=process, log=log, what="it", timeout_seconds=20)


def test_an_absent_service_is_skipped_here_and_fails_where_all_must_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(REQUIRE_SERVICES, raising=False)
    require_service(True, "present")
    with pytest.raises(pytest.skip.Exception, match="not installed"):
        require_service(False, "not installed")
    monkeypatch.setenv(REQUIRE_SERVICES, "1")
    require_service(True, "present")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        require_service(False, "not installed")
