"""The most memory that a command and its children held at once, as the kernel counts it.

PSS shares out pages that several processes have in common, so that the sum over a family is what
the machine really had to give.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil


def peak_pss_bytes(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    interval_seconds: float = 0.02,
) -> int:
    """Run a command, which must end with 0; gives its highest PSS in bytes, children included."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(environment)
    ) as process:
        root, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, _family_pss_bytes(root))
            time.sleep(interval_seconds)
        told = b"" if process.stderr is None else process.stderr.read()
    if process.returncode != 0:
        raise AssertionError(f"exit {process.returncode}: {told[-2000:]!r}")
    return peak


def _family_pss_bytes(root: psutil.Process) -> int:
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it ended between the two looks
    return total
