"""What all commands of ``safelight-restore`` share: the options of the program, and what they open.

The invariant: a vault is opened with the trust roots of a file that the operator gave, never with
what the bucket says of itself.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from safelight_restore.access import LATEST, Access, Choice, Heads, choose
from safelight_vault.errors import ConfigurationError
from safelight_vault.key_files import IdentityFile, read_identity, read_trust
from safelight_vault.store import Store
from safelight_vault.store.opening import StoreOptions, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that all commands share."""

    vault: str | None
    identity: Path | None
    trust: Path | None
    store: StoreOptions

    def open_store(self) -> Store:
        """The vault's store; the clock, randomness and waiting of this machine enter here."""
        if self.vault is None:
            raise ConfigurationError("this command needs --vault URL")
        return open_store(
            self.vault,
            options=self.store,
            now=lambda: datetime.now(UTC),
            new_version_id=lambda: os.urandom(16).hex(),
            sleep=time.sleep,
            uniform=random.SystemRandom().uniform,
        )

    def identity_file(self) -> IdentityFile:
        """The identity that the command was given."""
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


def snapshot_options(command: Callable[..., object]) -> Callable[..., object]:
    """The options that say which snapshots are meant."""
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


def choose_snapshots(heads: Heads, snapshot: str, at: datetime | None) -> Choice:
    """The snapshots meant by these options; a time without a zone is in UTC."""
    return choose(heads, snapshot, at=None if at is None else at.replace(tzinfo=UTC))
