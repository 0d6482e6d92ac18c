"""Key grants: a run key sealed to recipients that were added after the run.

A grant carries no signature: it can only help to open what the pack's own commitment confirms, and
a false one opens nothing (format.md section 4.5).
"""

from safelight_vault.errors import CorruptError
from safelight_vault.format.envelope import Structure, decode_plain, encode_plain
from safelight_vault.format.run_key import SealedRunKey
from safelight_vault.format.wire import Reader, Writer


def encode_grant(vault_id: bytes, sealed: SealedRunKey) -> bytes:
    """A whole grant object."""
    writer = Writer()
    sealed.write(writer)
    return encode_plain(Structure.KEY_GRANT, vault_id, writer.finish())


def decode_grant(data: bytes, vault_id: bytes) -> SealedRunKey:
    """The inverse of :func:`encode_grant`."""
    of, body = decode_plain(data, Structure.KEY_GRANT)
    if of != vault_id:
        raise CorruptError("key grant: it belongs to another vault")
    reader = Reader(body, "key grant")
    sealed = SealedRunKey.read(reader)
    reader.end()
    return sealed
