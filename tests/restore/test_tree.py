"""The target tree: nothing leads out of it, nothing is too deep for it, nothing is overwritten."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight_restore.target.filesystem import FileSystem
from safelight_restore.target.metadata import Identity, Metadata, MetadataWriter
from safelight_restore.target.path import source_parts, split_path
from safelight_restore.target.tree import InTheWayError, Published, Tree
from safelight_restore.target.workspace import Workspace
from safelight_vault.errors import ConfigurationError, DecodeError, LeaseHeldError, RefusedError

FILES = FileSystem()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    opened = Tree.at(tmp_path / "target", FILES, create=True)
    assert opened is not None
    yield opened
    opened.close()


@pytest.fixture
def workspace(tree: Tree) -> Iterator[Workspace]:
    opened = Workspace.open(tree, FILES)
    yield opened
    opened.close()


def partial(workspace: Workspace, name: bytes, content: bytes) -> bytes:
    descriptor = workspace.open_partial(name)
    os.write(descriptor, content)
    os.close(descriptor)
    return name


@pytest.mark.parametrize(
    "path", [b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a\0b", b"x" * 70_000]
)
def test_a_path_that_could_lead_out_is_refused(path: bytes) -> None:
    with pytest.raises(DecodeError):
        split_path(path)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0", b".safelight-restore"])
def test_a_source_name_that_is_no_plain_directory_is_refused(name: bytes) -> None:
    with pytest.raises(DecodeError):
        source_parts(name)


@pytest.mark.parametrize("leads_to", ["outside", "nowhere", "inside"])
def test_a_symlink_on_the_way_is_never_followed(
    tree: Tree, workspace: Workspace, tmp_path: Path, leads_to: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tree.path / "inside").mkdir()
    places = {"outside": str(tmp_path / "outside"), "nowhere": "/nonexistent", "inside": "inside"}
    (tree.path / "link").symlink_to(places[leads_to])
    with pytest.raises(InTheWayError):
        tree.directory((b"link", b"sub"), create=True)
    with pytest.raises(InTheWayError):
        tree.lookup((b"link", b"file"))
    name = partial(workspace, b"1", b"content")
    for replace in (False, True):
        with pytest.raises(InTheWayError):
            tree.publish(workspace.partial, name, (b"link", b"file"), replace=replace)
    assert list((tmp_path / "outside").iterdir()) == []
    assert list((tree.path / "inside").iterdir()) == []


def test_a_symlink_in_a_files_place_is_replaced_and_its_target_untouched(
    tree: Tree, workspace: Workspace, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tree.path / "name").symlink_to(outside)
    name = partial(workspace, b"1", b"restored")
    assert not tree.holds((b"name",), 8, hashlib.sha256(b"precious").digest())
    published = tree.publish(workspace.partial, name, (b"name",), replace=False)
    assert published is Published.TAKEN
    assert tree.publish(workspace.partial, name, (b"name",), replace=True) is Published.DONE
    assert outside.read_bytes() == b"precious"
    assert not (tree.path / "name").is_symlink()
    assert (tree.path / "name").read_bytes() == b"restored"


def test_a_depth_of_2000_and_a_path_beyond_4096_bytes_work(
    tree: Tree, workspace: Workspace
) -> None:
    deep = tuple(b"%04d-directory" % number for number in range(2000))
    assert len(b"/".join(deep)) > 4096
    name = partial(workspace, b"1", b"deep")
    assert tree.publish(workspace.partial, name, (*deep, b"file"), replace=False) is Published.DONE
    assert tree.holds((*deep, b"file"), 4, hashlib.sha256(b"deep").digest())
    assert len(os.listdir("/proc/self/fd")) < 64
    # Such a path cannot be given to the operating system whole; take it away the same way.
    FILES.unlink(b"file", dir_fd=tree.directory(deep))
    for depth in range(len(deep), 0, -1):
        FILES.rmdir(deep[depth - 1], dir_fd=tree.directory(deep[: depth - 1]))


def test_an_existing_name_is_not_touched_without_replace(tree: Tree, workspace: Workspace) -> None:
    (tree.path / "name").write_bytes(b"old")
    name = partial(workspace, b"1", b"new")
    published = tree.publish(workspace.partial, name, (b"name",), replace=False)
    assert published is Published.TAKEN
    assert (tree.path / "name").read_bytes() == b"old"


def test_an_empty_directory_gives_way_to_a_file_and_a_full_one_does_not(
    tree: Tree, workspace: Workspace
) -> None:
    tree.directory((b"empty",), create=True)
    tree.directory((b"full", b"content"), create=True)
    name = partial(workspace, b"1", b"new")
    with pytest.raises(InTheWayError):
        tree.publish(workspace.partial, name, (b"full",), replace=True)
    assert tree.publish(workspace.partial, name, (b"empty",), replace=True) is Published.DONE
    assert (tree.path / "empty").read_bytes() == b"new"
    assert (tree.path / "full" / "content").is_dir()


def test_a_file_system_without_hard_links_is_served_by_renaming(
    tree: Tree, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(FileSystem, "link", staticmethod(no_links))
    name = partial(workspace, b"1", b"new")
    assert tree.publish(workspace.partial, name, (b"name",), replace=False) is Published.DONE
    name = partial(workspace, b"2", b"newer")
    published = tree.publish(workspace.partial, name, (b"name",), replace=False)
    assert published is Published.TAKEN
    assert (tree.path / "name").read_bytes() == b"new"


def test_a_named_pipe_in_a_files_place_does_not_hang(tree: Tree) -> None:
    os.mkfifo(tree.path / "pipe")
    assert not tree.holds((b"pipe",), 0, hashlib.sha256(b"").digest())


def test_an_absent_target_is_made_for_its_owner_only(tmp_path: Path) -> None:
    assert Tree.at(tmp_path / "a", FILES, create=False) is None
    tree = Tree.at(tmp_path / "a" / "b", FILES, create=True)
    assert tree is not None
    tree.close()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_target_that_is_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError):
        Tree.at(tmp_path / "file", FILES, create=True)


def test_two_restores_cannot_share_a_target(tree: Tree, workspace: Workspace) -> None:
    with pytest.raises(LeaseHeldError, match=str(os.getpid())):
        Workspace.open(tree, FILES)


def test_a_workspace_that_others_can_write_to_is_not_believed(tree: Tree) -> None:
    (tree.path / ".safelight-restore").mkdir()
    (tree.path / ".safelight-restore").chmod(0o777)
    with pytest.raises(RefusedError):
        Workspace.open(tree, FILES)


def test_a_workspace_that_is_a_symlink_is_refused(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tree.path / ".safelight-restore").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError):
        Workspace.open(tree, FILES)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_unfinished_files_of_a_killed_run_are_cleared_away(tree: Tree) -> None:
    first = Workspace.open(tree, FILES)
    partial(first, b"1", b"half")
    first.close()
    second = Workspace.open(tree, FILES)
    assert os.listdir(second.partial) == []
    second.close()


MODE = Metadata(mode=0o6755, uid=os.geteuid(), gid=os.getegid(), mtime_ns=-1_500_000_000)


def applied(path: Path, metadata: Metadata, identity: Identity) -> tuple[os.stat_result, list[str]]:
    path.write_bytes(b"")
    descriptor = os.open(path, os.O_RDWR)
    shortfalls = MetadataWriter(FILES, identity).apply(descriptor, metadata)
    os.close(descriptor)
    return path.stat(), [shortfall.what for shortfall in shortfalls]


def test_set_id_bits_come_back_only_if_root_restores_the_owner(tmp_path: Path) -> None:
    as_user = Identity(uid=1, gid=1)
    found, shortfalls = applied(tmp_path / "user", MODE, as_user)
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert shortfalls == ["owner", "set-user-ID or set-group-ID bit"]
    if os.geteuid() == 0:
        found, shortfalls = applied(tmp_path / "root", MODE, Identity(uid=0, gid=0))
        assert stat.S_IMODE(found.st_mode) == 0o6755
        assert shortfalls == []


def test_a_time_before_1970_is_restored_to_the_nanosecond(tmp_path: Path) -> None:
    found, _ = applied(tmp_path / "file", MODE, Identity(uid=1, gid=1))
    assert found.st_mtime_ns == -1_500_000_000


def test_an_attribute_that_the_file_system_refuses_is_a_shortfall(tmp_path: Path) -> None:
    metadata = Metadata(
        mode=0o600, uid=1, gid=1, mtime_ns=0, xattrs=((b"nonsense.name\xff", b"value"),)
    )
    _, shortfalls = applied(tmp_path / "file", metadata, Identity(uid=1, gid=1))
    assert len(shortfalls) == 1
    assert shortfalls[0].startswith("extended attribute nonsense.name")
