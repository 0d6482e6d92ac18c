"""A tree that changes while it is scanned, and scans that end early."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from safelight_agent.source import Found, Scanned, Skipped, SourceVanishedError, Unreadable
from safelight_agent.source.metadata import look_again
from safelight_agent.source.tree import OPEN_DIRECTORIES_MAX, TreeSource
from tree_scans import (
    deep_tree,
    found,
    open_descriptors,
)


def test_a_file_that_vanishes_during_the_scan_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    walk = TreeSource(tmp_path).scan()
    assert next(walk).path == b""  # the root has been listed
    (tmp_path / "b").unlink()
    assert [type(item) for item in walk] == [Found, Skipped]


def test_a_directory_swapped_for_a_link_is_not_followed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "b").mkdir(parents=True)
    (tree / "b" / "image").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    walk = TreeSource(tree).scan()
    assert next(walk).path == b""
    (tree / "b").rename(tmp_path / "moved")
    (tree / "b").symlink_to("../outside")
    assert [item.path for item in walk] == [b"b"]


def test_a_directory_moved_under_a_deep_walk_does_not_lead_it_away() -> None:
    depth = OPEN_DIRECTORIES_MAX + 30
    with deep_tree(depth, b"d") as root, TemporaryDirectory() as elsewhere:
        seen: dict[bytes, Scanned] = {}
        for item in TreeSource(root).scan():
            seen[item.path] = item
            if item.path.endswith(b"last"):
                # The fifth step's ".." now leads to another place than the fourth.
                os.rename(root / "d/d/d/d/d", Path(elsewhere) / "moved")
        above = [item for path, item in seen.items() if path.endswith(b"zz")]
    assert len(above) == depth
    assert sum(isinstance(item, Found) for item in above) == depth


def test_a_level_that_cannot_be_regained_is_unreadable(tmp_path: Path) -> None:
    depth = OPEN_DIRECTORIES_MAX + 10
    with deep_tree(depth, b"d") as root:
        outcome: list[Scanned] = []
        for item in TreeSource(root).scan():
            outcome.append(item)
            if item.path.endswith(b"last"):
                # The fourth step is moved away with all below, the fifth back below the second.
                os.rename(root / "d/d/d/d/d", tmp_path / "lower")
                os.rename(root / "d/d/d", tmp_path / "upper")
        steps = [item for item in outcome if item.path.endswith(b"zz")]
        lost = [item for item in steps if isinstance(item, Unreadable)]
        subprocess.run(["rm", "-rf", tmp_path / "lower", tmp_path / "upper"], check=True)
    assert [item.path for item in lost] == [b"d/d/d/d/zz", b"d/d/d/zz"]
    assert len(steps) == depth


def test_fault_14_a_root_swapped_during_the_scan_ends_in_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "image").touch()
    source = TreeSource(root)
    facts = source.check_root()
    walk = source.scan(facts)
    assert next(walk).path == b""
    root.rename(tmp_path / "away")
    root.mkdir()
    assert next(walk).path == b"image"
    with pytest.raises(SourceVanishedError, match="no longer"):
        next(walk)
    with pytest.raises(SourceVanishedError, match="no longer"):
        source.require_unmoved(facts)
    with pytest.raises(SourceVanishedError, match="no longer"):
        next(source.scan(facts))


def test_a_root_that_stayed_passes_the_last_check(tmp_path: Path) -> None:
    source = TreeSource(tmp_path)
    facts = source.check_root()
    (tmp_path / "new").touch()
    source.require_unmoved(facts)


def test_a_walk_that_is_given_up_closes_its_descriptors(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    before = open_descriptors()
    walk = TreeSource(tmp_path).scan()
    assert [next(walk).path, next(walk).path] == [b"", b"a"]
    assert open_descriptors() > before
    walk.close()  # type: ignore[attr-defined]  # an iterator to its users, a generator in truth
    assert open_descriptors() == before


def test_one_path_can_be_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    image = tmp_path / "a" / "image"
    image.write_bytes(b"1")
    root = os.fsencode(tmp_path)
    assert look_again(root, b"a/image") == found(tmp_path, b"a/image")
    assert look_again(root, b"") == found(tmp_path, b"")
    image.write_bytes(b"12")
    again = look_again(root, b"a/image")
    assert isinstance(again, Found)
    assert again.size_bytes == 2
    image.unlink()
    assert look_again(root, b"a/image") == Skipped(b"a/image", "vanished")
    (tmp_path / "a").rmdir()
    assert look_again(root, b"a/image") == Skipped(b"a/image", "vanished")
    with pytest.raises(SourceVanishedError):
        look_again(root + b"/gone", b"a/image")


def test_the_scan_works_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\n\xc3\xa9")).touch()
    program = (
        "import sys; from pathlib import Path; from safelight_agent.source.tree import TreeSource;"
        "print([item.path for item in TreeSource(Path(sys.argv[1])).scan()])"
    )
    for locale in ("C", "C.UTF-8"):
        ran = subprocess.run(
            [sys.executable, "-c", program, tmp_path],
            env={"LC_ALL": locale}, capture_output=True, check=True,
        )  # fmt: skip
        assert ran.stdout.decode().strip() == repr([b"", b"\xff\n\xc3\xa9"])
