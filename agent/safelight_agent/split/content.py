"""Cuts by content: boundaries that move with the bytes, so that an insertion re-cuts only nearby.

The only door to pyfastcdc. The invariant: the lengths depend on the bytes, the seed and the sizes
alone, never on how the bytes were fed in; and each boundary depends on nothing before the chunk it
ends. The version of the algorithm and all its parameters are part of the vault's configuration:
changing one re-uploads everything that is cut by content (design.md).

The seed makes boundaries differ from vault to vault and deters casual fingerprinting by length, no
more: it is XORed into a public table, and published attacks recover such seeds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pyfastcdc import FastCDC

from safelight_agent.split.cuts import CHUNK_SIZE_MAX, KIB, MIB

SEED_MAX = 2**63 - 1
"""Largest seed: pyfastcdc shifts it left by one bit within 64."""

_NORMALIZED_CHUNKING: Final = 2
"""How strongly lengths are drawn towards the average: measured on random bytes, a standard
deviation of 0.31 MiB instead of 0.98 without, at the same speed, and still one new chunk after an
insertion. Lengths that vary less also tell less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCutter:
    """Cuts bytes that have no structure we know: dumps, reports, archives, damaged DICOM.

    A value, cheap to send to another process. Sizes are in bytes. The defaults give chunks of
    1.1 MiB on average: large enough that the places of a 1 TB dump fit in 100 MB, small enough that
    a changed page of a database costs one of them. ``maximum`` far above the average keeps forced
    boundaries, which do not move with the bytes, to runs without any variety.
    """

    seed: int = field(repr=False)
    minimum: int = 256 * KIB
    average: int = 1 * MIB
    maximum: int = CHUNK_SIZE_MAX

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= SEED_MAX:
            raise ValueError("the seed must have at most 63 bits")

    def cut(self, data: bytes | memoryview) -> list[int]:
        """The lengths of the chunks of ``data``; none for no bytes, one up to ``minimum``."""
        return list(self._lengths(data))

    def chunks(self, windows: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks of a stream that is fed in windows of any size, one after another.

        The same chunks as ``cut`` finds in the whole. Holds at most twice ``maximum`` bytes and one
        window.
        """
        carried = b""
        fresh: list[bytes] = []
        fresh_size = 0
        for window in windows:
            fresh.append(window)
            fresh_size += len(window)
            if fresh_size < self.maximum:
                continue
            buffer = b"".join([carried, *fresh])
            fresh.clear()
            fresh_size = 0
            begin = 0
            for length in self._lengths(buffer):
                yield buffer[begin : begin + length]
                begin += length
                if len(buffer) - begin < self.maximum:
                    break  # bytes still to come might move the next boundary
            carried = buffer[begin:]
        buffer = b"".join([carried, *fresh])
        begin = 0
        for length in self._lengths(buffer):
            yield buffer[begin : begin + length]
            begin += length

    def _lengths(self, data: bytes | memoryview) -> Iterator[int]:
        engine = FastCDC(
            self.average,
            min_size=self.minimum,
            max_size=self.maximum,
            normalized_chunking=_NORMALIZED_CHUNKING,
            seed=self.seed,
        )
        for chunk in engine.cut_buf(data):
            yield chunk.length
