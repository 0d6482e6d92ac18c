"""A dump that fails, stops early, hangs or says nothing: the last good snapshot stays newest."""

import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from agent_runs import SOURCE, Site, new_site
from invariants import Invariants
from safelight_agent.config import CommandSettings
from safelight_agent.results import RunResult
from safelight_vault.errors import IncompleteError
from snapshot_contents import contents_of, expect_only_as_stored

DUMP = "head -c 3000000 /dev/zero | tr '\\0' d"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An enrolled agent without any snapshot."""
    return new_site(tmp_path, fill=False)


def settings(site: Site, script: str) -> CommandSettings:
    return CommandSettings(
        name=SOURCE,
        command=("/bin/sh", "-c", script),
        file_name="output",
        retention=site.vault.retention,
        timeout_seconds=30,
    )


def dump(site: Site, source: CommandSettings) -> RunResult:
    """A run over a command, held against what its snapshot says of the output."""
    result = site.run(settings=source)
    if result.snapshot:
        expect_only_as_stored(site, result)
    return result


FAILURES = {
    "exit-1": f"{DUMP}; exit 1",
    "exit-1-at-once": "exit 1",
    "killed": f"{DUMP}; kill -KILL $$",
    "empty": "true",
    "no-program": "exec /nonexistent/pg_dump",
    "hangs": f"{DUMP}; sleep 60",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_fault_16_a_failed_dump_makes_no_snapshot(site: Site, failure: str) -> None:
    good = dump(site, settings(site, DUMP))
    assert good.complete
    before = Invariants(site)
    bad = settings(site, FAILURES[failure])
    result = dump(site, replace(bad, timeout_seconds=1 if failure == "hangs" else 30))
    assert result.exit_code == IncompleteError.exit_code
    assert not result.snapshot
    before.hold(result)
    assert [head.snapshot_id for head in site.access().heads().good] == [good.snapshot]
    after = Invariants(site)
    again = dump(site, settings(site, DUMP))
    assert again.complete
    assert again.chunks_new < 5, "pages alone: what the failed run had stored is adopted"
    after.hold(again)


def test_fault_16_a_dump_below_its_minimum_makes_no_snapshot(site: Site) -> None:
    before = Invariants(site)
    result = dump(site, replace(settings(site, DUMP), minimum_bytes=3_000_001))
    assert result.exit_code == IncompleteError.exit_code
    before.hold(result)
    assert not site.access().heads().good
    result = dump(site, replace(settings(site, DUMP), minimum_bytes=3_000_000))
    assert result.complete
    before.hold(result)
    output = contents_of(site, result).entries[b"output"]
    assert output.sha256 == hashlib.sha256(b"d" * 3_000_000).digest()


def test_fault_16_what_a_failed_dump_says_reaches_no_log(site: Site) -> None:
    secret = "SECRET^PATIENT"
    before = Invariants(site)
    result = dump(site, settings(site, f"echo {secret} >&2; exit 3"))
    assert result.exit_code == IncompleteError.exit_code
    assert secret not in "\n".join([*site.log_lines, result.error])
    before.hold(result)


def test_fault_23_a_dump_ends_with_the_run_that_reads_it(site: Site, tmp_path: Path) -> None:
    number = tmp_path / "process"
    source = replace(settings(site, f"echo $$ > {number}; sleep 60"), timeout_seconds=1)
    result = dump(site, source)
    assert result.exit_code == IncompleteError.exit_code
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), signal.SIGTERM)
