"""A hospital in miniature for tests of faults: a vault, an agent, its archive, and what was in it.

Built on ``vaults``; what is added is memory. The invariant: for every snapshot that appears in the
vault, what the archive looked like when its run began is remembered here, so that a test can hold
each restore against it.
"""

import copy
import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random

from dicom_samples import ct_slice
from memory_store import MemoryStore
from safelight_agent.assembly import RESULTS_DIRECTORY, STATE_FILE, Machine
from safelight_agent.config import CommandSettings, TreeSettings
from safelight_agent.membership import AGENT_KEY_FILE
from safelight_agent.results import ResultStore, RunResult
from safelight_restore.access import Access
from safelight_vault.errors import ConfigurationError, VaultError
from safelight_vault.store import LockMode, Store
from vaults import Clock, SilentLog, VaultFixture, default_agent_settings

PATIENT_NAME = "Grace^Testpatient"
PATIENT_ID = "PID-77120"
STUDY_UID = "1.2.826.0.1.999.4711"
SOURCE = "pacs"
AGENT = "agent"
DAY = timedelta(days=1)

Seen = tuple[object, ...]
"""What is compared of one path: kind, permissions, time, and content or target."""


class Ticking(threading.Event):
    """A stop event that is asked between files, and does something at the n-th question."""

    def __init__(self, nth: int, action: Callable[[], object]) -> None:
        super().__init__()
        self.asked = 0
        self._nth = nth
        self._action = action

    def is_set(self) -> bool:
        """Whether to stop, as ever."""
        self.asked += 1
        if self.asked == self._nth:
            self._action()
        return super().is_set()


def look_at(root: Path) -> dict[bytes, Seen]:
    """Everything below a directory but special files: what a restore must bring back."""
    seen: dict[bytes, Seen] = {}
    pending = [b""]
    top = os.fsencode(root)
    while pending:
        directory = pending.pop()
        for name in os.listdir(os.path.join(top, directory)):
            path = os.path.join(directory, name)
            place = os.path.join(top, path)
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
            described = _describe(place, status)
            if described is not None:
                seen[path] = described
    return seen


def _describe(path: bytes, status: os.stat_result) -> Seen | None:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        return ("link", os.readlink(path), status.st_mtime_ns)
    if stat.S_ISDIR(mode):
        return ("directory", stat.S_IMODE(mode), status.st_mtime_ns)
    if not stat.S_ISREG(mode):
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return ("file", stat.S_IMODE(mode), status.st_mtime_ns, status.st_size, digest.hexdigest())


@cache
def slice_of(number: int, seed: int = 0) -> bytes:
    """A small CT slice of the one patient of the archive."""
    return ct_slice(
        patient_id=PATIENT_ID,
        patient_name=PATIENT_NAME,
        study_uid=STUDY_UID,
        series_uid=f"{STUDY_UID}.1",
        instance_uid=f"{STUDY_UID}.1.{number}",
        number=number,
        rows=32,
        columns=32,
        seed=seed,
    )


def fill_archive(root: Path, *, slices: int = 2, seed: int = 0) -> None:
    """A few CT slices in a directory of their patient, and other files; another seed, other bytes.

    Two runs over the same seed find the files as they were.
    """
    series = root / PATIENT_NAME / STUDY_UID
    series.mkdir(parents=True, exist_ok=True)
    for number in range(1, slices + 1):
        _write_if_other(series / f"slice-{number}.dcm", slice_of(number, seed))
    _write_if_other(root / "worklist.bin", Random(seed).randbytes(70_000))
    _write_if_other(root / "empty", b"")


def _write_if_other(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


class VersionIds:
    """Version ids that never repeat, also in copies of a store."""

    _count = 0

    def __call__(self) -> str:
        VersionIds._count += 1
        return f"v{VersionIds._count:08d}"


def new_memory_store(clock: Clock, *, mode: LockMode = LockMode.COMPLIANCE) -> MemoryStore:
    """An empty store in memory on a test's clock."""
    return MemoryStore(now=clock.now, new_version_id=VersionIds(), mode=mode)


def copy_memory_store(store: MemoryStore, clock: Clock) -> MemoryStore:
    """A store with the same objects, which goes its own way from now on."""
    twin = new_memory_store(clock, mode=store.lock_mode)
    twin._objects = copy.deepcopy(store._objects)
    return twin


@dataclass(slots=True, kw_only=True)
class Site:
    """One agent, its archive and its vault. Make it with :func:`new_site`."""

    vault: VaultFixture
    archive: Path
    agent: str = AGENT
    more: dict[str, object] = field(default_factory=dict)
    """Settings of the source beyond its path."""
    expected: dict[str, dict[bytes, Seen]] = field(default_factory=dict)
    """What the archive looked like, by the id of the snapshot that was made of it."""
    results: list[RunResult] = field(default_factory=list)
    is_recorded: bool = True
    """Whether the agent could keep the record of its last run."""

    @property
    def store(self) -> Store:
        """The vault's store, without faults."""
        return self.vault.store

    @property
    def memory(self) -> MemoryStore:
        """The store, where a test needs what only the one in memory can do."""
        if not isinstance(self.store, MemoryStore):
            raise TypeError("not a store in memory")
        return self.store

    @property
    def clock(self) -> Clock:
        """The clock of agent and store."""
        return self.vault.clock

    @property
    def state_directory(self) -> Path:
        """The agent's own files."""
        return self.vault.directory / f"state-{self.agent}"

    @property
    def state_file(self) -> Path:
        """The agent's cache."""
        return self.state_directory / STATE_FILE

    @property
    def success(self) -> object:
        """The agent's record of its last complete snapshot."""
        return ResultStore(self.state_directory / RESULTS_DIRECTORY).last_complete(SOURCE)

    @property
    def log_lines(self) -> list[str]:
        """The events that were logged, as lines of JSON."""
        return [
            json.dumps({"level": level, "event": event, **values}, default=str)
            for level, event, values in self.vault.log.events
        ]

    def settings(self) -> TreeSettings | CommandSettings:
        """The source as the configuration has it."""
        values = {"name": SOURCE, "path": self.archive, "retention": self.vault.retention}
        return TreeSettings(**(values | self.more))  # type: ignore[arg-type]

    def run(
        self,
        *,
        store: Store | None = None,
        stop: threading.Event | None = None,
        settings: TreeSettings | CommandSettings | None = None,
        machine: Callable[[Machine], Machine] = lambda machine: machine,
        later: timedelta = DAY,
    ) -> RunResult:
        """One run as the command does it, a day after the last; an error becomes its result."""
        self.clock.advance(later)
        looks = look_at(self.archive)
        vault = replace(self.vault, store=store or self.store, stop=stop or threading.Event())
        agent = vault.agent(settings or self.settings(), name=self.agent)
        agent.machine = machine(agent.machine)
        started, began = agent.machine.now(), agent.machine.monotonic()
        try:
            try:
                result = agent.back_up(SOURCE, lambda _: None)
            except VaultError as error:
                self.vault.log.error("run_failed", exit_code=error.exit_code, error=error.message)
                result = agent.failed(SOURCE, started, began, error)
            self.is_recorded = False
            with suppress(ConfigurationError):
                ResultStore(agent.results_directory).record(result)
                self.is_recorded = True
            self.results.append(result)
            return result
        finally:
            self.note_new_snapshots(looks)

    def note_new_snapshots(self, looks: dict[bytes, Seen] | None = None) -> None:
        """Remember what the archive looked like for snapshots that were not there before."""
        if looks is None:
            looks = look_at(self.archive)
        for head in self.access().heads().good:
            self.expected.setdefault(head.snapshot_id, looks)

    def access(self, store: Store | None = None) -> Access:
        """The vault as the restore tool sees it, with the identity."""
        return self.vault.access(store)

    def lose_state(self) -> None:
        """Delete the agent's cache, and keep its keys."""
        for path in self.state_directory.glob(f"{STATE_FILE}*"):
            path.unlink()

    def fork(self, directory: Path) -> "Site":
        """A copy of vault and agent on a clock of its own; both look at the same archive."""
        shutil.copytree(self.state_directory, directory / self.state_directory.name)
        clock = Clock(self.clock.now())
        vault = replace(
            self.vault,
            directory=directory,
            clock=clock,
            store=copy_memory_store(self.memory, clock),
            log=SilentLog(),
        )
        return replace(self, vault=vault, expected=dict(self.expected), results=list(self.results))

    def secrets(self) -> Sequence[bytes]:
        """What must never be seen outside of seals and key files, as text and as bytes."""
        keys = self.vault.keys
        texts = [
            line.split('"')[1]
            for path in (keys.identity, keys.administrator, self.state_directory / AGENT_KEY_FILE)
            for line in path.read_text().splitlines()
            if "secret = " in line
        ]
        return [*(text.encode() for text in texts), *(bytes.fromhex(text) for text in texts)]


def new_site(
    directory: Path,
    *,
    store: Store | None = None,
    clock: Clock | None = None,
    mode: LockMode = LockMode.COMPLIANCE,
    pack_size_bytes: int = 1 << 20,
    fill: bool = True,
) -> Site:
    """A site whose agent is enrolled, on a store in memory unless one is given.

    Its clock is an hour ahead of the system's: files that a test has just written are then old
    enough to be taken as unchanged by the second run.
    """
    clock = clock or Clock(datetime.now(UTC) + timedelta(hours=1))
    settings = replace(
        default_agent_settings(), workers=1, upload_workers=1, pack_size_bytes=pack_size_bytes
    )
    (directory / "keys").mkdir(parents=True)
    vault = VaultFixture.create(
        directory,
        store=store or new_memory_store(clock, mode=mode),
        clock=clock,
        agent_settings=settings,
    )
    site = Site(vault=vault, archive=directory / "archive")
    site.archive.mkdir()
    if fill:
        fill_archive(site.archive)
    vault.agent(site.settings(), name=site.agent)
    return site


class SystemClock(Clock):
    """The machine's own clock, for sites that installed commands work on; it cannot be moved."""

    def now(self) -> datetime:
        """The real time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The real time in seconds."""
        return datetime.now(UTC).timestamp()

    def advance(self, step: timedelta) -> None:
        """Nothing: time passes by itself."""
