"""A drill's report for people: one HTML page that needs nothing but itself.

For an auditor, who was not there: the verdict first, then what was asked, what was found and what
the figures mean. The invariants: no patient is named (studies and files have pseudonyms, whatever
the JSON shows), what was extrapolated says so, and the page refers to nothing outside itself.
"""

from collections.abc import Sequence
from html import escape

from safelight_restore.drill.coverage import Presence
from safelight_restore.drill.draw import Drawn
from safelight_restore.drill.index import FileLine, StudyLine
from safelight_restore.drill.markup import day, minute, section, table
from safelight_restore.drill.page_text import HOW_TO_READ, STYLE, VERDICTS
from safelight_restore.drill.plots import (
    Part,
    duration_text,
    horizontal_bars,
    lock_timeline,
    stacked_bar,
    throughput,
)
from safelight_restore.drill.proof import Comparison
from safelight_restore.drill.report import pseudonym, study_pseudonym
from safelight_restore.drill.result import DrillResult, FindingKind, RecoveryTime
from safelight_vault.terminal import size_text

TARGET_SECONDS = 72 * 3600
"""Within which critical systems are to be restored (45 CFR 164.308, as proposed in 2025)."""

_STEPS = {
    "vault": "list and prove snapshots",
    "objects": "ask about every object",
    "tables": "read tables, draw sample",
    "restore": "restore the sample",
    "prove": "prove it on disk",
    "compare": "compare with the source",
    "damage": "name what is damaged",
}
_EXTRAPOLATED = ' <span class="tag">extrapolated</span>'
_MEASURED = ' <span class="tag measured">measured</span>'


def drill_page(result: DrillResult) -> str:
    """The whole page."""
    sections = (
        _verdict(result),
        _cards(result),
        _findings(result),
        _damage(result),
        _snapshots(result),
        _objects(result),
        _sample(result),
        _way_back(result),
        _comparison(result),
        _studies(result),
        HOW_TO_READ,
    )
    title = f"Restore drill {result.started:%Y-%m-%d}"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style></head>\n<body><main>\n"
        f"{''.join(part for part in sections if part)}</main></body></html>\n"
    )


def _verdict(result: DrillResult) -> str:
    code = result.exit_code
    heading, advice = VERDICTS.get(code, VERDICTS[1])
    passed = "passed" if code == 0 else "failed"
    ending = result.ending
    ended = ""
    if ending is not None:
        step = _STEPS.get(ending.step, ending.step)
        ended = f"<p>It ended early, at the step “{step}”: {escape(ending.message)}</p>"
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"
        for name, value in (
            ("Vault", result.vault),
            ("Vault id", result.vault_id.hex()),
            ("Begun", minute(result.started)),
            ("Took", duration_text(result.duration_seconds)),
            ("Exit code", str(code)),
            ("Program", f"safelight {result.version}"),
        )
    )
    return (
        f'<header class="{passed}"><p class="kind">Safelight restore drill</p>'
        f"<h1>{'Passed' if code == 0 else 'Failed'}: {heading}</h1><p>{advice}</p>{ended}"
        f'<dl class="facts">{facts}</dl></header>\n'
    )


def _cards(result: DrillResult) -> str:
    objects, recovery = result.objects, result.recovery
    cards = []
    if recovery is not None:
        measured = "" if recovery.extrapolated else _MEASURED
        tag = _EXTRAPOLATED if recovery.extrapolated else measured
        words = "everything back" + tag
        cards.append(_card("RTO", duration_text(recovery.whole_seconds), words, good=None))
    rpo = result.rpo_seconds
    words = "age of the newest complete snapshot"
    shown = "not known" if rpo is None else duration_text(rpo)
    cards.append(_card("RPO", shown, words, good=None))
    good = result.sample.files > 0 and result.proved.files == result.sample.files
    shown = f"{result.proved.files} of {result.sample.files}"
    cards.append(_card("Files proved", shown, "restored, hashed, parsed as DICOM", good=good))
    if objects is not None:
        whole = objects.checked - objects.missing_count
        shown = f"{whole} of {objects.checked}"
        good = objects.missing_count == 0
        cards.append(_card("Objects there", shown, "asked of the store one by one", good=good))
        until = objects.coverage_until
        shown = "none" if until is None else f"{until:%Y-%m-%d}"
        words = "everything is locked until" if until else "no store's lock covers everything"
        if until is None and objects.emulated_count:
            words = "locks are emulated: they do not count"
        good = objects.unlocked_count == 0 and until is not None
        cards.append(_card("Lock coverage", shown, words, good=good))
    return f'<section class="cards">{"".join(cards)}</section>\n'


def _card(name: str, shown: str, words: str, *, good: bool | None) -> str:
    style = "card" if good is None else f"card {'fine' if good else 'poor'}"
    return (
        f'<div class="{style}"><h2>{name}</h2><p class="figure">{escape(shown)}</p>'
        f"<p>{words}</p></div>"
    )


def _findings(result: DrillResult) -> str:
    if not result.findings:
        return section("Findings", "<p>Nothing was found wrong.</p>")
    order = list(FindingKind)
    items = "".join(
        f'<li class="{one.kind.value}"><b>{one.kind.value}</b> {escape(one.text)}</li>'
        for one in sorted(result.findings, key=lambda one: order.index(one.kind))
    )
    return section("Findings", f'<ul class="findings">{items}</ul>')


def _damage(result: DrillResult) -> str:
    parts = []
    if result.damaged_studies:
        intro = (
            "<p>Studies are named by pseudonyms here; the drill's JSON report gives the Study "
            "Instance UID for each, so that an operator can act.</p>"
        )
        rows = [_damaged_study(result, line) for line in result.damaged_studies]
        columns = ("study", "date", "modality", "files", "damaged", "what is wrong")
        parts.append(intro + table(columns, rows))
    lost = [line for line in result.damaged_files if not line.study_uid]
    if lost:
        rows = [_file(result, line) for line in lost]
        parts.append("<h3>Damaged files that belong to no study</h3>")
        parts.append(table(("source", "file", "what is wrong"), rows))
    if result.files_left_out:
        rows = [_file(result, line) for line in result.files_left_out]
        parts.append("<h3>Files that were not restored for other reasons</h3>")
        parts.append(table(("source", "file", "reason"), rows))
    return section("Damage", "".join(parts)) if parts else ""


def _damaged_study(result: DrillResult, line: StudyLine) -> Sequence[object]:
    name = study_pseudonym(result.vault_id, line.uid)
    return name, day(line.date), line.modalities, line.files, line.damaged, line.reason


def _file(result: DrillResult, line: FileLine) -> Sequence[object]:
    source = result.sources[line.source]
    name = pseudonym(result.vault_id, b"file\0" + source.encode() + b"\0" + line.path)
    return source, name, line.reason


def _snapshots(result: DrillResult) -> str:
    if not result.snapshots:
        return ""
    rows = [
        (
            line.snapshot_id,
            line.source,
            minute(line.created),
            line.retention_class,
            "complete" if line.complete else "incomplete",
            line.files if line.restored else "",
            size_text(line.size_bytes) if line.restored else "",
            "restored from" if line.restored else "objects only",
            "" if line.rpo_seconds is None else duration_text(line.rpo_seconds),
        )
        for line in result.snapshots
    ]
    columns = (
        "snapshot",
        "source",
        "made (UTC)",
        "class",
        "state",
        "files",
        "bytes",
        "rehearsed",
        "RPO",
    )
    return section("Snapshots", table(columns, rows))


def _objects(result: DrillResult) -> str:
    found = result.objects
    if found is None:
        return ""
    now = result.store_time or result.started
    modes = ", ".join(f"{n} {mode.value}" for mode, n in found.lock_modes.items() if n) or "none"
    text = (
        f"<p>The snapshots need {found.checked} objects ({size_text(found.size_bytes)}). The store "
        f"was asked about each one by its version: {found.presence[Presence.PRESENT]} are as "
        f"recorded, {found.presence[Presence.MOVED]} stand under another version, "
        f"{found.presence[Presence.MISSING]} are missing, {found.presence[Presence.WRONG_SIZE]} "
        f"have another size. Locks: {modes}; {found.unlocked_count} fall short of what was "
        "promised.</p>"
    )
    plot = lock_timeline(result.snapshots, now)
    legend = (
        '<p class="small">Frame: until when the snapshot was promised to be locked. Bar: until '
        "when all that it needs is locked.</p>"
    )
    bad = [(one.name, one.reason) for one in found.bad]
    short = [
        (
            one.name,
            f"{one.promised_until:%Y-%m-%d}",
            "no lock" if one.retain_until is None else f"{one.retain_until:%Y-%m-%d}",
            one.lock_mode.value,
        )
        for one in found.unlocked
    ]
    tables = table(("object", "what is wrong"), bad) if bad else ""
    if short:
        tables += table(("object", "promised until", "locked until", "mode"), short)
    return section("Objects and locks", text + plot + legend + tables)


def _sample(result: DrillResult) -> str:
    drawn = result.drawn
    if drawn is None:
        return ""
    text = (
        f"<p>{result.sample.files} of {drawn.files_total} files were restored "
        f"({size_text(result.sample.size_bytes)} of {size_text(drawn.bytes_total)}), from "
        f"{result.sample.studies} studies, {result.whole_studies} of them whole. "
        f"{_choice(drawn)}</p>"
    )
    left = result.sample.files - result.proved.files - result.files_failed
    bar = stacked_bar(
        "What became of the sample",
        [
            Part("proved", result.proved.files, "good", _count(result.proved.files)),
            Part("failed", result.files_failed, "bad", _count(result.files_failed)),
            Part("not reached", max(0, left), "idle", _count(max(0, left))),
        ],
    )
    rest = max(0, drawn.files_total - result.sample.files)
    share = stacked_bar(
        "The sample as a part of the archive",
        [
            Part("in the sample", result.sample.files, "weak", _count(result.sample.files)),
            Part("not in this drill", rest, "idle", _count(rest)),
        ],
    )
    proof = (
        "<p>Proved means: read back from the scratch disk, SHA-256 as at backup time, and parsed "
        f"as DICOM where it was then ({result.dicom_parsed} parsed, {result.dicom_failed} no "
        "longer do).</p>"
    )
    return section("Sample and proof", text + share + proof + bar)


def _choice(drawn: Drawn) -> str:
    turn = drawn.rotation
    if turn.taken == turn.parts:
        return "That is every file there is."
    return (
        f"{drawn.newest_files} files are those of the newest studies; the others are those whose "
        f"turn it was: a keyed hash of its path deals every file into one of {turn.parts} parts, "
        f"and rotation {turn.number} is the turn of {turn.taken} of them. "
        f"{turn.drills_for_all} drills with successive rotations restore every file."
    )


def _count(files: int) -> str:
    return f"{files} files"


def _way_back(result: DrillResult) -> str:
    recovery = result.recovery
    steps = horizontal_bars(
        "How long each step took",
        [
            Part(_STEPS.get(step, step), seconds, "weak", duration_text(seconds))
            for step, seconds in result.step_seconds.items()
        ],
    )
    if recovery is None:
        return section("Time", steps)
    return section(
        "Time", _recovery_table(result, recovery) + throughput(result.throughput) + steps
    )


def _recovery_table(result: DrillResult, recovery: RecoveryTime) -> str:
    drawn = result.drawn
    tag = _EXTRAPOLATED if recovery.extrapolated else _MEASURED
    total_files = drawn.files_total if drawn else recovery.files
    total_bytes = drawn.bytes_total if drawn else recovery.size_bytes
    speed = recovery.bytes_per_second
    rate = "" if speed is None else f"{size_text(speed)}/s"
    within = "within" if recovery.whole_seconds <= TARGET_SECONDS else "more than"
    return (
        "<table><thead><tr><th>restore of</th><th>files</th><th>bytes</th><th>time</th>"
        "<th>throughput</th></tr></thead><tbody>"
        f"<tr><td>the sample{_MEASURED}</td><td>{recovery.files}</td>"
        f"<td>{size_text(recovery.size_bytes)}</td>"
        f"<td>{duration_text(recovery.sample_seconds)}</td><td>{rate}</td></tr>"
        f"<tr><td>everything{tag}</td><td>{total_files}</td><td>{size_text(total_bytes)}</td>"
        f"<td>{duration_text(recovery.whole_seconds)}</td><td></td></tr></tbody></table>"
        f'<p class="small">Reading the tables of files ({duration_text(recovery.tables_seconds)}) '
        "is done once whatever is restored; the rest of the sample's time was multiplied by "
        f"{recovery.factor:.1f}, the ratio of {recovery.basis}, which gives the longer time. The "
        f"result is {within} 72 hours.</p>"
    )


def _comparison(result: DrillResult) -> str:
    if not result.compared:
        return ""
    words = {
        Comparison.EQUAL: "equal",
        Comparison.CHANGED_SINCE: "changed since",
        Comparison.GONE_SINCE: "gone since",
        Comparison.UNREADABLE: "unreadable",
        Comparison.DIFFERS: "differs",
    }
    rows = [(source, *(found[one] for one in words)) for source, found in result.compared.items()]
    text = (
        "<p>Files of the sample beside the live source. “Changed since” and “gone since” is the "
        "archive's daily work; “differs” means other bytes under the same size and time of "
        "modification, and is a finding.</p>"
    )
    counts = table(("source", *words.values()), rows)
    return section("Comparison with the source", text + counts)


def _studies(result: DrillResult) -> str:
    if not result.studies:
        return ""
    rows = [
        (
            study_pseudonym(result.vault_id, line.uid),
            day(line.date),
            line.modalities,
            line.files,
            line.sampled,
            line.proved,
        )
        for line in result.studies
    ]
    columns = ("study", "date", "modality", "files", "in the sample", "proved")
    return section("Studies of the sample", table(columns, rows))
