"""Nights in seconds: the installed daemon keeps its schedule, tells its metrics, and stops."""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from dicom_samples import ct_slice
from installed import AGENT, InstalledAgent, InstalledVault, installed, new_vault
from services import free_ports, require_service
from trees import differences

WAIT_SECONDS = 60.0
COMPLETE = "safelight_last_complete_snapshot_timestamp_seconds"
EXIT_CODE = "safelight_last_run_exit_code"
RUN_AT = "safelight_last_run_timestamp_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running ``safelight-agent run``."""

    process: "subprocess.Popen[str]"
    port: int

    def scrape(self) -> str:
        """The metrics as Prometheus gets them."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def metrics(self) -> dict[tuple[str, str], float]:
        """The value of each metric, by its name and source."""
        return {
            (sample.name, sample.labels.get("source", "")): sample.value
            for family in text_string_to_metric_families(self.scrape())
            for sample in family.samples
            if "state" not in sample.labels
        }

    def until(self, holds: Callable[[dict[tuple[str, str], float]], bool]) -> None:
        """Wait until the metrics say so."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the daemon ended"
            try:
                if holds(self.metrics()):
                    return
            except urllib.error.URLError:
                pass  # not listening yet
            time.sleep(0.1)
        raise AssertionError(f"the metrics never said so:\n{self.scrape()}")

    def stop(self) -> str:
        """SIGTERM, and what it logged; it must end with 0."""
        self.process.send_signal(signal.SIGTERM)
        _, logged = self.process.communicate(timeout=WAIT_SECONDS)
        assert self.process.returncode == 0, logged
        assert "Traceback" not in logged
        return logged


@contextmanager
def running_daemon(agent: InstalledAgent, port: int) -> Iterator[Daemon]:
    process = subprocess.Popen(
        [installed(AGENT), "--config", agent.config, "run"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **agent.vault.environment},
    )
    try:
        yield Daemon(process=process, port=port)
    finally:
        process.kill()
        process.communicate()


def nightly_agent(vault: InstalledVault, sources: dict[str, Path], port: int) -> InstalledAgent:
    return vault.agent(
        sources,
        source_lines='schedule = "*/2 * * * * *"',
        tables=f"[metrics]\nport = {port}\n",
    )


def test_a_night_of_seconds_a_broken_one_and_a_clean_stop(tmp_path: Path) -> None:
    sources = {name: tmp_path / name for name in ("images", "documents")}
    for number, path in enumerate(sources.values()):
        path.mkdir()
        (path / "slice.dcm").write_bytes(ct_slice(number=number))
    (port,) = free_ports(1)
    vault = new_vault(tmp_path / "site")
    agent = nightly_agent(vault, sources, port)
    with running_daemon(agent, port) as daemon:
        daemon.until(lambda now: all(now.get((COMPLETE, each), 0) > 0 for each in sources))
        good = daemon.metrics()
        assert [good[EXIT_CODE, each] for each in sources] == [0, 0]

        # The mount of one source is gone: the next nights of it are broken, the others are not.
        shutil.move(sources["images"], tmp_path / "elsewhere")
        daemon.until(lambda now: now[EXIT_CODE, "images"] != 0)
        broken = daemon.metrics()
        daemon.until(lambda now: now[RUN_AT, "images"] > broken[RUN_AT, "images"])
        daemon.until(lambda now: now[COMPLETE, "documents"] > broken[COMPLETE, "documents"])
        after = daemon.metrics()
        assert after[EXIT_CODE, "images"] in {2, 5, 7}
        assert after[COMPLETE, "images"] == broken[COMPLETE, "images"] >= good[COMPLETE, "images"]
        check_by_promtool(daemon.scrape())

        shutil.move(tmp_path / "elsewhere", sources["images"])
        daemon.until(lambda now: now[COMPLETE, "images"] > after[COMPLETE, "images"])
        logged = daemon.stop()
    assert "run_failed" in logged or "run_ended" in logged
    assert "slice.dcm" not in logged
    restored = vault.restore(tmp_path / "restored").require().result
    assert restored["files"] == len(sources)
    for name, path in sources.items():
        assert differences(path, tmp_path / "restored" / name) == []


def check_by_promtool(metrics: str) -> None:
    require_service(shutil.which("promtool") is not None, "promtool is not installed")
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_stop_in_the_middle_of_a_night_winds_it_up_and_the_next_one_completes(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "images"
    archive.mkdir()
    for number in range(400):
        (archive / f"{number}.dcm").write_bytes(ct_slice(number=number, rows=32, columns=32))
    (port,) = free_ports(1)
    vault = new_vault(tmp_path / "site")
    agent = vault.agent(
        {"images": archive},
        agent_lines="read_limit_bytes_per_second = 200000",
        source_lines='schedule = "* * * * * *"',
        tables=f"[metrics]\nport = {port}\n",
    )
    with running_daemon(agent, port) as daemon:
        daemon.until(lambda now: (COMPLETE, "images") in now)
        time.sleep(1.5)
        logged = daemon.stop()
    assert "run_started" in logged
    assert agent.command("status", "--json").require().result["sources"][0]["snapshot"] is None
    agent.write_config({"images": archive})
    assert agent.back_up()["complete"] is True
    vault.restore(tmp_path / "restored").require()
    assert differences(archive, tmp_path / "restored" / "images") == []
