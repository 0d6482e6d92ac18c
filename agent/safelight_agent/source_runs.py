"""How each kind of source is run: what of it goes through the pipeline, and what aborts it.

The invariant: a run that could not see its source, or saw less than it must hold, publishes
nothing, so that the newest snapshot stays the last good one.
"""

import json
from dataclasses import asdict

from safelight_agent.backup import RunOutcome, SourceRun
from safelight_agent.file_table import FileRow
from safelight_agent.source import (
    SKIPPED_VANISHED,
    Found,
    RootFacts,
    Skipped,
    Source,
    SourceVanishedError,
    Unreadable,
)
from safelight_agent.source.command import CommandSource
from safelight_agent.state import State
from safelight_vault.format.manifest import EntryKind, entry_key, packs_of

_DAY_US = 86_400_000_000


def run_tree(
    run: SourceRun, state: State, source: Source, *, minimum_files: int, reread_days: int
) -> RunOutcome:
    """Back up a directory tree."""
    facts = source.check_root(_expected_root(state, run.source_id))
    with run.work():
        _Scan(run, reread_days).all_of(source, facts)
        source.require_unmoved(facts)
        seen = run.pipeline.counts.files
        if seen < minimum_files:
            raise SourceVanishedError(
                f"{seen} files were found, fewer than the {minimum_files} this source must hold"
            )
        run.files.drop_unseen()
        outcome = run.publish()
        _remember_root(state, run.source_id, facts)
    return outcome


class _Scan:
    """Sorts what a scan finds into unchanged, to be read, and not to be read."""

    def __init__(self, run: SourceRun, reread_days: int) -> None:
        self._run = run
        self._reread_us = reread_days * _DAY_US
        self._links: dict[tuple[int, int], bytes] = {}

    def all_of(self, source: Source, facts: RootFacts) -> None:
        """Take in everything, and see it through to its rows."""
        pipeline = self._run.pipeline
        for scanned in source.scan(facts):
            self._run.step()
            if isinstance(scanned, Unreadable):
                pipeline.fail(scanned.path, scanned.reason)
            elif isinstance(scanned, Skipped):
                if scanned.reason == SKIPPED_VANISHED:
                    pipeline.counts.files_vanished += 1
                else:
                    pipeline.counts.files_skipped += 1
            else:
                self._take(scanned)
        pipeline.finish()

    def _take(self, found: Found) -> None:
        if found.kind is not EntryKind.FILE:
            self._run.pipeline.add_other(found)
            return
        if found.link_count > 1:
            first = self._links.setdefault((found.device, found.inode), found.path)
            if first != found.path:
                self._run.pipeline.add_other(found, link_target=first)
                return
        key = entry_key(found.path)
        row = self._run.files.find(key)
        if row is not None and self._may_keep(key, found, row):
            self._run.files.keep(key)
            counts = self._run.pipeline.counts
            counts.files += 1
            counts.files_unchanged += 1
            counts.bytes += found.size_bytes
        else:
            self._run.pipeline.add_file(found)

    def _may_keep(self, key: bytes, found: Found, row: FileRow) -> bool:
        # Files come due for their periodic second reading spread over time, by their names.
        spread = self._reread_us * (key[-1] if key else 0) // 256 // 4
        now = self._run.files.run
        reread_before = now - self._reread_us + spread
        if not row.is_file or not row.unchanged(found, now_us=now, reread_before_us=reread_before):
            return False
        return all(self._run.coverage.covers(pack_id) for pack_id in packs_of(row.value))


def run_command(
    run: SourceRun, source: CommandSource, *, file_name: str, uid: int, gid: int
) -> RunOutcome:
    """Back up the output of a command as one file."""
    with run.work():
        now_ns = run.files.run * 1000
        owner = (uid, gid)
        run.pipeline.add_other(_made(b"", EntryKind.DIRECTORY, 0o700, owner, now_ns))
        with source.open(run.require_not_stopped) as output:
            found = _made(file_name.encode(), EntryKind.FILE, 0o600, owner, now_ns)
            run.pipeline.add_stream(found, output.read)
        run.files.drop_unseen()
        return run.publish()


def _made(path: bytes, kind: EntryKind, mode: int, owner: tuple[int, int], now_ns: int) -> Found:
    return Found(
        path=path,
        kind=kind,
        mode=mode,
        uid=owner[0],
        gid=owner[1],
        size_bytes=0,
        mtime_ns=now_ns,
        ctime_ns=now_ns,
        inode=0,
        device=0,
        link_count=1,
    )


def _expected_root(state: State, source_id: bytes) -> RootFacts | None:
    data = state.note(b"root/" + source_id)
    if data is None:
        return None
    values = json.loads(data)
    return RootFacts(
        path=bytes.fromhex(values["path"]),
        mount_point=bytes.fromhex(values["mount_point"]),
        device=values["device"],
        inode=values["inode"],
        empty=values["empty"],
    )


def _remember_root(state: State, source_id: bytes, facts: RootFacts) -> None:
    values = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in asdict(facts).items()
    }
    state.write_note(b"root/" + source_id, json.dumps(values).encode())
