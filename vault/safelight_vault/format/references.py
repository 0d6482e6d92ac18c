"""The reference table: every object a snapshot needs, by name, VersionId and size, in the clear.

It tells only which opaque objects belong together, so that agent, keeper, steward and auditor do
their work without keys. Entries stand in segments in upload order; a segment that did not change
is not written again. No lock dates: those are read from the store. The layout is frozen for ever
(format.md section 8).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safelight_vault.errors import DecodeError
from safelight_vault.format.crypto import SigningKey, VerifyingKey
from safelight_vault.format.envelope import (
    Structure,
    decode_plain,
    decode_signed,
    encode_plain,
    encode_signed,
)
from safelight_vault.format.names import DIGEST_SIZE, ID_SIZE, Kind, ObjectName, parse_name
from safelight_vault.format.wire import Reader, Writer

NAME_SIZE_MAX = 512
_VERSION_ID = re.compile(r"[!-~]{1,1024}")
VERSION_ID_MAX = 1024
SEGMENTS_MAX = 1 << 16
ENTRIES_MAX = 4096
"""Most entries in one segment."""
_BOUNDARY_MASK = 0x3FF
"""A segment ends after an entry whose digest ends in ten zero bits: 1024 entries on average."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One object: where to look first, and how long it is.

    ``header_digest`` is the SHA-256 of a pack's header, and empty for all other objects, which are
    read whole and proved by their name.
    """

    name: ObjectName
    version_id: str
    size_bytes: int
    header_digest: bytes = b""

    def write(self, writer: Writer) -> None:
        """Append this reference."""
        writer.text(str(self.name), NAME_SIZE_MAX)
        writer.text(self.version_id, VERSION_ID_MAX)
        writer.u64(self.size_bytes)
        if self.name.kind is Kind.PACK:
            writer.fixed(self.header_digest, DIGEST_SIZE)

    @staticmethod
    def read(reader: Reader) -> "Reference":
        """The inverse of :meth:`write`."""
        name = parse_name(reader.text(NAME_SIZE_MAX))
        version_id = read_version_id(reader)
        size_bytes = reader.u64()
        digest = reader.fixed(DIGEST_SIZE) if name.kind is Kind.PACK else b""
        return Reference(name, version_id, size_bytes, digest)


def read_version_id(reader: Reader) -> str:
    """A VersionId: 1 to 1024 printable ASCII characters."""
    text = reader.text(VERSION_ID_MAX)
    if not _VERSION_ID.fullmatch(text):
        raise reader.fail("not a version id")
    return text


def segments_of(references: Iterable[Reference]) -> Iterator[list[Reference]]:
    """Cut references, in upload order, where their own digests say so: stable under appending."""
    segment: list[Reference] = []
    for reference in references:
        segment.append(reference)
        tail = int.from_bytes(reference.name.digest[-2:], "big")
        if tail & _BOUNDARY_MASK == 0 or len(segment) == ENTRIES_MAX:
            yield segment
            segment = []
    if segment:
        yield segment


def encode_segment(vault_id: bytes, references: list[Reference]) -> bytes:
    """A whole segment object."""
    writer = Writer()
    writer.u32(len(references))
    for reference in references:
        reference.write(writer)
    return encode_plain(Structure.REFERENCES, vault_id, writer.finish())


def decode_segment(data: bytes, vault_id: bytes) -> list[Reference]:
    """The references of a segment object."""
    of, body = decode_plain(data, Structure.REFERENCES)
    if of != vault_id:
        raise DecodeError("reference segment: of another vault")
    reader = Reader(body, "reference segment")
    references = [Reference.read(reader) for _ in range(reader.count(ENTRIES_MAX))]
    reader.end()
    return references


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The head of a reference table: whose snapshot it serves, and its segments in order."""

    agent_id: bytes
    source_id: bytes
    sequence: int
    object_count: int
    size_bytes: int
    segments: tuple[Reference, ...]


def encode_table(vault_id: bytes, table: Table, signer: SigningKey) -> bytes:
    """A whole table object."""
    writer = Writer()
    writer.fixed(table.agent_id, ID_SIZE)
    writer.fixed(table.source_id, ID_SIZE)
    writer.u64(table.sequence)
    writer.u64(table.object_count)
    writer.u64(table.size_bytes)
    writer.u32(len(table.segments))
    for segment in table.segments:
        segment.write(writer)
    return encode_signed(Structure.TABLE, vault_id, writer.finish(), signer)


def decode_table(data: bytes, *, vault_id: bytes, key: VerifyingKey) -> Table:
    """The table of a snapshot, signed by ``key``."""
    framed = decode_signed(data, Structure.TABLE)
    reader = Reader(framed.verified_body(key), "reference table")
    if framed.vault_id != vault_id:
        raise reader.fail("it belongs to another vault")
    table = Table(
        agent_id=reader.fixed(ID_SIZE),
        source_id=reader.fixed(ID_SIZE),
        sequence=reader.u64(),
        object_count=reader.u64(),
        size_bytes=reader.u64(),
        segments=tuple(Reference.read(reader) for _ in range(reader.count(SEGMENTS_MAX))),
    )
    reader.end()
    if any(segment.name.kind is not Kind.REFERENCES for segment in table.segments):
        raise reader.fail("a segment is not a reference segment")
    return table
