"""Results of restore, verify and audit as JSON objects and as text; nothing is decided here.

The invariant: the keys of these objects are an interface that other people's scripts read.
"""

import base64
from collections.abc import Iterable

from safelight_restore.audit import AuditReport
from safelight_restore.plan import Plan
from safelight_restore.restoring import Restored
from safelight_restore.verify import Problem, Verdict
from safelight_vault.terminal import Terminal, printable, size_text

SHOWN_MAX = 50


def item(path: bytes, reason: str) -> dict[str, object]:
    """A file in a list: JSON cannot hold every name, so the bytes are there as base64 too."""
    return {
        "path": path.decode("utf-8", "replace"),
        "path_base64": base64.b64encode(path).decode("ascii"),
        "reason": reason,
    }


def restore_object(restored: Restored, duration_seconds: float) -> dict[str, object]:
    """What ``restore --json`` prints."""
    result = restored.result
    described: dict[str, object] = {
        "snapshot": ",".join(restored.snapshots),
        "sources": list(restored.sources),
        "files": result.files if result else 0,
        "bytes": result.bytes if result else 0,
        "files_failed": result.files_failed if result else restored.plan.files_failed,
        "failed": [item(one.path, one.reason) for one in result.failed] if result else [],
        "kept": result.kept if result else restored.plan.kept,
        "files_resumed": result.files_resumed if result else 0,
        "warnings": list(result.warnings) if result else [],
        "problems": list(restored.problems),
        "plan": restored.plan.as_dict(),
        "dry_run": result is None,
        "duration_seconds": round(duration_seconds, 3),
    }
    return described


def show_plan(terminal: Terminal, plan: Plan) -> None:
    """The plan, before anything is done."""
    if terminal.as_json:
        return
    terminal.note(
        f"plan: {plan.files} files ({size_text(plan.bytes)}), {plan.files_to_write} to write, "
        f"{size_text(plan.bytes_to_fetch)} to fetch from {plan.packs} packs in about "
        f"{plan.requests} requests"
    )
    if plan.resumed:
        terminal.note("an interrupted restore is taken up again")
    if plan.packs_missing:
        terminal.note(f"{plan.packs_missing} packs are missing from the vault")


def show_restore(terminal: Terminal, restored: Restored) -> None:
    """What came back, and what did not."""
    if terminal.as_json:
        return
    result = restored.result
    if result is None:
        terminal.result({}, "dry run: nothing was changed")
    else:
        terminal.result(
            {}, f"{result.files} files ({size_text(result.bytes)}) restored and proved by SHA-256"
        )
        for warning in result.warnings:
            terminal.note(f"note: {warning}")
        _show_items(terminal, "not restored", ((one.path, one.reason) for one in result.failed))
    for problem in restored.problems:
        terminal.note(f"problem: {problem}")


def verify_object(
    verdict: Verdict, tampering: list[str], duration_seconds: float
) -> dict[str, object]:
    """What ``verify --json`` prints."""
    return {
        "objects": verdict.objects,
        "object_bytes": verdict.object_bytes,
        "files": verdict.files,
        "bytes": verdict.file_bytes,
        "dicom_parsed": verdict.dicom_parsed,
        "dicom_failed": verdict.dicom_failed,
        "packs_left": verdict.packs_left,
        "corrupt": [item(one.path, one.reason) for one in verdict.corrupt],
        "missing": [item(one.path, one.reason) for one in verdict.missing],
        "problems": verdict.problems,
        "tampering": tampering,
        "duration_seconds": round(duration_seconds, 3),
    }


def show_verdict(terminal: Terminal, verdict: Verdict) -> None:
    """What was proved, and what is damaged."""
    if terminal.as_json:
        return
    terminal.result(
        {},
        f"{verdict.objects} objects ({size_text(verdict.object_bytes)}) hashed, "
        f"{verdict.files} files ({size_text(verdict.file_bytes)}) proved, "
        f"{verdict.dicom_parsed} parsed as DICOM, {verdict.dicom_failed} no longer do, "
        f"{verdict.problems} problems",
    )
    if verdict.packs_left:
        terminal.note(f"{verdict.packs_left} packs are left for next time (time limit)")
    _show_problems(terminal, "corrupt", verdict.corrupt)
    _show_problems(terminal, "missing", verdict.missing)


def _show_problems(terminal: Terminal, what: str, problems: list[Problem]) -> None:
    _show_items(terminal, what, ((one.path, one.reason) for one in problems))


def _show_items(terminal: Terminal, what: str, items: Iterable[tuple[bytes, str]]) -> None:
    for number, (path, reason) in enumerate(items):
        if number == SHOWN_MAX:
            terminal.note("... more of them with --json")
            return
        terminal.note(f"{what}: {printable(path)}: {reason}")


def audit_object(report: AuditReport) -> dict[str, object]:
    """What ``audit --json`` prints."""
    return {
        "objects": report.objects,
        "bytes": report.size_bytes,
        "snapshots": report.snapshots,
        "findings": [
            {"severity": one.severity.value, "object": one.object_name, "text": one.text}
            for one in report.findings
        ],
        "coverage": [
            {
                "snapshot": one.snapshot,
                "objects": one.objects,
                "bytes": one.size_bytes,
                "required_until": one.required_until.isoformat(timespec="seconds"),
                "locked_until": None
                if one.locked_until is None
                else one.locked_until.isoformat(timespec="seconds"),
                "emulated": one.emulated,
            }
            for one in report.coverage
        ],
    }


def show_audit(terminal: Terminal, report: AuditReport) -> None:
    """The coverage of every snapshot, then the findings."""
    if terminal.as_json:
        return
    rows = [
        (
            one.snapshot,
            one.objects,
            size_text(one.size_bytes),
            f"{one.required_until:%Y-%m-%d}",
            "nothing" if one.locked_until is None else f"{one.locked_until:%Y-%m-%d}",
            "emulated" if one.emulated else "",
        )
        for one in report.coverage
    ]
    columns = ("snapshot", "objects", "bytes", "promised until", "locked until", "lock")
    terminal.table("Lock coverage", columns, rows)
    for finding in report.findings[:SHOWN_MAX]:
        terminal.note(f"{finding.severity.value}: {finding.object_name} {finding.text}")
    terminal.result({}, f"{report.objects} objects, {len(report.findings)} findings")
