"""Packing: pieces in, places out. New pieces become blocks, blocks become packs, packs go up.

    piece ─ known? ─→ place at once
          └ new ───→ block (about 1 MiB) ─→ compress (worker) ─→ pack (64 MiB) ─→ put (uploader)

The invariant: a piece is stored once, in the stream it belongs to, and its place is handed out only
for bytes that sealed and opened again to what they were. Everything but compressing and putting
happens on one thread; what is in flight is bounded by a byte budget.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safelight_agent.coverage import Coverage
from safelight_agent.pack_file import PackFile
from safelight_agent.state import State
from safelight_agent.upload import Uploader
from safelight_vault.errors import CorruptError
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.codec import decode_block, encode_block
from safelight_vault.format.pack import BLOCKS_MAX, ChunkRecord, PackBuilder, Stream
from safelight_vault.format.place import Place

BLOCK_SIZE_TARGET = 1 << 20
"""Small chunks share a block of about this size, so that they compress together."""
CHUNKS_PER_BLOCK_MAX = 8192
DIRECTORY_SIZE_TARGET = 8 << 20
"""A pack is finished when its directory has this size: some 200,000 chunks."""


@dataclass(slots=True)
class Slot:
    """A piece on its way into a pack; ``place`` is set when its block is sealed."""

    chunk_id: bytes
    place: Place | None = None


@dataclass(slots=True)
class _Block:
    slots: list[Slot] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def records(self) -> list[ChunkRecord]:
        """The chunks in the order in which they lie in the block."""
        return [
            ChunkRecord(slot.chunk_id, len(piece))
            for slot, piece in zip(self.slots, self.pieces, strict=True)
        ]


@dataclass(slots=True)
class _StreamState:
    filling: _Block = field(default_factory=_Block)
    compressing: deque[tuple[_Block, Future[bytes]]] = field(default_factory=deque)
    pack: PackBuilder | None = None
    file: PackFile | None = None
    row: int = 0


class MiscomputedError(CorruptError):
    """What this host made of a block is not what it must be: its memory or processor errs."""

    remedy = (
        "Nothing of it was stored. Test this host's memory and processor, and do not trust what it "
        "makes until then."
    )


def compress(plain: bytes, level: int, keys: DedupKeys, chunks: Sequence[ChunkRecord]) -> bytes:
    """The frame of a block, proved to decode to the chunks it is said to hold. A worker's task.

    The ids are computed again from what was decoded, so that a bit that flipped since the chunks
    were named is found before it is locked for years under a name that promises other bytes.
    """
    frame = encode_block(plain, level=level)
    with _miscomputing("decode to what was read"):
        decoded = memoryview(decode_block(frame))
    at = 0
    for chunk in chunks:
        if keys.chunk_id(decoded[at : at + chunk.length]) != chunk.chunk_id:
            raise MiscomputedError("bad memory? A block did not decode to what was read")
        at += chunk.length
    return frame


@contextmanager
def _miscomputing(what: str) -> Iterator[None]:
    """Here nothing has been stored yet: what is damaged was damaged by this host."""
    try:
        yield
    except CorruptError as error:
        raise MiscomputedError(f"bad memory? A block did not {what}") from error


class Packer:
    """Stores the pieces of one run of one source."""

    def __init__(
        self,
        *,
        state: State,
        coverage: Coverage,
        uploader: Uploader,
        executor: Executor,
        new_pack: Callable[[Stream, Callable[[bytes], None]], PackBuilder],
        spool_directory: Path,
        keys: DedupKeys,
        source_id: bytes,
        pack_size_bytes: int,
        compression_level: int,
        in_flight_bytes: int,
        tasks_at_once: int,
    ) -> None:
        self._state = state
        self._coverage = coverage
        self._uploader = uploader
        self._executor = executor
        self._new_pack = new_pack
        self._spool_directory = spool_directory
        self._keys = keys
        self._source_id = source_id
        self._pack_size_bytes = pack_size_bytes
        self._level = compression_level
        self._budget_bytes = in_flight_bytes
        self._tasks_at_once = tasks_at_once
        self._compressing_bytes = 0
        self._streams = {stream: _StreamState() for stream in Stream}
        self._pending: dict[bytes, Slot] = {}
        self.chunks_new = 0

    def add(self, chunk_id: bytes, data: bytes, stream: Stream) -> Place | Slot:
        """Where the piece lies, or the slot that will tell."""
        slot = self._pending.get(chunk_id)
        if slot is not None:
            return slot
        place = self._state.find_chunk(chunk_id)
        if place is not None:
            if self._coverage.covers(place.pack):
                return place
            self._state.drop_chunk(chunk_id)
        self.chunks_new += 1
        slot = Slot(chunk_id)
        self._pending[chunk_id] = slot
        self._put_in_block(slot, data, self._streams[stream], stream)
        return slot

    def _put_in_block(self, slot: Slot, data: bytes, of: _StreamState, stream: Stream) -> None:
        block = of.filling
        if block.pieces and block.size_bytes + len(data) > 2 * BLOCK_SIZE_TARGET:
            self._compress(of, stream)
            block = of.filling
        block.slots.append(slot)
        block.pieces.append(data)
        block.size_bytes += len(data)
        if block.size_bytes >= BLOCK_SIZE_TARGET or len(block.pieces) >= CHUNKS_PER_BLOCK_MAX:
            self._compress(of, stream)

    def _compress(self, of: _StreamState, stream: Stream) -> None:
        block, of.filling = of.filling, _Block()
        plain = b"".join(block.pieces)
        task = self._executor.submit(compress, plain, self._level, self._keys, block.records())
        of.compressing.append((block, task))
        self._compressing_bytes += block.size_bytes
        while of.compressing and (
            of.compressing[0][1].done()
            or self._compressing_bytes > self._budget_bytes
            or len(of.compressing) > self._tasks_at_once
        ):
            self._seal_next(of, stream)

    def _seal_next(self, of: _StreamState, stream: Stream) -> None:
        block, future = of.compressing.popleft()
        frame = future.result()
        self._compressing_bytes -= block.size_bytes
        if of.pack is None:
            of.file = PackFile(self._spool_directory)
            of.pack = self._new_pack(stream, of.file.write)
            of.row = self._state.begin_pack(of.pack.pack_id, self._source_id, stream)
        records = block.records()
        with _miscomputing("open to what was sealed"):
            number, block_offset, block_length = of.pack.add_block(frame, records)
        offset = 0
        for slot, record in zip(block.slots, records, strict=True):
            slot.place = Place(
                of.pack.pack_id, number, block_offset, block_length, offset, record.length
            )
            offset += record.length
            self._state.add_chunk(slot.chunk_id, of.row, slot.place)
            del self._pending[slot.chunk_id]
        if (
            of.pack.size_bytes >= self._pack_size_bytes
            or of.pack.block_count == BLOCKS_MAX
            or of.pack.directory_size >= DIRECTORY_SIZE_TARGET
        ):
            self._finish_pack(of)

    def _finish_pack(self, of: _StreamState) -> None:
        if of.pack is not None and of.file is not None:
            self._uploader.submit(of.pack, of.file, of.row)
            of.pack = of.file = None

    def seal_blocks(self) -> None:
        """Seal everything that is in a block, so that every slot has its place."""
        for stream, of in self._streams.items():
            if of.filling.pieces:
                self._compress(of, stream)
            while of.compressing:
                self._seal_next(of, stream)

    def finish(self) -> None:
        """Seal and put everything, and wait until it is in the vault."""
        self.seal_blocks()
        for of in self._streams.values():
            self._finish_pack(of)
        self._uploader.drain()

    def close(self) -> None:
        """Drop the packs that were not finished."""
        for of in self._streams.values():
            if of.file is not None:
                of.file.close()
