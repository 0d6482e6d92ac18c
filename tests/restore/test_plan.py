"""The plan: what is counted, what is decided about existing names, and that nothing is written."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from restore_cases import MTIME_NS, Maker, found_in, sample
from safelight_restore.admission import Unreadable
from safelight_restore.existing import Exists
from safelight_restore.plan import Plan, SourceEntries
from safelight_restore.run import dry_run
from safelight_restore.select import Selection
from safelight_vault.errors import ConfigurationError, CorruptError, DecodeError, RefusedError
from safelight_vault.format.manifest import Entry, EntryKind


def plan(
    maker: Maker,
    tmp_path: Path,
    *patterns: bytes,
    exists: Exists = Exists.REFUSE,
    sources: list[SourceEntries] | None = None,
    missing: frozenset[bytes] = frozenset(),
) -> Plan:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    (scratch / "plan.sqlite").unlink(missing_ok=True)
    return dry_run(
        target=tmp_path / "target",
        sources=sources or [maker.source()],
        selection=Selection(patterns),
        exists=exists,
        present=lambda pack: pack not in missing,
        scratch=scratch,
    )


def test_a_dry_run_counts_everything_and_makes_no_target(tmp_path: Path) -> None:
    maker = sample()
    made = plan(maker, tmp_path)
    contents = sum(len(content) for path, content in maker.contents.items() if b"twin" not in path)
    assert made.files == 18
    assert made.directories == 3
    assert made.bytes == contents
    assert made.bytes_to_write == contents - (1 << 20) - 4096 - 70_000
    assert made.packs == len(maker.packs())
    assert made.requests >= made.packs
    assert made.bytes_to_fetch > 0
    assert made.bytes_free is None
    assert made.files_failed == 0
    assert not (tmp_path / "target").exists()
    assert made.as_dict()["missing"] == []


def test_a_dry_run_changes_nothing_in_an_existing_target(tmp_path: Path) -> None:
    maker = sample()
    root = tmp_path / "target" / "archive" / "2024"
    root.mkdir(parents=True)
    (root / "000.dcm").write_bytes(b"something else")
    before = found_in(tmp_path / "target")
    made = plan(maker, tmp_path, exists=Exists.REPLACE)
    assert made.bytes_free is not None
    after = found_in(tmp_path / "target")
    assert before.keys() == after.keys()
    assert [(s.st_mtime_ns, s.st_size) for s in before.values()] == [
        (s.st_mtime_ns, s.st_size) for s in after.values()
    ]


def test_a_selection_brings_its_parents_along(tmp_path: Path) -> None:
    made = plan(sample(), tmp_path, b"2024/00[12].dcm")
    assert (made.files, made.directories) == (2, 2)


def test_a_missing_pack_fails_exactly_the_files_that_need_it(tmp_path: Path) -> None:
    maker = sample()
    lost = min(maker.packs())
    affected = {
        entry.path
        for entry in maker.entries
        if isinstance(entry, Entry) and any(getattr(e, "pack", None) == lost for e in entry.extents)
    }
    made = plan(maker, tmp_path, missing=frozenset({lost}))
    assert made.packs_missing == 1
    assert made.missing == (lost.hex(),)
    assert made.files_failed == len(affected) > 0
    assert made.packs == len(maker.packs()) - 1


def test_hostile_entries_are_counted_as_refused_and_the_others_planned(tmp_path: Path) -> None:
    maker = Maker()
    maker.file(b"good", b"abc")
    maker.file(b"../evil", b"abc")
    maker.file(b"/etc/cron.d/evil", b"abc")
    maker.entries.append(Unreadable(path=b"zzz", reason="a page of the manifest is damaged"))
    made = plan(maker, tmp_path)
    assert (made.files_to_write, made.refused, made.files_failed) == (1, 3, 3)


def directories(paths: Iterator[bytes]) -> Iterator[Entry]:
    for path in paths:
        yield Entry(
            path=path, kind=EntryKind.DIRECTORY, mode=0o700, uid=0, gid=0, mtime_ns=MTIME_NS
        )


def test_a_manifest_of_two_thousand_levels_is_planned(tmp_path: Path) -> None:
    def entries() -> Iterator[Entry]:
        return directories(b"/".join([b"d"] * depth) for depth in range(2000))

    sources = [SourceEntries(name=b"deep", snapshot=b"1", entries=entries)]
    assert plan(Maker(), tmp_path, sources=sources).directories == 2000


def test_memory_does_not_grow_with_the_number_of_entries(tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        def entries() -> Iterator[Entry]:
            return directories(b"%08d" % number for number in range(count))

        sources = [SourceEntries(name=b"wide", snapshot=b"1", entries=entries)]
        tracemalloc.start()
        assert plan(Maker(), tmp_path, sources=sources).directories == count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_bytes(30_000) < peak_bytes(5_000) + 200_000


@pytest.mark.parametrize("name", [b"..", b"", b"a/b", b".safelight-restore", b"a\0"])
def test_a_hostile_source_name_is_refused_before_anything_is_written(
    tmp_path: Path, name: bytes
) -> None:
    with pytest.raises(DecodeError):
        plan(Maker(), tmp_path, sources=[sample().source(name)])
    assert not (tmp_path / "target").exists()


def test_two_snapshots_of_one_source_are_refused(tmp_path: Path) -> None:
    maker = sample()
    with pytest.raises(ConfigurationError):
        plan(maker, tmp_path, sources=[maker.source(), maker.source(snapshot=b"snapshot 2")])


@pytest.mark.parametrize("in_place", ["file", "symlink", "content"])
def test_refuse_wants_a_vacant_place(tmp_path: Path, in_place: str) -> None:
    place = tmp_path / "target" / "archive"
    place.parent.mkdir()
    if in_place == "file":
        place.write_bytes(b"")
    elif in_place == "symlink":
        place.symlink_to(tmp_path)
    else:
        (place / "sub").mkdir(parents=True)
    with pytest.raises(RefusedError, match="archive"):
        plan(sample(), tmp_path)


def test_refuse_takes_an_empty_directory_and_ignores_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "target" / "archive").mkdir(parents=True)
    (tmp_path / "target" / "other").write_bytes(b"")
    assert plan(sample(), tmp_path).files == 18


def test_a_source_on_another_file_system_is_refused(tmp_path: Path) -> None:
    """``/proc`` stands for the mount: it is one wherever these tests run."""
    with pytest.raises(RefusedError, match="another file system"):
        dry_run(
            target=Path("/"),
            sources=[sample().source(b"proc")],
            selection=Selection([]),
            exists=Exists.KEEP,
            present=lambda _: True,
            scratch=tmp_path,
        )


def test_an_error_of_the_vault_while_planning_is_not_swallowed(tmp_path: Path) -> None:
    def entries() -> Iterator[Entry]:
        yield sample().file_entry(b"2024")
        raise CorruptError("a page of the manifest is damaged")

    sources = [SourceEntries(name=b"archive", snapshot=b"1", entries=entries)]
    with pytest.raises(CorruptError):
        plan(Maker(), tmp_path, sources=sources)
