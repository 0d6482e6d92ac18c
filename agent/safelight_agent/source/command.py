"""The output of a command as a source: a database dump, a directory export.

The invariant: an output counts only if the command ended with status 0, in time, and printed
enough. This is known no earlier than at its end, so the last read raises instead of returning the
end of the stream: whoever reads on until the end cannot take half a dump for a whole one. What the
command says on stderr may carry patient data: only its length enters the message.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from safelight_agent.source import CommandFailedError, reason_of

STDERR_TAIL_BYTES = 4096
GRACE_SECONDS = 5.0
"""Between asking a command to end (SIGTERM) and ending it (SIGKILL)."""

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POLL_SECONDS = 0.02

_SILENCE_SECONDS = 0.5
"""How long a silent command is waited for before it is asked again whether to go on."""


class CommandOutput:
    """The stdout of a running command; made by :meth:`CommandSource.open`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        timeout_seconds: float,
        minimum_bytes: int,
        monotonic: Callable[[], float],
        check: Callable[[], None],
    ) -> None:
        if process.stdout is None or process.stderr is None:
            raise ValueError("a command's stdout and stderr must be pipes")
        self._process = process
        self._stdout = process.stdout.fileno()
        self._stderr = process.stderr.fileno()
        self._timeout_seconds = timeout_seconds
        self._minimum_bytes = minimum_bytes
        self._monotonic = monotonic
        self._check = check
        self._deadline = monotonic() + timeout_seconds
        self._printed_bytes = 0
        self._ended = False
        self._stderr_open = True
        self._stderr_bytes = 0
        self._tail = b""

    @property
    def stderr_tail(self) -> bytes:
        """The end of what the command said on stderr; may hold patient data."""
        return self._tail

    @property
    def stderr_bytes(self) -> int:
        """How much the command said on stderr."""
        return self._stderr_bytes

    def read(self, length: int) -> bytes:
        """Up to ``length`` bytes, at least one; none at the end of a good output.

        Raises ``CommandFailedError`` at the end of a bad one, and as soon as time runs out; and
        whatever ``check`` raises, soon after it would.
        """
        if self._ended or length <= 0:
            return b""
        if self._wait_for_output():
            piece = os.read(self._stdout, length)
            if piece:
                self._printed_bytes += len(piece)
                return piece
        self._judge(self._wait_for_exit())
        self._ended = True
        return b""

    def _wait_for_output(self) -> bool:
        """Wait until stdout has something (or has ended), taking in stderr meanwhile."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if self._stderr_open:
                selector.register(self._stderr, selectors.EVENT_READ)
            while True:
                wait_seconds = min(self._remaining_seconds(), _SILENCE_SECONDS)
                ready = {key.fd for key, _ in selector.select(wait_seconds)}
                if self._stderr in ready and not self._take_stderr():
                    selector.unregister(self._stderr)
                if self._stdout in ready:
                    return True

    def _wait_for_exit(self) -> int:
        """The exit status, negative for a signal.

        A child left in the background may keep stderr open for ever, so the exit is asked for
        again and again while stderr is taken in.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._stderr, selectors.EVENT_READ)
            while True:
                status = _exit_status(self._process.pid)
                pause_seconds = min(_POLL_SECONDS, self._remaining_seconds())
                if self._stderr_open and selector.select(
                    0 if status is not None else pause_seconds
                ):
                    self._take_stderr()
                elif status is not None:
                    return status
                elif not self._stderr_open:
                    time.sleep(pause_seconds)

    def _take_stderr(self) -> bool:
        """Take in what stderr has; False at its end."""
        said = os.read(self._stderr, 65536)
        self._stderr_bytes += len(said)
        self._tail = (self._tail + said)[-STDERR_TAIL_BYTES:]
        self._stderr_open = bool(said)
        return self._stderr_open

    def _remaining_seconds(self) -> float:
        self._check()
        remaining = self._deadline - self._monotonic()
        if remaining <= 0:
            raise self._failure(f"did not end within {self._timeout_seconds:g} seconds")
        return remaining

    def _judge(self, status: int) -> None:
        if status < 0:
            raise self._failure(f"was ended by signal {-status} ({_signal_name(-status)})")
        if status > 0:
            raise self._failure(f"ended with status {status}")
        if self._printed_bytes < self._minimum_bytes:
            raise self._failure(
                f"ended with status 0, but printed {self._printed_bytes} bytes, less than the "
                f"{self._minimum_bytes} that are expected"
            )

    def _failure(self, reason: str) -> CommandFailedError:
        return CommandFailedError(
            f"the command {reason}; it said {self._stderr_bytes} bytes on stderr",
            stderr_tail=self._tail,
        )


class CommandSource:
    """A command that prints what is to be backed up. No shell is between."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        timeout_seconds: float,
        *,
        minimum_bytes: int = 1,
        grace_seconds: float = GRACE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what :meth:`open` needs.

        ``environment`` is all that the command sees, but for a default PATH: the agent's own
        variables hold the credentials of the vault. ``timeout_seconds`` counts from the start to
        the end of the command, the time included in which the reader does not read.
        """
        self._argv = tuple(argv)
        self._environment = {"PATH": _DEFAULT_PATH, **environment}
        self._timeout_seconds = timeout_seconds
        self._minimum_bytes = minimum_bytes
        self._grace_seconds = grace_seconds
        self._monotonic = monotonic

    @contextmanager
    def open(self, check: Callable[[], None] = lambda: None) -> Iterator[CommandOutput]:
        """Start the command; at the end of the block it has ended, and all that it started.

        ``check`` is called again and again while the command is waited for, and raises when it is
        to be given up, for example because the agent was asked to stop. Raises
        ``CommandFailedError`` when the command cannot be started.
        """
        try:
            process = subprocess.Popen(
                self._argv,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=self._environment,
                start_new_session=True,  # a process group of its own, to be ended as one
            )
        except OSError as error:
            raise CommandFailedError(
                f"the command could not be started ({reason_of(error)})"
            ) from error
        with process:
            try:
                yield CommandOutput(
                    process,
                    timeout_seconds=self._timeout_seconds,
                    minimum_bytes=self._minimum_bytes,
                    monotonic=self._monotonic,
                    check=check,
                )
            finally:
                self._end(process.pid)

    def _end(self, process_id: int) -> None:
        """End what is left of the process group: ask, wait, insist.

        The leader is not reaped before the last signal: as long as it is not, its number, which
        names the group, cannot be given to a stranger.
        """
        if _exit_status(process_id) is None:
            os.killpg(process_id, signal.SIGTERM)
            deadline = self._monotonic() + self._grace_seconds
            while _exit_status(process_id) is None and self._monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        os.killpg(process_id, signal.SIGKILL)


def _exit_status(process_id: int) -> int | None:
    """Exit status of a child, negative for a signal, None while it runs; does not reap it."""
    ended = os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
