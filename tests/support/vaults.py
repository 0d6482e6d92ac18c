"""Real vaults for tests: keys, trust, enrolled agents and backups, by the programs' own parts.

Everything is real but the clock and the random source, which are injected, and nothing is set up
that a hospital would not set up: keys are made as ``keygen`` makes them, an agent asks and is
enrolled, its configuration names one source, its run goes through the whole pipeline. The
invariant: what a test damages was written by the agent, and what it reads is read by the restore.

    vault = VaultFixture.create(tmp_path)                   # a file:// vault
    run = vault.back_up("pacs", tmp_path / "archive")       # the agent's RunResult
    vault.clock.advance(timedelta(days=1))
    vault.damage(vault.names(Kind.PACK)[0], flip(1000))
    access = vault.access()                                 # as the restore tool opens it

With ``store=`` the vault lies in any other store (memory, S3, a faulty one). A second agent
is enrolled by naming it: ``vault.back_up("pacs", tree, agent="second")``.
"""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keys import MOMENT_US, fixed_bytes
from safelight_agent.assembly import Agent, Machine
from safelight_agent.backup import Progress
from safelight_agent.config import (
    AgentSettings,
    CommandSettings,
    Config,
    MetricsSettings,
    RetentionSettings,
    TreeSettings,
    VaultSettings,
)
from safelight_agent.membership import AGENT_KEY_FILE, make_keys
from safelight_agent.results import RunResult
from safelight_agent.state_files import make_private_directory
from safelight_restore.access import Access
from safelight_restore.administration import Administrator, KeyPaths, key_paths
from safelight_restore.administration import make_keys as make_vault_keys
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.key_files import read_administrator, read_identity, read_trust
from safelight_vault.store import Store
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.directory_layout import object_path, parse_lock_file

CONFIG_RETENTION = timedelta(days=3667)
"""How long configuration and enrolments are locked: as the restore tool does."""

PACK_SIZE_BYTES = 1 << 20
"""Packs of a vault under test: small, so that little data makes several."""


class Clock:
    """The time of a whole vault: it stands still until a test moves it."""

    def __init__(self, moment: datetime | None = None) -> None:
        self._moment = moment or datetime.fromtimestamp(MOMENT_US / 1e6, UTC)

    def now(self) -> datetime:
        """The moment, aware and in UTC."""
        return self._moment

    def monotonic(self) -> float:
        """The same in seconds, for what measures durations."""
        return self._moment.timestamp()

    def advance(self, step: timedelta) -> None:
        """Let time pass."""
        self._moment += step


class RandomBytes:
    """A source of "random" bytes: the same in every run of a test, never the same twice in one.

    Asked by several threads at once, it may give them the same bytes in another order.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._numbers = itertools.count()

    def __call__(self, size: int) -> bytes:
        return fixed_bytes(f"{self._label} {next(self._numbers)}", size)


class SilentLog:
    """A log that keeps what it is told, for tests that ask."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, **values: object) -> None:
        self.events.append(("info", event, values))

    def warning(self, event: str, **values: object) -> None:
        self.events.append(("warning", event, values))

    def error(self, event: str, **values: object) -> None:
        self.events.append(("error", event, values))


class _AgentOnStore(Agent):
    """The agent, but for the URL: it works on the store that it is given."""

    def __init__(
        self, config: Config, machine: Machine, log: SilentLog, stop: threading.Event, store: Store
    ) -> None:
        super().__init__(config, machine, log, stop)
        self._store = store

    def open_store(self, *, create: bool = False) -> Store:
        return self._store


@dataclass(slots=True, kw_only=True)
class VaultFixture:
    """A vault that exists, and whoever works on it. Make it with :meth:`create`."""

    directory: Path
    store: Store
    keys: KeyPaths
    clock: Clock
    random_bytes: Callable[[int], bytes]
    agent_settings: AgentSettings
    """Of every agent; its name and state directory are filled in."""
    retention: RetentionSettings
    log: SilentLog = field(default_factory=SilentLog)
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        retention: RetentionSettings | None = None,
        agent_settings: AgentSettings | None = None,
    ) -> "VaultFixture":
        """Make the keys, and a ``file://`` store in ``directory/vault`` unless one is given.

        The vault itself is created when the first agent is enrolled, by its first backup. A store
        that is given must go by the same clock.
        """
        clock = clock or Clock()
        random_bytes = RandomBytes("vault fixture")
        if store is None:
            store = DirectoryStore(
                directory / "vault",
                now=clock.now,
                new_version_id=lambda: random_bytes(16).hex(),
                create=True,
            )
        keys = key_paths(directory / "keys" / "identity.key")
        make_vault_keys(keys, random_bytes)
        return cls(
            directory=directory,
            store=store,
            keys=keys,
            clock=clock,
            random_bytes=random_bytes,
            agent_settings=agent_settings or default_agent_settings(),
            retention=retention or RetentionSettings(),
        )

    @property
    def url(self) -> str:
        """What ``--vault`` takes."""
        return self.store.url

    # The agent's side

    def agent(self, *sources: TreeSettings | CommandSettings, name: str = "agent") -> Agent:
        """The agent of this name, enrolled, with these sources in its configuration."""
        state_directory = self.directory / f"state-{name}"
        self._enrol(name, state_directory)
        config = Config(
            vault=VaultSettings(url=self.url, trust=self.keys.trust, accept_emulated_locks=True),
            agent=replace(self.agent_settings, name=name, state_directory=state_directory),
            metrics=MetricsSettings(),
            retention=self.retention,
            sources=sources,
        )
        machine = Machine(
            now=self.clock.now,
            monotonic=self.clock.monotonic,
            random_bytes=self.random_bytes,
            uniform=lambda low, _: low,
            processors=2,
            uid=1000,
            gid=1000,
        )
        return _AgentOnStore(config, machine, self.log, self.stop, self.store)

    def back_up(
        self,
        source: str,
        tree: Path,
        *,
        agent: str = "agent",
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> RunResult:
        """One run over a directory tree; errors that end it early are raised."""
        settings = TreeSettings(name=source, path=tree, retention=self.retention, minimum_files=0)
        return self.agent(settings, name=agent).back_up(source, on_progress)

    def back_up_command(
        self, source: str, command: tuple[str, ...], *, agent: str = "agent"
    ) -> RunResult:
        """One run over a command's output, kept as the file ``output``."""
        settings = CommandSettings(
            name=source, command=command, file_name="output", retention=self.retention
        )
        return self.agent(settings, name=agent).back_up(source, lambda _: None)

    def _enrol(self, name: str, state_directory: Path) -> None:
        if (state_directory / AGENT_KEY_FILE).exists():
            return
        make_private_directory(state_directory)
        trust = read_trust(self.keys.trust)
        request, _ = make_keys(state_directory, trust, name, self.random_bytes)
        pinned, key = read_administrator(self.keys.administrator)
        Administrator(
            store=self.store,
            trust=pinned,
            key=key,
            retain=CONFIG_RETENTION,
            now=self.clock.now(),
            random_bytes=self.random_bytes,
        ).enrol(request.read_bytes(), trust.recipients, read_identity(self.keys.identity).identity)

    # The restore's side

    def access(self, store: Store | None = None) -> Access:
        """The vault as the restore tool opens it with the identity, on this or another store."""
        file = read_identity(self.keys.identity)
        return Access(
            store=store or self.store,
            trust=file.trust,
            identities={file.identity.recipient.fingerprint: file.identity},
        )

    def public_access(self, store: Store | None = None) -> Access:
        """The vault as an auditor opens it, with the trust file alone."""
        return Access(store=store or self.store, trust=read_trust(self.keys.trust), identities={})

    # What can be done to a vault

    def names(self, kind: Kind) -> list[str]:
        """The objects of a kind that the vault holds, in the order of their names."""
        return sorted(
            {
                version.name
                for version in self.store.list_versions(kind.value + "/")
                if not version.is_delete_marker and parse_name(version.name).kind is kind
            }
        )

    def damage(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Change the bytes of an object of a ``file://`` vault, as a disk or its host can."""
        for path in self._version_files(name):
            data = change(path.read_bytes())
            path.chmod(0o600)
            path.write_bytes(data)

    def remove(self, name: str) -> None:
        """Take an object with its lock out of a ``file://`` vault, as its host can."""
        directory = self._object_directory(name)
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()

    def unlock(self, name: str) -> None:
        """Take the lock of an object of a ``file://`` vault away."""
        for path in self._object_directory(name).iterdir():
            if parse_lock_file(path.name) is not None:
                path.unlink()

    def _object_directory(self, name: str) -> Path:
        if not isinstance(self.store, DirectoryStore):
            raise TypeError("this vault is in no directory: use what its store offers")
        return (self.directory / "vault").joinpath(*object_path(name))

    def _version_files(self, name: str) -> list[Path]:
        files = [
            path
            for path in self._object_directory(name).iterdir()
            if parse_lock_file(path.name) is None
        ]
        if not files:
            raise FileNotFoundError(name)
        return files


def default_agent_settings() -> AgentSettings:
    """Settings of agents under test: small packs, two workers, no limit that waits."""
    return AgentSettings(
        name="agent",
        state_directory=Path("/nonexistent"),
        workers=2,
        pack_size_bytes=PACK_SIZE_BYTES,
        memory_budget_bytes=64 << 20,
    )


def flip(position: int) -> Callable[[bytes], bytes]:
    """A change for :meth:`VaultFixture.damage`: one byte's bits turned (from the end if < 0)."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 0xFF
        return bytes(changed)

    return change


def cut(size_bytes: int) -> Callable[[bytes], bytes]:
    """A change for :meth:`VaultFixture.damage`: only the first bytes are left."""
    return lambda data: data[:size_bytes]
