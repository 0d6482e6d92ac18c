"""Directory stores on a fixed clock, and one object to put into them."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.directory_layout import object_path

NOW = datetime(2026, 11, 24, tzinfo=UTC)
UNTIL = NOW + timedelta(days=30)
BODY = b"some bytes of a pack"
DIGEST = hashlib.sha256(BODY).hexdigest()
NAME = f"packs/agent/{DIGEST}"


class Ids:
    """Version ids in order."""

    def __init__(self, start: str = "id") -> None:
        self._start = start
        self._next = 0

    def __call__(self) -> str:
        self._next += 1
        return f"{self._start}-{self._next}"


def open_directory(root: Path, *, create: bool = False, ids: Ids | None = None) -> DirectoryStore:
    return DirectoryStore(root, now=lambda: NOW, new_version_id=ids or Ids(), create=create)


def put(store: DirectoryStore, name: str = NAME, body: bytes = BODY) -> str:
    return store.put(name, [body], sha256=hashlib.sha256(body).digest(), retain_until=UNTIL)


def directory_of(root: Path, name: str = NAME) -> Path:
    return root.joinpath(*object_path(name))
