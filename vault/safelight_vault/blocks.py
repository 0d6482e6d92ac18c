"""Blocks read back from packs: coalesced ranges, opened, decoded, and proved by their seals.

What it guards: a block is given only after its seal, its pack's commitment and its codec agreed; a
damaged version of a pack is left for a sound one of the same name, if there is one; and one bad
block spoils nothing but itself. Safe to call from several threads.
"""

import functools
import hashlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    ObjectMissingError,
    RefusedError,
    StoreUnreachableError,
    UnsupportedFormatError,
    VaultError,
    WrongIdentityError,
)
from safelight_vault.format.codec import decode_block
from safelight_vault.format.crypto import Identity
from safelight_vault.format.grant import decode_grant
from safelight_vault.format.names import Kind, ObjectName, parse_name, prefix_of
from safelight_vault.format.pack import (
    HEADER_SIZE_MAX,
    BlockOpener,
    decode_pack_header,
    header_digest,
)
from safelight_vault.format.place import BlockReference, Place
from safelight_vault.format.references import Reference
from safelight_vault.format.run_key import RunKey, SealedRunKey
from safelight_vault.objects import OnTamper, read_object
from safelight_vault.store import Store, Version

RANGE_SIZE_MAX = 8 << 20
"""Longest range asked for at once, unless a single block is longer."""
GAP_SIZE_MAX = 256 << 10
"""A gap up to this is read over: cheaper than another request."""
_FIRST_HEADER_READ = 8 << 10
_HASH_RANGE = 8 << 20
_PACKS_OPEN = 256
_BLOCKS_KEPT = 16

_Result = TypeVar("_Result")


class ReferenceMap:
    """A snapshot's packs, by digest, in a temporary table on disk: flat in memory."""

    def __init__(self, references: Iterable[Reference]) -> None:
        self._lock = threading.Lock()
        # An empty path is SQLite's private temporary database; it is gone when closed.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute(
            "create table packs (digest blob primary key, name text, version text, size integer,"
            " header blob) without rowid"
        )
        rows = (
            (
                reference.name.digest,
                str(reference.name),
                reference.version_id,
                reference.size_bytes,
                reference.header_digest,
            )
            for reference in references
            if reference.name.kind is Kind.PACK
        )
        with self._database:
            self._database.executemany("insert or replace into packs values (?, ?, ?, ?, ?)", rows)

    def find(self, digest: bytes) -> Reference | None:
        """The reference to a pack, or None if the table does not name it."""
        with self._lock:
            row = self._database.execute(
                "select name, version, size, header from packs where digest = ?", (digest,)
            ).fetchone()
        return None if row is None else Reference(parse_name(row[0]), *row[1:])

    def all(self) -> Iterator[Reference]:
        """All packs, by digest."""
        last = b""
        while True:
            with self._lock:
                rows = self._database.execute(
                    "select digest, name, version, size, header from packs where digest > ?"
                    " order by digest limit 1000",
                    (last,),
                ).fetchall()
            if not rows:
                return
            for digest, name, *rest in rows:
                yield Reference(parse_name(name), *rest)
                last = digest

    def close(self) -> None:
        """Drop the table."""
        with self._lock:
            self._database.close()


class RunKeyRing:
    """Open run keys by run, opened with the identities at hand or with a grant."""

    def __init__(self, store: Store, vault_id: bytes, identities: Mapping[bytes, Identity]) -> None:
        self._store = store
        self._vault_id = vault_id
        self._identities = identities
        self._keys: OrderedDict[bytes, RunKey] = OrderedDict()
        self._lock = threading.Lock()

    def use(self, sealed: SealedRunKey, attempt: Callable[[RunKey], _Result]) -> _Result:
        """What ``attempt`` makes of the run key; it must check a commitment to that key.

        Stanzas do not tell who sealed them, so a key counts (and is kept for the other objects of
        its run) only once a commitment has confirmed it. Keys at hand come first, then the stanzas
        of the object itself, then grants. ``WrongIdentityError`` when none of them is for us.
        """
        failure: VaultError | None = None
        for candidate in self._candidates(sealed):
            try:
                key = candidate()
                result = attempt(key)
            except (CorruptError, WrongIdentityError) as error:
                failure = _worse(failure, error)
                continue
            with self._lock:
                self._keys[sealed.run_id] = key
                if len(self._keys) > _PACKS_OPEN:
                    self._keys.popitem(last=False)
            return result
        raise failure or WrongIdentityError("no identity is at hand")

    def _candidates(self, sealed: SealedRunKey) -> Iterator[Callable[[], RunKey]]:
        with self._lock:
            known = self._keys.get(sealed.run_id)
        if known is not None:
            yield lambda: known
        yield lambda: sealed.open(self._identities, self._vault_id)
        for version in self._store.list_versions(prefix_of(Kind.KEY_GRANT, sealed.run_id)):
            if not version.is_delete_marker:
                yield functools.partial(self._open_grant, version, sealed.run_id)

    def _open_grant(self, version: Version, run_id: bytes) -> RunKey:
        name = parse_name(version.name)
        data, _ = read_object(self._store, name, version.version_id)
        try:
            granted = decode_grant(data, self._vault_id)
        except UnsupportedFormatError as error:
            # Nothing signed names a grant, so what claims a newer format must not stop anybody.
            raise WrongIdentityError(f"{name}: not a grant that this program can use") from error
        if granted.run_id != run_id:
            raise CorruptError(f"{name}: the grant of another run")
        return granted.open(self._identities, self._vault_id)


def _worse(first: VaultError | None, second: VaultError) -> VaultError:
    """The failure to tell of: damage to what is for us says more than a stanza for others."""
    if first is None or isinstance(first, WrongIdentityError):
        return second if not isinstance(second, WrongIdentityError) or first is None else first
    return first


@dataclass(frozen=True, slots=True)
class _OpenPack:
    reference: Reference
    version_id: str
    opener: BlockOpener


class BlockSource:
    """Reads blocks of the packs that a snapshot's reference table names."""

    def __init__(
        self,
        store: Store,
        references: ReferenceMap,
        run_keys: RunKeyRing,
        *,
        on_tamper: OnTamper | None = None,
    ) -> None:
        self._store = store
        self._references = references
        self._run_keys = run_keys
        self._on_tamper = on_tamper
        self._packs: OrderedDict[bytes, _OpenPack] = OrderedDict()
        self._blocks: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read_blocks(
        self, pack: bytes, blocks: Sequence[BlockReference]
    ) -> Iterator[tuple[BlockReference, bytes | VaultError]]:
        """The plaintext of each block, or what is wrong with it, in the order given.

        ``blocks`` are of one pack and in offset order. An unreachable store is raised, since it
        says nothing about the data.
        """
        try:
            opened = self._open(pack)
        except StoreUnreachableError:
            raise
        except VaultError as error:
            yield from ((block, error) for block in blocks)
            return
        for group in coalesce(blocks):
            start = group[0].offset
            length = group[-1].offset + group[-1].length - start
            data = self._get(opened, start, length)
            for block in group:
                if isinstance(data, VaultError):
                    yield block, self._read_elsewhere(pack, opened, block, data)
                    continue
                sealed = data[block.offset - start : block.offset - start + block.length]
                try:
                    yield block, decode_block(opened.opener.open(block.number, sealed))
                except CorruptError as error:
                    yield block, self._read_elsewhere(pack, opened, block, error)
                except VaultError as error:
                    yield block, error

    def load_chunk(self, place: Place) -> bytes:
        """The bytes at a place; for pages and lists, whose blocks are kept for the next call."""
        key = (place.pack, place.block_number)
        with self._lock:
            plain = self._blocks.get(key)
        if plain is None:
            block = BlockReference(place.block_number, place.block_offset, place.block_length)
            ((_, result),) = self.read_blocks(place.pack, [block])
            if isinstance(result, VaultError):
                raise result
            plain = result
            with self._lock:
                self._blocks[key] = plain
                if len(self._blocks) > _BLOCKS_KEPT:
                    self._blocks.popitem(last=False)
        if place.offset + place.length > len(plain):
            raise CorruptError("a place reaches past the end of its block")
        return plain[place.offset : place.offset + place.length]

    def _get(self, opened: _OpenPack, offset: int, length: int) -> bytes | VaultError:
        try:
            return self._store.get(
                str(opened.reference.name), opened.version_id, offset=offset, length=length
            )
        except (CorruptError, RefusedError) as error:
            return error

    def _open(self, pack: bytes) -> _OpenPack:
        with self._lock:
            opened = self._packs.get(pack)
        if opened is not None:
            return opened
        reference = self._references.find(pack)
        if reference is None:
            raise CorruptError(
                f"pack {pack.hex()[:16]} is not in the snapshot's reference table: not followed"
            )
        try:
            opened = self._open_version(reference, reference.version_id)
        except StoreUnreachableError:
            raise
        except VaultError as error:
            version_id = self._sound_version(reference.name, reference.version_id, error)
            opened = self._open_version(reference, version_id)
        return self._remember(pack, opened)

    def _remember(self, pack: bytes, opened: _OpenPack) -> _OpenPack:
        with self._lock:
            self._packs[pack] = opened
            if len(self._packs) > _PACKS_OPEN:
                self._packs.popitem(last=False)
        return opened

    def _open_version(self, reference: Reference, version_id: str) -> _OpenPack:
        name = reference.name
        size = self._store.head(str(name), version_id).size_bytes
        first = min(_FIRST_HEADER_READ, size)
        try:
            data = self._store.get(str(name), version_id, length=first)
            header = decode_pack_header(data)
        except DecodeError:
            # Seven or more recipients make a longer header.
            whole = min(HEADER_SIZE_MAX, size)
            data = self._store.get(str(name), version_id, length=whole)
            header = decode_pack_header(data)
        if header_digest(data[: header.size_bytes]) != reference.header_digest:
            raise CorruptError("its header is not the one that the reference table says")
        opener = self._run_keys.use(
            header.run_key, lambda run_key: BlockOpener.create(header, run_key)
        )
        return _OpenPack(reference, version_id, opener)

    def _read_elsewhere(
        self, pack: bytes, opened: _OpenPack, block: BlockReference, failure: VaultError
    ) -> bytes | VaultError:
        """The block from another version that is sound as a whole, or what was wrong."""
        with self._lock:
            current = self._packs.get(pack)
        try:
            if current is None or current.version_id == opened.version_id:
                name = opened.reference.name
                version_id = self._sound_version(name, opened.version_id, failure)
                current = self._remember(pack, self._open_version(opened.reference, version_id))
            sealed = self._store.get(
                str(current.reference.name),
                current.version_id,
                offset=block.offset,
                length=block.length,
            )
            return decode_block(current.opener.open(block.number, sealed))
        except StoreUnreachableError:
            raise
        except VaultError as error:
            return error

    def _sound_version(self, name: ObjectName, bad_version: str, failure: VaultError) -> str:
        """A version whose bytes match the name; raises what is wrong if there is none.

        The hash is compared before anything else is said: bytes that do not match the name are
        "damaged", never "wrong identity" or "unsupported". It may be the very version that was
        found bad, if its bytes only went wrong on the way: then it is to be read once more.
        """
        sound: str | None = None
        for version in self._store.list_versions(str(name)):
            if version.is_delete_marker or version.name != str(name):
                continue
            if hash_version(self._store, version) == name.digest:
                if version.version_id == bad_version:
                    if isinstance(failure, CorruptError):
                        return bad_version
                    raise failure
                sound = version.version_id
                break
        # A version that is merely gone, with a sound one beside it, is a vault that was copied.
        was_copied = sound is not None and isinstance(failure, ObjectMissingError)
        if self._on_tamper is not None and not was_copied:
            self._on_tamper(f"{name}: version {bad_version}: {failure.message}")
        if sound is not None:
            return sound
        if isinstance(failure, ObjectMissingError):
            raise ObjectMissingError(f"{name} is missing from the vault") from failure
        raise CorruptError(f"{name} is damaged: {failure.message}") from failure


def hash_version(store: Store, version: Version) -> bytes:
    """SHA-256 of a whole version, read in ranges."""
    digest = hashlib.sha256()
    for offset in range(0, version.size_bytes, _HASH_RANGE):
        length = min(_HASH_RANGE, version.size_bytes - offset)
        digest.update(store.get(version.name, version.version_id, offset=offset, length=length))
    return digest.digest()


def coalesce(blocks: Sequence[BlockReference]) -> Iterator[list[BlockReference]]:
    """Groups of blocks in offset order that one range request reads."""
    group: list[BlockReference] = []
    for block in blocks:
        if group:
            end = group[-1].offset + group[-1].length
            too_far = block.offset - end > GAP_SIZE_MAX
            too_long = block.offset + block.length - group[0].offset > RANGE_SIZE_MAX
            if too_far or too_long or block.offset < end:
                yield group
                group = []
        group.append(block)
    if group:
        yield group
