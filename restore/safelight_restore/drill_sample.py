"""Which files a drill restores: the newest studies whole, and a rotation over everything else.

Pure arithmetic; the index of files does the looking up. The invariant: drills with successive
rotations restore every file in turn, whatever the step between them (daily, weekly, monthly), and a
sample of a snapshot that holds any study holds at least one whole study.
"""

from dataclasses import dataclass
from math import ceil

MODULUS_MIN = 101
"""A rotation is spread over the archive at least this finely, and no usual step divides it."""


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
    """A window of ``width`` positions from ``start`` on a ring of ``modulus`` positions.

    The file with an ordinal (from 0) stands at position ``ordinal * multiplier // divisor``.
    """

    modulus: int
    start: int
    width: int
    multiplier: int = 1
    divisor: int = 1

    def includes(self, ordinal: int) -> bool:
        """Whether the file with this ordinal is meant."""
        position = ordinal * self.multiplier // self.divisor
        return (position - self.start) % self.modulus < self.width


EVERY_FILE = Rotation(modulus=1, start=0, width=1)


def rotation_of(total_files: int, wanted_files: int, rotation: int) -> Rotation:
    """The window that this rotation has come to; every file if no fewer are wanted.

    The ring has a prime number of positions: with a composite one a weekly drill, whose rotation
    goes up by seven, could meet the same few windows for ever. Few files are spread over the ring.
    """
    if wanted_files >= total_files:
        return EVERY_FILE
    modulus = _prime_from(max(MODULUS_MIN, ceil(total_files / max(1, wanted_files))))
    width = max(1, modulus * wanted_files // total_files)
    sparse = total_files < modulus
    return Rotation(
        modulus=modulus,
        start=rotation * width % modulus,
        width=width,
        multiplier=modulus if sparse else 1,
        divisor=total_files if sparse else 1,
    )


def _prime_from(number: int) -> int:
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number
