"""The installed command ``safelight-agent`` on a site: its configuration file, and processes.

For sites whose store can be reached from another process; their clock is the machine's own.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import killing_agent
from agent_runs import SOURCE, Site, SystemClock, new_site
from safelight_vault.store.directory import DirectoryStore
from vaults import SilentLog

TIMEOUT_SECONDS = 120.0
SYSTEM_CLOCK = SystemClock()
DRIVER = Path(killing_agent.__file__)


def directory_store(
    root: Path, *, now: Callable[[], datetime] = SYSTEM_CLOCK.now
) -> DirectoryStore:
    """A new or existing store in a directory, on the system's clock or another."""
    return DirectoryStore(root, now=now, new_version_id=lambda: uuid.uuid4().hex, create=True)


def directory_site(directory: Path, *, fill: bool = True) -> Site:
    """A site on a ``file://`` vault, for the installed commands."""
    store = directory_store(directory / "vault")
    return new_site(directory, store=store, clock=SYSTEM_CLOCK, fill=fill)


def copy_site(site: Site, directory: Path) -> Site:
    """A copy of the vault and of the agent's state; archive and keys are shared."""
    shutil.copytree(site.vault.directory / "vault", directory / "vault")
    shutil.copytree(site.state_directory, directory / site.state_directory.name)
    vault = replace(
        site.vault,
        directory=directory,
        store=directory_store(directory / "vault"),
        log=SilentLog(),
    )
    return replace(site, vault=vault, expected=dict(site.expected), results=list(site.results))


def tree_table(path: Path, *, name: str = SOURCE, more: str = "") -> str:
    """The table of a directory tree in a configuration file."""
    return f'[[source]]\nname = "{name}"\nkind = "tree"\npath = "{path}"\n{more}\n'


def command_table(argv: Sequence[str], *, name: str, more: str = "") -> str:
    """The table of a command in a configuration file."""
    return (
        f'[[source]]\nname = "{name}"\nkind = "command"\ncommand = {json.dumps(list(argv))}\n'
        f'file_name = "output"\n{more}\n'
    )


def write_config(
    site: Site,
    *,
    sources: str = "",
    url: str = "",
    agent: str = "",
    vault: str = "",
    metrics: str = "",
    tables: str = "",
) -> Path:
    """A configuration file of the site; ``agent`` and ``vault`` are more lines of these tables."""
    path = site.vault.directory / "agent.toml"
    path.write_text(
        f'[vault]\nurl = "{url or site.store.url}"\ntrust = "{site.vault.keys.trust}"\n'
        f"accept_emulated_locks = true\n{vault}\n"
        f'[agent]\nname = "{site.agent}"\nstate_directory = "{site.state_directory}"\n'
        f"workers = 1\nupload_workers = 1\n{agent}\n"
        f"[metrics]\nport = 0\n{metrics}\n{tables}\n"
        f"{sources or tree_table(site.archive)}"
    )
    return path


def agent_command(config: Path, *arguments: str) -> list[str]:
    """The arguments that run the installed command."""
    program = Path(sys.executable).with_name("safelight-agent")
    return [str(program), "--config", str(config), *arguments]


def killing_command(config: Path, nth: int) -> list[str]:
    """The arguments that run a backup and kill it after its n-th store operation."""
    driver = [sys.executable, str(DRIVER), str(nth)]
    return [*driver, "--config", str(config), "backup", "--json"]


def run_command(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    limits: Callable[[], None] | None = None,
    user: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. ``limits`` is called in the new process before it begins."""
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, **(environment or {})},
        preexec_fn=limits,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
