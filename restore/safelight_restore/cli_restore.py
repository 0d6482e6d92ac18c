"""The operator's commands in a disaster: ``snapshots``, ``find`` and ``restore``."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import click

from safelight_restore.cli_options import Options, choose_snapshots, snapshot_options
from safelight_restore.execute import Progress
from safelight_restore.existing import Exists
from safelight_restore.listing import (
    catalogue_rows,
    find_instances,
    snapshot_rows,
    summarise,
)
from safelight_restore.report import restore_object, show_plan, show_restore
from safelight_restore.restoring import restore_snapshots
from safelight_restore.select import Selection
from safelight_vault.command_line import exit_with, json_option
from safelight_vault.errors import CorruptError
from safelight_vault.terminal import Terminal, size_text


@click.command()
@json_option
@click.pass_obj
def snapshots(options: Options, as_json: bool) -> None:
    """List the snapshots, with their sources, counts and locks."""
    access = options.access()
    heads = access.heads()
    rows = snapshot_rows(access, heads)
    terminal = Terminal(as_json=as_json)
    damaged = [{"snapshot": head.name.snapshot_id, "reason": head.reason} for head in heads.damaged]
    terminal.result({"snapshots": rows, "damaged": damaged, "tampering": access.tampering})
    columns = ("snapshot", "source", "made (UTC)", "class", "files", "bytes", "state", "kept until")
    terminal.table("Snapshots", columns, [_snapshot_row(row) for row in rows])
    for item in damaged:
        terminal.note(f"damaged: {item['snapshot']}: {item['reason']}")
    exit_with(CorruptError.exit_code if damaged or access.tampering else 0)


def _snapshot_row(row: dict[str, object]) -> tuple[object, ...]:
    size = row["bytes"]
    return (
        row["snapshot"],
        row["source"],
        row["created"],
        row["class"],
        row["files"],
        size_text(size) if isinstance(size, int) else "",
        row["state"],
        row["retain_until"],
    )


@click.command()
@click.option("--patient", help="Patient ID (exact) or part of the patient's name.")
@click.option("--study", help="Study Instance UID or accession number.")
@click.option("--series", help="Series Instance UID.")
@click.option("--modality", help="Modality, such as CT.")
@click.option("--since", help="Earliest study date, YYYYMMDD.")
@click.option("--until", help="Latest study date, YYYYMMDD.")
@click.option("--paths", is_flag=True, help="List the files, for 'restore'.")
@snapshot_options
@json_option
@click.pass_obj
def find(  # noqa: PLR0917 - one parameter an option
    options: Options,
    patient: str | None,
    study: str | None,
    series: str | None,
    modality: str | None,
    since: str | None,
    until: str | None,
    paths: bool,
    snapshot: str,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Find patients, studies and series in a snapshot's catalogue."""
    access = options.access()
    choice = choose_snapshots(access.heads(), snapshot, at)
    terminal = Terminal(as_json=as_json)
    with ExitStack() as stack:
        opened = [access.open(head) for head in choice.heads]
        for one in opened:
            stack.callback(one.close)
        found = find_instances(
            opened,
            patient=patient,
            study=study,
            series=series,
            modality=modality,
            since=since,
            until=until,
        )
        studies = summarise(found, with_paths=paths)
    terminal.result({"studies": studies})
    columns = ("patient", "name", "date", "modality", "study", "accession", "series", "files")
    terminal.table("Studies", columns, catalogue_rows(studies))


@click.command()
@click.option(
    "--target", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to."
)
@click.option(
    "--exists",
    type=click.Choice([rule.value for rule in Exists]),
    default=Exists.REFUSE.value,
    show_default=True,
    help="What to do about files that are in the target already.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Packs read and files proved at a time.",
)
@click.argument("patterns", nargs=-1)
@snapshot_options
@json_option
@click.pass_obj
def restore(  # noqa: PLR0917 - one parameter an option
    options: Options,
    target: Path,
    exists: str,
    dry_run: bool,
    threads: int,
    patterns: tuple[str, ...],
    snapshot: str,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Restore everything, or what PATTERNs match; each source lands at TARGET/its name.

    A pattern is matched against SOURCE/PATH and PATH; a directory stands for all below it, '**'
    for any number of directories. An interrupted restore resumes when the same command is run.
    """
    access = options.access()
    terminal = Terminal(as_json=as_json)
    began = time.monotonic()
    choice = choose_snapshots(access.heads(), snapshot, at)
    with _scratch() as scratch, terminal.progress("restore") as bar:

        def tell(progress: Progress) -> None:
            note = f"{progress.files_done} of {progress.files_total} files"
            bar(progress.bytes_done, progress.bytes_total, note)

        restored = restore_snapshots(
            access,
            choice,
            target=target,
            selection=Selection([os.fsencode(pattern) for pattern in patterns]),
            exists=Exists(exists),
            dry_run_scratch=scratch if dry_run else None,
            threads=threads,
            on_progress=tell,
            on_plan=lambda plan: show_plan(terminal, plan),
        )
    terminal.result(restore_object(restored, time.monotonic() - began))
    show_restore(terminal, restored)
    exit_with(restored.exit_code)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="safelight-") as directory:
        yield Path(directory)
