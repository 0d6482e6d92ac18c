"""What ``backup`` and ``status`` report, from results and stored records alone. Pure but for reads.

The invariant: the keys of these objects are an interface that other people's scripts read.
"""

from collections.abc import Sequence

from safelight_agent.results import ResultStore, RunResult, UnreadableRecord

_SUMS = (
    "files",
    "files_new",
    "files_changed",
    "files_unchanged",
    "files_failed",
    "bytes_read",
    "bytes_stored",
    "chunks_new",
    "duration_seconds",
)


def result_totals(runs: Sequence[RunResult]) -> dict[str, object]:
    """The object that ``backup --json`` prints: totals, and each source under ``snapshots``."""
    last = runs[-1] if runs else None
    snapshots = [run.to_json() for run in runs]
    totals: dict[str, object] = {
        "snapshot": last.snapshot if last else "",
        "source": last.source if last and len(runs) == 1 else "",
    }
    for key in _SUMS:
        totals[key] = sum(getattr(run, key) for run in runs)
    totals["complete"] = bool(runs) and all(run.complete for run in runs)
    totals["suspect"] = any(run.suspect for run in runs)
    totals["snapshots"] = snapshots
    return totals


def describe_status(results: ResultStore, sources: Sequence[str]) -> list[dict[str, object]]:
    """One object a source: its last run and its last complete snapshot."""
    return [_describe(results, source) for source in sources]


def _describe(results: ResultStore, source: str) -> dict[str, object]:
    run = results.last_run(source)
    complete = results.last_complete(source)
    described: dict[str, object] = {
        "source": source,
        "last_run": None,
        "result": "never ran",
        "exit_code": None,
        "last_complete": None,
        "snapshot": None,
        "lock_coverage_until": None,
        "files": None,
    }
    if isinstance(run, UnreadableRecord):
        described["result"] = f"unreadable record: {run.reason}"
    elif run is not None:
        described["last_run"] = run.started.isoformat()
        described["exit_code"] = run.exit_code
        described["result"] = "ok" if run.exit_code == 0 else (run.error or "incomplete")
    if isinstance(complete, RunResult):
        described["last_complete"] = complete.started.isoformat()
        described["snapshot"] = complete.snapshot
        described["files"] = complete.files
        until = complete.lock_coverage_until
        described["lock_coverage_until"] = None if until is None else until.isoformat()
    return described
