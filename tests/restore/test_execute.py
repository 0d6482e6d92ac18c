"""Restores from a planned manifest: everything right, or the file named as failed."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restore_cases import MTIME_NS, SOURCE, FaultyFiles, Maker, differences, restore, sample
from safelight_restore.execute import Execution, Progress
from safelight_restore.existing import Exists
from safelight_restore.run import open_restore
from safelight_restore.select import Selection
from safelight_vault.errors import (
    AccessDeniedError,
    CorruptError,
    IncompleteError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.format.manifest import Entry, EntryKind, Hole
from safelight_vault.format.place import Place

ARCHIVE = os.fsdecode(SOURCE)


def test_everything_comes_back_with_its_metadata_and_nothing_of_ours_is_left(
    tmp_path: Path,
) -> None:
    maker = sample()
    plan, result = restore(maker, tmp_path)
    assert differences(maker, tmp_path / ARCHIVE) == []
    assert (result.files, result.directories, result.files_failed) == (18, 3, 0)
    assert result.bytes == plan.bytes
    assert (result.exit_code, result.warnings, result.failed) == (0, (), ())
    assert os.listdir(tmp_path) == [ARCHIVE]


def test_holes_stay_holes(tmp_path: Path) -> None:
    maker = Maker()
    maker.file(b"all hole", Hole(64 << 20))
    maker.file(b"around", Hole(8 << 20), b"middle", Hole(8 << 20))
    restore(maker, tmp_path)
    for name, allocated_max in ((b"all hole", 0), (b"around", 64 << 10)):
        found = (tmp_path / ARCHIVE / os.fsdecode(name)).stat()
        assert found.st_size == maker.file_entry(name).size_bytes
        assert found.st_blocks * 512 <= allocated_max
    assert differences(maker, tmp_path / ARCHIVE) == []


NAMES = st.binary(min_size=1, max_size=30).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PIECES = st.lists(
    st.one_of(st.binary(min_size=1, max_size=300), st.integers(1, 10_000).map(Hole)),
    max_size=6,
)
LEAVES = st.one_of(
    PIECES, st.binary(min_size=1, max_size=50).filter(lambda target: b"\0" not in target)
)
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=5),
    lambda children: st.dictionaries(NAMES, st.one_of(LEAVES, children), max_size=4),
    max_leaves=12,
)


def make_tree(maker: Maker, tree: dict[bytes, object], path: bytes = b"") -> None:
    maker.directory(path)
    for name, content in tree.items():
        below = path + b"/" + name if path else name
        if isinstance(content, dict):
            make_tree(maker, content, below)
        elif isinstance(content, bytes):
            maker.symlink(below, content)
        elif isinstance(content, list):
            maker.file(below, *content)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TREES, st.integers(1, 3), st.integers(30, 400))
def test_any_tree_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[bytes, object],
    threads: int,
    block_bytes: int,
) -> None:
    maker = Maker(block_bytes=block_bytes)
    make_tree(maker, tree)
    files = [e for e in maker.in_order() if isinstance(e, Entry) and e.kind is EntryKind.FILE]
    if files:
        maker.hard_link(b"\xff" * 31, files[0].path)
        maker.hard_link(b"\xff" * 32, files[0].path)
    target = tmp_path_factory.mktemp("target")
    _, result = restore(maker, target, threads=threads)
    assert differences(maker, target / ARCHIVE) == []
    assert result.exit_code == 0


def test_files_of_equal_content_share_blocks(tmp_path: Path) -> None:
    maker = Maker()
    first = maker.file(b"0", b"shared header", b"shared pixels")
    for number in range(1, 3000):
        path = b"%d" % number
        maker.contents[path] = maker.contents[b"0"]
        maker.entries.append(
            Entry(
                path=path,
                kind=EntryKind.FILE,
                mode=0o600,
                uid=os.geteuid(),
                gid=os.getegid(),
                mtime_ns=MTIME_NS,
                size_bytes=first.size_bytes,
                sha256=first.sha256,
                extents=first.extents,
            )
        )
    _, result = restore(maker, tmp_path)
    assert result.files == 3000
    assert maker.blocks_read == 2
    assert differences(maker, tmp_path / ARCHIVE) == []


def test_a_bad_block_fails_only_the_files_that_need_it(tmp_path: Path) -> None:
    maker = sample()
    error = CorruptError("block 0 does not open")
    maker.spoil(b"2024/005.dcm", error)
    bad = next(iter(maker.errors))
    needing = {
        SOURCE + b"/" + entry.path
        for entry in maker.entries
        if isinstance(entry, Entry)
        and any(isinstance(e, Place) and (e.pack, e.block_number) == bad for e in entry.extents)
    }
    _, result = restore(maker, tmp_path)
    assert {item.path for item in result.failed} == needing
    assert {item.reason for item in result.failed} == {error.message}
    assert (result.exit_code, result.files_failed) == (3, len(needing))
    wrong = differences(maker, tmp_path / ARCHIVE)
    assert len(wrong) == len(needing)
    assert all(line.endswith("missing") for line in wrong)
    # The same command completes it once the block is readable again, and fetches nothing else.
    maker.errors.clear()
    maker.blocks_read = 0
    plan, result = restore(maker, tmp_path)
    assert plan.resumed
    assert differences(maker, tmp_path / ARCHIVE) == []
    assert result.exit_code == 0
    assert result.files_resumed == 18 - len(needing)
    assert 0 < maker.blocks_read < 10


def test_a_missing_pack_is_named_and_everything_else_restored(tmp_path: Path) -> None:
    maker = sample()
    lost = min(maker.packs())
    plan, result = restore(maker, tmp_path, missing=frozenset({lost}))
    assert plan.files_failed == result.files_failed > 0
    assert {item.reason for item in result.failed} == {f"pack {lost.hex()} is missing"}
    assert result.exit_code == 3
    assert len(differences(maker, tmp_path / ARCHIVE)) == result.files_failed


def test_a_hard_link_whose_file_is_lost_fails_with_it(tmp_path: Path) -> None:
    maker = Maker()
    maker.file(b"a", b"content")
    maker.hard_link(b"b", b"a")
    maker.spoil(b"a", CorruptError("no"))
    _, result = restore(maker, tmp_path)
    assert [item.path for item in result.failed] == [b"archive/a", b"archive/b"]


@pytest.mark.parametrize("lie", ["hash", "short block"])
def test_content_that_is_not_what_the_manifest_says_gets_no_name(tmp_path: Path, lie: str) -> None:
    maker = Maker()
    entry = maker.file(b"a", b"content")
    place = entry.extents[0]
    assert isinstance(place, Place)
    maker.entries.clear()
    if lie == "hash":
        maker.file(b"a", b"content", sha256=bytes(32))
    else:
        beyond = Place(place.pack, 0, place.block_offset, place.block_length, 500, 7)
        maker.file(b"a", b"content", extents=(beyond,))
    _, result = restore(maker, tmp_path)
    assert result.exit_code == 3
    assert [item.path for item in result.failed] == [b"archive/a"]
    assert not (tmp_path / ARCHIVE / "a").exists()


def test_a_block_that_is_never_delivered_is_a_named_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker()
    maker.file(b"a", b"content")
    monkeypatch.setattr(maker, "read_blocks", lambda pack, blocks: iter(()))
    _, result = restore(maker, tmp_path)
    assert [item.reason for item in result.failed] == ["a block was not delivered"]


@pytest.mark.parametrize(
    "error", [StoreUnreachableError("no answer"), AccessDeniedError("token expired")]
)
def test_a_store_that_stops_answering_ends_the_run_and_the_next_one_resumes(
    tmp_path: Path, error: VaultError
) -> None:
    maker = Maker(block_bytes=10, blocks_per_pack=1)
    for number in range(40):
        maker.file(b"%02d" % number, b"content %02d" % number)
    maker.raised = error
    with pytest.raises(type(error)) as caught:
        restore(maker, tmp_path)
    assert "resumes" in caught.value.next_step
    assert maker.requests < 30
    maker.raised = None
    plan, result = restore(maker, tmp_path)
    assert plan.resumed
    assert result.exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE) == []


def test_one_unreachable_block_does_not_end_the_run(tmp_path: Path) -> None:
    maker = sample()
    maker.spoil(b"2024/005.dcm", StoreUnreachableError("no answer"))
    _, result = restore(maker, tmp_path)
    assert result.exit_code == 7
    assert {item.exit_code for item in result.failed} == {6}


def test_a_selected_hard_link_brings_the_content_of_its_unselected_file(tmp_path: Path) -> None:
    maker = sample()
    maker.hard_link(b"2024/twin 2", b"2024/000.dcm")
    _, result = restore(maker, tmp_path, patterns=[b"2024/twin*"])
    place = tmp_path / ARCHIVE / "2024"
    assert sorted(os.listdir(place)) == ["twin", "twin 2"]
    assert (place / "twin").read_bytes() == maker.contents[b"2024/000.dcm"]
    assert os.path.samefile(place / "twin", place / "twin 2")
    assert result.files == 2


def test_a_hard_link_to_nothing_is_a_named_failure(tmp_path: Path) -> None:
    maker = Maker()
    maker.directory(b"a")
    maker.hard_link(b"b", b"a")
    maker.hard_link(b"c", b"0")
    _, result = restore(maker, tmp_path)
    assert [item.path for item in result.failed] == [b"archive/b", b"archive/c"]
    assert result.exit_code == 3


def test_a_name_that_the_file_system_cannot_hold_is_a_named_failure(tmp_path: Path) -> None:
    maker = Maker()
    maker.file(b"a", b"content")
    maker.file(b"x" * 300, b"content")
    maker.file(b"y" * 300 + b"/below", b"content")
    _, result = restore(maker, tmp_path)
    assert [item.path for item in result.failed] == [
        b"archive/" + b"x" * 300,
        b"archive/" + b"y" * 300 + b"/below",
    ]
    assert {item.reason for item in result.failed} == {"File name too long"}
    assert (result.files, result.exit_code) == (1, 7)


def test_parents_without_an_entry_are_made_for_their_owner_only(tmp_path: Path) -> None:
    maker = Maker()
    maker.file(b"a/b/c", b"content")
    restore(maker, tmp_path)
    assert stat.S_IMODE((tmp_path / ARCHIVE / "a").stat().st_mode) == 0o700


def test_owners_and_set_id_bits_come_back_as_root_and_are_a_warning_otherwise(
    tmp_path: Path,
) -> None:
    maker = Maker()
    maker.directory(b"", 0o2775, uid=1001, gid=1002)
    maker.file(b"tool", b"content", mode=0o4755, uid=1003, gid=1004)
    maker.symlink(b"way", b"tool", uid=1005, gid=1006)
    _, result = restore(maker, tmp_path)
    assert result.exit_code == 0
    if os.geteuid() == 0:
        assert differences(maker, tmp_path / ARCHIVE) == []
        assert result.warnings == ()
    else:
        assert stat.S_IMODE((tmp_path / ARCHIVE / "tool").stat().st_mode) == 0o755
        assert result.warnings[0].startswith("owner not restored for 3 entries")


def test_what_the_target_cannot_hold_is_one_warning_per_kind(tmp_path: Path) -> None:
    maker = Maker()
    for number in range(10):
        maker.file(b"%d" % number, b"content", xattrs=((b"nonsense.name", b"value"),))
    _, result = restore(maker, tmp_path)
    assert result.exit_code == 0
    assert len(result.warnings) == 1
    assert "nonsense.name not restored for 10 entries" in result.warnings[0]


def test_extended_attributes_come_back_where_the_file_system_has_them(tmp_path: Path) -> None:
    (tmp_path / "probe").write_bytes(b"")
    try:
        os.setxattr(tmp_path / "probe", b"user.probe", b"")
        supported = True
    except OSError:
        supported = False
    maker = Maker()
    maker.directory(b"d", 0o500, xattrs=((b"user.comment", b"d\0d"),))
    maker.file(b"f", b"content", mode=0o400, xattrs=((b"user.comment", b"\xff"),))
    _, result = restore(maker, tmp_path / "target")
    assert bool(result.warnings) is not supported
    if supported:
        place = tmp_path / "target" / ARCHIVE
        assert os.getxattr(place / "d", b"user.comment") == b"d\0d"
        assert os.getxattr(place / "f", b"user.comment") == b"\xff"


def test_progress_ends_at_its_totals(tmp_path: Path) -> None:
    maker = sample()
    seen: list[Progress] = []
    with open_restore(
        target=tmp_path,
        sources=[maker.source()],
        selection=Selection([]),
        exists=Exists.REFUSE,
        present=lambda _: True,
    ) as run:
        run.execute(maker, progress=seen.append)
        bytes_total = run.plan.bytes_to_write
    last = seen[-1]
    assert (last.bytes_done, last.bytes_total) == (bytes_total, bytes_total)
    assert (last.files_done, last.files_total) == (18, 18)
    assert [p.bytes_done for p in seen] == sorted(p.bytes_done for p in seen)


def test_many_files_pass_through_several_groups_and_a_small_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight_restore.execute._GROUP_FILES", 7)
    maker = Maker(block_bytes=100, blocks_per_pack=2)
    for number in range(300):
        maker.file(b"%03d" % number, b"header %03d" % number, b"pixels of %03d" % number * 5)
    with open_restore(
        target=tmp_path,
        sources=[maker.source()],
        selection=Selection([]),
        exists=Exists.REFUSE,
        present=lambda _: True,
        threads=3,
    ) as run:
        result = run.execute(maker, memory_bytes=1)
    assert result.files == 300
    assert differences(maker, tmp_path / ARCHIVE) == []


def test_reads_in_flight_stay_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    highest = 0
    wait = Execution._wait_for_room

    def watch(execution: Execution, memory_bytes: int) -> None:
        nonlocal highest
        wait(execution, memory_bytes)
        if execution._reads:
            highest = max(highest, execution._memory + memory_bytes)

    monkeypatch.setattr(Execution, "_wait_for_room", watch)
    maker = Maker(block_bytes=100, blocks_per_pack=2)
    for number in range(100):
        maker.file(b"%03d" % number, b"x" * 90)
    with open_restore(
        target=tmp_path,
        sources=[maker.source()],
        selection=Selection([]),
        exists=Exists.REFUSE,
        present=lambda _: True,
        threads=4,
    ) as run:
        run.execute(maker, memory_bytes=500_000)
    assert 200_000 < highest <= 500_000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_target_that_fails_ends_the_run_with_the_way_on(tmp_path: Path, number: int) -> None:
    maker = sample()
    files = FaultyFiles(60, number, for_ever=True)
    with pytest.raises(IncompleteError) as caught:
        restore(maker, tmp_path, files=files)
    assert files.fired is not None
    assert os.strerror(number) in caught.value.message
    assert "resumes" in caught.value.next_step
    plan, result = restore(maker, tmp_path)
    assert plan.resumed
    assert result.exit_code == 0
    assert differences(maker, tmp_path / ARCHIVE) == []
