"""The alert rules: their own unit tests, and the real metrics file of a night run through them."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from run_results import GOOD_NIGHT, broken_night, good_night
from safelight_agent.metrics import ResultCollector, write_textfile
from safelight_agent.results import ResultStore, RunResult
from services import require_service

FOLDER = Path(__file__).parents[2] / "packaging" / "prometheus"
RULES = FOLDER / "safelight.rules.yml"
UNIT_TESTS = FOLDER / "safelight.rules.test.yml"

DRILL_METRICS = {
    "safelight_drill_last_success_timestamp_seconds",
    "safelight_drill_last_run_exit_code",
}
"""Written by ``safelight-restore drill`` into the textfile of the restore host."""


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    require_service(shutil.which("promtool") is not None, "promtool is not installed")
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_pass_their_unit_tests() -> None:
    tested = promtool("test", "rules", UNIT_TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize(
    ("rule", "blinded"),
    [
        ("> 26 * 3600", "> 2600 * 3600"),
        ("> 48 * 3600", "> 4800 * 3600"),
        ("exit_code != 0\n", "exit_code == 8\n"),
        ("absent(safelight_build_info)", "absent(up)"),
    ],
)
def test_the_unit_tests_notice_a_rule_that_has_gone_blind(
    tmp_path: Path, rule: str, blinded: str
) -> None:
    text = RULES.read_text()
    assert rule in text
    (tmp_path / RULES.name).write_text(text.replace(rule, blinded))
    shutil.copy(UNIT_TESTS, tmp_path)
    tested = promtool("test", "rules", tmp_path / UNIT_TESTS.name)
    assert tested.returncode != 0


def test_every_alert_has_a_unit_test_in_which_it_fires() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    tests = UNIT_TESTS.read_text()
    fired = re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", tests)
    assert set(fired) == alerts


def textfile_of(directory: Path, *runs: RunResult) -> str:
    """The metrics file after these runs of the source ct, in order."""
    store = ResultStore(directory)
    for run in runs:
        store.record(run)
    path = directory / "safelight.prom"
    write_textfile(path, ResultCollector(store, ["ct"], version="1.2.3"))
    return path.read_text()


def test_every_metric_in_the_rules_is_one_that_we_write(tmp_path: Path) -> None:
    families = text_string_to_metric_families(textfile_of(tmp_path, good_night()))
    written = {sample.name for family in families for sample in family.samples}
    expressions = "\n".join(re.findall(r"expr: (.*)", RULES.read_text()))
    named = set(re.findall(r"safelight_\w+", expressions))
    assert named - written == DRILL_METRICS


def firing(textfile: str, directory: Path, *, hours: int, expected: set[str]) -> None:
    """Scrape this file for so many hours since 1970, and require that just these alerts fire."""
    series = [
        f"      - series: '{sample.name}{labels_of({**sample.labels, 'instance': 'pacs'})}'\n"
        f"        values: {sample.value:.0f}x{hours * 12}\n"
        for family in text_string_to_metric_families(textfile)
        for sample in family.samples
    ]
    samples = [
        f"          - {{labels: '{labels_of({'alertname': name})}', value: 1}}\n"
        for name in sorted(expected)
    ]
    unit_test = directory / "night.test.yml"
    unit_test.write_text(
        f"rule_files: ['{RULES}']\n"
        "evaluation_interval: 5m\n"
        "tests:\n"
        "  - interval: 5m\n"
        "    input_series:\n"
        f"{''.join(series)}"
        "    promql_expr_test:\n"
        "      - expr: group by (alertname) (ALERTS{alertstate='firing', source='ct'})\n"
        f"        eval_time: {hours}h\n"
        f"        exp_samples:{'' if samples else ' []'}\n"
        f"{''.join(samples)}"
    )
    tested = promtool("test", "rules", unit_test)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def labels_of(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


FIRST_NIGHT = datetime(1970, 1, 2, 2, tzinfo=UTC)
SECOND_NIGHT = FIRST_NIGHT + timedelta(days=1)
GOOD = replace(good_night(started=FIRST_NIGHT), lock_coverage_until=FIRST_NIGHT + timedelta(35))


def test_the_metrics_of_a_good_night_fire_nothing(tmp_path: Path) -> None:
    firing(textfile_of(tmp_path, GOOD), tmp_path, hours=26 + 10, expected=set())


def test_the_metrics_of_a_broken_night_fire_at_once_and_its_age_in_the_morning(
    tmp_path: Path,
) -> None:
    textfile = textfile_of(tmp_path, GOOD, broken_night(started=SECOND_NIGHT))
    firing(textfile, tmp_path, hours=26 + 25, expected={"SafelightLastRunFailed"})
    firing(
        textfile,
        tmp_path,
        hours=26 + 27,
        expected={"SafelightLastRunFailed", "SafelightBackupTooOld"},
    )


def test_the_metrics_of_a_suspect_and_incomplete_night_fire_both(tmp_path: Path) -> None:
    run = replace(
        GOOD_NIGHT,
        started=SECOND_NIGHT,
        complete=False,
        suspect=True,
        files_failed=3,
        exit_code=7,
    )
    expected = {"SafelightLastRunFailed", "SafelightFilesFailed", "SafelightSnapshotSuspect"}
    firing(textfile_of(tmp_path, GOOD, run), tmp_path, hours=26 + 25, expected=expected)


def test_the_metrics_of_damaged_records_fire(tmp_path: Path) -> None:
    textfile_of(tmp_path, GOOD)
    for record in tmp_path.glob("*.json"):
        record.write_bytes(b"{")
    expected = {"SafelightRecordUnreadable", "SafelightBackupTooOld"}
    firing(textfile_of(tmp_path), tmp_path, hours=72, expected=expected)
