"""The format document is enough: a reader written from it alone reads what the product wrote."""

import ast
import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

import independent_keys
import independent_reader
from independent_keys import (
    Corrupt,
    Refused,
    WrongConfiguration,
    WrongIdentity,
    read_key_file,
)
from independent_packs import chunk_id
from independent_reader import Snapshot, Vault, open_vault
from independent_structures import parse_name
from independent_tables import Entry, Kind
from independent_vectors import REFUSALS, SAYS
from installed import InstalledVault, new_vault
from odd_tree import make_odd_tree, set_attributes
from safelight_vault.store import Store
from safelight_vault.store.opening import StoreOptions, open_store
from vector_index import VECTORS, Vector, read_table, vectors

SOURCE = "pacs"
READER = Path(independent_reader.__file__).parent
FROZEN = vectors() if (VECTORS / "index.toml").exists() else ()
MODULES = ("keys", "structures", "packs", "tables", "snapshots", "reader")


def _store(vault: InstalledVault) -> Store:
    return open_store(
        vault.url,
        options=StoreOptions(),
        now=lambda: datetime.now(UTC),
        new_version_id=lambda: uuid.uuid4().hex,
        sleep=lambda _: None,
        uniform=lambda low, _: low,
    )


def objects_of(vault: InstalledVault) -> dict[str, list[bytes]]:
    """All objects of a vault, each with the bytes of its versions, newest first."""
    store, found = _store(vault), dict[str, list[bytes]]()
    for version in store.list_versions(""):
        if not version.is_delete_marker:
            data = store.get(version.name, version.version_id)
            found.setdefault(version.name, []).append(data)
    return found


def reader_of(objects: dict[str, list[bytes]], key_file: Path) -> Vault:
    return open_vault(
        names=lambda prefix: [name for name in objects if name.startswith(prefix)],
        read=lambda name: objects.get(name, []),
        key_file=read_key_file(key_file, "safelight-identity"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A vault that the installed commands made of a tree, twice, with a change in between."""

    vault: InstalledVault
    archive: Path
    before: dict[bytes, tuple[object, ...]]
    after: dict[bytes, tuple[object, ...]]
    objects: dict[str, list[bytes]]

    def reader(self) -> Vault:
        return reader_of(self.objects, self.vault.identity)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("independent")
    archive = directory / "archive"
    make_odd_tree(archive, sparse_size_bytes=8 << 20)
    with contextlib.suppress(OSError):
        # Not every file system takes user attributes.
        set_attributes(archive, lambda _: None)
    many = archive / "many"
    many.mkdir()
    for number in range(1500):
        (many / f"{number:05}").write_bytes(b"%d" % number)
    vault = new_vault(directory / "site")
    agent = vault.agent({SOURCE: archive})
    before = tree_on_disk(archive)
    agent.back_up()
    (archive / "files" / "later").write_bytes(b"only in the second snapshot")
    after = tree_on_disk(archive)
    agent.back_up()
    return Written(
        vault=vault, archive=archive, before=before, after=after, objects=objects_of(vault)
    )


# --------------------------------------------------------------------------- trees of either side


def tree_on_disk(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What a restore must bring back, by path; further names of a file are links to the first."""
    top = os.fsencode(root)
    paths = [b""]
    for directory, directories, files in os.walk(top):
        below = os.path.relpath(directory, top)
        here = b"" if below == b"." else below
        paths += [os.path.join(here, name) for name in directories + files]
    first_names: dict[int, bytes] = {}
    tree: dict[bytes, tuple[object, ...]] = {}
    for path in sorted(paths, key=lambda path: path.replace(b"/", b"\0")):
        full = os.path.join(top, path)
        status = os.lstat(full)
        common = (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid)
        if stat.S_ISDIR(status.st_mode):
            tree[path] = (Kind.DIRECTORY, *common, _attributes(full))
        elif stat.S_ISLNK(status.st_mode):
            tree[path] = (Kind.SYMLINK, *common, os.readlink(full))
        elif stat.S_ISREG(status.st_mode):
            first = first_names.setdefault(status.st_ino, path)
            content = Path(os.fsdecode(full)).read_bytes()
            tree[path] = (
                (Kind.HARD_LINK, *common, first)
                if first != path
                else (Kind.FILE, *common, _attributes(full), len(content), _digest(content))
            )
    return tree


def _attributes(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    names = sorted(os.fsencode(name) for name in os.listxattr(path))
    return tuple((name, os.getxattr(path, name)) for name in names)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def tree_of_reader(vault: Vault, snapshot: Snapshot) -> dict[bytes, tuple[object, ...]]:
    """The same of a snapshot, from the contents that the reader gives."""
    return {entry.path: _seen(vault, snapshot, entry) for entry in vault.entries(snapshot)}


def _seen(vault: Vault, snapshot: Snapshot, entry: Entry) -> tuple[object, ...]:
    common = (entry.kind, entry.mode, entry.mtime_ns, entry.uid, entry.gid)
    if entry.kind is Kind.FILE:
        content = vault.content(snapshot, entry)
        return (*common, entry.xattrs, len(content), _digest(content))
    return (*common, entry.xattrs if entry.kind is Kind.DIRECTORY else entry.link_target)


# ------------------------------------------------------------------------------ fresh vaults


def test_every_snapshot_reads_as_the_tree_was_on_disk(written: Written) -> None:
    reader = written.reader()
    first, second = reader.snapshots()
    assert [each.root.source_name for each in (first, second)] == [SOURCE, SOURCE]
    assert tree_of_reader(reader, first) == written.before
    assert tree_of_reader(reader, second) == written.after
    assert second.envelope.predecessor == first.name.digest
    assert reader.reported == []


def test_the_tree_holds_every_kind_of_entry_and_more_than_one_page(written: Written) -> None:
    _, snapshot = written.reader().snapshots()
    entries = list(written.reader().entries(snapshot))
    assert {entry.kind for entry in entries} == set(Kind)
    assert any(isinstance(extent, int) for entry in entries for extent in entry.extents)
    assert {entry.dicom for entry in entries} == {0, 1, 2}
    assert len(snapshot.root.manifest.pages) > 1


def test_the_counts_of_a_root_are_those_of_its_manifest(written: Written) -> None:
    reader = written.reader()
    for snapshot in reader.snapshots():
        files = [each for each in reader.entries(snapshot) if each.kind is Kind.FILE]
        assert snapshot.root.files == len(files)
        assert snapshot.root.size == sum(each.size for each in files)
        assert snapshot.root.failed_files == len(list(reader.failures(snapshot)))


def test_the_catalogue_names_the_dicom_files_of_the_manifest(written: Written) -> None:
    reader = written.reader()
    for snapshot in reader.snapshots():
        parsed = {each.path for each in reader.entries(snapshot) if each.dicom == 1}
        instances = list(reader.instances(snapshot))
        assert {each.path for each in instances} >= parsed
        assert "Doe^Jane" in {each.patient_name for each in instances}


def test_every_pack_proves_its_signature_its_directory_and_its_chunk_ids(written: Written) -> None:
    reader = written.reader()
    keys = reader.dedup_keys()
    *_, snapshot = reader.snapshots()
    packs = [each for each in snapshot.references if each.name.kind == "packs"]
    directories = [reader.verify_pack(each, keys) for each in packs]
    assert {each.stream for each in directories} == {1, 2, 3, 4}
    assert {each.source_id for each in directories} == {snapshot.envelope.source_id}


def test_a_table_names_every_object_that_is_needed(written: Written) -> None:
    reader = written.reader()
    for snapshot in reader.snapshots():
        needed = {each.name.text for each in (*snapshot.references, *snapshot.table.segments)}
        needed |= {snapshot.envelope.table.name.text, snapshot.name.text}
        few = {name: written.objects[name] for name in needed}
        alone = reader_of(few, written.vault.identity)
        (found,) = alone.snapshots()
        assert tree_of_reader(alone, found) == tree_of_reader(reader, snapshot)
        assert alone.configuration().sequence == 1


def test_a_strange_identity_opens_nothing(written: Written, tmp_path: Path) -> None:
    stranger = new_vault(tmp_path / "stranger")
    text = written.vault.identity.read_text()
    other = read_key_file(stranger.identity, "safelight-identity")
    own = read_key_file(written.vault.identity, "safelight-identity")
    reader = open_vault(
        names=lambda prefix: [name for name in written.objects if name.startswith(prefix)],
        read=lambda name: written.objects[name],
        key_file={**own, "secret": other["secret"]},
    )
    with pytest.raises(WrongIdentity):
        list(reader.snapshots())
    with pytest.raises(WrongIdentity):
        reader.dedup_keys()
    damaged = tmp_path / "identity.key"
    damaged.write_text(text.replace(own["secret"].hex(), other["secret"].hex()))
    damaged.chmod(0o600)
    with pytest.raises(WrongConfiguration):
        read_key_file(damaged, "safelight-identity")
    damaged.write_text(text)
    damaged.chmod(0o644)
    with pytest.raises(WrongConfiguration, match="may read"):
        read_key_file(damaged, "safelight-identity")


NEEDED = ("agents", "config", "packs", "references", "snapshots", "tables")


def _read_everything(objects: dict[str, list[bytes]], key_file: Path) -> int:
    """Read all snapshots and prove all packs; gives the number of files."""
    reader = reader_of(objects, key_file)
    keys, files = reader.dedup_keys(), 0
    for text in reader.snapshot_names():
        snapshot = reader.snapshot(parse_name(text))
        for reference in snapshot.references:
            if reference.name.kind == "packs":
                reader.verify_pack(reference, keys)
        for entry in reader.entries(snapshot):
            if entry.kind is Kind.FILE:
                reader.content(snapshot, entry)
                files += 1
    return files


@pytest.mark.parametrize("kind", NEEDED)
def test_a_flipped_byte_is_refused_and_another_whole_version_is_used(
    written: Written, kind: str
) -> None:
    name = next(name for name in sorted(written.objects) if name.startswith(f"{kind}/"))
    damaged = bytearray(written.objects[name][0])
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(Refused) as refused:
        _read_everything({**written.objects, name: [bytes(damaged)]}, written.vault.identity)
    assert refused.value.exit_code == Corrupt.exit_code
    both = [bytes(damaged), *written.objects[name]]
    assert _read_everything({**written.objects, name: both}, written.vault.identity) > 0


def test_a_pack_whose_end_is_damaged_still_gives_its_files_and_is_reported(
    written: Written,
) -> None:
    """A restore in ranges never sees padding and directory; a proof of the whole pack does."""
    name = next(name for name in sorted(written.objects) if name.startswith("packs/"))
    damaged = bytearray(written.objects[name][0])
    damaged[-5] ^= 1
    reader = reader_of({**written.objects, name: [bytes(damaged)]}, written.vault.identity)
    *_, snapshot = reader.snapshots()
    assert tree_of_reader(reader, snapshot) == written.after
    reference = next(each for each in snapshot.references if each.name.text == name)
    with pytest.raises(Corrupt):
        reader.verify_pack(reference, reader.dedup_keys())
    assert any(name in problem for problem in reader.reported)


# ---------------------------------------------------------------------------- frozen vectors


@pytest.mark.parametrize("vector", FROZEN, ids=lambda vector: vector.name)
def test_a_frozen_vector_says_what_its_index_says(vector: Vector) -> None:
    says = SAYS[vector.kind]
    if vector.expected == "success":
        assert says(vector) == _expected(vector)
    else:
        with pytest.raises(REFUSALS[vector.expected]):
            says(vector)


def _expected(vector: Vector) -> Mapping[str, object]:
    return read_table(vector.value["file"]) if "file" in vector.value else vector.value


def test_there_are_vectors_of_every_kind_that_the_reader_knows() -> None:
    assert {vector.kind for vector in FROZEN} == SAYS.keys()


# ------------------------------------------------------------------------------ independence


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def test_the_reader_imports_nothing_but_primitives_and_itself() -> None:
    modules = [f"independent_{name}" for name in MODULES]
    allowed = {*modules, "blake3", "cryptography", "zstandard"} | sys.stdlib_module_names
    for module in modules:
        found = set(_imports(READER / f"{module}.py"))
        assert {name.split(".")[0] for name in found} <= allowed
        assert not {name for name in found if "hpke" in name}


def test_what_the_reader_says_of_vectors_comes_from_the_reader() -> None:
    for module in ("independent_vectors", "independent_vectors_packs"):
        found = set(_imports(READER / f"{module}.py"))
        assert not {name for name in found if name.startswith("safelight")}


def test_the_reader_loads_without_the_product(tmp_path: Path) -> None:
    program = (
        "import sys, independent_reader;"
        "print(sorted(n for n in sys.modules if n.startswith('safelight')))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(READER)},
    )
    assert ended.stdout == "[]\n"


def test_later_parts_import_only_earlier_ones() -> None:
    order = [f"independent_{name}" for name in MODULES]
    for earlier, later in pairwise(order):
        found = set(_imports(READER / f"{earlier}.py"))
        assert not found & set(order[order.index(later) :])


# ------------------------------------------------------------------ known answers of section 3.2


def test_the_known_answers_of_the_document_come_out() -> None:
    seed, vault_id = bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff")
    public = independent_keys.verifying_key_of(seed)
    fingerprint = independent_keys.verifying_key_fingerprint(public)
    derived = independent_keys.derive_dedup_keys(seed, vault_id)
    document = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    answers = [
        independent_keys.Identity(seed).fingerprint,
        public[:32],
        fingerprint,
        fingerprint[:16],
        independent_keys.object_key(seed, b"\7" * 32, b"safelight/pack/v1", vault_id)[1],
        independent_keys.object_key(seed, b"\7" * 32, b"safelight/snapshot-root/v1", vault_id)[1],
        derived.chunk_id_key,
        derived.index_key,
        derived.splitter_seed.to_bytes(8, "big"),
        chunk_id(derived.chunk_id_key, b"safelight"),
    ]
    for answer in answers:
        assert f"`{answer.hex()}`" in document
