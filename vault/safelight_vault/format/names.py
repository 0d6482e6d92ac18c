"""Object names: kind, writer, and the SHA-256 of the object's bytes, both ways and strict.

The invariant: a name determines the bytes (format.md section 4), so that no object is ever
overwritten and an auditor checks any object with ``sha256sum``.

    config/<sequence>-<sha256>
    agents/<agent>/<sha256>
    keys/<run>/<sha256>
    packs/<agent>/<sha256>
    index/<agent>/<sha256>
    references/<agent>/<sha256>
    tables/<agent>/<sha256>
    snapshots/<agent>/<source>/<sequence>-<sha256>
    audit/<writer>/<sequence>-<sha256>
"""

import re
from dataclasses import dataclass
from enum import Enum

from safelight_vault.errors import DecodeError

ID_SIZE = 16
"""Bytes of a vault id, agent id, source id and run id."""
DIGEST_SIZE = 32
SEQUENCE_MAX = 9_999_999_999


class Kind(Enum):
    """The kinds of objects; the value is the first part of the name."""

    CONFIG = "config"
    AGENT = "agents"
    KEY_GRANT = "keys"
    PACK = "packs"
    INDEX = "index"
    REFERENCES = "references"
    TABLE = "tables"
    SNAPSHOT = "snapshots"
    AUDIT = "audit"


_WITH_OWNER = frozenset(Kind) - {Kind.CONFIG}
_WITH_SEQUENCE = frozenset({Kind.CONFIG, Kind.SNAPSHOT, Kind.AUDIT})

CANARY_PREFIX = "canary/"
"""Reserved for probes of a bucket's locks; never part of a vault's data."""

_NAME = re.compile(
    r"(?P<kind>[a-z]+)(?:/(?P<owner>[0-9a-f]{32}))?(?:/(?P<source>[0-9a-f]{32}))?"
    r"/(?:(?P<sequence>[0-9]{10})-)?(?P<digest>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectName:
    """A parsed name. ``owner`` is an agent id (a run id for key grants), absent for ``config``."""

    kind: Kind
    digest: bytes
    owner: bytes | None = None
    source: bytes | None = None
    sequence: int | None = None

    def __str__(self) -> str:
        parts = [self.kind.value]
        parts += [part.hex() for part in (self.owner, self.source) if part is not None]
        prefix = "" if self.sequence is None else f"{self.sequence:010d}-"
        parts.append(prefix + self.digest.hex())
        return "/".join(parts)


def parse_name(name: str) -> ObjectName:
    """The parts of ``name``; ``DecodeError`` when it is not a name of this format."""
    match = _NAME.fullmatch(name)
    try:
        if match is None:
            raise ValueError("shape")
        kind = Kind(match["kind"])
        if (match["owner"] is not None) != (kind in _WITH_OWNER):
            raise ValueError("owner")
        if (match["source"] is not None) != (kind is Kind.SNAPSHOT):
            raise ValueError("source")
        if (match["sequence"] is not None) != (kind in _WITH_SEQUENCE):
            raise ValueError("sequence")
        if match["sequence"] == "0" * 10:
            raise ValueError("sequence numbers begin at 1")
    except ValueError as error:
        raise DecodeError(f"not a name of a vault object: {name!r}") from error
    return ObjectName(
        kind=kind,
        digest=bytes.fromhex(match["digest"]),
        owner=_unhex(match["owner"]),
        source=_unhex(match["source"]),
        sequence=None if match["sequence"] is None else int(match["sequence"]),
    )


def _unhex(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def prefix_of(kind: Kind, *path: bytes) -> str:
    """The listing prefix of all objects of a kind (of one owner, of one source)."""
    return "/".join([kind.value, *(part.hex() for part in path), ""])
