"""The commands that prove a vault without restoring it: ``verify`` and ``audit``."""

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from safelight_restore.audit import audit as audit_vault
from safelight_restore.cli_options import Options, choose_snapshots, snapshot_options
from safelight_restore.ledger import Ledger
from safelight_restore.report import audit_object, show_audit, show_verdict, verify_object
from safelight_restore.verify import Verifier
from safelight_vault.command_line import exit_with, json_option
from safelight_vault.errors import CorruptError
from safelight_vault.terminal import Terminal


@click.command()
@click.option("--all-snapshots", is_flag=True, help="Files of all snapshots, not only the chosen.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Remember what was verified here.")
@click.option("--max-minutes", type=click.FloatRange(0), help="Leave packs for next time after it.")
@snapshot_options
@json_option
@click.pass_obj
def verify(  # noqa: PLR0917 - one parameter an option
    options: Options,
    all_snapshots: bool,
    ledger: Path | None,
    max_minutes: float | None,
    snapshot: str,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Prove the vault: hash every object, chunk and file, and parse every DICOM file.

    With a ledger, packs that were verified longest ago come first, so that a time limit never
    leaves the same ones out.
    """
    access = options.access()
    terminal = Terminal(as_json=as_json)
    began = time.monotonic()
    heads = access.heads()
    chosen = heads.good
    if not all_snapshots:
        chosen = choose_snapshots(heads, snapshot, at).heads
    remembered = None if ledger is None else Ledger(ledger)
    limit = None if max_minutes is None else began + 60 * max_minutes
    with terminal.progress("verify") as bar:
        verifier = Verifier(
            access,
            remembered,
            now=lambda: datetime.now(UTC),
            on_progress=lambda done, total, note: bar(done, total or None, note),
            deadline=lambda: limit is not None and time.monotonic() > limit,
        )
        verdict = verifier.run(heads, chosen)
    if remembered is not None:
        remembered.close()
    terminal.result(verify_object(verdict, access.tampering, time.monotonic() - began))
    show_verdict(terminal, verdict)
    exit_with(CorruptError.exit_code if access.tampering else verdict.exit_code)


@click.command()
@click.option("--quick", is_flag=True, help="Do not read and hash every object.")
@json_option
@click.pass_obj
def audit(options: Options, quick: bool, as_json: bool) -> None:
    """Prove presence, hashes, signatures, chains and locks; needs no secret (--trust FILE)."""
    access = options.public_access()
    terminal = Terminal(as_json=as_json)
    with terminal.progress("audit") as bar:
        report = audit_vault(
            access,
            now=access.store.now(),
            read_everything=not quick,
            on_progress=lambda done, total: bar(done, total, ""),
        )
    terminal.result(audit_object(report))
    show_audit(terminal, report)
    exit_with(report.exit_code)
