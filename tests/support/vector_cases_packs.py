"""Frozen vectors of blocks, directories and packs."""

import hashlib
from dataclasses import replace
from typing import Any

import zstandard

from keys import (
    DEDUP_KEYS,
    SOURCE_ID,
    VAULT_ID,
    CountingRandom,
    agent_id,
    fixed_bytes,
    run_key,
    signing_key,
)
from safelight_vault.format.codec import encode_block
from safelight_vault.format.crypto import SealKey, derive
from safelight_vault.format.pack import (
    BlockRecord,
    ChunkRecord,
    Directory,
    FinishedPack,
    PackBuilder,
    Stream,
    encode_directory,
)
from safelight_vault.format.run_key import RunKey
from vector_collection import Collection

RANDOM = CountingRandom("vectors")
TEXT = b"A light that lets people work without spoiling the film. " * 40
CHUNKS = ((b"first chunk", b"second chunk"), (TEXT,), (b"\x00" * 300, b"last"))


def add_to(collection: Collection) -> None:
    """Add them."""
    _blocks(collection)
    _directories(collection)
    _packs(collection)


def _framed(codec: int, size: int, payload: bytes, parameters: bytes = b"") -> bytes:
    length = len(parameters).to_bytes(4, "big")
    return bytes([codec]) + size.to_bytes(4, "big") + length + parameters + payload


def _blocks(to: Collection) -> None:
    size = len(TEXT)
    packed = zstandard.ZstdCompressor(level=3).compress(TEXT)
    checked = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(TEXT)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    samples = [TEXT[at : at + 57] + b"%d" % at for at in range(0, size, 57)] * 40
    dictionary = zstandard.train_dictionary(1024, [*samples])
    with_dictionary = zstandard.ZstdCompressor(dict_data=dictionary).compress(TEXT)
    skippable = bytes.fromhex("502a4d18") + (4).to_bytes(4, "little") + b"skip"
    good = {
        "stored": _framed(0, size, TEXT),
        "stored-empty": _framed(0, 0, b""),
        "stored-one-byte": _framed(0, 1, b"x"),
        "zstd": _framed(1, size, packed),
        "zstd-with-checksum": _framed(1, size, checked),
    }
    for name, data in good.items():
        to.add(f"blocks/{name}", "block", data, about="a framed block")
    to.damaged("blocks/stored", {"plain length": 3, "length of parameters": 5})
    to.damaged("blocks/zstd", {"plain length": 3})
    to.damaged("blocks/zstd-with-checksum", {"checksum": len(good["zstd-with-checksum"]) - 1})
    bad = {
        "stored-with-parameters": _framed(0, size, TEXT, b"\x00"),
        "zstd-with-parameters": _framed(1, size, packed, b"\x00"),
        "zstd-empty": _framed(1, 0, zstandard.ZstdCompressor().compress(b"")),
        "zstd-no-payload": _framed(1, size, b""),
        "zstd-bomb": _framed(1, 1000, bomb),
        "zstd-bomb-within-limit": _framed(1, 16 << 20, bomb),
        "zstd-bomb-announced": _framed(1, 64 << 20, bomb),
        "zstd-without-content-size": _framed(1, size, unsized),
        "zstd-with-dictionary": _framed(1, size, with_dictionary),
        "zstd-two-frames": _framed(1, 2 * size, packed + packed),
        "zstd-two-frames-one-announced": _framed(1, size, packed + packed),
        "zstd-skippable-before": _framed(1, size, skippable + packed),
        "zstd-skippable-after": _framed(1, size, packed + skippable),
        "zstd-skippable-alone": _framed(1, 4, skippable),
        "parameters-too-long": _framed(1, size, packed, bytes(4097)),
        "unknown-codec-too-long": _framed(200, (16 << 20) + 1, b""),
    }
    for name, data in bad.items():
        to.add(f"blocks/{name}", "block", data, about="not a block", expected="corrupt")
    about = "a codec of the future"
    data = _framed(2, 4, b"data", b"parameters")
    to.add("blocks/unknown-codec", "block", data, about=about, expected="unsupported")


def _directory(blocks: tuple[BlockRecord, ...]) -> Directory:
    return Directory(
        pack_id=fixed_bytes("pack id"),
        source_id=SOURCE_ID,
        stream=Stream.PIXELS,
        epoch=7,
        blocks_offset=1323,
        blocks=blocks,
    )


def _directories(to: Collection) -> None:
    first, second = (fixed_bytes(f"chunk id {number}") for number in (1, 2))
    blocks = (
        BlockRecord(17, ()),
        BlockRecord(16_781_337, (ChunkRecord(first, 8 << 20), ChunkRecord(second, 8 << 20))),
        BlockRecord(5000, (ChunkRecord(first, 1),)),
    )
    good = encode_directory(_directory(blocks))
    to.add("directories/at-the-limits", "directory", good, about="lengths at their limits")
    empty = encode_directory(_directory(()))
    to.add("directories/empty", "directory", empty, about="no blocks")
    to.damaged("directories/empty", {"stream": 48, "number of blocks": 57})

    def bad(name: str, data: bytes) -> None:
        about = f"a directory with {name.replace('-', ' ')}"
        to.add(f"directories/{name}", "directory", data, about=about, expected="corrupt")

    bad("stream-0", empty[:48] + b"\x00" + empty[49:])
    bad("blocks-after-128-KiB", empty[:53] + (131_073).to_bytes(4, "big") + empty[57:])
    for name, block in {
        "a-block-of-16-bytes": BlockRecord(16, ()),
        "a-block-too-long": BlockRecord(16_781_338, ()),
        "an-empty-chunk": BlockRecord(100, (ChunkRecord(first, 0),)),
        "a-chunk-too-long": BlockRecord(100, (ChunkRecord(first, (8 << 20) + 1),)),
        "chunks-of-more-than-16-MiB": BlockRecord(
            100, (ChunkRecord(first, 8 << 20), ChunkRecord(first, 8 << 20), ChunkRecord(first, 1))
        ),
    }.items():
        bad(name, encode_directory(_directory((block,))))
    bad("too-many-blocks", empty[:57] + (1_048_577).to_bytes(4, "big"))
    bad("too-many-chunks", empty[:57] + b"\0\0\0\1\0\0\1\0" + (65_537).to_bytes(4, "big"))


class Made:
    """A pack with the places of its blocks."""

    def __init__(
        self,
        *,
        run: RunKey,
        blocks: tuple[tuple[bytes, ...], ...] = CHUNKS,
        stream: Stream = Stream.DATA,
        signer: str = "agent",
        owner: str = "agent",
    ) -> None:
        parts: list[bytes] = []
        builder = PackBuilder(
            run_key=run,
            pack_id=RANDOM(32),
            agent_id=agent_id(owner),
            source_id=SOURCE_ID,
            stream=stream,
            epoch=7,
            write=parts.append,
        )
        self.places = []
        for chunks in blocks:
            records = [ChunkRecord(DEDUP_KEYS.chunk_id(chunk), len(chunk)) for chunk in chunks]
            frame = encode_block(b"".join(chunks), level=3)
            self.places.append(list(builder.add_block(frame, records)))
        self.finished: FinishedPack = builder.finish(
            DEDUP_KEYS.index_key, signing_key(signer), RANDOM
        )
        self.data = b"".join(parts)
        self.tail = len(self.finished.encoded_directory) + 16 + 3409
        """Bytes from the sealed directory on."""

    def signed_again(self, *, directory: bytes | None = None, data: bytes | None = None) -> bytes:
        """The pack with another directory or other blocks, the signature made to fit."""
        begin = (data or self.data)[: len(self.data) - self.tail]
        pack_id = self.data[26:58]
        label = b"safelight/directory/v1"
        key = SealKey(derive(DEDUP_KEYS.index_key, salt=pack_id, label=label))
        plain = self.finished.encoded_directory if directory is None else directory
        sealed = key.seal(0, plain, label + VAULT_ID)
        signer = signing_key("agent")
        signed = sealed + signer.verifying_key.fingerprint
        signature = signer.sign(signed + hashlib.sha256(begin).digest())
        return begin + signed + signature + len(sealed).to_bytes(4, "big")


def _packs(to: Collection) -> None:
    one = Made(run=run_key())
    given = {"identities": ["first"], "blocks": one.places}
    file = to.file("packs/one-recipient.bin", one.data)
    to.add("packs/blocks", "pack-blocks", file=file, about="three blocks", given=given)
    to.add("packs/directory", "pack-directory", file=file, about="the directory of a whole pack")
    three = Made(run=run_key("of three", recipients=("third", "second", "first")))
    file = to.file("packs/three-recipients.bin", three.data)
    last = {"identities": ["first"], "blocks": three.places}
    about = "three recipients, our stanza the last"
    to.add("packs/three-recipients", "pack-blocks", file=file, about=about, given=last)
    to.add("packs/three-recipients/directory", "pack-directory", file=file, about=about)
    for stream in Stream:
        pack = Made(run=run_key(), blocks=((stream.name.encode(),),), stream=stream)
        about = f"a small pack of the stream {stream.name}"
        to.add(f"packs/stream-{stream:d}", "pack-directory", pack.data, about=about)
    empty = Made(run=run_key(), blocks=())
    to.add("packs/empty", "pack-directory", empty.data, about="no block at all")
    _damaged_packs(to, one, given)
    _hostile_packs(to, one)


def _damaged_packs(to: Collection, one: Made, given: dict[str, Any]) -> None:
    padding = sum(one.places[-1][1:])
    end = len(one.data)
    # Of the header, only the id of the agent is nothing to the blocks.
    header = {"vault id": 12, "pack id": 40, "commitment": 80, "run id": 110, "sealed key": 700}
    to.damaged("packs/directory", {**header, "agent id": 60, "block": one.places[1][1] + 9})
    parts = {"padding": padding, "sealed directory": end - one.tail + 3, "signer": end - 3400}
    parts |= {"Ed25519 half": end - 3370, "ML-DSA half": end - 1000, "footer": end - 1}
    line: dict[str, Any] = {"file": "packs/one-recipient.bin", "expected": "corrupt"}
    for what, at in parts.items():
        name = f"packs/directory/{what.replace(' ', '-')}"
        about = f"a pack with another {what}"
        to.add(name, "pack-directory", about=about, flip=at, **line)
    flips = {**header, "first block": one.places[0][1], "last block": padding - 1}
    for what, at in flips.items():
        name = f"packs/blocks/{what.replace(' ', '-')}"
        about = f"a pack with another {what}"
        to.add(name, "pack-blocks", about=about, flip=at, given=given, **line)
    same: dict[str, Any] = {"file": "packs/one-recipient.bin"}
    about = "the blocks do not depend on what follows them"
    to.add("packs/blocks/padding", "pack-blocks", about=about, flip=padding, given=given, **same)
    for name, put, expected in (
        ("wrong-magic", [0, b"SAFELIGH".hex()], "corrupt"),
        ("another-structure", [8, "08"], "corrupt"),
        ("version-0", [9, "00"], "corrupt"),
        ("version-2", [9, "02"], "unsupported"),
    ):
        about = "a pack with another beginning"
        for kind, rest in (("pack-blocks", {"given": given}), ("pack-directory", {})):
            of = kind.removeprefix("pack-")
            line = {"put": put, **rest, **same}
            to.add(f"packs/{of}/{name}", kind, about=about, expected=expected, **line)
    stranger = {**given, "identities": ["stranger"]}
    about = "no stanza is for us"
    expected = "wrong_identity"
    to.add(
        "packs/not-for-us", "pack-blocks", about=about, expected=expected, given=stranger, **same
    )


def _hostile_packs(to: Collection, one: Made) -> None:
    first, second, third = one.places
    same = Made(run=run_key(), blocks=((b"0" * 50,), (b"1" * 50,)))
    length = same.places[0][2]
    begin = same.places[0][1]
    a, b = same.data[begin : begin + length], same.data[begin + length : begin + 2 * length]
    swapped = same.data[:begin] + b + a + same.data[begin + 2 * length :]
    given = {"identities": ["first"], "blocks": same.places}
    about = "two blocks of one length exchanged"
    to.add("packs/swapped", "pack-blocks", swapped, about=about, expected="corrupt", given=given)
    about = "two blocks exchanged, the signature made to fit: the agent's own word"
    to.add(
        "packs/swapped/directory", "pack-directory", same.signed_again(data=swapped), about=about
    )
    foreign = Made(run=run_key(), blocks=((b"0" * 50,), (b"1" * 50,)))
    mixed = same.data[:begin] + foreign.data[begin : begin + length] + same.data[begin + length :]
    about = "a block of another pack of the same run"
    to.add(
        "packs/foreign-block", "pack-blocks", mixed, about=about, expected="corrupt", given=given
    )
    renumbered = {"identities": ["first"], "blocks": [[1, *first[1:]]]}
    about = "block 0 read as block 1"
    file = "packs/one-recipient.bin"
    line: dict[str, Any] = {"file": file, "expected": "corrupt"}
    to.add("packs/renumbered", "pack-blocks", about=about, given=renumbered, **line)
    shifted = {"identities": ["first"], "blocks": [[0, first[1], first[2] + 1]]}
    about = "block 0 read a byte too long"
    to.add("packs/block-too-long", "pack-blocks", about=about, given=shifted, **line)
    run = run_key()
    data = bytearray(one.data)
    data[74:106] = run.object_key(bytes(32), b"safelight/pack/v1")[1]
    one_block = {"identities": ["first"], "blocks": [second, third]}
    about = "the commitment is that of another pack id"
    to.add(
        "packs/commitment",
        "pack-blocks",
        bytes(data),
        about=about,
        expected="corrupt",
        given=one_block,
    )
    about = "the header names one agent, another one signed"
    pack = Made(run=run, signer="other agent", owner="agent")
    to.add("packs/foreign-signer", "pack-directory", pack.data, about=about, expected="corrupt")
    about = "wholly by another agent"
    pack = Made(run=run, signer="other agent", owner="other agent")
    to.add("packs/another-agent", "pack-directory", pack.data, about=about, expected="corrupt")
    _hostile_directories(to, one)


def _hostile_directories(to: Collection, one: Made) -> None:
    directory = one.finished.directory
    grown = replace(directory.blocks[-1], sealed_length=100_000)
    for name, changed in {
        "pack-id": replace(directory, pack_id=bytes(32)),
        "blocks-offset": replace(directory, blocks_offset=directory.blocks_offset + 1),
        "blocks-do-not-fit": replace(directory, blocks=(*directory.blocks[:-1], grown)),
    }.items():
        data = one.signed_again(directory=encode_directory(changed))
        about = f"well signed, but the directory describes another pack ({name})"
        to.add(
            f"packs/directory-of-another/{name}",
            "pack-directory",
            data,
            about=about,
            expected="corrupt",
        )
    data = one.signed_again(directory=one.finished.encoded_directory + b"\x00")
    about = "well signed, but the directory has a trailing byte"
    to.add("packs/directory-longer", "pack-directory", data, about=about, expected="corrupt")
    about = "the directory's length reaches beyond the pack"
    put = [len(one.data) - 4, "00ffffff"]
    file = "packs/one-recipient.bin"
    line: dict[str, Any] = {"file": file, "expected": "corrupt"}
    to.add("packs/footer-too-large", "pack-directory", about=about, put=put, **line)
    about = "a directory of nothing but a tag"
    put = [len(one.data) - 4, "00000010"]
    to.add("packs/footer-too-small", "pack-directory", about=about, put=put, **line)
    about = "nothing but a header"
    cut = len(one.data) - 1323
    to.add("packs/header-alone", "pack-directory", about=about, cut=cut, **line)
