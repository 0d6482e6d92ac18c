"""Uploading: finished packs into the vault, a few at a time, each noted when it is there.

The invariant: the state learns of a pack only after its lock was read back, and index segments
follow at least every few packs, so that a lost state costs neither data nor a second upload.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from safelight_agent.coverage import Requirement, microseconds
from safelight_agent.pack_file import PackFile
from safelight_agent.state import State
from safelight_agent.throttle import RateLimit
from safelight_vault.format.crypto import SigningKey
from safelight_vault.format.enrolment import agent_id_of
from safelight_vault.format.index import SEGMENT_ID_SIZE, IndexedPack, encode_index
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pack import FinishedPack, PackBuilder
from safelight_vault.format.references import Reference
from safelight_vault.objects import named, put_object
from safelight_vault.store import Store

PACKS_PER_INDEX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterKeys:
    """What an agent needs to write: its signing key and the vault's keys for the index."""

    vault_id: bytes
    signing_key: SigningKey
    index_key: bytes

    @property
    def agent_id(self) -> bytes:
        """The agent's id."""
        return agent_id_of(self.signing_key.verifying_key)


@dataclass(frozen=True, slots=True)
class _Put:
    """A pack under way, and the file it is read from."""

    row: int
    file: PackFile
    outcome: Future[tuple[FinishedPack, Reference]]


class Uploader:
    """Puts the packs of one run; used by the thread that owns the state."""

    def __init__(
        self,
        *,
        store: Store,
        state: State,
        keys: WriterKeys,
        requirement: Requirement,
        limit: RateLimit,
        random_bytes: Callable[[int], bytes],
        workers: int,
    ) -> None:
        self._store = store
        self._state = state
        self._keys = keys
        self._requirement = requirement
        self._limit = limit
        self._random_bytes = random_bytes
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="upload")
        self._under_way: deque[_Put] = deque()
        self._to_index: list[tuple[int, IndexedPack]] = []
        self.bytes_stored = 0

    def submit(self, pack: PackBuilder, file: PackFile, row: int) -> None:
        """Finish and put a pack in the background; waits while too many are under way."""
        self._under_way.append(_Put(row, file, self._pool.submit(self._put, pack, file)))
        while self._under_way and (
            self._under_way[0].outcome.done() or len(self._under_way) > self._workers
        ):
            self._collect()

    def _put(self, builder: PackBuilder, file: PackFile) -> tuple[FinishedPack, Reference]:
        with file:
            pack = builder.finish(self._keys.index_key, self._keys.signing_key, self._random_bytes)
            self._limit.take(pack.size_bytes)
            name = ObjectName(kind=Kind.PACK, owner=self._keys.agent_id, digest=pack.digest)
            reference = put_object(
                self._store,
                name,
                file,
                self._requirement.target_until,
                size_bytes=pack.size_bytes,
            )
        return pack, reference

    def _collect(self) -> None:
        put = self._under_way.popleft()
        row = put.row
        pack, reference = put.outcome.result()
        self.bytes_stored += pack.size_bytes
        with self._state.transaction():
            self._state.pack_uploaded(
                row,
                digest=pack.digest,
                header_digest=pack.header_digest,
                version_id=reference.version_id,
                size_bytes=pack.size_bytes,
                retain_until_us=microseconds(self._requirement.target_until),
            )
        self.add_to_index(
            row,
            IndexedPack(
                pack.digest,
                pack.header_digest,
                reference.version_id,
                pack.size_bytes,
                pack.encoded_directory,
            ),
        )

    def add_to_index(self, row: int, pack: IndexedPack) -> None:
        """A pack that the next index segment must list."""
        self._to_index.append((row, pack))
        if len(self._to_index) >= PACKS_PER_INDEX:
            self._write_index()

    def _write_index(self) -> None:
        if not self._to_index:
            return
        rows = [row for row, _ in self._to_index]
        data = encode_index(
            [pack for _, pack in self._to_index],
            vault_id=self._keys.vault_id,
            segment_id=self._random_bytes(SEGMENT_ID_SIZE),
            index_key=self._keys.index_key,
            signer=self._keys.signing_key,
        )
        name = named(Kind.INDEX, data, owner=self._keys.agent_id)
        put_object(self._store, name, [data], self._requirement.target_until)
        self.bytes_stored += len(data)
        with self._state.transaction():
            self._state.packs_indexed(rows)
        self._to_index.clear()

    def drain(self) -> None:
        """Wait until every pack is in the vault."""
        while self._under_way:
            self._collect()

    def finish_index(self) -> None:
        """Wait until every pack is in the vault and listed by an index segment."""
        self.drain()
        self._write_index()

    def close(self) -> None:
        """Stop without waiting for what is not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for put in self._under_way:
            put.file.close()
