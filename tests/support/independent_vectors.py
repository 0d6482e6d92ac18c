"""What the independent reader says of frozen vectors: tables, snapshots, vaults; all by name.

The invariant: the product is not asked. Everything comes from the reader that was written from the
format document, or from a rule for writers in it that is repeated here.
"""

import hashlib
import struct
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import independent_keys as keys
import independent_snapshots as snapshots
import independent_structures as structures
import independent_tables as tables
import independent_vectors_packs as packs
from independent_reader import Vault
from independent_vectors_packs import (
    Value,
    administrator_of,
    any_run_key,
    decoded_table,
    hexadecimal,
    identities_of,
    reference_value,
    values,
    vault_id_of,
)
from vector_index import Vector, read_file, read_table

# -------------------------------------------------------------------------- pages and entries


def page(vector: Vector) -> Value:
    return values(entries=tables.decode_page(vector.data()))


def _place(place: tables.Place) -> list[Any]:
    return [hexadecimal(each) for each in asdict(place).values()]


def place(vector: Vector) -> Value:
    return {"place": _place(tables.decode_place(vector.data()))}


def _load(given: Mapping[str, Any]) -> tables.Load:
    def load(place: tables.Place) -> bytes:
        encoded = struct.pack(">32sIQIII", *asdict(place).values())
        return read_file(given["chunks"][encoded.hex()])

    return load


def page_tree(vector: Vector) -> Value:
    fields = keys.Fields(vector.data(), "page tree")
    root = tables.read_tree_root(fields)
    fields.end()
    start, stop = bytes.fromhex(vector.given.get("start", "")), vector.given.get("stop")
    found = tables.read_tree(
        root,
        _load(vector.given),
        start=start,
        stop=None if stop is None else bytes.fromhex(stop),
    )
    return values(entries=list(found))


def _extents(found: Iterable[tables.Extent]) -> list[Any]:
    return [each if isinstance(each, int) else _place(each) for each in found]


def extents(vector: Vector) -> Value:
    fields = keys.Fields(vector.data(), "extents")
    found = tables.read_extents(fields)
    fields.end()
    return {"extents": _extents(found)}


def _key_and_value(data: bytes) -> tuple[bytes, bytes]:
    fields = keys.Fields(data, "key and value")
    both = fields.var(tables.KEY_SIZE_MAX), fields.var(tables.VALUE_SIZE_MAX)
    fields.end()
    return both


def _entry(found: tables.Entry) -> Value:
    own = {
        "link_target": found.link_target,
        "xattrs": found.xattrs,
        "sha256": found.sha256,
    }
    return values(
        path=found.path,
        kind=int(found.kind),
        mode=found.mode,
        uid=found.uid,
        gid=found.gid,
        mtime=found.mtime_ns,
        size=found.size,
        dicom=found.dicom,
        unstable=found.unstable,
        **{part: value for part, value in own.items() if value},
    )


def entry(vector: Vector) -> Value:
    found = tables.decode_entry(*_key_and_value(vector.data()), _load(vector.given))
    return {**_entry(found), "extents": _extents(found.extents)}


def _instance(found: tables.Instance) -> Value:
    return values(**asdict(found))


def instance(vector: Vector) -> Value:
    return _instance(tables.decode_instance(*_key_and_value(vector.data())))


# ---------------------------------------------------------------------- snapshots and vaults


def _counts(found: snapshots.Root) -> Value:
    return values(
        source_name=found.source_name,
        source_kind=found.source_kind,
        started=found.started,
        files=found.files,
        bytes=found.size,
        failed_files=found.failed_files,
        vanished_files=found.vanished_files,
        skipped_files=found.skipped_files,
    )


def _tree(found: tables.TreeRoot) -> Value:
    pages = [[key.hex(), _place(where)] for key, where in found.pages]
    return {"levels": found.levels, "entry_count": found.entry_count, "pages": pages}


def _root(
    sealed: snapshots.SealedRoot,
    given: Mapping[str, Any],
    *,
    agent_id: bytes,
    source_id: bytes,
    sequence: int,
) -> Value:
    vault_id, opened = vault_id_of(given), any_run_key(sealed.sealed_run_key, given)
    label = b"safelight/snapshot-root/v1"
    key, commitment = keys.object_key(opened, sealed.body_id, label, vault_id)
    keys.require(commitment == sealed.commitment, "root: the commitment is of another key")
    found = snapshots.open_root(
        sealed,
        key,
        vault_id=vault_id,
        agent_id=agent_id,
        source_id=source_id,
        sequence=sequence,
    )
    trees = {
        "manifest": _tree(found.manifest),
        "catalogue": _tree(found.catalogue),
        "failures": _tree(found.failures),
    }
    return {**_counts(found), **trees}


def root(vector: Vector) -> Value:
    fields = keys.Fields(vector.data(), "sealed root")
    sealed = snapshots.read_sealed_root(fields)
    fields.end()
    return _root(
        sealed,
        vector.given,
        agent_id=bytes.fromhex(vector.given["agent_id"]),
        source_id=bytes.fromhex(vector.given["source_id"]),
        sequence=vector.given["sequence"],
    )


def _envelope(found: snapshots.Envelope) -> Value:
    return values(
        agent_id=found.agent_id,
        source_id=found.source_id,
        sequence=found.sequence,
        predecessor=found.predecessor,
        created=found.created,
        retention_class=found.retention_class,
        retain_until=found.retain_until,
        complete=bool(found.flags & 1),
        suspect=bool(found.flags & 2),
        checkpoint=bool(found.flags & 4),
    ) | {"table": reference_value(found.table)}


def snapshot(vector: Vector) -> Value:
    given = vector.given
    found = snapshots.read_envelope(vector.data(), vault_id_of(given), administrator_of(given))
    value = {**_envelope(found), "label": found.certificate.label}
    if "identities" in given:
        value["root"] = _root(
            found.sealed_root,
            given,
            agent_id=found.agent_id,
            source_id=found.source_id,
            sequence=found.sequence,
        )
    return value


def _vault(given: Mapping[str, Any], objects: Iterable[Mapping[str, Any]]) -> Vault:
    without = set(given.get("without", []))
    contents: dict[str, bytes] = {}
    for item in objects:
        if item["name"] not in without:
            data = bytearray(read_file(item["file"]))
            if item["name"] in given.get("flip", {}):
                data[given["flip"][item["name"]]] ^= 0xFF
            contents[item["name"]] = bytes(data)
    return Vault(
        names=lambda prefix: [text for text in contents if text.startswith(prefix)],
        read=lambda text: [contents[text]] if text in contents else [],
        vault_id=vault_id_of(given),
        administrator=administrator_of(given),
        identities=identities_of(given).values(),
    )


def _snapshots(vault: Vault) -> Iterator[Value]:
    """All snapshots, none of them passed over, with every byte of every file read."""
    for text in vault.snapshot_names():
        found = vault.snapshot(structures.parse_name(text))
        entries = list(vault.entries(found))
        for each in entries:
            if each.kind is tables.Kind.FILE:
                vault.content(found, each)
        yield {
            "name": text,
            **_envelope(found.envelope),
            **_counts(found.root),
            "entry": [_entry(each) for each in entries],
            "instance": [_instance(each) for each in vault.instances(found)],
            "failure": [values(path=path, reason=reason) for path, reason in vault.failures(found)],
        }


def vault(vector: Vector) -> Value:
    objects = read_table(vector.file)["object"] + vector.given.get("add", [])
    whole = _vault(vector.given, objects)
    whole.configuration()
    return {"snapshot": list(_snapshots(whole))}


def table_with_segments(vector: Vector) -> Value:
    vault, found = _vault(vector.given, vector.given["objects"]), decoded_table(vector)
    return {"references": [reference_value(each) for each in vault.references(found)]}


# ------------------------------------------------------------- rules for writers (9.1 and 8.1)


def _begins_page(key: bytes, length: int, level: int) -> bool:
    drawn = hashlib.sha256(key).digest()[2 * level : 2 * level + 2]
    return int.from_bytes(drawn, "big") * 131_072 < length * 65_536


def page_cuts(vector: Vector) -> Value:
    given = tomllib.loads(vector.data().decode("utf-8"))
    begins = []
    for level in given["levels"]:
        firsts: list[str] = []
        size = entries = 0
        for number in range(given["count"]):
            key = b"%06d" % number
            length = 8 + len(key) + given["value_size"]
            is_boundary = size >= 16_384 and _begins_page(key, length, level)
            if not firsts or is_boundary or size + length > 1_048_576 or entries == 65_536:
                firsts.append(key.decode())
                size = entries = 0
            size += length
            entries += 1
        begins.append(firsts)
    return {"pages_begin_at": begins}


def segment_cuts(vector: Vector) -> Value:
    given = tomllib.loads(vector.data().decode("utf-8"))
    lengths, length = [], 0
    for number in range(given["count"]):
        length += 1
        digest = hashlib.sha256(b"%d" % number).digest()
        if length == 4096 or int.from_bytes(digest[-2:], "big") & 1023 == 0:
            lengths.append(length)
            length = 0
    return {"references_in_segments": lengths + ([length] if length else [])}


SAYS: dict[str, Callable[[Vector], Value]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        packs.name,
        packs.identity,
        packs.signing_key,
        packs.run_key,
        packs.dedup_key,
        packs.chunk,
        packs.signature,
        packs.sealed_key,
        packs.sealed_run_key,
        packs.configuration,
        packs.certificate,
        packs.request,
        packs.grant,
        packs.key_file,
        packs.block,
        packs.directory,
        packs.pack_blocks,
        packs.pack_directory,
        packs.index,
        packs.reference_segment,
        packs.table,
        table_with_segments,
        page,
        page_tree,
        place,
        extents,
        entry,
        instance,
        root,
        snapshot,
        vault,
        page_cuts,
        segment_cuts,
    )
}

REFUSALS: dict[str, type[keys.Refused]] = {
    "corrupt": keys.Corrupt,
    "unsupported": keys.Unsupported,
    "wrong_identity": keys.WrongIdentity,
    "configuration": keys.WrongConfiguration,
}
