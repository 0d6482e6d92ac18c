"""The system calls of a directory store, with the file system's errors in the vault's words.

The invariant: a file has its bytes before it has its name, and both are on the disk before anybody
is told so.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from safelight_vault.errors import (
    AccessDeniedError,
    CorruptError,
    StoreUnreachableError,
    VaultError,
)
from safelight_vault.store import Buffers

DIRECTORY_MODE = 0o700
FILE_MODE = 0o400

# One writev takes at most this many pieces (Linux: UIO_MAXIOV is 1024).
_PIECES_MAX = 512
_BATCH_BYTES = 4 << 20
_READ_BYTES_MAX = 1 << 30

_REMEDIES = {
    errno.ENOSPC: "Free space on the vault's disk (or raise the quota), then run again.",
    errno.EDQUOT: "Raise the quota on the vault's disk, then run again.",
    errno.EROFS: "The vault's disk is mounted read-only, often after a disk error: look at the "
    "system's log, check the disk, and mount it for writing.",
    errno.EIO: "The disk reports an error: look at the system's log and check the disk.",
    errno.ESTALE: "The network file system lost its server's directory: mount it again.",
}


@contextlib.contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turn an ``OSError`` into the vault's error for it; ``subject`` says what it was about."""
    try:
        yield
    except OSError as error:
        raise store_error(error, subject) from error


def store_error(error: OSError, subject: str) -> VaultError:
    """What an error of the file system means for the operator.

    Only missing rights are a refusal. Whatever else a disk says, the data may well be whole, and
    trying again after the disk was mended may well help: so the store is "unreachable".
    """
    reason = error.strerror or type(error).__name__
    if error.errno in {errno.EACCES, errno.EPERM}:
        return AccessDeniedError(
            f"{subject}: {reason}",
            remedy="Give the account that runs this program access to the vault's directory.",
        )
    remedy = _REMEDIES.get(error.errno) if error.errno is not None else None
    return StoreUnreachableError(f"{subject}: {reason}", remedy=remedy)


def write_body(path: Path, body: Buffers, *, sha256: bytes, name: str) -> None:
    """Write a new read-only file and bring it to the disk; ``CorruptError`` on a wrong digest."""
    digest = hashlib.sha256()
    with _new_file(path) as descriptor:
        for pieces in _batches(body):
            for piece in pieces:
                digest.update(piece)
            _write_all(descriptor, pieces)
        if digest.digest() != sha256:
            raise CorruptError(
                f"{name}: the bytes to store do not have the digest that their name promises",
                remedy="Nothing was stored. Check this machine's memory, then run again.",
            )
        os.fsync(descriptor)


def write_record(path: Path, data: bytes) -> None:
    """Write a small new read-only file and bring it to the disk."""
    with _new_file(path) as descriptor:
        _write_all(descriptor, [memoryview(data)])
        os.fsync(descriptor)


def read_record(path: Path, size_max: int) -> bytes:
    """A small file's bytes, of which at most one more than ``size_max`` are read."""
    with open_file(path) as descriptor:
        return os.pread(descriptor, size_max + 1, 0)


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[int]:
    """A descriptor of an existing file for reading."""
    # A symbolic link in the place of a version is not ours, and could lead anywhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_range(descriptor: int, *, offset: int, length: int, name: str) -> bytes:
    """Exactly ``length`` bytes at ``offset``, whatever other threads read from the same file."""
    pieces: list[bytes] = []
    missing = length
    while missing:
        piece = os.pread(descriptor, min(missing, _READ_BYTES_MAX), offset + length - missing)
        if not piece:
            raise StoreUnreachableError(f"{name}: the file became shorter while it was read")
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def make_directories(root: Path, parts: tuple[str, ...]) -> Path:
    """Create what is missing of a path below ``root``, and bring it to the disk."""
    path = root
    for part in parts:
        parent, path = path, path / part
        if path.is_dir():
            continue
        try:
            path.mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:  # another writer was faster
            continue
        sync_directory(parent)
    return path


def sync_directory(path: Path) -> None:
    """Bring a directory's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory; there, the server sees to it.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held_lease(path: Path, *, exclusive: bool) -> Iterator[bool]:
    """Hold a lease file; gives False, without waiting, when an exclusive one is not to be had.

    A shared lease is waited for. Where the file system knows no leases, a shared one is taken as
    had and an exclusive one as not to be had: what it guards (clearing up) then never happens.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        held = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        except OSError:
            held = not exclusive
        yield held
    finally:
        os.close(descriptor)


def remove_tree_of_files(directory: Path) -> None:
    """Remove a directory that holds only files; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            Path(entry.path).unlink()
        directory.rmdir()


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[int]:
    # Created read-only: the descriptor may write, nobody who opens the file later may.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _batches(body: Buffers) -> Iterator[list[memoryview]]:
    # Pieces may be read from a file as they are asked for: few are held at a time.
    batch: list[memoryview] = []
    size_bytes = 0
    for piece in body:
        view = memoryview(piece).cast("B")
        if view.nbytes:
            batch.append(view)
            size_bytes += view.nbytes
        if size_bytes >= _BATCH_BYTES or len(batch) == _PIECES_MAX:
            yield batch
            batch, size_bytes = [], 0
    yield batch


def _write_all(descriptor: int, pieces: list[memoryview]) -> None:
    while pieces:
        written = os.writev(descriptor, pieces)
        while pieces and written >= pieces[0].nbytes:
            written -= pieces[0].nbytes
            pieces = pieces[1:]
        if written:
            pieces = [pieces[0][written:], *pieces[1:]]
