"""Run results: their JSON form, and the files that outlive a process."""

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_results import GOOD_NIGHT, broken_night, good_night
from safelight_agent.results import (
    FAILED_KEPT_BYTES_MAX,
    RECORD_SIZE_BYTES_MAX,
    FailedFile,
    ResultStore,
    RunResult,
    UnreadableRecord,
    failed_run,
)
from safelight_vault.errors import ConfigurationError

INTERFACE_KEYS = [
    *("snapshot", "source", "files", "files_new", "files_changed", "files_unchanged"),
    *("files_failed", "bytes_read", "bytes_stored", "chunks_new", "complete", "suspect"),
    "duration_seconds",
]

counts = st.integers(min_value=0, max_value=2**63 - 1)
times = st.datetimes(timezones=st.just(UTC))


@st.composite
def results(draw: st.DrawFn) -> RunResult:
    complete = draw(st.booleans())
    return RunResult(
        snapshot=draw(st.text(min_size=int(complete))),
        source=draw(st.text()),
        files=draw(counts),
        files_new=draw(counts),
        files_changed=draw(counts),
        files_unchanged=draw(counts),
        files_failed=0 if complete else draw(counts),
        bytes_read=draw(counts),
        bytes_stored=draw(counts),
        chunks_new=draw(counts),
        complete=complete,
        suspect=draw(st.booleans()),
        duration_seconds=draw(st.floats(min_value=0, max_value=1e9)),
        started=draw(times),
        exit_code=draw(st.integers(0, 255)),
        error=draw(st.text()),
        lock_coverage_until=draw(st.none() | times),
        failed=tuple(
            FailedFile(path=path, reason=reason)
            for path, reason in draw(st.lists(st.tuples(st.binary(), st.text()), max_size=3))
        ),
    )


@given(results())
def test_json_gives_back_the_same_result(result: RunResult) -> None:
    assert RunResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_json_begins_with_the_keys_that_other_programs_rely_on() -> None:
    assert list(GOOD_NIGHT.to_json())[: len(INTERFACE_KEYS)] == INTERFACE_KEYS


def test_json_of_a_failed_file_holds_any_name() -> None:
    failed = FailedFile(path=b"a\xff\nb", reason="permission denied")
    assert failed.to_json() == {
        "path": "a\ufffd\nb",
        "path_base64": "Yf8KYg==",
        "reason": "permission denied",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("snapshot", None),
        ("files", -1),
        ("files", True),
        ("files", 1.0),
        ("files", 10**400),
        ("complete", 1),
        ("complete", "yes"),
        ("duration_seconds", "1"),
        ("duration_seconds", float("nan")),
        ("duration_seconds", float("inf")),
        ("duration_seconds", -1.0),
        ("started", "yesterday"),
        ("started", "2026-03-01T02:30:00"),
        ("started", "2026-03-01T02:30:00+01:00"),
        ("started", None),
        ("lock_coverage_until", 0),
        ("failed", {}),
        ("failed", [{"path": "a", "path_base64": "YQ=="}]),
        ("failed", [{"path": "a", "path_base64": "!", "reason": ""}]),
        ("failed", [{"path": "b", "path_base64": "YQ==", "reason": ""}]),
    ],
    ids=repr,
)
def test_json_with_a_wrong_value_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"it is|is not|is neither|disagree"):
        RunResult.from_json(GOOD_NIGHT.to_json() | {key: value})


def test_json_with_a_missing_or_an_unknown_key_is_refused() -> None:
    record = GOOD_NIGHT.to_json()
    with pytest.raises(ValueError, match="keys"):
        RunResult.from_json(record | {"surplus": 1})
    del record["exit_code"]
    with pytest.raises(ValueError, match="keys"):
        RunResult.from_json(record)


def test_a_complete_run_has_a_snapshot_and_no_failed_files() -> None:
    with pytest.raises(ValueError, match="complete"):
        replace(GOOD_NIGHT, snapshot="")
    with pytest.raises(ValueError, match="complete"):
        replace(GOOD_NIGHT, files_failed=1)


def test_nothing_is_known_before_the_first_run(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    assert store.last_run("ct") is None
    assert store.last_complete("ct") is None
    assert store.missed("ct") == 0


def test_another_process_finds_what_was_recorded(tmp_path: Path) -> None:
    ResultStore(tmp_path).record(good_night())
    reopened = ResultStore(tmp_path)
    assert reopened.last_run("ct") == good_night()
    assert reopened.last_complete("ct") == good_night()


def test_only_a_complete_snapshot_replaces_the_last_complete_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    first = good_night()
    store.record(first)
    later = first.started + timedelta(days=1)
    incomplete = replace(good_night(started=later), complete=False, files_failed=1, exit_code=7)
    for result in (incomplete, broken_night(started=later)):
        store.record(result)
        assert store.last_run("ct") == result
        assert store.last_complete("ct") == first


def test_sources_with_odd_names_are_kept_apart(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    names = ["ct", "CT", "ct/mr", "ct%2Fmr", "..", "../x", "ct.json", "ä"]
    for name in names:
        store.record(good_night(name))
    found = [store.last_run(name) for name in names]
    assert found == [good_night(name) for name in names]
    assert all(file.parent == tmp_path for file in tmp_path.rglob("*"))


def test_records_are_for_the_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "results"
    store = ResultStore(directory)
    store.record(good_night())
    store.record_missed("ct")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"missed": 1}',
        b" " * (RECORD_SIZE_BYTES_MAX + 1),
    ],
    ids=["empty", "null", "list", "torn", "not-text", "deep", "another-kind", "huge"],
)
def test_a_damaged_record_is_reported_and_never_looks_like_success(
    tmp_path: Path, content: bytes
) -> None:
    store = ResultStore(tmp_path)
    store.record(good_night())
    for file in tmp_path.iterdir():
        file.write_bytes(content)
    for found in (store.last_run("ct"), store.last_complete("ct")):
        assert isinstance(found, UnreadableRecord)
        assert found.reason
        assert found.path.parent == tmp_path


def test_every_torn_record_is_reported(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record(good_night())
    path = tmp_path / "last-run.ct.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert isinstance(store.last_run("ct"), UnreadableRecord)


def test_a_record_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "last-run.ct.json").mkdir()
    found = ResultStore(tmp_path).last_run("ct")
    assert isinstance(found, UnreadableRecord)


def test_a_record_of_another_source_or_of_an_incomplete_run_is_reported(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record(broken_night("mr"))
    misplaced = (tmp_path / "last-run.mr.json").read_bytes()
    (tmp_path / "last-run.ct.json").write_bytes(misplaced)
    (tmp_path / "last-complete.mr.json").write_bytes(misplaced)
    assert isinstance(store.last_run("ct"), UnreadableRecord)
    assert isinstance(store.last_complete("mr"), UnreadableRecord)


def test_a_good_run_mends_damaged_records(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    (tmp_path / "last-run.ct.json").write_bytes(b"{")
    (tmp_path / "last-complete.ct.json").write_bytes(b"{")
    store.record(good_night())
    assert store.last_run("ct") == store.last_complete("ct") == good_night()


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record(good_night())
    blocked = tmp_path / "last-run.mr.json"
    blocked.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        store.record(broken_night("mr"))
    assert store.last_run("ct") == good_night()
    assert not list(tmp_path.glob(".*")), "no half-written file stays behind"


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be created"):
        ResultStore(tmp_path / "file" / "results")


def test_missed_runs_are_counted_across_processes(tmp_path: Path) -> None:
    for _ in range(3):
        ResultStore(tmp_path).record_missed("ct")
    assert ResultStore(tmp_path).missed("ct") == 3
    assert ResultStore(tmp_path).missed("mr") == 0


def test_a_damaged_count_is_reported_and_begins_again(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    (tmp_path / "missed.ct.json").write_bytes(b'{"missed": "many"}')
    assert isinstance(store.missed("ct"), UnreadableRecord)
    store.record_missed("ct")
    assert store.missed("ct") == 1


def test_a_long_list_of_failed_files_is_cut_and_the_count_stays(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    failed = tuple(
        FailedFile(path=b"\xff" * 1000 + str(number).encode(), reason="I/O error")
        for number in range(5_000)
    )
    run = replace(
        broken_night(), snapshot="9f2c", exit_code=7, files_failed=len(failed), failed=failed
    )
    store.record(run)
    found = store.last_run("ct")
    assert isinstance(found, RunResult)
    assert found.files_failed == len(failed)
    assert found.failed == failed[: len(found.failed)]
    kept_bytes = sum(len(item.path) for item in found.failed)
    assert FAILED_KEPT_BYTES_MAX / 2 < kept_bytes < FAILED_KEPT_BYTES_MAX


def test_a_failed_run_has_a_reason_and_no_snapshot() -> None:
    started = datetime(2026, 3, 1, tzinfo=UTC)
    run = failed_run("ct", started=started, duration_seconds=1.0, exit_code=6, error="no answer")
    assert (run.snapshot, run.complete, run.exit_code, run.error) == ("", False, 6, "no answer")
    assert RunResult.from_json(run.to_json()) == run
