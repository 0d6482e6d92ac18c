"""The product's decoder for each kind of frozen vector, and its encoder where one form exists.

The invariant: a reader goes the way that the programs go, and turns what comes of it into text and
numbers as the index writes them; it decides nothing itself.
"""

from collections.abc import Callable

from safelight_vault.errors import UnsupportedFormatError, VaultError
from safelight_vault.format.catalogue import decode_instance, encode_instance
from safelight_vault.format.grant import decode_grant, encode_grant
from safelight_vault.format.manifest import (
    decode_entry,
    encode_entry,
    encode_extents,
    entry_key,
    read_extents,
)
from safelight_vault.format.names import parse_name
from safelight_vault.format.pack import decode_directory, encode_directory
from safelight_vault.format.pages import (
    KEY_SIZE_MAX,
    VALUE_SIZE_MAX,
    decode_page,
    decode_place,
    encode_page,
    encode_place,
)
from safelight_vault.format.references import decode_segment, encode_segment
from safelight_vault.format.wire import Reader, Writer
from vector_context import Value
from vector_index import Vector, common
from vector_readers_keys import (
    read_certificate,
    read_chunk,
    read_configuration,
    read_dedup_key,
    read_grant,
    read_identity,
    read_name,
    read_request,
    read_run_key,
    read_sealed_key,
    read_sealed_run_key,
    read_signature,
    read_signing_key,
)
from vector_readers_packs import (
    read_block,
    read_directory,
    read_index,
    read_pack_blocks,
    read_pack_directory,
    read_segment,
    read_table,
)
from vector_readers_pages import (
    key_and_value,
    read_entry,
    read_extent_run,
    read_instance,
    read_page,
    read_page_tree,
    read_place,
)
from vector_readers_snapshots import (
    read_key_file,
    read_page_cuts,
    read_root_alone,
    read_segment_cuts,
    read_snapshot,
)
from vector_readers_vault import read_table_with_segments, read_vault

EXIT_CODES = {2: "configuration", 3: "corrupt", 4: "wrong_identity"}


def outcome_of(error: VaultError) -> str:
    """The outcome as the index calls it."""
    if isinstance(error, UnsupportedFormatError):
        return "unsupported"
    return EXIT_CODES[error.exit_code]


READERS: dict[str, Callable[[Vector], Value]] = {
    "name": read_name,
    "identity": read_identity,
    "signing-key": read_signing_key,
    "run-key": read_run_key,
    "dedup-key": read_dedup_key,
    "chunk": read_chunk,
    "signature": read_signature,
    "sealed-key": read_sealed_key,
    "sealed-run-key": read_sealed_run_key,
    "configuration": read_configuration,
    "certificate": read_certificate,
    "request": read_request,
    "grant": read_grant,
    "block": read_block,
    "directory": read_directory,
    "pack-blocks": read_pack_blocks,
    "pack-directory": read_pack_directory,
    "index": read_index,
    "reference-segment": read_segment,
    "table": read_table,
    "page": read_page,
    "page-tree": read_page_tree,
    "place": read_place,
    "extents": read_extent_run,
    "entry": read_entry,
    "instance": read_instance,
    "root": read_root_alone,
    "snapshot": read_snapshot,
    "key-file": read_key_file,
    "page-cuts": read_page_cuts,
    "segment-cuts": read_segment_cuts,
    "table-with-segments": read_table_with_segments,
    "vault": read_vault,
}


def _pair(key: bytes, value: bytes) -> bytes:
    writer = Writer()
    writer.var(key, KEY_SIZE_MAX)
    writer.var(value, VALUE_SIZE_MAX)
    return writer.finish()


def _entry_again(data: bytes) -> bytes:
    entry = decode_entry(*key_and_value(data), lambda _: b"")
    return _pair(entry_key(entry.path), encode_entry(entry))


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "name": lambda data: str(parse_name(data.decode())).encode(),
    "grant": lambda data: encode_grant(common().vault, decode_grant(data, common().vault)),
    "directory": lambda data: encode_directory(decode_directory(data)),
    "reference-segment": lambda data: encode_segment(
        common().vault, decode_segment(data, common().vault)
    ),
    "page": lambda data: encode_page(decode_page(data)),
    "place": lambda data: encode_place(decode_place(data)),
    "extents": lambda data: encode_extents(read_extents(Reader(data, "extents"))),
    "entry": _entry_again,
    "instance": lambda data: _pair(*encode_instance(decode_instance(*key_and_value(data)))),
}
"""Kinds without any randomness: what decodes is encoded to the same bytes again."""
