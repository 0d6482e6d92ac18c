"""Real servers for tests: when one may be absent, and child processes that never outlive pytest.

The invariant: with ``SAFELIGHT_REQUIRE_SERVICES=1`` (set in CI) nothing is skipped for want of a
server, and a server ends when the process that started it ends, however that happens.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

REQUIRE_SERVICES = "SAFELIGHT_REQUIRE_SERVICES"

# Runs before the server's own program, in the same process. The kernel then kills the server as
# soon as the thread that started it is gone (prctl option 1, PR_SET_PDEATHSIG), so that even a
# pytest that dies by SIGKILL leaves no server behind. A separate program does this rather than
# Popen's preexec_fn, which is not safe when other threads run. The parent may have died before
# prctl took effect; hence the look at its process id.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(1, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != int(sys.argv[1]):
    sys.exit(111)
os.execv(sys.argv[2], sys.argv[2:])
"""


def require_service(present: bool, reason: str) -> None:
    """Skip the test when a server is not installed; fail it where every server must be there."""
    if present:
        return
    if os.environ.get(REQUIRE_SERVICES) == "1":
        pytest.fail(f"{reason} ({REQUIRE_SERVICES}=1 forbids skipping)")
    pytest.skip(reason)


def spawn(
    program: Path, *arguments: str, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a server in the foreground that dies with the calling thread; output goes to ``log``.

    Call it from a thread that lives as long as the server shall, which pytest's main thread does.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=log.parent,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill one server that :func:`spawn` started, by its own process id, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait(timeout=30)


def wait_until(
    ready: Callable[[], bool],
    *,
    process: subprocess.Popen[bytes],
    log: Path,
    what: str,
    timeout_seconds: float,
) -> None:
    """Wait for a server, and give up at once, with the end of its log, when it has died."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        died = process.poll() is not None
        if died or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-3000:]
            reason = f"ended with {process.returncode}" if died else "did not come up in time"
            raise RuntimeError(f"{what} {reason}; its log ends:\n{tail}")
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that are free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
