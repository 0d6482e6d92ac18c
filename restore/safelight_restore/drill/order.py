"""What the operator asks of a drill, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from safelight_restore.drill.sample import SamplePolicy

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOrder:
    """What is to be rehearsed, and where.

    ``rotation`` None: the number of the day by the store's clock. ``sources`` says where the live
    sources are, by name. ``scratch`` is an empty directory that the sample is restored into.
    """

    snapshot: str
    at: datetime | None
    all_snapshots: bool
    sample_files: int
    sample_percent: float
    sample_bytes: int | None
    rotation: int | None
    sources: Mapping[str, Path]
    scratch: Path
    threads: int

    def policy(self, store_time: datetime) -> SamplePolicy:
        """How the sample is drawn at this time."""
        today = int(store_time.timestamp()) // SECONDS_PER_DAY
        return SamplePolicy(
            files=self.sample_files,
            percent=self.sample_percent,
            size_bytes=self.sample_bytes,
            rotation=today if self.rotation is None else self.rotation,
        )
