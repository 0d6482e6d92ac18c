"""The elements that a drill's page is put together from; whatever is shown is escaped here."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

ROWS_SHOWN_MAX = 200
_LONG = ' class="long"'
_LONG_MIN = 24
"""Longer cells may be broken anywhere, so that one name does not widen the page."""


def section(title: str, body: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{title}</h2>{body}</section>\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; of a long one the first rows."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows[:ROWS_SHOWN_MAX])
    more = len(rows) - ROWS_SHOWN_MAX
    note = f'<p class="small">{more} more are in the JSON report.</p>' if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cells(row: Iterable[object]) -> str:
    """Cells of a row; long ones may be broken anywhere, the others nowhere."""
    return "".join(
        f"<td{_LONG if len(str(cell)) > _LONG_MIN else ''}>{escape(str(cell))}</td>" for cell in row
    )


def minute(moment: datetime) -> str:
    """A time for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def day(text: str) -> str:
    """A date as DICOM writes it, for people; anything else as it is."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text
