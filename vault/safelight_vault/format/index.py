"""Index segments: the directories of a few packs together, so that a lost index is read back fast.

For agents only; a restore never reads one. Sealed under the index key, signed by the agent: another
agent believes it only if its configuration pins the signer (format.md section 7).
"""

from dataclasses import dataclass

from safelight_vault.errors import DecodeError
from safelight_vault.format.crypto import SealKey, SigningKey, VerifyingKey, derive
from safelight_vault.format.envelope import (
    BODY_SIZE_MAX,
    Structure,
    decode_signed,
    encode_signed,
)
from safelight_vault.format.names import DIGEST_SIZE
from safelight_vault.format.pack import Directory, decode_directory
from safelight_vault.format.references import VERSION_ID_MAX, read_version_id
from safelight_vault.format.wire import Reader, Writer

SEGMENT_ID_SIZE = 32
PACKS_MAX = 4096

_LABEL = b"safelight/index-segment/v1"


@dataclass(frozen=True, slots=True)
class IndexedPack:
    """A pack that is in the vault: its name's digest, its version, size and directory."""

    digest: bytes
    header_digest: bytes
    version_id: str
    size_bytes: int
    encoded_directory: bytes

    @property
    def directory(self) -> Directory:
        """What the pack holds, decoded."""
        return decode_directory(self.encoded_directory)


def encode_index(
    packs: list[IndexedPack],
    *,
    vault_id: bytes,
    segment_id: bytes,
    index_key: bytes,
    signer: SigningKey,
) -> bytes:
    """A whole index object; ``segment_id`` is random and used once."""
    writer = Writer()
    writer.u32(len(packs))
    for pack in packs:
        writer.fixed(pack.digest, DIGEST_SIZE)
        writer.fixed(pack.header_digest, DIGEST_SIZE)
        writer.text(pack.version_id, VERSION_ID_MAX)
        writer.u64(pack.size_bytes)
        writer.var(pack.encoded_directory, BODY_SIZE_MAX)
    key = SealKey(derive(index_key, salt=segment_id, label=_LABEL))
    body = segment_id + key.seal(0, writer.finish(), _LABEL + vault_id)
    return encode_signed(Structure.INDEX, vault_id, body, signer)


def decode_index(
    data: bytes, *, vault_id: bytes, index_key: bytes, key: VerifyingKey
) -> list[IndexedPack]:
    """The packs of an index object signed by ``key``."""
    framed = decode_signed(data, Structure.INDEX)
    body = framed.verified_body(key)
    if framed.vault_id != vault_id or len(body) < SEGMENT_ID_SIZE:
        raise DecodeError("index segment: not of this vault")
    sealer = SealKey(derive(index_key, salt=body[:SEGMENT_ID_SIZE], label=_LABEL))
    reader = Reader(sealer.open(0, body[SEGMENT_ID_SIZE:], _LABEL + vault_id), "index segment")
    packs = [
        IndexedPack(
            digest=reader.fixed(DIGEST_SIZE),
            header_digest=reader.fixed(DIGEST_SIZE),
            version_id=read_version_id(reader),
            size_bytes=reader.u64(),
            encoded_directory=reader.var(BODY_SIZE_MAX),
        )
        for _ in range(reader.count(PACKS_MAX))
    ]
    reader.end()
    for pack in packs:
        decode_directory(pack.encoded_directory)
    return packs
