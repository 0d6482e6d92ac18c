"""Snapshots prove who made them, where in the chain, and open only to an identity."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import (
    MOMENT_US,
    OTHER_VAULT_ID,
    SOURCE_ID,
    VAULT_ID,
    administrator_fingerprint,
    agent_id,
    certificate,
    fixed_bytes,
    identity,
    run_key,
    signing_key,
)
from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    UnsupportedFormatError,
    WrongIdentityError,
)
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.names import SEQUENCE_MAX, Kind, ObjectName
from safelight_vault.format.pages import TreeRoot
from safelight_vault.format.place import Place
from safelight_vault.format.references import Reference
from safelight_vault.format.run_key import RunKey
from safelight_vault.format.snapshot import (
    NO_PREDECESSOR,
    ROOT_VERSION,
    SOURCE_NAME,
    SOURCE_NAME_SIZE_MAX,
    RetentionClass,
    Root,
    RootContext,
    SealedRoot,
    Snapshot,
    SourceKind,
    decode_root,
    decode_snapshot,
    encode_root,
    encode_snapshot,
)
from safelight_vault.format.wire import TIME_US_MAX
from strictness import (
    REFUSED,
    flips,
    outcome,
    require_exact_length,
    require_tamper_evident,
)

BODY_ID = fixed_bytes("body id")
TREE = TreeRoot(0, 3, ((b"patient", Place(fixed_bytes("pack"), 1, 4000, 900, 0, 80)),))
EMPTY = TreeRoot(0, 0, ())
ROOT = Root(
    source_name="archive",
    source_kind=SourceKind.TREE,
    started_us=MOMENT_US,
    files=3,
    bytes=2**40,
    failed_files=0,
    vanished_files=1,
    skipped_files=2,
    manifest=TREE,
    catalogue=TREE,
    failures=EMPTY,
)
CONTEXT = RootContext(agent_id(), SOURCE_ID, 8)
SNAPSHOT = Snapshot(
    agent_id=agent_id(),
    source_id=SOURCE_ID,
    sequence=8,
    predecessor=fixed_bytes("predecessor"),
    created_us=MOMENT_US,
    retention_class=RetentionClass.MONTHLY,
    retain_until_us=MOMENT_US + 10**12,
    complete=True,
    suspect=False,
    checkpoint=False,
    table=Reference(
        ObjectName(kind=Kind.TABLE, owner=agent_id(), digest=fixed_bytes("table")), "v1", 5000
    ),
    certificate=certificate(),
    root=encode_root(ROOT, run_key(), BODY_ID, CONTEXT),
)

TIMES = st.integers(0, TIME_US_MAX)
COUNTS = st.integers(0, 2**64 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)


def decode(data: bytes) -> Snapshot:
    snapshot, found = decode_snapshot(
        data, vault_id=VAULT_ID, administrator_fingerprint=administrator_fingerprint()
    )
    assert found.agent_id == snapshot.agent_id
    return snapshot


def encode(snapshot: Snapshot, *, signer: str = "agent") -> bytes:
    return encode_snapshot(VAULT_ID, snapshot, signing_key(signer))


# --- The envelope ----------------------------------------------------------------------------


@given(
    st.builds(
        replace,
        st.just(SNAPSHOT),
        source_id=st.binary(min_size=16, max_size=16),
        sequence=st.integers(2, SEQUENCE_MAX),
        predecessor=DIGESTS.filter(any),
        created_us=TIMES,
        retention_class=st.sampled_from(RetentionClass),
        retain_until_us=TIMES,
        complete=st.booleans(),
        suspect=st.booleans(),
        checkpoint=st.booleans(),
    ).map(lambda snapshot: replace(snapshot, complete=snapshot.complete > snapshot.checkpoint))
)
def test_a_snapshot_is_read_back(snapshot: Snapshot) -> None:
    assert decode(encode(snapshot)) == snapshot


def test_a_snapshot_has_exactly_one_length() -> None:
    require_exact_length(decode, encode(SNAPSHOT))


def test_every_flip_in_a_snapshot_is_noticed() -> None:
    require_tamper_evident(decode, encode(SNAPSHOT))


def test_a_snapshot_by_another_agent_than_it_claims_is_refused() -> None:
    table = ObjectName(kind=Kind.TABLE, owner=agent_id("intruder"), digest=fixed_bytes("table"))
    stolen = replace(
        SNAPSHOT, agent_id=agent_id("intruder"), table=replace(SNAPSHOT.table, name=table)
    )
    with pytest.raises(CorruptError, match="another agent than it claims"):
        decode(encode(stolen))
    with pytest.raises(CorruptError, match="not trusted"):
        decode(encode(SNAPSHOT, signer="intruder"))
    forged = replace(SNAPSHOT, certificate=certificate("intruder"))
    with pytest.raises(CorruptError, match="another agent than it claims"):
        decode(encode(forged, signer="intruder"))


def test_a_snapshot_whose_agent_nobody_enrolled_is_refused() -> None:
    self_made = certificate("intruder", administrator="intruder")
    table = ObjectName(kind=Kind.TABLE, owner=agent_id("intruder"), digest=fixed_bytes("table"))
    forged = replace(
        SNAPSHOT,
        agent_id=agent_id("intruder"),
        certificate=self_made,
        table=replace(SNAPSHOT.table, name=table),
    )
    with pytest.raises(CorruptError, match="not signed by this vault's administrator"):
        decode(encode(forged, signer="intruder"))
    with pytest.raises(CorruptError):
        decode(encode(replace(SNAPSHOT, certificate=b"")))


def test_a_snapshot_of_another_vault_is_refused() -> None:
    with pytest.raises(CorruptError, match="another vault"):
        decode(encode_snapshot(OTHER_VAULT_ID, SNAPSHOT, signing_key()))


@pytest.mark.parametrize("sequence", [0, SEQUENCE_MAX + 1, 2**64 - 1])
def test_a_sequence_that_no_name_can_carry_is_refused(sequence: int) -> None:
    with pytest.raises(DecodeError, match="sequence number"):
        decode(encode(replace(SNAPSHOT, sequence=sequence)))


def body_of(snapshot: Snapshot) -> bytearray:
    data = encode(snapshot)
    return bytearray(data[30 : 30 + int.from_bytes(data[26:30], "big")])


@pytest.mark.parametrize(
    ("at", "byte", "match"),
    [
        (80, 0, "not a known value"),
        (80, 4, "not a known value"),
        (89, 8, "flags 0x8"),
        (89, 128, "flags 0x80"),
    ],
)
def test_unknown_retention_classes_and_flags_are_refused(at: int, byte: int, match: str) -> None:
    body = body_of(SNAPSHOT)
    assert body[80] == RetentionClass.MONTHLY
    assert body[89] == 1
    body[at] = byte
    with pytest.raises(DecodeError, match=match):
        decode(encode_signed(Structure.SNAPSHOT, VAULT_ID, bytes(body), signing_key()))


def test_a_newer_envelope_is_unsupported() -> None:
    body = bytes(body_of(SNAPSHOT))
    with pytest.raises(UnsupportedFormatError):
        decode(encode_signed(Structure.SNAPSHOT, VAULT_ID, body, signing_key(), version=2))


@given(st.binary(max_size=300))
def test_foreign_bytes_raise_nothing_but_vault_errors(body: bytes) -> None:
    outcome(decode, body)
    outcome(decode, encode_signed(Structure.SNAPSHOT, VAULT_ID, body, signing_key()))


def test_the_first_snapshot_of_a_chain_has_no_predecessor() -> None:
    first = replace(SNAPSHOT, sequence=1, predecessor=NO_PREDECESSOR)
    assert decode(encode(first)).predecessor == bytes(32)
    for wrong in (replace(first, sequence=2), replace(SNAPSHOT, sequence=1)):
        with pytest.raises(DecodeError, match="only the first snapshot"):
            decode(encode(wrong))


def test_a_checkpoint_that_claims_to_be_complete_is_refused() -> None:
    with pytest.raises(DecodeError, match="cannot be complete"):
        decode(encode(replace(SNAPSHOT, checkpoint=True)))
    assert decode(encode(replace(SNAPSHOT, checkpoint=True, complete=False))).checkpoint


@pytest.mark.parametrize(
    "name",
    [
        ObjectName(kind=Kind.INDEX, owner=agent_id(), digest=bytes(32)),
        ObjectName(kind=Kind.TABLE, owner=agent_id("intruder"), digest=bytes(32)),
    ],
    ids=["kind", "owner"],
)
def test_a_table_that_is_none_of_this_agent_is_refused(name: ObjectName) -> None:
    with pytest.raises(DecodeError, match="not a reference table of its agent"):
        decode(encode(replace(SNAPSHOT, table=Reference(name, "v1", 5000))))


@pytest.mark.parametrize("moment_us", [-1, TIME_US_MAX + 1])
def test_times_that_no_calendar_has_are_refused(moment_us: int) -> None:
    for wrong in (
        replace(SNAPSHOT, created_us=moment_us),
        replace(SNAPSHOT, retain_until_us=moment_us),
    ):
        with pytest.raises(DecodeError, match="years 1970 to 9999"):
            decode(encode(wrong))


# --- The sealed root -------------------------------------------------------------------------

ROOTS = st.builds(
    Root,
    source_name=st.from_regex(SOURCE_NAME, fullmatch=True),
    source_kind=st.sampled_from(SourceKind),
    started_us=TIMES,
    files=COUNTS,
    bytes=COUNTS,
    failed_files=COUNTS,
    vanished_files=COUNTS,
    skipped_files=COUNTS,
    manifest=st.sampled_from([TREE, EMPTY]),
    catalogue=st.sampled_from([TREE, EMPTY]),
    failures=st.sampled_from([TREE, EMPTY]),
)


def opened(sealed: SealedRoot, key: RunKey | None = None) -> Root:
    """The root in the sample's place in its chain, opened with the run's key or another one."""
    return decode_root(replace(SNAPSHOT, root=sealed), key or run_key())


@given(ROOTS)
def test_a_root_is_read_back(root: Root) -> None:
    assert opened(encode_root(root, run_key(), BODY_ID, CONTEXT)) == root


def test_an_identity_opens_the_root_of_a_decoded_snapshot() -> None:
    snapshot = decode(encode(SNAPSHOT))
    identities = {identity().recipient.fingerprint: identity()}
    assert decode_root(snapshot, snapshot.root.run_key.open(identities, VAULT_ID)) == ROOT


def test_nobody_else_learns_the_name_of_the_source() -> None:
    assert ROOT.source_name.encode() not in encode(SNAPSHOT)
    stranger = identity("stranger")
    with pytest.raises(WrongIdentityError):
        SNAPSHOT.root.run_key.open({stranger.recipient.fingerprint: stranger}, VAULT_ID)


def test_a_root_opens_under_its_own_run_key_and_id_only() -> None:
    with pytest.raises(CorruptError, match="commitment"):
        opened(SNAPSHOT.root, run_key("other run"))
    with pytest.raises(CorruptError, match="commitment"):
        opened(replace(SNAPSHOT.root, body_id=bytes(32)))
    with pytest.raises(CorruptError, match="commitment"):
        opened(replace(SNAPSHOT.root, commitment=bytes(32)))
    with pytest.raises(CorruptError, match="commitment"):
        opened(SNAPSHOT.root, run_key(vault_id=OTHER_VAULT_ID))


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(SNAPSHOT, sequence=9),
        replace(SNAPSHOT, source_id=bytes(16)),
        replace(SNAPSHOT, agent_id=agent_id("intruder")),
    ],
    ids=["sequence", "source", "agent"],
)
def test_a_root_opens_in_its_own_snapshot_only(elsewhere: Snapshot) -> None:
    """Else an agent could present an old state of its source as a new one, or as another's."""
    with pytest.raises(CorruptError, match="seal is broken"):
        decode_root(elsewhere, run_key())


def test_every_flip_and_cut_in_a_sealed_root_is_noticed() -> None:
    def open_sealed(sealed: bytes) -> Root:
        return opened(replace(SNAPSHOT.root, sealed=sealed))

    require_exact_length(open_sealed, SNAPSHOT.root.sealed)
    for position, changed in flips(SNAPSHOT.root.sealed, every=1):
        assert outcome(open_sealed, changed) is REFUSED, f"flip at {position}"


def sealed_by_hand(plain: bytes) -> SealedRoot:
    """An authentic root of any content, as a faulty agent might have sealed it."""
    key, commitment = run_key().object_key(BODY_ID, b"safelight/snapshot-root/v1")
    return SealedRoot(
        body_id=BODY_ID,
        commitment=commitment,
        run_key=run_key().sealed,
        version=ROOT_VERSION,
        sealed=key.seal(0, plain, CONTEXT.bound(VAULT_ID)),
    )


@given(st.binary(max_size=150))
def test_authentic_foreign_roots_raise_nothing_but_vault_errors(plain: bytes) -> None:
    outcome(lambda data: opened(sealed_by_hand(data)), plain)


def test_authentic_roots_have_exactly_one_length() -> None:
    key, _ = run_key().object_key(BODY_ID, b"safelight/snapshot-root/v1")
    plain = key.open(0, SNAPSHOT.root.sealed, CONTEXT.bound(VAULT_ID))
    require_exact_length(lambda data: opened(sealed_by_hand(data)), plain)


def test_a_newer_root_is_unsupported_and_version_zero_is_damage() -> None:
    with pytest.raises(UnsupportedFormatError, match="version 2 is too new"):
        opened(replace(SNAPSHOT.root, version=2))
    with pytest.raises(DecodeError, match="version 0"):
        opened(replace(SNAPSHOT.root, version=0))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../etc", "/etc", "a/b", "a\x00b", "a b", "A", "-a", "a\n", "\u00e9"]
)
def test_a_source_name_that_is_no_plain_directory_name_is_refused(name: str) -> None:
    sealed = encode_root(replace(ROOT, source_name=name), run_key(), BODY_ID, CONTEXT)
    with pytest.raises(DecodeError, match="source's name"):
        opened(sealed)


def test_a_source_name_above_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 63 bytes"):
        encode_root(replace(ROOT, source_name="x" * 64), run_key(), BODY_ID, CONTEXT)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        opened(sealed_by_hand((SOURCE_NAME_SIZE_MAX + 1).to_bytes(4, "big")))
