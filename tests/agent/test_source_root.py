"""The guard against a vanished mount (fault 14) and against one that hangs (fault 15)."""

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from safelight_agent.source import RootFacts, SourceVanishedError
from safelight_agent.source.root import ask_root, judge_root, look_at_root
from safelight_agent.source.tree import TreeOptions, TreeSource


def facts(**changes: object) -> RootFacts:
    usual = RootFacts(path=b"/mnt/pacs", mount_point=b"/mnt/pacs", device=5, inode=2, empty=False)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]  # names checked at run


def objection(
    now: RootFacts, expected: RootFacts | None, *, require_mount: bool = False, empty: bool = False
) -> str | None:
    return judge_root(now, expected, require_mount=require_mount, allow_empty=empty)


def test_an_unchanged_root_is_accepted() -> None:
    assert objection(facts(), facts(), require_mount=True) is None


def test_a_restart_that_renumbers_devices_is_accepted() -> None:
    assert objection(facts(device=99, inode=7), facts()) is None


def test_fault_14_an_empty_root_that_held_files_is_refused() -> None:
    assert "empty" in (objection(facts(empty=True), facts()) or "")


def test_an_empty_root_is_accepted_at_first_and_where_it_is_allowed() -> None:
    assert objection(facts(empty=True), None) is None
    assert objection(facts(empty=True), facts(empty=True)) is None
    assert objection(facts(empty=True), facts(), empty=True) is None


def test_fault_14_a_root_that_fell_off_its_mount_is_refused() -> None:
    below = facts(path=b"/mnt/pacs/images")
    fallen = facts(path=b"/mnt/pacs/images", mount_point=b"/")
    assert "/mnt/pacs" in (objection(fallen, below) or "")


def test_a_root_that_moved_onto_a_mount_of_its_own_is_accepted() -> None:
    assert objection(facts(), facts(mount_point=b"/")) is None


def test_require_mount_wants_the_root_itself_to_be_the_mount_point() -> None:
    assert objection(facts(), None, require_mount=True) is None
    fallen = facts(mount_point=b"/mnt")
    assert "require_mount" in (objection(fallen, None, require_mount=True) or "")


def test_the_facts_of_a_real_mount_are_seen(tmp_path: Path) -> None:
    assert look_at_root(b"/proc").mount_point == b"/proc"
    assert look_at_root(b"/proc/self/task").mount_point == b"/proc"
    seen = look_at_root(os.fsencode(tmp_path))
    assert seen.empty
    assert os.fsencode(tmp_path).startswith(seen.mount_point)
    assert (seen.device, seen.inode) == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)


def test_links_to_the_root_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert look_at_root(os.fsencode(tmp_path / "link")).path == os.fsencode(tmp_path / "real")


def test_fault_14_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceVanishedError, match="does not exist"):
        TreeSource(tmp_path / "gone").check_root()


def test_fault_14_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceVanishedError, match="not a directory"):
        TreeSource(tmp_path / "file").check_root()


def test_fault_14_the_files_of_a_tree_that_was_emptied_are_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = TreeSource(tmp_path)
    before = source.check_root()
    assert source.check_root(before) == before
    (tmp_path / "file").unlink()
    with pytest.raises(SourceVanishedError, match="empty"):
        source.check_root(before)
    lenient = TreeSource(tmp_path, TreeOptions(allow_empty=True))
    assert lenient.check_root(before).empty


def test_fault_14_require_mount_refuses_a_plain_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceVanishedError, match="require_mount"):
        TreeSource(tmp_path, TreeOptions(require_mount=True)).check_root()
    assert TreeSource(Path("/proc"), TreeOptions(require_mount=True)).check_root().path == b"/proc"


def test_fault_15_a_root_that_never_answers_is_given_up() -> None:
    release = threading.Event()

    def hang(_root: bytes) -> RootFacts:
        release.wait()
        return facts()

    try:
        with pytest.raises(SourceVanishedError, match="no answer"):
            ask_root(b"/mnt/pacs", timeout_seconds=0.05, look=hang)
    finally:
        release.set()


def test_a_vanished_source_is_an_incomplete_run() -> None:
    assert SourceVanishedError.exit_code == 7
