"""A drill on the operator's terminal: the verdict, the figures, and what to act upon.

The invariant: damage is named here as it is in the vault (studies by UID, other files by path), for
this is where somebody acts on it; patients are named only when that is asked for.
"""

from safelight_restore.drill.index import FileLine, StudyLine
from safelight_restore.drill.page_text import VERDICTS
from safelight_restore.drill.plots import duration_text
from safelight_restore.drill.result import DrillResult, FindingKind
from safelight_vault.terminal import Terminal, printable, size_text

SHOWN_MAX = 50


def show_drill(terminal: Terminal, result: DrillResult, *, show_studies: bool) -> None:
    """Everything that an operator wants to see at once; nothing with ``--json``."""
    if terminal.as_json:
        return
    _show_snapshots(terminal, result)
    terminal.result({}, "\n".join(_figures(result)))
    order = list(FindingKind)
    for finding in sorted(result.findings, key=lambda one: order.index(one.kind)):
        terminal.note(f"{finding.kind.value}: {finding.text}")
    if result.objects is not None:
        for bad in result.objects.bad[:SHOWN_MAX]:
            terminal.note(f"missing: {bad.name}: {bad.reason}")
        for short in result.objects.unlocked[:SHOWN_MAX]:
            until = "not" if short.retain_until is None else f"until {short.retain_until:%Y-%m-%d}"
            terminal.note(
                f"unlocked: {short.name}: promised until {short.promised_until:%Y-%m-%d}, "
                f"locked {until} ({short.lock_mode.value})"
            )
    _show_damage(terminal, result, show_studies=show_studies)
    if result.ending is not None:
        terminal.note(f"ended early ({result.ending.step}): {result.ending.message}")
        terminal.note(f"next: {result.ending.next_step}")
    heading, advice = VERDICTS.get(result.exit_code, VERDICTS[1])
    verdict = "PASSED" if result.exit_code == 0 else "FAILED"
    terminal.result({}, f"{verdict}: {heading}. {advice}")


def _show_snapshots(terminal: Terminal, result: DrillResult) -> None:
    rows = [
        (
            line.snapshot_id,
            line.source,
            f"{line.created:%Y-%m-%d %H:%M}",
            "restored from" if line.restored else "objects only",
            line.coverage.objects if line.coverage else "",
            f"{line.promised_until:%Y-%m-%d}",
            f"{line.coverage.locked_until:%Y-%m-%d}"
            if line.coverage and line.coverage.locked_until
            else "nothing",
            line.lock.value,
        )
        for line in result.snapshots
    ]
    columns = (
        "snapshot",
        "source",
        "made (UTC)",
        "rehearsed",
        "objects",
        "promised until",
        "locked until",
        "lock",
    )
    if rows:
        terminal.table("Drill", columns, rows)


def _figures(result: DrillResult) -> list[str]:
    lines = []
    objects, drawn, recovery = result.objects, result.drawn, result.recovery
    if objects is not None:
        lines.append(
            f"objects   {objects.checked} ({size_text(objects.size_bytes)}), "
            f"{objects.missing_count} missing, {objects.unlocked_count} unlocked"
        )
    if drawn is not None:
        lines.append(
            f"sample    {result.sample.files} of {drawn.files_total} files "
            f"({size_text(result.sample.size_bytes)}), {result.whole_studies} studies whole; "
            f"rotation {drawn.rotation.number}, every file in {drawn.rotation.drills_for_all} "
            f"drill{'s' if drawn.rotation.drills_for_all > 1 else ''}"
        )
        lines.append(
            f"proved    {result.proved.files} files, {result.dicom_parsed} parsed as DICOM; "
            f"{result.files_failed} failed"
        )
    for source, found in result.compared.items():
        counts = ", ".join(
            f"{count} {outcome.value.replace('_', ' ')}" for outcome, count in found.items()
        )
        lines.append(f"compared  {source}: {counts}")
    if recovery is not None:
        kind = "extrapolated" if recovery.extrapolated else "measured"
        lines.append(
            f"RTO       {duration_text(recovery.sample_seconds)} for the sample (measured), "
            f"{duration_text(recovery.whole_seconds)} for everything ({kind})"
        )
    rpo = result.rpo_seconds
    lines.append(f"RPO       {'not known' if rpo is None else duration_text(rpo)}")
    return lines


def _show_damage(terminal: Terminal, result: DrillResult, *, show_studies: bool) -> None:
    for study in result.damaged_studies[:SHOWN_MAX]:
        terminal.note(_study(study, show=show_studies))
    lost = [line for line in result.damaged_files if not line.study_uid]
    for line in lost[:SHOWN_MAX]:
        terminal.note(f"damaged file: {_path(result, line)}: {line.reason}")
    for line in result.files_left_out[:SHOWN_MAX]:
        terminal.note(f"not restored: {_path(result, line)}: {line.reason}")
    if max(len(result.damaged_studies), len(lost), len(result.files_left_out)) > SHOWN_MAX:
        terminal.note("... more of them with --json or --report-json")


def _study(study: StudyLine, *, show: bool) -> str:
    patient = f" of {study.patient_name} ({study.patient_id})" if show else ""
    return (
        f"damaged study: {study.uid}{patient}, {study.date or 'no date'}, "
        f"{study.modalities or 'no modality'}: {study.damaged} of {study.files} files: "
        f"{study.reason}"
    )


def _path(result: DrillResult, line: FileLine) -> str:
    return printable(result.sources[line.source].encode() + b"/" + line.path)
