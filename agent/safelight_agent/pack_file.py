"""Packs on their way: written to an unnamed file while they fill, read from it while they go up.

So a pack of 64 MiB costs a few of memory, however many are under way. The file never has a name: it
is gone with the process, and it holds sealed bytes only.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from safelight_vault.errors import IncompleteError

PIECE_SIZE = 1 << 20


class PackFile(Sequence[bytes]):
    """The body of a pack as a sequence of pieces that are read when they are asked for."""

    def __init__(self, directory: Path) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=PIECE_SIZE)  # noqa: SIM115
        except OSError as error:
            raise _spool_failed(error) from error
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        try:
            self._file.write(data)
        except OSError as error:
            raise _spool_failed(error) from error
        self._size += len(data)

    def __len__(self) -> int:
        return (self._size + PIECE_SIZE - 1) // PIECE_SIZE

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        length = min(PIECE_SIZE, self._size - index * PIECE_SIZE)
        try:
            self._file.flush()
            data = os.pread(self._file.fileno(), length, index * PIECE_SIZE)
        except OSError as error:
            raise _spool_failed(error) from error
        if len(data) != length:
            raise IncompleteError("a pack's temporary file lost bytes: check the state directory")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file's space back; once is enough."""
        # What was not flushed is not wanted any more, and a full disk could not take it.
        with suppress(OSError):
            self._file.close()


def _spool_failed(error: OSError) -> IncompleteError:
    return IncompleteError(
        f"a pack cannot be written to the state directory: {error.strerror}",
        remedy="Free space in the state directory and run again: what was stored is kept.",
    )
