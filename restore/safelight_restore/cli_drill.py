"""The command ``drill``: the rehearsal, and the files that its result is written to."""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from safelight_restore.atomic_file import replace_file, require_writable_place
from safelight_restore.cli_options import Options, snapshot_options
from safelight_restore.drill.metrics import write_metrics
from safelight_restore.drill.order import DrillOrder
from safelight_restore.drill.page import drill_page
from safelight_restore.drill.rehearsal import Drill
from safelight_restore.drill.report import drill_object
from safelight_restore.drill.result import DrillResult
from safelight_restore.drill.scratch import scratch_directory
from safelight_restore.drill.summary import show_drill
from safelight_vault.command_line import exit_with, json_option
from safelight_vault.errors import ConfigurationError, VaultError
from safelight_vault.terminal import Terminal

REPORT_MODE = 0o600
"""Reports name studies and the vault's place: they are for whom the operator gives them to."""

_SIZE = re.compile(r"([0-9]+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)


class Size(click.ParamType[int]):
    """A size such as 500M or 20GiB; units are powers of 1024."""

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The size in bytes."""
        found = _SIZE.fullmatch(str(value))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is not a size such as 500M or 20GiB", param, ctx)
        return int(found[1]) << 10 * "KMGT".find(found[2].upper() or "-") + 10


def _sources(given: tuple[str, ...]) -> dict[str, Path]:
    sources: dict[str, Path] = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or not name or not path:
            raise ConfigurationError(f"--source {item!r} is not NAME=PATH")
        if name in sources:
            raise ConfigurationError(f"--source names {name!r} twice")
        if not Path(path).is_dir():
            raise ConfigurationError(f"--source {name}: {path} is not a directory")
        sources[name] = Path(path)
    return sources


HELP = """Rehearse a restore: time it, prove it, report it.

\b
1. Asks the store about every object that the snapshots need: there, whole, locked?
2. Restores a sample to scratch: the newest studies whole, and files in rotation, so that
   successive drills restore every file in turn.
3. Proves the sample on disk by SHA-256 and by DICOM parse, and compares it with the live
   source where --source says where that is.
4. Reports RTO (measured for the sample, extrapolated to everything), RPO, lock coverage and
   whatever is wrong; damaged studies are named. A drill that fails writes its report too.

\b
Weekly, on the restore host:
  safelight-restore --vault URL --identity FILE drill --report-html drill.html \\
    --report-json drill.json --textfile /var/lib/prometheus/node-exporter/drill.prom
Yearly, everything:
  ... drill --sample-percent 100 --scratch /big/disk
As long as the archive stands:
  ... drill --source pacs=/mnt/pacs

Exit codes: 0 passed; 3 something is damaged or missing; 5 locks fall short; 7 the sample could
not be restored in full for other reasons; 2, 4 and 6 as everywhere.
"""


@click.command(help=HELP)
@click.option(
    "--all-snapshots",
    is_flag=True,
    help="Ask about the objects and locks of all snapshots, not only those restored from.",
)
@click.option(
    "--sample-files",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Restore about as many files.",
)
@click.option(
    "--sample-percent",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    help="Restore at least this share of all files (100: everything).",
)
@click.option(
    "--sample-bytes", type=Size(), help="Restore no more than about this much, such as 20GiB."
)
@click.option(
    "--rotation",
    type=click.IntRange(0),
    help="Whose turn it is [default: the number of the day, by the store's clock].",
)
@click.option("--scratch", type=_DIRECTORY, help="Restore below here [default: a temporary place].")
@click.option("--keep", is_flag=True, help="Keep the restored sample, and say where it is.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME=PATH",
    help="Compare the sample with the live source NAME at PATH (may be repeated).",
)
@click.option("--report-json", type=_FILE, help="Write the report as JSON.")
@click.option("--report-html", type=_FILE, help="Write the report as one HTML page.")
@click.option("--textfile", type=_FILE, help="Write metrics for the node exporter (NAME.prom).")
@click.option(
    "--show-studies", is_flag=True, help="Name studies and patients in JSON and on the terminal."
)
@click.option("--threads", type=click.IntRange(1, 64), default=4, show_default=True)
@snapshot_options
@json_option
@click.pass_obj
def drill(  # noqa: PLR0917 - one parameter an option
    options: Options,
    all_snapshots: bool,
    sample_files: int,
    sample_percent: float,
    sample_bytes: int | None,
    rotation: int | None,
    scratch: Path | None,
    keep: bool,
    sources: tuple[str, ...],
    report_json: Path | None,
    report_html: Path | None,
    textfile: Path | None,
    show_studies: bool,
    threads: int,
    snapshot: str,
    at: datetime | None,
    as_json: bool,
) -> None:
    """The command: see ``HELP``."""
    for path in (report_json, report_html, textfile):
        if path is not None:
            require_writable_place(path)
    live = _sources(sources)
    terminal = Terminal(as_json=as_json)
    with scratch_directory(scratch, keep=keep) as directory:
        rehearsal = Drill(
            DrillOrder(
                snapshot=snapshot,
                at=None if at is None else at.replace(tzinfo=UTC),
                all_snapshots=all_snapshots,
                sample_files=sample_files,
                sample_percent=sample_percent,
                sample_bytes=sample_bytes,
                rotation=rotation,
                sources=live,
                scratch=directory,
                threads=threads,
            ),
            vault=options.vault or "",
            version=version("safelight"),
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            progress=lambda step: terminal.progress(f"drill: {step}"),
        )
        result = rehearsal.run(options.access)
        described = drill_object(result, show_studies=show_studies)
        # Reports first of all: whoever reads our output may go away.
        reports = [
            (textfile, lambda path: write_metrics(path, result)),
            (report_json, lambda path: _write_json(path, described)),
            (report_html, lambda path: _write_page(path, result)),
        ]
        failed = _write(terminal, [(path, write) for path, write in reports if path is not None])
        terminal.result(described)
        show_drill(terminal, result, show_studies=show_studies)
        if keep:
            terminal.note(f"the sample is kept in {directory}")
    exit_with(result.exit_code or failed)


def _write(terminal: Terminal, reports: Iterable[tuple[Path, Callable[[Path], None]]]) -> int:
    """Write what can be written; gives 0, or the exit code of what could not."""
    code = 0
    for path, write in reports:
        try:
            write(path)
        except VaultError as error:
            terminal.error(error)
            code = error.exit_code
    return code


def _write_json(path: Path, described: Mapping[str, object]) -> None:
    text = json.dumps(described, indent=2) + "\n"
    replace_file(path, text.encode("ascii"), mode=REPORT_MODE)


def _write_page(path: Path, result: DrillResult) -> None:
    replace_file(path, drill_page(result).encode("utf-8", "replace"), mode=REPORT_MODE)
