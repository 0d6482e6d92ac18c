"""The invariants that every fault must leave in force, asked of a site after each fault.

    I1  a visible snapshot names only what is stored, locked and right: every one restores
    I2  what comes back is byte-equal or named as failed, and the exit code says so
    I3  no fault loses a finished snapshot
    I4  no run deletes, overwrites or shortens anything
    I5  the next run completes, and stores nothing again that is in the vault
    I6  no path, patient or secret in names, logs, metrics, results or objects
    I8  the record of success moves only with a complete snapshot

I7 (hostile input is bounded) and I9 (a wrong clock shortens nothing) are asked by the tests that
play such input and such clocks; I4 covers the shortening.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from agent_runs import PATIENT_ID, PATIENT_NAME, SOURCE, STUDY_UID, Seen, Site, look_at
from safelight_agent.assembly import RESULTS_DIRECTORY
from safelight_agent.membership import AGENT_KEY_FILE, REQUEST_FILE
from safelight_agent.metrics import ResultCollector
from safelight_agent.results import ResultStore, RunResult
from safelight_agent.status import result_totals
from safelight_restore.access import Access, Choice
from safelight_restore.audit import Severity, audit
from safelight_restore.existing import Exists
from safelight_restore.restoring import restore_snapshots
from safelight_restore.select import Selection
from safelight_vault.errors import IncompleteError
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.format.pack import open_directory
from safelight_vault.key_files import read_agent_keys
from safelight_vault.reader import Head, load_configuration
from safelight_vault.store import LockMode, Store

_KNOWN_ERRORS = range(2, 8)


@dataclass(frozen=True, slots=True)
class _Kept:
    sha256: bytes
    lock_mode: LockMode
    retain_until: datetime | None


class Ledger:
    """Every version that a store held at some moment, with its bytes' hash and its lock."""

    def __init__(self, store: Store) -> None:
        self.kept = dict(_versions(store))

    def require_kept(self, store: Store) -> None:
        """I4: every version is there still, unchanged, its lock no shorter and no weaker."""
        now = dict(_versions(store))
        for key, before in self.kept.items():
            assert key in now, f"I4: {key} is gone"
            after = now[key]
            assert after.sha256 == before.sha256, f"I4: {key} was overwritten"
            if before.lock_mode is not LockMode.NONE:
                assert after.lock_mode is before.lock_mode, f"I4: {key} lost its lock"
            if before.retain_until is not None:
                assert after.retain_until is not None, f"I4: {key} lost its lock"
                assert after.retain_until >= before.retain_until, f"I4: {key} was shortened"


def _versions(store: Store) -> Iterator[tuple[tuple[str, str], _Kept]]:
    for one in store.list_versions(""):
        if not one.is_delete_marker:
            digest = hashlib.sha256(store.get(one.name, one.version_id)).digest()
            head = store.head(one.name, one.version_id)
            yield (one.name, one.version_id), _Kept(digest, head.lock_mode, head.retain_until)


class Invariants:
    """The state of a site before a fault, and what must hold after it.

    ``vault_is_damaged`` says that the fault itself spoiled objects: then I1 is the test's own to
    assert.
    """

    def __init__(self, site: Site, *, vault_is_damaged: bool = False) -> None:
        self.site = site
        self._damaged = vault_is_damaged
        self._ledger = Ledger(site.store)
        self._heads = {head.snapshot_id for head in site.access().heads().good}
        self._success = site.success

    def hold(self, result: RunResult | None = None) -> None:
        """All that must hold right after the fault; ``result`` is that of the run it hit, if any.

        The results of the run are also held against the vault (I2, I8).
        """
        self._ledger.require_kept(self.site.store)
        heads = {head.snapshot_id: head for head in self.site.access().heads().good}
        assert self._heads <= heads.keys(), "I3: a finished snapshot was lost"
        if not self._damaged:
            require_sound(self.site)
        if result is not None:
            self._judge(result, heads)
        elif self.site.success != self._success:
            # The process may have come to its end before the fault did.
            success = self.site.success
            assert isinstance(success, RunResult), f"I8: {success}"
            assert heads[success.snapshot].snapshot.complete, "I8: success before its snapshot"
        require_no_leaks(self.site)

    def _judge(self, result: RunResult, heads: dict[str, Head]) -> None:
        if result.error:
            assert result.exit_code in _KNOWN_ERRORS, "I2: an error without a code"
            assert not result.complete
        else:
            assert result.snapshot in heads, "I2: success without a snapshot"
            assert heads[result.snapshot].snapshot.complete is result.complete
            expected = IncompleteError.exit_code if result.files_failed else 0
            assert result.exit_code == expected, "I2: the exit code hides failed files"
            assert result.complete is (not result.files_failed)
            assert len(result.failed) == result.files_failed, "I2: a failed file has no name"
        moved = self.site.success != self._success
        recorded = result.complete and self.site.is_recorded
        assert moved is recorded, "I8: success moved without a complete snapshot"

    def next_run(self, *, stored_twice: Collection[bytes] | None = ()) -> RunResult:
        """I5: a run without any fault completes, and the site is sound after it.

        ``stored_twice`` are the chunks that may be in two packs (None: any).
        """
        after = Invariants(self.site, vault_is_damaged=self._damaged)
        result = self.site.run()
        assert result.error == "", f"I5: the next run failed: {result.error}"
        assert result.complete, "I5: the next run is incomplete"
        after.hold(result)
        self._ledger.require_kept(self.site.store)
        if stored_twice is not None:
            twice = chunks_stored_twice(self.site) - set(stored_twice)
            assert not twice, f"I5: {len(twice)} chunks were stored again"
        return result


def chunks_stored_twice(site: Site) -> set[bytes]:
    """Ids of the chunks that lie in more than one pack of the vault, or twice in one."""
    return {chunk for chunk, count in count_chunks(site).items() if count > 1}


def count_chunks(site: Site) -> Counter[bytes]:
    """How often each chunk lies in the packs of the site's agent."""
    access = site.access()
    (identity,) = access.identities.values()
    configuration, _ = load_configuration(site.store, access.trust)
    dedup_key = configuration.open_dedup_key(identity, access.trust.vault_id)
    index_key = DedupKeys.derive(dedup_key, access.trust.vault_id).index_key
    key = read_agent_keys(site.state_directory / AGENT_KEY_FILE).signing_key.verifying_key
    counts: Counter[bytes] = Counter()
    seen: set[bytes] = set()
    for one in site.store.list_versions(Kind.PACK.value + "/"):
        name = parse_name(one.name)
        data = site.store.get(one.name, one.version_id)
        sound = hashlib.sha256(data).digest() == name.digest
        if one.is_delete_marker or name.digest in seen or not sound:
            continue
        seen.add(name.digest)
        directory = open_directory(data, index_key=index_key, key=key)
        counts.update(chunk_id for chunk_id, *_ in directory.places())
    return counts


def require_sound(site: Site) -> None:
    """I1, I2: an audit of everything finds nothing, and every snapshot restores byte for byte."""
    access = site.access()
    report = audit(
        access, now=site.store.now(), read_everything=True, on_progress=lambda done, total: None
    )
    findings = [found for found in report.findings if found.severity is not Severity.NOTE]
    assert not findings, f"I1: {findings}"
    heads = access.heads()
    assert not heads.damaged
    for head in heads.good:
        require_restorable(site, access, head)
    assert not access.tampering, f"I1: {access.tampering}"


def require_restorable(site: Site, access: Access, head: Head) -> None:
    """I1, I2: a snapshot holds what the archive held, but for files that it names as failed."""
    with tempfile.TemporaryDirectory(prefix="restored-") as place:
        target = Path(place) / "target"
        restored = restore_snapshots(
            access,
            Choice((head,), ()),
            target=target,
            selection=Selection(()),
            exists=Exists.REFUSE,
            dry_run_scratch=None,
            threads=1,
            on_progress=lambda progress: None,
            on_plan=lambda plan: None,
        )
        assert restored.exit_code == 0, f"I1: {head.snapshot_id}: {restored}"
        found = look_at(target / restored.sources[0])
    snapshot = access.open(head)
    try:
        list(snapshot.instances())
        failed = {path for path, _ in snapshot.failures()}
        assert bool(failed) is bool(snapshot.root.failed_files)
    finally:
        snapshot.close()
    if head.snapshot.checkpoint:
        _require_part(found, site.expected[head.snapshot_id])
        return
    assert head.snapshot.complete is (not failed)
    wanted = {
        path: seen
        for path, seen in site.expected[head.snapshot_id].items()
        if not any(path == lost or path.startswith(lost + b"/") for lost in failed)
    }
    assert found == wanted, f"I2: {sorted(set(found.items()) ^ set(wanted.items()))[:4]}"


def _require_part(found: dict[bytes, Seen], wanted: dict[bytes, Seen]) -> None:
    """A checkpoint may lack files, and directories' times are set after them; nothing is wrong."""
    wrong = {
        path: seen
        for path, seen in found.items()
        if seen != wanted.get(path, ()) and _is_file(seen)
    }
    assert not wrong, f"I2: {wrong}"


def _is_file(seen: Seen) -> bool:
    return seen[0] == "file"


def require_no_leaks(site: Site) -> None:
    """I6: nothing that identifies a patient or opens the vault is where it does not belong."""
    paths = [path for path in look_at(site.archive) if len(path) > 6]
    forbidden = {
        PATIENT_NAME.encode(),
        PATIENT_ID.encode(),
        STUDY_UID.encode(),
        *paths,
        *site.secrets(),
    }
    for where, text in _outputs(site):
        for secret in forbidden:
            assert secret not in text, f"I6: {secret!r} in {where}"
    assert not site.state_directory.stat().st_mode & 0o077, "I6: the state may be entered"
    for path in site.state_directory.rglob("*"):
        if path.name != REQUEST_FILE:  # made to be handed over
            assert not path.stat().st_mode & 0o077, f"I6: {path.name} may be read by others"


def _outputs(site: Site) -> Iterator[tuple[str, bytes]]:
    for one in site.store.list_versions(""):
        yield f"the name of {one.name}", one.name.encode()
        if not one.is_delete_marker:
            yield f"the object {one.name}", site.store.get(one.name, one.version_id)
    yield "the log", "\n".join(site.log_lines).encode()
    for result in site.results:
        totals = result_totals([result])
        yield (
            "a result",
            json.dumps([_without_failed_list(one) for one in _objects(totals)]).encode(),
        )
    registry = CollectorRegistry()
    results = ResultStore(site.state_directory / RESULTS_DIRECTORY)
    registry.register(ResultCollector(results, [SOURCE], version=version("safelight")))
    yield "the metrics", generate_latest(registry)


def _objects(totals: dict[str, object]) -> list[dict[str, object]]:
    snapshots = totals["snapshots"]
    assert isinstance(snapshots, list)
    return [{key: value for key, value in totals.items() if key != "snapshots"}, *snapshots]


def _without_failed_list(values: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if key != "failed"}
