"""Lock dates: rounding never shortens, and shortening is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import LockRefusedError
from safelight_vault.store.retention import lock_date, require_future, require_later

DATES = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - hypothesis wants bounds without a zone
    max_value=datetime(2190, 1, 1),  # noqa: DTZ001
    timezones=st.timedeltas(timedelta(hours=-12), timedelta(hours=12)).map(timezone),
)


@given(DATES)
def test_rounding_gives_whole_seconds_and_never_an_earlier_moment(date: datetime) -> None:
    rounded = lock_date(date)
    assert rounded.microsecond == 0
    assert rounded.tzinfo is UTC
    assert timedelta() <= rounded - date < timedelta(seconds=1)
    assert lock_date(rounded) == rounded


def test_a_date_without_a_zone_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="time zone"):
        lock_date(datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point


def test_a_lock_must_end_after_now() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    require_future(now + timedelta(seconds=1), now=now, name="a")
    for date in (now, now - timedelta(days=1)):
        with pytest.raises(LockRefusedError):
            require_future(date, now=now, name="a")


def test_only_an_earlier_date_is_a_shortening() -> None:
    date = datetime(2030, 1, 1, tzinfo=UTC)
    require_later(date, current=None, name="a")
    require_later(date, current=date, name="a")
    require_later(date + timedelta(seconds=1), current=date, name="a")
    with pytest.raises(LockRefusedError, match="cannot be shortened"):
        require_later(date - timedelta(seconds=1), current=date, name="a")
