"""Key grants bring a run key to a new recipient, and a false one opens nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import OTHER_VAULT_ID, VAULT_ID, fixed_bytes, identity, run_key
from safelight_vault.errors import CorruptError, UnsupportedFormatError, WrongIdentityError
from safelight_vault.format.envelope import Structure, encode_plain
from safelight_vault.format.grant import decode_grant, encode_grant
from safelight_vault.format.run_key import RunKey, SealedRunKey
from strictness import outcome, require_exact_length, require_only_vault_errors

OBJECT_ID = fixed_bytes("object id")
LABEL = b"safelight/test/v1"


def decode(data: bytes) -> SealedRunKey:
    return decode_grant(data, VAULT_ID)


def grant_to(name: str, *, secret: str = "run secret run") -> bytes:
    """A grant of the run key to an identity; another secret makes it a false one."""
    run_id = run_key().sealed.run_id
    recipients = [identity(name).recipient]
    granted = RunKey.create(VAULT_ID, run_id, fixed_bytes(secret), recipients)
    return encode_grant(VAULT_ID, granted.sealed)


@pytest.mark.parametrize("recipients", [("first",), ("first", "second", "third")])
def test_a_grant_is_read_back(recipients: tuple[str, ...]) -> None:
    sealed = run_key(recipients=recipients).sealed
    assert decode(encode_grant(VAULT_ID, sealed)) == sealed


def test_a_grant_has_exactly_one_length_and_form() -> None:
    data = encode_grant(VAULT_ID, run_key().sealed)
    require_exact_length(decode, data)
    require_only_vault_errors(decode, data)


@given(st.binary(max_size=100))
def test_foreign_bytes_raise_nothing_but_vault_errors(body: bytes) -> None:
    outcome(decode, body)
    outcome(decode, encode_plain(Structure.KEY_GRANT, VAULT_ID, body))


def test_a_grant_of_another_vault_is_refused() -> None:
    with pytest.raises(CorruptError, match="another vault"):
        decode(encode_grant(OTHER_VAULT_ID, run_key().sealed))


def test_a_newer_grant_is_unsupported() -> None:
    with pytest.raises(UnsupportedFormatError):
        decode(encode_plain(Structure.KEY_GRANT, VAULT_ID, b"", version=2))


def test_a_granted_key_opens_what_the_run_sealed() -> None:
    key, commitment = run_key().object_key(OBJECT_ID, LABEL)
    sealed = key.seal(0, b"plaintext", b"")
    newcomer = identity("newcomer")
    identities = {newcomer.recipient.fingerprint: newcomer}
    with pytest.raises(WrongIdentityError):
        run_key().sealed.open(identities, VAULT_ID)
    granted = decode(grant_to("newcomer")).open(identities, VAULT_ID)
    assert granted.committed_key(OBJECT_ID, LABEL, commitment).open(0, sealed, b"") == b"plaintext"


def test_a_false_grant_opens_nothing_of_the_run() -> None:
    _, commitment = run_key().object_key(OBJECT_ID, LABEL)
    newcomer = identity("newcomer")
    false = decode(grant_to("newcomer", secret="guessed"))
    opened = false.open({newcomer.recipient.fingerprint: newcomer}, VAULT_ID)
    with pytest.raises(CorruptError, match="commitment"):
        opened.committed_key(OBJECT_ID, LABEL, commitment)
