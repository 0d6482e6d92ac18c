"""Adoption: making the local state agree with what is in the vault, at the start of a run.

One listing of the agent's packs tells all: what the state knows and the vault lacks is forgotten
(its files are read again), what the vault has and the state lacks is adopted from index segments
and pack directories, signatures checked. So a run that was killed anywhere, or a state that was
lost or is an old copy, costs time and never a second upload (design 4.2, faults 22 to 28).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from safelight_agent.state import State
from safelight_agent.upload import WriterKeys
from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    ObjectMissingError,
    UnsupportedFormatError,
)
from safelight_vault.format.index import IndexedPack, decode_index
from safelight_vault.format.names import Kind, ObjectName, parse_name, prefix_of
from safelight_vault.format.pack import encode_directory, header_digest, open_directory
from safelight_vault.format.place import Place
from safelight_vault.objects import read_object
from safelight_vault.store import Store, Version

Warn = Callable[[str], None]


@dataclass(slots=True)
class Adoption:
    """What a reconciliation did; ``to_index`` are packs that no segment of ours lists yet."""

    forgotten: int = 0
    adopted: int = 0
    to_index: list[tuple[int, IndexedPack]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Listed:
    digest: bytes
    version_id: str
    size_bytes: int


def reconcile(store: Store, state: State, keys: WriterKeys, *, epoch: int, warn: Warn) -> Adoption:
    """Make the state agree with the vault; the listing is kept in a temporary table on disk."""
    result = Adoption()
    with state.transaction():
        state.forget_unfinished()
        _list_packs(store, state, keys.agent_id)
        result.forgotten = _forget_missing(store, state, keys.agent_id)
    if _unknown(state):
        result.adopted = _adopt_from_index(store, state, keys, epoch, warn)
        for listed in _unknown(state):
            pack = _read_directory(store, listed, keys, warn)
            if pack is not None and pack.directory.epoch == epoch:
                with state.transaction():
                    result.adopted += _adopt(state, pack, warn, indexed=False)
    for row in state.packs_to_index():
        if row.digest is not None:
            pack = _read_directory(
                store, _Listed(row.digest, row.version_id, row.size_bytes), keys, warn
            )
            if pack is None:
                # It went up whole and is not whole any more: nothing may refer to it.
                state.forget_packs([row.row])
                result.forgotten += 1
            else:
                result.to_index.append((row.row, pack))
    return result


def _list_packs(store: Store, state: State, agent_id: bytes) -> None:
    state.database.execute(
        "create temp table if not exists listed"
        " (digest blob, version_id text, size_bytes integer, primary key (digest, version_id))"
        " without rowid"
    )
    state.database.execute("delete from temp.listed")
    state.database.executemany(
        "insert or ignore into temp.listed values (?, ?, ?)",
        _rows(store.list_versions(prefix_of(Kind.PACK, agent_id))),
    )


def _rows(versions: Iterator[Version]) -> Iterator[tuple[bytes, str, int]]:
    for version in versions:
        if version.is_delete_marker:
            continue
        try:
            yield parse_name(version.name).digest, version.version_id, version.size_bytes
        except DecodeError:
            continue


def _forget_missing(store: Store, state: State, agent_id: bytes) -> int:
    rows = state.database.execute(
        "select id, digest, version_id, size_bytes from packs p"
        " where digest is not null and not exists"
        " (select 1 from temp.listed l where l.digest = p.digest"
        "  and l.version_id = p.version_id and l.size_bytes = p.size_bytes)"
    ).fetchall()
    gone = [row for row, *listed in rows if not _is_there(store, agent_id, _Listed(*listed))]
    state.forget_packs(gone)
    return len(gone)


def _is_there(store: Store, agent_id: bytes, pack: _Listed) -> bool:
    """Whether a pack that a listing left out is in the vault all the same.

    Listings may be stale or cut short, and to store an archive again for that would be dear.
    """
    name = ObjectName(kind=Kind.PACK, owner=agent_id, digest=pack.digest)
    try:
        return store.head(str(name), pack.version_id).size_bytes == pack.size_bytes
    except ObjectMissingError:
        return False


def _unknown(state: State) -> list[_Listed]:
    rows = state.database.execute(
        "select digest, version_id, size_bytes from temp.listed l where not exists"
        " (select 1 from packs p where p.digest = l.digest) order by digest"
    ).fetchall()
    return [_Listed(*row) for row in rows]


def _adopt_from_index(store: Store, state: State, keys: WriterKeys, epoch: int, warn: Warn) -> int:
    unknown = {(listed.digest, listed.version_id) for listed in _unknown(state)}
    adopted = 0
    for version in store.list_versions(prefix_of(Kind.INDEX, keys.agent_id)):
        if version.is_delete_marker:
            continue
        with state.transaction():
            for pack in _read_segment(store, version, keys, warn):
                key = (pack.digest, pack.version_id)
                if key in unknown and pack.directory.epoch == epoch:
                    adopted += _adopt(state, pack, warn, indexed=True)
                    unknown.discard(key)
    return adopted


def _read_segment(
    store: Store, version: Version, keys: WriterKeys, warn: Warn
) -> list[IndexedPack]:
    try:
        data, _ = read_object(store, parse_name(version.name), version.version_id)
        return decode_index(
            data,
            vault_id=keys.vault_id,
            index_key=keys.index_key,
            key=keys.signing_key.verifying_key,
        )
    except (CorruptError, UnsupportedFormatError) as error:
        warn(f"index segment passed over: {error.message}")
        return []


def _read_directory(
    store: Store, listed: _Listed, keys: WriterKeys, warn: Warn
) -> IndexedPack | None:
    name = ObjectName(kind=Kind.PACK, owner=keys.agent_id, digest=listed.digest)
    try:
        # The whole pack is read: only so do name and signature vouch for its blocks.
        data, version_id = read_object(store, name, listed.version_id)
        directory = open_directory(
            data, index_key=keys.index_key, key=keys.signing_key.verifying_key
        )
    except (CorruptError, UnsupportedFormatError) as error:
        warn(f"pack passed over: {name}: {error.message}")
        return None
    header = header_digest(data[: directory.blocks_offset])
    return IndexedPack(listed.digest, header, version_id, len(data), encode_directory(directory))


def _adopt(state: State, pack: IndexedPack, warn: Warn, *, indexed: bool) -> bool:
    directory = pack.directory
    known = state.pack(directory.pack_id)
    if known is not None:
        # Another version of the same pack, or a pack made where random numbers repeated.
        if known.digest != pack.digest:
            warn(f"two packs have one id: {pack.digest.hex()} is passed over")
        return False
    row = state.begin_pack(directory.pack_id, directory.source_id, directory.stream)
    # The lock is not known yet: coverage asks the store before the pack is referenced.
    state.pack_uploaded(
        row,
        digest=pack.digest,
        header_digest=pack.header_digest,
        version_id=pack.version_id,
        size_bytes=pack.size_bytes,
        retain_until_us=0,
    )
    if indexed:
        state.packs_indexed([row])
    for chunk_id, *where in directory.places():
        state.add_chunk(chunk_id, row, Place(directory.pack_id, *where))
    return True
