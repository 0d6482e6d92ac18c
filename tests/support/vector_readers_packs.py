"""Vectors of packs and of the objects that list them: the product's decoders."""

from safelight_vault.format.codec import decode_block
from safelight_vault.format.index import decode_index
from safelight_vault.format.pack import (
    BlockOpener,
    Directory,
    decode_directory,
    decode_pack_header,
    header_digest,
    open_directory,
)
from safelight_vault.format.references import Reference, Table, decode_segment, decode_table
from vector_context import Value, dedup_keys, identities, sha256_of, signer, vault_of
from vector_index import Vector


def read_block(vector: Vector) -> Value:
    plain = decode_block(vector.data())
    return {"size": len(plain), "sha256": sha256_of(plain)}


def directory_value(directory: Directory) -> Value:
    """A directory; each block as its sealed length and its chunks' ids and lengths."""
    return {
        "pack_id": directory.pack_id.hex(),
        "source_id": directory.source_id.hex(),
        "stream": int(directory.stream),
        "epoch": directory.epoch,
        "blocks_offset": directory.blocks_offset,
        "blocks": [
            [block.sealed_length, [[chunk.chunk_id.hex(), chunk.length] for chunk in block.chunks]]
            for block in directory.blocks
        ],
    }


def read_directory(vector: Vector) -> Value:
    return directory_value(decode_directory(vector.data()))


def read_pack_blocks(vector: Vector) -> Value:
    data = vector.data()
    header = decode_pack_header(data)
    run_key = header.run_key.open(identities(vector.given), vault_of(vector.given))
    opener = BlockOpener.create(header, run_key)
    plains = [
        decode_block(opener.open(number, data[offset : offset + length]))
        for number, offset, length in vector.given["blocks"]
    ]
    return {
        "vault": header.vault_id.hex(),
        "pack_id": header.pack_id.hex(),
        "agent_id": header.agent_id.hex(),
        "run_id": header.run_key.run_id.hex(),
        "recipients": [stanza.recipient.hex() for stanza in header.run_key.stanzas],
        "header_digest": header_digest(data[: header.size_bytes]).hex(),
        "blocks": [[len(plain), sha256_of(plain)] for plain in plains],
    }


def read_pack_directory(vector: Vector) -> Value:
    return directory_value(
        open_directory(
            vector.data(),
            index_key=dedup_keys().index_key,
            key=signer(vector.given).verifying_key,
        )
    )


def read_index(vector: Vector) -> Value:
    packs = decode_index(
        vector.data(),
        vault_id=vault_of(vector.given),
        index_key=dedup_keys().index_key,
        key=signer(vector.given).verifying_key,
    )
    return {
        "packs": [
            {
                "digest": pack.digest.hex(),
                "header_digest": pack.header_digest.hex(),
                "version_id": pack.version_id,
                "size": pack.size_bytes,
                "directory": directory_value(pack.directory),
            }
            for pack in packs
        ]
    }


def reference_value(reference: Reference) -> Value:
    """A reference; the header digest of packs only."""
    value: Value = {
        "name": str(reference.name),
        "version_id": reference.version_id,
        "size": reference.size_bytes,
    }
    if reference.header_digest:
        value["header_digest"] = reference.header_digest.hex()
    return value


def read_segment(vector: Vector) -> Value:
    found = decode_segment(vector.data(), vault_of(vector.given))
    return {"references": [reference_value(reference) for reference in found]}


def decoded_table(vector: Vector) -> Table:
    """The table of a vector, its signature verified."""
    key = signer(vector.given).verifying_key
    return decode_table(vector.data(), vault_id=vault_of(vector.given), key=key)


def read_table(vector: Vector) -> Value:
    table = decoded_table(vector)
    return {
        "agent_id": table.agent_id.hex(),
        "source_id": table.source_id.hex(),
        "sequence": table.sequence,
        "object_count": table.object_count,
        "size": table.size_bytes,
        "segments": [reference_value(segment) for segment in table.segments],
    }
