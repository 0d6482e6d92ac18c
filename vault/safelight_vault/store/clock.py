"""The system clock held against the store's: a wrong date would lock irrevocably.

The invariant: nothing is locked while the two disagree by more than the limit.
"""

from datetime import datetime, timedelta

from safelight_vault.errors import ClockSkewError


def check_skew(system: datetime, store: datetime, limit: timedelta) -> None:
    """Raise ``ClockSkewError`` when two clocks (both aware) differ by more than ``limit``."""
    skew = system - store
    if abs(skew) > limit:
        direction = "ahead of" if skew > timedelta() else "behind"
        raise ClockSkewError(
            f"the system clock ({system.isoformat()}) is {abs(skew)} {direction} "
            f"the store's ({store.isoformat()}); at most {limit} is allowed"
        )
