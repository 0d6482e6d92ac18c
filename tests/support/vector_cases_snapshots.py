"""Frozen vectors of snapshots: the envelope, and the root that is sealed in it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keys import (
    MOMENT_US,
    OTHER_VAULT_ID,
    SOURCE_ID,
    VAULT_ID,
    agent_id,
    certificate,
    fixed_bytes,
    run_key,
    signing_key,
)
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.names import Kind, ObjectName
from safelight_vault.format.pages import TreeRoot
from safelight_vault.format.place import Place
from safelight_vault.format.references import Reference
from safelight_vault.format.run_key import RunKey, SealedRunKey
from safelight_vault.format.snapshot import (
    NO_PREDECESSOR,
    RetentionClass,
    Root,
    RootContext,
    SealedRoot,
    Snapshot,
    SourceKind,
    encode_root,
    encode_snapshot,
)
from safelight_vault.format.wire import Writer
from vector_cases_objects import BODY, add_frames
from vector_collection import Collection

BODY_ID = fixed_bytes("body id")
LABEL = b"safelight/snapshot-root/v1"
EMPTY = TreeRoot(0, 0, ())
ROOT = Root(
    source_name="pacs",
    source_kind=SourceKind.TREE,
    started_us=MOMENT_US,
    files=3,
    bytes=2**63 - 1,
    failed_files=1,
    vanished_files=2,
    skipped_files=4,
    manifest=TreeRoot(1, 5, ((b"", Place(fixed_bytes("a pack's digest"), 0, 123, 100, 0, 50)),)),
    catalogue=EMPTY,
    failures=EMPTY,
)


def add_to(collection: Collection) -> None:
    """Add them."""
    _roots(collection)
    _snapshots(collection)


def _context(sequence: int = 1) -> RootContext:
    return RootContext(agent_id(), SOURCE_ID, sequence)


def _tail(sealed: SealedRoot) -> bytes:
    writer = Writer()
    writer.fixed(sealed.body_id, 32)
    writer.fixed(sealed.commitment, 32)
    sealed.run_key.write(writer)
    writer.u8(sealed.version)
    writer.var(sealed.sealed, 1 << 24)
    return writer.finish()


def _sealed(root: Root = ROOT, *, context: RootContext | None = None) -> SealedRoot:
    return encode_root(root, run_key(), BODY_ID, context or _context())


def _sealed_again(run: RunKey, change: Callable[[bytes], bytes]) -> SealedRoot:
    """A root with other plaintext under the same key, as a faulty writer would seal it."""
    good = encode_root(ROOT, run, BODY_ID, _context())
    key, _ = run.object_key(BODY_ID, LABEL)
    aad = _context().bound(VAULT_ID)
    return replace(good, sealed=key.seal(0, change(key.open(0, good.sealed, aad)), aad))


def _roots(to: Collection) -> None:
    given: dict[str, Any] = {
        "identities": ["first"],
        "agent_id": agent_id().hex(),
        "source_id": SOURCE_ID.hex(),
        "sequence": 1,
    }
    good = _sealed()
    to.add("roots/good", "root", _tail(good), about="the end of an envelope", given=given)
    parts = {"body id": 0, "commitment": 32, "run id": 64, "sealed key": 500, "sealed root": 1300}
    to.damaged("roots/good", parts)
    name = "a" + "-" * 61 + "9"
    command = replace(ROOT, source_name=name, source_kind=SourceKind.COMMAND, started_us=0)
    about = "the longest name of a source, a command"
    to.add("roots/command", "root", _tail(_sealed(command)), about=about, given=given)

    def bad(
        name: str, sealed: SealedRoot, expected: str = "corrupt", given: dict[str, Any] = given
    ) -> None:
        about = f"a root that must be refused: {name.replace('-', ' ')}"
        to.add(f"roots/{name}", "root", _tail(sealed), about=about, expected=expected, given=given)

    bad("version-0", replace(good, version=0))
    bad("version-2", replace(good, version=2), "unsupported")
    bad("not-for-us", good, "wrong_identity", {**given, "identities": ["stranger"]})
    bad("another-sequence", good, given={**given, "sequence": 2})
    bad("another-source", good, given={**given, "source_id": "00" * 16})
    bad("another-agent", good, given={**given, "agent_id": agent_id("other agent").hex()})
    bad("another-vault", good, given={**given, "vault": OTHER_VAULT_ID.hex()})
    bad("another-run", replace(good, run_key=run_key("other").sealed))
    bad("no-stanza", replace(good, run_key=SealedRunKey(good.run_key.run_id, ())))
    for name, text in {
        "source-name-empty": "",
        "source-name-dot-dot": "..",
        "source-name-upper-case": "Pacs",
        "source-name-slash": "a/b",
        "source-name-hyphen": "-a",
        "source-name-underscore": "a_b",
    }.items():
        bad(name, _sealed(replace(ROOT, source_name=text)))
    run = run_key()
    longer = (64).to_bytes(4, "big") + b"a" * 64
    bad("source-name-of-64-bytes", _sealed_again(run, lambda plain: longer + plain[8:]))
    bad("source-kind-3", _sealed_again(run, lambda plain: plain[:8] + b"\x03" + plain[9:]))
    bad("a-byte-more", _sealed_again(run, lambda plain: plain + b"\x00"))
    bad("a-byte-less", _sealed_again(run, lambda plain: plain[:-1]))
    bad("nine-levels", _sealed(replace(ROOT, manifest=TreeRoot(9, 5, ROOT.manifest.pages))))
    bad("513-pages", _sealed_again(run, lambda plain: plain[:-4] + (513).to_bytes(4, "big")))
    bad("started-before-1970", _sealed(replace(ROOT, started_us=-1)))


def _snapshot(sequence: int = 1) -> Snapshot:
    table = ObjectName(kind=Kind.TABLE, owner=agent_id(), digest=fixed_bytes("table"))
    return Snapshot(
        agent_id=agent_id(),
        source_id=SOURCE_ID,
        sequence=sequence,
        predecessor=NO_PREDECESSOR if sequence == 1 else fixed_bytes("predecessor"),
        created_us=MOMENT_US,
        retention_class=RetentionClass.MONTHLY,
        retain_until_us=MOMENT_US + 1,
        complete=True,
        suspect=False,
        checkpoint=False,
        table=Reference(table, "version-1", 4000),
        certificate=certificate("agent"),
        root=_sealed(context=_context(sequence)),
    )


def _snapshots(to: Collection) -> None:
    given = {"identities": ["first"]}
    agent = signing_key("agent")
    first = _snapshot()
    good = encode_snapshot(VAULT_ID, first, agent)
    to.add("snapshots/first", "snapshot", good, about="the first of a chain", given=given)
    add_frames(to, "snapshots/first", len(good))
    last = replace(
        _snapshot(9_999_999_999),
        complete=False,
        suspect=True,
        checkpoint=True,
        retention_class=RetentionClass.YEARLY,
        created_us=0,
        retain_until_us=253_402_300_799_999_999,
    )
    data = encode_snapshot(VAULT_ID, last, agent)
    about = "the highest sequence, the last moment, a suspect checkpoint"
    to.add("snapshots/last", "snapshot", data, about=about, given=given)
    about = "everybody can check the envelope"
    file = "snapshots/first.bin"
    to.add("snapshots/without-identity", "snapshot", file=file, about=about)
    about = "the root is sealed to others"
    stranger = {"identities": ["stranger"]}
    expected = "wrong_identity"
    to.add(
        "snapshots/stranger", "snapshot", file=file, about=about, expected=expected, given=stranger
    )
    _hostile_snapshots(to, first, good)


def _hostile_snapshots(to: Collection, first: Snapshot, good: bytes) -> None:
    agent, body = signing_key("agent"), good[BODY:-3405]

    def bad(name: str, data: bytes) -> None:
        about = f"a snapshot that must be refused: {name.replace('-', ' ')}"
        to.add(f"snapshots/{name}", "snapshot", data, about=about, expected="corrupt")

    of = "snapshots/first"

    def again(name: str, at: int, put: bytes) -> None:
        about = f"a snapshot, well signed, that must be refused: {name.replace('-', ' ')}"
        to.signed_again(f"snapshots/{name}", of, (BODY + at, put), agent, about=about)

    again("first-with-predecessor", 40, BODY_ID)
    again("later-without-predecessor", 32, (2).to_bytes(8, "big"))
    again("sequence-0", 32, bytes(8) + BODY_ID)
    again("sequence-too-high", 32, (10**10).to_bytes(8, "big") + BODY_ID)
    again("class-0", 80, b"\x00")
    again("class-4", 80, b"\x04")
    again("flags-8", 89, b"\x08")
    again("complete-checkpoint", 89, b"\x05")
    again("made-before-1970", 72, b"\xff" * 8)
    again("retained-after-9999", 81, (2**63 - 1).to_bytes(8, "big"))
    again("table-of-another-kind", 94, b"agents")
    again("table-of-another-agent", 94 + len("tables/"), agent_id("other agent").hex().encode())
    again("agent-id-of-another", 0, agent_id("other agent"))
    foreign = signing_key("other agent")
    put = (BODY + len(body), foreign.verifying_key.fingerprint)
    about = "a snapshot signed by an agent that is not the one of the certificate"
    to.signed_again("snapshots/foreign-signer", "snapshots/first", put, foreign, about=about)
    other = replace(first, certificate=certificate("other agent"))
    bad("certificate-of-another-agent", encode_snapshot(VAULT_ID, other, agent))
    bad("another-agent-in-its-name", encode_snapshot(VAULT_ID, other, signing_key("other agent")))
    unpinned = certificate("agent", administrator="other administrator")
    not_enrolled = replace(first, certificate=unpinned)
    bad("agent-not-enrolled", encode_snapshot(VAULT_ID, not_enrolled, agent))
    bad("no-certificate", encode_snapshot(VAULT_ID, replace(first, certificate=b""), agent))
    again("other-vault", 10 - BODY, OTHER_VAULT_ID)
    again("certificate-damaged", 94 + len(first.certificate) // 2, b"damaged")
    data = encode_signed(Structure.SNAPSHOT, VAULT_ID, body + b"\x00", agent)
    bad("a-byte-more", data)
