"""Memory depends on the work in flight, never on the number of files."""

import os
from pathlib import Path

import pytest

from installed import AGENT, installed, new_vault
from peak_memory import peak_pss_bytes

GROWTH_MAX_BYTES = 50_000_000
FILES_PER_DIRECTORY = 500


def peak_of_a_first_backup(directory: Path, files: int) -> int:
    archive = directory / "archive"
    for number in range(files):
        parent = archive / f"{number // FILES_PER_DIRECTORY:04}"
        if number % FILES_PER_DIRECTORY == 0:
            parent.mkdir(parents=True)
        (parent / f"{number:07}.txt").write_bytes(b"a small file, number %d\n" % number * 8)
    agent = new_vault(directory / "site").agent({"pacs": archive})
    command = [installed(AGENT), "--config", str(agent.config), "backup", "--json"]
    peak = peak_pss_bytes(command, environment=os.environ)
    assert agent.command("status", "--json").require().result["sources"][0]["files"] == files
    return peak


@pytest.mark.parametrize(
    ("few", "many"),
    [(1_000, 8_000), pytest.param(10_000, 100_000, marks=pytest.mark.full)],
)
@pytest.mark.timeout(900)
def test_ten_times_the_files_take_no_more_memory(tmp_path: Path, few: int, many: int) -> None:
    peaks = [peak_of_a_first_backup(tmp_path / str(files), files) for files in (few, many)]
    assert peaks[0] > 20_000_000, "the measurement saw nothing"
    assert peaks[1] - peaks[0] < GROWTH_MAX_BYTES, peaks
