"""The command ``safelight-restore``: works from a vault's URL and an identity file, no config.

The only module of the restore tool that touches the real clock, the real random source and the
environment.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import click

from safelight_restore.access import LATEST, Access, Choice, choose
from safelight_restore.administration import Administrator, key_paths, make_keys
from safelight_restore.audit import audit as audit_vault
from safelight_restore.execute import Progress
from safelight_restore.existing import Exists
from safelight_restore.ledger import Ledger
from safelight_restore.listing import (
    catalogue_rows,
    find_instances,
    snapshot_rows,
    summarise,
)
from safelight_restore.report import (
    audit_object,
    restore_object,
    show_audit,
    show_plan,
    show_restore,
    show_verdict,
    verify_object,
)
from safelight_restore.restoring import restore_snapshots
from safelight_restore.select import Selection
from safelight_restore.verify import Verifier
from safelight_vault.command_line import EXIT_CODES, exit_with, json_option, run_program
from safelight_vault.errors import ConfigurationError, CorruptError
from safelight_vault.key_files import (
    IdentityFile,
    Trust,
    read_administrator,
    read_identity,
    read_trust,
)
from safelight_vault.logs import set_up_logs
from safelight_vault.store import LockMode, Store
from safelight_vault.store.opening import StoreOptions, open_store
from safelight_vault.terminal import Terminal, size_text

CONFIG_RETENTION_DAYS = 3653 + 14
"""How long enrolments and the configuration are locked at first: the longest default class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """The options that all commands share."""

    vault: str | None
    identity: Path | None
    trust: Path | None
    store: StoreOptions

    def open_store(self, *, create: bool = False) -> Store:
        if self.vault is None:
            raise ConfigurationError("this command needs --vault URL")
        options = self.store
        if create:
            options = StoreOptions(
                **{**{name: getattr(options, name) for name in options.__slots__}, "create": True}
            )
        return open_store(
            self.vault,
            options=options,
            now=lambda: datetime.now(UTC),
            new_version_id=lambda: os.urandom(16).hex(),
            sleep=time.sleep,
            uniform=random.SystemRandom().uniform,
        )

    def identity_file(self) -> IdentityFile:
        if self.identity is None:
            raise ConfigurationError("this command needs --identity FILE")
        return read_identity(self.identity)

    def access(self) -> Access:
        """A vault opened with an identity."""
        file = self.identity_file()
        return Access(
            store=self.open_store(),
            trust=file.trust,
            identities={file.identity.recipient.fingerprint: file.identity},
        )

    def public_access(self) -> Access:
        """A vault opened with the trust file alone, or with what an identity file says of it."""
        if self.trust is not None:
            trust = read_trust(self.trust)
        elif self.identity is not None:
            trust = read_identity(self.identity).trust
        else:
            raise ConfigurationError("this command needs --trust FILE or --identity FILE")
        return Access(store=self.open_store(), trust=trust, identities={})


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--vault", help="Where the vault is: file:///path or s3://bucket/prefix.")
@click.option(
    "--identity", type=click.Path(path_type=Path), help="The identity file that keygen made."
)
@click.option(
    "--trust", type=click.Path(path_type=Path), help="The public trust file (audit needs no more)."
)
@click.option("--endpoint-url", help="S3 endpoint (default: the AWS variables and files).")
@click.option("--region", help="S3 region.")
@click.option("--profile", help="Profile in the AWS files that holds the credentials.")
@click.option("--ca-bundle", type=click.Path(path_type=Path), help="CA of the S3 endpoint.")
@click.option(
    "--allow-plaintext-loopback", is_flag=True, help="Accept http:// to this machine (tests)."
)
@click.option(
    "--governance", is_flag=True, help="The vault's locks are in GOVERNANCE mode (enrol)."
)
@click.option("--verbose", is_flag=True, help="Log details.")
@click.version_option(version("safelight"))
@click.pass_context
def program(  # noqa: PLR0917 - one parameter an option
    context: click.Context,
    vault: str | None,
    identity: Path | None,
    trust: Path | None,
    endpoint_url: str | None,
    region: str | None,
    profile: str | None,
    ca_bundle: Path | None,
    allow_plaintext_loopback: bool,
    governance: bool,
    verbose: bool,
) -> None:
    """Restore a Safelight vault, and prove what came back.

    \b
    In a disaster:
      safelight-restore --vault URL --identity FILE snapshots
      safelight-restore --vault URL --identity FILE find --patient ID
      safelight-restore --vault URL --identity FILE restore --target DIR
    """
    set_up_logs("text" if os.isatty(2) else "json", verbose=verbose)
    context.obj = _Options(
        vault=vault,
        identity=identity,
        trust=trust,
        store=StoreOptions(
            mode=LockMode.GOVERNANCE if governance else LockMode.COMPLIANCE,
            endpoint_url=endpoint_url,
            region=region,
            profile=profile,
            ca_bundle=ca_bundle,
            allow_plaintext_loopback=allow_plaintext_loopback,
        ),
    )


@program.command()
@json_option
@click.pass_obj
def keygen(options: _Options, as_json: bool) -> None:
    """Make a new vault's keys: identity, administrator's key and trust file. Needs no vault.

    The files are made beside the one named by --identity; existing ones are never overwritten.
    """
    if options.identity is None:
        raise ConfigurationError("keygen needs --identity FILE: where the new identity goes")
    paths = key_paths(options.identity)
    trust = make_keys(paths, os.urandom)
    fingerprint = trust.administrator_fingerprint.hex()
    recipient = trust.recipients[0].fingerprint.hex()
    Terminal(as_json=as_json).result(
        {
            "identity": str(paths.identity),
            "administrator": str(paths.administrator),
            "trust": str(paths.trust),
            "vault_id": trust.vault_id.hex(),
            "administrator_fingerprint": fingerprint,
            "recipient": recipient,
        },
        f"vault id       {trust.vault_id.hex()}\n"
        f"administrator  {fingerprint}\n"
        f"recipient      {recipient}\n\n"
        f"SECRET  {paths.identity}: opens everything. Keep it offline, in two places.\n"
        f"SECRET  {paths.administrator}: enrols agents. Keep it offline.\n"
        f"public  {paths.trust}: give it to agents (vault.trust) and auditors.",
    )


@program.command()
@click.argument("request", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--administrator",
    type=click.Path(path_type=Path),
    help="The administrator's key file [default: administrator.key beside the identity].",
)
@json_option
@click.pass_obj
def enrol(options: _Options, request: Path, administrator: Path | None, as_json: bool) -> None:
    """Sign an agent's REQUEST; the first one creates the vault."""
    identity = options.identity_file() if options.identity is not None else None
    if administrator is None:
        if options.identity is None:
            raise ConfigurationError("enrol needs --administrator FILE or --identity FILE")
        administrator = key_paths(options.identity).administrator
    trust, key = read_administrator(administrator)
    recipients = _recipients(options, administrator, trust)
    store = options.open_store()
    enrolled = Administrator(
        store=store,
        trust=trust,
        key=key,
        retain=timedelta(days=CONFIG_RETENTION_DAYS),
        now=store.now(),
        random_bytes=os.urandom,
    ).enrol(request.read_bytes(), recipients.recipients, identity.identity if identity else None)
    Terminal(as_json=as_json).result(
        {
            "agent": enrolled.agent_id.hex(),
            "label": enrolled.label,
            "vault_created": enrolled.vault_created,
            "vault_id": trust.vault_id.hex(),
        },
        f"Agent {enrolled.label} ({enrolled.agent_id.hex()}) is enrolled"
        + (", and the vault was created." if enrolled.vault_created else "."),
    )


def _recipients(options: _Options, administrator: Path, trust: Trust) -> Trust:
    """The recipients that a new vault is sealed to: those of the trust file."""
    path = options.trust or administrator.with_name("vault.trust")
    recipients = read_trust(path)
    same = (recipients.vault_id, recipients.administrator_fingerprint) == (
        trust.vault_id,
        trust.administrator_fingerprint,
    )
    if not same:
        raise ConfigurationError(f"{path} and {administrator} are of different vaults")
    return recipients


def _snapshot_options(command: Callable[..., object]) -> Callable[..., object]:
    for option in (
        click.option(
            "--at",
            type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]),
            help="As of this time (UTC): nothing made later is looked at.",
        ),
        click.option(
            "--snapshot",
            default=LATEST,
            show_default=True,
            help="A snapshot's id, 'latest' or 'latest-complete' (of every source).",
        ),
    ):
        command = option(command)
    return command


def _choose(access: Access, snapshot: str, at: datetime | None) -> Choice:
    return choose(access.heads(), snapshot, at=None if at is None else at.replace(tzinfo=UTC))


@program.command()
@json_option
@click.pass_obj
def snapshots(options: _Options, as_json: bool) -> None:
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


@program.command()
@click.option("--patient", help="Patient ID (exact) or part of the patient's name.")
@click.option("--study", help="Study Instance UID or accession number.")
@click.option("--series", help="Series Instance UID.")
@click.option("--modality", help="Modality, such as CT.")
@click.option("--since", help="Earliest study date, YYYYMMDD.")
@click.option("--until", help="Latest study date, YYYYMMDD.")
@click.option("--paths", is_flag=True, help="List the files, for 'restore'.")
@_snapshot_options
@json_option
@click.pass_obj
def find(  # noqa: PLR0917 - one parameter an option
    options: _Options,
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
    choice = _choose(access, snapshot, at)
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


@program.command()
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
@click.option("--threads", type=click.IntRange(1, 64), default=4, show_default=True)
@click.argument("patterns", nargs=-1)
@_snapshot_options
@json_option
@click.pass_obj
def restore(  # noqa: PLR0917 - one parameter an option
    options: _Options,
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
    choice = _choose(access, snapshot, at)
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


@program.command()
@click.option("--all-snapshots", is_flag=True, help="Files of all snapshots, not only the chosen.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Remember what was verified here.")
@click.option("--max-minutes", type=click.FloatRange(0), help="Leave packs for next time after it.")
@_snapshot_options
@json_option
@click.pass_obj
def verify(  # noqa: PLR0917 - one parameter an option
    options: _Options,
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
        chosen = choose(heads, snapshot, at=None if at is None else at.replace(tzinfo=UTC)).heads
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


@program.command()
@click.option("--quick", is_flag=True, help="Do not read and hash every object.")
@json_option
@click.pass_obj
def audit(options: _Options, quick: bool, as_json: bool) -> None:
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


def main() -> None:
    """Entry point of ``safelight-restore``."""
    exit_with(run_program(program, "safelight-restore"))
