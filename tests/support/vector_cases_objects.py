"""Frozen vectors of what administrators and holders of identities write: configurations,
certificates, requests, grants; and with them of the frame around every object.
"""

from collections.abc import Sequence
from dataclasses import replace

from keys import (
    DEDUP_KEY,
    MOMENT_US,
    OTHER_VAULT_ID,
    VAULT_ID,
    certificate,
    identity,
    run_key,
    signing_key,
)
from safelight_vault.format.configuration import (
    VaultConfiguration,
    dedup_key_info,
    encode_configuration,
)
from safelight_vault.format.crypto import VerifyingKey
from safelight_vault.format.enrolment import (
    EnrolmentRequest,
    encode_request,
)
from safelight_vault.format.envelope import Structure, encode_plain, encode_signed
from safelight_vault.format.grant import encode_grant
from safelight_vault.format.run_key import RECIPIENTS_MAX, SealedRunKey, Stanza
from safelight_vault.format.wire import Writer
from vector_collection import IDENTITIES, Collection

BODY = 30
"""Where the body of a frame begins."""


FRAMES = {
    "wrong magic": (0, b"SAFELIGH", "corrupt"),
    "an unknown structure": (8, b"\x0b", "corrupt"),
    "another structure": (8, b"\x0a", "corrupt"),
    "version 0": (9, b"\x00", "corrupt"),
    "version 2": (9, b"\x02", "unsupported"),
    "a body of more than 256 MiB": (26, b"\x10\x00\x00\x01", "corrupt"),
}


def add_frames(to: Collection, of: str, size: int = 0) -> None:
    """What can be wrong with the frame of an object and, if its size is given, its signature."""
    flips = {"vault id": 12, "body": BODY + 2}
    if size:
        flips |= {"signer": size - 3374, "Ed25519 half": size - 3370, "ML-DSA half": size - 1000}
    to.damaged(of, flips)
    line = next(line for line in to.lines if line["name"] == of)
    same = {key: line[key] for key in ("kind", "file", "given") if key in line}
    for what, (at, put, expected) in FRAMES.items():
        name = f"{of}/{what.replace(' ', '-')}"
        about = f"{of} with {what}"
        to.add(name, about=about, expected=expected, put=[at, put.hex()], **same)


def add_to(collection: Collection) -> None:
    """Add them."""
    _configurations(collection)
    _certificates(collection)
    _requests(collection)
    _grants(collection)


def _stanzas(recipients: Sequence[str]) -> tuple[Stanza, ...]:
    info = dedup_key_info(VAULT_ID)
    found = [identity(name).recipient for name in recipients]
    return tuple(Stanza(each.fingerprint, each.seal(DEDUP_KEY, info)) for each in found)


def _configuration(recipients: Sequence[str] = ("first",)) -> VaultConfiguration:
    return VaultConfiguration(
        sequence=1,
        created_us=MOMENT_US,
        administrator=signing_key("administrator").verifying_key,
        epoch=7,
        splitter_version=1,
        recipients=tuple(identity(name).recipient for name in recipients),
        dedup_key=_stanzas(recipients),
    )


def _configurations(to: Collection) -> None:
    kind, given = "configuration", {"identity": "first"}
    administrator = signing_key("administrator")
    good = encode_configuration(VAULT_ID, _configuration(), administrator)
    to.add("config/good", kind, good, about="one recipient", given=given)
    add_frames(to, "config/good", len(good))
    two, three = (_configuration(names) for names in (("second", "first"), IDENTITIES[:3]))
    later = replace(three, sequence=9_999_999_999, created_us=0)
    data = encode_configuration(VAULT_ID, later, administrator)
    about = "three recipients, the highest sequence, the first moment"
    to.add("config/three-recipients", kind, data, about=about, given=given)
    stranger = {"identity": "stranger"}
    about = "the dedup key is sealed to others"
    file = "config/good.bin"
    to.add(
        "config/stranger", kind, file=file, about=about, expected="wrong_identity", given=stranger
    )
    bad = {
        "no-recipients": replace(two, recipients=(), dedup_key=()),
        "stanza-missing": replace(two, dedup_key=two.dedup_key[:1]),
        "stanza-too-many": replace(two, recipients=two.recipients[:1]),
        "stanzas-in-another-order": replace(two, dedup_key=two.dedup_key[::-1]),
    }
    for name, changed in bad.items():
        data = encode_configuration(VAULT_ID, changed, administrator)
        about = f"well signed, but {name.replace('-', ' ')}"
        to.add(f"config/{name}", kind, data, about=about, expected="corrupt")
    for name, moment in {"before-1970": -1, "after-9999": 253_402_300_800_000_000}.items():
        put = (BODY + 8, moment.to_bytes(8, "big", signed=True))
        about = f"well signed, but made {name.replace('-', ' ')}"
        to.signed_again(f"config/{name}", "config/good", put, administrator, about=about)
    writer = Writer()
    writer.fixed(good[BODY : BODY + 2006], 2006)
    writer.u32(RECIPIENTS_MAX + 1)
    data = encode_signed(Structure.CONFIG, VAULT_ID, writer.finish(), administrator)
    about = "65 recipients announced"
    to.add("config/too-many", kind, data, about=about, expected="corrupt")
    body = good[BODY:-3405]
    data = encode_signed(Structure.CONFIG, VAULT_ID, body + b"\x00", administrator)
    about = "a byte after the last field, well signed"
    to.add("config/body-longer", kind, data, about=about, expected="corrupt")
    _foreign_administrators(to, "config", kind, Structure.CONFIG, body)


def _foreign_administrators(
    to: Collection, of: str, kind: str, structure: Structure, body: bytes
) -> None:
    own = signing_key("administrator").verifying_key.public
    foreign = signing_key("other administrator")
    swapped = body.replace(own, foreign.verifying_key.public)
    data = encode_signed(structure, VAULT_ID, swapped, foreign)
    about = "well signed by an administrator that is not the pinned one"
    to.add(f"{of}/other-administrator", kind, data, about=about, expected="corrupt")
    good, administrator = f"{of}/good", signing_key("administrator")
    signer = (len(body) + BODY, foreign.verifying_key.fingerprint)
    about = "the pinned administrator's key in the body, signed by another one"
    to.signed_again(f"{of}/unsigned-administrator", good, signer, foreign, about=about)
    about = "signed by another administrator in the name of the pinned one"
    own_name = (len(body) + BODY, signing_key("administrator").verifying_key.fingerprint)
    to.signed_again(f"{of}/forged-administrator", good, own_name, foreign, about=about)
    about = "well signed, for another vault"
    put = (10, OTHER_VAULT_ID)
    to.signed_again(f"{of}/other-vault", good, put, administrator, about=about)


def _certificates(to: Collection) -> None:
    kind, given = "certificate", {"identity": "sealing agent"}
    good = certificate("agent")
    to.add("certificates/good", kind, good, about="an agent's certificate", given=given)
    add_frames(to, "certificates/good", len(good))
    labels = {"label-of-64-bytes": "\u00e9" * 32, "label-with-space": "CT 7"}
    for name, label in labels.items():
        data = _with_label(good, label.encode())
        to.add(f"certificates/{name}", kind, data, about="a label at its limits", given=given)
    about = "the dedup key is sealed to the agent alone"
    to.add(
        "certificates/stranger",
        kind,
        file="certificates/good.bin",
        about=about,
        expected="wrong_identity",
        given={"identity": "first"},
    )
    administrator, of = signing_key("administrator"), "certificates/good"
    for name, raw in {"label-empty": b"", "label-of-65-bytes": b"x" * 65}.items():
        data = _with_label(good, raw)
        about = "well signed, but with a label that is none"
        to.add(f"certificates/{name}", kind, data, about=about, expected="corrupt")
    for name, raw in {
        "label-not-utf-8": b"age\xffn",
        "label-with-newline": b"agen\n",
        "label-with-escape": b"\x1b[2Ja",
        "label-turning-right-to-left": "\u202ent".encode(),
    }.items():
        put = (BODY + 4, raw)
        about = f"well signed, but with a {name.replace('-', ' ')}"
        to.signed_again(
            f"certificates/{name}", "certificates/good", put, administrator, about=about
        )
    put = (BODY + 3204 + len("agent"), b"\xff" * 8)
    about = "well signed, but enrolled before 1970"
    to.signed_again("certificates/before-1970", of, put, administrator, about=about)
    _foreign_administrators(to, "certificates", kind, Structure.ENROLMENT, good[BODY:-3405])


def _with_label(data: bytes, label: bytes) -> bytes:
    body = data[BODY:-3405]
    length = int.from_bytes(body[:4], "big")
    changed = len(label).to_bytes(4, "big") + label + body[4 + length :]
    return encode_signed(Structure.ENROLMENT, VAULT_ID, changed, signing_key("administrator"))


def _requests(to: Collection) -> None:
    agent = signing_key("agent")
    request = EnrolmentRequest(
        label="ct-archive",
        verifying_key=agent.verifying_key,
        sealing_key=identity("sealing agent").recipient,
    )
    good = encode_request(VAULT_ID, request, agent)
    to.add("requests/good", "request", good, about="an agent's request")
    to.damaged("requests/good", {"label": 35, "verifying key": 100, "signature": len(good) - 9})
    foreign = encode_request(VAULT_ID, request, signing_key("other agent"))
    about = "signed by another key than the one it asks for"
    to.add("requests/foreign-signer", "request", foreign, about=about, expected="corrupt")
    other = encode_request(OTHER_VAULT_ID, request, agent)
    about = "made for another vault"
    to.add("requests/other-vault", "request", other, about=about, expected="corrupt")
    about = "a certificate in its place"
    file = "certificates/good.bin"
    to.add("requests/certificate", "request", file=file, about=about, expected="corrupt")
    rubbish = replace(request, verifying_key=VerifyingKey(bytes(1984)))
    data = encode_request(VAULT_ID, rubbish, agent)
    about = "a verifying key of zeros"
    to.add("requests/zero-key", "request", data, about=about, expected="corrupt")


def _grants(to: Collection) -> None:
    given = {"identities": ["third"]}
    sealed = run_key("granted", recipients=("third", "second")).sealed
    good = encode_grant(VAULT_ID, sealed)
    to.add("grants/good", "grant", good, about="a grant for two recipients", given=given)
    add_frames(to, "grants/good")
    about = "no stanza is for us"
    stranger = {"identities": ["stranger"]}
    file = "grants/good.bin"
    to.add(
        "grants/not-for-us",
        "grant",
        file=file,
        about=about,
        expected="wrong_identity",
        given=stranger,
    )
    bad = {
        "other-vault": encode_grant(OTHER_VAULT_ID, sealed),
        "no-stanzas": encode_grant(VAULT_ID, SealedRunKey(sealed.run_id, ())),
        "body-longer": encode_plain(Structure.KEY_GRANT, VAULT_ID, good[BODY:] + b"\x00"),
        "body-cut": encode_plain(Structure.KEY_GRANT, VAULT_ID, good[BODY:-1]),
    }
    for name, data in bad.items():
        about = "not a grant of this vault"
        to.add(f"grants/{name}", "grant", data, about=about, expected="corrupt", given=given)
