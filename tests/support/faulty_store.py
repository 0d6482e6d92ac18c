"""A store that fails as planned: a wrapper around any other store.

The invariant: a planned fault fires exactly where it was planned, and a plan that did not fire is
itself an error (:meth:`FaultyStore.verify_all_faults_fired`), so that no test passes because its
fault never happened.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from safelight_vault.errors import StoreUnreachableError
from safelight_vault.store import Buffers, Head, LockMode, Store, Version


class Operation(Enum):
    """What a store can be asked."""

    PUT = "put"
    GET = "get"
    HEAD = "head"
    LIST = "list"
    EXTEND = "extend"
    NOW = "now"


ANY_OPERATION = frozenset(Operation)


class Effect(Enum):
    """What happens when a fault fires."""

    FAIL_BEFORE = "the operation fails and had no effect"
    FAIL_AFTER = "the operation takes effect and its answer is lost (a listing breaks off)"
    CORRUPT_BODY = "get answers with one bit flipped"
    SHORT_BODY = "get answers without its last byte"
    STALE_LIST = "the listing does not know what was last put through this store"
    UNLOCKED = "head says that there is no lock"
    SHORT_LOCK = "head says that the lock ends a day earlier than it does"


class KilledError(BaseException):
    """The process died here. Once raised, every later operation of the store raises it too."""


def unreachable() -> BaseException:
    """The usual error of a fault."""
    return StoreUnreachableError("planned fault")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planned fault.

    ``nth`` counts from 1 the operations of these kinds on names with ``name_prefix``; ``times`` is
    for how many of them in a row it fires (None: for ever).
    """

    operations: frozenset[Operation]
    effect: Effect
    nth: int = 1
    times: int | None = 1
    name_prefix: str = ""
    error: Callable[[], BaseException] = unreachable

    def covers(self, count: int) -> bool:
        """Whether it fires for the ``count``-th operation that it looks at."""
        return self.nth <= count and (self.times is None or count < self.nth + self.times)


def fault(
    operation: Operation,
    effect: Effect,
    *,
    nth: int = 1,
    times: int | None = 1,
    name_prefix: str = "",
    error: Callable[[], BaseException] = unreachable,
) -> Fault:
    """A fault of one kind of operation."""
    return Fault(
        operations=frozenset({operation}),
        effect=effect,
        nth=nth,
        times=times,
        name_prefix=name_prefix,
        error=error,
    )


class FaultyStore:
    """Hands everything to ``inner``, but for the planned faults; counts every operation.

    ``calls`` says how often each operation was asked for, failed ones included.
    """

    def __init__(self, inner: Store, faults: "list[Fault] | tuple[Fault, ...]" = ()) -> None:
        self._inner = inner
        self._faults = list(faults)
        self._seen = [0] * len(self._faults)
        self._fired = [0] * len(self._faults)
        self._guard = threading.Lock()
        self._last_put: tuple[str, str] | None = None
        self._is_dead = False
        self.calls: Counter[Operation] = Counter()

    @property
    def url(self) -> str:
        """The inner store's URL."""
        return self._inner.url

    @property
    def lock_mode(self) -> LockMode:
        """The inner store's mode."""
        return self._inner.lock_mode

    @property
    def total_calls(self) -> int:
        """Operations of every kind so far."""
        return sum(self.calls.values())

    def verify_all_faults_fired(self) -> None:
        """Fail the test if a planned fault did not fire as often as planned."""
        idle = [
            planned
            for planned, fired in zip(self._faults, self._fired, strict=True)
            if fired < (planned.times or 1)
        ]
        assert not idle, f"these faults did not fire as planned: {idle}"

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """See :class:`Store`."""
        due = self._begin(Operation.PUT, name)
        version_id = self._inner.put(name, body, sha256=sha256, retain_until=retain_until)
        with self._guard:
            self._last_put = (name, version_id)
        self._lose_answer(due)
        return version_id

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """See :class:`Store`."""
        due = self._begin(Operation.GET, name)
        data = self._inner.get(name, version_id, offset=offset, length=length)
        self._lose_answer(due)
        effects = {planned.effect for planned in due}
        if Effect.CORRUPT_BODY in effects and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data[:-1] if Effect.SHORT_BODY in effects else data

    def head(self, name: str, version_id: str | None = None) -> Head:
        """See :class:`Store`."""
        due = self._begin(Operation.HEAD, name)
        head = self._inner.head(name, version_id)
        self._lose_answer(due)
        effects = {planned.effect for planned in due}
        if Effect.UNLOCKED in effects:
            return replace(head, lock_mode=LockMode.NONE, retain_until=None)
        if Effect.SHORT_LOCK in effects and head.retain_until is not None:
            return replace(head, retain_until=head.retain_until - timedelta(days=1))
        return head

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """See :class:`Store`; a listing whose answer is lost breaks off after its first line."""
        due = self._begin(Operation.LIST, prefix)
        effects = {planned.effect for planned in due}
        with self._guard:
            hidden = self._last_put if Effect.STALE_LIST in effects else None
        for version in self._inner.list_versions(prefix):
            if (version.name, version.version_id) == hidden:
                continue
            yield version
            self._lose_answer(due)
        self._lose_answer(due)

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """See :class:`Store`."""
        due = self._begin(Operation.EXTEND, name)
        self._inner.extend(name, version_id, retain_until)
        self._lose_answer(due)

    def now(self) -> datetime:
        """See :class:`Store`."""
        due = self._begin(Operation.NOW, "")
        now = self._inner.now()
        self._lose_answer(due)
        return now

    def _begin(self, operation: Operation, name: str) -> list[Fault]:
        """Count an operation, raise what is due before it, and return what is due after it."""
        due: list[Fault] = []
        with self._guard:
            if self._is_dead:
                raise KilledError
            self.calls[operation] += 1
            for number, planned in enumerate(self._faults):
                if operation in planned.operations and name.startswith(planned.name_prefix):
                    self._seen[number] += 1
                    if planned.covers(self._seen[number]):
                        self._fired[number] += 1
                        due.append(planned)
        for planned in due:
            if planned.effect is Effect.FAIL_BEFORE:
                self._fail(planned)
        return due

    def _lose_answer(self, due: list[Fault]) -> None:
        for planned in due:
            if planned.effect is Effect.FAIL_AFTER:
                self._fail(planned)

    def _fail(self, planned: Fault) -> None:
        error = planned.error()
        if isinstance(error, KilledError):
            with self._guard:
                self._is_dead = True
        raise error
