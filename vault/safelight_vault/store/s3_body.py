"""An object's body for sending: many buffers read as one stream, any number of times.

The invariant: the buffers are neither changed nor joined; what is in memory beside them is one
piece of the size that the HTTP library asks for.
"""

import bisect
import hashlib
import io
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from safelight_vault.errors import CorruptError
from safelight_vault.store import Buffers

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class ReplayableBody(io.RawIOBase):
    """A seekable, read-only stream over buffers."""

    def __init__(self, body: Buffers) -> None:
        super().__init__()
        # Pieces may be read from a file as they are asked for: only the one at hand is held.
        self._body = body
        self._ends = list(itertools.accumulate(memoryview(piece).nbytes for piece in body))
        self._at_hand: tuple[int, memoryview] | None = None
        self._position = 0

    def _piece(self, number: int) -> memoryview:
        if self._at_hand is None or self._at_hand[0] != number:
            self._at_hand = (number, memoryview(self._body[number]).cast("B"))
        return self._at_hand[1]

    @property
    def size_bytes(self) -> int:
        """Length of the whole body."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Bytes before the next one to be read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move anywhere in the body; its end is the farthest."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        self._position = min(max(start + offset, 0), self.size_bytes)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill ``buffer`` as far as the body reaches."""
        target = memoryview(buffer).cast("B")
        filled = 0
        # The first piece that ends behind the position is the one to read from.
        number = bisect.bisect_right(self._ends, self._position)
        while filled < target.nbytes and number < len(self._ends):
            piece = self._piece(number)
            inside = self._position - (self._ends[number] - piece.nbytes)
            part = piece[inside : inside + target.nbytes - filled]
            target[filled : filled + part.nbytes] = part
            filled += part.nbytes
            self._position += part.nbytes
            number += 1
        return filled

    def md5_of(self, *, sha256: bytes, name: str) -> bytes:
        """The MD5 that S3 wants, from the same pass that proves the SHA-256 (``CorruptError``).

        Not every server checks the SHA-256 that it is sent, and what is uploaded stays under lock
        for years; so the bytes that are about to leave are held against their name here.
        """
        digests = [hashlib.sha256(), hashlib.md5(usedforsecurity=False)]
        updates: list[Callable[[memoryview], None]] = [digest.update for digest in digests]
        for piece in self._body:
            for update in updates:
                update(memoryview(piece).cast("B"))
        if digests[0].digest() != sha256:
            raise CorruptError(
                f"{name}: the bytes to store do not have the digest that their name promises",
                remedy="Nothing was stored. Check this machine's memory, then run again.",
            )
        return digests[1].digest()
