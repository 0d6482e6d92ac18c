"""Metrics as Prometheus reads them: over HTTP and from a file, both from what is stored."""

import socket
import stat
import urllib.request
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from run_results import GOOD_NIGHT, broken_night, good_night
from safelight_agent.metrics import ResultCollector, start_endpoint, write_textfile
from safelight_agent.results import FailedFile, ResultStore
from safelight_vault.errors import ConfigurationError

LATER = GOOD_NIGHT.started + timedelta(days=1)


class Told:
    """What a textfile tells, by sample name and labels."""

    def __init__(self, directory: Path, *sources: str) -> None:
        path = directory / "told.prom"
        collector = ResultCollector(ResultStore(directory), sources or ("ct",), version="1.2.3")
        write_textfile(path, collector)
        self.text = path.read_text()
        self.samples = {
            (sample.name.removeprefix("safelight_"), *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def names(self) -> set[str]:
        return {name for name, *_ in self.samples}


def test_a_good_night_is_told_in_full(tmp_path: Path) -> None:
    ResultStore(tmp_path).record(good_night())
    began = GOOD_NIGHT.started.timestamp()
    assert GOOD_NIGHT.lock_coverage_until is not None
    assert Told(tmp_path).samples == {
        ("build_info", "1.2.3"): 1,
        ("last_run_timestamp_seconds", "ct"): began,
        ("last_run_duration_seconds", "ct"): 12.5,
        ("last_run_exit_code", "ct"): 0,
        ("last_run_bytes_read", "ct"): 3000,
        ("last_run_bytes_stored", "ct"): 1000,
        ("last_run_files", "ct", "new"): 1,
        ("last_run_files", "changed", "ct"): 2,
        ("last_run_files", "ct", "unchanged"): 11,
        ("last_run_files", "ct", "failed"): 0,
        ("last_complete_snapshot_timestamp_seconds", "ct"): began,
        ("lock_coverage_timestamp_seconds", "ct"): GOOD_NIGHT.lock_coverage_until.timestamp(),
        ("snapshot_suspect", "ct"): 0,
        ("runs_missed_total", "ct"): 0,
        ("records_unreadable", "ct"): 0,
    }


def test_a_broken_night_keeps_the_age_of_the_last_complete_snapshot(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record(good_night())
    store.record(broken_night(started=LATER))
    samples = Told(tmp_path).samples
    assert samples["last_run_exit_code", "ct"] == 6
    assert samples["last_run_timestamp_seconds", "ct"] == LATER.timestamp()
    began = GOOD_NIGHT.started.timestamp()
    assert samples["last_complete_snapshot_timestamp_seconds", "ct"] == began
    assert ("lock_coverage_timestamp_seconds", "ct") in samples


def test_a_source_that_never_ran_is_told_as_never_complete(tmp_path: Path) -> None:
    assert Told(tmp_path).samples == {
        ("build_info", "1.2.3"): 1,
        ("last_complete_snapshot_timestamp_seconds", "ct"): 0,
        ("runs_missed_total", "ct"): 0,
        ("records_unreadable", "ct"): 0,
    }


def test_damaged_records_are_counted_and_tell_no_success(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record(good_night())
    store.record_missed("ct")
    for file in tmp_path.glob("*.json"):
        file.write_bytes(b"{")
    assert Told(tmp_path).samples == {
        ("build_info", "1.2.3"): 1,
        ("last_complete_snapshot_timestamp_seconds", "ct"): 0,
        ("records_unreadable", "ct"): 3,
    }


def test_without_a_lock_there_is_no_coverage(tmp_path: Path) -> None:
    ResultStore(tmp_path).record(replace(GOOD_NIGHT, lock_coverage_until=None))
    assert "lock_coverage_timestamp_seconds" not in Told(tmp_path).names()


def test_a_suspect_snapshot_stays_suspect_through_a_run_without_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record(replace(GOOD_NIGHT, suspect=True))
    assert Told(tmp_path).samples["snapshot_suspect", "ct"] == 1
    store.record(broken_night(started=LATER))
    assert Told(tmp_path).samples["snapshot_suspect", "ct"] == 1
    store.record(good_night(started=LATER))
    assert Told(tmp_path).samples["snapshot_suspect", "ct"] == 0


def test_missed_runs_are_told_from_disk(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.record_missed("ct")
    store.record_missed("ct")
    assert Told(tmp_path).samples["runs_missed_total", "ct"] == 2


def test_only_configured_sources_become_labels(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for source in ("ct", "mr", "removed"):
        store.record(good_night(source))
    told = Told(tmp_path, "ct", "mr")
    assert ("last_run_exit_code", "mr") in told.samples
    assert "removed" not in told.text


def test_neither_paths_nor_messages_become_metrics(tmp_path: Path) -> None:
    failed = (FailedFile(path=b"DOE^JANE.dcm", reason="permission denied"),)
    run = replace(broken_night(), files_failed=1, failed=failed, error="ROE^RICHARD")
    ResultStore(tmp_path).record(run)
    told = Told(tmp_path)
    assert told.samples["last_run_files", "ct", "failed"] == 1
    assert not {word for word in ("DOE", "ROE", "permission") if word in told.text}


def test_the_endpoint_tells_what_is_stored_at_that_moment(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    endpoint = start_endpoint("127.0.0.1", 0, ResultCollector(store, ["ct"], version="1.2.3"))
    try:
        url = f"http://127.0.0.1:{endpoint.port}/metrics"
        for run in (good_night(), broken_night(started=LATER)):
            store.record(run)
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            assert f'safelight_last_run_exit_code{{source="ct"}} {float(run.exit_code)}' in text
    finally:
        endpoint.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", endpoint.port)) != 0, "nothing listens any more"


@pytest.mark.parametrize(
    ("address", "port"), [("192.0.2.1", 0), ("no such host", 0), ("127.0.0.1", 70_000)]
)
def test_an_endpoint_that_cannot_be_served_is_a_configuration_error(
    tmp_path: Path, address: str, port: int
) -> None:
    collector = ResultCollector(ResultStore(tmp_path), ["ct"], version="1.2.3")
    with pytest.raises(ConfigurationError, match="cannot be served"):
        start_endpoint(address, port, collector)


def test_the_textfile_is_replaced_as_a_whole_and_others_may_read_it(tmp_path: Path) -> None:
    collector = ResultCollector(ResultStore(tmp_path / "state"), ["ct"], version="1.2.3")
    path = tmp_path / "safelight.prom"
    path.write_text("old\n")
    reader = path.open()
    write_textfile(path, collector)
    assert reader.read() == "old\n", "a reader of the old file sees all of it"
    reader.close()
    assert path.read_text().endswith("\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["safelight.prom"]


def test_a_textfile_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    collector = ResultCollector(ResultStore(tmp_path), ["ct"], version="1.2.3")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_textfile(tmp_path / "absent" / "safelight.prom", collector)
