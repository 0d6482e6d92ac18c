"""Damage done to the objects of a ``file://`` vault, and undone again.

The invariant: an object is changed below the store, in place and under its own name, as a disk or
an attacker would, and afterwards every byte of the vault is as it was.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.configuration import decode_configuration
from safelight_vault.format.crypto import FINGERPRINT_SIZE, SIGNATURE_SIZE
from safelight_vault.format.names import Kind, parse_name
from safelight_vault.format.pack import (
    FOOTER_SIZE,
    Directory,
    DirectoryTail,
    Stream,
    decode_pack_header,
    directory_offset,
)
from safelight_vault.key_files import read_identity
from safelight_vault.store.directory_layout import MARKER

_HEADER_BORDERS = (8, 9, 10, 26)
"""Magic, kind, version, vault id."""
_ED25519_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object of a directory store: its name, and the file of its one version."""

    name: str
    path: Path

    @property
    def kind(self) -> Kind:
        """The kind that the name says."""
        return parse_name(self.name).kind

    @contextmanager
    def replaced(self, change: Callable[[bytes], bytes]) -> Iterator[None]:
        """While it lasts, the object holds other bytes."""
        sound = self.path.read_bytes()
        mode = self.path.stat().st_mode
        self.path.chmod(0o600)
        try:
            self.path.write_bytes(change(sound))
            yield
        finally:
            self.path.write_bytes(sound)
            self.path.chmod(mode)

    @contextmanager
    def removed(self, aside: Path) -> Iterator[None]:
        """While it lasts, the object is not there at all."""
        shutil.move(self.path.parent, aside)
        try:
            yield
        finally:
            shutil.move(aside, self.path.parent)


def flipped(position: int) -> Callable[[bytes], bytes]:
    """Change one bit of the byte at a position; which one depends on the position."""

    def change(data: bytes) -> bytes:
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        return bytes(damaged)

    return change


def stored_objects(root: Path) -> list[StoredObject]:
    """All objects of a directory store, by name."""
    found = []
    for directory in root.rglob("*@"):
        (path,) = (file for file in directory.iterdir() if ".until-" not in file.name)
        parts = directory.relative_to(root).parts
        segments = [part for part in parts[:-1] if not part.startswith("@")]
        name = "/".join([*segments, parts[-1][:-1]])
        found.append(StoredObject(name=name, path=path))
    if not found or not (root / MARKER).is_file():
        raise AssertionError("not a directory store with objects in it")
    return sorted(found, key=lambda one: one.name)


def index_key_of(root: Path, identity: Path) -> bytes:
    """The key that opens the directories of packs, by way of the vault's configuration."""
    file = read_identity(identity)
    (config,) = (one for one in stored_objects(root) if one.kind is Kind.CONFIG)
    configuration = decode_configuration(
        config.path.read_bytes(),
        vault_id=file.trust.vault_id,
        administrator_fingerprint=file.trust.administrator_fingerprint,
    )
    key = configuration.open_dedup_key(file.identity, file.trust.vault_id)
    return DedupKeys.derive(key, file.trust.vault_id).index_key


def chunks_by_stream(root: Path, index_key: bytes) -> Counter[Stream]:
    """How many chunks the packs of each stream hold."""
    found: Counter[Stream] = Counter()
    for stored in stored_objects(root):
        if stored.kind is Kind.PACK:
            directory = pack_directory(stored.path.read_bytes(), index_key)
            found[directory.stream] += sum(len(block.chunks) for block in directory.blocks)
    return found


def pack_directory(pack: bytes, index_key: bytes) -> Directory:
    """What a pack holds."""
    offset = directory_offset(len(pack), pack[-FOOTER_SIZE:])
    return DirectoryTail(decode_pack_header(pack), offset, pack[offset:]).unverified(index_key)


def pack_borders(pack: bytes, index_key: bytes) -> list[int]:
    """Where each part of a pack ends: header fields, blocks, padding, directory, signatures."""
    pack_id, agent_id, commitment = 58, 74, 106
    directory = pack_directory(pack, index_key)
    offset = directory.blocks_offset
    borders = [*_HEADER_BORDERS, pack_id, agent_id, commitment, offset]
    for block in directory.blocks:
        offset += block.sealed_length
        borders.append(offset)
    borders.append(directory_offset(len(pack), pack[-FOOTER_SIZE:]))
    return borders + _signature_borders(len(pack) - FOOTER_SIZE)


def frame_borders(data: bytes) -> list[int]:
    """Where each part of an object that is not a pack ends."""
    body_end = 30 + int.from_bytes(data[26:30], "big")
    borders = [*_HEADER_BORDERS, 30, body_end]
    return borders if body_end == len(data) else borders + _signature_borders(len(data))


def _signature_borders(end: int) -> list[int]:
    signature = end - SIGNATURE_SIZE
    return [signature - FINGERPRINT_SIZE, signature, signature + _ED25519_SIZE, end]


def sample_positions(size_bytes: int, borders: list[int], count: int, *, seed: int) -> list[int]:
    """At most ``count`` positions: both ends, both sides of each border, and others by chance."""
    wanted = {0, 1, 7, 8, size_bytes - 1, size_bytes - 2}
    wanted |= {border + side for border in borders for side in (-1, 0)}
    chosen = sorted(position for position in wanted if 0 <= position < size_bytes)[:count]
    others = [position for position in range(size_bytes) if position not in wanted]
    chosen += Random(seed).sample(others, min(len(others), count - len(chosen)))
    return sorted(chosen)
