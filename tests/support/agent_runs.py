"""A hospital in miniature for tests of faults: keys, a vault, an agent, its source, ways back.

Everything is real but the clock, the random source and the store, which are handed in. The
invariant: for every snapshot that appears in the vault, what the source looked like when its run
began is remembered here, so that a test can hold a restore against it.
"""

import copy
import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random

from dicom_samples import ct_slice
from memory_store import MemoryStore
from safelight_agent.assembly import STATE_FILE, Agent, Machine
from safelight_agent.config import Config, parse_config
from safelight_agent.membership import make_keys as make_agent_keys
from safelight_agent.results import ResultStore, RunResult
from safelight_restore.access import Access
from safelight_restore.administration import Administrator, KeyPaths, key_paths, make_keys
from safelight_vault.errors import VaultError
from safelight_vault.key_files import read_administrator, read_identity, read_trust
from safelight_vault.store import LockMode, Store

PATIENT_NAME = "Grace^Testpatient"
PATIENT_ID = "PID-77120"
STUDY_UID = "1.2.826.0.1.999.4711"
SOURCE = "pacs"
DAY = timedelta(days=1)
_LOCK_LIMIT = timedelta(days=3653 + 14)

Seen = tuple[object, ...]
"""What is compared of one path: kind, permissions, time, and content or target."""


class Clock:
    """A clock that stands still unless told otherwise."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        """The time it shows."""
        return self.time

    def advance(self, by: timedelta = DAY) -> None:
        """Let time pass."""
        self.time += by


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


@dataclass(slots=True)
class RecordingLog:
    """Keeps every event as the line of JSON that it would be."""

    lines: list[str] = field(default_factory=list)

    def _write(self, level: str, event: str, values: Mapping[str, object]) -> None:
        self.lines.append(json.dumps({"level": level, "event": event, **values}, default=str))

    def info(self, event: str, **values: object) -> None:
        """See :class:`safelight_vault.logs.Log`."""
        self._write("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """See :class:`safelight_vault.logs.Log`."""
        self._write("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        """See :class:`safelight_vault.logs.Log`."""
        self._write("error", event, values)


class StoreAgent(Agent):
    """The agent, on a store that is handed in instead of opened by URL."""

    def __init__(
        self, store: Store, config: Config, machine: Machine, log: RecordingLog, stop: threading.Event
    ) -> None:
        super().__init__(config, machine, log, stop)
        self._given_store = store

    def open_store(self, *, create: bool = False) -> Store:
        """The given store."""
        return self._given_store


def look_at(root: Path) -> dict[bytes, Seen]:
    """Everything below a directory but special files: what a restore must bring back."""
    seen: dict[bytes, Seen] = {}
    pending = [b""]
    top = os.fsencode(root)
    while pending:
        directory = pending.pop()
        for name in os.listdir(os.path.join(top, directory) if directory else top):
            path = os.path.join(directory, name) if directory else name
            status = os.lstat(os.path.join(top, path))
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
            found = _describe(os.path.join(top, path), status)
            if found is not None:
                seen[path] = found
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
def _slice(number: int, seed: int) -> bytes:
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
    """A small archive: a few CT slices in a directory of their patient, and other files."""
    series = root / PATIENT_NAME / STUDY_UID
    series.mkdir(parents=True, exist_ok=True)
    for number in range(1, slices + 1):
        (series / f"{number}.dcm").write_bytes(_slice(number, seed))
    (root / "notes.bin").write_bytes(Random(seed).randbytes(70_000))
    (root / "empty").touch()


def config_text(state: Path, trust: Path, sources: str, *, url: str, agent: str = "") -> str:
    """A configuration file as an administrator writes it."""
    return (
        f'[vault]\nurl = "{url}"\ntrust = "{trust}"\naccept_emulated_locks = true\n'
        f'[agent]\nname = "ward-7"\nstate_directory = "{state}"\nworkers = 1\n{agent}\n'
        f"[metrics]\nport = 0\n{sources}"
    )


def tree_table(path: Path, *, name: str = SOURCE, more: str = "") -> str:
    """The table of a directory tree."""
    return f'[[source]]\nname = "{name}"\nkind = "tree"\npath = "{path}"\n{more}\n'


def copy_memory_store(store: MemoryStore, *, now: Callable[[], datetime]) -> MemoryStore:
    """A store with the same objects, which goes its own way from now on."""
    twin = MemoryStore(
        now=now,
        new_version_id=store._new_version_id,
        mode=store.lock_mode,
        url=store.url,
    )
    twin._objects = copy.deepcopy(store._objects)
    return twin


class VersionIds:
    """Version ids that never repeat, also in copies of a store."""

    _count = 0

    def __call__(self) -> str:
        VersionIds._count += 1
        return f"v{VersionIds._count:08d}"


@dataclass(slots=True, kw_only=True)
class Site:
    """One agent with one source and its vault. Make it with :func:`new_site`."""

    directory: Path
    clock: Clock
    store: Store
    random: Callable[[int], bytes]
    keys: KeyPaths
    sources: str = ""
    agent_settings: str = ""
    log: RecordingLog = field(default_factory=RecordingLog)
    expected: dict[str, dict[bytes, Seen]] = field(default_factory=dict)
    """What the source looked like, by the id of the snapshot that was made of it."""
    results: list[RunResult] = field(default_factory=list)
    source_root: Path = field(default_factory=Path)

    @property
    def state_directory(self) -> Path:
        """The agent's own files."""
        return self.directory / "state"

    @property
    def state_file(self) -> Path:
        """The agent's cache."""
        return self.state_directory / STATE_FILE

    def config(self) -> Config:
        """The agent's checked configuration."""
        return parse_config(self.config_text())

    def config_text(self) -> str:
        """The configuration file; in-process runs never open the vault's URL."""
        url = self.store.url if self.store.url.startswith("file:") else "file:///nowhere"
        sources = self.sources or tree_table(self.source_root)
        return config_text(
            self.state_directory, self.keys.trust, sources, url=url, agent=self.agent_settings
        )

    def machine(self) -> Machine:
        """This site's clock and randomness."""
        return Machine(
            now=self.clock.now,
            monotonic=lambda: self.clock.now().timestamp(),
            random_bytes=self.random,
            uniform=lambda low, high: low,
            processors=1,
            uid=0,
            gid=0,
        )

    def run(
        self,
        *,
        store: Store | None = None,
        source: str = SOURCE,
        stop: threading.Event | None = None,
        machine: Machine | None = None,
        later: timedelta = DAY,
    ) -> RunResult:
        """One run as the command does it, a day after the last; errors become its result."""
        self.clock.advance(later)
        looks = look_at(self.source_root)
        agent = StoreAgent(
            store or self.store,
            self.config(),
            machine or self.machine(),
            self.log,
            stop or threading.Event(),
        )
        started, began = agent.machine.now(), agent.machine.monotonic()
        try:
            try:
                result = agent.back_up(source, lambda _: None)
            except VaultError as error:
                self.log.error("run_failed", exit_code=error.exit_code, error=error.message)
                result = agent.failed(source, started, began, error)
            ResultStore(agent.results_directory).record(result)
            self.results.append(result)
            return result
        finally:
            self.note_new_snapshots(looks)

    def note_new_snapshots(self, looks: dict[bytes, Seen]) -> None:
        """Remember what the source looked like for snapshots that were not there before."""
        for head in self.access().heads().good:
            self.expected.setdefault(head.snapshot_id, looks)

    def access(self, store: Store | None = None) -> Access:
        """The vault as the restore tool sees it, with the identity."""
        file = read_identity(self.keys.identity)
        return Access(
            store=store or self.store,
            trust=file.trust,
            identities={file.identity.recipient.fingerprint: file.identity},
        )

    def lose_state(self) -> None:
        """Delete the agent's cache, and keep its keys."""
        for path in self.state_directory.glob(f"{STATE_FILE}*"):
            path.unlink()

    def memory(self) -> MemoryStore:
        """The store, where a test needs what only the one in memory can do."""
        if not isinstance(self.store, MemoryStore):
            raise TypeError("not a store in memory")
        return self.store

    def fork(self, directory: Path) -> "Site":
        """A copy of vault and agent on a clock of its own; both look at the same source."""
        shutil.copytree(self.state_directory, directory / "state")
        clock = Clock(self.clock.time)
        return replace(
            self,
            directory=directory,
            clock=clock,
            store=copy_memory_store(self.memory(), now=clock.now),
            log=RecordingLog(),
            expected=dict(self.expected),
            results=list(self.results),
        )


def seeded_random(seed: int = 1) -> Callable[[int], bytes]:
    """Bytes that are the same in every run of the tests, and never repeat within one."""
    generator = Random(seed)
    guard = threading.Lock()

    def draw(size: int) -> bytes:
        with guard:
            return generator.randbytes(size)

    return draw


def new_site(
    directory: Path,
    *,
    store: Store | None = None,
    clock: Clock | None = None,
    mode: LockMode = LockMode.COMPLIANCE,
    seed: int = 1,
    fill: bool = True,
) -> Site:
    """A site whose agent is enrolled; its clock is an hour ahead, so that files are settled."""
    clock = clock or Clock(datetime.now(UTC) + timedelta(hours=1))
    if store is None:
        store = MemoryStore(now=clock.now, new_version_id=VersionIds(), mode=mode)
    random = seeded_random(seed)
    (directory / "keys").mkdir(parents=True)
    keys = key_paths(directory / "keys" / "identity.key")
    make_keys(keys, random)
    site = Site(directory=directory, clock=clock, store=store, random=random, keys=keys)
    site.source_root = directory / "archive"
    site.source_root.mkdir()
    if fill:
        fill_archive(site.source_root)
    enrol(site)
    return site


def enrol(site: Site, label: str = "ward-7") -> None:
    """Make the agent's keys and let the administrator sign them; the first creates the vault."""
    trust = read_trust(site.keys.trust)
    site.state_directory.mkdir(mode=0o700, exist_ok=True)
    request, _ = make_agent_keys(site.state_directory, trust, label, site.random)
    pinned, key = read_administrator(site.keys.administrator)
    Administrator(
        store=site.store,
        trust=pinned,
        key=key,
        retain=_LOCK_LIMIT,
        now=site.store.now(),
        random_bytes=site.random,
    ).enrol(
        request.read_bytes(), trust.recipients, read_identity(site.keys.identity).identity
    )


def secrets_of(site: Site) -> Sequence[bytes]:
    """What must never be seen outside of the vault's seals and the key files."""
    secret_lines = [
        line.split('"')[1].encode()
        for path in (site.keys.identity, site.keys.administrator, site.state_directory / "agent.key")
        for line in path.read_text().splitlines()
        if "secret =" in line
    ]
    return [*secret_lines, *(bytes.fromhex(line.decode()) for line in secret_lines)]
