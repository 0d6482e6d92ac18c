"""The disk under a directory store: absent, unmounted, foreign, forbidden, full."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from directory_stores import BODY, NAME, UNTIL, open_directory, put
from safelight_vault.errors import (
    AccessDeniedError,
    ConfigurationError,
    StoreUnreachableError,
    UnsupportedFormatError,
)
from safelight_vault.store import LockMode
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.directory_files import store_error
from safelight_vault.store.directory_layout import MARKER


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "disk" / "vault"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return open_directory(root, create=True)


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Without root's right to pass over permissions."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_store_is_found_again_by_another_process(root: Path, store: DirectoryStore) -> None:
    version_id = put(store)
    again = open_directory(root)
    assert again.get(NAME, version_id) == BODY
    assert again.head(NAME).retain_until == UNTIL
    assert again.lock_mode is LockMode.EMULATED
    assert again.url == root.as_uri()


def test_to_create_a_store_that_exists_changes_nothing(root: Path, store: DirectoryStore) -> None:
    put(store)
    assert open_directory(root, create=True).get(NAME) == BODY


def test_an_absent_directory_is_an_unmounted_disk(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachableError) as caught:
        open_directory(tmp_path / "absent")
    assert "mounted" in caught.value.next_step


def test_an_empty_mount_point_is_an_unmounted_disk(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachableError):
        open_directory(tmp_path)


def test_a_fresh_disk_can_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "@store.of-a-killed-creator").write_bytes(b"safe")
    put(open_directory(tmp_path, create=True))


def test_a_directory_that_holds_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ConfigurationError, match="something else"):
        open_directory(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("mark", "error"),
    [
        (b"safelight directory store, layout 2\n", UnsupportedFormatError),
        (b"another program's directory\n", ConfigurationError),
        (b"", ConfigurationError),
        (b"\xff" * 10_000, ConfigurationError),
    ],
)
def test_another_mark_is_refused(
    root: Path, store: DirectoryStore, mark: bytes, error: type[Exception]
) -> None:
    (root / MARKER).unlink()
    (root / MARKER).write_bytes(mark)
    with pytest.raises(error):
        open_directory(root)


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="absolute"):
        open_directory(Path("vault"))


def test_a_disk_that_goes_away_is_never_read_as_absence(root: Path, store: DirectoryStore) -> None:
    version_id = put(store)
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    for operation in (
        lambda: put(store, "packs/other"),
        lambda: store.get(NAME, version_id),
        lambda: store.head(NAME),
        lambda: store.extend(NAME, version_id, UNTIL + timedelta(days=1)),
        lambda: list(store.list_versions("")),
    ):
        with pytest.raises(StoreUnreachableError):
            operation()
    assert list(root.iterdir()) == [], "nothing is written to a bare mount point"


def test_a_disk_that_goes_away_during_a_listing_does_not_end_it_early(
    root: Path, store: DirectoryStore
) -> None:
    for number in range(3):
        put(store, f"packs/{number}")
    listing = store.list_versions("")
    next(listing)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreUnreachableError):
        list(listing)


def test_missing_rights_are_a_refusal_and_no_absence() -> None:
    # Not pytest's own directory, which only its owner can reach at all.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        root = Path(directory) / "vault"
        store = open_directory(root, create=True)
        put(store)
        root.chmod(0o711)
        (root / "packs").chmod(0)
        try:
            with as_somebody_else():
                for operation in (
                    lambda: store.get(NAME),
                    lambda: store.head(NAME),
                    lambda: list(store.list_versions("packs/agent/")),
                    lambda: put(store, "packs/new"),
                ):
                    with pytest.raises(AccessDeniedError):
                        operation()
        finally:
            (root / "packs").chmod(0o700)


@pytest.mark.parametrize(
    ("number", "error", "advice"),
    [
        (errno.ENOSPC, StoreUnreachableError, "Free space"),
        (errno.EDQUOT, StoreUnreachableError, "quota"),
        (errno.EROFS, StoreUnreachableError, "read-only"),
        (errno.EIO, StoreUnreachableError, "disk"),
        (errno.ESTALE, StoreUnreachableError, "mount"),
        (errno.ETIMEDOUT, StoreUnreachableError, "network"),
        (errno.EACCES, AccessDeniedError, "access"),
        (errno.EPERM, AccessDeniedError, "access"),
    ],
)
def test_each_error_of_the_system_gets_its_advice(
    number: int, error: type[Exception], advice: str
) -> None:
    translated = store_error(OSError(number, os.strerror(number)), "packs/a")
    assert type(translated) is error
    assert advice in translated.next_step
    assert os.strerror(number) in translated.message
