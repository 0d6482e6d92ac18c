"""Publishing: tables of files that need more than a page's worth of places."""

import hashlib
import os
from pathlib import Path

from safelight_agent.publish import NeededPacks
from safelight_vault.format.manifest import EXTENTS_INLINE_MAX, Hole
from vaults import VaultFixture


def test_a_file_of_very_many_extents_is_stored_and_read_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    block = 4096
    with (tree / "fragmented").open("wb") as file:
        for number in range(EXTENTS_INLINE_MAX // 2 + 10):
            file.seek(2 * block * number)
            file.write(number.to_bytes(8, "big") * (block // 8))
        os.ftruncate(file.fileno(), 2 * block * (EXTENTS_INLINE_MAX // 2 + 10))
    vault = VaultFixture.create(tmp_path)
    assert vault.back_up("pacs", tree).complete
    access = vault.access()
    snapshot = access.open(access.heads().good[0])
    entry = snapshot.entry(b"fragmented")
    assert entry is not None
    assert len(entry.extents) > EXTENTS_INLINE_MAX
    digest = hashlib.sha256()
    for extent in entry.extents:
        if isinstance(extent, Hole):
            digest.update(bytes(extent.length))
        else:
            digest.update(snapshot.blocks.load_chunk(extent))
    assert digest.digest() == entry.sha256
    assert digest.digest() == hashlib.sha256((tree / "fragmented").read_bytes()).digest()
    snapshot.close()


def test_needed_packs_are_remembered_by_row() -> None:
    needed = NeededPacks()
    for row in (1, 8, 1000):
        needed.add(row)
    assert [row for row in range(1100) if row in needed] == [1, 8, 1000]
