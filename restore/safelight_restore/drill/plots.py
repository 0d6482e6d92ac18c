"""The plots of a drill's report, as inline SVG: pure functions from figures to markup.

The invariant: a plot says in words (``<title>``, labels) what it says in colour, and refers to
nothing outside the page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

from safelight_restore.drill.coverage import LockState
from safelight_restore.drill.result import Point, SnapshotLine
from safelight_vault.terminal import size_text

WIDTH: Final = 880
SNAPSHOTS_DRAWN_MAX: Final = 40

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

_LABELS: Final = 190
_ROW: Final = 26
_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole: what it is, how much, and the CSS class of its colour."""

    label: str
    amount: float
    style: str
    shown: str
    """The amount in words."""


def duration_text(seconds: float) -> str:
    """A duration for people: two units at most."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    for number, (size, unit) in enumerate(_UNITS):
        if left >= size:
            shown = f"{left // size} {unit}"
            if number + 1 < len(_UNITS):
                finer_size, finer = _UNITS[number + 1]
                rest = left % size // finer_size
                shown += f" {rest} {finer}" if rest else ""
            return shown
    return f"{left} s"


def lock_timeline(lines: Sequence[SnapshotLine], now: datetime) -> str:
    """For each snapshot: from when it is, until when it was promised and is locked."""
    drawn = sorted(lines, key=lambda line: line.created, reverse=True)[:SNAPSHOTS_DRAWN_MAX]
    if not drawn:
        return ""
    begin = min([now, *(line.created for line in drawn)])
    end = max([now, *(_last_date(line) for line in drawn)]) + timedelta(days=1)
    axis = _TimeAxis(begin, end)
    height = _ROW * len(drawn) + 46
    rows = [_lock_row(line, axis, 30 + _ROW * number) for number, line in enumerate(drawn)]
    at = axis.x(now)
    marks = "".join(
        f'<line class="grid" x1="{axis.x(date):.1f}" x2="{axis.x(date):.1f}" y1="26"'
        f' y2="{height - 18}"/><text class="tick" text-anchor="middle" x="{axis.x(date):.1f}"'
        f' y="{height - 4}">{date:%Y-%m-%d}</text>'
        for date in axis.ticks()
    )
    body = (
        f'{marks}<line class="now" x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height - 18}"/>'
        f'<text class="tick" text-anchor="middle" x="{at:.1f}" y="13">drill</text>{"".join(rows)}'
    )
    return _svg(height, "Until when each snapshot was promised to be locked, and is", body)


def _last_date(line: SnapshotLine) -> datetime:
    coverage = line.coverage
    dates = (coverage.locked_until, coverage.emulated_until) if coverage else ()
    return max([line.promised_until, *(date for date in dates if date is not None)])


_LOCK_STYLES: Final = {
    LockState.COVERED: "good",
    LockState.EMULATED: "warn",
    LockState.SHORT: "bad",
    LockState.PAST: "idle",
    LockState.UNKNOWN: "bad",
}


def _lock_row(line: SnapshotLine, axis: "_TimeAxis", top: float) -> str:
    x, promised = axis.x(line.created), axis.x(line.promised_until)
    until = None
    if line.coverage is not None:
        until = line.coverage.locked_until or line.coverage.emulated_until
    name = f"{line.source or line.agent} {line.snapshot_id[:8]}"
    words = (
        f"{name}: promised until {line.promised_until:%Y-%m-%d}, "
        f"{f'locked until {until:%Y-%m-%d}' if until else 'not locked'} ({line.lock.value})"
    )
    held = ""
    if until is not None:
        held = (
            f'<rect class="{_LOCK_STYLES[line.lock]}" x="{x:.1f}" y="{top + 5}" height="10"'
            f' width="{max(2.0, axis.x(until) - x):.1f}" rx="2"/>'
        )
    return (
        f"<g><title>{escape(words)}</title>"
        f'<text class="label" x="0" y="{top + 14}">{escape(name)}</text>'
        f'<rect class="promise" x="{x:.1f}" y="{top + 1}" height="18" rx="3"'
        f' width="{max(2.0, promised - x):.1f}"/>{held}'
        f'<text class="label" x="{WIDTH}" y="{top + 14}" text-anchor="end">{line.lock.value}</text>'
        "</g>"
    )


class _TimeAxis:
    """Dates to places between the labels on the left and the words on the right."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self._begin = begin
        self._span = (end - begin).total_seconds()
        self._end = end

    def x(self, date: datetime) -> float:
        share = (date - self._begin).total_seconds() / self._span
        return _LABELS + share * (WIDTH - _LABELS - 90)

    def ticks(self) -> Iterable[datetime]:
        step = timedelta(seconds=self._span / _TICKS)
        return (self._begin.astimezone(UTC) + step * number for number in range(_TICKS + 1))


def stacked_bar(title: str, parts: Sequence[Part]) -> str:
    """Parts of one whole, side by side, with a legend below."""
    total = sum(part.amount for part in parts)
    if total <= 0:
        return ""
    x, rects, legend, at = 0.0, [], [], 0
    for part in parts:
        width = WIDTH * part.amount / total
        words = f"{part.label}: {part.shown}"
        if part.amount > 0:
            rects.append(
                f'<rect class="{part.style}" x="{x:.1f}" y="0" width="{max(1.0, width):.1f}"'
                f' height="26"><title>{escape(words)}</title></rect>'
            )
        legend.append(
            f'<rect class="{part.style}" x="{at}" y="38" width="12" height="12" rx="2"/>'
            f'<text class="label" x="{at + 18}" y="48">{escape(words)}</text>'
        )
        x += width
        at += 40 + round(7.2 * len(words))
    return _svg(56, title, "".join(rects + legend))


def horizontal_bars(title: str, parts: Sequence[Part]) -> str:
    """One bar a part, with the amount in words behind it."""
    longest = max((part.amount for part in parts), default=0)
    rows = []
    for number, part in enumerate(parts):
        top = number * _ROW
        width = (WIDTH - _LABELS - 110) * part.amount / longest if longest else 0
        rows.append(
            f'<g><text class="label" x="0" y="{top + 16}">{escape(part.label)}</text>'
            f'<rect class="{part.style}" x="{_LABELS}" y="{top + 4}" height="16" rx="2"'
            f' width="{max(1.0, width):.1f}"/>'
            f'<text class="label" x="{_LABELS + max(1.0, width) + 8:.1f}" y="{top + 16}">'
            f"{escape(part.shown)}</text></g>"
        )
    return _svg(_ROW * len(parts), title, "".join(rows)) if rows else ""


def throughput(points: Sequence[Point]) -> str:
    """Bytes that were back over the time of the restore."""
    points = [Point(0.0, 0), *points]
    seconds, most = points[-1].seconds, max(point.size_bytes for point in points)
    if seconds <= 0 or most <= 0:
        return ""
    height, left, bottom = 200, 80, 176

    def place(point: Point) -> str:
        x = left + (WIDTH - left - 10) * point.seconds / seconds
        return f"{x:.1f},{bottom - (bottom - 14) * point.size_bytes / most:.1f}"

    line = " ".join(place(point) for point in points)
    grid = "".join(
        f'<line class="grid" x1="{left}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" text-anchor="end" x="{left - 8}" y="{y + 4:.1f}">'
        f"{size_text(most * share)}</text>"
        for share in (0.0, 0.5, 1.0)
        for y in (bottom - (bottom - 14) * share,)
    )
    times = "".join(
        f'<text class="tick" text-anchor="{anchor}" y="{height - 6}"'
        f' x="{left + (WIDTH - left - 10) * share:.1f}">{duration_text(seconds * share)}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )
    area = f"{left},{bottom} {line} {WIDTH - 10},{bottom}"
    body = (
        f'{grid}{times}<polygon class="area" points="{area}"/>'
        f'<polyline class="curve" points="{line}"/>'
    )
    return _svg(height, "Bytes restored over time", body)


def _svg(height: float, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img"><title>{escape(title)}</title>'
        f"{body}</svg>"
    )
