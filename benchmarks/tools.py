"""The programs that are compared, each behind the same four verbs, run as their users run them."""

import os
import shutil
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Measurement:
    """One command: wall-clock and CPU seconds, and peak memory summed over its processes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Measurement:
    """Run a command to its end and measure it; a failing one stops the benchmark."""
    before = os.times()
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, cwd=cwd, stdout=subprocess.DEVNULL
    )
    peak = _Peak(process.pid)
    code = process.wait()
    seconds = time.perf_counter() - began
    after = os.times()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return Measurement(seconds, cpu, peak.stop())


class _Peak:
    """Samples the proportional set size of a process and its children."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            try:
                first = psutil.Process(self._process_id)
                family = [first, *first.children(recursive=True)]
                total = sum(one.memory_full_info().pss for one in family)
                self._peak = max(self._peak, total)
            except psutil.Error:
                continue

    def stop(self) -> int:
        """End sampling; the peak in bytes."""
        self._stop.set()
        self._thread.join()
        return self._peak


class Tool(ABC):
    """A backup program with a repository of its own below ``work``."""

    name = ""

    def __init__(self, work: Path, archive: Path) -> None:
        self.work = work / self.name
        self.archive = archive
        self.environment: dict[str, str] = {}

    def prepare(self) -> None:
        """Make an empty repository."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.set_up()

    @abstractmethod
    def set_up(self) -> None:
        """Commands before the first backup."""

    def backup(self) -> Measurement:
        """Back up the archive."""
        return measure(self.backup_command(), self.environment, self.work)

    def restore(self) -> Measurement:
        """Restore everything into an empty directory."""
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        measured = measure(self.restore_command(out), self.environment, out)
        shutil.rmtree(out)
        return measured

    @abstractmethod
    def backup_command(self) -> list[str]:
        """The command of a backup."""

    @abstractmethod
    def restore_command(self, out: Path) -> list[str]:
        """The command of a restore."""

    def repository(self) -> Path:
        """Where the repository's bytes lie."""
        return self.work / "repository"

    def stored_bytes(self) -> int:
        """Bytes of all files of the repository."""
        return sum(path.stat().st_size for path in self.repository().rglob("*") if path.is_file())


class Safelight(Tool):
    """This project, with its defaults, on a directory vault."""

    name = "safelight"

    def _run(self, *command: str) -> None:
        program = Path(sys.executable).parent / command[0]
        subprocess.run([program, *command[1:]], check=True, stdout=subprocess.DEVNULL)

    def set_up(self) -> None:
        """Keys, configuration, enrolment."""
        work = self.work
        (work / "agent.toml").write_text(
            f'[vault]\nurl = "file://{work}/repository"\ntrust = "{work}/vault.trust"\n'
            f'accept_emulated_locks = true\n[agent]\nname = "bench"\n'
            f'state_directory = "{work}/state"\n[metrics]\nport = 0\n'
            f'[[source]]\nname = "pacs"\nkind = "tree"\npath = "{self.archive}"\n'
        )
        identity = f"{work}/identity.key"
        self._run("safelight-restore", "--identity", identity, "keygen")
        self._run("safelight-agent", "--config", f"{work}/agent.toml", "init")
        vault = f"file://{work}/repository"
        request = f"{work}/state/enrolment.request"
        self._run("safelight-restore", "--vault", vault, "--identity", identity, "enrol", request)

    def backup_command(self) -> list[str]:
        """One run of the agent."""
        program = str(Path(sys.executable).parent / "safelight-agent")
        return [program, "--config", f"{self.work}/agent.toml", "backup", "--json"]

    def restore_command(self, out: Path) -> list[str]:
        """Everything of the latest snapshot."""
        program = str(Path(sys.executable).parent / "safelight-restore")
        vault = ["--vault", f"file://{self.work}/repository"]
        identity = ["--identity", f"{self.work}/identity.key"]
        return [program, *vault, *identity, "restore", "--target", str(out), "--json"]


class Restic(Tool):
    """Debian's restic with its defaults."""

    name = "restic"

    def set_up(self) -> None:
        """An empty repository; the cache is its own."""
        self.environment = {
            "RESTIC_REPOSITORY": str(self.repository()),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(self.work / "cache"),
        }
        measure(["restic", "init"], self.environment, self.work)

    def backup_command(self) -> list[str]:
        """One snapshot."""
        return ["restic", "backup", "--quiet", str(self.archive)]

    def restore_command(self, out: Path) -> list[str]:
        """The latest snapshot."""
        return ["restic", "restore", "latest", "--quiet", "--target", str(out)]


class Borg(Tool):
    """Debian's borg with zstd 3."""

    name = "borg"
    _number = 0

    def set_up(self) -> None:
        """An empty encrypted repository."""
        self.environment = {
            "BORG_REPO": str(self.repository()),
            "BORG_PASSPHRASE": "benchmark",
            "BORG_BASE_DIR": str(self.work / "base"),
        }
        measure(["borg", "init", "--encryption=repokey-blake2"], self.environment, self.work)

    def backup_command(self) -> list[str]:
        """One archive."""
        self._number += 1
        return ["borg", "create", "--compression=zstd,3", f"::n{self._number}", str(self.archive)]

    def restore_command(self, out: Path) -> list[str]:
        """The last archive, into the current directory."""
        del out
        return ["borg", "extract", f"::n{self._number}"]


TOOLS: tuple[type[Tool], ...] = (Safelight, Restic, Borg)
