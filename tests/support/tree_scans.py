"""Scanning small trees in tests, and the surroundings that some of them need."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from safelight_agent.source import Found, Scanned
from safelight_agent.source.tree import TreeOptions, TreeSource


def scan(root: Path, options: TreeOptions | None = None) -> list[Scanned]:
    return list(TreeSource(root, options).scan())


def scanned(root: Path, options: TreeOptions | None = None) -> dict[bytes, Scanned]:
    seen = scan(root, options)
    by_path = {item.path: item for item in seen}
    assert len(by_path) == len(seen), "a path came twice"
    return by_path


def paths(root: Path, options: TreeOptions | None = None) -> list[bytes]:
    return [item.path for item in scan(root, options)]


def found(root: Path, path: bytes, options: TreeOptions | None = None) -> Found:
    item = scanned(root, options)[path]
    assert isinstance(item, Found)
    return item


def component_order(path: bytes) -> list[bytes]:
    return path.split(b"/") if path else []


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def deep_tree(depth: int, name: bytes) -> Iterator[Path]:
    """A chain of directories with a file in the last and one beside each step."""
    root = Path(mkdtemp())
    here = os.open(root, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir(name, dir_fd=here)
            os.close(os.open(b"zz", os.O_CREAT | os.O_WRONLY, dir_fd=here))
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open(b"last", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        yield root
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", root], check=True)  # copes with any depth
