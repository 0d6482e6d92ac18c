"""Audit: what can be proved of a vault without any secret, from its fingerprint and read access.

Presence, SHA-256, signatures, chains, lock dates. The invariant: a finding is either proved from
signed bytes or says that it could not be; an audit that could not look at something never passes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from safelight_restore.access import Access, Heads
from safelight_restore.inventory import Inventory
from safelight_vault.blocks import hash_version
from safelight_vault.errors import CorruptError, RefusedError
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.references import Reference
from safelight_vault.format.snapshot import NO_PREDECESSOR
from safelight_vault.reader import Head, iterate_references, load_configuration, load_table
from safelight_vault.store import LockMode

FINDINGS_MAX = 10_000


class Severity(Enum):
    """How bad a finding is; ``value`` is what is printed."""

    CORRUPT = "corrupt"
    """Damage or tampering: exit code 3."""
    UNLOCKED = "unlocked"
    """A lock that does not last as long as the snapshot promises: exit code 5."""
    NOTE = "note"
    """Worth knowing, no fault of the vault."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    severity: Severity
    object_name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Until when all that a snapshot needs is locked (None: something is not locked at all)."""

    snapshot: str
    objects: int
    size_bytes: int
    required_until: datetime
    locked_until: datetime | None
    emulated: bool


@dataclass(slots=True, kw_only=True)
class AuditReport:
    """All findings, and the lock coverage of every snapshot."""

    objects: int = 0
    size_bytes: int = 0
    snapshots: int = 0
    findings: list[Finding] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)

    def add(self, severity: Severity, name: str, text: str) -> None:
        """Note a finding."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(severity, name, text))

    @property
    def exit_code(self) -> int:
        """0, 3 when anything is corrupt, else 5 when a lock falls short."""
        severities = {finding.severity for finding in self.findings}
        if Severity.CORRUPT in severities:
            return CorruptError.exit_code
        return RefusedError.exit_code if Severity.UNLOCKED in severities else 0


def audit(
    access: Access, *, now: datetime, read_everything: bool, on_progress: Callable[[int, int], None]
) -> AuditReport:
    """Audit a vault; ``read_everything`` also hashes every object."""
    report = AuditReport()
    inventory = Inventory(access.store.list_versions(""))
    try:
        report.objects, report.size_bytes = inventory.count()
        _names(inventory, report)
        if read_everything:
            _hashes(access, inventory, report, on_progress)
        try:
            load_configuration(access.store, access.trust, on_tamper=access.on_tamper)
        except CorruptError as error:
            report.add(Severity.CORRUPT, "config/", error.message)
        heads = access.heads()
        report.snapshots = len(heads.good)
        _chains(heads, report)
        locks = _Locks(access, report)
        for head in heads.good:
            _coverage(access, head, inventory, locks, now=now, report=report)
    finally:
        inventory.close()
    for text in access.tampering:
        report.add(Severity.CORRUPT, "", text)
    return report


def _names(inventory: Inventory, report: AuditReport) -> None:
    for name in inventory.foreign:
        report.add(Severity.CORRUPT, name, "not an object of this vault")
    for name in inventory.markers:
        report.add(Severity.CORRUPT, name, "hidden by a delete marker; its versions are read")


def _hashes(
    access: Access,
    inventory: Inventory,
    report: AuditReport,
    on_progress: Callable[[int, int], None],
) -> None:
    done = 0
    for kind in Kind:
        for listed in inventory.objects(kind):
            for version in listed.versions:
                try:
                    sound = hash_version(access.store, version) == listed.name.digest
                except CorruptError as error:
                    report.add(Severity.CORRUPT, version.name, error.message)
                    continue
                done += version.size_bytes
                on_progress(done, report.size_bytes)
                if not sound:
                    report.add(
                        Severity.CORRUPT,
                        version.name,
                        f"version {version.version_id} holds other bytes than its name says",
                    )


def _chains(heads: Heads, report: AuditReport) -> None:
    for damaged in heads.damaged:
        report.add(Severity.CORRUPT, str(damaged.name.name), damaged.reason)
    chains: dict[tuple[bytes, bytes], list[Head]] = {}
    for head in heads.good:
        key = (head.snapshot.agent_id, head.snapshot.source_id)
        chains.setdefault(key, []).append(head)
    for chain in chains.values():
        for finding in chain_findings(
            (head.name, head.snapshot.sequence, head.snapshot.predecessor) for head in chain
        ):
            report.findings.append(finding)


def chain_findings(links: Iterable[tuple[ObjectName, int, bytes]]) -> list[Finding]:
    """Gaps and forks of one chain, given name, sequence number and predecessor of its heads. Pure.

    Every number from 1 on must be there, each head must follow the one before it, and no two may
    follow the same.
    """
    findings = []
    expected = 1
    known = {NO_PREDECESSOR}
    followed: set[bytes] = set()
    for name, sequence, predecessor in sorted(links, key=lambda link: (link[1], link[0].digest)):
        if sequence > expected:
            findings.append(
                Finding(
                    Severity.CORRUPT,
                    str(name),
                    f"snapshots {expected} to {sequence - 1} of this chain are missing",
                )
            )
        elif predecessor not in known:
            findings.append(
                Finding(Severity.CORRUPT, str(name), "its predecessor is not in the vault")
            )
        if predecessor in followed:
            findings.append(
                Finding(
                    Severity.CORRUPT,
                    str(name),
                    "a fork: another snapshot follows the same predecessor (a cloned agent?)",
                )
            )
        followed.add(predecessor)
        known.add(name.digest)
        expected = max(expected, sequence + 1)
    return findings


def _coverage(
    access: Access,
    head: Head,
    inventory: Inventory,
    locks: "_Locks",
    *,
    now: datetime,
    report: AuditReport,
) -> None:
    required = datetime.fromtimestamp(head.snapshot.retain_until_us / 1_000_000, UTC)
    try:
        table, own = load_table(
            access.store, access.trust.vault_id, head, on_tamper=access.on_tamper
        )
        references = [*own, *table.segments]
        references += iterate_references(
            access.store, access.trust.vault_id, table, on_tamper=access.on_tamper
        )
    except CorruptError as error:
        report.add(Severity.CORRUPT, str(head.name), error.message)
        return
    locked: datetime | None = datetime.max.replace(tzinfo=UTC)
    emulated = False
    for reference in references:
        if not inventory.holds(reference):
            report.add(Severity.CORRUPT, str(reference.name), "needed and missing")
            locked = None
            continue
        until, mode = locks.of(reference)
        emulated = emulated or mode is LockMode.EMULATED
        locked = None if until is None or locked is None else min(locked, until)
    if required > now and (locked is None or locked < required.replace(microsecond=0)):
        report.add(
            Severity.UNLOCKED,
            str(head.name),
            f"promised until {required:%Y-%m-%d}, locked until "
            f"{'nothing' if locked is None else locked.strftime('%Y-%m-%d')}",
        )
    report.coverage.append(
        Coverage(
            snapshot=head.snapshot_id,
            objects=len(references),
            size_bytes=sum(reference.size_bytes for reference in references),
            required_until=required,
            locked_until=locked,
            emulated=emulated,
        )
    )


class _Locks:
    """Locks as the store reports them, each version asked for once however many need it."""

    def __init__(self, access: Access, report: AuditReport) -> None:
        self._access = access
        self._report = report
        self._known: dict[tuple[bytes, str], tuple[datetime | None, LockMode]] = {}

    def of(self, reference: Reference) -> tuple[datetime | None, LockMode]:
        """Date and mode of a referenced version's lock."""
        key = (reference.name.digest, reference.version_id)
        if key not in self._known:
            self._known[key] = self._ask(reference)
        return self._known[key]

    def _ask(self, reference: Reference) -> tuple[datetime | None, LockMode]:
        name = str(reference.name)
        store = self._access.store
        try:
            head = store.head(name, reference.version_id)
        except CorruptError:
            # A vault copied to another bucket has other VersionIds; the current one is asked.
            try:
                head = store.head(name)
            except CorruptError as error:
                self._report.add(Severity.CORRUPT, name, error.message)
                return None, LockMode.NONE
        return head.retain_until, head.lock_mode
