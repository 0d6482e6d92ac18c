"""The agent's own chain of one source: where it stands in the vault, and that nobody else grew it.

The vault is asked, because the local state may be lost or an old copy; what the state remembers
beyond the vault's answer counts as well, because a listing may be stale. Two heads after one
predecessor mean that this agent exists twice: both restore, and the agent stops (design section
4.10).
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from safelight_agent.coverage import from_microseconds
from safelight_agent.file_table import ChainRow
from safelight_agent.retention import PastSnapshot
from safelight_vault.errors import CorruptError, DecodeError, RefusedError
from safelight_vault.format.names import ID_SIZE, Kind, parse_name, prefix_of
from safelight_vault.format.snapshot import NO_PREDECESSOR, Snapshot
from safelight_vault.key_files import Trust
from safelight_vault.reader import Head, HeadName, load_head
from safelight_vault.store import Store

REQUESTS_AT_ONCE = 8
PAST_SNAPSHOTS_MAX = 400
"""Heads looked at to choose a retention class: somewhat more than a year of nights."""

_SOURCE_LABEL = b"safelight/source-id/v1\x00"


def source_id_of(vault_id: bytes, agent_id: bytes, source_name: str) -> bytes:
    """The id under which a source's snapshots are listed; it does not tell the name."""
    text = _SOURCE_LABEL + vault_id + agent_id + source_name.encode()
    return hashlib.sha256(text).digest()[:ID_SIZE]


class ForkedChainError(RefusedError):
    """Two snapshots follow the same predecessor."""

    remedy = (
        "This agent's key is in use in two places (a cloned machine?). Stop one of them, enrol it "
        "as an agent of its own, and run 'safelight-restore audit'. Both lines can be restored."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The newest snapshot of a source and those before it, newest first."""

    sequence: int
    digest: bytes
    past: tuple[Snapshot, ...]

    def past_snapshots(self) -> list[PastSnapshot]:
        """What the choice of a retention class looks at."""
        return [
            PastSnapshot(
                from_microseconds(snapshot.created_us),
                snapshot.retention_class,
                snapshot.complete,
                snapshot.suspect,
            )
            for snapshot in self.past
        ]


EMPTY = Chain(sequence=0, digest=NO_PREDECESSOR, past=())


def read_chain(store: Store, trust: Trust, agent_id: bytes, source_id: bytes) -> Chain:
    """The chain as the vault has it; ``ForkedChainError`` when its head is not one.

    Only snapshots that prove themselves count: whoever can merely put objects must not be able to
    choose the next sequence number, nor to stop the chain.
    """
    names: dict[bytes, HeadName] = {}
    for version in store.list_versions(prefix_of(Kind.SNAPSHOT, agent_id, source_id)):
        if version.is_delete_marker:
            continue
        try:
            name = parse_name(version.name)
        except DecodeError:
            continue  # a foreign object: the audit reports it, nothing follows it
        names.setdefault(name.digest, HeadName(name, version.version_id, version.size_bytes))
    ordered = sorted(names.values(), key=lambda head: head.name.sequence or 0, reverse=True)
    heads = _load(store, trust, ordered)
    if not heads:
        return EMPTY
    newest = heads[0]
    rivals = [head for head in heads if head.snapshot.sequence == newest.snapshot.sequence]
    if len(rivals) > 1:
        raise ForkedChainError(
            f"the chain of this source has {len(rivals)} snapshots number "
            f"{newest.snapshot.sequence}"
        )
    return Chain(
        sequence=newest.snapshot.sequence,
        digest=newest.name.digest,
        past=tuple(head.snapshot for head in heads),
    )


def with_memory(chain: Chain, known: ChainRow | None) -> Chain:
    """The chain that the next snapshot follows, given the newest one that this agent remembers.

    A vault that shows less than the agent has published hides it (a stale listing, an attack) or
    has lost it. Either way the next snapshot follows the one that is remembered: to follow an older
    one would fork the chain as soon as the hidden one is seen again, and to stop would let whoever
    can hide a snapshot end all backups. What is missing stays visible to an audit, as a gap.
    """
    if known is None or known.sequence < chain.sequence:
        return chain
    if known.sequence > chain.sequence:
        return Chain(sequence=known.sequence, digest=known.digest, past=chain.past)
    if known.digest != chain.digest:
        raise ForkedChainError(
            f"snapshot number {known.sequence} of this source in the vault is not the one that "
            "this agent published"
        )
    return chain


def _load(store: Store, trust: Trust, names: Sequence[HeadName]) -> list[Head]:
    """The newest heads that prove themselves; a listed name alone counts for nothing."""
    heads: list[Head] = []

    def load(name: HeadName) -> Head | None:
        try:
            return load_head(store, name, trust)
        except CorruptError:
            return None

    with ThreadPoolExecutor(REQUESTS_AT_ONCE, "chain") as pool:
        for start in range(0, len(names), REQUESTS_AT_ONCE):
            if len(heads) >= PAST_SNAPSHOTS_MAX:
                break
            loaded = pool.map(load, names[start : start + REQUESTS_AT_ONCE])
            heads.extend(head for head in loaded if head is not None)
    return heads
