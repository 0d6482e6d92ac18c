"""Trying again: exponential backoff with full jitter, on an unreachable store only.

The invariant: the number of attempts is bounded, and nothing but ``StoreUnreachableError`` is ever
tried again (a refusal, a missing object or damage does not mend itself by asking twice).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from safelight_vault.errors import StoreUnreachableError

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often to try, and how long to wait in between.

    The wait before attempt n + 1 is drawn by ``uniform`` from 0 to ``base_seconds`` doubled n - 1
    times, at most ``cap_seconds``. Many agents that were turned away together come back apart.
    """

    attempts: int
    base_seconds: float
    cap_seconds: float
    sleep: Callable[[float], None]
    uniform: Callable[[float, float], float]

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"{self.attempts} attempts")

    def call(self, attempt: Callable[[], _Answer]) -> _Answer:
        """The answer of ``attempt``, tried until it comes or the attempts are used up."""
        failures = 0
        while True:
            try:
                return attempt()
            except StoreUnreachableError as error:
                failures += 1
                self.pause_or_raise(failures, error)

    def pause_or_raise(self, failures: int, error: StoreUnreachableError) -> None:
        """Wait after so many failures in a row, or raise ``error`` when they used up the attempts.

        For work that ``call`` cannot express because it goes on where it stopped.
        """
        if failures >= self.attempts:
            raise error
        # The exponent is bounded: 2.0 to a large power would overflow long before the cap matters.
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 62))
        self.sleep(self.uniform(0.0, ceiling))
