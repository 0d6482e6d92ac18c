"""The command ``safelight-agent``, killed by SIGKILL right after the n-th operation of its store.

    python killing_agent.py N --config FILE backup --json

Everything but the wrapped store is the installed command. A run that has fewer operations ends as
ever, so that whoever started it sees from the exit status whether the kill came.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from safelight_agent import assembly, cli
from safelight_vault.store import Buffers, Head, LockMode, Store, Version

_Answer = TypeVar("_Answer")

OPEN_STORE = "open_store"
"""What the agent opens its store with, by the name under which it is replaced here."""


class KillingStore:
    """Hands everything to ``inner``, and kills this process after the n-th operation."""

    def __init__(self, inner: Store, nth: int) -> None:
        self._inner = inner
        self._nth = nth
        self._numbers = itertools.count(1)

    def _count(self, answer: _Answer) -> _Answer:
        if next(self._numbers) == self._nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    @property
    def url(self) -> str:
        """See :class:`Store`."""
        return self._inner.url

    @property
    def lock_mode(self) -> LockMode:
        """See :class:`Store`."""
        return self._inner.lock_mode

    def put(self, name: str, body: Buffers, *, sha256: bytes, retain_until: datetime) -> str:
        """See :class:`Store`."""
        return self._count(self._inner.put(name, body, sha256=sha256, retain_until=retain_until))

    def get(
        self,
        name: str,
        version_id: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> bytes:
        """See :class:`Store`."""
        return self._count(self._inner.get(name, version_id, offset=offset, length=length))

    def head(self, name: str, version_id: str | None = None) -> Head:
        """See :class:`Store`."""
        return self._count(self._inner.head(name, version_id))

    def list_versions(self, prefix: str) -> Iterator[Version]:
        """See :class:`Store`."""
        yield from self._inner.list_versions(prefix)
        self._count(None)

    def extend(self, name: str, version_id: str, retain_until: datetime) -> None:
        """See :class:`Store`."""
        self._inner.extend(name, version_id, retain_until)
        self._count(None)

    def now(self) -> datetime:
        """See :class:`Store`."""
        return self._count(self._inner.now())


def main() -> None:
    """Run the command with its store wrapped."""
    nth = int(sys.argv.pop(1))
    open_store: Callable[..., Store] = getattr(assembly, OPEN_STORE)

    def open_killing(*arguments: Any, **options: Any) -> Store:
        return KillingStore(open_store(*arguments, **options), nth)

    setattr(assembly, OPEN_STORE, open_killing)
    cli.main()


if __name__ == "__main__":
    main()
