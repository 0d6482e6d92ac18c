"""The directory store: what only a directory has (modes, leftovers, lost disks, damaged files)."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directory_stores import BODY, DIGEST, NAME, NOW, UNTIL, Ids, directory_of, open_directory, put
from name_strategies import NAMES
from safelight_vault.errors import (
    CorruptError,
    LockRefusedError,
    NameTakenError,
    ObjectMissingError,
    StoreUnreachableError,
)
from safelight_vault.store import LockMode
from safelight_vault.store.directory import DirectoryStore
from safelight_vault.store.directory_layout import lock_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "disk" / "vault"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return open_directory(root, create=True)


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
