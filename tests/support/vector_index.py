"""The index of the frozen test vectors: what each file is, what is given, and what must come of it.

It knows no decoder and imports nothing of the product, so that every reader can be held against the
same vectors (format.md section 14). The invariant: nothing in here writes.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

OUTCOMES = ("success", "corrupt", "unsupported", "wrong_identity", "configuration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One line of the index. ``given`` is what a decoder is told, ``value`` what a success says.

    The bytes to decode are those of ``file``, changed in this order: ``put`` writes bytes over
    those at an offset, ``fill`` inserts bytes there so many times, ``flip`` turns all bits of one
    byte, ``cut`` leaves so many bytes out at the end, ``append`` adds some there, ``signature``
    writes a file over the end. Bytes stand as hexadecimal digits.
    """

    name: str
    file: str
    kind: str
    about: str
    expected: str
    put: tuple[int, str] | None = None
    fill: tuple[int, str, int] | None = None
    flip: int | None = None
    cut: int | None = None
    append: str = ""
    signature: str | None = None
    given: Mapping[str, Any]
    value: Mapping[str, Any]

    def data(self) -> bytes:
        """The bytes to decode."""
        data = bytearray(read_file(self.file))
        if self.put is not None:
            at, changed = self.put[0], bytes.fromhex(self.put[1])
            data[at : at + len(changed)] = changed
        if self.fill is not None:
            at, digits, times = self.fill
            data[at:at] = bytes.fromhex(digits) * times
        if self.flip is not None:
            data[self.flip] ^= 0xFF
        if self.cut is not None:
            del data[len(data) - self.cut :]
        data += bytes.fromhex(self.append)
        if self.signature is not None:
            signature = read_file(self.signature)
            data[-len(signature) :] = signature
        return bytes(data)

    def expected_value(self) -> Mapping[str, Any]:
        """What a success says; long values stand in a file of their own."""
        return read_table(self.value["file"]) if set(self.value) == {"file"} else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all vectors share. Keys are given by their seeds; none of them protects anything."""

    vault: bytes
    administrator: str
    dedup_key: bytes
    identities: Mapping[str, bytes]
    signers: Mapping[str, bytes]


def read_file(file: str) -> bytes:
    """A file of the vectors."""
    return (VECTORS / file).read_bytes()


def read_table(file: str) -> dict[str, Any]:
    """A TOML file of the vectors."""
    return tomllib.loads(read_file(file).decode("utf-8"))


@cache
def vectors() -> tuple[Vector, ...]:
    """All vectors in the order of the index."""
    return tuple(
        Vector(**{"given": {}, "value": {}, **line}) for line in read_table("index.toml")["vector"]
    )


@cache
def common() -> Common:
    """What all vectors share."""
    head = read_table("index.toml")
    return Common(
        vault=bytes.fromhex(head["vault"]),
        administrator=head["administrator"],
        dedup_key=bytes.fromhex(head["dedup_key"]),
        identities={name: bytes.fromhex(seed) for name, seed in head["identities"].items()},
        signers={name: bytes.fromhex(seed) for name, seed in head["signers"].items()},
    )
