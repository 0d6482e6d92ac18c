"""Cuts: where a file is divided into chunks, and which stream of packs each chunk belongs to.

The invariant of every splitter: *its cuts lie back to back from the first byte to the last*, none
is empty, and none that leaves this package is longer than ``CHUNK_SIZE_MAX``.
"""

from dataclasses import dataclass

from safelight_vault.format.chunk import CHUNK_SIZE_MAX
from safelight_vault.format.pack import Stream

__all__ = ["CHUNK_SIZE_MAX", "KIB", "MIB", "Cut", "Stream"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Cut:
    """A run of bytes of one file that becomes one chunk.

    ``stream`` is HEADERS for DICOM without its pixels (small, nearly equal within a series, edited
    by the PACS), PIXELS for the value of Pixel Data (large, never edited), DATA for all else.
    """

    offset: int
    length: int
    stream: Stream
