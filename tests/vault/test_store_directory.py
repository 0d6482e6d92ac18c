"""The directory store: what only a directory has (modes, leftovers, lost disks, damaged files)."""

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from name_strategies import NAMES
from safelight_vault.errors import (
    AccessDeniedError,
    ConfigurationError,
    CorruptError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    StoreUnreachableError,
    UnsupportedFormatError,
)
from safelight_vault.store import LockMode
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.directory_files import store_error
from safelight_vault.store.directory_layout import MARKER, lock_file, object_path

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "disk" / "vault"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return open_directory(root, create=True)


def directory_of(root: Path, name: str = NAME) -> Path:
    return root.joinpath(*object_path(name))


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


def test_files_are_read_only_and_private(root: Path, store: DirectoryStore) -> None:
    put(store)
    for path in root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif path.name != "@incoming.lease":
            assert mode == 0o400, path


def test_the_bytes_lie_there_as_they_are(root: Path, store: DirectoryStore) -> None:
    version_id = put(store)
    file = directory_of(root) / version_id
    assert hashlib.sha256(file.read_bytes()).hexdigest() == DIGEST


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


def test_what_a_killed_writer_left_is_invisible_harmless_and_cleared(
    root: Path, store: DirectoryStore
) -> None:
    left = root / "@incoming" / "id-of-the-dead"
    left.mkdir(parents=True)
    (left / "id-of-the-dead").write_bytes(BODY[:5])
    empty = directory_of(root, "packs/empty")
    empty.mkdir(parents=True)
    assert list(store.list_versions("")) == []
    with pytest.raises(ObjectMissingError):
        store.get("packs/empty")
    put(store, "packs/empty")
    assert not left.exists()
    assert [version.name for version in store.list_versions("")] == ["packs/empty"]


def test_what_a_writer_at_work_has_is_not_cleared(
    root: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = open_directory(root, ids=Ids("slow"))
    quick = open_directory(root, ids=Ids("quick"))
    bring_to_disk = os.fsync
    interrupted: list[int] = []

    def fsync_while_another_process_writes(descriptor: int) -> None:
        if not interrupted:
            interrupted.append(descriptor)
            put(quick, "packs/quick")
            assert (root / "@incoming" / "slow-1").is_dir()
        bring_to_disk(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_while_another_process_writes)
    (root / "@incoming").mkdir()
    put(slow, "packs/slow")
    assert interrupted
    assert store.get("packs/slow") == store.get("packs/quick") == BODY


def test_files_of_other_kinds_are_passed_over(root: Path, store: DirectoryStore) -> None:
    version_id = put(store)
    directory = directory_of(root)
    (directory / "README").write_bytes(b"x")
    (directory / f"{version_id}.until-tomorrow").write_bytes(b"x")
    (directory / "@half-an-extension").write_bytes(b"x")
    (directory / "link").symlink_to("/etc/passwd")
    (directory / "sub").mkdir()
    (root / "NOT A NAME").mkdir()
    (root / "a-file").write_bytes(b"x")
    (root / "a-link").symlink_to(root)
    (root / "packs" / f"{DIGEST}@").mkdir()
    assert [version.version_id for version in store.list_versions("")] == [version_id]
    assert store.get(NAME) == BODY
    for wrong in ("link", "sub", "README", f"{version_id}.until-tomorrow"):
        with pytest.raises(ObjectMissingError):
            store.get(NAME, wrong)


@pytest.mark.parametrize("version_id", ["../../@store", "..", "", "/etc/passwd", "a\0b", "x" * 300])
def test_a_version_id_never_leads_out_of_the_object(
    root: Path, store: DirectoryStore, version_id: str
) -> None:
    put(store)
    with pytest.raises(ObjectMissingError):
        store.get(NAME, version_id)
    with pytest.raises(ObjectMissingError):
        store.head(NAME, version_id)
    with pytest.raises(ObjectMissingError):
        store.extend(NAME, version_id, UNTIL + timedelta(days=1))


def test_a_damaged_lock_record_reads_as_not_locked_and_can_be_locked_again(
    root: Path, store: DirectoryStore
) -> None:
    version_id = put(store)
    record = directory_of(root) / lock_file(version_id, UNTIL)
    good = record.read_bytes()
    for damaged in (b"", good[:-1], good + b"x", b"\0" * len(good), good * 100):
        record.unlink()
        record.write_bytes(damaged)
        head = store.head(NAME, version_id)
        assert (head.lock_mode, head.retain_until) == (LockMode.NONE, None)
    store.extend(NAME, version_id, UNTIL + timedelta(days=1))
    assert store.head(NAME).retain_until == UNTIL + timedelta(days=1)


def test_a_lock_record_renamed_to_a_later_date_is_not_believed(
    root: Path, store: DirectoryStore
) -> None:
    version_id = put(store)
    directory = directory_of(root)
    later = UNTIL + timedelta(days=1000)
    (directory / lock_file(version_id, UNTIL)).rename(directory / lock_file(version_id, later))
    assert store.head(NAME).retain_until is None


def test_an_extension_leaves_one_record_and_the_latest_of_several_counts(
    root: Path, store: DirectoryStore
) -> None:
    version_id = put(store)
    directory = directory_of(root)
    earlier = directory / lock_file(version_id, UNTIL)
    kept = earlier.read_bytes()
    later = UNTIL + timedelta(days=5)
    store.extend(NAME, version_id, later)
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        [version_id, lock_file(version_id, later)]
    )
    earlier.write_bytes(kept)
    assert store.head(NAME).retain_until == later
    with pytest.raises(LockRefusedError):
        store.extend(NAME, version_id, UNTIL + timedelta(days=1))


def test_a_directory_with_files_but_no_version_says_so(root: Path, store: DirectoryStore) -> None:
    directory_of(root).mkdir(parents=True)
    (directory_of(root) / "STRAY").write_bytes(b"x")
    with pytest.raises(StoreUnreachableError, match="no version"):
        put(store)


def test_a_wrong_digest_leaves_nothing_behind(root: Path, store: DirectoryStore) -> None:
    with pytest.raises(CorruptError):
        store.put(NAME, [BODY], sha256=bytes(32), retain_until=UNTIL)
    assert list((root / "@incoming").iterdir()) == []
    assert list(store.list_versions("")) == []


@pytest.mark.parametrize("wrong", ["", "UPPER", "a/b", "..", "x" * 65])
def test_a_version_id_that_cannot_be_a_file_is_a_programming_error(
    root: Path, store: DirectoryStore, wrong: str
) -> None:
    careless = DirectoryStore(root, now=lambda: NOW, new_version_id=lambda: wrong)
    with pytest.raises(ValueError, match="version id"):
        put(careless)


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


def test_dates_that_no_calendar_has_do_not_stop_a_listing(
    root: Path, store: DirectoryStore
) -> None:
    version_id = put(store)
    for seconds in (-(2**33), 2**34 - 1):
        os.utime(directory_of(root) / version_id, (seconds, seconds))
        (version,) = store.list_versions("")
        assert version.version_id == version_id


@settings(max_examples=15, deadline=None)
@given(st.sets(NAMES, max_size=12), st.integers(0, 8))
def test_a_listing_is_what_was_put_in_order_of_names(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], length: int
) -> None:
    store = open_directory(tmp_path_factory.mktemp("listing") / "vault", create=True)
    for name in names:
        put(store, name)
    for prefix in {"", *(name[:length] for name in names)}:
        listed = [version.name for version in store.list_versions(prefix)]
        assert listed == sorted(name for name in names if name.startswith(prefix))
    for name in names:
        with pytest.raises(NameTakenError):
            put(store, name)


def test_a_lock_that_is_being_extended_never_reads_as_none(store: DirectoryStore) -> None:
    version_id = put(store)

    def extend_again_and_again() -> None:
        for days in range(1, 25):
            store.extend(NAME, version_id, UNTIL + timedelta(days=days))

    with ThreadPoolExecutor(1) as pool:
        extensions = pool.submit(extend_again_and_again)
        last = UNTIL
        while not extensions.done():
            until = store.head(NAME, version_id).retain_until
            assert until is not None
            assert until >= last
            last = until
        extensions.result()
