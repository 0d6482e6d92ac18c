"""Frozen vectors of index segments, reference segments and reference tables."""

import hashlib
from dataclasses import replace

from keys import (
    DEDUP_KEYS,
    OTHER_VAULT_ID,
    SOURCE_ID,
    VAULT_ID,
    agent_id,
    fixed_bytes,
    run_key,
    signing_key,
)
from safelight_vault.format.envelope import Structure, encode_plain, encode_signed
from safelight_vault.format.index import IndexedPack, encode_index
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.references import Reference, Table, encode_segment, encode_table
from safelight_vault.format.wire import Writer
from vector_cases_objects import add_frames
from vector_cases_packs import RANDOM, Made
from vector_collection import Collection


def add_to(collection: Collection) -> None:
    """Add them."""
    _index(collection)
    _references(collection)
    _tables(collection)


def _indexed(name: str, version_id: str = "version-1") -> IndexedPack:
    made = Made(run=run_key(), blocks=((name.encode(), b"and more"),))
    finished = made.finished
    return IndexedPack(
        finished.digest,
        finished.header_digest,
        version_id,
        finished.size_bytes,
        finished.encoded_directory,
    )


def _index(to: Collection) -> None:
    packs = [_indexed("one"), _indexed("two", "~" * 1024)]

    def encoded(
        *, packs: list[IndexedPack] = packs, signer: str = "agent", vault_id: bytes = VAULT_ID
    ) -> bytes:
        return encode_index(
            packs,
            vault_id=vault_id,
            segment_id=RANDOM(32),
            index_key=DEDUP_KEYS.index_key,
            signer=signing_key(signer),
        )

    good = encoded()
    to.add("index/two-packs", "index", good, about="an index segment of two packs")
    add_frames(to, "index/two-packs", len(good))
    to.add("index/empty", "index", encoded(packs=[]), about="an index segment of no pack")
    short = encode_signed(Structure.INDEX, VAULT_ID, bytes(31), signing_key("agent"))
    longer = replace(packs[0], encoded_directory=packs[0].encoded_directory + b"\x00")
    for name, data in {
        "foreign-signer": encoded(signer="other agent"),
        "other-vault": encoded(vault_id=OTHER_VAULT_ID),
        "no-segment-id": short,
        "directory-longer": encoded(packs=[longer]),
        "version-id-empty": encoded(packs=[replace(packs[0], version_id="")]),
        "version-id-with-space": encoded(packs=[replace(packs[0], version_id="a b")]),
    }.items():
        to.add(f"index/{name}", "index", data, about="not to be believed", expected="corrupt")


def _pack_reference(number: int, version_id: str = "v1") -> Reference:
    digest = hashlib.sha256(b"pack %d" % number).digest()
    name = ObjectName(kind=Kind.PACK, owner=agent_id(), digest=digest)
    return Reference(name, version_id, 1000 + number, fixed_bytes(f"header {number}"))


def _references(to: Collection) -> None:
    kind = "reference-segment"
    config = ObjectName(kind=Kind.CONFIG, sequence=1, digest=fixed_bytes("config"))
    certificate = ObjectName(kind=Kind.AGENT, owner=agent_id(), digest=fixed_bytes("agent"))
    references = [
        Reference(config, "null", 7863),
        Reference(certificate, "!" * 1024, 9800),
        _pack_reference(1),
        replace(_pack_reference(2), size_bytes=2**63 - 1),
    ]
    good = encode_segment(VAULT_ID, references)
    to.add("references/good", kind, good, about="four references")
    add_frames(to, "references/good")
    to.add("references/empty", kind, encode_segment(VAULT_ID, []), about="none")

    def bad(name: str, body: bytes, vault_id: bytes = VAULT_ID) -> None:
        data = encode_plain(Structure.REFERENCES, vault_id, body)
        about = f"a segment with {name.replace('-', ' ')}"
        to.add(f"references/{name}", kind, data, about=about, expected="corrupt")

    def one(name: str, version_id: bytes, *, rest: bytes = bytes(8)) -> bytes:
        writer = Writer()
        writer.u32(1)
        writer.var(name.encode(), 1 << 20)
        writer.var(version_id, 1 << 20)
        return writer.finish() + rest

    name = str(config)
    bad("a-byte-more", good[30:] + b"\x00")
    bad("too-many-references", (4097).to_bytes(4, "big"))
    bad("fewer-references-than-announced", b"\0\0\0\5" + good[34:])
    bad("an-empty-version-id", one(name, b""))
    bad("a-version-id-of-1025-bytes", one(name, b"v" * 1025))
    bad("a-version-id-with-a-space", one(name, b"v 1"))
    bad("a-version-id-that-is-not-ASCII", one(name, "\u00e9".encode()))
    bad("a-name-that-is-none", one("packs/" + "0" * 32, b"v"))
    bad("a-path-as-name", one("../../etc/passwd", b"v"))
    bad("a-pack-without-header-digest", one(str(_pack_reference(1).name), b"v"))
    bad("a-configuration-with-header-digest", one(name, b"v", rest=bytes(40)))
    bad("another-vault", good[30:], OTHER_VAULT_ID)


def _tables(to: Collection) -> None:
    segments = [[_pack_reference(1), _pack_reference(2)], [_pack_reference(3)]]
    objects, listed = [], []
    for number, references in enumerate(segments):
        data = encode_segment(VAULT_ID, references)
        digest = hashlib.sha256(data).digest()
        name = ObjectName(kind=Kind.REFERENCES, owner=agent_id(), digest=digest)
        file = to.file(f"tables/segment-{number}.bin", data)
        objects.append({"name": str(name), "file": file, "version_id": f"s{number}"})
        listed.append(Reference(name, f"s{number}", len(data)))
    table = Table(
        agent_id=agent_id(),
        source_id=SOURCE_ID,
        sequence=42,
        object_count=3,
        size_bytes=3006,
        segments=tuple(listed),
    )
    agent = signing_key("agent")
    good = encode_table(VAULT_ID, table, agent)
    file = to.file("tables/good.bin", good)
    to.add("tables/good", "table", file=file, about="a table of two segments")
    add_frames(to, "tables/good", len(good))
    given = {"objects": objects}
    to.add("tables/sums", "table-with-segments", file=file, about="with its segments", given=given)
    kind = "table-with-segments"
    for what, changed in {
        "count-too-high": replace(table, object_count=4),
        "count-too-low": replace(table, object_count=2),
        "size-too-high": replace(table, size_bytes=3007),
    }.items():
        data = encode_table(VAULT_ID, changed, agent)
        about = "well signed, but the sums are not true"
        to.add(f"tables/{what}", kind, data, about=about, expected="corrupt", given=given)
    missing = {"objects": objects[:1]}
    about = "the second segment is missing"
    to.add(
        "tables/segment-missing", kind, file=file, about=about, expected="corrupt", given=missing
    )
    wrong = replace(table, segments=(*listed, _pack_reference(1)))
    for what, data in {
        "foreign-signer": encode_table(VAULT_ID, table, signing_key("other agent")),
        "other-vault": encode_table(OTHER_VAULT_ID, table, agent),
        "pack-as-segment": encode_table(VAULT_ID, wrong, agent),
        "body-longer": encode_signed(Structure.TABLE, VAULT_ID, good[30:-3405] + b"\0", agent),
    }.items():
        to.add(f"tables/{what}", "table", data, about="not to be believed", expected="corrupt")
