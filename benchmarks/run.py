"""``make bench``: this project beside restic and borg, on the same files, in turn, in one run.

    SAFELIGHT_DICOM_DIR   real series to build the archive from (default: pydicom's files)
    BENCH_BYTES           size of the archive (default 268435456)
    BENCH_ROUNDS          repetitions; medians are shown (default 3)
    BENCH_DIR             where to work (default .bench)

Prints a Markdown table of absolute figures and of ratios to restic; a peer that is not installed is
left out and named.
"""

import os
import shutil
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

from archive import build, edit_headers, real_files
from tools import TOOLS, Measurement, Tool

WORK = ("cold backup", "unchanged second run", "headers edited", "restore of everything")


def main() -> None:
    """Build, measure, print."""
    work = Path(os.environ.get("BENCH_DIR", ".bench")).resolve()
    rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
    size = int(os.environ.get("BENCH_BYTES", str(256 << 20)))
    given = os.environ.get("SAFELIGHT_DICOM_DIR")
    shutil.rmtree(work, ignore_errors=True)
    files = real_files(Path(given) if given else None)
    seconds: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    stored: dict[tuple[str, str], int] = {}
    tools = [tool for tool in TOOLS if _is_installed(tool.name)]
    count = written = edited = 0
    for _ in range(rounds):
        archive = work / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        count, written = build(archive, files, size)
        running = [tool(work, archive) for tool in tools]
        for tool in running:
            tool.prepare()
        for step in WORK:
            if step == "headers edited":
                edited = edit_headers(archive, 1000)
            for tool in running:
                _step(tool, step, seconds, stored)
    _report([tool.name for tool in tools], seconds, stored, (count, written, edited, rounds))
    shutil.rmtree(work, ignore_errors=True)


def _is_installed(name: str) -> bool:
    found = name == "safelight" or shutil.which(name) is not None
    if not found:
        print(f"{name} is not installed: left out")
    elif name != "safelight":
        print(
            subprocess.run(
                [name, "version" if name == "restic" else "--version"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.strip()
        )
    return found


def _step(
    tool: Tool,
    step: str,
    seconds: dict[tuple[str, str], list[Measurement]],
    stored: dict[tuple[str, str], int],
) -> None:
    before = tool.stored_bytes() if tool.repository().exists() else 0
    measured = tool.restore() if step == "restore of everything" else tool.backup()
    seconds[step, tool.name].append(measured)
    stored[step, tool.name] = tool.stored_bytes() - before


def _report(
    names: list[str],
    seconds: dict[tuple[str, str], list[Measurement]],
    stored: dict[tuple[str, str], int],
    about: tuple[int, int, int, int],
) -> None:
    count, written, edited, rounds = about
    print(
        f"\n{count} files, {written / 1e6:.0f} MB of DICOM; {edited} headers edited; "
        f"medians of {rounds} rounds; {len(os.sched_getaffinity(0))} cores\n"
    )
    columns = "work program seconds MB/s files/s CPU-s peak-MB MB-stored speed/restic stored/restic"
    print("| " + " | ".join(columns.split()) + " |")
    print("|---|---|" + "--:|" * 8)
    for step in WORK:
        for name in names:
            took = _median(seconds, step, name)
            runs = seconds[step, name]
            cells = [
                f"{took:.2f}",
                f"{written / took / 1e6:.0f}",
                f"{count / took:.0f}",
                f"{statistics.median(run.cpu_seconds for run in runs):.1f}",
                f"{max(run.peak_bytes for run in runs) / 1e6:.0f}",
                f"{stored[step, name] / 1e6:.2f}",
                _ratio(_median(seconds, step, "restic"), took) if "restic" in names else "",
                _ratio(stored[step, name], stored.get((step, "restic"), 0)),
            ]
            print(f"| {step} | {name} | " + " | ".join(cells) + " |")


def _ratio(of: float, to: float) -> str:
    return f"{of / to:.2f}" if to else ""


def _median(seconds: dict[tuple[str, str], list[Measurement]], step: str, name: str) -> float:
    return statistics.median(run.seconds for run in seconds[step, name])


if __name__ == "__main__":
    main()
