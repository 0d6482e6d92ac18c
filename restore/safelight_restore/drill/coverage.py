"""Locks judged: whether what the store says of an object is what its snapshots were promised. Pure.

The invariant: what the store itself does not report as locked until the promised date is no lock
coverage, and an emulated lock never is any.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from safelight_vault.store import LockMode


class Presence(Enum):
    """What became of one object; ``value`` is the word in reports."""

    PRESENT = "present"
    MOVED = "moved"
    """There, under another VersionId than recorded (a copied vault, a put that was retried)."""
    MISSING = "missing"
    WRONG_SIZE = "wrong_size"
    """There, shorter or longer than recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """What the store says of one object that a snapshot needs."""

    presence: Presence
    reason: str = ""
    lock_mode: LockMode = LockMode.NONE
    retain_until: datetime | None = None
    unread: bool = False
    """Moved, and its bytes were not compared with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCoverage:
    """Objects that one snapshot needs, and until when a store's lock protects all of them."""

    objects: int
    size_bytes: int
    locked_until: datetime | None
    """None: something is missing, not locked, or locked by emulation only."""
    emulated_until: datetime | None
    """The smallest date, emulated locks counted in; None where there are none, or not enough."""


_STRENGTH = {
    LockMode.NONE: 0,
    LockMode.EMULATED: 1,
    LockMode.GOVERNANCE: 2,
    LockMode.COMPLIANCE: 3,
}


def is_weaker(mode: LockMode, promised: LockMode) -> bool:
    """Whether less stands behind a lock of this mode than behind the vault's own."""
    return _STRENGTH[mode] < _STRENGTH[promised]


def is_short(state: ObjectState, promised_until: datetime, now: datetime, mode: LockMode) -> bool:
    """Whether a lock is weaker than ``mode``, or ends before a promise that still holds. Pure."""
    if promised_until <= now or state.presence in {Presence.MISSING, Presence.WRONG_SIZE}:
        return False
    if state.retain_until is None or is_weaker(state.lock_mode, mode):
        return True
    # Stores keep whole seconds.
    return state.retain_until < promised_until.replace(microsecond=0)


class LockState(Enum):
    """How a snapshot is locked; ``value`` is the word in reports."""

    COVERED = "covered"
    """By the store's own locks, for as long as was promised."""
    EMULATED = "emulated"
    """As long as promised, by locks that only this program keeps: no coverage."""
    SHORT = "short"
    """Something is not locked, or not for as long as was promised."""
    PAST = "past"
    """The promise has run out: whatever lock is left is more than was promised."""
    UNKNOWN = "unknown"
    """Its reference table cannot be read."""


def lock_state(
    coverage: SnapshotCoverage | None, promised_until: datetime, now: datetime
) -> LockState:
    """The state of a snapshot that was promised to be locked until this date. Pure."""
    if coverage is None:
        return LockState.UNKNOWN
    if promised_until <= now:
        return LockState.PAST
    promised_until = promised_until.replace(microsecond=0)
    if coverage.locked_until is not None and coverage.locked_until >= promised_until:
        return LockState.COVERED
    emulated = coverage.emulated_until
    return LockState.EMULATED if emulated and emulated >= promised_until else LockState.SHORT
