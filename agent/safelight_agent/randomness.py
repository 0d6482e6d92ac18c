"""Randomness that is watched: a source that repeats itself is refused before anything is sealed.

Every key and every nonce of a pack hangs on its random id and on the secret of its run. A cloned or
restored virtual machine, or a broken generator, may give the same bytes twice; two packs sealed
under one key would give their content away. The invariant: no two draws of one run are alike (among
the last few thousand), and whoever can know of earlier runs (the state its packs, the chain its
snapshots) refuses what they used.
"""

import threading
from collections import deque
from collections.abc import Callable

from safelight_vault.errors import RefusedError

WATCHED_SIZE_MIN, WATCHED_SIZE_MAX = 16, 64
"""Shorter draws may repeat by chance, longer ones are padding."""
REMEMBERED_MAX = 4096


class RepeatedRandomError(RefusedError):
    """The random source gave bytes that it had given before."""

    remedy = (
        "Restart this machine (a cloned or restored virtual machine may repeat its random "
        "numbers), then run again: nothing was sealed under a key that had been used before."
    )


class WatchedRandom:
    """Hands out what ``source`` gives, unless it was given before; safe for several threads."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._order: deque[bytes] = deque()
        self._known: set[bytes] = set()
        self._mutex = threading.Lock()

    def __call__(self, size: int) -> bytes:
        """``size`` random bytes."""
        drawn = self._source(size)
        if len(drawn) != size:
            raise RepeatedRandomError("the random source gives fewer bytes than asked for")
        if WATCHED_SIZE_MIN <= size <= WATCHED_SIZE_MAX:
            self._require_new(drawn[:WATCHED_SIZE_MIN])
        return drawn

    def _require_new(self, beginning: bytes) -> None:
        with self._mutex:
            if beginning in self._known:
                raise RepeatedRandomError("the random source repeats itself")
            self._known.add(beginning)
            self._order.append(beginning)
            if len(self._order) > REMEMBERED_MAX:
                self._known.discard(self._order.popleft())
