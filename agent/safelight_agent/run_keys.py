"""Run keys of one run: a fresh random key for every pack made within the hour, then forgotten.

The invariant: no key outlives its run or its hour, so whoever takes the agent later reads nothing
that was written before (design section 4.8).
"""

from collections.abc import Callable

from safelight_agent.membership import Membership
from safelight_vault.format.crypto import KEY_SIZE
from safelight_vault.format.names import ID_SIZE
from safelight_vault.format.run_key import RunKey

LIFETIME_SECONDS = 3600.0


class RunKeys:
    """Gives the run key in force."""

    def __init__(
        self,
        membership: Membership,
        random_bytes: Callable[[int], bytes],
        monotonic: Callable[[], float],
    ) -> None:
        self._membership = membership
        self._random_bytes = random_bytes
        self._monotonic = monotonic
        self._key: RunKey | None = None
        self._made_at = 0.0

    def current(self) -> RunKey:
        """The key in force; a new one after an hour."""
        now = self._monotonic()
        if self._key is None or now - self._made_at >= LIFETIME_SECONDS:
            self._key = RunKey.create(
                self._membership.trust.vault_id,
                self._random_bytes(ID_SIZE),
                self._random_bytes(KEY_SIZE),
                self._membership.trust.recipients,
            )
            self._made_at = now
        return self._key
