"""What a person sees: tables, progress bars and errors, or one JSON object for a machine.

The only module that imports ``rich``. The invariant: with ``--json``, stdout holds exactly one JSON
object and nothing else; everything meant for eyes goes to stderr.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from safelight_vault.errors import VaultError


class Bar(Protocol):
    """A progress bar: told how far the work is."""

    def __call__(self, done: int, total: int | None, note: str) -> None:
        """``done`` of ``total`` bytes (None: not known), and a few words."""
        ...


class Terminal:
    """The two outputs of a command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Tables that are not shown on a terminal are read by scripts or mailed: no narrow columns.
        width = None if sys.stdout.isatty() else 160
        self._out = Console(file=sys.stdout, soft_wrap=True, highlight=False, width=width)
        self._err = Console(file=sys.stderr, soft_wrap=True, highlight=False)

    def result(self, value: Mapping[str, object], text: str = "") -> None:
        """The command's result: the object for ``--json``, otherwise ``text``."""
        if self.as_json:
            # Names may be any bytes; escaping keeps the output valid ASCII whatever they are.
            sys.stdout.write(json.dumps(value, ensure_ascii=True, default=str) + "\n")
            sys.stdout.flush()
        elif text:
            self._out.print(escape(text))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table for people; nothing with ``--json``."""
        if self.as_json:
            return
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, no_wrap=number == 0, overflow="fold")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self._out.print(table)

    def note(self, text: str) -> None:
        """A remark on stderr."""
        self._err.print(escape(text))

    def error(self, error: VaultError) -> None:
        """What went wrong, and what to do next."""
        self._err.print(f"[bold red]error:[/] {escape(error.message)}")
        self._err.print(f"[bold]next:[/] {escape(error.next_step)}")

    @contextmanager
    def progress(self, what: str) -> Iterator[Bar]:
        """A progress bar on stderr while the block runs; silent when stderr is no terminal."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._err, disable=not self._err.is_terminal) as bars:
            task = bars.add_task(escape(what), total=None, note="")

            def tell(done: int, total: int | None, note: str) -> None:
                bars.update(task, completed=done, total=total, note=escape(note))

            yield tell


def printable(name: bytes) -> str:
    """A file name that is safe to show: control characters and bad UTF-8 escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size_text(size_bytes: float) -> str:
    """A size for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size_bytes) < 1024 or unit == "TiB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError("the loop always returns")
