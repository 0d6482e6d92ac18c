"""The scratch directory goes, with patients' files in it, however the drill ends."""

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from safelight_restore.drill.scratch import remove_tree, scratch_directory
from safelight_vault.errors import ConfigurationError, IncompleteError


def use_scratch(parent: Path, then: Callable[[], object]) -> None:
    with scratch_directory(parent, keep=False) as directory:
        (directory / "image.dcm").write_bytes(b"a patient")
        then()


def test_it_is_for_its_owner_only_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_directory(tmp_path, keep=False) as directory:
        assert directory.parent == tmp_path
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        (directory / "image.dcm").write_bytes(b"a patient")
    assert list(tmp_path.iterdir()) == []


def test_it_is_kept_when_asked_for(tmp_path: Path) -> None:
    with scratch_directory(tmp_path, keep=True) as directory:
        (directory / "image.dcm").write_bytes(b"a patient")
    assert (directory / "image.dcm").exists()


def test_an_error_removes_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        use_scratch(tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_to_end_removes_it(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        use_scratch(tmp_path, lambda: signal.raise_signal(signal.SIGTERM))
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_place_where_none_can_be_made_is_a_wrong_option(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="no scratch directory"),
        scratch_directory(tmp_path / "absent", keep=False),
    ):
        pass


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with (
        monkeypatch.context() as patch,
        pytest.raises(IncompleteError, match="could not be removed") as told,
        scratch_directory(tmp_path, keep=False),
    ):
        patch.setattr(os, "rmdir", refuse)
    assert "patients" in told.value.next_step


def test_depth_modes_names_and_links_do_not_matter(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(outside)
    for name in (b"0", b"1", b"bad\n\xff", b"d" * 255):
        directory = os.fsencode(top) + b"/" + name
        os.mkdir(directory)
        os.mkdir(directory + b"/0")
        with open(directory + b"/0/file", "wb") as file:
            file.write(b"a patient")
        os.chmod(directory + b"/0", 0o000)
        os.chmod(directory, 0o555)
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        # Deeper than a path can be long, and than a function may call itself.
        for _ in range(1500):
            os.mkdir(b"deep")
            os.chdir(b"deep")
        Path("end").write_bytes(b"a patient")
    finally:
        os.fchdir(start)
        os.close(start)
    remove_tree(os.fsencode(top))
    assert not top.exists()
    assert [path.name for path in outside.iterdir()] == ["kept"]
