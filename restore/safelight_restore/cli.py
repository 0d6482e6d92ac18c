"""The command ``safelight-restore``: works from a vault's URL and an identity file, no config.

The commands stand in ``cli_keys``, ``cli_restore``, ``cli_proof`` and ``cli_drill``. Together with
``cli_options`` these are the only modules of the restore tool that touch the real clock, the real
random source and the environment.
"""

import os
from importlib.metadata import version
from pathlib import Path

import click

from safelight_restore.cli_drill import drill
from safelight_restore.cli_keys import enrol, keygen
from safelight_restore.cli_options import Options
from safelight_restore.cli_proof import audit, verify
from safelight_restore.cli_restore import find, restore, snapshots
from safelight_vault.command_line import EXIT_CODES, exit_with, run_program
from safelight_vault.logs import set_up_logs
from safelight_vault.store import LockMode
from safelight_vault.store.opening import StoreOptions


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
    "--governance", is_flag=True, help="The vault's locks are in GOVERNANCE mode (enrol, drill)."
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
    context.obj = Options(
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


for _command in (keygen, enrol, snapshots, find, restore, verify, audit, drill):
    program.add_command(_command)


def main() -> None:
    """Entry point of ``safelight-restore``."""
    exit_with(run_program(program, "safelight-restore"))
