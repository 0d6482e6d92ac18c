"""An independent reader, second part: names, frames, and who may write and read (format.md, 4).

Each function decodes one structure from its bytes, strictly: what it gives back followed every rule
that can be checked without another object.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from independent_keys import (
    RECIPIENT_SIZE,
    SEALED_KEY_SIZE,
    SIGNATURE_SIZE,
    VERIFYING_KEY_SIZE,
    Corrupt,
    Fields,
    Identity,
    Unsupported,
    WrongIdentity,
    recipient_fingerprint,
    require,
    verify_signature,
    verifying_key_fingerprint,
)

MAGIC = b"SAFELITE"
BODY_SIZE_MAX = 1 << 28
SEQUENCE_MAX = 9_999_999_999
RECIPIENTS_MAX = 64
DEDUP_KEY_LABEL = b"safelight/dedup-key/v1\0"


class Structure(IntEnum):
    """Kind of an object, as its frame says (section 4.2)."""

    PACK = 1
    CONFIG = 2
    ENROLMENT = 3
    KEY_GRANT = 4
    INDEX = 5
    REFERENCES = 6
    TABLE = 7
    SNAPSHOT = 8
    ENROLMENT_REQUEST = 9


# ------------------------------------------------------------------------------------ 4.1 names

_GRAMMAR = [
    re.compile(
        pattern.replace("ID", "[0-9a-f]{32}")
        .replace("SEQUENCE", "(?P<sequence>[0-9]{10})")
        .replace("DIGEST", "(?P<digest>[0-9a-f]{64})")
    )
    for pattern in (
        "(?P<kind>config)/SEQUENCE-DIGEST",
        "(?P<kind>agents|keys|packs|index|references|tables)/(?P<owner>ID)/DIGEST",
        "(?P<kind>snapshots)/(?P<owner>ID)/(?P<source>ID)/SEQUENCE-DIGEST",
        "(?P<kind>audit)/(?P<owner>ID)/SEQUENCE-DIGEST",
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """The name of an object; parts that its kind does not have are empty or 0."""

    text: str
    kind: str
    owner: bytes
    source: bytes
    sequence: int
    digest: bytes


def parse_name(text: str) -> Name:
    for pattern in _GRAMMAR:
        if match := pattern.fullmatch(text):
            parts = {"owner": "", "source": "", "sequence": "1"} | match.groupdict()
            require(int(parts["sequence"]) > 0, f"{text}: sequences begin at 1")
            return Name(
                text=text,
                kind=parts["kind"],
                owner=bytes.fromhex(parts["owner"]),
                source=bytes.fromhex(parts["source"]),
                sequence=int(parts["sequence"]) if "sequence" in match.groupdict() else 0,
                digest=bytes.fromhex(parts["digest"]),
            )
    raise Corrupt(f"{text!r}: not a name")


# ----------------------------------------------------------------------------------- 4.2 frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed frame whose signature is still to be verified."""

    what: str
    body: bytes
    signer: bytes
    message: bytes
    signature: bytes

    def verify(self, verifying_key: bytes) -> None:
        expected = verifying_key_fingerprint(verifying_key)
        require(self.signer == expected, f"{self.what}: signed by another key")
        verify_signature(verifying_key, self.message, self.signature, self.what)


def read_frame(fields: Fields, structure: Structure, vault_id: bytes) -> None:
    """The 26 bytes with which every object begins."""
    require(fields.fixed(8) == MAGIC, f"{fields.what}: no object of a vault")
    require(fields.unsigned(1) == structure, f"{fields.what}: an object of another kind")
    version = fields.unsigned(1)
    require(version != 0, f"{fields.what}: version 0")
    if version > 1:
        raise Unsupported(f"{fields.what}: version {version}")
    require(fields.fixed(16) == vault_id, f"{fields.what}: an object of another vault")


def read_plain(data: bytes, structure: Structure, vault_id: bytes) -> bytes:
    fields = Fields(data, structure.name)
    read_frame(fields, structure, vault_id)
    body = fields.var(BODY_SIZE_MAX)
    fields.end()
    return body


def read_signed(data: bytes, structure: Structure, vault_id: bytes) -> Signed:
    fields = Fields(data, structure.name)
    read_frame(fields, structure, vault_id)
    body = fields.var(BODY_SIZE_MAX)
    signer = fields.fixed(32)
    message = data[: fields.offset]
    signature = fields.fixed(SIGNATURE_SIZE)
    fields.end()
    return Signed(
        what=structure.name, body=body, signer=signer, message=message, signature=signature
    )


# ------------------------------------------- 3.3, 4.3 to 4.5: keys and what administrators sign


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRunKey:
    """A run key as it is sealed to its recipients: pairs of fingerprint and sealed key."""

    run_id: bytes
    stanzas: tuple[tuple[bytes, bytes], ...]


def _stanzas(fields: Fields, number: int) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((fields.fixed(32), fields.fixed(SEALED_KEY_SIZE)) for _ in range(number))


def read_sealed_run_key(fields: Fields) -> SealedRunKey:
    run_id = fields.fixed(16)
    number = fields.choice(range(1, RECIPIENTS_MAX + 1))
    return SealedRunKey(run_id=run_id, stanzas=_stanzas(fields, number))


def open_run_key(
    sealed: SealedRunKey, vault_id: bytes, identities: Mapping[bytes, Identity]
) -> Iterator[bytes | None]:
    """A key for each stanza that is for an identity at hand; None where it does not open."""
    info = b"safelight/run-key/v1\0" + vault_id + sealed.run_id
    for recipient, sealed_key in sealed.stanzas:
        if recipient in identities:
            try:
                yield identities[recipient].open_key(sealed_key, info)
            except WrongIdentity:
                yield None


def read_grant(data: bytes, vault_id: bytes) -> SealedRunKey:
    fields = Fields(read_plain(data, Structure.KEY_GRANT, vault_id), "KEY_GRANT")
    sealed = read_sealed_run_key(fields)
    fields.end()
    return sealed


def read_sequence(fields: Fields) -> int:
    sequence = fields.unsigned(8)
    require(1 <= sequence <= SEQUENCE_MAX, f"{fields.what}: sequence out of range")
    return sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Recipients of a vault, and its dedup key sealed to each of them."""

    sequence: int
    created: int
    epoch: int
    splitter_version: int
    recipients: tuple[bytes, ...]
    stanzas: tuple[tuple[bytes, bytes], ...]

    def open_dedup_key(self, vault_id: bytes, identities: Mapping[bytes, Identity]) -> bytes:
        for recipient, sealed in self.stanzas:
            if recipient in identities:
                return identities[recipient].open_key(sealed, DEDUP_KEY_LABEL + vault_id)
        raise WrongIdentity("the dedup key is not sealed to an identity at hand")


def _verify_administrator(signed: Signed, key: bytes, pinned: bytes) -> None:
    is_pinned = verifying_key_fingerprint(key) == pinned
    require(is_pinned, f"{signed.what}: of another administrator")
    signed.verify(key)


def read_configuration(data: bytes, vault_id: bytes, administrator: bytes) -> Configuration:
    signed = read_signed(data, Structure.CONFIG, vault_id)
    fields = Fields(signed.body, "CONFIG")
    sequence, created = read_sequence(fields), fields.time()
    _verify_administrator(signed, fields.fixed(VERIFYING_KEY_SIZE), administrator)
    epoch, splitter_version = fields.unsigned(4), fields.unsigned(2)
    recipients = tuple(fields.fixed(RECIPIENT_SIZE) for _ in range(fields.count(RECIPIENTS_MAX)))
    stanzas = _stanzas(fields, fields.count(RECIPIENTS_MAX))
    fields.end()
    fingerprints = [recipient_fingerprint(each) for each in recipients]
    matching = bool(recipients) and fingerprints == [stanza[0] for stanza in stanzas]
    require(matching, "CONFIG: recipients and stanzas do not match")
    return Configuration(
        sequence=sequence,
        created=created,
        epoch=epoch,
        splitter_version=splitter_version,
        recipients=recipients,
        stanzas=stanzas,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an agent asks for: its label and its two public keys."""

    label: str
    verifying_key: bytes
    sealing_key: bytes

    @property
    def agent_id(self) -> bytes:
        return verifying_key_fingerprint(self.verifying_key)[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(Request):
    """What the administrator says of an agent."""

    enrolled: int
    epoch: int
    sealed_dedup_key: bytes

    def open_dedup_key(self, vault_id: bytes, identity: Identity) -> bytes:
        if identity.recipient != self.sealing_key:
            raise WrongIdentity("the dedup key is sealed to another agent")
        return identity.open_key(self.sealed_dedup_key, DEDUP_KEY_LABEL + vault_id)


def _request(fields: Fields) -> tuple[str, bytes, bytes]:
    return fields.label(64), fields.fixed(VERIFYING_KEY_SIZE), fields.fixed(RECIPIENT_SIZE)


def read_request(data: bytes, vault_id: bytes) -> Request:
    signed = read_signed(data, Structure.ENROLMENT_REQUEST, vault_id)
    fields = Fields(signed.body, "ENROLMENT_REQUEST")
    label, verifying_key, sealing_key = _request(fields)
    fields.end()
    signed.verify(verifying_key)
    return Request(label=label, verifying_key=verifying_key, sealing_key=sealing_key)


def read_certificate(data: bytes, vault_id: bytes, administrator: bytes) -> Certificate:
    signed = read_signed(data, Structure.ENROLMENT, vault_id)
    fields = Fields(signed.body, "ENROLMENT")
    label, verifying_key, sealing_key = _request(fields)
    enrolled, epoch = fields.time(), fields.unsigned(4)
    _verify_administrator(signed, fields.fixed(VERIFYING_KEY_SIZE), administrator)
    sealed_dedup_key = fields.fixed(SEALED_KEY_SIZE)
    fields.end()
    return Certificate(
        label=label,
        verifying_key=verifying_key,
        sealing_key=sealing_key,
        enrolled=enrolled,
        epoch=epoch,
        sealed_dedup_key=sealed_dedup_key,
    )
