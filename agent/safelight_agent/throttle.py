"""Rate limits: the archive that is backed up serves clinicians at the same time.

A token bucket that holds one second's worth. The invariant: over any span of time, no more passes
than its length times the rate plus one second's worth and the one piece that was under way.
"""

import threading
from collections.abc import Callable

BURST_SECONDS = 1.0


class RateLimit:
    """Makes callers wait so that together they stay below a rate; safe to call from any thread.

    ``clock`` is monotonic, in seconds; ``sleep`` waits for so many seconds (pass the ``wait`` of a
    stop event, and a stop ends the waiting). A rate of 0 means no limit.
    """

    def __init__(
        self,
        bytes_per_second: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        if bytes_per_second < 0:
            raise ValueError("a rate is not negative")
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._mutex = threading.Lock()
        self._tokens_bytes = bytes_per_second * BURST_SECONDS
        self._filled_at = clock()

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may pass.

        A piece larger than the bucket is let through on credit, and those after it wait for it.
        """
        if self._bytes_per_second == 0:
            return
        wait_seconds = self._reserve(size_bytes)
        if wait_seconds > 0:
            self._sleep(wait_seconds)

    def _reserve(self, size_bytes: int) -> float:
        """Take the tokens now and tell how long until they are really there."""
        with self._mutex:
            now = self._clock()
            gained = (now - self._filled_at) * self._bytes_per_second
            full = self._bytes_per_second * BURST_SECONDS
            self._tokens_bytes = min(full, self._tokens_bytes + gained) - size_bytes
            self._filled_at = now
            return -self._tokens_bytes / self._bytes_per_second
