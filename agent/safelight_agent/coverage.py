"""Lock coverage: whether a pack may be referenced by the snapshot that is being made.

The rule (design section 6): *cover, extend, or store again*. A pack covers if its lock, as the
store reported it, lasts as long as the new snapshot requires. If not, its lock is extended with
slack and read back; if that fails, whoever asked stores the bytes again. S3's own lock is thus the
only lock between agents and steward.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from safelight_agent.state import PackRow, State
from safelight_vault.errors import CorruptError, LockRefusedError, RefusedError
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.objects import check_lock, ensure_lock
from safelight_vault.store import LockMode, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Until when a snapshot's objects must be locked, and until when new locks are set."""

    required_until: datetime
    target_until: datetime
    """``required_until`` with slack, so that tomorrow's snapshot finds today's locks sufficient."""


def microseconds(when: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return round(when.timestamp() * 1_000_000)


def from_microseconds(value: int) -> datetime:
    """The inverse of :func:`microseconds`."""
    return datetime.fromtimestamp(value / 1_000_000, UTC)


class Coverage:
    """Answers for one run, asking the store at most once per pack."""

    def __init__(
        self, store: Store, state: State, agent_id: bytes, requirement: Requirement
    ) -> None:
        self._store = store
        self._state = state
        self._agent_id = agent_id
        self._requirement = requirement
        self._required_us = microseconds(requirement.required_until)
        # A COMPLIANCE date, once read back, can only grow; any other is asked for again each run.
        self._trust_known = store.lock_mode is LockMode.COMPLIANCE
        self._answers: dict[bytes, bool] = {}
        self.extended = 0
        self.refused = 0

    def covers(self, pack_id: bytes) -> bool:
        """Whether the pack with this random id may be referenced."""
        answer = self._answers.get(pack_id)
        if answer is None:
            answer = self._ask(pack_id)
            self._answers[pack_id] = answer
        return answer

    def _ask(self, pack_id: bytes) -> bool:
        pack = self._state.pack(pack_id)
        if pack is None:
            return False
        if pack.digest is None:
            # It is being filled in this very run and will be put with the target date.
            return True
        if self._trust_known and pack.retain_until_us >= self._required_us:
            return True
        return self._extend(pack, pack.digest)

    def _extend(self, pack: PackRow, digest: bytes) -> bool:
        name = ObjectName(kind=Kind.PACK, owner=self._agent_id, digest=digest)
        try:
            # Credentials that may not look are an error of the run, and no reason to store again.
            head = self._store.head(str(name), pack.version_id)
        except CorruptError:
            self.refused += 1
            return False
        try:
            check_lock(self._store, head, self._requirement.required_until)
        except LockRefusedError:
            try:
                head = ensure_lock(
                    self._store, name, pack.version_id, self._requirement.target_until
                )
            except (RefusedError, CorruptError):
                self.refused += 1
                return False
            self.extended += 1
        if head.retain_until is not None:
            self._state.lock_known(pack.row, microseconds(head.retain_until))
        return True
