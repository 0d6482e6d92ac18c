"""The system clock held against the store's."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from safelight_vault.errors import ClockSkewError
from safelight_vault.store.clock import check_skew

STORE = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LIMIT = timedelta(minutes=15)


@pytest.mark.parametrize("seconds", [0, 1, -1, 900, -900])
def test_clocks_within_the_limit_pass(seconds: int) -> None:
    check_skew(STORE + timedelta(seconds=seconds), STORE, LIMIT)


@pytest.mark.parametrize(
    ("system", "direction"),
    [
        (STORE + LIMIT + timedelta(seconds=1), "ahead of"),
        (STORE - LIMIT - timedelta(seconds=1), "behind"),
        (datetime(2099, 1, 1, tzinfo=UTC), "ahead of"),
        (datetime(1970, 1, 1, tzinfo=UTC), "behind"),
    ],
)
def test_a_clock_beyond_the_limit_is_refused_and_the_message_says_how(
    system: datetime, direction: str
) -> None:
    with pytest.raises(ClockSkewError, match=direction):
        check_skew(system, STORE, LIMIT)


def test_a_time_zone_is_no_skew() -> None:
    check_skew(STORE.astimezone(timezone(timedelta(hours=9))), STORE, timedelta())
