"""The frame around both programs: options that all commands share, and errors turned into exits.

The only module besides the two ``cli`` modules that imports ``click``. What it guards: an error
raised on purpose becomes its text, its next step and its exit code; a bug becomes exit code 1 with
the place in our code and never the values that were being worked on (they may be patient data).
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import click

from safelight_vault.errors import VaultError
from safelight_vault.terminal import Terminal

EXIT_CODES = """
Exit codes: 0 done; 1 a bug; 2 configuration; 3 corrupt or tampered; 4 wrong identity;
5 refused (lock, unfit bucket, lease); 6 store unreachable; 7 incomplete.
"""
EXIT_INTERRUPTED = 130


class LossyStream:
    """A stream whose writes may fail unnoticed: a log that is lost must not stop the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def run_program(program: click.Command, name: str) -> int:
    """Run a click program and give its exit code; never lets a traceback with values out."""
    with contextlib.redirect_stderr(cast("TextIO", LossyStream(sys.stderr))):
        return _run(program, name)


def _run(program: click.Command, name: str) -> int:
    terminal = Terminal(as_json=False)
    code = EXIT_INTERRUPTED
    try:
        result = program.main(standalone_mode=False, prog_name=name)
        code = result if isinstance(result, int) else 0
    except VaultError as error:
        terminal.error(error)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.exceptions.Abort):
        terminal.note("interrupted; run the same command again to go on")
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say to it.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    except Exception as error:  # noqa: BLE001 - the last resort of both programs
        terminal.note(describe_bug(error))
        code = 1
    return code


def describe_bug(error: BaseException) -> str:
    """Kind and place of an unexpected error, without its message: that may hold patient data."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([f"a bug: {type(error).__name__}; please report these lines:", *places[-12:]])


def json_option(command: Callable[..., object]) -> Callable[..., object]:
    """The option ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout; logs on stderr."
    )(command)


def exit_with(code: int) -> None:
    """End the process with this code once everything is flushed."""
    sys.stdout.flush()
    try:
        sys.stderr.flush()
    except OSError:
        # Python would flush it once more on its way out, and exit with a code of its own.
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - closed by the exit
    sys.exit(code)
