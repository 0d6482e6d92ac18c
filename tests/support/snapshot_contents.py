"""What one snapshot of a site says of itself, and its files brought back, for tests of faults.

Everything is read with the identity, as the restore tool reads it.
"""

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_runs import Seen, Site
from safelight_agent.results import RunResult
from safelight_restore.access import Choice
from safelight_restore.existing import Exists
from safelight_restore.restoring import restore_snapshots
from safelight_restore.select import Selection
from safelight_vault.format.manifest import Entry, EntryKind
from safelight_vault.reader import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The manifest of a snapshot by path, its failures, and its counts."""

    entries: dict[bytes, Entry]
    failures: dict[bytes, str]
    vanished_files: int
    skipped_files: int


def contents_of(site: Site, result: RunResult) -> Contents:
    """The contents of the snapshot that a run published."""
    snapshot = site.access().open(_head(site, result))
    try:
        return Contents(
            entries={entry.path: entry for entry in snapshot.entries()},
            failures=dict(snapshot.failures()),
            vanished_files=snapshot.root.vanished_files,
            skipped_files=snapshot.root.skipped_files,
        )
    finally:
        snapshot.close()


def _head(site: Site, result: RunResult) -> Head:
    return next(head for head in site.access().heads().good if head.snapshot_id == result.snapshot)


@contextmanager
def restored(site: Site, result: RunResult) -> Iterator[Path]:
    """The files of a run's snapshot, brought back without any failure."""
    access = site.access()
    place = tempfile.mkdtemp(prefix="restored-")
    try:
        target = Path(place) / "target"
        done = restore_snapshots(
            access,
            Choice((_head(site, result),), ()),
            target=target,
            selection=Selection(()),
            exists=Exists.REFUSE,
            dry_run_scratch=None,
            threads=1,
            on_progress=lambda progress: None,
            on_plan=lambda plan: None,
        )
        assert done.exit_code == 0, done
        yield target / done.sources[0]
    finally:
        subprocess.run(["rm", "-rf", place], check=True)  # copes with any depth


def expect_as_stored(site: Site, result: RunResult, *paths: bytes) -> None:
    """Let the manifest say what a restore must bring back of these paths.

    For files whose bytes at the moment of their reading only the run knows.
    """
    entries = contents_of(site, result).entries
    looks = dict(site.expected[result.snapshot])
    for path in paths:
        looks[path] = seen_of(entries[path])
    site.expected[result.snapshot] = looks


def expect_only_as_stored(site: Site, result: RunResult) -> None:
    """The same for everything: the source was another one than the site's archive."""
    entries = contents_of(site, result).entries
    site.expected[result.snapshot] = {
        path: seen_of(entry) for path, entry in entries.items() if path
    }


def seen_of(entry: Entry) -> Seen:
    """What is seen of an entry once it has come back."""
    mode = stat.S_IMODE(entry.mode)
    if entry.kind is EntryKind.DIRECTORY:
        return ("directory", mode, entry.mtime_ns)
    assert entry.kind is EntryKind.FILE, os.fsdecode(entry.path)
    return ("file", mode, entry.mtime_ns, entry.size_bytes, entry.sha256.hex())
