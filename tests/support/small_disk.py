"""A real disk that is small: a tmpfs of its own, to be filled and to be made read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services import require_service

_BALLAST = "ballast"


class SmallDisk:
    """A mounted file system; made by :func:`small_disk`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @property
    def free_bytes(self) -> int:
        """Room that is left."""
        status = os.statvfs(self.place)
        return status.f_bavail * status.f_frsize

    def leave(self, size_bytes: int) -> None:
        """Fill the disk until so much is left."""
        with (self.place / _BALLAST).open("wb") as file:
            file.write(bytes(max(0, self.free_bytes - size_bytes)))

    def empty(self) -> None:
        """Take the ballast away."""
        (self.place / _BALLAST).unlink(missing_ok=True)

    def make_read_only(self, value: bool = True) -> None:
        """What a disk does of itself after errors."""
        option = "remount,ro" if value else "remount,rw"
        subprocess.run(["mount", "-o", option, str(self.place)], check=True)


@contextmanager
def small_disk(place: Path, *, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a tmpfs at an existing directory, keeping what is in it; needs root."""
    require_service(os.geteuid() == 0, "mounting a small disk needs root")
    kept = {
        path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }
    options = f"size={size_bytes},mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    require_service(mounted.returncode == 0, "this machine does not let us mount a small disk")
    try:
        for path, data in kept.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (place / path).touch(mode=0o600)
            (place / path).write_bytes(data)
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
