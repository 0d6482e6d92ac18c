"""Which files a drill restores: the newest studies whole, and a rotation over everything else.

Pure arithmetic; ``draw`` does the looking up. The invariant: drills with successive
rotations restore every file in turn, whatever the step between them (daily, weekly, monthly), and
whatever is added to the archive meanwhile.

How the rotation works: a keyed hash of its path gives every file a place on a ring that is cut into
equal parts, and a drill takes the parts that its rotation has come to. A file keeps its place for
ever. The number of parts changes only when the archive has about doubled, and it is always a prime:
with, say, 28 parts a weekly drill, whose rotation goes up by seven, would meet the same four for
ever.
"""

import hashlib
import heapq
import re
from dataclasses import dataclass, field
from datetime import date
from math import ceil

RING = 1 << 64
"""Places on the ring."""

PARTS = (
    101,
    211,
    431,
    863,
    1_733,
    3_467,
    6_947,
    13_901,
    27_803,
    55_609,
    111_227,
    222_461,
    444_929,
    889_871,
    1_779_761,
    3_559_537,
    7_119_103,
    14_238_221,
)
"""Primes, each about twice the one before it; no period of a schedule is a multiple of one."""

_DATE = re.compile(r"[0-9]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePolicy:
    """How much to restore: at least ``files`` and ``percent`` of all, within ``size_bytes``.

    ``rotation`` is any whole number that goes up from drill to drill. Counts and bytes are aimed
    at, not kept to the last file: the newest study is restored whole whatever its size, and what
    the rotation gives may be down to half of its share, or a few files more.
    """

    files: int
    percent: float
    size_bytes: int | None
    rotation: int

    def wanted_files(self, total_files: int, total_bytes: int) -> int:
        """How many files to aim at, of so many that have so many bytes together."""
        wanted = max(self.files, ceil(total_files * self.percent / 100))
        if self.size_bytes is not None and total_bytes > self.size_bytes:
            wanted = min(wanted, total_files * self.size_bytes // total_bytes)
        return max(1, min(wanted, total_files))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The parts of the ring that a drill takes: ``taken`` of ``parts``, from ``first`` on."""

    number: int
    parts: int
    first: int
    taken: int

    def includes(self, place: int) -> bool:
        """Whether the file at this place of the ring is meant."""
        part = place * self.parts // RING
        return (part - self.first) % self.parts < self.taken

    def distance(self, place: int) -> int:
        """How far along the ring a place lies behind the beginning of what is meant."""
        return (place - self.first * RING // self.parts) % RING

    @property
    def drills_for_all(self) -> int:
        """How many drills with rotations that follow one another restore every file."""
        return ceil(self.parts / self.taken)


def rotation_of(number: int, *, total_files: int, wanted_files: int) -> Rotation:
    """The parts that this rotation takes, so that they hold about ``wanted_files``."""
    ratio = max(1.0, total_files / max(1, wanted_files))
    parts = next((p for p in PARTS if p >= ratio), PARTS[-1])
    # Only a small archive is divided more finely than one part a drill.
    taken = max(1, int(parts / ratio)) if parts == PARTS[0] else 1
    return Rotation(number=number, parts=parts, first=number * taken % parts, taken=taken)


def place_of(vault_id: bytes, source: str, path: bytes) -> int:
    """A file's place on the ring."""
    named = source.encode() + b"\0" + path
    return int.from_bytes(hashlib.blake2b(named, key=vault_id, digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeStudy:
    """A study of one source, with all of its files."""

    source: int
    date: str
    """YYYYMMDD, or empty: not known, or not yet come."""
    paths: frozenset[bytes]


def believable_date(text: str, today: date) -> str:
    """A study's date as it may decide what is new: one mistyped as 2099 would stay new for ever."""
    return text if _DATE.fullmatch(text) and text <= f"{today:%Y%m%d}" else ""


@dataclass(slots=True)
class NewestStudies:
    """Keeps the newest of the studies that it is shown, as many as are wanted and no more."""

    wanted_files: int
    """0: none is kept, however many are offered."""
    _newest: WholeStudy | None = None
    _kept: list[tuple[str, int, WholeStudy]] = field(default_factory=list)
    """A heap, the oldest first, of studies no larger than what is wanted of all together."""
    _files: int = 0
    _offered: int = 0

    def offer(self, study: WholeStudy) -> None:
        """Show it a study."""
        if not self.wanted_files:
            return
        if self._newest is None or study.date > self._newest.date:
            self._newest = study
        if len(study.paths) > self.wanted_files:
            return
        self._offered += 1
        heapq.heappush(self._kept, (study.date, -self._offered, study))
        self._files += len(study.paths)
        while self._files - len(self._kept[0][2].paths) >= self.wanted_files:
            self._files -= len(heapq.heappop(self._kept)[2].paths)

    def chosen(self) -> list[WholeStudy]:
        """Studies for as many files as wanted, newest first; the first one whatever its size."""
        if self._newest is None:
            return []
        chosen = [self._newest]
        files = len(self._newest.paths)
        for _, _, study in sorted(self._kept, key=lambda kept: kept[:2], reverse=True):
            if study is not self._newest and files + len(study.paths) <= self.wanted_files:
                chosen.append(study)
                files += len(study.paths)
        return chosen
