"""The installed commands on a site of their own: keys, a vault, agents, runs and restores.

The commands are those that stand beside the interpreter. The invariant: nothing but options, files
and the environment leads into a command, and nothing but its exit code, output and files leads out.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from safelight_agent.cli import program as agent_program
from safelight_restore.cli import program as restore_program
from safelight_vault.command_line import run_program

AGENT = "safelight-agent"
RESTORE = "safelight-restore"
TIMEOUT_SECONDS = 600.0
PROGRAMS = {AGENT: agent_program, RESTORE: restore_program}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command came to."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object of ``--json``; fails where stdout holds anything else."""
        value = json.loads(self.stdout)
        if not isinstance(value, dict) or self.stdout.count("\n") != 1:
            raise AssertionError(f"not one JSON object on one line: {self.stdout!r}")
        return value

    @property
    def is_bug(self) -> bool:
        """Whether an error nobody meant came through."""
        return self.code == 1 or "Traceback" in self.stderr or "a bug:" in self.stderr

    def require(self, code: int = 0) -> "Outcome":
        """Fail unless the command ended with this code and without a bug."""
        if self.code != code or self.is_bug:
            raise AssertionError(f"exit {self.code}, not {code}:\n{self.stdout}\n{self.stderr}")
        return self


Runner = Callable[[str, Sequence[str], Mapping[str, str]], Outcome]


def installed(name: str) -> str:
    """The path of the installed command of this name."""
    return str(Path(sys.executable).with_name(name))


def run_installed(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    """Run an installed command to its end."""
    ended = subprocess.run(
        [installed(name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, **environment},
    )
    return Outcome(code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)


def run_in_process(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    """What :func:`run_installed` does, without a process: for commands that run a thousand times.

    Must not be used for ``backup`` and ``run``, which catch signals.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [name, *arguments])
        for variable, value in environment.items():
            patch.setenv(variable, value)
        try:
            code = run_program(PROGRAMS[name], name)
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 1
    return Outcome(code=code, stdout=out.getvalue(), stderr=err.getvalue())


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledVault:
    """A vault as its administrator and its restorer see it."""

    directory: Path
    """Everything but an S3 vault's objects is in here."""
    url: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Path:
        """The identity file; administrator's key and trust file are beside it."""
        return self.directory / "keys" / "identity.key"

    @property
    def trust(self) -> Path:
        """The public trust file."""
        return self.identity.with_name("vault.trust")

    @property
    def store_directory(self) -> Path:
        """Where a ``file://`` vault keeps its objects."""
        return Path(self.url.removeprefix("file://"))

    def restore_command(self, *arguments: str, runner: Runner = run_installed) -> Outcome:
        """``safelight-restore`` with vault and identity."""
        options = ["--vault", self.url, "--identity", str(self.identity)]
        return runner(RESTORE, [*options, *arguments], self.environment)

    def restore(self, target: Path, *arguments: str, runner: Runner = run_installed) -> Outcome:
        """Restore into ``target``."""
        return self.restore_command(
            "restore", "--target", str(target), "--json", *arguments, runner=runner
        )

    def verify(self, *, runner: Runner = run_installed) -> Outcome:
        """Verify the latest snapshots and every object."""
        return self.restore_command("verify", "--json", runner=runner)

    def audit(self) -> Outcome:
        """Audit with the trust file alone."""
        options = ["--vault", self.url, "--trust", str(self.trust), "audit", "--json"]
        return run_installed(RESTORE, options, self.environment)

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots as the restore tool lists them."""
        rows: list[dict[str, Any]] = (
            self.restore_command("snapshots", "--json").require().result["snapshots"]
        )
        return rows

    def agent(
        self,
        sources: Mapping[str, Path],
        *,
        name: str = "agent",
        agent_lines: str = "",
        source_lines: str = "",
        tables: str = "[metrics]\nport = 0\n",
        enrolled: bool = True,
    ) -> "InstalledAgent":
        """A new agent for these trees: its configuration, its keys, and its enrolment."""
        directory = self.directory / name
        directory.mkdir()
        agent = InstalledAgent(vault=self, name=name, directory=directory)
        agent.write_config(
            sources, agent_lines=agent_lines, source_lines=source_lines, tables=tables
        )
        agent.command("init", "--json").require()
        if enrolled:
            self.enrol(agent)
        return agent

    def enrol(self, agent: "InstalledAgent") -> Outcome:
        """Sign the agent's request; the first one creates the vault."""
        return self.restore_command("enrol", str(agent.request), "--json").require()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledAgent:
    """An agent: its configuration file and its state directory."""

    vault: InstalledVault
    name: str
    directory: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "agent.toml"

    @property
    def state_directory(self) -> Path:
        """Keys, local state, results."""
        return self.directory / "state"

    @property
    def request(self) -> Path:
        """What the administrator signs."""
        return self.state_directory / "enrolment.request"

    def write_config(
        self,
        sources: Mapping[str, Path],
        *,
        agent_lines: str = "",
        source_lines: str = "",
        vault_lines: str = "accept_emulated_locks = true",
        tables: str = "[metrics]\nport = 0\n",
        url: str | None = None,
    ) -> None:
        """Write the configuration file (again); ``lines`` go into the table of their name."""
        trees = "".join(
            f'[[source]]\nname = "{name}"\nkind = "tree"\npath = "{path}"\n{source_lines}\n'
            for name, path in sources.items()
        )
        self.config.write_text(
            f'[vault]\nurl = "{url or self.vault.url}"\ntrust = "{self.vault.trust}"\n'
            f"{vault_lines}\n"
            f'[agent]\nname = "{self.name}"\nstate_directory = "{self.state_directory}"\n'
            f"{agent_lines}\n{tables}\n{trees}"
        )

    def command(self, *arguments: str) -> Outcome:
        """``safelight-agent`` with the configuration file."""
        options = ["--config", str(self.config), *arguments]
        return run_installed(AGENT, options, self.vault.environment)

    def back_up(self, *, code: int = 0) -> dict[str, Any]:
        """One backup of all sources, which ends with this code; gives its JSON object."""
        return self.command("backup", "--json").require(code).result

    def lose_everything(self) -> None:
        """Delete configuration, keys and local state, as a fire would."""
        shutil.rmtree(self.directory)


def new_vault(
    directory: Path, *, url: str | None = None, environment: Mapping[str, str] | None = None
) -> InstalledVault:
    """Keys for a new vault, in a directory of its own; ``file://`` unless told otherwise.

    The vault itself comes into being when its first agent is enrolled.
    """
    (directory / "keys").mkdir(parents=True)
    vault = InstalledVault(
        directory=directory,
        url=url or f"file://{directory / 'vault'}",
        environment=environment or {},
    )
    options = ["--identity", str(vault.identity), "keygen", "--json"]
    run_installed(RESTORE, options, vault.environment).require()
    return vault
