"""What Prometheus is told of a drill, as its own parser reads it."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from drill_results import STARTED, failed_drill, passed_drill
from safelight_restore.drill.metrics import (
    LAST_SUCCESS,
    metrics_text,
    previous_success,
    write_metrics,
)
from safelight_restore.drill.result import DrillResult, Ending
from safelight_vault.errors import ConfigurationError

BEFORE = STARTED - timedelta(days=7)


def told(text: str) -> dict[str, float]:
    """Every sample without its prefix; each has a help text and is a gauge without labels."""
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        (sample,) = family.samples
        assert not sample.labels
        samples[sample.name.removeprefix("safelight_drill_")] = sample.value
    assert text.endswith("\n")
    return samples


def nothing_known() -> DrillResult:
    """A drill that could not even open the vault."""
    result = DrillResult(version="1", vault="", started=STARTED, finished=STARTED)
    result.ending = Ending(step="vault", message="", next_step="", exit_code=6)
    return result


def test_a_passed_drill_is_told_in_full() -> None:
    result = passed_drill()
    assert result.objects is not None
    assert result.objects.coverage_until is not None
    assert told(metrics_text(result, last_success=None)) == {
        "last_run_timestamp_seconds": STARTED.timestamp(),
        "last_run_exit_code": 0,
        "last_success_timestamp_seconds": STARTED.timestamp(),
        "success": 1,
        "duration_seconds": 90,
        "rto_seconds": 102,
        "rto_sample_seconds": 12,
        "rpo_seconds": 86_400,
        "objects": 4,
        "objects_missing": 0,
        "objects_unlocked": 0,
        "objects_emulated": 0,
        "lock_coverage_timestamp_seconds": result.objects.coverage_until.timestamp(),
        "files_sampled": 10,
        "files_verified": 10,
        "files_failed": 0,
        "files_damaged": 0,
        "bytes_verified": 500_000,
        "studies_damaged": 0,
    }


def test_a_failed_drill_tells_no_success_and_no_coverage() -> None:
    samples = told(metrics_text(failed_drill(), last_success=None))
    assert (samples["success"], samples["last_run_exit_code"]) == (0, 3)
    assert samples["objects_missing"] == samples["objects_unlocked"] == 1
    assert (samples["files_failed"], samples["files_damaged"], samples["studies_damaged"]) == (
        2,
        2,
        1,
    )
    assert "last_success_timestamp_seconds" not in samples
    assert "lock_coverage_timestamp_seconds" not in samples


def test_what_is_not_known_is_left_out_and_not_told_as_zero() -> None:
    assert set(told(metrics_text(nothing_known(), last_success=None))) == {
        "last_run_timestamp_seconds",
        "last_run_exit_code",
        "success",
        "duration_seconds",
        "files_verified",
        "files_failed",
        "files_damaged",
        "bytes_verified",
        "studies_damaged",
    }


def test_a_failed_drill_keeps_the_time_of_the_last_success(tmp_path: Path) -> None:
    path = tmp_path / "drill.prom"
    write_metrics(path, passed_drill(BEFORE))
    write_metrics(path, failed_drill())
    write_metrics(path, nothing_known())
    samples = told(path.read_text())
    assert samples["last_success_timestamp_seconds"] == BEFORE.timestamp()
    assert samples["last_run_timestamp_seconds"] == STARTED.timestamp()
    write_metrics(path, passed_drill())
    assert told(path.read_text())["last_success_timestamp_seconds"] == STARTED.timestamp()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"garbage",
        f"{LAST_SUCCESS} NaN\n".encode(),
        f"{LAST_SUCCESS} -1\n".encode(),
        f"{LAST_SUCCESS} 1e99\n".encode(),
        f'{LAST_SUCCESS}{{a="b"}} 1\n'.encode(),
        f"x{LAST_SUCCESS} 1\n".encode(),
        f"# {LAST_SUCCESS} 1\n".encode(),
        f"{LAST_SUCCESS} 1\n{LAST_SUCCESS} 2\n".encode(),
    ],
)
def test_what_cannot_be_read_is_never_told_as_success(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "drill.prom"
    path.write_bytes(content)
    write_metrics(path, failed_drill())
    assert "last_success_timestamp_seconds" not in told(path.read_text())


def test_a_time_that_was_written_is_read_back() -> None:
    for moment in (BEFORE, STARTED + timedelta(milliseconds=123)):
        text = metrics_text(passed_drill(moment), last_success=None)
        assert previous_success(text) == pytest.approx(moment.timestamp(), abs=0.001)


def test_the_file_is_replaced_whole_and_readable_by_the_node_exporter(tmp_path: Path) -> None:
    path = tmp_path / "drill.prom"
    path.write_bytes(b"old")
    before = path.stat().st_ino
    write_metrics(path, passed_drill())
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["drill.prom"]


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_metrics(tmp_path / "absent" / "drill.prom", passed_drill())
