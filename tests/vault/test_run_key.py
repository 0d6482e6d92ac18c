"""Run keys: any recipient opens them, nobody else; each object has a key of its own."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import OTHER_VAULT_ID, VAULT_ID, fixed_bytes, identity, run_key
from safelight_vault.errors import CorruptError, DecodeError, WrongIdentityError
from safelight_vault.format.crypto import FINGERPRINT_SIZE, SEALED_KEY_SIZE, Identity
from safelight_vault.format.run_key import RECIPIENTS_MAX, RunKey, SealedRunKey, Stanza
from safelight_vault.format.wire import Reader, Writer
from strictness import REFUSED, flips, outcome, require_exact_length

LABEL = b"safelight/test/v1"
OBJECT_ID = fixed_bytes("object id")

STANZAS = st.builds(
    Stanza,
    st.binary(min_size=FINGERPRINT_SIZE, max_size=FINGERPRINT_SIZE),
    st.integers(0, 255).map(lambda byte: bytes([byte]) * SEALED_KEY_SIZE),
)


def encode(sealed: SealedRunKey) -> bytes:
    writer = Writer()
    sealed.write(writer)
    return writer.finish()


def decode(data: bytes) -> SealedRunKey:
    reader = Reader(data, "run key")
    sealed = SealedRunKey.read(reader)
    reader.end()
    return sealed


def by_fingerprint(*identities: Identity) -> dict[bytes, Identity]:
    return {known.recipient.fingerprint: known for known in identities}


@given(
    st.builds(
        SealedRunKey,
        st.binary(min_size=16, max_size=16),
        st.lists(STANZAS, min_size=1, max_size=4).map(tuple),
    )
)
def test_a_sealed_run_key_is_read_back(sealed: SealedRunKey) -> None:
    assert decode(encode(sealed)) == sealed


def test_a_sealed_run_key_has_exactly_one_length() -> None:
    require_exact_length(decode, encode(run_key(recipients=("first", "second")).sealed))


@given(st.binary(max_size=1300))
def test_foreign_bytes_raise_nothing_but_vault_errors(data: bytes) -> None:
    outcome(decode, data)


@pytest.mark.parametrize("count", [0, RECIPIENTS_MAX + 1])
def test_a_number_of_stanzas_beyond_the_limits_is_refused(count: int) -> None:
    stanza = Stanza(bytes(FINGERPRINT_SIZE), bytes(SEALED_KEY_SIZE))
    with pytest.raises(DecodeError, match=f"{count} key stanzas"):
        decode(encode(SealedRunKey(bytes(16), (stanza,) * count)))
    with pytest.raises(ValueError, match="1 to 64 recipients"):
        RunKey.create(VAULT_ID, bytes(16), bytes(32), [identity().recipient] * count)


@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_every_recipient_opens_the_run_key(name: str) -> None:
    ours = run_key(recipients=("first", "second", "third"))
    opened = ours.sealed.open(by_fingerprint(identity(name)), VAULT_ID)
    assert opened == ours
    assert opened.object_key(OBJECT_ID, LABEL)[1] == ours.object_key(OBJECT_ID, LABEL)[1]


def test_nobody_else_opens_it() -> None:
    with pytest.raises(WrongIdentityError, match="none of them is at hand"):
        run_key().sealed.open(by_fingerprint(identity("second")), VAULT_ID)
    with pytest.raises(WrongIdentityError, match=identity().recipient.fingerprint.hex()[:16]):
        run_key().sealed.open({}, VAULT_ID)


def test_it_does_not_open_as_of_another_vault_or_run() -> None:
    ours = run_key().sealed
    with pytest.raises(CorruptError, match="stanza of this identity is damaged"):
        ours.open(by_fingerprint(identity()), OTHER_VAULT_ID)
    with pytest.raises(CorruptError, match="stanza of this identity is damaged"):
        SealedRunKey(bytes(16), ours.stanzas).open(by_fingerprint(identity()), VAULT_ID)


def test_a_stanza_relabelled_for_us_does_not_open() -> None:
    (stanza,) = run_key(recipients=("second",)).sealed.stanzas
    fingerprint = identity().recipient.fingerprint
    relabelled = SealedRunKey(run_key().sealed.run_id, (Stanza(fingerprint, stanza.sealed),))
    with pytest.raises(CorruptError, match="damaged"):
        relabelled.open(by_fingerprint(identity()), VAULT_ID)


def test_a_damaged_stanza_leaves_the_others_usable() -> None:
    sealed = run_key(recipients=("first", "second")).sealed
    first, second = sealed.stanzas
    damaged = SealedRunKey(sealed.run_id, (Stanza(first.recipient, bytes(1168)), second))
    assert damaged.open(by_fingerprint(identity(), identity("second")), VAULT_ID).sealed == damaged
    with pytest.raises(CorruptError):
        damaged.open(by_fingerprint(identity()), VAULT_ID)


def test_every_flip_is_refused_or_opens_the_same_key() -> None:
    ours = run_key()
    _, commitment = ours.object_key(OBJECT_ID, LABEL)

    def commitment_of(data: bytes) -> bytes:
        opened = decode(data).open(by_fingerprint(identity()), VAULT_ID)
        return opened.object_key(OBJECT_ID, LABEL)[1]

    data = encode(ours.sealed)
    assert commitment_of(data) == commitment
    for position, changed in flips(data, every=1):
        assert outcome(commitment_of, changed) in (REFUSED, commitment), f"flip at {position}"


def test_every_object_label_run_and_vault_has_a_key_and_commitment_of_its_own() -> None:
    commitments = []
    seals = []
    for ours, object_id, label in itertools.product(
        (run_key(), run_key("other run"), run_key(vault_id=OTHER_VAULT_ID)),
        (OBJECT_ID, fixed_bytes("other object id")),
        (LABEL, b"safelight/test/v2"),
    ):
        key, commitment = ours.object_key(object_id, label)
        commitments.append(commitment)
        seals.append(key.seal(0, b"plaintext", b""))
    assert len(set(commitments)) == len(set(seals)) == 12


def test_a_commitment_gives_the_key_and_any_other_gives_none() -> None:
    ours = run_key()
    key, commitment = ours.object_key(OBJECT_ID, LABEL)
    sealed = key.seal(7, b"plaintext", b"context")
    found = ours.committed_key(OBJECT_ID, LABEL, commitment)
    assert found.open(7, sealed, b"context") == b"plaintext"
    for wrong in (b"", bytes(32), commitment[:-1], *(data for _, data in flips(commitment))):
        with pytest.raises(CorruptError, match="commitment"):
            ours.committed_key(OBJECT_ID, LABEL, wrong)
    with pytest.raises(CorruptError, match="commitment"):
        run_key("other run").committed_key(OBJECT_ID, LABEL, commitment)
    with pytest.raises(CorruptError, match="commitment"):
        ours.committed_key(OBJECT_ID, b"safelight/pack/v1", commitment)


def test_a_run_key_forged_for_the_recipient_fails_at_the_commitment() -> None:
    """Anyone can seal some key to a public key; it must open nothing of the agent's."""
    genuine = run_key()
    forged = RunKey.create(
        VAULT_ID, genuine.sealed.run_id, fixed_bytes("forged"), [identity().recipient]
    )
    opened = forged.sealed.open(by_fingerprint(identity()), VAULT_ID)
    _, commitment = genuine.object_key(OBJECT_ID, LABEL)
    with pytest.raises(CorruptError, match="commitment"):
        opened.committed_key(OBJECT_ID, LABEL, commitment)


def test_the_secret_is_not_shown() -> None:
    secret = b"\xc5" * 32
    shown = repr(RunKey.create(VAULT_ID, bytes(16), secret, [identity().recipient]))
    assert secret.hex() not in shown
    assert repr(secret)[2:-1] not in shown
