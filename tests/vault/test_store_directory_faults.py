"""The directory store when the system fails or the process dies at any one of its calls.

Each operation is played again and again, with its first system call failing, then its second, and
so on until it gets through; and likewise with the process killed there by SIGKILL. Whatever
happened, an object is there whole and under lock or not at all, and the next try succeeds.
"""

import errno
import hashlib
import os
import signal
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safelight_vault.errors import NameTakenError, StoreUnreachableError
from safelight_vault.store import LockMode
from safelight_vault.store.directory import DirectoryStore

NOW = datetime(2026, 11, 24, tzinfo=UTC)
UNTIL = NOW + timedelta(days=30)
LATER = UNTIL + timedelta(days=30)
BODY = [b"piece", b"", b"by", b"piece"]
DIGEST = hashlib.sha256(b"".join(BODY)).digest()
NAME = f"packs/agent/{DIGEST.hex()}"

CALLS = ("open", "mkdir", "writev", "pread", "fsync", "rename", "unlink", "scandir", "rmdir")
"""The system calls that change something or that a reader depends on."""

CALLS_MAX = 200


class CallCounter:
    """Lets system calls pass until one of them is the ``nth``, and then does ``what``."""

    def __init__(self, nth: int, what: Callable[[], None]) -> None:
        self._nth = nth
        self._what = what
        self.count = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            self.count += 1
            if self.count == self._nth:
                self._what()
            return call(*arguments, **options)

        return counted


def open_directory(root: Path, *, create: bool = False) -> DirectoryStore:
    return DirectoryStore(
        root, now=lambda: NOW, new_version_id=lambda: uuid.uuid4().hex, create=create
    )


def create(root: Path) -> None:
    open_directory(root, create=True)


def put(root: Path) -> None:
    open_directory(root).put(NAME, BODY, sha256=DIGEST, retain_until=UNTIL)


def extend(root: Path) -> None:
    store = open_directory(root)
    store.extend(NAME, store.head(NAME).version_id, LATER)


def read(root: Path) -> None:
    store = open_directory(root)
    (version,) = store.list_versions("")
    assert store.get(version.name, version.version_id) == b"".join(BODY)
    assert store.head(version.name, version.version_id).retain_until == UNTIL


def check_and_finish(root: Path, operation: Callable[[Path], None]) -> None:
    """After a failure: nothing is half there, and the operation can be done (or was done)."""
    if operation is create:
        create(root)
    store = open_directory(root)
    versions = list(store.list_versions(""))
    assert len(versions) <= 1
    for version in versions:
        assert store.get(version.name, version.version_id) == b"".join(BODY)
        head = store.head(version.name, version.version_id)
        assert head.lock_mode is LockMode.EMULATED
        assert head.retain_until in {UNTIL, LATER}
    if operation is put:
        try:
            put(root)
        except NameTakenError:
            assert versions, "a name is taken by an object only"
    if operation is extend:
        extend(root)
        assert store.head(NAME).retain_until == LATER
    if operation is not create:
        assert store.get(NAME) == b"".join(BODY)


def prepare(root: Path, operation: Callable[[Path], None]) -> None:
    if operation is not create:
        create(root)
    if operation in {extend, read}:
        put(root)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("operation", [create, put, extend, read])
def test_after_any_failed_call_nothing_is_half_there(
    tmp_path: Path, operation: Callable[[Path], None], number: int
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    for nth in range(1, CALLS_MAX):
        root = tmp_path / str(nth)
        prepare(root, operation)
        counter = CallCounter(nth, fail)
        with pytest.MonkeyPatch.context() as patch:
            counter.install(patch)
            try:
                operation(root)
            except StoreUnreachableError as error:
                assert os.strerror(number) in error.message  # noqa: PT017 - it need not be raised
        if counter.count < nth:
            assert nth > 3, "the fault was never played"
            return
        check_and_finish(root, operation)
    pytest.fail("the operation never got through")


@pytest.mark.parametrize("operation", [create, put, extend])
def test_after_a_kill_at_any_call_nothing_is_half_there(
    tmp_path: Path, operation: Callable[[Path], None]
) -> None:
    for nth in range(1, CALLS_MAX):
        root = tmp_path / str(nth)
        prepare(root, operation)
        if not _killed_at(nth, root, operation):
            assert nth > 3, "nobody was ever killed"
            return
        check_and_finish(root, operation)
    pytest.fail("the operation never got through")


def _killed_at(nth: int, root: Path, operation: Callable[[Path], None]) -> bool:
    """Do it in a child that dies at its ``nth`` call; False when the child got through."""
    child = os.fork()
    if child == 0:
        try:
            patch = pytest.MonkeyPatch()
            CallCounter(nth, lambda: os.kill(os.getpid(), signal.SIGKILL)).install(patch)
            operation(root)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed otherwise"
    return False
