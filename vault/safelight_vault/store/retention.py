"""Lock dates as stores exchange them: aware, in UTC, in whole seconds, never in the past.

The invariant: rounding never shortens. S3 keeps dates to the second or the millisecond, depending
on the server; a date rounded up to the second comes back from every store exactly as it was put.
"""

from datetime import UTC, datetime, timedelta

from safelight_vault.errors import LockRefusedError

_ONE_SECOND = timedelta(seconds=1)


def lock_date(retain_until: datetime) -> datetime:
    """``retain_until`` in UTC, rounded up to the second. A naive date is a programming error."""
    if retain_until.tzinfo is None:
        raise ValueError("retain_until must carry a time zone")
    date = retain_until.astimezone(UTC)
    whole = date.replace(microsecond=0)
    return whole if whole == date else whole + _ONE_SECOND


def require_future(date: datetime, *, now: datetime, name: str) -> None:
    """Refuse a lock that would have ended before it began, as S3 does (``LockRefusedError``)."""
    if date <= now:
        raise LockRefusedError(
            f"{name}: the lock date {date.isoformat()} is not after the store's time "
            f"{now.isoformat()}",
            remedy="Correct the system clock, or ask for a longer retention.",
        )


def require_later(date: datetime, *, current: datetime | None, name: str) -> None:
    """Refuse to shorten a lock (``LockRefusedError``); the same date again is no change."""
    if current is not None and date < current:
        raise LockRefusedError(
            f"{name}: the lock until {current.isoformat()} cannot be shortened to "
            f"{date.isoformat()}",
            remedy="Locks can only be extended; ask for a later date.",
        )
