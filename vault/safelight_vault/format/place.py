"""Places in bytes (56 of them): pack, block number, offset and length, offset and length within.

``pack`` is the SHA-256 in the pack's name. In an agent's local state, where a pack may not be
finished yet, the same field holds the pack's random id; ``manifest.replace_packs`` exchanges one
for the other (format.md section 9.2).
"""

from dataclasses import dataclass

from safelight_vault.format.chunk import CHUNK_SIZE_MAX
from safelight_vault.format.codec import BLOCK_SIZE_MAX
from safelight_vault.format.crypto import TAG_SIZE
from safelight_vault.format.pack import BLOCKS_MAX, PACK_SIZE_MAX, SEALED_BLOCK_SIZE_MAX
from safelight_vault.format.wire import Reader, Writer

PACK_REFERENCE_SIZE = 32
PLACE_SIZE = PACK_REFERENCE_SIZE + 4 + 8 + 4 + 4 + 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies: a run of bytes in the plaintext of one sealed block of one pack.

    ``pack`` is the SHA-256 in the pack's name; ``block_offset`` and ``block_length`` locate the
    sealed block in the pack's bytes; ``offset`` and ``length`` the chunk in the block's plaintext.
    """

    pack: bytes
    block_number: int
    block_offset: int
    block_length: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, order=True)
class BlockReference:
    """A sealed block in a pack: its number, and where its bytes begin and how many they are."""

    number: int
    offset: int
    length: int


def write_place(writer: Writer, place: Place) -> None:
    """Append a place."""
    writer.fixed(place.pack, PACK_REFERENCE_SIZE)
    writer.u32(place.block_number)
    writer.u64(place.block_offset)
    writer.u32(place.block_length)
    writer.u32(place.offset)
    writer.u32(place.length)


def read_place(reader: Reader) -> Place:
    """The inverse of :func:`write_place`, within the limits of packs and blocks."""
    place = Place(
        pack=reader.fixed(PACK_REFERENCE_SIZE),
        block_number=reader.u32(),
        block_offset=reader.u64(),
        block_length=reader.u32(),
        offset=reader.u32(),
        length=reader.u32(),
    )
    if (
        place.block_number >= BLOCKS_MAX
        or not TAG_SIZE < place.block_length <= SEALED_BLOCK_SIZE_MAX
        or place.block_offset + place.block_length > PACK_SIZE_MAX
        or not 0 < place.length <= CHUNK_SIZE_MAX
        or place.offset + place.length > BLOCK_SIZE_MAX
    ):
        raise reader.fail("a place lies outside the limits of packs and blocks")
    return place
