"""The administrator's commands: ``keygen`` and ``enrol``.

What it guards: a new vault is sealed to the recipients of a trust file that belongs to the same
vault as the administrator's key.
"""

import os
from datetime import timedelta
from pathlib import Path

import click

from safelight_restore.administration import Administrator, key_paths, make_keys
from safelight_restore.cli_options import Options
from safelight_vault.command_line import json_option
from safelight_vault.errors import ConfigurationError
from safelight_vault.key_files import Trust, read_administrator, read_trust
from safelight_vault.terminal import Terminal

CONFIG_RETENTION_DAYS = 3653 + 14
"""How long enrolments and the configuration are locked at first: the longest default class."""


@click.command()
@json_option
@click.pass_obj
def keygen(options: Options, as_json: bool) -> None:
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


@click.command()
@click.argument("request", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--administrator",
    type=click.Path(path_type=Path),
    help="The administrator's key file [default: administrator.key beside the identity].",
)
@json_option
@click.pass_obj
def enrol(options: Options, request: Path, administrator: Path | None, as_json: bool) -> None:
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


def _recipients(options: Options, administrator: Path, trust: Trust) -> Trust:
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
