"""A tree with everything that a file system of this machine can hold and a backup may stumble over.

The invariant: the content is the same at every call; only times and owners depend on the caller.
"""

import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path
from random import Random

import pydicom

from dicom_samples import ct_slice, encapsulated, multi_frame, report, without_preamble

ODD_NAMES = (
    b"line\nbreak",
    b"carriage\rreturn",
    b"\xff\xfe not utf-8 \x80",
    b"-rf",
    b"back\\slash",
    b" leading and trailing ",
    b"*?[glob]",
    b"\x01\x1b[31mred",
    b"...",
    b"~user",
    b"$HOME",
    b"'quote\"",
    b"n" * 255,
    "ä".encode() * 127,
    unicodedata.normalize("NFC", "Müller").encode(),
    unicodedata.normalize("NFD", "Müller").encode(),
    b"UPPER",
    b"upper",
)
REAL_DICOM = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "rtdose.dcm",
    "test-SR.dcm",
    "image_dfl.dcm",
    "badVR.dcm",
    "MR_truncated.dcm",
)
"""Files of pydicom's own tests, whole ones and broken ones."""
DEEP_LEVELS = 60
SECOND_NS = 1_000_000_000


def make_odd_tree(root: Path, *, sparse_size_bytes: int) -> None:
    """Fill a new directory; owners, and modes that lock out everyone, are given only by root."""
    root.mkdir()
    _odd_names(root)
    _deep_paths(root)
    _dicom(root / "dicom")
    _sparse(root / "sparse", sparse_size_bytes)
    _links(root / "links")
    _specials(root / "special")
    _metadata(root / "metadata")


def _odd_names(root: Path) -> None:
    top = os.fsencode(root)
    for number, name in enumerate(ODD_NAMES):
        for kind in (b"files", b"directories"):
            os.makedirs(os.path.join(top, kind), exist_ok=True)
        with open(os.path.join(top, b"files", name), "wb") as file:
            file.write(b"content %d" % number)
        os.mkdir(os.path.join(top, b"directories", name))
    (root / "files" / "empty").touch()
    (root / "directories" / "a" / "b").mkdir(parents=True)


def _deep_paths(root: Path) -> None:
    deep = root
    for level in range(DEEP_LEVELS):
        deep /= f"level-{level:02}-{'x' * 30}"
        deep.mkdir()
    (deep / "at the bottom").write_bytes(b"deep")


def _dicom(root: Path) -> None:
    root.mkdir()
    samples = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in REAL_DICOM:
        (root / name).write_bytes((samples / name).read_bytes())
    pixels = Random(3).randbytes(4 * 64 * 64 * 2)
    made = {
        "slice.dcm": ct_slice(),
        "bare.dcm": without_preamble(ct_slice(number=2)),
        "frames.dcm": multi_frame(pixels, frames=4, rows=64, columns=64),
        "fragments.dcm": encapsulated([Random(n).randbytes(3000) for n in range(4)]),
        "report.dcm": report(),
        "cut.dcm": ct_slice(number=3)[:-1000],
    }
    for name, data in made.items():
        (root / name).write_bytes(data)
    (root / "big.bin").write_bytes(Random(4).randbytes(3 << 20))


def _sparse(root: Path, size_bytes: int) -> None:
    root.mkdir()
    with (root / "data between holes").open("wb") as file:
        file.truncate(size_bytes)
        for offset in (1 << 20, size_bytes // 2 & ~4095, size_bytes - 4096):
            os.pwrite(file.fileno(), b"island".ljust(4096, b"."), offset)
    with (root / "one hole").open("wb") as file:
        file.truncate(10 << 20)
    (root / "zeros that are data").write_bytes(bytes(1 << 20))


def _links(root: Path) -> None:
    root.mkdir()
    (root / "file").write_bytes(b"one file of three names")
    (root / "elsewhere").mkdir()
    os.link(root / "file", root / "hard")
    os.link(root / "file", root / "elsewhere" / "hard too")
    (root / "relative").symlink_to("file")
    (root / "dangling").symlink_to("nowhere")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "outside").symlink_to("../../../../outside")
    (root / "to a directory").symlink_to("elsewhere")
    (root / "loop").symlink_to("loop")
    os.symlink(b"\xff\xfe", os.fsencode(root / "not utf-8"))
    for name in ("dangling", "absolute"):
        os.utime(root / name, ns=(0, 1_234_567_891), follow_symlinks=False)


def _specials(root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "pipe")
    # By a relative name: an address of a socket has 107 bytes at most.
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(root)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
    finally:
        os.fchdir(here)
        os.close(here)


def _metadata(root: Path) -> None:
    root.mkdir()
    is_root = os.geteuid() == 0
    modes = [0o400, 0o444, 0o600, 0o666, 0o755, 0o1777, 0o4755, 0o2755]
    for mode in [*modes, *([0o000, 0o111] if is_root else [])]:
        file = root / f"mode-{mode:04o}"
        file.write_bytes(b"%o" % mode)
        file.chmod(mode)
    if is_root:
        for mode in (0o000, 0o500, 0o1777):
            directory = root / f"directory-{mode:04o}"
            directory.mkdir()
            (directory / "inside").write_bytes(b"inside")
            directory.chmod(mode)
        os.chown(root / "mode-0600", 12345, 54321)
        os.chown(root / "mode-4755", 12345, 54321)
        (root / "mode-4755").chmod(0o4755)
        os.chown(root / "directory-0500", 4242, 2424)
    times = {
        "before 1970": -1_234_567_890 * SECOND_NS + 987_654_321,
        "one ns before 1970": -1,
        "1970": 0,
        "ns": 1_700_000_000 * SECOND_NS + 123_456_789,
        "after 2038": 4_000_000_000 * SECOND_NS + 1,
    }
    for name, mtime_ns in times.items():
        (root / name).write_bytes(name.encode())
        os.utime(root / name, ns=(0, mtime_ns))
    os.utime(root, ns=(0, 1_000_000_000 * SECOND_NS + 5))


def set_attributes(root: Path, skip: Callable[[str], None]) -> None:
    """Set user attributes on a file and a directory, or say why there can be none."""
    file = root / "attributes"
    file.write_bytes(b"with attributes")
    try:
        os.setxattr(file, "user.plain", b"value")
    except OSError as error:
        skip(f"the file system takes no user attributes: {error.strerror}")
    os.setxattr(file, "user.binary", bytes(range(256)))
    os.setxattr(file, "user.empty", b"")
    os.setxattr(root, "user.of a directory", b"too")
