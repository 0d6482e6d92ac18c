"""Access to a vault: which snapshots there are, which one is meant, and blocks from any of them.

The invariant: a snapshot is chosen only among those that prove themselves; one that does not is
reported as damaged, never followed, and never silently replaced by an older one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from safelight_vault.errors import (
    ConfigurationError,
    CorruptError,
    ForeignVaultError,
    ObjectMissingError,
    StoreUnreachableError,
    VaultError,
    WrongIdentityError,
)
from safelight_vault.format.crypto import Identity
from safelight_vault.format.place import BlockReference
from safelight_vault.key_files import Trust
from safelight_vault.reader import (
    Head,
    HeadName,
    OpenSnapshot,
    list_heads,
    load_head,
    open_snapshot,
)
from safelight_vault.store import Store

REQUESTS_AT_ONCE = 8
TAMPERING_LISTED_MAX = 1000

LATEST = "latest"
LATEST_COMPLETE = "latest-complete"


@dataclass(frozen=True, slots=True)
class DamagedHead:
    """A snapshot that is listed and does not prove itself."""

    name: HeadName
    reason: str
    foreign: bool = False
    """It says that it belongs to another vault."""


@dataclass(frozen=True, slots=True)
class Heads:
    """All snapshots of a vault: the good ones by chain and sequence, and the damaged ones."""

    good: tuple[Head, ...]
    damaged: tuple[DamagedHead, ...]


@dataclass(slots=True, kw_only=True)
class Access:
    """A vault as one command sees it."""

    store: Store
    trust: Trust
    identities: Mapping[bytes, Identity] = field(repr=False)
    tampering: list[str] = field(default_factory=list)

    def on_tamper(self, what: str) -> None:
        """Keep what was noticed, for the report."""
        if len(self.tampering) < TAMPERING_LISTED_MAX and what not in self.tampering:
            self.tampering.append(what)

    def heads(self) -> Heads:
        """Read and prove all snapshots, several at a time."""
        names = list_heads(self.store, on_tamper=self.on_tamper)
        good, damaged = [], []
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, "heads") as pool:
            for name, result in zip(names, pool.map(self._load, names), strict=True):
                if isinstance(result, Head):
                    good.append(result)
                else:
                    foreign = isinstance(result, ForeignVaultError)
                    damaged.append(DamagedHead(name, result.message, foreign))
        return Heads(tuple(good), tuple(damaged))

    def _load(self, name: HeadName) -> Head | VaultError:
        try:
            return load_head(self.store, name, self.trust, on_tamper=self.on_tamper)
        except CorruptError as error:
            return error

    def open(self, head: Head) -> OpenSnapshot:
        """Open a snapshot with the identity."""
        return open_snapshot(
            self.store, head, self.trust, self.identities, on_tamper=self.on_tamper
        )

    def is_present(self, snapshots: Sequence[OpenSnapshot]) -> Callable[[bytes], bool]:
        """Whether the vault still holds a pack, asked by HEAD."""

        def present(pack: bytes) -> bool:
            for snapshot in snapshots:
                reference = snapshot.references.find(pack)
                if reference is not None:
                    return self._holds(str(reference.name), reference.version_id)
            return False

        return present

    def _holds(self, name: str, version_id: str) -> bool:
        try:
            self.store.head(name, version_id)
        except ObjectMissingError:
            return any(
                version.name == name and not version.is_delete_marker
                for version in self.store.list_versions(name)
            )
        return True


@dataclass(frozen=True, slots=True)
class Choice:
    """The snapshots that are meant, one a source, and damaged ones that are newer than they."""

    heads: tuple[Head, ...]
    newer_damaged: tuple[DamagedHead, ...]


def choose(heads: Heads, wanted: str, *, at: datetime | None = None) -> Choice:
    """The snapshots meant by ``latest``, ``latest-complete`` or an id (or its beginning). Pure.

    ``at`` leaves out what was made later. Of each chain, ``latest`` is the newest snapshot that is
    not a checkpoint of an unfinished run (such a one only where there is no other); incomplete
    ones count, since a single unreadable file makes one.
    """
    until_us = None if at is None else round(at.astimezone(UTC).timestamp() * 1_000_000)
    good = [head for head in heads.good if until_us is None or head.snapshot.created_us <= until_us]
    if wanted not in {LATEST, LATEST_COMPLETE}:
        return Choice((_by_id(good, wanted),), ())
    chosen = [
        head
        for chain in _chains(good).values()
        if (head := _newest(chain, complete=wanted == LATEST_COMPLETE)) is not None
    ]
    if not chosen and not heads.damaged:
        raise ObjectMissingError(
            "the vault holds no such snapshot yet",
            remedy="Run 'safelight-agent backup', or check the vault's URL and prefix.",
        )
    newer = tuple(
        damaged for damaged in heads.damaged if until_us is None and _is_newer(damaged, chosen)
    )
    if not chosen and all(damaged.foreign for damaged in heads.damaged):
        raise WrongIdentityError(
            "the snapshots here belong to another vault than the key files at hand",
            remedy="Use the identity of this vault, or another --vault URL.",
        )
    if not chosen:
        raise CorruptError(
            f"{len(heads.damaged)} snapshots are listed and none proves itself; "
            f"the first: {heads.damaged[0].reason}"
        )
    return Choice(tuple(chosen), newer)


def _chains(good: Sequence[Head]) -> dict[tuple[bytes, bytes], list[Head]]:
    chains: dict[tuple[bytes, bytes], list[Head]] = {}
    for head in good:
        key = (head.snapshot.agent_id, head.snapshot.source_id)
        chains.setdefault(key, []).append(head)
    return chains


def _newest(chain: Sequence[Head], *, complete: bool) -> Head | None:
    finished = [
        head
        for head in chain
        if not head.snapshot.checkpoint and not head.snapshot.suspect
        if head.snapshot.complete or not complete
    ]
    if not finished and not complete:
        finished = list(chain)
    return max(finished, key=lambda head: head.snapshot.sequence, default=None)


def _is_newer(damaged: DamagedHead, chosen: Sequence[Head]) -> bool:
    name = damaged.name.name
    for head in chosen:
        if (head.snapshot.agent_id, head.snapshot.source_id) == (name.owner, name.source):
            return (name.sequence or 0) > head.snapshot.sequence
    return True


def _by_id(good: Sequence[Head], wanted: str) -> Head:
    matching = [head for head in good if head.name.digest.hex().startswith(wanted.lower())]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise ConfigurationError(
            f"no snapshot {wanted!r} proves itself in this vault",
            remedy="List them with 'safelight-restore snapshots'.",
        )
    raise ConfigurationError(f"{len(matching)} snapshots begin with {wanted!r}: give more digits")


class SnapshotBlocks:
    """Blocks of several open snapshots, each pack read through one whose table names it."""

    def __init__(self, snapshots: Sequence[OpenSnapshot]) -> None:
        self._snapshots = tuple(snapshots)

    def read_blocks(
        self, pack: bytes, blocks: Sequence[BlockReference]
    ) -> Iterator[tuple[BlockReference, bytes | VaultError]]:
        """The plaintext of each block, or what is wrong with it.

        An unreachable store is given for every block that was not read, not raised: the caller
        decides when to give up.
        """
        snapshot = next(
            (one for one in self._snapshots if one.references.find(pack) is not None), None
        )
        if snapshot is None:
            error = CorruptError(f"pack {pack.hex()[:16]} is in no snapshot's reference table")
            yield from ((block, error) for block in blocks)
            return
        done = 0
        try:
            for item in snapshot.blocks.read_blocks(pack, blocks):
                done += 1
                yield item
        except StoreUnreachableError as error:
            yield from ((block, error) for block in blocks[done:])
