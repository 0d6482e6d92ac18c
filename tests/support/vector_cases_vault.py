"""Frozen vectors of a whole small vault: two snapshots of a tree with an entry of every kind.

It is written by the agent itself, into a store in memory; hostile variants are made of its objects
with the agent's own key. The files that follow from it are objects, not a store's directory: they
mean the same wherever they lie.
"""

import hashlib
import itertools
import os
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dicom_samples
from keys import fixed_bytes, identity
from memory_store import MemoryStore
from safelight_agent.membership import AGENT_KEY_FILE
from safelight_vault.format.envelope import MAGIC, Structure
from safelight_vault.format.grant import encode_grant
from safelight_vault.format.names import Kind
from safelight_vault.format.pack import decode_pack_header
from safelight_vault.format.references import (
    Reference,
    Table,
    decode_segment,
    decode_table,
    encode_segment,
    encode_table,
)
from safelight_vault.format.run_key import RunKey
from safelight_vault.format.snapshot import Snapshot, decode_snapshot, encode_snapshot
from safelight_vault.key_files import read_agent_keys, read_identity
from safelight_vault.objects import named
from safelight_vault.reader import HeadName, list_heads
from vaults import Clock, VaultFixture
from vector_collection import Collection

TIME_NS = 1_789_000_000_123_456_789
DAY = timedelta(days=1)


def add_to(collection: Collection) -> None:
    """Add it."""
    with tempfile.TemporaryDirectory() as name:
        sample = _Sample(Path(name))
        sample.add(collection)
        _damaged(collection, sample)
        _hostile(collection, sample)


def make_tree(root: Path) -> None:
    """The source as the first run finds it."""
    root.mkdir()
    (root / "empty").touch()
    (root / "empty directory").mkdir()
    study = root / "study"
    study.mkdir()
    for number in (1, 2, 3):
        uid = f"1.2.826.0.1.999.10.1.{number}"
        data = dicom_samples.ct_slice(
            number=number, seed=number, rows=32, columns=32, instance_uid=uid
        )
        (study / f"{number}.dcm").write_bytes(data)
    (study / "report.dcm").write_bytes(dicom_samples.report(patient_name="Roe^Richard"))
    frames = [fixed_bytes(f"frame {number}", 600) for number in range(3)]
    (study / "frames.dcm").write_bytes(dicom_samples.encapsulated(frames))
    (study / "broken.dcm").write_bytes(dicom_samples.report()[:200])
    os.link(study / "1.dcm", root / "zz same as 1.dcm")
    os.symlink("study/1.dcm", root / "link")
    os.symlink("../../outside/\udcff", root / "link outside")
    (root / "text").write_text("the same line\n" * 200)
    (root / "text").chmod(0o4750)
    os.setxattr(root / "text", "user.origin", b"modality \x00 7")
    os.setxattr(root / "text", "user.empty", b"")
    for name in (
        b"new\nline",
        b"not utf-8 \xff\xfe",
        b" ",
        b"...",
        b"n" * 255,
        "\u00fcml\u00e4ut".encode(),
    ):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(3 << 20)
    _settle(root)


def change_tree(root: Path) -> None:
    """The source as the second run finds it: edited, grown, shrunk, and with a file unreadable."""
    (root / "empty").unlink()
    (root / "text").write_text("the same line\n" * 200 + "and another\n")
    data = dicom_samples.ct_slice(
        number=1,
        seed=1,
        rows=32,
        columns=32,
        patient_name="Doe^Joan",
        instance_uid="1.2.826.0.1.999.10.1.1",
    )
    (root / "study" / "1.dcm").write_bytes(data)
    (root / "locked").write_text("nobody may read this")
    (root / "locked").chmod(0)
    _settle(root)


def _settle(root: Path) -> None:
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(TIME_NS, TIME_NS + number), follow_symlinks=False)
    os.utime(root, ns=(TIME_NS, TIME_NS))


class _Sample:
    """The vault, its keys, and what its objects say."""

    def __init__(self, directory: Path) -> None:
        clock = Clock()
        numbers = itertools.count(1)
        self.store = MemoryStore(now=clock.now, new_version_id=lambda: f"v{next(numbers):04d}")
        vault = VaultFixture.create(directory, store=self.store, clock=clock)
        tree = directory / "tree"
        make_tree(tree)
        vault.back_up("pacs", tree)
        clock.advance(DAY)
        change_tree(tree)
        result = vault.back_up("pacs", tree)
        if result.files_failed != 1:
            raise SystemExit("run this as an ordinary user: a file was to be unreadable")
        self.identity_file = vault.keys.identity.read_bytes()
        file = read_identity(vault.keys.identity)
        self.identity, self.trust = file.identity, file.trust
        self.agent = read_agent_keys(directory / "state-agent" / AGENT_KEY_FILE).signing_key
        self.heads: list[HeadName] = list_heads(self.store)
        self.names = [version.name for version in self.store.list_versions("")]

    def name(self, kind: Kind) -> list[str]:
        """The objects of a kind."""
        return [name for name in self.names if name.startswith(kind.value + "/")]

    def snapshot(self, number: int) -> Snapshot:
        """A snapshot's envelope."""
        data = self.store.get(str(self.heads[number].name))
        fingerprint = self.trust.administrator_fingerprint
        found, _ = decode_snapshot(
            data, vault_id=self.trust.vault_id, administrator_fingerprint=fingerprint
        )
        return found

    def table(self, snapshot: Snapshot) -> tuple[Table, list[Reference]]:
        """A snapshot's table and all its references."""
        data = self.store.get(str(snapshot.table.name))
        table = decode_table(data, vault_id=self.trust.vault_id, key=self.agent.verifying_key)
        references = [
            reference
            for segment in table.segments
            for reference in decode_segment(self.store.get(str(segment.name)), self.trust.vault_id)
        ]
        return table, references

    def signed(self, snapshot: Snapshot) -> bytes:
        """A snapshot as the vault's own agent signs it."""
        return encode_snapshot(self.trust.vault_id, snapshot, self.agent)

    def add(self, to: Collection) -> None:
        """The vault as it is."""
        lines = [
            "# The objects of the sample vault: names, bytes, and VersionIds as it recorded them."
        ]
        for version in self.store.list_versions(""):
            data = self.store.get(version.name)
            file = to.file(f"vault/objects/{version.name}", data)
            lines += ["", "[[object]]", f'name = "{version.name}"', f'file = "{file}"']
            lines.append(f'version_id = "{version.version_id}"')
        to.file("vault/objects.toml", "\n".join([*lines, ""]).encode())
        to.identities["vault"] = self.identity.seed
        given = {"wanted": "safelight-identity"}
        about = "the identity file of the sample vault"
        file = to.file("vault/identity.key", self.identity_file)
        to.add("vault/identity", "key-file", file=file, about=about, given=given)
        about = "two snapshots of a tree with an entry of every kind"
        self.vector(to, "vault/whole", about=about)
        about = "as a copy in another bucket, where every VersionId is another"
        self.vector(to, "vault/copied", about=about, copied=True)

    def vector(
        self, to: Collection, name: str, *, about: str, expected: str = "success", **given: Any
    ) -> None:
        """A vector of the vault, with something changed."""
        all_given = {
            "vault": self.trust.vault_id.hex(),
            "administrator": self.trust.administrator_fingerprint.hex(),
            "identities": ["vault"],
            **given,
        }
        file = "vault/objects.toml"
        to.add(name, "vault", file=file, about=about, expected=expected, given=all_given)


def _added(to: Collection, directory: str, name: str, data: bytes) -> dict[str, str]:
    """A further object for a variant of the vault."""
    digest = hashlib.sha256(data).hexdigest()[:12]
    path = f"vault/{directory}/{name.partition('/')[0]}-{digest}.bin"
    if not (to.directory / path).exists():
        to.file(path, data)
    return {"name": name, "file": path, "version_id": "added"}


def _damaged(to: Collection, sample: _Sample) -> None:
    first, second = (sample.snapshot(number) for number in (0, 1))
    table, references = sample.table(second)
    packs = [reference for reference in references if reference.name.kind is Kind.PACK]
    head = str(sample.heads[1].name)
    flips = {
        "configuration": (sample.name(Kind.CONFIG)[0], 100),
        "configuration-version": (sample.name(Kind.CONFIG)[0], 9),
        "snapshot-version": (head, 9),
        "snapshot-signature": (head, sample.heads[1].size_bytes - 5),
        "table": (str(second.table.name), 40),
        "table-version": (str(first.table.name), 9),
        "segment": (str(table.segments[0].name), 50),
        "pack-version": (str(packs[0].name), 9),
        "pack-stanza": (str(packs[0].name), 300),
        "pack-block": (str(packs[0].name), 1323 + 40),
    }
    for what, (name, position) in flips.items():
        about = f"one byte of an object turned ({what}): its hash is compared before all else"
        flip = {name: position}
        sample.vector(to, f"vault/damaged-{what}", about=about, expected="corrupt", flip=flip)
    about = "padding and directory are nothing to a restore that reads ranges"
    flip = {str(packs[0].name): packs[0].size_bytes - 100}
    sample.vector(to, "vault/damaged-pack-end", about=about, flip=flip)
    for what, name in {
        "configuration": sample.name(Kind.CONFIG)[0],
        "table": str(second.table.name),
        "segment": str(table.segments[0].name),
        "pack": str(packs[-1].name),
    }.items():
        about = f"an object is missing ({what})"
        sample.vector(to, f"vault/missing-{what}", about=about, expected="corrupt", without=[name])
    without = [*sample.name(Kind.INDEX), *sample.name(Kind.AGENT)]
    about = "a restore needs neither index segments nor certificate objects"
    sample.vector(to, "vault/without-index", about=about, without=without)
    about = "no stanza is for us, and there is no grant"
    expected = "wrong_identity"
    sample.vector(to, "vault/stranger", about=about, expected=expected, identities=["stranger"])


def _frame_of_the_future(structure: Structure) -> bytes:
    """What anybody can put who may put at all: version 2, and nothing in it."""
    return MAGIC + bytes([structure, 2]) + bytes(20)


def _hostile(to: Collection, sample: _Sample) -> None:
    _grants(to, sample)
    junk = _frame_of_the_future(Structure.CONFIG)
    planted = [_added(to, "planted", str(named(Kind.CONFIG, junk, sequence=9_999_999_999)), junk)]
    about = "an unsigned configuration of the highest sequence that claims a newer format"
    sample.vector(to, "vault/planted-configuration", about=about, add=planted)
    second = sample.snapshot(1)
    table, references = sample.table(second)
    last = [reference for reference in references if reference.name.kind is Kind.PACK][-1]
    wrong = replace(last, header_digest=fixed_bytes("another header"))
    variants = {
        "pack-outside-table": [one for one in references if one != last],
        "another-header": [wrong if one == last else one for one in references],
    }
    for name, changed in variants.items():
        data = encode_segment(sample.trust.vault_id, changed)
        owner = second.agent_id
        segment = named(Kind.REFERENCES, data, owner=owner)
        added = [_added(to, name, str(segment), data)]
        new = replace(
            table,
            object_count=len(changed),
            size_bytes=sum(one.size_bytes for one in changed),
            segments=(Reference(segment, "added", len(data)),),
        )
        data = encode_table(sample.trust.vault_id, new, sample.agent)
        at = Reference(named(Kind.TABLE, data, owner=owner), "added", len(data))
        added.append(_added(to, name, str(at.name), data))
        about = f"a table, well signed, that does not fit the manifest ({name})"
        data = sample.signed(replace(second, table=at))
        _variant(to, sample, name, data, about, added)
    first = sample.snapshot(0)
    about = "the second snapshot names the table of the first"
    data = sample.signed(replace(second, table=first.table))
    _variant(to, sample, "table-of-the-first", data, about)
    about = "the second snapshot holds the root of the first"
    data = sample.signed(replace(second, root=first.root))
    _variant(to, sample, "root-of-the-first", data, about)
    name = str(sample.heads[1].name)
    digest = sample.heads[0].name.digest.hex()
    item = {"name": name[: -len(digest)] + digest, "version_id": "added"}
    item["file"] = f"vault/objects/{sample.heads[0].name}"
    about = "the first snapshot under the name of the second"
    given = {"add": [item], "without": [name]}
    sample.vector(to, "vault/first-as-second", about=about, expected="corrupt", **given)


def _variant(  # noqa: PLR0917 - one line for each variant
    to: Collection,
    sample: _Sample,
    what: str,
    data: bytes,
    about: str,
    added: list[dict[str, str]] | None = None,
) -> None:
    """The vault with these bytes in the place of its second snapshot."""
    second = str(sample.heads[1].name)
    own = second[: -len("0" * 64)] + hashlib.sha256(data).hexdigest()
    add = [*(added or []), _added(to, what, own, data)]
    sample.vector(to, f"vault/{what}", about=about, expected="corrupt", add=add, without=[second])


def _grants(to: Collection, sample: _Sample) -> None:
    """The run keys of the vault, handed on to the third identity, and a false one before."""
    third = identity("third").recipient
    runs = {}
    for name in sample.name(Kind.PACK):
        sealed = decode_pack_header(sample.store.get(name)).run_key
        runs[sealed.run_id] = sealed
    vault_id, label = sample.trust.vault_id, b"safelight/run-key/v1\x00"
    true: list[dict[str, str]] = []
    false: list[dict[str, str]] = []
    for run_id, sealed in runs.items():
        secret = sample.identity.open(sealed.stanzas[0].sealed, label + vault_id + run_id)
        for into, key in ((true, secret), (false, fixed_bytes("a false key"))):
            data = encode_grant(vault_id, RunKey.create(vault_id, run_id, key, [third]).sealed)
            name = str(named(Kind.KEY_GRANT, data, owner=run_id))
            into.append(_added(to, "grants", name, data))
    about = "a recipient that was added later, by grants"
    sample.vector(to, "vault/granted", about=about, add=true, identities=["third"])
    about = "false grants beside the true ones"
    sample.vector(
        to, "vault/granted-and-false", about=about, add=false + true, identities=["third"]
    )
    about = "false grants alone: somebody sealed a wrong key to us"
    expected = "corrupt"
    sample.vector(
        to, "vault/granted-falsely", about=about, expected=expected, add=false, identities=["third"]
    )
    junk = _frame_of_the_future(Structure.KEY_GRANT)
    planted = [
        _added(to, "grants", str(named(Kind.KEY_GRANT, junk, owner=run_id)), junk)
        for run_id in runs
    ]
    about = "beside the true grants, objects that claim a newer format"
    sample.vector(
        to, "vault/granted-and-newer", about=about, add=planted + true, identities=["third"]
    )
    about = "false grants do not disturb the first recipients"
    sample.vector(to, "vault/false-grants", about=about, add=false)
