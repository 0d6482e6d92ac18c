"""Frozen vectors of names, keys, seals, signatures and key files."""

import hashlib
import hmac
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import (
    VAULT_ID,
    administrator_fingerprint,
    fixed_bytes,
    identity,
    run_key,
    signing_key,
)
from safelight_vault.format.crypto import derive
from safelight_vault.format.run_key import RECIPIENTS_MAX, RunKey
from safelight_vault.format.wire import Writer
from safelight_vault.key_files import (
    AgentKeys,
    IdentityFile,
    Trust,
    write_administrator,
    write_agent_keys,
    write_identity,
    write_trust,
)
from vector_collection import Collection

SEED = bytes(range(32))
DOCUMENTED_VAULT = "00112233445566778899aabbccddeeff"

OWNER = "0123456789abcdef0123456789abcdef"
SOURCE = "fedcba9876543210fedcba9876543210"
DIGEST = hashlib.sha256(b"object").hexdigest()


def add_to(collection: Collection) -> None:
    """Add them."""
    _names(collection)
    _derivations(collection)
    _signatures(collection)
    _sealed_keys(collection)
    _sealed_run_keys(collection)
    _key_files(collection)


def _names(to: Collection) -> None:
    good = {
        "config": f"config/0000000001-{DIGEST}",
        "config-last": f"config/9999999999-{DIGEST}",
        "agents": f"agents/{OWNER}/{DIGEST}",
        "keys": f"keys/{OWNER}/{DIGEST}",
        "packs": f"packs/{OWNER}/{DIGEST}",
        "index": f"index/{OWNER}/{DIGEST}",
        "references": f"references/{OWNER}/{DIGEST}",
        "tables": f"tables/{OWNER}/{DIGEST}",
        "snapshots": f"snapshots/{OWNER}/{SOURCE}/0000000042-{DIGEST}",
        "audit": f"audit/{OWNER}/0000000007-{DIGEST}",
    }
    for name, text in good.items():
        to.add(f"names/{name}", "name", text.encode(), about="a name")
    bad = {
        "empty": "",
        "sequence-zero": f"config/0000000000-{DIGEST}",
        "sequence-of-nine-digits": f"config/000000001-{DIGEST}",
        "sequence-of-eleven-digits": f"config/00000000001-{DIGEST}",
        "sequence-with-sign": f"config/+000000001-{DIGEST}",
        "sequence-missing": f"snapshots/{OWNER}/{SOURCE}/{DIGEST}",
        "sequence-of-a-pack": f"packs/{OWNER}/0000000001-{DIGEST}",
        "owner-missing": f"packs/{DIGEST}",
        "owner-of-a-configuration": f"config/{OWNER}/0000000001-{DIGEST}",
        "owner-too-short": f"packs/{OWNER[:-1]}/{DIGEST}",
        "source-missing": f"snapshots/{OWNER}/0000000001-{DIGEST}",
        "source-of-a-pack": f"packs/{OWNER}/{SOURCE}/{DIGEST}",
        "upper-case": f"packs/{OWNER}/{DIGEST.upper()}",
        "digest-too-short": f"packs/{OWNER}/{DIGEST[:-1]}",
        "digest-too-long": f"packs/{OWNER}/{DIGEST}0",
        "unknown-kind": f"parcels/{OWNER}/{DIGEST}",
        "canary": f"canary/{OWNER}/{DIGEST}",
        "leading-slash": f"/packs/{OWNER}/{DIGEST}",
        "newline": f"packs/{OWNER}/{DIGEST}\n",
        "dots": f"packs/../{DIGEST}",
        "other-digits": f"config/000000000\u0661-{DIGEST}",
    }
    for name, text in bad.items():
        to.add(f"names/{name}", "name", text.encode(), about="not a name", expected="corrupt")


def _derivations(to: Collection) -> None:
    seed = to.file("keys/seed.bin", SEED)
    given = {"vault": DOCUMENTED_VAULT}
    about = "section 3.2, known answers"
    to.add("keys/identity", "identity", file=seed, about=about)
    to.add("keys/signing-key", "signing-key", file=seed, about=about)
    to.add("keys/dedup-key", "dedup-key", file=seed, about=about, given=given)
    for label in ("safelight/pack/v1", "safelight/snapshot-root/v1"):
        name = "keys/run-key-of-a-" + label.split("/")[1].removeprefix("snapshot-")
        with_id = {**given, "label": label, "object_id": "07" * 32}
        to.add(name, "run-key", file=seed, about=about, given=with_id)
    for name, chunk in {
        "empty": b"",
        "text": b"safelight",
        "long": fixed_bytes("chunk", 5000),
    }.items():
        to.add(f"chunks/{name}", "chunk", chunk, about="a chunk, and its id")


def _signatures(to: Collection) -> None:
    message = b"a message"
    data = signing_key("agent").sign(message)
    given = {"message": message.hex()}
    to.add("signatures/good", "signature", data, about="a signature", given=given)
    to.damaged("signatures/good", {"Ed25519 half": 10, "ML-DSA half": 1000})
    bad = {"of-another-message": {"message": b"another".hex()}}
    bad["of-another-signer"] = {**given, "signer": "other agent"}
    for name, other in bad.items():
        file = "signatures/good.bin"
        about = "a good signature of something else"
        to.add(
            f"signatures/{name}",
            "signature",
            file=file,
            about=about,
            expected="corrupt",
            given=other,
        )
    halves = data[:64] + signing_key("other agent").sign(message)[64:]
    about = "each half of another signer"
    to.add("signatures/mixed", "signature", halves, about=about, expected="corrupt", given=given)
    seed = derive(signing_key("agent").seed, salt=b"", label=b"safelight/ml-dsa-65-seed/v1")
    bare = data[:64] + MLDSA65PrivateKey.from_seed_bytes(seed).sign(message)
    about = "an ML-DSA signature of the message without the label"
    to.add("signatures/bare", "signature", bare, about=about, expected="corrupt", given=given)


def _sealed_keys(to: Collection) -> None:
    key = fixed_bytes("sealed key")
    for name, info in {"short-info": b"info", "empty-info": b"", "long-info": b"i" * 300}.items():
        given = {"identity": "first", "info": info.hex()}
        data = identity("first").recipient.seal(key, info)
        to.add(f"sealed-keys/{name}", "sealed-key", data, about="HPKE, decode only", given=given)
    good = "sealed-keys/short-info"
    parts = {"ML-KEM ciphertext": 500, "X25519 key": 1100, "encrypted key": 1130, "tag": 1160}
    to.damaged(good, parts, "wrong_identity")
    data = _of_low_order(identity("first").recipient.public, key, b"info")
    given = {"identity": "first", "info": b"info".hex()}
    about = "right in all but that its X25519 key is of low order"
    expected = "wrong_identity"
    to.add("sealed-keys/low-order", "sealed-key", data, about=about, expected=expected, given=given)
    for name, other in {
        "other-identity": {"identity": "second", "info": b"info".hex()},
        "other-info": {"identity": "first", "info": b"other".hex()},
    }.items():
        to.add(
            f"sealed-keys/{name}",
            "sealed-key",
            file=f"{good}.bin",
            about="a good one, opened as another",
            expected="wrong_identity",
            given=other,
        )


def _labeled(key: bytes, label: bytes, data: bytes, size: int = 0) -> bytes:
    """LabeledExtract of section 3.2 or, with a size up to 32, LabeledExpand."""
    suite = b"HPKE-v1HPKE" + bytes.fromhex("647a00010002")
    if not size:
        return hmac.digest(key or bytes(32), suite + label + data, "sha256")
    info = size.to_bytes(2, "big") + suite + label + data + b"\x01"
    return hmac.digest(key, info, "sha256")[:size]


def _of_low_order(recipient: bytes, key: bytes, info: bytes) -> bytes:
    """A key sealed with an X25519 public key of zeros, which makes that half of no use."""
    secret, ciphertext = MLKEM768PublicKey.from_public_bytes(recipient[:1184]).encapsulate()
    combined = secret + bytes(32) + bytes(32) + recipient[1184:] + b"\\.//^\\"
    shared = hashlib.sha3_256(combined).digest()
    context = b"\x00" + _labeled(b"", b"psk_id_hash", b"") + _labeled(b"", b"info_hash", info)
    schedule = _labeled(shared, b"secret", b"")
    nonce = _labeled(schedule, b"base_nonce", context, 12)
    sealed = AESGCM(_labeled(schedule, b"key", context, 32)).encrypt(nonce, key, b"")
    return ciphertext + bytes(32) + sealed


def _sealed(run: RunKey) -> bytes:
    writer = Writer()
    run.sealed.write(writer)
    return writer.finish()


def _sealed_run_keys(to: Collection) -> None:
    kind, given = "sealed-run-key", {"identities": ["first"]}
    one, three = run_key(), run_key("of three", recipients=("third", "second", "first"))
    about = "one stanza"
    to.add("run-keys/one-recipient", kind, _sealed(one), about=about, given=given)
    to.damaged("run-keys/one-recipient", {"run id": 3, "sealed key": 600})
    same = {"file": "run-keys/one-recipient.bin", "given": given}
    about = "a stanza for somebody else"
    flipped: dict[str, Any] = {"about": about, "expected": "wrong_identity", "flip": 20, **same}
    to.add("run-keys/one-recipient/fingerprint", kind, **flipped)
    about = "three stanzas, ours the last"
    to.add("run-keys/three-recipients", kind, _sealed(three), about=about, given=given)
    about = "two identities at hand"
    both = {"identities": ["stranger", "second"]}
    file = "run-keys/three-recipients.bin"
    to.add("run-keys/several-identities", kind, file=file, about=about, given=both)
    stranger = {"identities": ["stranger"]}
    about = "no stanza is for us"
    expected = "wrong_identity"
    to.add("run-keys/not-for-us", kind, file=file, about=about, expected=expected, given=stranger)
    broken, whole = _sealed(one)[17:1217], _sealed(three)[17 + 2400 :]
    broken = broken[:40] + bytes([broken[40] ^ 1]) + broken[41:]
    data = _sealed(three)[:16] + b"\x02" + broken + whole
    about = "two stanzas for us, and only the second opens"
    to.add("run-keys/second-opens", kind, data, about=about, given=given)
    other_vault = {**given, "vault": "00" * 16}
    about = "sealed for another vault"
    file = "run-keys/one-recipient.bin"
    to.add(
        "run-keys/other-vault", kind, file=file, about=about, expected="corrupt", given=other_vault
    )
    begin = to.file("run-keys/begin.bin", _sealed(one)[:16])
    line: dict[str, Any] = {"file": begin, "expected": "corrupt", "given": given}
    to.add("run-keys/none", kind, about="no stanza", append="00", **line)
    fill = [17, "00", 1200 * (RECIPIENTS_MAX + 1)]
    begin = to.file("run-keys/begin-of-65.bin", _sealed(one)[:16] + bytes([RECIPIENTS_MAX + 1]))
    to.add("run-keys/too-many", kind, about="65 stanzas", fill=fill, **{**line, "file": begin})


def _key_files(to: Collection) -> None:
    trust = Trust(
        vault_id=VAULT_ID,
        administrator_fingerprint=administrator_fingerprint(),
        recipients=(identity("first").recipient, identity("second").recipient),
    )
    agent = AgentKeys(
        vault_id=VAULT_ID,
        signing_key=signing_key("agent"),
        sealing_identity=identity("sealing agent"),
    )
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        write_identity(at / "identity", IdentityFile(identity=identity("first"), trust=trust))
        write_administrator(at / "administrator", trust, signing_key("administrator"))
        write_agent_keys(at / "agent", agent)
        write_trust(at / "trust", trust)
        texts = {path.name: path.read_text() for path in at.iterdir()}
    for name, text in sorted(texts.items()):
        given = {"wanted": f"safelight-{name}"}
        about = f"a key file of the kind {name}"
        to.add(f"key-files/{name}", "key-file", text.encode(), about=about, given=given)
    text = texts["identity"]
    secret = identity("first").seed.hex()
    bad = {
        "checksum": text.replace('checksum = "', 'checksum = "0'),
        "one-digit-changed": text.replace(
            secret, secret[:-1] + ("0" if secret[-1] != "0" else "1")
        ),
        "newer-version": text.replace("version = 1", "version = 2"),
        "true-as-version": text.replace("version = 1", "version = true"),
        "another-kind": texts["agent"],
        "number-as-field": text.replace(
            'kind = "safelight-identity"', 'x = 1\nkind = "safelight-identity"'
        ),
        "not-toml": text.replace("=", ":"),
        "empty": "",
    }
    for name, changed in bad.items():
        to.add(
            f"key-files/{name}",
            "key-file",
            changed.encode(),
            about="not an identity file that may be used",
            expected="configuration",
            given={"wanted": "safelight-identity"},
        )
