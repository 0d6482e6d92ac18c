"""Which files a drill restores: the newest studies whole, and a rotation over everything else.

Pure arithmetic; the index of files does the looking up. The invariant: drills with successive
rotations restore every file in turn, whatever the step between them (daily, weekly, monthly), and a
sample of a snapshot that holds any study holds at least one whole study.
"""

from dataclasses import dataclass
from math import ceil

MODULUS_MIN = 101
"""A rotation is spread over the archive at least this finely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePolicy:
    """How much to restore: at least ``files`` and ``percent`` of all, within ``size_bytes``.

    ``rotation`` is any whole number that goes up from drill to drill. The limit in bytes (None: no
    limit) is exceeded by one study and by one file of the rotation if it must be.
    """

    files: int
    percent: float
    size_bytes: int | None
    rotation: int

    def wanted_files(self, total_files: int) -> int:
        """How many of that many files are wanted."""
        return min(total_files, max(self.files, ceil(total_files * self.percent / 100)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The files whose ordinal modulo ``modulus`` lies in the window of ``width`` from ``start``."""

    modulus: int
    start: int
    width: int

    def includes(self, ordinal: int) -> bool:
        """Whether the file with this ordinal (from 0) is meant."""
        return (ordinal - self.start) % self.modulus < self.width


def rotation_of(total_files: int, wanted_files: int, rotation: int) -> Rotation:
    """The window that this rotation has come to.

    The modulus is prime: with a composite one a weekly drill, whose rotation goes up by seven, could
    meet the same few windows for ever.
    """
    if wanted_files >= total_files:
        return Rotation(modulus=1, start=0, width=1)
    stride = ceil(total_files / max(1, wanted_files))
    modulus = min(_prime_from(max(stride, min(MODULUS_MIN, total_files))), total_files)
    if modulus < MODULUS_MIN:
        # So few files that a prime would leave windows empty: count them one by one.
        modulus = total_files
    width = max(1, modulus * wanted_files // total_files)
    return Rotation(modulus=modulus, start=rotation * width % modulus, width=width)


def _prime_from(number: int) -> int:
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number
