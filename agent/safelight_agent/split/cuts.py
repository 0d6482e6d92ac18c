"""Cuts: where a file is divided into chunks, and which stream of packs each chunk belongs to.

The invariant of every splitter: *its cuts lie back to back from the first byte to the last*, none
is empty, and none that leaves this package is longer than ``CHUNK_SIZE_MAX``.
"""

from dataclasses import dataclass
from enum import Enum

KIB = 1024
MIB = 1024 * KIB

CHUNK_SIZE_MAX = 8 * MIB
"""Longest chunk in bytes: what a worker holds in memory several times over."""


class Stream(Enum):
    """A pack holds chunks of one stream, so that what is read together lies together."""

    HEADERS = "headers"
    """DICOM without its pixels: small, nearly equal within a series, edited by the PACS."""
    PIXELS = "pixels"
    """Values of Pixel Data: large, never edited."""
    DATA = "data"
    """Everything else."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A run of bytes of one file that becomes one chunk."""

    offset: int
    length: int
    stream: Stream
